//! Blocks in memory.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use cid::multihash::Multihash;
use cid::{Cid, Version};
use hashbrown::HashMap;

use crate::{BlockStore, BlockStoreMut, SHA2_256, StoreError, check_block, is_verifiable};

/// A store that keeps its blocks in memory, and can be shared between threads.
///
/// Each block is checked as it comes in, so [`get`](BlockStore::get) costs a look-up and no hash.
/// Only blocks whose CID can be verified (sha2-256) are accepted. `put_many` keeps all of its
/// blocks or none.
///
/// A block is kept as it is given: a [`Bytes`] that is a slice of something larger, perhaps of a
/// CAR in memory, keeps all of that alive (a [`Bytes::copy_from_slice`] does not).
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

/// All that distinguishes the CIDs in this store, in less than half the size of a [`Cid`].
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    digest: [u8; 32],
    codec: u64,
    version: Version,
}

impl Hash for Key {
    /// Hashes only the first 64 bits of the digest: finding blocks whose digests agree in these
    /// takes too many hashes to fill a table with them.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let start = self.digest.first_chunk().copied();
        state.write_u64(u64::from_ne_bytes(start.unwrap_or_default()));
    }
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

    fn cid(&self) -> Cid {
        let hash = Multihash::wrap(SHA2_256, &self.digest);
        let hash = hash.expect("a multihash has room for 32 bytes");
        Cid::new(self.version, self.codec, hash).expect("these are the parts of a CID")
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

    /// Drops the blocks for which `keep` returns `false`, and returns how many there were.
    ///
    /// For garbage collection: `mst_repo::reachable` says which blocks are in use. `keep` may use
    /// the store, and so may other threads in the meantime. But what they put after `reachable` was
    /// called is not known to it, and may be dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_core::{BlockStoreMut, MemoryBlockStore, dag_cbor_cid};
    ///
    /// let store = MemoryBlockStore::new();
    /// let used = dag_cbor_cid(b"\xa0");
    /// store.put(&used, b"\xa0".as_slice().into())?;
    /// store.put(&dag_cbor_cid(b"\x80"), b"\x80".as_slice().into())?;
    /// assert_eq!(store.retain(|cid| *cid == used), 1);
    /// assert_eq!(store.len(), 1);
    /// # Ok::<(), blockstore_core::StoreError>(())
    /// ```
    pub fn retain(&self, mut keep: impl FnMut(&Cid) -> bool) -> usize {
        let mut unwanted: Vec<Key> = self.read().keys().copied().collect();
        unwanted.retain(|key| !keep(&key.cid()));
        let mut blocks = self.write();
        let gone = |key: &&Key| blocks.remove(*key).is_some();
        unwanted.iter().filter(gone).count()
    }

    /// Returns the CIDs of all blocks, in no particular order.
    pub fn cids(&self) -> Vec<Cid> {
        self.read().keys().map(Key::cid).collect()
    }

    // A panic while the lock is held cannot leave the map half changed, so poisoning can be
    // ignored.
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Key, Bytes>> {
        self.blocks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Key, Bytes>> {
        self.blocks.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks a block and returns the key to keep it under.
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
        held.reserve(keys.len());
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

    fn delete_many(&self, cids: &[Cid]) -> Result<(), StoreError> {
        let mut blocks = self.write();
        for key in cids.iter().filter_map(Key::new) {
            blocks.remove(&key);
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
#[allow(clippy::unwrap_used, reason = "a panic in a test is the report")]
mod tests {
    use bytes::Bytes;

    use super::MemoryBlockStore;
    use crate::{BlockStore, BlockStoreMut, Cid, dag_cbor_cid, raw_cid};

    #[test]
    fn memory_store_keeps_the_contract() {
        crate::contract::read_write(MemoryBlockStore::new);
    }

    #[test]
    fn all_of_many_are_put_or_none() {
        let store = MemoryBlockStore::new();
        let block = Bytes::from_static(b"\xa0");
        let right = (dag_cbor_cid(&block), block.clone());
        let wrong = (dag_cbor_cid(b"\x80"), block);
        assert!(store.put_many(&[right, wrong]).is_err());
        assert!(store.is_empty());
    }

    #[test]
    fn a_sweep_counts_what_it_drops_and_not_what_others_do() {
        let store = MemoryBlockStore::new();
        for block in [b"\xa0", b"\x80"] {
            let put = store.put(&dag_cbor_cid(block), block.as_slice().into());
            put.unwrap();
        }
        let dropped = store.retain(|cid| {
            store.delete(cid).unwrap();
            false
        });
        assert_eq!((dropped, store.len()), (0, 0));
    }

    #[test]
    fn a_sweep_asks_for_the_cids_that_were_put_whatever_their_form() {
        let store = MemoryBlockStore::new();
        let block = b"\xa0".as_slice();
        let (cbor, raw) = (dag_cbor_cid(block), raw_cid(block));
        let version_0 = Cid::new_v0(*cbor.hash()).unwrap();
        for cid in [cbor, raw, version_0] {
            store.put(&cid, block.into()).unwrap();
        }
        let mut asked = Vec::new();
        let dropped = store.retain(|cid| {
            asked.push(*cid);
            *cid == version_0
        });
        assert_eq!(dropped, 2);
        asked.sort();
        let mut expected = vec![cbor, raw, version_0];
        expected.sort();
        assert_eq!(asked, expected);
        assert!(store.has(&version_0).unwrap() && !store.has(&raw).unwrap());
    }
}
