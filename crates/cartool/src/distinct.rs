//! Counts different blocks.

use std::hash::{BuildHasher, RandomState};

use atproto_mst::Cid;

/// Counts CIDs, each once however often it occurs, using eight bytes per occurrence.
///
/// It keeps a keyed hash of each, for which nobody can choose CIDs; among a million, two have the
/// same hash once in 37 million runs.
#[derive(Default)]
pub(crate) struct Distinct {
    hashes: Vec<u64>,
    hasher: RandomState,
}

impl Distinct {
    pub(crate) fn note(&mut self, cid: &Cid) {
        self.hashes.push(self.hasher.hash_one(cid));
    }

    pub(crate) fn count(mut self) -> usize {
        self.hashes.sort_unstable();
        self.hashes.dedup();
        self.hashes.len()
    }
}

#[cfg(test)]
mod tests {
    use atproto_mst::raw_cid;

    use super::Distinct;

    #[test]
    fn each_is_counted_once() {
        let mut distinct = Distinct::default();
        for n in [1_u8, 2, 1, 3, 3, 1] {
            distinct.note(&raw_cid(&[n]));
        }
        assert_eq!(distinct.count(), 3);
    }
}
