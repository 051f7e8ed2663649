//! Repositories in an SQLite database, each with its DID as the name of its head.

use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use atproto_mst::blockstore_sqlite::rusqlite::{Connection, OpenFlags};
use atproto_mst::{
    Access, BlockStore, Cid, Commit, SqliteBlockStore, SqliteError, SqliteOptions, SqliteSnapshot,
    SqliteTransaction, StoreError, is_did,
};

use crate::cli::Source;
use crate::failure::Failure;
use crate::quote::Harmless;
use crate::unlocked;

/// Whether there is a database at `path`, rather than a CAR or a stream.
pub(crate) fn is_at(path: &Path) -> Result<bool, Failure> {
    let is_at = || {
        // Look before opening it: what a named pipe gives, it gives only once.
        Ok(path != Path::new("-") && fs::metadata(path)?.is_file() && is_one(&File::open(path)?)?)
    };
    is_at().map_err(|error: io::Error| Failure::Input(error.into()))
}

/// Whether `file` is a database, rather than a CAR.
pub(crate) fn is_one(file: &File) -> io::Result<bool> {
    let mut start = Vec::new();
    file.take(MAGIC.len() as u64).read_to_end(&mut start)?;
    Ok(start == MAGIC)
}

/// Opens a database and finds the head of the repository that `source` names, or of the only one
/// there is, as [`open_all_for_reading`] does.
pub(crate) fn open_for_reading(source: &Source) -> Result<(SqliteBlockStore, Cid), Failure> {
    let database = open_all_for_reading(&source.file)?;
    let about_file = |failure: Failure| failure.of(&source.file);
    let chosen = database.snapshot(|snapshot| choose(snapshot, source.repo.as_deref()));
    let (name, head) = chosen.map_err(about_file)?;
    // Any other fault of the commit is reported when the repository is opened.
    let block = database.get(&head).ok().flatten();
    if let Some(commit) = block.and_then(|block| Commit::decode(&block).ok()) {
        check_name(&name, &commit.did).map_err(about_file)?;
    }
    Ok((database, head))
}

/// Opens a database. All reads are of one moment, whatever others write in the meantime. But if we
/// may not write to it, and nobody has it open now, it is read without a lock.
pub(crate) fn open_all_for_reading(path: &Path) -> Result<SqliteBlockStore, Failure> {
    // The files needed to read it while others write would be ours, and keep them from writing.
    let database = if is_alone(path) && !may_write(path) {
        open_unlocked(path)?
    } else {
        match open_as(path, Access::ReadOnly) {
            // We may not create those files here.
            Err(SqliteError::CannotOpen(_)) if is_alone(path) => open_unlocked(path)?,
            // There is no space for them.
            Err(SqliteError::Full(_)) if has_no_log(path) => open_unlocked(path)?,
            opened => opened.map_err(failure)?,
        }
    };
    let begun = database.with_connection(|connection| connection.execute_batch("BEGIN"));
    begun.map_err(|error| failure(SqliteError::from(error)))?;
    Ok(database)
}

/// Opens a database to be read without a lock. If somebody writes to it all the same, things will
/// seem to be damaged or missing; what is found is right, as blocks are checked. The report tells
/// of it in the end.
fn open_unlocked(path: &Path) -> Result<SqliteBlockStore, Failure> {
    unlocked::remember(path).map_err(|error| Failure::Input(error.into()))?;
    open_as(path, Access::Immutable).map_err(failure)
}

/// Opens the database at `path` for changes.
pub(crate) fn open(path: &Path) -> Result<SqliteBlockStore, Failure> {
    open_as(path, Access::ReadWrite).map_err(failure)
}

/// Opens the database at `path` for changes, and creates it if it does not exist. One that belongs
/// to something else is refused, as a path may be mistyped.
pub(crate) fn open_or_create(path: &Path) -> Result<SqliteBlockStore, Failure> {
    let is_new = match open_as(path, Access::ReadWrite) {
        Err(SqliteError::MissingTable { .. }) => !has_tables(path).map_err(failure)?,
        Err(SqliteError::CannotOpen(_)) => true,
        opened => return opened.map_err(failure),
    };
    if is_new {
        return open_as(path, Access::Create).map_err(failure);
    }
    // Unless another process has created our tables in the meantime.
    open_as(path, Access::ReadWrite).map_err(|error| match error {
        SqliteError::MissingTable { table } if table == SqliteOptions::default().table => {
            let what = "the database belongs to another program: none of its tables are cartool's";
            Failure::Invalid(what.to_owned())
        }
        error => failure(error),
    })
}

fn open_as(path: &Path, access: Access) -> Result<SqliteBlockStore, SqliteError> {
    let options = SqliteOptions {
        access,
        busy_timeout: PATIENCE,
        ..SqliteOptions::default()
    };
    SqliteBlockStore::open_with(path, &options)
}

/// How long to wait for other writers: as long as an import of a large repository takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// Whether there is any table in the database at `path`.
fn has_tables(path: &Path) -> Result<bool, SqliteError> {
    const ANY: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema)";
    // SQLite takes some names for something other than a path; with this prefix it does not.
    let path = Path::new(".").join(path);
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection.query_row(ANY, [], |row| row.get(0))?)
}

/// Whether none of the files exist that SQLite keeps beside a database while anybody has it open,
/// or if it was not closed properly.
fn is_alone(path: &Path) -> bool {
    all_beside(path, |_, found| is_missing(found))
}

/// Whether all of a database is in its own file, as far as it can be seen: the logs beside it are
/// missing or empty.
fn has_no_log(path: &Path) -> bool {
    all_beside(path, |end, found| {
        end == SHARED_MEMORY || is_missing(found) || found.as_ref().is_ok_and(|log| log.len() == 0)
    })
}

fn is_missing(found: &io::Result<fs::Metadata>) -> bool {
    let error = found.as_ref().err();
    error.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Whether `holds` says so of each of the files beside a database, given its ending.
fn all_beside(path: &Path, holds: impl Fn(&str, &io::Result<fs::Metadata>) -> bool) -> bool {
    // They are beside the file itself, not beside a link to it.
    fs::canonicalize(path).is_ok_and(|path| {
        let mut ends = BESIDE.iter();
        ends.all(|end| holds(end, &fs::symlink_metadata(beside(&path, end))))
    })
}

/// Whether we may write to the file at `path`, which we must not have open as a database yet.
fn may_write(path: &Path) -> bool {
    !File::options()
        .write(true)
        .open(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Refuses to write a file over a database, or over one of the files beside it.
pub(crate) fn check_none_at(output: &Path) -> Result<(), Failure> {
    check_not_beside(output)?;
    if is_one_at(output) {
        let what = "the output would replace a database";
        return Err(Failure::Usage(what.to_owned()));
    }
    Ok(())
}

/// Whether there is a database at `path`. What does not exist, or cannot be read, is not one.
fn is_one_at(path: &Path) -> bool {
    is_at(path).unwrap_or(false)
}

/// Refuses to write a file that would be taken for one of those beside a database, which come and
/// go.
pub(crate) fn check_not_beside(output: &Path) -> Result<(), Failure> {
    let path = fs::canonicalize(output).unwrap_or_else(|_| output.to_owned());
    let of_database = BESIDE.iter().any(|end| match path.to_str() {
        Some(path) => path
            .strip_suffix(end)
            .is_some_and(|database| is_one_at(Path::new(database))),
        // Such a name cannot be split, so it cannot be checked whether there is one.
        None => path
            .as_os_str()
            .as_encoded_bytes()
            .ends_with(end.as_bytes()),
    });
    if of_database {
        let what = "the output would replace a file that belongs to a database";
        return Err(Failure::Usage(what.to_owned()));
    }
    Ok(())
}

/// The endings of the files that SQLite keeps beside a database.
const BESIDE: [&str; 3] = ["-wal", SHARED_MEMORY, "-journal"];

/// The ending of the one that holds nothing of its own.
const SHARED_MEMORY: &str = "-shm";

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// The size of a database in bytes, as it will be once its log is copied into it.
pub(crate) fn size(database: &SqliteBlockStore) -> Result<u64, Failure> {
    // Not `SELECT ... FROM pragma_page_count`, for which a table of that name would be taken.
    let number = |pragma| {
        let read = |connection: &Connection| {
            connection.pragma_query_value(Some("main"), pragma, |row| row.get::<_, i64>(0))
        };
        let number = database.with_connection(read);
        number.map_err(|error| failure(error.into()))
    };
    let size = number("page_count")?.saturating_mul(number("page_size")?);
    Ok(u64::try_from(size).unwrap_or_default())
}

/// Returns free space in a database to the file system. If others are reading, which may take long,
/// the log stays as it is.
pub(crate) fn shrink(database: &SqliteBlockStore) -> Result<(), Failure> {
    let shrink = "VACUUM; PRAGMA busy_timeout = 1000; PRAGMA wal_checkpoint(TRUNCATE)";
    let shrunk = database.with_connection(|connection| connection.execute_batch(shrink));
    shrunk.map_err(|error| failure(error.into()))
}

/// The head named `wanted`, or the only one there is, with its name. Other heads may be invalid.
pub(crate) fn choose(
    database: &SqliteSnapshot<'_>,
    wanted: Option<&str>,
) -> Result<(String, Cid), Failure> {
    if let Some(wanted) = wanted
        && is_did(wanted)
        && let Some(head) = database.head(wanted)?
    {
        return Ok((wanted.to_owned(), head));
    }
    let heads = repositories(database.heads()?);
    match (wanted, &heads[..]) {
        (_, []) => Err(none()),
        (None, [head]) => Ok(head.clone()),
        (None, _) => {
            let count = heads.len();
            Err(Failure::Usage(format!(
                "the database holds {count} repositories; say which with --repo:{}",
                list(&heads)
            )))
        }
        (Some(wanted), _) => {
            let there = list(&heads);
            Err(Failure::NotFound(format!(
                "no repository of {wanted} in the database, only:{there}"
            )))
        }
    }
}

/// Those of `heads` that are named for a repository. Others keep what may still be needed, such as
/// the trees of earlier revisions.
pub(crate) fn repositories(mut heads: Vec<(String, Cid)>) -> Vec<(String, Cid)> {
    heads.retain(|(name, _)| is_did(name));
    heads
}

/// Refuses a head that is the commit of a repository other than the one it is named for.
pub(crate) fn check_name(name: &str, did: &str) -> Result<(), Failure> {
    if name == did {
        return Ok(());
    }
    let (name, did) = (Harmless(name), Harmless(did));
    Err(Failure::Invalid(format!(
        "the head of {name} is a commit of {did}"
    )))
}

/// Sets a head, for which `blocks` were put. Refuses a database in which these, or the head, cannot
/// be found afterwards: a damaged one may accept what it does not return.
pub(crate) fn set_head<'c>(
    transaction: &SqliteTransaction<'_>,
    name: &str,
    head: &Cid,
    blocks: impl IntoIterator<Item = &'c Cid>,
) -> Result<(), Failure> {
    transaction.set_head(name, head)?;
    let mut is_there = transaction.head(name)? == Some(*head);
    for cid in blocks {
        is_there &= transaction.get(cid)?.is_some();
    }
    if is_there {
        return Ok(());
    }
    let what = "the database does not keep what is written to it; it is damaged, or has triggers";
    Err(Failure::Input(what.into()))
}

/// Refuses a database whose tables and indices do not agree: it could not be told which blocks are
/// needed.
pub(crate) fn check_sound(transaction: &SqliteTransaction<'_>) -> Result<(), Failure> {
    const CHECK: &str = "PRAGMA integrity_check(1)";
    let connection = transaction.connection()?;
    let found = connection.query_row(CHECK, [], |row| row.get::<_, String>(0));
    let found = found.map_err(|error| failure(error.into()))?;
    if found == "ok" {
        return Ok(());
    }
    let found = Harmless(&found);
    Err(Failure::Input(
        format!("the database is damaged, so nothing is dropped from it: {found}").into(),
    ))
}

pub(crate) fn none() -> Failure {
    Failure::NotFound("there is no repository in the database".to_owned())
}

/// The names of the first of `heads`, each with a space before it.
fn list(heads: &[(String, Cid)]) -> String {
    const MOST: usize = 50;
    let mut list = String::new();
    for (name, _) in heads.iter().take(MOST) {
        let _ = write!(list, " {}", Harmless(name));
    }
    if heads.len() > MOST {
        list.push_str(" ...");
    }
    list
}

fn failure(error: SqliteError) -> Failure {
    StoreError::from(error).into()
}

/// How every SQLite database file begins.
///
/// Source: <https://www.sqlite.org/fileformat.html#magic_header_string>
pub(crate) const MAGIC: &[u8] = b"SQLite format 3\0";
