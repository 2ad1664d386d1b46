//! ComfyUI's own API, as a client. Knows ComfyUI 0.3.75's `server.py` and nothing of comfyd's ways.
//!
//! Every request has a deadline, since ComfyUI's one event loop stands still while a model is
//! loaded. Requests are not retried here: posting a prompt twice would run it twice.

mod class;
mod error;
mod event;
mod history;
mod json;
mod rejection;

pub use class::Class;
pub use error::ComfyError;
pub use event::{Event, Events};
pub use history::{ExecutionError, History, Verdict};
pub use rejection::{Accepted, NodeError, NodeErrors, Rejection};

use proto::method::Secret;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

/// How long ComfyUI may take for an answer. Loading a large model holds Python's interpreter lock for
/// tens of seconds.
const ANSWER: Duration = Duration::from_secs(120);

/// How long it may take to tell how much there is to do, for those who ask again anyway.
const PROBE: Duration = Duration::from_secs(5);

/// How long a file may take on its way to or from ComfyUI, which is on this machine.
const TRANSFER: Duration = Duration::from_secs(30 * 60);

/// How much of an unexpected answer an error shows, in characters.
const SHOWN: usize = 500;

/// A ComfyUI that answers under one base URL. Cheap to clone; clones share what was learnt of node
/// classes, which do not change while a process lives.
#[derive(Debug, Clone)]
pub struct Comfy {
    base: Url,
    http: reqwest::Client,
    classes: Arc<Mutex<HashMap<String, Option<Arc<Class>>>>>,
}

/// Where a prompt stands in ComfyUI's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// It is being executed.
    Running,
    /// This many prompts come before it, the running ones included.
    Waiting(usize),
    /// Neither runs nor waits: it has ended, or was never there.
    Absent,
}

/// A file as ComfyUI names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRef {
    /// Its name.
    pub filename: String,
    /// Its folder; may be empty.
    pub subfolder: String,
    /// `output`, `temp` or `input`.
    pub place: String,
}

impl Comfy {
    /// Returns a client for the ComfyUI at `base`, such as `http://127.0.0.1:8188`. Connects to nothing.
    ///
    /// # Errors
    /// [`ComfyError::Address`].
    pub fn new(base: &str) -> Result<Self, ComfyError> {
        // reqwest asks for a TLS provider even for plain HTTP; a second installation changes nothing.
        rustls::crypto::ring::default_provider().install_default().ok();
        let no_client = || ComfyError::Address(base.to_owned());
        let base = Url::parse(base).map_err(|_| no_client())?;
        // A proxy that the environment names is not for ComfyUI, which is on this machine.
        let http = reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_secs(5));
        // Nor is there TLS: without this each client would read the system's certificates first, hundreds of files.
        let http = http.http1_only().tls_certs_only([]).build().map_err(|_| no_client())?;
        Ok(Self { base, http, classes: Arc::default() })
    }

    /// Tells whether it answers and nothing stands in its way.
    pub async fn is_ready(&self) -> bool {
        self.queue_remaining().await.is_ok()
    }

    /// Returns how many prompts wait or run: the cheapest request there is, with a short deadline.
    pub async fn queue_remaining(&self) -> Result<usize, ComfyError> {
        let request = self.request(Method::GET, &["prompt"], PROBE);
        // The shape is checked since a stranger may have taken the port meanwhile.
        let answer: history::Info = self.json("GET /prompt", request).await?;
        Ok(answer.exec_info.queue_remaining)
    }

    /// Returns how many prompts run and how many wait. The answer holds the whole of each prompt.
    pub async fn queue_lengths(&self) -> Result<(usize, usize), ComfyError> {
        let queue: history::Queue =
            self.json("GET /queue", self.request(Method::GET, &["queue"], PROBE)).await?;
        Ok(queue.lengths())
    }

    /// Returns ComfyUI's view of the machine.
    pub async fn system_stats(&self) -> Result<Value, ComfyError> {
        self.json("GET /system_stats", self.request(Method::GET, &["system_stats"], ANSWER)).await
    }

    /// Returns all node classes. Megabytes where there are many custom nodes: see [`Self::class`].
    pub async fn object_info(&self) -> Result<BTreeMap<String, Class>, ComfyError> {
        self.json("GET /object_info", self.request(Method::GET, &["object_info"], ANSWER)).await
    }

    /// Returns one node class, or none if ComfyUI has no such class. Asked once.
    pub async fn class(&self, name: &str) -> Result<Option<Arc<Class>>, ComfyError> {
        if let Some(known) = self.known().get(name) {
            return Ok(known.clone());
        }
        self.class_anew(name).await
    }

    /// As [`Self::class`], and asks in any case: lists of models change while a process lives.
    pub async fn class_anew(&self, name: &str) -> Result<Option<Arc<Class>>, ComfyError> {
        let request = self.request(Method::GET, &["object_info", name], ANSWER);
        let mut answer: HashMap<String, Class> = match self.json("GET /object_info/{class}", request).await {
            // A name that fits no path, such as one with a slash, is no route at all.
            Err(ComfyError::Refused { status: StatusCode::NOT_FOUND, .. }) => HashMap::new(),
            answer => answer?,
        };
        let class = answer.remove(name).map(Arc::new);
        self.known().insert(name.to_owned(), class.clone());
        Ok(class)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Option<Arc<Class>>>> {
        self.classes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the models that ComfyUI lists in a folder, or none if it has no such folder.
    pub async fn models(&self, folder: &str) -> Result<Option<Vec<String>>, ComfyError> {
        match self.json("GET /models/{folder}", self.request(Method::GET, &["models", folder], ANSWER)).await
        {
            Err(ComfyError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Queues a prompt under an id of ours, which names the client of its [`Self::events`] as well. Not to be
    /// repeated: ComfyUI does not recognise duplicates. `api_key` is the user's, for paid services.
    ///
    /// # Errors
    /// [`ComfyError::Rejected`] when no output of the prompt is valid.
    pub async fn queue_prompt(
        &self,
        prompt: &Value,
        prompt_id: &str,
        api_key: Option<&Secret>,
    ) -> Result<Accepted, ComfyError> {
        let what = "POST /prompt";
        let mut body =
            serde_json::json!({ "prompt": prompt, "client_id": prompt_id, "prompt_id": prompt_id });
        if let Some(Secret(key)) = api_key {
            body["extra_data"] = serde_json::json!({ "api_key_comfy_org": key });
        }
        let response = self.send(what, self.request(Method::POST, &["prompt"], ANSWER).json(&body)).await?;
        let (status, text) = read(what, response).await?;
        if status == StatusCode::BAD_REQUEST
            && let Some(rejection) = Rejection::parse(&text)
        {
            return Err(ComfyError::Rejected(rejection));
        }
        understand(what, status, &text)
    }

    /// Returns what became of a prompt, or none if it has not ended.
    pub async fn history(&self, prompt_id: &str) -> Result<Option<History>, ComfyError> {
        let request = self.request(Method::GET, &["history", prompt_id], ANSWER);
        let mut answer: HashMap<String, History> = self.json("GET /history/{prompt}", request).await?;
        Ok(answer.remove(prompt_id))
    }

    /// Returns where a prompt stands in the queue.
    pub async fn position(&self, prompt_id: &str) -> Result<Position, ComfyError> {
        let queue: history::Queue =
            self.json("GET /queue", self.request(Method::GET, &["queue"], ANSWER)).await?;
        Ok(queue.position(prompt_id))
    }

    /// Interrupts a prompt if it is running. ComfyUI may miss it just before the prompt's first node.
    pub async fn interrupt(&self, prompt_id: &str) -> Result<(), ComfyError> {
        self.post("POST /interrupt", "interrupt", &serde_json::json!({ "prompt_id": prompt_id })).await
    }

    /// Takes a prompt out of the queue if it waits there.
    pub async fn delete_queued(&self, prompt_id: &str) -> Result<(), ComfyError> {
        self.post("POST /queue", "queue", &serde_json::json!({ "delete": [prompt_id] })).await
    }

    /// Asks ComfyUI to unload its models and to free its memory. It does so before its next prompt, or
    /// within a second when it has none.
    pub async fn free(&self) -> Result<(), ComfyError> {
        let what = serde_json::json!({ "unload_models": true, "free_memory": true });
        self.post("POST /free", "free", &what).await
    }

    /// Fetches a file of ComfyUI's into a new file at `to`.
    pub async fn view(&self, file: &FileRef, to: &Path) -> Result<(), ComfyError> {
        let what = "GET /view";
        let mut url = self.url(&["view"]);
        url.query_pairs_mut()
            .append_pair("filename", &file.filename)
            .append_pair("subfolder", &file.subfolder)
            .append_pair("type", &file.place);
        let mut response = self.send(what, self.http.get(url).timeout(TRANSFER)).await?;
        if !response.status().is_success() {
            let (status, text) = read(what, response).await?;
            return understand::<Value>(what, status, &text).map(drop);
        }
        let unwritable = |source| ComfyError::File { attempt: "write", path: to.to_owned(), source };
        let mut written = tokio::fs::File::create_new(to).await.map_err(unwritable)?;
        let lost = |source| ComfyError::Unreachable { what: what.to_owned(), source };
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            written.write_all(&chunk).await.map_err(unwritable)?;
        }
        written.sync_all().await.map_err(unwritable)
    }

    /// Opens the socket on which ComfyUI tells a client how its prompts go. Nothing is buffered for a
    /// socket that is not open: what must not be missed is asked for by [`Self::history`].
    pub async fn events(&self, client_id: &str) -> Result<Events, ComfyError> {
        let mut url = self.url(&["ws"]);
        url.query_pairs_mut().append_pair("clientId", client_id);
        // Only `http` to `https` or no host at all could make this fail, and the base is a plain URL.
        url.set_scheme("ws").map_err(|()| ComfyError::Address(self.base.to_string()))?;
        Events::open(url.as_str()).await.map_err(|error| ComfyError::Socket(Box::new(error)))
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn request(&self, method: Method, path: &[&str], timeout: Duration) -> RequestBuilder {
        self.http.request(method, self.url(path)).timeout(timeout)
    }

    async fn send(&self, what: &str, request: RequestBuilder) -> Result<Response, ComfyError> {
        // The URL is left out: it may carry file names, and `what` already says enough.
        let unreachable = |source: reqwest::Error| ComfyError::Unreachable {
            what: what.to_owned(),
            source: source.without_url(),
        };
        request.send().await.map_err(unreachable)
    }

    async fn json<T: DeserializeOwned>(&self, what: &str, request: RequestBuilder) -> Result<T, ComfyError> {
        let (status, text) = read(what, self.send(what, request).await?).await?;
        understand(what, status, &text)
    }

    async fn post(&self, what: &str, path: &str, body: &Value) -> Result<(), ComfyError> {
        let request = self.request(Method::POST, &[path], ANSWER).json(body);
        let (status, text) = read(what, self.send(what, request).await?).await?;
        if status.is_success() { Ok(()) } else { Err(refused(what, status, &text)) }
    }
}

async fn read(what: &str, response: Response) -> Result<(StatusCode, String), ComfyError> {
    let status = response.status();
    let lost = |source| ComfyError::Unreachable { what: what.to_owned(), source };
    Ok((status, response.text().await.map_err(lost)?))
}

fn understand<T: DeserializeOwned>(what: &str, status: StatusCode, text: &str) -> Result<T, ComfyError> {
    if !status.is_success() {
        return Err(refused(what, status, text));
    }
    json::parse(text).map_err(|source| ComfyError::Answer { what: what.to_owned(), source })
}

fn refused(what: &str, status: StatusCode, text: &str) -> ComfyError {
    let body = text.trim().chars().take(SHOWN).collect();
    ComfyError::Refused { what: what.to_owned(), status, body }
}
