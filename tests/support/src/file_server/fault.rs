//! The ways in which a host can misbehave.

use super::content::Content;

/// What happens to one request for a path, in place of the file.
#[derive(Debug, Clone)]
pub enum Fault {
    /// None: the file, as it should be. Lets a fault meet a later request.
    None,
    /// The connection breaks after so many bytes of the body.
    CutAfter(usize),
    /// So many bytes of the body come, then nothing more.
    StallAfter(usize),
    /// The body comes with so many bytes a second.
    Trickle(u64),
    /// Another status, with headers and a body.
    Status(u16, Vec<(&'static str, String)>, &'static str),
    /// A redirect to this address.
    Redirect(String),
    /// A redirect to this path at the storage host `localhost`, freshly signed. Other hosts than the
    /// path's own may be asked for: see [`super::FileServer::signed`].
    RedirectSigned(String),
    /// Status 416 for any part. A request for the whole file passes.
    NoParts,
    /// The whole file whatever range was asked for, without a length.
    Chunked,
    /// The whole file whatever range was asked for, with its length.
    Whole,
    /// Half of the part that was asked for, and saying so: what a host may do, and few clients expect.
    /// This one and the next two let a request for the whole file pass.
    Half,
    /// A part that begins a byte later than was asked for, and says so.
    OtherStart,
    /// The part that was asked for, of a file that is said to be a byte longer.
    OtherTotal,
    /// The right bytes with a `Content-Length` that is so many bytes off. A body that is too short ends
    /// with the connection; one that is too long is cut.
    LengthOff(i64),
    /// The whole file compressed, as proxies do to what they take for text.
    Gzip,
    /// So many bytes of the body, then the connection breaks, and the file is another one from then on.
    ChangeAfter(usize, Content),
    /// The right number of bytes, of which the first one is wrong.
    Damaged,
    /// A page with status 200.
    Page,
}

impl Fault {
    /// Too many requests, with the pause in seconds that the host asks for, if it does.
    pub fn too_many(retry_after: Option<u64>) -> Self {
        let headers = retry_after.map(|seconds| ("retry-after", seconds.to_string()));
        Self::Status(429, headers.into_iter().collect(), "")
    }

    /// Too many requests, as Hugging Face says it: `seconds` to the window's end.
    pub fn rate_limited(seconds: u64) -> Self {
        Self::Status(429, rate_limit(0, seconds).into(), "We had to rate limit your IP")
    }

    /// A host that is busy: status 503, and another attempt may follow at once.
    pub fn busy() -> Self {
        Self::Status(503, vec![("retry-after", "0".to_owned())], "")
    }
}

/// Hugging Face's headers for what is left of a window that ends in `seconds`.
pub(crate) fn rate_limit(left: u64, seconds: u64) -> [(&'static str, String); 2] {
    [
        ("ratelimit", format!("\"resolvers\";r={left};t={seconds}")),
        ("ratelimit-policy", "\"fixed window\";\"resolvers\";q=3000;w=300".to_owned()),
    ]
}

/// What a file's answers tell it apart from another by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Validator {
    /// An ETag that follows the content, and `Last-Modified`.
    #[default]
    Strong,
    /// The same ETag, marked as weak: no part may be joined by it.
    Weak,
    /// `Last-Modified` alone.
    LastModified,
    /// Nothing.
    None,
}
