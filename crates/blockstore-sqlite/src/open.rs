//! Opens connections and prepares them for a store.

use std::fmt::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::database::Database;
use crate::schema::Schema;
use crate::{Access, SqliteError, SqliteOptions, Synchronous};

/// Opens a file.
pub(crate) fn file(path: &Path, options: &SqliteOptions) -> Result<Database, SqliteError> {
    let flags = match options.access {
        Access::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        Access::ReadWrite => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Access::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::Immutable => OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI,
    };
    // SQLite treats some names as something other than a path: `:memory:`, `file:..`, an empty one.
    // With this prefix it does not.
    let path = Path::new(".").join(path);
    let name = match options.access {
        // A zero byte would end the URI; as a plain path it is refused.
        Access::Immutable if !path.as_os_str().as_encoded_bytes().contains(&0) => {
            immutable_uri(&path).into()
        }
        _ => path,
    };
    let connection = Connection::open_with_flags(name, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    own_connection(connection, options)
}

/// The URI with which SQLite opens the file at `path` as immutable.
///
/// Source: <https://www.sqlite.org/uri.html>
fn immutable_uri(path: &Path) -> String {
    // With an empty authority, so that the start of the path cannot be taken for one.
    let path = path.as_os_str().as_encoded_bytes();
    let start = if path.starts_with(b"/") {
        "file://"
    } else {
        "file:"
    };
    let mut uri = start.to_owned();
    for byte in path {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            _ => {
                let _ = write!(uri, "%{byte:02x}");
            }
        }
    }
    uri.push_str("?immutable=1");
    uri
}

/// Takes over a connection that nobody else uses.
pub(crate) fn own_connection(
    connection: Connection,
    options: &SqliteOptions,
) -> Result<Database, SqliteError> {
    connection.busy_timeout(options.busy_timeout.min(LONGEST_TIMEOUT))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // A file of unknown origin must not run functions when it is read.
    connection.pragma_update(None, "trusted_schema", false)?;
    let schema = Schema::new(&options.table)?;
    // Before anything is read: reading creates files beside the database, and the owner of the
    // database could not write to ours.
    if !options.access.is_reading() && connection.is_readonly("main")? {
        return Err(SqliteError::ReadOnly(None));
    }
    // Check whether this is a store at all before anything is changed.
    let found = schema.find(&connection)?;
    if !options.access.is_reading() && (found || options.access == Access::Create) {
        use_write_ahead_log(&connection, options)?;
    }
    finish(connection, schema, found, options.access)
}

/// Takes over a caller's connection, as it is.
pub(crate) fn callers_connection(
    connection: Connection,
    options: &SqliteOptions,
) -> Result<Database, SqliteError> {
    let schema = Schema::new(&options.table)?;
    let found = schema.find(&connection)?;
    finish(connection, schema, found, options.access)
}

fn finish(
    connection: Connection,
    schema: Schema,
    found: bool,
    access: Access,
) -> Result<Database, SqliteError> {
    if !found && access == Access::Create {
        schema.create(&connection)?;
    } else if !found {
        let table = schema.blocks;
        return Err(SqliteError::MissingTable { table });
    }
    Ok(Database::new(connection, schema))
}

fn use_write_ahead_log(
    connection: &Connection,
    options: &SqliteOptions,
) -> Result<(), SqliteError> {
    let mode = journal_mode(connection, options)?;
    // Without WAL, less than FULL may not even be atomic, and only EXTRA makes sure that a commit
    // is not rolled back after a loss of power.
    let level = match (options.synchronous, mode == "wal") {
        (Synchronous::Full, false) => "EXTRA",
        (Synchronous::Full, true) | (Synchronous::Normal, false) => "FULL",
        (Synchronous::Normal, true) => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", level)?;
    // Where `fsync` does not flush the disk itself (macOS), use what does.
    let full = options.synchronous == Synchronous::Full;
    connection.pragma_update(None, "fullfsync", full)?;
    connection.pragma_update(None, "journal_size_limit", WAL_LEN_KEPT)?;
    Ok(())
}

/// Sets WAL mode, and returns the mode that is in use then: in memory, and where WAL is not
/// possible, another.
fn journal_mode(connection: &Connection, options: &SqliteOptions) -> Result<String, SqliteError> {
    let begin = Instant::now();
    loop {
        let mode =
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0));
        match mode {
            // SQLite itself does not wait here when two processes open a new file at once.
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && begin.elapsed() < options.busy_timeout =>
            {
                thread::sleep(Duration::from_millis(1));
            }
            mode => return Ok(mode?),
        }
    }
}

/// The longest that SQLite can wait, about 24 days.
const LONGEST_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

/// How many prepared statements are kept: all of a store's, and some of the caller's.
const STATEMENTS: usize = 32;

/// The size in bytes to which the write-ahead log is cut down after a large transaction. Without
/// this it keeps its largest size until the last connection is closed.
const WAL_LEN_KEPT: u32 = 16 << 20;
