//! Several changes as one.

use std::ops::Deref;

use blockstore_core::{BlockStore, BlockStoreMut, Bytes, Cid, StoreError, check_block};
use rusqlite::Connection;

use crate::SqliteSnapshot;
use crate::database::{Database, Page};
use crate::scope::Scope;

/// A transaction on a [`SqliteBlockStore`](crate::SqliteBlockStore): a store itself, whose changes
/// all happen or none.
///
/// [`SqliteBlockStore::transaction`](crate::SqliteBlockStore::transaction) makes one and ends it.
/// It sees its own changes, and nobody else does until it is over. In the meantime other
/// connections can read, but not write. Its read methods are those of [`SqliteSnapshot`].
///
/// A block that is refused leaves the transaction unchanged, and it can go on. If SQLite fails in
/// the middle of a change, the whole transaction is rolled back at its end, and anything attempted
/// in it until then is [`SqliteError::TransactionEnded`](crate::SqliteError::TransactionEnded).
#[derive(Debug)]
pub struct SqliteTransaction<'s> {
    reading: SqliteSnapshot<'s>,
}

impl<'s> SqliteTransaction<'s> {
    pub(crate) fn new(database: &'s Database, verify: bool) -> Self {
        Self {
            reading: SqliteSnapshot::new(database, verify),
        }
    }

    /// Keeps `cid` under `name` and replaces what was kept there.
    ///
    /// # Errors
    ///
    /// Those of [`SqliteBlockStore::set_head`](crate::SqliteBlockStore::set_head).
    pub fn set_head(&self, name: &str, cid: &Cid) -> Result<(), StoreError> {
        self.reading.database.set_head(name, cid)
    }

    /// Drops the name, if it exists. Blocks stay.
    ///
    /// # Errors
    ///
    /// Those of [`SqliteBlockStore::set_head`](crate::SqliteBlockStore::set_head).
    pub fn delete_head(&self, name: &str) -> Result<(), StoreError> {
        self.reading.database.delete_head(name)
    }

    /// Drops the blocks for which `keep` returns `false`, and returns how many there were.
    ///
    /// If what is still needed was found out in the same transaction, nobody can have put a block
    /// since. Keys are read 1,000 at a time, and no block is loaded.
    ///
    /// # Errors
    ///
    /// Those of [`SqliteBlockStore::retain`](crate::SqliteBlockStore::retain). The whole
    /// transaction is rolled back then.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::HashSet;
    ///
    /// use blockstore_sqlite::{BlockStore, BlockStoreMut, SqliteBlockStore, StoreError};
    /// use blockstore_core::dag_cbor_cid;
    ///
    /// let store = SqliteBlockStore::in_memory()?;
    /// for block in [b"\x01", b"\x02"] {
    ///     store.put(&dag_cbor_cid(block), block.as_slice().into())?;
    /// }
    /// store.set_head("latest", &dag_cbor_cid(b"\x02"))?;
    ///
    /// let swept = store.transaction(|transaction| {
    ///     // The blocks that can be reached from the heads; here, there are no links to follow.
    ///     let heads = transaction.heads()?;
    ///     let needed: HashSet<_> = heads.into_iter().map(|(_, cid)| cid).collect();
    ///     transaction.retain(|cid| needed.contains(cid))
    /// })?;
    /// assert_eq!(swept, 1);
    /// assert!(store.has(&dag_cbor_cid(b"\x02"))?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retain(&self, mut keep: impl FnMut(&Cid) -> bool) -> Result<usize, StoreError> {
        let scope = Scope::write(self.reading.database)?;
        let mut swept = 0;
        let mut after = Some(Page::START.to_vec());
        while let Some(last) = after {
            let (count, next) = self.reading.database.sweep_page(&last, &mut keep)?;
            swept += count;
            after = next;
        }
        scope.commit()?;
        Ok(swept)
    }

    /// Returns the connection, for the caller's own tables: what is done with it is part of the
    /// transaction.
    ///
    /// Do not end the transaction yourself. Some errors, such as that of a full disk, make SQLite
    /// end it; what is done on the connection after that is no longer part of it. So return errors,
    /// or ask for the connection again after one.
    ///
    /// # Errors
    ///
    /// [`SqliteError::TransactionEnded`](crate::SqliteError::TransactionEnded) if the transaction
    /// has ended, or will be rolled back.
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_sqlite::{BlockStoreMut, SqliteBlockStore, SqliteError, StoreError};
    /// use blockstore_core::dag_cbor_cid;
    ///
    /// let store = SqliteBlockStore::in_memory()?;
    /// store.with_connection(|connection| {
    ///     connection.execute_batch("CREATE TABLE announcements (head TEXT)")
    /// })?;
    ///
    /// let cid = dag_cbor_cid(b"\xa0");
    /// store.transaction(|transaction| {
    ///     transaction.put(&cid, b"\xa0".as_slice().into())?;
    ///     transaction.set_head("latest", &cid)?;
    ///     transaction
    ///         .connection()?
    ///         .execute("INSERT INTO announcements VALUES (?1)", [cid.to_string()])
    ///         .map_err(SqliteError::from)?;
    ///     Ok::<_, StoreError>(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connection(&self) -> Result<&Connection, StoreError> {
        self.reading.database.check_not_ended()?;
        Ok(&self.reading.database.connection)
    }
}

/// A transaction can read all that a snapshot can.
impl<'s> Deref for SqliteTransaction<'s> {
    type Target = SqliteSnapshot<'s>;

    fn deref(&self) -> &Self::Target {
        &self.reading
    }
}

impl BlockStore for SqliteTransaction<'_> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        self.reading.get(cid)
    }

    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        self.reading.has(cid)
    }

    fn get_many(&self, cids: &[Cid]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.reading.get_many(cids)
    }
}

impl BlockStoreMut for SqliteTransaction<'_> {
    fn put(&self, cid: &Cid, block: Bytes) -> Result<(), StoreError> {
        check_block(cid, &block)?;
        self.reading.database.put(cid, &block)
    }

    fn put_many(&self, blocks: &[(Cid, Bytes)]) -> Result<(), StoreError> {
        for (cid, block) in blocks {
            check_block(cid, block)?;
        }
        self.reading.database.put_many(blocks)
    }

    fn delete(&self, cid: &Cid) -> Result<(), StoreError> {
        self.reading.database.delete(cid)
    }

    fn delete_many(&self, cids: &[Cid]) -> Result<(), StoreError> {
        self.reading.database.delete_many(cids)
    }
}
