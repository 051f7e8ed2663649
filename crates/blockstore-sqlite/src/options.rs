//! How a store is opened.

use std::time::Duration;

/// How a [`SqliteBlockStore`](crate::SqliteBlockStore) is opened and what it guarantees.
///
/// # Examples
///
/// ```
/// use blockstore_sqlite::{SqliteBlockStore, SqliteOptions, Synchronous};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("blocks.sqlite");
/// let options = SqliteOptions {
///     table: "repository blocks".to_owned(),
///     synchronous: Synchronous::Normal,
///     ..SqliteOptions::default()
/// };
/// let store = SqliteBlockStore::open_with(path, &options)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteOptions {
    /// The table of blocks; `blocks` by default. Any name that SQLite accepts will do: it is
    /// quoted, and looked up in the database itself, never among temporary or attached tables.
    /// SQLite does not distinguish `Blocks` from `blocks`. Two more tables have this name with
    /// `_heads` and `_meta` appended.
    pub table: String,
    /// What may be done with the database; [`Access::Create`] by default.
    pub access: Access,
    /// Whether each block is checked against its CID when it is read; `true` by default. A block
    /// that has changed on disk is then an error, and never data. Turning it off saves about a
    /// third of a microsecond for a block of 400 bytes.
    pub verify: bool,
    /// How long a call waits for another connection that has the database locked before it
    /// fails with [`SqliteError::Busy`](crate::SqliteError::Busy); 5 seconds by default.
    ///
    /// Ignored for a caller's own connection, whose timeout is left alone.
    pub busy_timeout: Duration,
    /// What a commit waits for; [`Synchronous::Full`] by default.
    ///
    /// Ignored for a caller's own connection, whose setting is left alone.
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
/// For a caller's own connection this only decides whether missing tables are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Access {
    /// Read and write. The file and the tables are created if they do not exist.
    Create,
    /// Read and write. The file and the tables must exist.
    ReadWrite,
    /// Read only. The file and the tables must exist. Unless somebody else has the database open
    /// already, SQLite has to create files for the log in its directory; if that is not possible,
    /// see [`Immutable`](Self::Immutable). Those files belong to the user who reads, and whoever
    /// may not write to them cannot write to the database, even its owner.
    ReadOnly,
    /// Read only. The file and the tables must exist, and nobody may change them while the store is
    /// open: for a file on read-only media, or a copy. Nothing is locked, and no log is looked for,
    /// so the contents of a log beside the file are not seen. If it changes all the same, reads may
    /// be corrupt; blocks that are checked ([`SqliteOptions::verify`]) are right, or an error.
    ///
    /// Source: <https://www.sqlite.org/c3ref/open.html>, "immutable"
    Immutable,
}

impl Access {
    /// Whether this is read only.
    pub(crate) fn is_reading(self) -> bool {
        matches!(self, Self::ReadOnly | Self::Immutable)
    }
}

/// What a commit waits for before it returns.
///
/// Either way a transaction is atomic, whatever happens, and survives the death of the process once
/// committed. Where the write-ahead log is not possible, both wait for what takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Synchronous {
    /// For the disk to confirm the write: a commit survives a loss of power. One `fsync` of the
    /// write-ahead log for each commit.
    Full,
    /// For nothing: after a loss of power or a system crash, the last commits may be missing. Only
    /// a checkpoint, which copies the write-ahead log into the database, waits for the disk.
    Normal,
}
