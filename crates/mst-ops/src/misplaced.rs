//! Nodes that were found out of their place, so that each is decoded once, however many links lead to
//! it, of which at most one can be right.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hashbrown::HashMap;
use mst_node::DIGEST_LEN;

use crate::node_store::DigestKey;
use crate::place::{Site, Stature};
use crate::{Error, TreeNode};

/// What of a tree's misplaced nodes decides where they may stand. Two keys of each, which together are
/// no longer than its block twice over.
#[derive(Debug, Clone, Default)]
pub(crate) struct Misplaced(OnceLock<Arc<Mutex<Statures>>>);

type Statures = HashMap<DigestKey, Stature>;

impl Misplaced {
    /// Whether there is none so far.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }

    /// Checks that the node of `digest`, if it was misplaced before, is not so at `site`.
    pub(crate) fn check(&self, digest: &[u8; DIGEST_LEN], site: &Site<'_>) -> Result<(), Error> {
        let Some(statures) = self.0.get() else {
            return Ok(());
        };
        let statures = statures.lock().unwrap_or_else(PoisonError::into_inner);
        let stature = statures.get(&DigestKey(*digest));
        stature.map_or(Ok(()), |stature| stature.check(digest, site))
    }

    /// Remembers a node that is misplaced. Those without keys take no time to decode.
    pub(crate) fn insert(&self, node: &TreeNode) {
        if let Some(stature) = Stature::of(node) {
            let statures = self.0.get_or_init(Arc::default);
            let mut statures = statures.lock().unwrap_or_else(PoisonError::into_inner);
            statures.insert(DigestKey(*node.digest()), stature);
        }
    }
}
