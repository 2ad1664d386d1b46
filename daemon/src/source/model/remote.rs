//! A file at some host, as the transfer sees it: readable from any offset, by any number of
//! connections, with a way to tell whether it is still the same file.

use super::error::ModelError;
use crate::ctx::Ctx;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A file at a host. One value serves one transfer: it may remember the signed address that a redirect
/// led to, and must find a new one when the host refuses the old one.
pub(super) trait Remote: Send + Sync {
    /// Host that connections are counted for. It may become known only with the first answer.
    fn host(&self) -> String;

    /// Asks for a part of the file; its end may lie behind the file's end. [`WHOLE`] asks for the whole
    /// file in the plainest way, which hosts understand that refuse parts. Makes one attempt. Cancel-safe.
    ///
    /// With `expected`, the answer is refused by [`ModelError::Changed`] unless it belongs to that very
    /// file, as far as the host lets one tell. A host that cannot serve parts answers with the whole
    /// file; one that sends another part than was asked for is refused by [`ModelError::WrongPart`].
    fn open(
        &self,
        ctx: &Ctx,
        part: Range<u64>,
        expected: Option<&Identity>,
    ) -> impl Future<Output = Result<Opened, ModelError>> + Send;
}

/// The part that is the whole file.
pub(super) const WHOLE: Range<u64> = 0..u64::MAX;

/// What tells one file of a host from another that stands at the same link later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Bytes of the whole file, where the host tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Strong ETag, else `Last-Modified`, as `If-Range` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validator: Option<String>,
    /// SHA-256 of the content in lower-case hex, where the host tells (Hugging Face, Civitai).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Commit that the link stood for, where the host has commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

impl Identity {
    /// Returns whether anything but its size tells the file from another one. Without that, parts are
    /// never joined to what came from another answer.
    pub(super) fn can_be_told(&self) -> bool {
        self.validator.is_some() || self.sha256.is_some() || self.commit.is_some()
    }

    /// Returns whether both are one file, as far as can be told.
    ///
    /// The content's checksum decides where both know it: a branch moves on and storage hosts take turns,
    /// each with an ETag of its own, while the file stays the same. Then the validator, then the commit.
    pub fn is_same_file(&self, other: &Self) -> bool {
        let other_size = self.size.zip(other.size).is_some_and(|(a, b)| a != b);
        let by = |of: fn(&Self) -> Option<&String>| of(self).zip(of(other));
        let told = by(|file| file.sha256.as_ref())
            .or_else(|| by(|file| file.validator.as_ref()))
            .or_else(|| by(|file| file.commit.as_ref()));
        !other_size && told.is_none_or(|(a, b)| a == b)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_sign_that_both_have_decides() {
        let file = |size, validator: &str, sha256: &str, commit: &str| {
            let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            Identity { size, validator: text(validator), sha256: text(sha256), commit: text(commit) }
        };
        let first = file(Some(1), "\"a\"", "s", "c");
        let table = [
            (file(Some(1), "\"b\"", "s", "d"), true, "another storage host, a newer commit"),
            (file(Some(1), "\"a\"", "t", "c"), false, "another checksum"),
            (file(Some(2), "\"a\"", "s", "c"), false, "another size"),
            (file(None, "\"a\"", "", "d"), true, "the same ETag"),
            (file(None, "\"b\"", "", "c"), false, "another ETag"),
            (file(None, "", "", "d"), false, "another commit"),
            (file(None, "", "", ""), true, "nothing is known"),
        ];
        for (second, same, why) in table {
            assert_eq!(first.is_same_file(&second), same, "{why}");
            assert_eq!(second.is_same_file(&first), same, "{why}");
        }
    }
}
