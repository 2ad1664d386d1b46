//! What a host tells about a file before it sends it.

/// What a host tells about a file before it sends it. Empty for hosts that tell nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Bytes of the whole file.
    pub(super) size: Option<u64>,
    /// SHA-256 of the content in lower-case hex.
    pub(super) sha256: Option<String>,
    /// Commit that the link stands for.
    pub(super) commit: Option<String>,
}

impl Listing {
    /// Returns a checksum in lower case; `None` for what is no SHA-256.
    pub(super) fn sha256(text: &str) -> Option<String> {
        let hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then(|| text.to_ascii_lowercase())
    }
}
