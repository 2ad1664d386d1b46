//! SHA-256 of a file whose bytes arrive in order: then it costs neither another read nor waiting, since it
//! is made on the thread that writes while the connection goes on.

use super::data::Batch;
use crate::store::hex;
use sha2::{Digest as _, Sha256};

/// See the module. What does not arrive in order is passed over, and then there is no digest.
#[derive(Debug, Default)]
pub(super) struct InOrder {
    hash: Sha256,
    at: u64,
}

impl InOrder {
    /// Takes note of bytes. Computes for about a millisecond a megabyte.
    pub(super) fn add(&mut self, batch: &Batch) {
        if batch.range().start != self.at {
            return;
        }
        batch.pieces().for_each(|piece| self.hash.update(piece));
        self.at = batch.range().end;
    }

    /// Returns the digest in lower-case hex, if all `size` bytes came in order.
    pub(super) fn finish(self, size: u64) -> Option<String> {
        (self.at == size).then(|| hex(&self.hash.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn batch(start: u64, text: &'static str) -> Batch {
        let mut batch = Batch::at(start);
        batch.push(Bytes::from_static(text.as_bytes()));
        batch
    }

    #[test]
    fn only_bytes_in_order_have_a_digest() {
        let mut in_order = InOrder::default();
        in_order.add(&batch(0, "ab"));
        in_order.add(&batch(2, "c"));
        // FIPS 180-4's example.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(in_order.finish(3).as_deref(), Some(abc));
        let mut gap = InOrder::default();
        gap.add(&batch(0, "ab"));
        gap.add(&batch(3, "d"));
        assert_eq!(gap.finish(4), None);
    }
}
