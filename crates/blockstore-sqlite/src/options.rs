//! How a store is opened.

use std::time::Duration;

/// How a [`SqliteBlockStore`](crate::SqliteBlockStore) is opened and what it promises.
///
/// # Examples
///
/// ```
/// use blockstore_sqlite::{SqliteBlockStore, SqliteOptions, Synchronous};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("blocks.sqlite");
/// let mut options = SqliteOptions::default();
/// options.table = "repository blocks".to_owned();
/// options.synchronous = Synchronous::Normal;
/// let store = SqliteBlockStore::open_with(path, &options)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// The table of blocks; `blocks` by default. Any name that SQLite can take will do: it is
    /// quoted, and looked for in the database itself, never among temporary or attached
    /// tables. `Blocks` and `blocks` are one name to SQLite. Two more tables are named after
    /// it, with `_heads` and `_meta` behind it.
    pub table: String,
    /// What may be done with the database; [`Access::Create`] by default.
    pub access: Access,
    /// Whether each block is checked against its CID when it is read; `true` by default. A
    /// block that has changed on the disk is then an error, and never data. Without it,
    /// about a third of a microsecond is saved on a block of 400 bytes.
    pub verify: bool,
    /// How long a call waits for another connection that has the database locked before it
    /// fails with [`SqliteError::Busy`](crate::SqliteError::Busy); 5 seconds by default.
    ///
    /// Not for a caller's own connection, which keeps what it has.
    pub busy_timeout: Duration,
    /// What a commit waits for; [`Synchronous::Full`] by default.
    ///
    /// Not for a caller's own connection, which keeps what it has.
    pub synchronous: Synchronous,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            table: "blocks".to_owned(),
            access: Access::Create,
            verify: true,
            busy_timeout: Duration::from_secs(5),
            synchronous: Synchronous::Full,
        }
    }
}

/// What may be done with a database.
///
/// For a caller's own connection it only decides whether missing tables are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Access {
    /// It is read and written. A file or tables that are not there are made.
    Create,
    /// It is read and written, and must be there with its tables.
    ReadWrite,
    /// It is read, and must be there with its tables. Unless somebody else has it open already, that
    /// takes a folder in which files can be made, for the log: where there is none, see
    /// [`Immutable`](Self::Immutable). Those files belong to the user who reads, and keep one from writing
    /// who may not write to them, also if the database is his.
    ReadOnly,
    /// It is read, must be there with its tables, and is changed by nobody as long as it is open: a
    /// file on a disk that cannot be written to, or a copy. Nothing is locked, and no log is looked
    /// for, so what a log beside it holds is not seen. If it changes all the same, what is read may
    /// be damaged; blocks that are checked ([`SqliteOptions::verify`]) are right, or an error.
    ///
    /// Source: <https://www.sqlite.org/c3ref/open.html>, "immutable"
    Immutable,
}

impl Access {
    /// Whether nothing is written.
    pub(crate) fn is_reading(self) -> bool {
        matches!(self, Self::ReadOnly | Self::Immutable)
    }
}

/// What a commit waits for before it returns.
///
/// Either way a transaction is there whole or not at all, whatever happens, and one that
/// was committed survives the death of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Synchronous {
    /// Until the disk says that it has it: a commit survives a loss of power. One `fsync` of
    /// the write-ahead log for each commit.
    Full,
    /// For nothing: after a loss of power or a crash of the system, the last commits may be
    /// missing. The disk is waited for only when the write-ahead log is carried over into the
    /// database.
    Normal,
}
