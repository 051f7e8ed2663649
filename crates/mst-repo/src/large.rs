//! Large records, and paths that lead to one again.

use std::collections::HashSet;

use blockstore_core::Cid;

/// Which large records were read, as those are what a stranger could have one read for many paths:
/// a few bytes of path for megabytes of record. There are not more of them than fit into a store.
#[derive(Debug, Default)]
pub(crate) struct LargeRecords(HashSet<Cid>);

impl LargeRecords {
    /// The length from which on a record is large.
    const LEN: usize = 16 << 10;

    pub(crate) fn has(&self, cid: &Cid) -> bool {
        !self.0.is_empty() && self.0.contains(cid)
    }

    /// Notes a record if it is large. Returns whether it was not there yet, as one that is not
    /// large never is.
    pub(crate) fn note(&mut self, cid: &Cid, record: &[u8]) -> bool {
        record.len() < Self::LEN || self.0.insert(*cid)
    }
}
