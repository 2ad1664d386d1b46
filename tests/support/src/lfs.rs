//! The Git LFS side of a git host: the batch API with the `basic` transfer, and its storage.

use axum::body::Body;
use axum::http::{HeaderMap, Method, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// What the batch API speaks: git-lfs, docs/api/batch.md.
const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";

/// The objects of a host, for all its repositories.
#[derive(Debug, Default)]
pub struct LfsStore {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl LfsStore {
    /// Stores an object and returns the pointer that stands for it in a repository.
    pub fn put(&self, content: &[u8]) -> String {
        let pointer = pointer(content);
        let oid = hex(content);
        self.objects.lock().unwrap().insert(oid, content.to_vec());
        pointer
    }

    /// Makes the storage serve these bytes for the object that `content` was.
    pub fn damage(&self, content: &[u8], served: &[u8]) {
        self.objects.lock().unwrap().insert(hex(content), served.to_vec());
    }

    /// Answers a request, if it is for LFS. `base` is the host's own URL.
    pub(crate) fn answer(
        &self,
        base: &str,
        (method, path, headers): (&Method, &str, &HeaderMap),
        body: &[u8],
    ) -> Option<Response<Body>> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if method == Method::POST && path.ends_with(".git/info/lfs/objects/batch") {
            if header("accept") != MEDIA_TYPE || !header("content-type").starts_with(MEDIA_TYPE) {
                return Some(answer(415, Body::empty()));
            }
            let request: Value = serde_json::from_slice(body).ok()?;
            let objects: Vec<_> =
                request["objects"].as_array()?.iter().map(|object| self.action(base, object)).collect();
            let text = json!({ "transfer": "basic", "objects": objects }).to_string();
            return Some(answer(200, Body::from(text)));
        }
        let oid = path.strip_prefix("/lfs-storage/")?;
        if header("x-signed") != "by the host" {
            return Some(answer(403, Body::empty()));
        }
        let content = self.objects.lock().unwrap().get(oid).cloned();
        Some(content.map_or_else(|| answer(404, Body::empty()), |content| answer(200, Body::from(content))))
    }

    fn action(&self, base: &str, object: &Value) -> Value {
        let oid = object["oid"].as_str().unwrap_or_default();
        if !self.objects.lock().unwrap().contains_key(oid) {
            let error = json!({ "code": 404, "message": "Object does not exist" });
            return json!({ "oid": oid, "size": object["size"], "error": error });
        }
        let href = format!("{base}/lfs-storage/{oid}");
        let download = json!({ "href": href, "header": { "X-Signed": "by the host" } });
        json!({ "oid": oid, "size": object["size"], "actions": { "download": download } })
    }
}

/// Returns the pointer to an object, whether a host has it or not.
pub fn pointer(content: &[u8]) -> String {
    let (oid, size) = (hex(content), content.len());
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n")
}

fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn answer(status: u16, body: Body) -> Response<Body> {
    Response::builder().status(status).body(body).expect("the status is valid")
}
