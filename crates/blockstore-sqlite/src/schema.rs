//! The tables of a store: their names, their columns, their version.
//!
//! Version 1, for a table named `blocks`:
//!
//! ```text
//! blocks        cid    BLOB  the CID in its binary form; the key
//!               bytes  BLOB  the block
//! blocks_heads  name   TEXT  whatever the caller calls it: the key
//!               cid    BLOB  a CID in its binary form
//! blocks_meta   name   TEXT  'schema_version': the key
//!               value  ANY   1
//! ```
//!
//! All three are `STRICT`, so that a blob is a blob. The table of blocks has row ids, and a
//! separate index of CIDs: in a table `WITHOUT ROWID` a search reads all of each row that it
//! compares with, so that looking up a small block among records of a megabyte, which are allowed,
//! took a thousand times as long. (A table of blocks `WITHOUT ROWID`, as earlier versions made, is
//! read and written all the same.) Rows of heads are short, and have no row ids.
//!
//! The version is kept in a table of its own and not in SQLite's `user_version`: there is only one
//! of that in a database, and it is the caller's. The table of the version has the same shape in
//! all versions; the others may change, and a later version will migrate them where
//! [`Schema::create`] is called now, in one transaction.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::SqliteError;

/// The version that is created, and the newest that can be read.
const VERSION: i64 = 1;
const VERSION_NAME: &str = "schema_version";

/// The names of a store's tables.
#[derive(Debug, Clone)]
pub(crate) struct Schema {
    pub(crate) blocks: String,
    pub(crate) heads: String,
    meta: String,
}

/// A column: its name, its type, whether it is NOT NULL, its position in the key, from 1.
type Column = (&'static str, &'static str, bool, i64);

const BLOCKS_COLUMNS: [Column; 2] = [("cid", "BLOB", true, 1), ("bytes", "BLOB", true, 0)];
const HEADS_COLUMNS: [Column; 2] = [("name", "TEXT", true, 1), ("cid", "BLOB", true, 0)];
const META_COLUMNS: [Column; 2] = [("name", "TEXT", true, 1), ("value", "ANY", true, 0)];

/// What the database has under the name of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Ours,
    Foreign,
}

impl Schema {
    /// Names the tables.
    ///
    /// # Errors
    ///
    /// [`SqliteError::InvalidTableName`].
    pub(crate) fn new(table: &str) -> Result<Self, SqliteError> {
        /// SQLite keeps these names for itself.
        const RESERVED: &str = "sqlite_";
        let start = table.get(..RESERVED.len());
        let reserved = start.is_some_and(|start| start.eq_ignore_ascii_case(RESERVED));
        if table.is_empty() || table.contains('\0') || reserved {
            let name = table.to_owned();
            return Err(SqliteError::InvalidTableName { name });
        }
        Ok(Self {
            blocks: table.to_owned(),
            heads: format!("{table}_heads"),
            meta: format!("{table}_meta"),
        })
    }

    /// The names of all tables.
    pub(crate) fn tables(&self) -> [&str; 3] {
        [&self.blocks, &self.heads, &self.meta]
    }

    /// Returns whether the tables exist, all of them, in a version that can be read.
    ///
    /// # Errors
    ///
    /// [`SqliteError::ForeignTable`], [`SqliteError::NewerSchema`], or
    /// [`SqliteError::MissingTable`] if only some of them exist.
    pub(crate) fn find(&self, connection: &Connection) -> Result<bool, SqliteError> {
        if !connection.is_autocommit() {
            return self.find_in_transaction(connection);
        }
        // All of this must be read in one snapshot: another process may be creating the tables.
        let read = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
        let found = self.find_in_transaction(&read)?;
        read.commit()?;
        Ok(found)
    }

    fn find_in_transaction(&self, connection: &Connection) -> Result<bool, SqliteError> {
        let foreign = |table: &str| SqliteError::ForeignTable {
            table: table.to_owned(),
        };
        let others = [
            (&self.blocks, &BLOCKS_COLUMNS),
            (&self.heads, &HEADS_COLUMNS),
        ];
        match look(connection, &self.meta, &META_COLUMNS)? {
            Found::Nothing => {
                for (table, columns) in others {
                    if look(connection, table, columns)? != Found::Nothing {
                        return Err(foreign(table));
                    }
                }
                return Ok(false);
            }
            Found::Foreign => return Err(foreign(&self.meta)),
            Found::Ours => {}
        }
        let version = self.version(connection)?;
        let version = version.ok_or_else(|| foreign(&self.meta))?;
        if version > VERSION {
            return Err(SqliteError::NewerSchema {
                table: self.blocks.clone(),
                found: version,
                supported: VERSION,
            });
        }
        for (table, columns) in others {
            match look(connection, table, columns)? {
                Found::Ours => {}
                Found::Foreign => return Err(foreign(table)),
                Found::Nothing => {
                    let table = table.clone();
                    return Err(SqliteError::MissingTable { table });
                }
            }
        }
        Ok(true)
    }

    /// The version that the tables claim; `None` if they claim none.
    fn version(&self, connection: &Connection) -> Result<Option<i64>, SqliteError> {
        let meta = quoted(&self.meta);
        let sql = format!("SELECT value FROM {meta} WHERE name = ?1");
        let value = connection
            .query_row(&sql, [VERSION_NAME], |row| {
                Ok(row.get_ref(0)?.as_i64().ok())
            })
            .optional()?;
        Ok(value.flatten().filter(|version| *version > 0))
    }

    /// Creates the tables, unless they exist.
    pub(crate) fn create(&self, connection: &Connection) -> Result<(), SqliteError> {
        if !connection.is_autocommit() {
            return self.create_in_transaction(connection);
        }
        let write = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        // Another process may have created them in the meantime.
        if !self.find_in_transaction(&write)? {
            self.create_in_transaction(&write)?;
        }
        Ok(write.commit()?)
    }

    fn create_in_transaction(&self, connection: &Connection) -> Result<(), SqliteError> {
        let (blocks, heads, meta) = (
            quoted(&self.blocks),
            quoted(&self.heads),
            quoted(&self.meta),
        );
        connection.execute_batch(&format!(
            "CREATE TABLE {blocks} (cid BLOB NOT NULL PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
             CREATE TABLE {heads} (name TEXT NOT NULL PRIMARY KEY, cid BLOB NOT NULL)
                STRICT, WITHOUT ROWID;
             CREATE TABLE {meta} (name TEXT NOT NULL PRIMARY KEY, value ANY NOT NULL)
                STRICT, WITHOUT ROWID;"
        ))?;
        connection.execute(
            &format!("INSERT INTO {meta} (name, value) VALUES (?1, ?2)"),
            params![VERSION_NAME, VERSION],
        )?;
        Ok(())
    }
}

/// The name of a table as used in SQL: that in the database itself, so that no temporary table of
/// the same name shadows it.
pub(crate) fn quoted(table: &str) -> String {
    format!("main.\"{}\"", table.replace('"', "\"\""))
}

/// Returns what is there under the name `table`.
///
/// Uses `PRAGMA` statements and not `SELECT ... FROM pragma_table_list`, which a table with that
/// name in the database would answer.
fn look(connection: &Connection, table: &str, columns: &[Column]) -> Result<Found, SqliteError> {
    let main = Some("main");
    let mut found = Found::Nothing;
    connection.pragma(main, "table_list", table, |row| {
        let ours = row.get_ref("type")?.as_str()? == "table";
        found = if ours { Found::Ours } else { Found::Foreign };
        Ok(())
    })?;
    if found != Found::Ours {
        return Ok(found);
    }
    let mut expected = columns.iter();
    connection.pragma(main, "table_xinfo", table, |row| {
        let same = match expected.next() {
            Some((name, kind, not_null, key)) => {
                row.get_ref("name")?.as_str()? == *name
                    && row.get_ref("type")?.as_str()? == *kind
                    && row.get::<_, bool>("notnull")? == *not_null
                    && row.get::<_, i64>("pk")? == *key
            }
            None => false,
        };
        if !same {
            found = Found::Foreign;
        }
        Ok(())
    })?;
    Ok(match expected.next() {
        Some(_) => Found::Foreign,
        None => found,
    })
}
