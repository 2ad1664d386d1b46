//! Signed addresses: a path that answers only who holds a fresh signature.

use std::time::{Duration, Instant};

/// How long a signature counts. An answer that has begun goes on to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Until the server ends.
    Forever,
    /// From its issue.
    Time(Duration),
    /// So many requests.
    Uses(u32),
    /// Until so many bytes were sent by it.
    Bytes(u64),
}

/// How storage answers a signature that expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expired {
    /// S3, R2, CloudFront: 403 with XML.
    #[default]
    Forbidden,
    /// Backblaze B2: 401 with JSON.
    Unauthorized,
}

/// The signatures of one path.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) life: Life,
    pub(super) expired: Expired,
    issued: Vec<Signature>,
}

#[derive(Debug)]
struct Signature {
    issued: Instant,
    uses: u32,
    bytes: u64,
}

/// The parameter that carries a signature.
pub(super) const PARAMETER: &str = "X-Amz-Signature=";

impl Signed {
    pub(super) fn new(life: Life, expired: Expired) -> Self {
        Self { life, expired, issued: Vec::new() }
    }

    /// Returns a fresh signature.
    pub(super) fn sign(&mut self) -> String {
        self.issued.push(Signature { issued: Instant::now(), uses: 0, bytes: 0 });
        format!("{PARAMETER}s1gned{}", self.issued.len())
    }

    /// Uses a signature for a request, if it is good for one.
    pub(super) fn admits(&mut self, query: Option<&str>) -> bool {
        let life = self.life;
        let Some(signature) = self.find(query) else { return false };
        signature.uses += 1;
        match life {
            Life::Forever => true,
            Life::Time(time) => signature.issued.elapsed() < time,
            Life::Uses(uses) => signature.uses <= uses,
            Life::Bytes(bytes) => signature.bytes < bytes,
        }
    }

    /// Notes bytes that were sent by a signature.
    pub(super) fn sent(&mut self, query: Option<&str>, bytes: u64) {
        if let Some(signature) = self.find(query) {
            signature.bytes += bytes;
        }
    }

    fn find(&mut self, query: Option<&str>) -> Option<&mut Signature> {
        let mut parameters = query?.split('&');
        let number = parameters.find_map(|text| text.strip_prefix(PARAMETER)?.strip_prefix("s1gned"))?;
        let index = number.parse::<usize>().ok()?.checked_sub(1)?;
        self.issued.get_mut(index)
    }
}
