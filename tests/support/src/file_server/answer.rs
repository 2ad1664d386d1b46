//! What a request is answered with.

use super::body::{End, Sending};
use super::content::Content;
use super::fault::{Fault, Validator};
use super::range::{Asked, asked};
use super::signed::Expired;
use super::{Served, Shared};
use crate::seen::Seen;
use crate::serve::{Connection, answer};
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, Response, Uri};
use std::io::Write as _;
use std::ops::Range;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

type Headers = Vec<(&'static str, String)>;

pub(super) async fn handle(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let seen = Seen::new(&method, &uri, &headers);
    shared.seen.add(seen.clone());
    let pace = shared.pace();
    if connection.opens(&shared.connections) {
        tokio::time::sleep(pace.connect_delay).await;
    }
    tokio::time::sleep(pace.request_delay).await;
    // As a link that was signed for GET.
    if method != Method::GET {
        return answer(403, &[], "");
    }
    let Some((file, fault)) = shared.next(uri.path()) else { return answer(404, &[], "") };
    if let Some(refusal) = refuse(&shared, &uri, &seen) {
        return refusal;
    }
    let sent = shared.sent(uri.path());
    let request = Request { shared, connection, uri, seen, file, sent };
    request.answer(fault)
}

/// Refuses who has no good signature, where one is needed.
fn refuse(shared: &Shared, uri: &Uri, seen: &Seen) -> Option<Response<Body>> {
    let expired = shared.admits(uri.path(), uri.query())?;
    // S3 and R2 take a token for a second signature.
    if seen.authorization.is_some() {
        let says = "<Error><Code>InvalidArgument</Code>\
                    <Message>Only one auth mechanism allowed</Message></Error>";
        return Some(answer(400, &[("content-type", "application/xml")], says));
    }
    let says = match expired {
        Ok(()) => return None,
        Err(Expired::Forbidden) => {
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code>\
             <Message>Request has expired</Message></Error>"
        }
        Err(Expired::Unauthorized) => {
            let says =
                r#"{"code":"expired_auth_token","message":"Authorization token has expired","status":401}"#;
            return Some(answer(401, &[("content-type", "application/json")], says));
        }
    };
    Some(answer(403, &[("content-type", "application/xml")], says))
}

/// A request for a file that is there.
struct Request {
    shared: Arc<Shared>,
    connection: Connection,
    uri: Uri,
    seen: Seen,
    file: Served,
    sent: Arc<AtomicU64>,
}

impl Request {
    /// Answers with something else than the file, or with [`Request::file`].
    fn answer(self, fault: Fault) -> Response<Body> {
        match fault {
            Fault::Status(status, headers, body) => answer(status, &borrowed(&headers), body),
            Fault::NoParts if self.seen.range.is_some() => answer(416, &[], ""),
            Fault::Redirect(to) => answer(302, &[("location", &to)], ""),
            Fault::RedirectSigned(path) => {
                let host = self.connection.other_name();
                let to = format!("http://{host}{path}?{}", self.shared.sign(&path));
                answer(302, &[("location", &to)], "")
            }
            Fault::Page => {
                answer(200, &[("content-type", "text/html")], "<!DOCTYPE html><title>Log in</title>")
            }
            Fault::Gzip => {
                let mut headers = self.headers();
                headers.push(("content-encoding", "gzip".to_owned()));
                answer(200, &borrowed(&headers), gzip(&self.file.content))
            }
            fault => self.file(fault),
        }
    }

    fn file(self, fault: Fault) -> Response<Body> {
        let len = self.file.content.len();
        let (part, is_part) = match self.asked() {
            Asked::Whole => (0..len, false),
            Asked::Part(part) => (part, true),
            Asked::Outside => {
                return answer(416, &[("content-range", &format!("bytes */{len}"))], "");
            }
        };
        let manner = Manner::default();
        let (part, is_part, manner) = match fault {
            Fault::CutAfter(count) => (part, is_part, Manner { end: End::Cut(count as u64), ..manner }),
            Fault::StallAfter(count) => (part, is_part, Manner { end: End::Stall(count as u64), ..manner }),
            Fault::ChangeAfter(count, content) => {
                self.shared.replace(self.uri.path(), content);
                (part, is_part, Manner { end: End::Cut(count as u64), ..manner })
            }
            Fault::Trickle(rate) => (part, is_part, Manner { trickle: Some(rate), ..manner }),
            Fault::LengthOff(off) => {
                // Where more is promised than there is, the connection has to break.
                let end = if off > 0 { End::Cut(part.end - part.start) } else { End::Whole };
                (part, is_part, Manner { length: Some(off), end, ..manner })
            }
            Fault::Damaged => (part, is_part, Manner { damaged: true, ..manner }),
            Fault::Chunked => (0..len, false, Manner { length: None, ..manner }),
            Fault::Whole => (0..len, false, manner),
            Fault::Half if is_part => (part.start..part.start.midpoint(part.end + 1), true, manner),
            Fault::OtherStart if is_part => ((part.start + 1).min(part.end)..part.end, true, manner),
            Fault::OtherTotal if is_part => (part, true, Manner { total: 1, ..manner }),
            _ => (part, is_part, manner),
        };
        self.send(part, is_part, manner)
    }

    fn send(self, part: Range<u64>, is_part: bool, manner: Manner) -> Response<Body> {
        let mut headers = self.headers();
        if let Some(off) = manner.length {
            let length = (part.end - part.start).saturating_add_signed(off);
            headers.push(("content-length", length.to_string()));
        }
        if is_part {
            let (last, total) = (part.end.saturating_sub(1), self.file.content.len() + manner.total);
            headers.push(("content-range", format!("bytes {}-{last}/{total}", part.start)));
        }
        let sending = Sending {
            content: self.file.content,
            part,
            end: manner.end,
            damaged: manner.damaged,
            trickle: manner.trickle,
            connection: self.connection,
            shared: self.shared,
            path: self.uri.path().to_owned(),
            query: self.uri.query().map(str::to_owned),
            sent: self.sent,
        };
        answer(if is_part { 206 } else { 200 }, &borrowed(&headers), sending.body())
    }

    /// The headers that do not depend on the part.
    fn headers(&self) -> Headers {
        let file = &self.file;
        let mut headers =
            vec![("content-type", file.content_type.to_owned()), ("accept-ranges", "bytes".into())];
        headers.extend(file.validator().map(|etag| ("etag", etag)));
        headers.extend(file.modified().map(|date| ("last-modified", date)));
        headers
    }

    /// Returns what is asked for: the whole file where it has changed since (RFC 9110, 13.1.5).
    fn asked(&self) -> Asked {
        let (file, known) = (&self.file, self.seen.if_range.as_ref());
        let is_same = |known| match file.kind {
            Validator::Strong => [file.validator(), file.modified()].iter().flatten().any(|own| own == known),
            Validator::LastModified => file.modified().as_ref() == Some(known),
            Validator::Weak | Validator::None => false,
        };
        let range = self.seen.range.as_deref().filter(|_| known.is_none_or(is_same));
        asked(range, file.content.len())
    }
}

/// How a body is sent and what is said about it.
#[derive(Debug, Clone, Copy)]
struct Manner {
    end: End,
    /// The first byte is wrong.
    damaged: bool,
    /// Bytes a second of this answer alone.
    trickle: Option<u64>,
    /// `Content-Length` is so many bytes off; there is none when absent.
    length: Option<i64>,
    /// The total is so many bytes too large.
    total: u64,
}

impl Default for Manner {
    fn default() -> Self {
        Self { end: End::Whole, damaged: false, trickle: None, length: Some(0), total: 0 }
    }
}

fn borrowed<'a>(headers: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// Returns the content as the program `gzip` packs it. Blocks.
fn gzip(content: &Content) -> Vec<u8> {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&content.to_vec()).expect("it can be written");
    std::io::Seek::rewind(&mut file).expect("a file can be rewound");
    let output = Command::new("gzip").arg("-1c").stdin(file).stderr(Stdio::inherit()).output();
    output.expect("gzip is installed").stdout
}
