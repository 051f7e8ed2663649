//! Remembers blocks that are not nodes, and nodes that were found out of place, so that each is
//! read and decoded once, however many links lead to it.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use hashbrown::HashMap;
use mst_node::DIGEST_LEN;

use crate::node_store::DigestKey;
use crate::place::{Site, Stature};
use crate::{Error, InvalidNode, TreeNode};

/// What a node store has found out about bad nodes, by their digests. What a digest stands for does
/// not change, so this stays true as long as the block store checks hashes.
#[derive(Debug, Default)]
pub(crate) struct BadNodes(OnceLock<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    nodes: HashMap<DigestKey, Bad>,
    /// How much memory they take, roughly.
    bytes: usize,
}

#[derive(Debug)]
enum Bad {
    /// It is not a node.
    Invalid(InvalidNode),
    /// It was out of place somewhere, and may be in place elsewhere.
    Misplaced(Stature),
}

impl BadNodes {
    /// How much memory they may take. Above that, all of them are forgotten.
    const MAX_BYTES: usize = 64 << 20;

    /// Whether no bad nodes are known.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }

    /// Returns what is wrong with the block of `digest`, if it was found not to be a node.
    #[inline]
    pub(crate) fn invalid(&self, digest: &[u8; DIGEST_LEN]) -> Option<InvalidNode> {
        match lock(self.0.get()?).nodes.get(&DigestKey(*digest))? {
            Bad::Invalid(fault) => Some(fault.clone()),
            Bad::Misplaced(_) => None,
        }
    }

    /// Checks that the node of `digest`, if it was out of place before, is in place at `site`.
    pub(crate) fn check(&self, digest: &[u8; DIGEST_LEN], site: &Site<'_>) -> Result<(), Error> {
        let Some(known) = self.0.get() else {
            return Ok(());
        };
        match lock(known).nodes.get(&DigestKey(*digest)) {
            Some(Bad::Misplaced(stature)) => stature.check(digest, site),
            Some(Bad::Invalid(_)) | None => Ok(()),
        }
    }

    pub(crate) fn insert_invalid(&self, digest: &[u8; DIGEST_LEN], fault: InvalidNode) {
        self.insert(digest, Bad::Invalid(fault), 0);
    }

    /// Remembers a node that is out of place. One without keys is not worth it, as it decodes at
    /// once.
    pub(crate) fn insert_misplaced(&self, node: &TreeNode) {
        if let Some(stature) = Stature::of(node) {
            let keys_len = stature.keys_len();
            self.insert(node.digest(), Bad::Misplaced(stature), keys_len);
        }
    }

    fn insert(&self, digest: &[u8; DIGEST_LEN], bad: Bad, keys_len: usize) {
        let mut known = lock(self.0.get_or_init(Mutex::default));
        let bytes = 2 * size_of::<(DigestKey, Bad)>() + keys_len;
        if known.bytes + bytes > Self::MAX_BYTES {
            *known = Known::default();
        }
        known.bytes += bytes;
        known.nodes.insert(DigestKey(*digest), bad);
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
