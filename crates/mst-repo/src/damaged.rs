//! Remembers damaged blocks, so that each is read and hashed only once in a walk through a
//! repository, however many links lead to it.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use blockstore_core::{BlockStore, Bytes, Cid, StoreError};
use mst_ops::NodeStore;

use crate::Repository;

/// A store that remembers which blocks were damaged, for the time of a walk.
#[derive(Debug)]
pub(crate) struct RememberingDamage<S> {
    blocks: S,
    damaged: Mutex<HashSet<Cid>>,
}

impl<S> RememberingDamage<S> {
    fn new(blocks: S) -> Self {
        Self {
            blocks,
            damaged: Mutex::default(),
        }
    }

    /// Whether a block was found to be damaged.
    pub(crate) fn is_damaged(&self, cid: &Cid) -> bool {
        self.damaged().contains(cid)
    }

    fn damaged(&self) -> MutexGuard<'_, HashSet<Cid>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'r, S: BlockStore> RememberingDamage<&'r S> {
    /// The nodes of a repository, for verifying or salvaging it.
    pub(crate) fn nodes_of(repository: &'r Repository<S>) -> NodeStore<Self> {
        let options = repository.nodes().options().verifying();
        NodeStore::with_options(Self::new(repository.blocks()), options)
    }
}

impl<S: BlockStore> BlockStore for RememberingDamage<S> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        if self.is_damaged(cid) {
            return Err(StoreError::HashMismatch(*cid));
        }
        self.blocks.get(cid).inspect_err(|error| {
            if let StoreError::HashMismatch(cid) = error {
                self.damaged().insert(*cid);
            }
        })
    }

    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        self.blocks.has(cid)
    }

    fn get_many(&self, cids: &[Cid]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.blocks.get_many(cids)
    }

    fn will_get(&self, cids: &mut dyn Iterator<Item = Cid>) {
        self.blocks.will_get(cids);
    }
}
