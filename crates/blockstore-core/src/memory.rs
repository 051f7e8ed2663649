//! Blocks in memory.

use std::fmt;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use cid::{Cid, Version};
use hashbrown::HashMap;

use crate::{BlockStore, BlockStoreMut, StoreError, check_block, is_verifiable};

/// A store that keeps its blocks in memory, and can be shared between threads.
///
/// Each block is checked as it comes in, so [`get`](BlockStore::get) costs a look-up and
/// no hash. Only blocks whose CID can be verified (sha2-256) are taken. `put_many` keeps
/// all of its blocks or none.
///
/// # Examples
///
/// ```
/// use blockstore_core::{BlockStoreMut, MemoryBlockStore, StoreError, dag_cbor_cid};
///
/// let store = MemoryBlockStore::new();
/// let cid = dag_cbor_cid(b"\xa0");
/// store.put(&cid, b"\xa0".as_slice().into())?;
///
/// let other_bytes = store.put(&cid, b"\x80".as_slice().into());
/// assert!(matches!(other_bytes, Err(StoreError::HashMismatch(_))));
/// assert_eq!(store.len(), 1);
/// # Ok::<(), StoreError>(())
/// ```
#[derive(Default)]
pub struct MemoryBlockStore {
    blocks: RwLock<HashMap<Key, Bytes>>,
}

/// What distinguishes the CIDs that the store takes, in less than half of a [`Cid`]'s size.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    digest: [u8; 32],
    codec: u64,
    version: Version,
}

impl Key {
    /// The key of a CID that can be verified.
    fn new(cid: &Cid) -> Option<Self> {
        let digest = cid.hash().digest().try_into().ok()?;
        is_verifiable(cid).then_some(Self {
            digest,
            codec: cid.codec(),
            version: cid.version(),
        })
    }
}

impl MemoryBlockStore {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of blocks.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Returns whether the store holds no block.
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    // A panic while the lock is held cannot leave the map half changed, so a poisoned
    // lock is as good as any.
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Key, Bytes>> {
        self.blocks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Key, Bytes>> {
        self.blocks.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks a block and gives the key to keep it under.
fn checked_key(cid: &Cid, block: &[u8]) -> Result<Key, StoreError> {
    check_block(cid, block)?;
    Key::new(cid).ok_or(StoreError::Unverifiable(*cid))
}

impl BlockStore for MemoryBlockStore {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        let key = Key::new(cid);
        Ok(key.and_then(|key| self.read().get(&key).cloned()))
    }

    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        let key = Key::new(cid);
        Ok(key.is_some_and(|key| self.read().contains_key(&key)))
    }

    fn get_many(&self, cids: &[Cid]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let blocks = self.read();
        let get = |cid| blocks.get(&Key::new(cid)?).cloned();
        Ok(cids.iter().map(get).collect())
    }
}

impl BlockStoreMut for MemoryBlockStore {
    fn put(&self, cid: &Cid, block: Bytes) -> Result<(), StoreError> {
        let key = checked_key(cid, &block)?;
        self.write().entry(key).or_insert(block);
        Ok(())
    }

    fn put_many(&self, blocks: &[(Cid, Bytes)]) -> Result<(), StoreError> {
        let keys: Vec<Key> = blocks
            .iter()
            .map(|(cid, block)| checked_key(cid, block))
            .collect::<Result<_, _>>()?;
        let mut held = self.write();
        for (key, (_, block)) in keys.into_iter().zip(blocks) {
            held.entry(key).or_insert_with(|| block.clone());
        }
        Ok(())
    }

    fn delete(&self, cid: &Cid) -> Result<(), StoreError> {
        if let Some(key) = Key::new(cid) {
            self.write().remove(&key);
        }
        Ok(())
    }
}

impl fmt::Debug for MemoryBlockStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBlockStore")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryBlockStore;

    #[test]
    fn memory_store_keeps_the_contract() {
        crate::contract::read_write(MemoryBlockStore::new);
    }
}
