//! Large records that more than one path leads to.

use std::collections::HashSet;

use blockstore_core::Cid;

/// Which large records were read. With these, an untrusted repository could make us read megabytes
/// for a few bytes of path, many times. There are no more of them than fit into a store.
#[derive(Debug, Default)]
pub(crate) struct LargeRecords(HashSet<Cid>);

impl LargeRecords {
    /// Records of this length and more are large.
    const LEN: usize = 16 << 10;

    pub(crate) fn has(&self, cid: &Cid) -> bool {
        !self.0.is_empty() && self.0.contains(cid)
    }

    /// Remembers a record if it is large. Returns `false` only for a large record that was
    /// remembered before.
    pub(crate) fn note(&mut self, cid: &Cid, record: &[u8]) -> bool {
        record.len() < Self::LEN || self.0.insert(*cid)
    }
}
