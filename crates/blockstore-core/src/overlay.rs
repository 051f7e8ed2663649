//! One store on top of another.

use bytes::Bytes;
use cid::Cid;

use crate::{BlockStore, BlockStoreMut, StoreError};

/// Two stores as one: reads ask the upper, then the lower; writes and deletes go to the upper only.
///
/// This lets you try a change on data that must stay as it is, for example a CAR file. A block that
/// the lower store holds is still there after a delete.
///
/// Each block is checked by the store it comes from, when that store checks blocks.
///
/// # Examples
///
/// ```
/// use blockstore_core::{
///     BlockStore, BlockStoreMut, MemoryBlockStore, OverlayBlockStore, dag_cbor_cid,
/// };
///
/// let base = MemoryBlockStore::new();
/// base.put(&dag_cbor_cid(b"\xa0"), b"\xa0".as_slice().into())?;
///
/// let overlay = OverlayBlockStore::new(MemoryBlockStore::new(), &base);
/// overlay.put(&dag_cbor_cid(b"\x80"), b"\x80".as_slice().into())?;
/// assert!(overlay.has(&dag_cbor_cid(b"\xa0"))?);
/// assert!(overlay.has(&dag_cbor_cid(b"\x80"))?);
/// assert_eq!(base.len(), 1);
/// # Ok::<(), blockstore_core::StoreError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct OverlayBlockStore<U, L> {
    upper: U,
    lower: L,
}

impl<U, L> OverlayBlockStore<U, L> {
    /// Lays `upper` over `lower`.
    pub fn new(upper: U, lower: L) -> Self {
        Self { upper, lower }
    }

    /// Returns the store that is asked first and takes the writes.
    pub fn upper(&self) -> &U {
        &self.upper
    }

    /// Returns the store that is asked second.
    pub fn lower(&self) -> &L {
        &self.lower
    }

    /// Takes the two stores apart: the upper, the lower.
    pub fn into_parts(self) -> (U, L) {
        (self.upper, self.lower)
    }
}

impl<U: BlockStore, L: BlockStore> BlockStore for OverlayBlockStore<U, L> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        match self.upper.get(cid)? {
            Some(block) => Ok(Some(block)),
            None => self.lower.get(cid),
        }
    }

    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        Ok(self.upper.has(cid)? || self.lower.has(cid)?)
    }

    fn get_many(&self, cids: &[Cid]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let mut blocks = self.upper.get_many(cids)?;
        let missing: Vec<Cid> = cids
            .iter()
            .zip(&blocks)
            .filter(|(_, block)| block.is_none())
            .map(|(cid, _)| *cid)
            .collect();
        let mut below = self.lower.get_many(&missing)?.into_iter();
        for block in blocks.iter_mut().filter(|block| block.is_none()) {
            *block = below.next().flatten();
        }
        Ok(blocks)
    }

    fn will_get(&self, cids: &mut dyn Iterator<Item = Cid>) {
        let cids: Vec<Cid> = cids.collect();
        self.upper.will_get(&mut cids.iter().copied());
        self.lower.will_get(&mut cids.iter().copied());
    }
}

impl<U: BlockStoreMut, L: BlockStore> BlockStoreMut for OverlayBlockStore<U, L> {
    fn put(&self, cid: &Cid, block: Bytes) -> Result<(), StoreError> {
        self.upper.put(cid, block)
    }

    fn put_many(&self, blocks: &[(Cid, Bytes)]) -> Result<(), StoreError> {
        self.upper.put_many(blocks)
    }

    fn delete(&self, cid: &Cid) -> Result<(), StoreError> {
        self.upper.delete(cid)
    }

    fn delete_many(&self, cids: &[Cid]) -> Result<(), StoreError> {
        self.upper.delete_many(cids)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::OverlayBlockStore;
    use crate::{
        BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, StoreError, dag_cbor_cid, raw_cid,
    };

    /// What a store was told that will be asked for.
    #[derive(Default)]
    struct Told(RefCell<Vec<Cid>>);

    impl BlockStore for Told {
        fn get(&self, _: &Cid) -> Result<Option<Bytes>, StoreError> {
            Ok(None)
        }

        fn will_get(&self, cids: &mut dyn Iterator<Item = Cid>) {
            self.0.borrow_mut().extend(cids);
        }
    }

    #[test]
    fn both_stores_are_told_what_will_be_asked_for() {
        let (upper, lower) = (Told::default(), Told::default());
        let cids = [b"one".as_slice(), b"two"].map(raw_cid);
        OverlayBlockStore::new(&upper, &lower).will_get(&mut cids.into_iter());
        for told in [upper, lower] {
            assert_eq!(told.0.into_inner(), cids);
        }
    }

    #[test]
    fn overlay_keeps_the_contract() {
        crate::contract::read_write(|| {
            OverlayBlockStore::new(MemoryBlockStore::new(), MemoryBlockStore::new())
        });
    }

    #[test]
    fn reads_fall_through_and_writes_do_not() {
        let (one, two) = (Bytes::from_static(b"\x01"), Bytes::from_static(b"\x02"));
        let (one_cid, two_cid) = (dag_cbor_cid(&one), dag_cbor_cid(&two));
        let lower = MemoryBlockStore::new();
        lower.put(&one_cid, one.clone()).unwrap();

        let overlay = OverlayBlockStore::new(MemoryBlockStore::new(), &lower);
        overlay.put(&two_cid, two.clone()).unwrap();
        let absent = dag_cbor_cid(b"\x03");
        let blocks = overlay.get_many(&[one_cid, absent, two_cid, one_cid]);
        let expected = vec![Some(one.clone()), None, Some(two), Some(one.clone())];
        assert_eq!(blocks.unwrap(), expected);

        overlay.delete(&one_cid).unwrap();
        overlay.delete(&two_cid).unwrap();
        assert_eq!(overlay.get(&one_cid).unwrap(), Some(one));
        assert_eq!(overlay.get(&two_cid).unwrap(), None);
        assert_eq!(lower.len(), 1);
    }
}
