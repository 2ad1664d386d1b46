//! Repositories over real smart HTTP.

mod cache;
mod fetch;
mod history;
mod hosts;
mod lfs;
mod names;
mod reach;
mod settings;

use comfyd::config::Config;
use comfyd::ctx::{Ctx, Task};
use comfyd::source::git::{Checkout, Git, GitError};
use proto::event::{TaskKind, Unit};
use proto::{CommitId, ErrorKind};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::git_remote::{FIRST_COMMIT_SECONDS, Faults, GitRemote};
use tempfile::TempDir;

/// comfyd's side: an empty home.
struct Here {
    home: TempDir,
    ctx: Ctx,
    git: Git,
}

impl Here {
    fn new() -> Self {
        Self::with_env(&[])
    }

    fn with_env(vars: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let git = Git::new(&config(home.path(), vars));
        Self { home, ctx: Ctx::new(), git }
    }

    fn task(&self) -> Task {
        self.ctx.progress.task(TaskKind::Repository, "repository", Unit::Objects)
    }

    async fn fetch(&self, url: &str, commit: &CommitId) -> Result<(), GitError> {
        self.git.fetch(&self.ctx, (url, commit), None, &self.task()).await
    }

    async fn checkout(&self, url: &str, commit: &CommitId) -> Result<(PathBuf, Checkout), GitError> {
        let dest = self.home.path().join(commit.short());
        let checkout = self.git.checkout(&self.ctx, (url, commit), &dest, &self.task()).await?;
        Ok((dest, checkout))
    }

    /// The one object cache of this home.
    fn cache(&self) -> PathBuf {
        let caches = std::fs::read_dir(self.home.path().join("volume/.comfy-cache/git")).unwrap();
        let mut caches = caches.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some());
        caches.next().unwrap()
    }
}

fn config(home: &Path, vars: &[(&str, &str)]) -> Config {
    let volume = home.join("volume");
    std::fs::create_dir_all(&volume).unwrap();
    let mut env = BTreeMap::from([
        ("HOME".to_owned(), home.display().to_string()),
        ("COMFY_VOLUME".to_owned(), volume.display().to_string()),
    ]);
    env.extend(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Config::from_vars(&env).unwrap()
}

fn id(commit: &str) -> CommitId {
    CommitId::new(commit).unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
