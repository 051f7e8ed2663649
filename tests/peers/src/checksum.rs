//! The checksum that reveals a wrong result: the same for every engine and for the
//! generator of the data, which includes this file. It depends on nothing.

/// A running, order-dependent sum over pairs of a key and a value.
///
/// It takes the length and the last eight bytes of each: enough to detect a pair that is missing,
/// repeated, out of place or paired wrongly, and at a nanosecond or two per pair, negligible beside
/// what the engines do. It is not meant to resist an attacker.
///
/// The value is the record's bytes where a workload reads records, and otherwise the digest of
/// the value's CID: its last 32 bytes, since not every crate has the CID's bytes for free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checksum(u64);

impl Checksum {
    /// Returns the sum over no pairs.
    pub(crate) const fn new() -> Self {
        Self(SEED)
    }

    /// Adds one pair.
    #[inline]
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        for word in [key.len() as u64, tail(key), value.len() as u64, tail(value)] {
            self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(MULTIPLIER);
        }
    }

    /// Returns the sum over the pairs so far.
    pub(crate) const fn value(self) -> u64 {
        self.0
    }
}

/// Returns the last eight bytes as a little-endian number; of fewer bytes, all of them.
#[inline]
fn tail(bytes: &[u8]) -> u64 {
    match bytes.last_chunk() {
        Some(last) => u64::from_le_bytes(*last),
        None => bytes
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const MULTIPLIER: u64 = 0xff51_afd7_ed55_8ccd;
