//! A Hugging Face Hub. Big files are redirected to a storage host that wants a fresh signature and no
//! token; small ones to a cache of the Hub's own. Headers are those that the real one sends.

mod answer;
#[cfg(test)]
mod tests;

use crate::file_server::{Content, Expired, Fault, FileServer, Life, Signer};
use crate::seen::{Log, Seen};
use crate::serve::{Serving, serve};
use axum::Router;
use std::collections::BTreeMap;
use std::io::{Seek as _, Write as _};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};

/// A Hub. Its endpoint calls itself `127.0.0.1`, its storage `localhost`.
#[derive(Debug)]
pub struct Hub {
    /// The storage that big files are redirected to: faults of transfers belong there.
    pub storage: FileServer,
    shared: Arc<Shared>,
    serving: Serving,
}

/// Whom a repository is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Access {
    /// For all.
    #[default]
    Public,
    /// For the accounts of these tokens, which accepted its conditions. Others learn that there are some.
    Gated(Vec<String>),
    /// For the accounts of these tokens. Others do not learn that it is there.
    Private(Vec<String>),
    /// For nobody any more.
    Disabled,
}

#[derive(Debug, Default)]
struct Repo {
    access: Access,
    files: BTreeMap<String, File>,
}

#[derive(Debug, Clone)]
struct File {
    content: Content,
    etag: String,
    is_big: bool,
}

#[derive(Debug)]
struct Shared {
    repos: Mutex<BTreeMap<String, Repo>>,
    /// Tokens of accounts; any will do while there are none.
    tokens: Mutex<Vec<String>>,
    /// Answers that say "too many requests", and the seconds that they tell.
    limited: Mutex<(u32, u64)>,
    seen: Log,
    storage: Signer,
}

impl Hub {
    /// Starts a Hub without repositories on a free port, and its storage on another.
    pub fn start() -> Self {
        let storage = FileServer::start();
        let shared = Arc::new(Shared {
            repos: Mutex::default(),
            tokens: Mutex::default(),
            limited: Mutex::default(),
            seen: Log::default(),
            storage: storage.signer(),
        });
        let serving = serve(Router::new().fallback(answer::handle).with_state(shared.clone()));
        Self { storage, shared, serving }
    }

    /// Returns its address, as for `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.serving.address)
    }

    /// Puts a big file, one of LFS or Xet, into `repo`: `owner/name`, or `datasets/owner/name`. It stands
    /// in the storage as [`Hub::stored`].
    pub fn put(&self, repo: &str, path: &str, content: impl Into<Content>) {
        let content = content.into();
        let file = File { etag: content.sha256(), content: content.clone(), is_big: true };
        let stored = stored(&file.etag);
        self.storage.put(&stored, content);
        // An hour on the real one.
        self.storage.signed(&stored, Life::Forever, Expired::Forbidden);
        self.shared.repos().entry(repo.to_owned()).or_default().files.insert(path.to_owned(), file);
    }

    /// Puts a small file, one of git itself, into `repo`.
    pub fn put_small(&self, repo: &str, path: &str, content: impl Into<Content>) {
        let content = content.into();
        let file = File { etag: blob_id(&content), content, is_big: false };
        self.shared.repos().entry(repo.to_owned()).or_default().files.insert(path.to_owned(), file);
    }

    /// Returns where the storage has a big file now.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn stored(&self, repo: &str, path: &str) -> String {
        stored(&self.shared.repos()[repo].files[path].etag)
    }

    /// Lets signatures for a big file count no longer than this.
    pub fn signatures_live(&self, repo: &str, path: &str, life: Life) {
        self.storage.signed(&self.stored(repo, path), life, Expired::Forbidden);
    }

    /// Lets the next requests for a big file's content meet these faults, one each.
    pub fn storage_faults(&self, repo: &str, path: &str, faults: impl IntoIterator<Item = Fault>) {
        self.storage.faults(&self.stored(repo, path), faults);
    }

    /// Says whom a repository is for.
    pub fn access(&self, repo: &str, access: Access) {
        self.shared.repos().entry(repo.to_owned()).or_default().access = access;
    }

    /// Lets only these tokens be good from now on.
    pub fn tokens(&self, tokens: &[&str]) {
        let tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
        *self.shared.tokens.lock().expect("no panic with the lock held") = tokens;
    }

    /// Answers the next `times` requests with 429, and with the seconds to the end of the window.
    pub fn rate_limit(&self, times: u32, seconds: u64) {
        *self.shared.limited.lock().expect("no panic with the lock held") = (times, seconds);
    }

    /// Returns the commit that `main` of a repository is now.
    pub fn commit(&self, repo: &str) -> String {
        commit(repo, &self.shared.repos()[repo])
    }

    /// Returns all requests so far, without those to the storage.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.all()
    }
}

impl Shared {
    fn repos(&self) -> MutexGuard<'_, BTreeMap<String, Repo>> {
        self.repos.lock().expect("no panic with the lock held")
    }

    /// Counts a request against the limit; returns the seconds to wait when there were too many.
    fn limited(&self) -> Option<u64> {
        let mut limited = self.limited.lock().expect("no panic with the lock held");
        let left = limited.0.checked_sub(1)?;
        limited.0 = left;
        Some(limited.1)
    }
}

fn stored(sha256: &str) -> String {
    format!("/xet-bridge-us/{}/{sha256}", &sha256[..24])
}

/// A commit's id follows from what the repository holds.
fn commit(name: &str, repo: &Repo) -> String {
    let files =
        repo.files.iter().fold(name.to_owned(), |text, (path, file)| format!("{text}\n{path} {}", file.etag));
    Content::from(files).sha256()[..40].to_owned()
}

/// Returns the id that git gives to a file. Blocks.
fn blob_id(content: &Content) -> String {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&content.to_vec()).expect("it can be written");
    file.rewind().expect("a file can be rewound");
    let output = Command::new("git").args(["hash-object", "--stdin"]).stdin(file).output();
    String::from_utf8_lossy(&output.expect("git is installed").stdout).trim().to_owned()
}
