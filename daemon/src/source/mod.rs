//! Everything that comes from outside: repositories, models, Python packages.

use crate::config::Config;
use crate::ctx::Ctx;
use git::Git;
use http::{Http, Timeouts};
use model::Models;
use python::{PythonError, Uv};
use std::sync::Arc;
use tokio::sync::OnceCell;

pub mod account;
pub mod bucket;
pub mod git;
pub mod http;
pub mod link;
pub mod model;
pub mod python;
pub mod registry;

/// The outside, as configured. Cheap to clone.
#[derive(Clone)]
pub struct Sources {
    /// Where things are.
    pub config: Arc<Config>,
    /// Repositories.
    pub git: Git,
    /// Single files, with the tokens of those who are asked.
    pub http: Http,
    /// Model files.
    pub models: Models,
    uv: Arc<OnceCell<Uv>>,
}

impl Sources {
    /// Prepares the clients. Opens no connection and starts no program.
    pub fn new(config: Arc<Config>) -> Self {
        let http = Http::new(config.hosts.clone(), Timeouts::default());
        let (git, models) = (Git::new(&config), Models::with_http(http.clone()));
        let models = models.with_background_rate(config.prefetch.rate);
        Self { config, git, http, models, uv: Arc::default() }
    }

    /// Returns uv, sought or installed at the first call.
    ///
    /// # Errors
    /// When there is none and it cannot be installed; the next call tries again.
    pub async fn uv(&self, ctx: &Ctx) -> Result<&Uv, PythonError> {
        self.uv.get_or_try_init(|| Uv::locate(ctx, &self.config)).await
    }
}
