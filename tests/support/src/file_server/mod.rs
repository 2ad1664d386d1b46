//! A host of files that serves ranges and can misbehave in all the ways that real ones do.
//!
//! Each request takes the next [`Fault`] of its path, else the one it always meets, else gets the file.
//! Requests other than GET are refused, as for a link that was signed for GET. What is served and how
//! may change while it runs.

mod answer;
mod body;
mod content;
mod fault;
mod pace;
mod range;
mod signed;
#[cfg(test)]
mod tests;

pub use content::Content;
pub(crate) use fault::rate_limit;
pub use fault::{Fault, Validator};
pub(crate) use pace::Line;
pub use pace::Pace;
pub use signed::{Expired, Life};

use crate::seen::{Log, Seen};
use crate::serve::{Connections, Serving, serve};
use axum::Router;
use serde_json::json;
use signed::Signed;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// A host of files. `127.0.0.1` and `localhost` name it as two different hosts.
#[derive(Debug)]
pub struct FileServer {
    shared: Arc<Shared>,
    serving: Serving,
}

impl FileServer {
    /// Starts a host without files on a free port.
    pub fn start() -> Self {
        Self::start_with(|router| router)
    }

    /// As [`FileServer::start`], with something before the files.
    pub(crate) fn start_with(before: impl FnOnce(Router) -> Router) -> Self {
        let shared = Arc::new(Shared::default());
        let serving = serve(before(Router::new().fallback(answer::handle).with_state(shared.clone())));
        Self { shared, serving }
    }

    /// Returns the address of a path, with the host called `127.0.0.1`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.serving.address)
    }

    /// Returns the address of a path, with the host called `localhost`.
    pub fn other_url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.serving.address.port())
    }

    /// Serves `content` under `path`, in place of what was there. The ETag follows the content.
    pub fn put(&self, path: &str, content: impl Into<Content>) {
        self.put_as(path, "application/octet-stream", content);
    }

    /// As [`FileServer::put`], with a content type.
    pub fn put_as(&self, path: &str, content_type: &'static str, content: impl Into<Content>) {
        let served = Served { content_type, ..self.shared.serving(content.into()) };
        self.shared.files().insert(path.to_owned(), served);
    }

    /// Lets the next requests for `path` meet these faults, one each.
    pub fn faults(&self, path: &str, faults: impl IntoIterator<Item = Fault>) {
        self.change(path, |served| served.faults.extend(faults));
    }

    /// Lets every further request for `path` meet this fault.
    pub fn always(&self, path: &str, fault: Fault) {
        self.change(path, |served| served.always = fault);
    }

    /// Lets the answers for `path` tell the file apart from another in this way.
    pub fn validator(&self, path: &str, validator: Validator) {
        self.change(path, |served| served.kind = validator);
    }

    /// Serves `path` only to those who hold a signature that is not older than `life`.
    /// [`FileServer::sign`] and [`Fault::RedirectSigned`] give fresh ones. A token beside a signature is
    /// refused.
    pub fn signed(&self, path: &str, life: Life, expired: Expired) {
        self.shared.signed().insert(path.to_owned(), Signed::new(life, expired));
    }

    /// Returns a freshly signed address of `path` at the host `localhost`.
    pub fn sign(&self, path: &str) -> String {
        self.signer().sign(path)
    }

    /// Returns what signs addresses of this host, for another host that redirects to it.
    pub(crate) fn signer(&self) -> Signer {
        Signer { shared: self.shared.clone(), host: self.other_url("") }
    }

    /// Makes the host as fast as this from now on, bodies on their way included.
    pub fn pace(&self, pace: Pace) {
        *self.shared.pace.lock().expect("no panic with the lock held") = pace;
    }

    /// Returns all requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.all()
    }

    /// Returns how many bytes of bodies were sent for `path` so far.
    pub fn sent(&self, path: &str) -> u64 {
        self.shared.sent(path).load(Ordering::Relaxed)
    }

    /// Returns how many connections are open.
    pub fn open_connections(&self) -> usize {
        self.shared.connections.open()
    }

    /// Returns the most connections that were open at once.
    pub fn peak_connections(&self) -> usize {
        self.shared.connections.peak()
    }

    /// Returns how many connections there were.
    pub fn connections(&self) -> usize {
        self.shared.connections.all()
    }

    fn change(&self, path: &str, change: impl FnOnce(&mut Served)) {
        let empty = || self.shared.serving("".into());
        change(self.shared.files().entry(path.to_owned()).or_insert_with(empty));
    }
}

/// Signs addresses of a host.
#[derive(Debug)]
pub(crate) struct Signer {
    shared: Arc<Shared>,
    host: String,
}

impl Signer {
    /// Returns a freshly signed address of a path.
    pub(crate) fn sign(&self, path: &str) -> String {
        format!("{}{path}?{}", self.host, self.shared.sign(path))
    }
}

/// A file as it is served.
#[derive(Debug, Clone)]
struct Served {
    content: Content,
    etag: String,
    /// Counts the contents of this host: `Last-Modified` follows it.
    version: u64,
    kind: Validator,
    content_type: &'static str,
    faults: VecDeque<Fault>,
    /// Is used when `faults` is empty.
    always: Fault,
}

impl Served {
    /// Returns the ETag as it is sent.
    fn validator(&self) -> Option<String> {
        match self.kind {
            Validator::Strong => Some(self.etag.clone()),
            Validator::Weak => Some(format!("W/{}", self.etag)),
            Validator::LastModified | Validator::None => None,
        }
    }

    /// Returns `Last-Modified` as it is sent.
    fn modified(&self) -> Option<String> {
        let (minutes, seconds) = (self.version / 60 % 60, self.version % 60);
        let date = format!("Wed, 01 Jan 2025 00:{minutes:02}:{seconds:02} GMT");
        Some(date).filter(|_| matches!(self.kind, Validator::Strong | Validator::LastModified))
    }
}

#[derive(Debug, Default)]
struct Shared {
    files: Mutex<BTreeMap<String, Served>>,
    signed: Mutex<BTreeMap<String, Signed>>,
    sent: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    versions: AtomicU64,
    seen: Log,
    connections: Arc<Connections>,
    pace: Mutex<Pace>,
    /// What all connections share.
    line: Line,
}

impl Shared {
    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Served>> {
        self.files.lock().expect("no panic with the lock held")
    }

    fn signed(&self) -> MutexGuard<'_, BTreeMap<String, Signed>> {
        self.signed.lock().expect("no panic with the lock held")
    }

    fn pace(&self) -> Pace {
        *self.pace.lock().expect("no panic with the lock held")
    }

    fn serving(&self, content: Content) -> Served {
        Served {
            etag: content.etag(),
            content,
            version: self.versions.fetch_add(1, Ordering::Relaxed),
            kind: Validator::Strong,
            content_type: "application/octet-stream",
            faults: VecDeque::new(),
            always: Fault::None,
        }
    }

    /// Returns what the next request for a path meets.
    fn next(&self, path: &str) -> Option<(Served, Fault)> {
        let mut files = self.files();
        let served = files.get_mut(path)?;
        let fault = served.faults.pop_front().unwrap_or_else(|| served.always.clone());
        Some((served.clone(), fault))
    }

    fn replace(&self, path: &str, content: Content) {
        let new = self.serving(content);
        if let Some(served) = self.files().get_mut(path) {
            (served.content, served.etag, served.version) = (new.content, new.etag, new.version);
        }
    }

    /// Returns a fresh signature of a path.
    fn sign(&self, path: &str) -> String {
        let unsigned = || Signed::new(Life::Forever, Expired::Forbidden);
        self.signed().entry(path.to_owned()).or_insert_with(unsigned).sign()
    }

    /// Uses a request's signature. Returns `None` for a path that needs none.
    fn admits(&self, path: &str, query: Option<&str>) -> Option<Result<(), Expired>> {
        let mut signed = self.signed();
        let signed = signed.get_mut(path)?;
        Some(if signed.admits(query) { Ok(()) } else { Err(signed.expired) })
    }

    /// Notes bytes that were sent by a signature.
    fn count(&self, path: &str, query: Option<&str>, bytes: u64) {
        if query.is_some()
            && let Some(signed) = self.signed().get_mut(path)
        {
            signed.sent(query, bytes);
        }
    }

    /// Returns the count of bytes that were sent for a path.
    fn sent(&self, path: &str) -> Arc<AtomicU64> {
        let mut sent = self.sent.lock().expect("no panic with the lock held");
        sent.entry(path.to_owned()).or_default().clone()
    }
}

/// Returns a small file in the safetensors format; another text makes another file.
pub fn safetensors(text: &str) -> Vec<u8> {
    let header = json!({ "__metadata__": { "text": text } }).to_string().into_bytes();
    [(header.len() as u64).to_le_bytes().to_vec(), header].concat()
}
