//! Many blocks, put into a store some at a time.

use bytes::Bytes;
use cid::Cid;

use crate::{BlockStoreMut, StoreError};

/// Puts all of `blocks` into `store`, in batches of which each takes some 8 MiB of memory.
///
/// Stores that are slow at single blocks like many at once: SQLite, whose table is in the order of
/// its keys, takes half as long for a million blocks in batches of this size as in such of 1,000.
///
/// Where `blocks` end is taken for their end. Blocks that come through a channel need a word for that,
/// or a sender that was cancelled passes for one that is through.
///
/// # Errors
///
/// The first of `blocks` that is an error, and those of [`BlockStoreMut::put_many`]. Batches before
/// may stay in the store; with a transaction for a store it is all or nothing.
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

    /// How many bytes came at once.
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
        assert_eq!(batches.len(), 4, "{batches:?}");
    }
}
