//! A Civitai: its API, its download handler, and a storage host that wants a fresh signature. Answers
//! are those of the site's own handlers.

mod answer;
#[cfg(test)]
mod tests;

use crate::file_server::{Content, Expired, FileServer, Life, Signer};
use crate::seen::{Log, Seen};
use crate::serve::{Serving, serve};
use axum::Router;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// A Civitai. Its site calls itself `127.0.0.1`, its storage `localhost`.
#[derive(Debug)]
pub struct Civitai {
    /// The storage that downloads are redirected to: faults of transfers belong there.
    pub storage: FileServer,
    shared: Arc<Shared>,
    serving: Serving,
}

/// A file of a model's version.
#[derive(Debug, Clone)]
pub struct ModelFile {
    /// What the exact form of a download link names.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// `Model`, `VAE`, `Pruned Model`, …
    pub kind: &'static str,
    /// `SafeTensor`, `PickleTensor`, …
    pub format: &'static str,
    /// `full` or `pruned`.
    pub size: &'static str,
    /// `fp16`, `fp32`, …
    pub fp: &'static str,
    /// What it holds.
    pub content: Content,
}

impl ModelFile {
    /// A full `fp16` safetensors file of kind `Model`.
    pub fn new(id: u64, name: &str, content: impl Into<Content>) -> Self {
        let content = content.into();
        Self {
            id,
            name: name.to_owned(),
            kind: "Model",
            format: "SafeTensor",
            size: "full",
            fp: "fp16",
            content,
        }
    }

    /// Returns where the storage has it.
    pub fn stored(&self) -> String {
        format!("/civitai-delivery/{}/{}", self.id, self.name)
    }
}

/// Why a download is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its creator wants visitors to log in: a token helps.
    Login,
    /// Its creator has disabled downloads: a token does not help.
    Disabled,
    /// It must be paid for until this time.
    EarlyAccess(&'static str),
    /// The account has no access.
    NoAccess,
    /// The address or account is blocked.
    Blocked,
    /// It is gone from the archive.
    Archived,
    /// The account has downloaded too much.
    TooMany,
    /// The storage could not be asked: another attempt may succeed.
    Storage,
    /// Anything else.
    Broken,
}

#[derive(Debug, Default)]
struct Version {
    model: u64,
    files: Vec<ModelFile>,
    refusal: Option<Refusal>,
    /// So many requests meet `refusal`; all of them when absent.
    times: Option<u32>,
}

#[derive(Debug)]
struct Shared {
    versions: Mutex<BTreeMap<u64, Version>>,
    api_is_down: Mutex<bool>,
    /// Tokens of accounts that the API knows; any will do while there are none.
    tokens: Mutex<Vec<String>>,
    seen: Log,
    storage: Signer,
}

impl Civitai {
    /// Starts a site without models on a free port, and its storage on another.
    pub fn start() -> Self {
        let storage = FileServer::start();
        let shared = Arc::new(Shared {
            versions: Mutex::default(),
            api_is_down: Mutex::default(),
            tokens: Mutex::default(),
            seen: Log::default(),
            storage: storage.signer(),
        });
        let serving = serve(Router::new().fallback(answer::handle).with_state(shared.clone()));
        Self { storage, shared, serving }
    }

    /// Returns its address, as for `CIVITAI_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.serving.address)
    }

    /// Puts a version of a model. Its first file is the primary one.
    pub fn put(&self, model: u64, version: u64, files: &[ModelFile]) {
        for file in files {
            self.storage.put(&file.stored(), file.content.clone());
            // A day on the real one.
            self.storage.signed(&file.stored(), Life::Forever, Expired::Forbidden);
        }
        let version_of = Version { model, files: files.to_vec(), ..Version::default() };
        self.shared.versions().insert(version, version_of);
    }

    /// Refuses all downloads of a version from now on.
    pub fn refuse(&self, version: u64, refusal: Refusal) {
        let mut versions = self.shared.versions();
        let version = versions.entry(version).or_default();
        (version.refusal, version.times) = (Some(refusal), None);
    }

    /// Refuses so many downloads of a version.
    pub fn refuse_times(&self, version: u64, refusal: Refusal, times: u32) {
        self.refuse(version, refusal);
        self.shared.versions().entry(version).or_default().times = Some(times);
    }

    /// Lets only these tokens be good for the API from now on.
    pub fn tokens(&self, tokens: &[&str]) {
        let tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
        *self.shared.tokens.lock().expect("no panic with the lock held") = tokens;
    }

    /// Lets the API (not the downloads) answer with 503 from now on.
    pub fn break_api(&self) {
        *self.shared.api_is_down.lock().expect("no panic with the lock held") = true;
    }

    /// Returns all requests so far, without those to the storage.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.all()
    }
}

impl Shared {
    fn versions(&self) -> MutexGuard<'_, BTreeMap<u64, Version>> {
        self.versions.lock().expect("no panic with the lock held")
    }
}
