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
