//! A Civitai: its API, its download handler, and a storage host that wants a fresh signature. Answers
//! are those of the site's own handlers.

use crate::file_server::{Content, Expired, FileServer, Life, Signer};
use crate::seen::{Log, Seen};
use crate::serve::{Serving, answer, serve};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use serde_json::{Value, json};
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
            seen: Log::default(),
            storage: storage.signer(),
        });
        let serving = serve(Router::new().fallback(handle).with_state(shared.clone()));
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

async fn handle(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let seen = Seen::new(&method, &uri, &headers);
    shared.seen.add(seen.clone());
    let path = uri.path();
    let number = |prefix: &str| path.strip_prefix(prefix).and_then(|rest| rest.parse::<u64>().ok());
    if path == "/login" {
        return answer(
            200,
            &[("content-type", "text/html; charset=utf-8")],
            "<!DOCTYPE html><title>Sign in</title>",
        );
    }
    if path.starts_with("/api/v1/") && *shared.api_is_down.lock().expect("no panic with the lock held") {
        return answer(503, &[], "");
    }
    let host = format!("http://{}", seen.host);
    if let Some(id) = number("/api/v1/model-versions/") {
        let versions = shared.versions();
        return match versions.get(&id).filter(|version| !version.files.is_empty()) {
            Some(version) => said(200, &shown(id, version, &host)),
            None => said(404, &json!({ "error": format!("No model version with id {id}") })),
        };
    }
    if let Some(model) = number("/api/v1/models/") {
        return shared.model(model, &host);
    }
    match number("/api/download/models/") {
        Some(id) => shared.download(id, &uri, &seen),
        None => answer(404, &[], ""),
    }
}

impl Shared {
    fn model(&self, model: u64, host: &str) -> Response<Body> {
        let versions = self.versions();
        // The newest comes first.
        let of_model = versions.iter().rev().filter(|(_, version)| version.model == model);
        let shown: Vec<_> = of_model.map(|(id, version)| shown(*id, version, host)).collect();
        if shown.is_empty() {
            return said(404, &json!({ "error": format!("No model with id {model}") }));
        }
        said(200, &json!({ "id": model, "name": "a model", "type": "LORA", "modelVersions": shown }))
    }

    fn download(&self, id: u64, uri: &Uri, seen: &Seen) -> Response<Body> {
        let has_token =
            seen.authorization.is_some() || uri.query().is_some_and(|query| query.contains("token="));
        let mut versions = self.versions();
        let Some(version) = versions.get_mut(&id) else {
            return refuse(seen, 404, &json!({ "error": "Model not found" }), &[]);
        };
        if let Some(refusal) = version.refusal()
            && !(refusal == Refusal::Login && has_token)
        {
            return refused(seen, refusal);
        }
        match version.choose(uri.query().unwrap_or_default()) {
            None => refuse(seen, 404, &json!({ "error": "File not found" }), &[]),
            Some(file) => {
                let name = format!("response-content-disposition=attachment%3B%20filename%3D{}", file.name);
                let to = format!("{}&X-Amz-Expires=86400&{name}", self.storage.sign(&file.stored()));
                answer(307, &[("location", &to), ("cache-control", "no-store")], to.clone())
            }
        }
    }
}

impl Version {
    fn refusal(&mut self) -> Option<Refusal> {
        match &mut self.times {
            Some(0) => None,
            Some(left) => {
                *left -= 1;
                self.refusal
            }
            None => self.refusal,
        }
    }

    /// Returns the file that a query names: exactly, by what it is like, or the primary one.
    fn choose(&self, query: &str) -> Option<&ModelFile> {
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.replace("%20", " ")).next()
        };
        if let Some(id) = value("fileId") {
            return self.files.iter().find(|file| file.id.to_string() == id);
        }
        let fits = |file: &&ModelFile| {
            let wants = [("type", file.kind), ("format", file.format), ("size", file.size), ("fp", file.fp)];
            wants.iter().all(|(name, own)| value(name).is_none_or(|wanted| wanted == *own))
        };
        self.files.iter().find(fits)
    }
}

fn shown(id: u64, version: &Version, host: &str) -> Value {
    let file = |(index, file): (usize, &ModelFile)| {
        #[allow(clippy::cast_precision_loss, reason = "so it is on the site")]
        let size_kb = file.content.len() as f64 / 1024.0;
        let query = format!("type={}&format={}&size={}&fp={}", file.kind, file.format, file.size, file.fp);
        json!({
            "id": file.id,
            "name": file.name,
            "sizeKB": size_kb,
            "type": file.kind,
            "metadata": { "format": file.format, "size": file.size, "fp": file.fp },
            "hashes": { "AutoV2": file.content.sha256()[..10].to_uppercase(),
                        "SHA256": file.content.sha256().to_uppercase() },
            "primary": index == 0,
            "downloadUrl": format!("{host}/api/download/models/{id}?{}", query.replace(' ', "%20")),
        })
    };
    let files: Vec<_> = version.files.iter().enumerate().map(file).collect();
    json!({
        "id": id,
        "modelId": version.model,
        "name": "v1",
        "air": format!("urn:air:sdxl:lora:civitai:{}@{id}", version.model),
        "files": files,
        "downloadUrl": format!("{host}/api/download/models/{id}"),
    })
}

fn refused(seen: &Seen, refusal: Refusal) -> Response<Body> {
    let unauthorized = |says: &str| (401, json!({ "error": "Unauthorized", "message": says }));
    let (status, says) = match refusal {
        Refusal::Login => {
            unauthorized("The creator of this asset requires you to be logged in to download it")
        }
        Refusal::Disabled => unauthorized("The creator of this asset has disabled downloads on this file"),
        Refusal::EarlyAccess(deadline) => {
            let says =
                format!("This asset is in Early Access until {deadline}. You can use Buzz to download it.");
            (403, json!({ "error": "Early Access", "deadline": deadline, "message": says }))
        }
        Refusal::NoAccess => (403, json!({ "error": "You do not have access to download this file" })),
        Refusal::Blocked => (403, json!({ "error": "Forbidden" })),
        Refusal::Archived => (410, json!({ "error": "Model archived, not available for download" })),
        Refusal::TooMany => {
            let says = "We've noticed an unusual amount of downloading from your account. \
                        Contact support@example.org to continue.";
            (429, json!({ "error": says }))
        }
        Refusal::Storage => (404, json!({ "error": "File not found" })),
        Refusal::Broken => (500, json!({ "error": "Error downloading file" })),
    };
    let headers: &[_] =
        if refusal == Refusal::Storage { &[("cache-control", "private, no-store")] } else { &[] };
    refuse(seen, status, &says, headers)
}

/// Refuses: in words for programs, by a page for browsers.
fn refuse(seen: &Seen, status: u16, says: &Value, headers: &[(&str, &str)]) -> Response<Body> {
    let agent = seen.user_agent.to_ascii_lowercase();
    if ["mozilla", "chrome", "safari", "firefox", "opera", "edge"].iter().any(|name| agent.contains(name)) {
        return answer(307, &[("location", "/login?reason=download-auth")], "");
    }
    answer(
        status,
        &[&[("content-type", "application/json; charset=utf-8")], headers].concat(),
        says.to_string(),
    )
}

fn said(status: u16, says: &Value) -> Response<Body> {
    answer(status, &[("content-type", "application/json; charset=utf-8")], says.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::{get, header, status};

    #[test]
    fn a_version_has_files_and_each_can_be_downloaded() {
        let civitai = Civitai::start();
        let files = [
            ModelFile::new(70, "a.safetensors", "a"),
            ModelFile { kind: "VAE", ..ModelFile::new(71, "v.pt", "vae") },
        ];
        civitai.put(1, 7, &files);
        let api = |path: &str| format!("{}/api/{path}", civitai.endpoint());
        let (_, body) = get(&api("v1/model-versions/7"), "");
        let version: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(version["files"][1]["hashes"]["SHA256"], Content::from("vae").sha256().to_uppercase());
        for (query, content) in [("", "a"), ("?type=VAE", "vae"), ("?fileId=71", "vae")] {
            let (head, _) = get(&api(&format!("download/models/7{query}")), "");
            assert!(head.starts_with("HTTP/1.1 307"), "{head}");
            assert_eq!(get(&header(&head, "location").unwrap(), "").1, content.as_bytes());
        }
        assert_eq!(status(&api("download/models/7?fp=int8"), ""), 404);
        assert_eq!(status(&api("v1/model-versions/1"), ""), 404);
        let model: Value = serde_json::from_slice(&get(&api("v1/models/1"), "").1).unwrap();
        assert_eq!(model["modelVersions"][0]["id"], 7);
    }

    #[test]
    fn refusals_are_json_for_programs_and_pages_for_browsers() {
        let civitai = Civitai::start();
        civitai.put(1, 7, &[ModelFile::new(70, "a", "a")]);
        let url = format!("{}/api/download/models/7", civitai.endpoint());
        civitai.refuse(7, Refusal::Login);
        let (head, body) = get(&url, "");
        assert!(head.starts_with("HTTP/1.1 401") && body.starts_with(b"{"), "{head}");
        assert_eq!(status(&url, "Authorization: Bearer x\r\n"), 307);
        assert_eq!(
            header(&get(&url, "User-Agent: Mozilla/5.0\r\n").0, "location").as_deref(),
            Some("/login?reason=download-auth")
        );
        civitai.refuse_times(7, Refusal::Storage, 1);
        let (head, _) = get(&url, "");
        assert_eq!(header(&head, "cache-control").as_deref(), Some("private, no-store"));
        assert_eq!(status(&url, ""), 307);
    }
}
