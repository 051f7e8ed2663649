//! The traits of a block store.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use cid::Cid;

use crate::StoreError;

/// A source of blocks, each named by the hash of its bytes.
///
/// # Contract
///
/// - A block that [`get`](Self::get) gives hashes to its CID. Each store says when it
///   checks that: as the block comes in, or as it goes out.
/// - A block that is not there is `Ok(None)`. An error means that the store could not tell.
/// - `get_many` answers in the order of `cids`, with one answer for each.
/// - `will_get` changes no answer.
///
/// The tests of these promises are public: see the `contract` feature.
///
/// # Examples
///
/// ```
/// use blockstore_core::{BlockStore, BlockStoreMut, MemoryBlockStore, dag_cbor_cid};
///
/// let store = MemoryBlockStore::new();
/// let cid = dag_cbor_cid(b"\xa0");
/// assert_eq!(store.get(&cid)?, None);
/// store.put(&cid, b"\xa0".as_slice().into())?;
/// assert_eq!(store.get(&cid)?.as_deref(), Some(b"\xa0".as_slice()));
/// # Ok::<(), blockstore_core::StoreError>(())
/// ```
pub trait BlockStore {
    /// Returns the block named `cid`, or `None` if the store does not hold it.
    ///
    /// # Errors
    ///
    /// [`StoreError::HashMismatch`] or [`StoreError::Unverifiable`] from a store that
    /// checks blocks as they go out, [`StoreError::Backend`] if the store failed.
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError>;

    /// Returns whether the store holds a block named `cid`.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); a store may answer without reading the block, and so without
    /// checking it.
    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        Ok(self.get(cid)?.is_some())
    }

    /// Returns what [`get`](Self::get) returns for each of `cids`, in their order.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); one error fails the whole call.
    fn get_many(&self, cids: &[Cid]) -> Result<Vec<Option<Bytes>>, StoreError> {
        cids.iter().map(|cid| self.get(cid)).collect()
    }

    /// Tells the store which blocks will probably be asked for soon, the next one first, so that it
    /// can bring them nearer. If that gains nothing, it need not look at `cids`; the default does
    /// not.
    fn will_get(&self, cids: &mut dyn Iterator<Item = Cid>) {
        let _ = cids;
    }
}

/// A block store that can be changed.
///
/// Its methods take `&self`, so that a handle can be shared: one writer beside many readers,
/// between threads if the store is `Sync`. A read-only store does not implement this trait, so that
/// writing to it does not compile.
///
/// # Contract
///
/// - Putting a block that is there already changes nothing.
/// - Bytes that `cid` does not name are refused, so a CID never comes to mean other bytes;
///   so are bytes whose CID cannot be verified.
/// - Deleting a block that is not there changes nothing.
///
/// # Examples
///
/// A store of one file for each block. An error of what is beneath a store becomes
/// [`StoreError::backend`].
///
/// ```
/// use std::path::PathBuf;
/// use std::{fs, io};
///
/// use blockstore_core::{BlockStore, BlockStoreMut, Bytes, Cid, StoreError, check_block};
///
/// struct Folder(PathBuf);
///
/// /// What a file system answers; `None` if the file is not there.
/// fn unless_missing<T>(answer: io::Result<T>) -> Result<Option<T>, StoreError> {
///     match answer {
///         Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
///         answer => answer.map(Some).map_err(StoreError::backend),
///     }
/// }
///
/// impl BlockStore for Folder {
///     fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
///         let block = unless_missing(fs::read(self.0.join(cid.to_string())))?;
///         if let Some(block) = &block {
///             check_block(cid, block)?;
///         }
///         Ok(block.map(Bytes::from))
///     }
/// }
///
/// impl BlockStoreMut for Folder {
///     fn put(&self, cid: &Cid, block: Bytes) -> Result<(), StoreError> {
///         check_block(cid, &block)?;
///         // Put in its place in one step, whatever happens. (With more threads, each needs a name
///         // of its own.)
///         let new = self.0.join("new");
///         fs::write(&new, block).map_err(StoreError::backend)?;
///         fs::rename(new, self.0.join(cid.to_string())).map_err(StoreError::backend)
///     }
///
///     fn delete(&self, cid: &Cid) -> Result<(), StoreError> {
///         unless_missing(fs::remove_file(self.0.join(cid.to_string()))).map(drop)
///     }
/// }
/// # let folder = std::env::temp_dir().join(format!("blockstore-core-{}", std::process::id()));
/// # fs::create_dir(&folder)?;
/// # let store = Folder(folder);
/// # let (cid, block) = (blockstore_core::dag_cbor_cid(b"\xa0"), Bytes::from_static(b"\xa0"));
/// # assert!(store.put(&cid, Bytes::from_static(b"\xa1")).is_err());
/// # store.put(&cid, block.clone())?;
/// # assert_eq!(store.get(&cid)?, Some(block));
/// # store.delete(&cid)?;
/// # store.delete(&cid)?;
/// # assert_eq!(store.get(&cid)?, None);
/// # fs::remove_dir_all(store.0)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait BlockStoreMut: BlockStore {
    /// Keeps `block` under `cid`.
    ///
    /// # Errors
    ///
    /// [`StoreError::HashMismatch`] if `cid` is not the CID of `block`,
    /// [`StoreError::Unverifiable`] if that cannot be verified, [`StoreError::Backend`] if the
    /// store failed. The store is then unchanged.
    fn put(&self, cid: &Cid, block: Bytes) -> Result<(), StoreError>;

    /// Keeps all of `blocks`.
    ///
    /// # Errors
    ///
    /// As for [`put`](Self::put). A store that can write atomically keeps all blocks or none; one
    /// that uses this default keeps those before the one that failed.
    fn put_many(&self, blocks: &[(Cid, Bytes)]) -> Result<(), StoreError> {
        for (cid, block) in blocks {
            self.put(cid, block.clone())?;
        }
        Ok(())
    }

    /// Drops the block named `cid`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] if the store failed.
    fn delete(&self, cid: &Cid) -> Result<(), StoreError>;

    /// Drops the blocks named `cids`.
    ///
    /// # Errors
    ///
    /// As for [`delete`](Self::delete). A store that can write atomically drops all blocks or none;
    /// one that uses this default drops those before the one that failed.
    fn delete_many(&self, cids: &[Cid]) -> Result<(), StoreError> {
        cids.iter().try_for_each(|cid| self.delete(cid))
    }
}

macro_rules! forward_to_target {
    ($($handle:ty),*) => {$(
        impl<S: BlockStore + ?Sized> BlockStore for $handle {
            fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
                (**self).get(cid)
            }

            fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
                (**self).has(cid)
            }

            fn get_many(&self, cids: &[Cid]) -> Result<Vec<Option<Bytes>>, StoreError> {
                (**self).get_many(cids)
            }

            fn will_get(&self, cids: &mut dyn Iterator<Item = Cid>) {
                (**self).will_get(cids);
            }
        }

        impl<S: BlockStoreMut + ?Sized> BlockStoreMut for $handle {
            fn put(&self, cid: &Cid, block: Bytes) -> Result<(), StoreError> {
                (**self).put(cid, block)
            }

            fn put_many(&self, blocks: &[(Cid, Bytes)]) -> Result<(), StoreError> {
                (**self).put_many(blocks)
            }

            fn delete(&self, cid: &Cid) -> Result<(), StoreError> {
                (**self).delete(cid)
            }

            fn delete_many(&self, cids: &[Cid]) -> Result<(), StoreError> {
                (**self).delete_many(cids)
            }
        }
    )*};
}

forward_to_target!(&S, &mut S, Box<S>, Rc<S>, Arc<S>);
