//! Consistent reads of one moment.

use blockstore_core::{BlockStore, Bytes, Cid, StoreError};
use rusqlite::Connection;

use crate::Cids;
use crate::cids::Source;
use crate::database::{Database, check};

/// A [`SqliteBlockStore`](crate::SqliteBlockStore) as it was at one moment: a read-only store that
/// does not change.
///
/// [`SqliteBlockStore::snapshot`](crate::SqliteBlockStore::snapshot) makes one.
#[derive(Debug)]
pub struct SqliteSnapshot<'s> {
    pub(crate) database: &'s Database,
    verify: bool,
}

impl<'s> SqliteSnapshot<'s> {
    pub(crate) fn new(database: &'s Database, verify: bool) -> Self {
        Self { database, verify }
    }

    /// Returns the CID that was kept under `name`, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// Those of [`SqliteBlockStore::head`](crate::SqliteBlockStore::head).
    pub fn head(&self, name: &str) -> Result<Option<Cid>, StoreError> {
        self.database.head(name)
    }

    /// Returns all names with their CIDs, in the order of the names' bytes.
    ///
    /// # Errors
    ///
    /// Those of [`SqliteBlockStore::head`](crate::SqliteBlockStore::head).
    pub fn heads(&self) -> Result<Vec<(String, Cid)>, StoreError> {
        self.database.heads()
    }

    /// Returns the number of blocks.
    ///
    /// # Errors
    ///
    /// Those of [`SqliteBlockStore::len`](crate::SqliteBlockStore::len).
    pub fn len(&self) -> Result<usize, StoreError> {
        self.database.len()
    }

    /// Returns whether there is no block.
    ///
    /// # Errors
    ///
    /// Those of [`SqliteBlockStore::len`](crate::SqliteBlockStore::len).
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        self.database.is_empty()
    }

    /// Returns the CIDs of all blocks.
    pub fn cids(&self) -> Cids<'_> {
        Cids::new(Source::Held(self.database))
    }

    /// Returns the connection, to read the caller's own tables as of the same moment.
    pub fn connection(&self) -> &Connection {
        &self.database.connection
    }
}

impl BlockStore for SqliteSnapshot<'_> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        let block = self.database.get(cid)?;
        check(self.verify, cid, block.as_ref())?;
        Ok(block)
    }

    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        self.database.has(cid)
    }

    fn get_many(&self, cids: &[Cid]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let blocks = self.database.get_many(cids)?;
        for (cid, block) in cids.iter().zip(&blocks) {
            check(self.verify, cid, block.as_ref())?;
        }
        Ok(blocks)
    }
}
