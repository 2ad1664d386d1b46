//! What the site answers.

use super::{ModelFile, Refusal, Shared, Version};
use crate::seen::Seen;
use crate::serve::answer;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn handle(
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
    if path == "/api/v1/me" {
        return shared.me(&seen);
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
    fn me(&self, seen: &Seen) -> Response<Body> {
        let tokens = self.tokens.lock().expect("no panic with the lock held");
        let token = seen.authorization.as_deref().map(|text| text.trim_start_matches("Bearer "));
        if token.is_some_and(|token| tokens.is_empty() || tokens.iter().any(|known| known == token)) {
            said(200, &json!({ "id": 7, "username": "someone", "tier": "free", "status": "active" }))
        } else {
            said(401, &json!({ "error": "Unauthorized" }))
        }
    }

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
