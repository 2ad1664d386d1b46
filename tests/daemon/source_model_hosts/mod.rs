//! Hosts of models: what they tell, how they refuse, and who gets to see a token.

mod bucket;
mod civitai;
mod hub;
mod web;

use comfyd::config::ModelHosts;
use comfyd::ctx::Ctx;
use comfyd::source::http::{Http, Timeouts};
use comfyd::source::model::{Identity, ModelError, Models, Place};
use proto::RelPath;
use proto::event::{TaskKind, Unit};
use proto::source::ModelSource;
use std::time::Duration;
use support::file_server::Fault;
use tempfile::TempDir;

/// comfyd's side: an empty models directory.
struct Here {
    dir: TempDir,
    ctx: Ctx,
    models: Models,
}

impl Here {
    fn new(hosts: ModelHosts) -> Self {
        let timeouts = Timeouts { connect: Duration::from_secs(5), read: Duration::from_millis(500) };
        let models = Models::with_http(Http::new(hosts, timeouts));
        Self { dir: tempfile::tempdir().unwrap(), ctx: Ctx::new(), models }
    }

    async fn probe(&self, link: &str) -> Result<Identity, ModelError> {
        let source = ModelSource::parse(link).unwrap();
        self.models.probe(&self.ctx, &source).await.map(|probed| probed.identity)
    }

    /// Fetches a model and returns its content.
    async fn fetch(&self, link: &str) -> Result<Vec<u8>, ModelError> {
        let source = ModelSource::parse(link).unwrap();
        let target = RelPath::new("vae/a.bin").unwrap();
        let place = Place { models_dir: self.dir.path(), target: &target };
        let task = self.ctx.progress.task(TaskKind::Model, "model", Unit::Bytes);
        let turn = self.models.turn(&self.ctx, &source, place, &task).await?;
        self.models.fetch(&self.ctx, turn, &task).await?;
        Ok(std::fs::read(place.path()).unwrap())
    }

    fn notes(&self) -> Vec<String> {
        self.ctx.progress.subscribe().borrow().notes.iter().map(|note| note.text.clone()).collect()
    }
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

/// An answer with headers.
fn status<const N: usize>(status: u16, headers: [(&'static str, &str); N], body: &'static str) -> Fault {
    Fault::Status(status, headers.map(|(name, value)| (name, value.to_owned())).to_vec(), body)
}
