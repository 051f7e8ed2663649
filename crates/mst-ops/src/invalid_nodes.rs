//! Blocks that are no nodes, so that each is read and decoded once, however many links lead to it.

use std::sync::{Mutex, OnceLock, PoisonError};

use hashbrown::HashMap;
use mst_node::DIGEST_LEN;

use crate::InvalidNode;
use crate::node_store::DigestKey;

/// What is wrong with blocks, by their digests: what a digest stands for does not change, so it stays
/// wrong.
#[derive(Debug, Default)]
pub(crate) struct InvalidNodes(OnceLock<Mutex<Faults>>);

type Faults = HashMap<DigestKey, InvalidNode>;

impl InvalidNodes {
    /// How many are remembered: with as many again, the memory begins anew.
    const MOST: usize = 1 << 16;

    /// Returns what is wrong with the block of `digest`, if that was found before.
    #[inline]
    pub(crate) fn get(&self, digest: &[u8; DIGEST_LEN]) -> Option<InvalidNode> {
        let faults = self.0.get()?;
        let faults = faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.get(&DigestKey(*digest)).cloned()
    }

    /// Remembers what is wrong with the block of `digest`.
    pub(crate) fn insert(&self, digest: &[u8; DIGEST_LEN], fault: InvalidNode) {
        let faults = self.0.get_or_init(Mutex::default);
        let mut faults = faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() >= Self::MOST {
            faults.clear();
        }
        faults.insert(DigestKey(*digest), fault);
    }
}
