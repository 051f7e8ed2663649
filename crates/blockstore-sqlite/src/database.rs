//! One connection, and the operations of a store on it.

use std::cell::Cell;
use std::fmt;

use blockstore_core::{Bytes, Cid, CidBytes, StoreError, check_block};
use rusqlite::{CachedStatement, Connection, Row, params};

use crate::error::failed;
use crate::schema::{Schema, quoted};
use crate::scope::Scope;
use crate::{SqliteError, SqliteSnapshot, SqliteTransaction};

/// A connection with the tables of a store. It cannot be used by two threads at once.
pub(crate) struct Database {
    pub(crate) connection: Connection,
    /// The transaction that a [`Scope`] has begun and not ended.
    pub(crate) begun: Cell<Begun>,
    schema: Schema,
    sql: Sql,
}

/// A transaction of the store's own, on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// There is none.
    Nothing,
    /// One for reading only, in which the store writes nothing.
    Reading,
    /// One for writing.
    Writing,
    /// One for writing, of which a part has failed. The store does nothing more in it, and it will
    /// be rolled back.
    Failed,
    /// One whose rollback has failed so far.
    Undoing,
}

/// Some of the keys of the table of blocks, in key order.
#[derive(Debug)]
pub(crate) struct Page {
    /// The CIDs; for a key that is not one, the error.
    pub(crate) cids: Vec<Result<Cid, StoreError>>,
    /// The last key, if more may follow.
    pub(crate) last: Option<Vec<u8>>,
}

impl Page {
    /// The number of keys in a page: some 100 kB of memory.
    pub(crate) const LEN: u32 = 1_000;
    /// Less than any key.
    pub(crate) const START: &[u8] = &[];
}

impl Database {
    pub(crate) fn new(connection: Connection, schema: Schema) -> Self {
        Self {
            connection,
            begun: Cell::new(Begun::Nothing),
            sql: Sql::new(&schema),
            schema,
        }
    }

    /// Returns a block as it is in the table, unchecked.
    pub(crate) fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        let mut get = self.prepare(&self.sql.get)?;
        read_block(&mut get, cid).map_err(failed)
    }

    /// Returns blocks as they were in the table at one moment, unchecked.
    pub(crate) fn get_many(&self, cids: &[Cid]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let scope = Scope::read(self)?;
        let mut get = self.prepare(&self.sql.get)?;
        let blocks = cids.iter().map(|cid| read_block(&mut get, cid));
        let blocks = blocks.collect::<Result<_, _>>().map_err(failed)?;
        drop(get);
        scope.commit()?;
        Ok(blocks)
    }

    pub(crate) fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        let mut has = self.prepare(&self.sql.has)?;
        has.exists([CidBytes::from(cid).as_ref()]).map_err(failed)
    }

    /// Keeps a block that has been checked.
    pub(crate) fn put(&self, cid: &Cid, block: &[u8]) -> Result<(), StoreError> {
        let key = CidBytes::from(cid);
        self.change(&self.sql.put, params![key.as_ref(), block])
    }

    /// Keeps blocks that have been checked: all of them, or none.
    pub(crate) fn put_many(&self, blocks: &[(Cid, Bytes)]) -> Result<(), StoreError> {
        let mut rows: Vec<(CidBytes, &Bytes)> = blocks
            .iter()
            .map(|(cid, block)| (CidBytes::from(cid), block))
            .collect();
        // In the order of the index, writing many blocks takes half as long.
        rows.sort_unstable_by(|(one, _), (other, _)| one.as_ref().cmp(other.as_ref()));
        let scope = Scope::write(self)?;
        let mut put = self.prepare(&self.sql.put)?;
        for (key, block) in rows {
            let row = params![key.as_ref(), &block[..]];
            put.execute(row).map_err(failed)?;
        }
        drop(put);
        scope.commit()
    }

    pub(crate) fn delete(&self, cid: &Cid) -> Result<(), StoreError> {
        self.change(&self.sql.delete, [CidBytes::from(cid).as_ref()])
    }

    /// Drops blocks: all of them, or none.
    pub(crate) fn delete_many(&self, cids: &[Cid]) -> Result<(), StoreError> {
        let scope = Scope::write(self)?;
        for cid in cids {
            self.delete(cid)?;
        }
        scope.commit()
    }

    pub(crate) fn len(&self) -> Result<usize, StoreError> {
        let mut len = self.prepare(&self.sql.len)?;
        let len: i64 = len.query_row([], |row| row.get(0)).map_err(failed)?;
        Ok(usize::try_from(len).unwrap_or(usize::MAX))
    }

    pub(crate) fn is_empty(&self) -> Result<bool, StoreError> {
        let mut any = self.prepare(&self.sql.any)?;
        Ok(!any.exists([]).map_err(failed)?)
    }

    /// Returns the page of keys after `after`.
    pub(crate) fn page(&self, after: &[u8]) -> Result<Page, StoreError> {
        let mut page = self.prepare(&self.sql.page)?;
        let mut rows = page.query(params![after, Page::LEN]).map_err(failed)?;
        let mut cids = Vec::new();
        let mut previous = after.to_vec();
        while let Some(row) = rows.next().map_err(failed)? {
            let key = row
                .get_ref(0)
                .map_err(failed)?
                .as_blob()
                .unwrap_or_default();
            if key <= previous.as_slice() {
                // Going on from such a key would loop for ever.
                return Err(SqliteError::key_order().into());
            }
            previous.clear();
            previous.extend_from_slice(key);
            cids.push(read_cid(row, 0, &self.schema.blocks));
        }
        let is_full = cids.len() == Page::LEN as usize;
        let last = is_full.then_some(previous);
        Ok(Page { cids, last })
    }

    /// Drops those blocks of a page for which `keep` returns `false`, all of them or none. Returns
    /// how many, and the last key, if more may follow.
    pub(crate) fn sweep_page(
        &self,
        after: &[u8],
        keep: &mut impl FnMut(&Cid) -> bool,
    ) -> Result<(usize, Option<Vec<u8>>), StoreError> {
        let scope = Scope::write(self)?;
        let page = self.page(after)?;
        let mut swept = 0;
        for cid in page.cids {
            let cid = cid?;
            if !keep(&cid) {
                self.delete(&cid)?;
                swept += 1;
            }
        }
        scope.commit()?;
        Ok((swept, page.last))
    }

    pub(crate) fn head(&self, name: &str) -> Result<Option<Cid>, StoreError> {
        let mut head = self.prepare(&self.sql.head)?;
        let mut rows = head.query([name]).map_err(failed)?;
        let row = rows.next().map_err(failed)?;
        row.map(|row| read_cid(row, 0, &self.schema.heads))
            .transpose()
    }

    pub(crate) fn heads(&self) -> Result<Vec<(String, Cid)>, StoreError> {
        let mut heads = self.prepare(&self.sql.heads)?;
        let mut rows = heads.query([]).map_err(failed)?;
        let mut heads = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            let name = row.get(0).map_err(SqliteError::Corrupt)?;
            heads.push((name, read_cid(row, 1, &self.schema.heads)?));
        }
        Ok(heads)
    }

    pub(crate) fn set_head(&self, name: &str, cid: &Cid) -> Result<(), StoreError> {
        let cid = CidBytes::from(cid);
        self.change(&self.sql.set_head, params![name, cid.as_ref()])
    }

    pub(crate) fn delete_head(&self, name: &str) -> Result<(), StoreError> {
        self.change(&self.sql.delete_head, [name])
    }

    /// Drops all tables of the store, or none of them.
    pub(crate) fn drop_tables(&self) -> Result<(), StoreError> {
        let scope = Scope::write(self)?;
        for table in self.schema.tables() {
            self.execute(&format!("DROP TABLE {}", quoted(table)), [])?;
        }
        scope.commit()
    }

    /// Runs `work` on a snapshot.
    pub(crate) fn snapshot<T, E: From<StoreError>>(
        &self,
        verify: bool,
        work: impl FnOnce(&SqliteSnapshot<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let scope = Scope::read(self)?;
        // SQLite takes the snapshot at the first read.
        self.is_empty()?;
        let value = work(&SqliteSnapshot::new(self, verify))?;
        scope.commit()?;
        Ok(value)
    }

    /// Runs `work` in a transaction.
    pub(crate) fn transaction<T, E: From<StoreError>>(
        &self,
        verify: bool,
        work: impl FnOnce(&SqliteTransaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let scope = Scope::transaction(self)?;
        let value = work(&SqliteTransaction::new(self, verify))?;
        scope.commit()?;
        Ok(value)
    }

    fn change(&self, sql: &str, params: impl rusqlite::Params) -> Result<(), StoreError> {
        if self.begun.get() == Begun::Reading {
            return Err(SqliteError::WriteInSnapshot.into());
        }
        self.execute(sql, params)
    }

    pub(crate) fn execute(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
    ) -> Result<(), StoreError> {
        let mut statement = self.prepare(sql)?;
        statement.execute(params).map_err(failed)?;
        Ok(())
    }

    /// Rolls back a transaction whose rollback failed before, so that nothing done from now on is
    /// rolled back with it later.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        if self.begun.get() != Begun::Undoing {
            return Ok(());
        }
        let undone = self.connection.execute_batch("ROLLBACK");
        if !self.connection.is_autocommit() {
            undone.map_err(failed)?;
        }
        self.begun.set(Begun::Nothing);
        Ok(())
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>, StoreError> {
        self.settle()?;
        self.check_not_ended()?;
        self.connection.prepare_cached(sql).map_err(failed)
    }

    /// Refuses to go on in a transaction that has ended, or will be rolled back.
    pub(crate) fn check_not_ended(&self) -> Result<(), StoreError> {
        // Some errors make SQLite roll back a whole transaction and end it. Each statement after
        // that would be a transaction of its own.
        let begun = self.begun.get();
        let ended = begun != Begun::Nothing && self.connection.is_autocommit();
        if ended || begun == Begun::Failed {
            return Err(SqliteError::TransactionEnded.into());
        }
        Ok(())
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("path", &self.connection.path())
            .field("table", &self.schema.blocks)
            .finish_non_exhaustive()
    }
}

/// Checks a block that is about to leave a store, if blocks are checked.
pub(crate) fn check(verify: bool, cid: &Cid, block: Option<&Bytes>) -> Result<(), StoreError> {
    match block {
        Some(block) if verify => check_block(cid, block),
        _ => Ok(()),
    }
}

fn read_block(get: &mut CachedStatement<'_>, cid: &Cid) -> rusqlite::Result<Option<Bytes>> {
    let mut rows = get.query([CidBytes::from(cid).as_ref()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let block = row.get_ref(0)?.as_blob()?;
    Ok(Some(Bytes::copy_from_slice(block)))
}

fn read_cid(row: &Row<'_>, column: usize, table: &str) -> Result<Cid, StoreError> {
    let value = row.get_ref(column).map_err(failed)?;
    let bytes = value.as_blob().unwrap_or_default();
    let cid = Cid::try_from(bytes).ok();
    // A CID in another encoding could not be found again.
    let cid = cid.filter(|cid| CidBytes::from(cid).as_ref() == bytes);
    cid.ok_or_else(|| {
        let table = table.to_owned();
        SqliteError::InvalidCid { table }.into()
    })
}

/// The SQL statements. Each is prepared once per connection, by `rusqlite`'s cache.
struct Sql {
    get: String,
    has: String,
    put: String,
    delete: String,
    len: String,
    any: String,
    page: String,
    head: String,
    heads: String,
    set_head: String,
    delete_head: String,
}

impl Sql {
    fn new(schema: &Schema) -> Self {
        let (blocks, heads) = (quoted(&schema.blocks), quoted(&schema.heads));
        Self {
            get: format!("SELECT bytes FROM {blocks} WHERE cid = ?1"),
            has: format!("SELECT 1 FROM {blocks} WHERE cid = ?1"),
            // The new bytes were checked, so if they differ, those in the table have rotted. Or the
            // index has, and led to the row of another block; then NOT NULL keeps it from being
            // overwritten.
            put: format!(
                "INSERT INTO {blocks} (cid, bytes) VALUES (?1, ?2) ON CONFLICT (cid) \
                 DO UPDATE SET bytes = iif({blocks}.cid = excluded.cid, excluded.bytes, NULL) \
                 WHERE bytes <> excluded.bytes OR {blocks}.cid <> excluded.cid"
            ),
            delete: format!("DELETE FROM {blocks} WHERE cid = ?1"),
            len: format!("SELECT count(*) FROM {blocks}"),
            any: format!("SELECT 1 FROM {blocks} LIMIT 1"),
            page: format!("SELECT cid FROM {blocks} WHERE cid > ?1 ORDER BY cid LIMIT ?2"),
            head: format!("SELECT cid FROM {heads} WHERE name = ?1"),
            heads: format!("SELECT name, cid FROM {heads} ORDER BY name"),
            set_head: format!(
                "INSERT INTO {heads} (name, cid) VALUES (?1, ?2) ON CONFLICT (name) \
                 DO UPDATE SET cid = excluded.cid WHERE cid <> excluded.cid"
            ),
            delete_head: format!("DELETE FROM {heads} WHERE name = ?1"),
        }
    }
}
