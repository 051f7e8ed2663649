//! Puts many blocks into a store, in batches.

use bytes::Bytes;
use cid::Cid;

use crate::{BlockStoreMut, StoreError};

/// Puts all of `blocks` into `store`, in batches that take about 8 MiB of memory each.
///
/// Stores that are slow with single blocks gain most: SQLite, whose index of CIDs is in their
/// order, stores a million blocks in batches of this size in half the time that it takes in batches
/// of 1,000.
///
/// The end of `blocks` is taken for the end of the data. Blocks that come through a channel need an
/// explicit message at the end, or a sender that was cancelled looks like one that has finished.
///
/// # Errors
///
/// The first error among `blocks`, and those of [`BlockStoreMut::put_many`]. Earlier batches may
/// stay in the store; if the store is a transaction, it is all or nothing.
///
/// # Examples
///
/// ```
/// use blockstore_core::{MemoryBlockStore, StoreError, put_all, raw_cid};
///
/// let store = MemoryBlockStore::new();
/// let blocks = (0..10_u8).map(|n| Ok::<_, StoreError>((raw_cid(&[n]), vec![n].into())));
/// put_all(blocks, &store)?;
/// assert_eq!(store.len(), 10);
/// # Ok::<(), StoreError>(())
/// ```
pub fn put_all<E: From<StoreError>>(
    blocks: impl IntoIterator<Item = Result<(Cid, Bytes), E>>,
    store: &(impl BlockStoreMut + ?Sized),
) -> Result<(), E> {
    let (mut batch, mut len) = (Vec::new(), 0);
    for block in blocks {
        let (cid, block) = block?;
        len += block.len() + size_of::<(Cid, Bytes)>();
        batch.push((cid, block));
        if len >= BATCH_LEN {
            store.put_many(&batch)?;
            batch.clear();
            len = 0;
        }
    }
    Ok(store.put_many(&batch)?)
}

const BATCH_LEN: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use bytes::Bytes;
    use cid::Cid;

    use super::{BATCH_LEN, put_all};
    use crate::{BlockStore, BlockStoreMut, StoreError, raw_cid};

    /// The size of each batch in bytes.
    #[derive(Default)]
    struct Batches(RefCell<Vec<usize>>);

    impl BlockStore for Batches {
        fn get(&self, _: &Cid) -> Result<Option<Bytes>, StoreError> {
            Ok(None)
        }
    }

    impl BlockStoreMut for Batches {
        fn put(&self, _: &Cid, block: Bytes) -> Result<(), StoreError> {
            self.0.borrow_mut().push(block.len());
            Ok(())
        }

        fn put_many(&self, blocks: &[(Cid, Bytes)]) -> Result<(), StoreError> {
            let len = blocks.iter().map(|(_, block)| block.len()).sum();
            self.0.borrow_mut().push(len);
            Ok(())
        }

        fn delete(&self, _: &Cid) -> Result<(), StoreError> {
            Ok(())
        }
    }

    #[test]
    fn no_batch_takes_much_more_than_it_should() {
        const LEN: usize = 1 << 20;
        let block = Bytes::from(vec![0; LEN]);
        let cid = raw_cid(&block);
        let blocks = (0..20).map(|_| Ok::<_, StoreError>((cid, block.clone())));
        let store = Batches::default();
        put_all(blocks, &store).expect("the store takes all");
        let batches = store.0.into_inner();
        assert_eq!(batches.iter().sum::<usize>(), 20 * LEN);
        assert!(
            batches.iter().all(|len| *len <= BATCH_LEN + LEN),
            "{batches:?}"
        );
        assert_eq!(batches.len(), 3, "{batches:?}");
    }

    #[test]
    fn small_blocks_take_more_than_their_bytes() {
        let block = Bytes::from_static(b"a");
        let cid = raw_cid(&block);
        let blocks = (0..200_000).map(|_| Ok::<_, StoreError>((cid, block.clone())));
        let store = Batches::default();
        put_all(blocks, &store).expect("the store takes all");
        let batches = store.0.into_inner();
        assert_eq!(batches.iter().sum::<usize>(), 200_000);
        // Four, where addresses have 64 bits.
        let len = 200_000 * (block.len() + size_of::<(Cid, Bytes)>());
        assert_eq!(batches.len(), len.div_ceil(BATCH_LEN), "{batches:?}");
    }
}
