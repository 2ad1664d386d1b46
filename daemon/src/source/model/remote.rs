//! A file at some host, as the transfer sees it: readable from any offset, by any number of
//! connections, with a way to tell whether it is still the same file.

use super::error::ModelError;
use crate::ctx::Ctx;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Stands for the file as a whole: it is asked for without naming a part, for hosts that refuse parts.
pub(super) const WHOLE: Range<u64> = 0..u64::MAX;

/// A file at a host. One value serves one transfer: it may remember the signed address that a redirect
/// led to, and must find a new one when the host refuses the old one.
pub(super) trait Remote: Send + Sync {
    /// Host that connections are counted for. It may become known only with the first answer.
    fn host(&self) -> String;

    /// Asks for a part of the file; its end may lie behind the file's end. Makes one attempt. Cancel-safe.
    ///
    /// With `expected`, the answer is refused by [`ModelError::Changed`] unless it belongs to that very
    /// file, as far as the host lets one tell. [`WHOLE`] asks for no part. A host that cannot serve parts answers with the whole file.
    fn open(
        &self,
        ctx: &Ctx,
        part: Range<u64>,
        expected: Option<&Identity>,
    ) -> impl Future<Output = Result<Opened, ModelError>> + Send;
}

/// What tells one file of a host from another that stands at the same link later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Bytes of the whole file, where the host tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Strong ETag, else `Last-Modified`, as `If-Range` takes it. Parts without one are never resumed by
    /// another process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validator: Option<String>,
    /// SHA-256 of the content in lower-case hex, where the host tells (Hugging Face, Civitai).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Commit that the link stood for, where the host has commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// An answer that carries the file or a part of it.
pub(super) struct Opened {
    /// Offset of the body's first byte in the file.
    pub(super) start: u64,
    /// Whether the host truly served a part: status 206 with the exact `Content-Range`.
    pub(super) is_part: bool,
    /// What file it is.
    pub(super) identity: Identity,
    /// The bytes. It ends early when the connection breaks without an error: count them.
    pub(super) body: BoxStream<'static, Result<Bytes, BodyError>>,
}

/// Why a body ended early.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;
