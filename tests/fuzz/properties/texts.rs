//! What holds for every text that `proto` reads: lines of clients, specs, locks, links.

use super::is_short;
use super::spec::check;
use proto::rpc::{MAX_ID_BYTES, Message, RequestId};
use proto::{Lock, ModelSource};

/// A line of a client.
pub(crate) fn frame(data: &[u8]) {
    match Message::read(data) {
        Err(error) => {
            is_short(&error.to_string());
            assert!(matches!(error.code(), -32700 | -32600));
        }
        Ok(message) => {
            if let Some(RequestId::Text(id)) = &message.id {
                assert!(id.len() <= MAX_ID_BYTES);
            }
            let written = serde_json::to_string(&message).unwrap();
            let read = Message::read(written.as_bytes()).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), written);
        }
    }
}

/// A spec's text.
pub(crate) fn spec(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        check(text);
    }
}

/// A lock's text.
pub(crate) fn lock(data: &[u8]) {
    match serde_json::from_slice::<Lock>(data) {
        Err(error) => assert!(error.line() > 0 || data.is_empty(), "{error}"),
        Ok(lock) => {
            let written = serde_json::to_string(&lock).unwrap();
            let read: Lock = serde_json::from_str(&written).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), written);
        }
    }
}

/// A model's link.
pub(crate) fn source(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match ModelSource::parse(text) {
        Err(error) => is_short(&error.to_string()),
        Ok(source) => {
            let again = ModelSource::parse(source.as_str()).unwrap();
            assert_eq!(again.as_str(), source.as_str(), "the canonical link is its own");
            let public = source.without_secrets();
            assert_eq!(public.without_secrets(), public);
            assert!(source.file_name().is_none_or(|name| !name.is_empty() && !name.contains('/')));
        }
    }
}
