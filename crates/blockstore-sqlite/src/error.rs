//! The errors of a database.

use std::error::Error;

use blockstore_core::StoreError;
use rusqlite::{ErrorCode, ffi};

/// Why a database could not be opened, read or written.
///
/// Functions that open a store return it as it is. Methods of an open store wrap it in
/// [`StoreError::Backend`], as any store does; [`find`](Self::find) gets it out.
///
/// | what happened | what helps |
/// |---|---|
/// | [`Busy`](Self::Busy) | the same call again, later |
/// | [`Full`](Self::Full) | space, then the same call again |
/// | [`ReadOnly`](Self::ReadOnly), [`CannotOpen`](Self::CannotOpen), [`Io`](Self::Io) | a look at the path, its permissions, its disk |
/// | [`NotADatabase`](Self::NotADatabase), [`MissingTable`](Self::MissingTable), [`ForeignTable`](Self::ForeignTable) | another path or another table name |
/// | [`NewerSchema`](Self::NewerSchema) | a newer version of this crate |
/// | [`Corrupt`](Self::Corrupt), [`InvalidCid`](Self::InvalidCid) | a backup |
///
/// In all cases, what was committed before is still there, and the call that failed has changed
/// nothing, except [`retain`](crate::SqliteBlockStore::retain), which may have done a part.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use blockstore_sqlite::{BlockStoreMut, SqliteBlockStore, SqliteError, SqliteOptions};
/// use blockstore_core::dag_cbor_cid;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("blocks.sqlite");
/// let options = SqliteOptions {
///     busy_timeout: Duration::from_millis(1),
///     ..SqliteOptions::default()
/// };
/// let (one, other) = (
///     SqliteBlockStore::open_with(&path, &options)?,
///     SqliteBlockStore::open_with(&path, &options)?,
/// );
///
/// one.transaction(|_| {
///     // Nobody else can write now.
///     let error = other.put(&dag_cbor_cid(b"\xa0"), b"\xa0".as_slice().into()).unwrap_err();
///     match SqliteError::find(&error) {
///         Some(SqliteError::Busy(_)) => println!("try again"),
///         Some(SqliteError::Full(_)) => panic!("make space"),
///         _ => panic!("{error}"),
///     }
///     Ok::<_, blockstore_core::StoreError>(())
/// })?;
/// other.put(&dag_cbor_cid(b"\xa0"), b"\xa0".as_slice().into())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteError {
    /// Another connection, of this or another process, had the database locked for longer than the
    /// busy timeout.
    #[error("the database is locked by another connection")]
    Busy(#[source] rusqlite::Error),
    /// There is no space left: on the disk, or within the database's own `max_page_count`.
    ///
    /// An exhausted disk quota shows as [`Io`](Self::Io): SQLite does not tell it apart.
    #[error("there is no space left for the database")]
    Full(#[source] rusqlite::Error),
    /// The database cannot be written: it was opened for reading, or its file is read-only.
    #[error("the database is read-only")]
    ReadOnly(#[source] Option<rusqlite::Error>),
    /// The file, or one that SQLite needs beside it, cannot be opened or created.
    #[error("the database file cannot be opened")]
    CannotOpen(#[source] rusqlite::Error),
    /// The file exists, but is not an SQLite database (or is an encrypted one).
    #[error("the file is not an SQLite database")]
    NotADatabase(#[source] rusqlite::Error),
    /// The file is an SQLite database, damaged.
    #[error("the database is damaged")]
    Corrupt(#[source] rusqlite::Error),
    /// The operating system failed to read, write or lock the file.
    #[error("the database could not be read or written")]
    Io(#[source] rusqlite::Error),
    /// The database has no such table, and was opened with an access that does not create it; or
    /// the table has been dropped since.
    #[error("the database has no table {table:?}")]
    MissingTable {
        /// The name of the table.
        table: String,
    },
    /// There is a table (or view) of this name that was not made by a block store.
    #[error("the database has a table {table:?} that is not a block store's")]
    ForeignTable {
        /// The name of the table.
        table: String,
    },
    /// The tables were made by a newer version of this crate.
    #[error("the tables of {table:?} have version {found}, newer than {supported}")]
    NewerSchema {
        /// The name of the table of blocks.
        table: String,
        /// The version of its schema.
        found: i64,
        /// The newest version that this version of the crate knows.
        supported: i64,
    },
    /// The name cannot be that of a table: it is empty, contains a zero byte, or begins with
    /// `sqlite_`, in any case.
    #[error("{name:?} cannot be the name of a table")]
    InvalidTableName {
        /// The name.
        name: String,
    },
    /// A row of the table holds something other than a CID where a CID should be.
    #[error("the table {table:?} holds something that is not a CID")]
    InvalidCid {
        /// The name of the table.
        table: String,
    },
    /// A transaction was begun inside another one, on the same thread.
    #[error("a transaction cannot be started inside another one")]
    NestedTransaction,
    /// Something was written inside a snapshot, on the same thread.
    #[error("nothing can be written inside a snapshot")]
    WriteInSnapshot,
    /// An earlier error in the transaction, or the caller's own SQL, has ended it or will make it
    /// be rolled back, and nothing more is done in it. If it was an error, all of the transaction
    /// is undone.
    #[error("the transaction has failed or ended before")]
    TransactionEnded,
    /// Anything else that SQLite reports.
    #[error("SQLite failed")]
    Other(#[source] rusqlite::Error),
}

impl SqliteError {
    /// Returns the first `SqliteError` in `error` and its sources, if there is one.
    ///
    /// This finds it in a [`StoreError`], and in any error that has one as its source.
    pub fn find<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Self> {
        let mut error = Some(error);
        while let Some(level) = error {
            if let Some(found) = level.downcast_ref() {
                return Some(found);
            }
            error = level.source();
        }
        None
    }

    /// The keys of a table are out of order, which SQLite does not check.
    #[cold]
    pub(crate) fn key_order() -> Self {
        let code = ffi::Error::new(ffi::SQLITE_CORRUPT_INDEX);
        let what = "keys out of order".to_owned();
        Self::Corrupt(rusqlite::Error::SqliteFailure(code, Some(what)))
    }
}

impl From<rusqlite::Error> for SqliteError {
    fn from(error: rusqlite::Error) -> Self {
        if let Some(table) = missing_table(&error) {
            let table = table.to_owned();
            return Self::MissingTable { table };
        }
        let Some(&ffi::Error {
            code,
            extended_code,
        }) = error.sqlite_error()
        else {
            return Self::Other(error);
        };
        match extended_code {
            // The index of the log could not be extended, and all that takes is space.
            ffi::SQLITE_IOERR_SHMSIZE => return Self::Full(error),
            // What would have to be written is not the database but a file beside it.
            ffi::SQLITE_READONLY_DIRECTORY
            | ffi::SQLITE_READONLY_CANTINIT
            | ffi::SQLITE_READONLY_CANTLOCK
            | ffi::SQLITE_READONLY_RECOVERY
            | ffi::SQLITE_READONLY_ROLLBACK => return Self::CannotOpen(error),
            // The file is shorter than it claims; or an index leads to rows with other keys.
            ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_CONSTRAINT_NOTNULL => {
                return Self::Corrupt(error);
            }
            _ => {}
        }
        match code {
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed => Self::Busy(error),
            ErrorCode::DiskFull => Self::Full(error),
            ErrorCode::ReadOnly => Self::ReadOnly(Some(error)),
            ErrorCode::CannotOpen | ErrorCode::PermissionDenied => Self::CannotOpen(error),
            ErrorCode::NotADatabase => Self::NotADatabase(error),
            ErrorCode::DatabaseCorrupt => Self::Corrupt(error),
            ErrorCode::SystemIoFailure => Self::Io(error),
            _ => Self::Other(error),
        }
    }
}

/// The table that SQLite reports as missing, for which it has no error code.
fn missing_table(error: &rusqlite::Error) -> Option<&str> {
    let message = match error {
        rusqlite::Error::SqliteFailure(_, message) => message.as_deref()?,
        rusqlite::Error::SqlInputError { msg, .. } => msg,
        _ => return None,
    };
    message.strip_prefix("no such table: main.")
}

impl From<SqliteError> for StoreError {
    fn from(error: SqliteError) -> Self {
        Self::backend(error)
    }
}

/// Wraps what SQLite reports, for a method of a store.
#[cold]
pub(crate) fn failed(error: rusqlite::Error) -> StoreError {
    SqliteError::from(error).into()
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::SqliteError;

    #[test]
    fn each_code_of_sqlite_is_called_what_it_is() {
        for (code, variant) in [
            (ffi::SQLITE_BUSY, "Busy"),
            (ffi::SQLITE_BUSY_RECOVERY, "Busy"),
            (ffi::SQLITE_BUSY_SNAPSHOT, "Busy"),
            (ffi::SQLITE_LOCKED, "Busy"),
            (ffi::SQLITE_PROTOCOL, "Busy"),
            (ffi::SQLITE_FULL, "Full"),
            (ffi::SQLITE_IOERR_SHMSIZE, "Full"),
            (ffi::SQLITE_READONLY, "ReadOnly"),
            (ffi::SQLITE_READONLY_DBMOVED, "ReadOnly"),
            (ffi::SQLITE_READONLY_DIRECTORY, "CannotOpen"),
            (ffi::SQLITE_READONLY_CANTINIT, "CannotOpen"),
            (ffi::SQLITE_READONLY_ROLLBACK, "CannotOpen"),
            (ffi::SQLITE_IOERR_SHORT_READ, "Corrupt"),
            (ffi::SQLITE_CONSTRAINT_NOTNULL, "Corrupt"),
            (ffi::SQLITE_CANTOPEN, "CannotOpen"),
            (ffi::SQLITE_CANTOPEN_ISDIR, "CannotOpen"),
            (ffi::SQLITE_NOTADB, "NotADatabase"),
            (ffi::SQLITE_CORRUPT, "Corrupt"),
            (ffi::SQLITE_IOERR_WRITE, "Io"),
            (ffi::SQLITE_IOERR_FSYNC, "Io"),
            (ffi::SQLITE_ERROR, "Other"),
            (ffi::SQLITE_CONSTRAINT, "Other"),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let error = format!("{:?}", SqliteError::from(error));
            assert_eq!(error.split('(').next(), Some(variant), "{code}");
        }
    }
}
