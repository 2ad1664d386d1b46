//! A host of files that serves ranges and can misbehave in all the ways that real ones do.

use crate::serve::{Serving, serve};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens to one request for a path, in place of the file.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The connection breaks after so many bytes of the body.
    CutAfter(usize),
    /// So many bytes of the body come, then nothing more.
    StallAfter(usize),
    /// Another status, with headers and a body.
    Status(u16, Vec<(&'static str, String)>, &'static str),
    /// A redirect to this address.
    Redirect(String),
    /// The whole file whatever range was asked for, without a length.
    Chunked,
}

/// A file as it is served.
#[derive(Debug, Clone)]
struct Served {
    content: Bytes,
    etag: String,
    content_type: &'static str,
    faults: VecDeque<Fault>,
    /// Is used when `faults` is empty.
    always: Option<Fault>,
}

/// A request that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Path and query.
    pub path: String,
    /// `Host` header.
    pub host: String,
    /// `Range` header.
    pub range: Option<String>,
    /// `Authorization` header.
    pub authorization: Option<String>,
    /// `User-Agent` header.
    pub user_agent: String,
}

#[derive(Debug, Default)]
struct Shared {
    files: Mutex<BTreeMap<String, Served>>,
    seen: Mutex<Vec<Seen>>,
}

/// A host of files. `127.0.0.1` and `localhost` name it as two different hosts.
#[derive(Debug)]
pub struct FileServer {
    shared: Arc<Shared>,
    serving: Serving,
}

impl FileServer {
    /// Starts a host without files on a free port.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let serving = serve(Router::new().fallback(handle).with_state(shared.clone()));
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
    pub fn put(&self, path: &str, content: impl Into<Bytes>) {
        self.put_as(path, "application/octet-stream", content);
    }

    /// As [`FileServer::put`], with a content type.
    pub fn put_as(&self, path: &str, content_type: &'static str, content: impl Into<Bytes>) {
        let content = content.into();
        let sum = content.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        let etag = format!("\"{sum:x}-{}\"", content.len());
        let served = Served { content, etag, content_type, faults: VecDeque::new(), always: None };
        self.shared.files.lock().expect("no panic with the lock held").insert(path.to_owned(), served);
    }

    /// Lets the next requests for `path` meet these faults, one each.
    pub fn faults(&self, path: &str, faults: impl IntoIterator<Item = Fault>) {
        self.change(path, |served| served.faults.extend(faults));
    }

    /// Lets every further request for `path` meet this fault.
    pub fn always(&self, path: &str, fault: Fault) {
        self.change(path, |served| served.always = Some(fault));
    }

    fn change(&self, path: &str, change: impl FnOnce(&mut Served)) {
        let mut files = self.shared.files.lock().expect("no panic with the lock held");
        let empty = || Served {
            content: Bytes::new(),
            etag: "\"\"".to_owned(),
            content_type: "application/octet-stream",
            faults: VecDeque::new(),
            always: None,
        };
        change(files.entry(path.to_owned()).or_insert_with(empty));
    }

    /// Returns all requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no panic with the lock held").clone()
    }
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    shared.seen.lock().expect("no panic with the lock held").push(Seen {
        path: uri.to_string(),
        host: header("host").unwrap_or_default(),
        range: header("range"),
        authorization: header("authorization"),
        user_agent: header("user-agent").unwrap_or_default(),
    });
    // As a link that was signed for GET.
    if method != Method::GET {
        return answer(StatusCode::FORBIDDEN, &[], Body::empty());
    }
    let (served, fault) = {
        let mut files = shared.files.lock().expect("no panic with the lock held");
        let Some(served) = files.get_mut(uri.path()) else {
            return answer(StatusCode::NOT_FOUND, &[], Body::empty());
        };
        let fault = served.faults.pop_front().or_else(|| served.always.clone());
        (served.clone(), fault)
    };
    let (start, end) = part(&served, header("range").as_deref(), header("if-range").as_deref());
    let bytes = served.content.slice(start..end);
    match fault {
        None => whole_or_part(&served, start..end, Body::from(bytes)),
        Some(Fault::CutAfter(count)) => whole_or_part(&served, start..end, broken(&bytes, count, false)),
        Some(Fault::StallAfter(count)) => whole_or_part(&served, start..end, broken(&bytes, count, true)),
        Some(Fault::Status(status, headers, body)) => {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let status = StatusCode::from_u16(status).expect("a test names a valid status");
            answer(status, &headers, Body::from(body))
        }
        Some(Fault::Redirect(to)) => answer(StatusCode::FOUND, &[("location", &to)], Body::empty()),
        Some(Fault::Chunked) => {
            let stream = futures_util::stream::iter([Ok::<_, std::io::Error>(served.content.clone())]);
            answer(StatusCode::OK, &[("content-type", served.content_type)], Body::from_stream(stream))
        }
    }
}

/// Returns which bytes are asked for: all of them when the file has changed since.
fn part(served: &Served, range: Option<&str>, if_range: Option<&str>) -> (usize, usize) {
    let length = served.content.len();
    let range = range.filter(|_| if_range.is_none_or(|etag| etag == served.etag));
    let bounds = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((from, to)) = bounds else { return (0, length) };
    let from = from.parse().unwrap_or(0).min(length);
    let to = to.parse::<usize>().map_or(length, |last| (last + 1).min(length));
    (from, to.max(from))
}

fn whole_or_part(served: &Served, part: std::ops::Range<usize>, body: Body) -> Response<Body> {
    let (length, whole) = (part.len().to_string(), part == (0..served.content.len()));
    let range = format!("bytes {}-{}/{}", part.start, part.end.saturating_sub(1), served.content.len());
    let mut headers =
        vec![("content-type", served.content_type), ("etag", &served.etag), ("content-length", &length)];
    if whole {
        return answer(StatusCode::OK, &headers, body);
    }
    headers.push(("content-range", &range));
    answer(StatusCode::PARTIAL_CONTENT, &headers, body)
}

/// A body that ends after `count` bytes, by an error or by silence.
fn broken(bytes: &Bytes, count: usize, stall: bool) -> Body {
    let first = bytes.slice(..count.min(bytes.len()));
    let stream = futures_util::stream::unfold(Some(first), move |first| async move {
        match first {
            Some(first) => Some((Ok(first), None)),
            None if stall => std::future::pending().await,
            None => {
                // hyper drops what it has not sent yet when a body fails.
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some((Err(std::io::Error::other("cut by the test")), None))
            }
        }
    });
    Body::from_stream(stream)
}

fn answer(status: StatusCode, headers: &[(&str, &str)], body: Body) -> Response<Body> {
    let builder = Response::builder().status(status);
    let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
    builder.body(body).expect("status and headers are valid")
}

/// Returns a small file in the safetensors format; another text makes another file.
pub fn safetensors(text: &str) -> Vec<u8> {
    let header = json!({ "__metadata__": { "text": text } }).to_string().into_bytes();
    [(header.len() as u64).to_le_bytes().to_vec(), header].concat()
}
