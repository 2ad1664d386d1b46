//! An S3 store, path-style: `/<bucket>/<key>` for those who sign their requests.
//!
//! A signature is known by its form and its key, not computed: that is the client library's matter.

use crate::file_server::FileServer;
use crate::serve::answer;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response};
use axum::middleware::{Next, from_fn_with_state};
use std::sync::{Arc, Mutex};

/// The access key that the store knows.
pub const ACCESS_KEY: &str = "AKIATEST";

/// A store. Its objects are put into `files`, under `/<bucket>/<key>`.
#[derive(Debug)]
pub struct Bucket {
    /// What it holds.
    pub files: FileServer,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    refusal: Mutex<Option<Refusal>>,
    puts: Mutex<Vec<(String, Put)>>,
}

/// An object that was put there.
#[derive(Debug, Clone)]
pub struct Put {
    /// Its media type.
    pub content_type: String,
    /// What it holds.
    pub content: Vec<u8>,
}

/// Why a signed request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The key may not read this.
    Denied,
    /// Temporary credentials ran out.
    ExpiredToken,
    /// Too many requests.
    SlowDown,
}

impl Bucket {
    /// Starts a store without objects on a free port.
    pub fn start() -> Self {
        let shared: Arc<Shared> = Arc::default();
        let guard = from_fn_with_state(shared.clone(), guard);
        Self { files: FileServer::start_with(|router| router.layer(guard)), shared }
    }

    /// Returns its address, as for `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        self.files.url("")
    }

    /// Refuses every request from now on, or none.
    pub fn refuse(&self, refusal: Option<Refusal>) {
        *self.shared.refusal.lock().expect("no panic with the lock held") = refusal;
    }

    /// Returns the paths and objects that were put there, in order.
    pub fn puts(&self) -> Vec<(String, Put)> {
        self.shared.puts.lock().expect("no panic with the lock held").clone()
    }
}

async fn guard(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response<Body> {
    let refusal = *shared.refusal.lock().expect("no panic with the lock held");
    if let Some(refused) = refuse(request.headers(), refusal) {
        return refused;
    }
    if request.method() == Method::PUT {
        return put(&shared, request).await;
    }
    let wanted = request.headers().get("if-match").cloned();
    if request.method() == Method::HEAD {
        // hyper leaves the body out.
        *request.method_mut() = Method::GET;
    }
    let response = next.run(request).await;
    match (response.status().as_u16(), wanted) {
        (404, _) => error(404, "NoSuchKey", "The specified key does not exist."),
        (200 | 206, Some(wanted)) if Some(&wanted) != response.headers().get("etag") => {
            error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
        }
        _ => response,
    }
}

async fn put(shared: &Shared, request: Request) -> Response<Body> {
    let content_type = request.headers().get("content-type").and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let path = request.uri().path().to_owned();
    let Ok(content) = axum::body::to_bytes(request.into_body(), usize::MAX).await else {
        return error(400, "IncompleteBody", "The body broke off.");
    };
    let put = Put { content_type, content: content.to_vec() };
    shared.puts.lock().expect("no panic with the lock held").push((path, put));
    answer(200, &[("etag", "\"1\"")], "")
}

fn refuse(headers: &HeaderMap, refusal: Option<Refusal>) -> Option<Response<Body>> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let signature = header("authorization").unwrap_or_default();
    let key = signature.strip_prefix("AWS4-HMAC-SHA256 Credential=");
    let is_signed = ["x-amz-date", "x-amz-content-sha256"].iter().all(|name| header(name).is_some())
        && signature.contains("Signature=");
    let Some(key) = key.filter(|_| is_signed) else {
        return Some(error(403, "AccessDenied", "Access Denied"));
    };
    if !key.starts_with(&format!("{ACCESS_KEY}/")) {
        return Some(error(403, "InvalidAccessKeyId", "The key does not exist in our records."));
    }
    Some(match refusal? {
        Refusal::Denied => error(403, "AccessDenied", "Access Denied"),
        Refusal::ExpiredToken => error(400, "ExpiredToken", "The provided token has expired."),
        Refusal::SlowDown => error(503, "SlowDown", "Please reduce your request rate."),
    })
}

fn error(status: u16, code: &str, message: &str) -> Response<Body> {
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    answer(status, &[("content-type", "application/xml")], xml)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::{get, status};

    #[test]
    fn only_signed_requests_are_served() {
        let bucket = Bucket::start();
        bucket.files.put("/b/k", "0123456789");
        let url = bucket.files.url("/b/k");
        let signed = format!(
            "Authorization: AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20250101/auto/s3/aws4_request, \
             SignedHeaders=host, Signature=0\r\nx-amz-date: 20250101T000000Z\r\nx-amz-content-sha256: 0\r\n"
        );
        assert_eq!(status(&url, ""), 403);
        assert_eq!(get(&url, &format!("{signed}Range: bytes=2-3\r\n")).1, b"23");
        assert_eq!(status(&url, &format!("{signed}If-Match: \"other\"\r\n")), 412);
        let (_, missing) = get(&bucket.files.url("/b/none"), &signed);
        assert!(String::from_utf8(missing).unwrap().contains("NoSuchKey"));
        bucket.refuse(Some(Refusal::ExpiredToken));
        assert_eq!(status(&url, &signed), 400);
    }
}
