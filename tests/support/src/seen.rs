//! Requests that a host has seen.

use axum::http::{HeaderMap, Method, Uri};
use std::sync::Mutex;

/// A request that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `GET`, mostly.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// `Host` header.
    pub host: String,
    /// `Range` header.
    pub range: Option<String>,
    /// `If-Range` header.
    pub if_range: Option<String>,
    /// `Authorization` header.
    pub authorization: Option<String>,
    /// `User-Agent` header.
    pub user_agent: String,
}

impl Seen {
    pub(crate) fn new(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Self {
            method: method.to_string(),
            path: uri.to_string(),
            host: header("host").unwrap_or_default(),
            range: header("range"),
            if_range: header("if-range"),
            authorization: header("authorization"),
            user_agent: header("user-agent").unwrap_or_default(),
        }
    }
}

/// All requests, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Vec<Seen>>);

impl Log {
    pub(crate) fn add(&self, seen: Seen) {
        self.0.lock().expect("no panic with the lock held").push(seen);
    }

    pub(crate) fn all(&self) -> Vec<Seen> {
        self.0.lock().expect("no panic with the lock held").clone()
    }
}
