//! Repositories in an SQLite database, each with its DID as the name of its head.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use atproto_mst::{Access, Cid, SqliteBlockStore, SqliteError, SqliteOptions, StoreError};

use crate::cli::Source;
use crate::failure::Failure;

/// Whether there is a database at `path`, rather than a CAR or a stream.
pub(crate) fn is_at(path: &Path) -> Result<bool, Failure> {
    let is_at = || {
        // Looking before opening: what a named pipe gives, it gives once.
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

/// Opens a database and finds the head of the repository that `source` names, or of the only
/// one there is, as [`open_all_for_reading`] does.
pub(crate) fn open_for_reading(source: &Source) -> Result<(SqliteBlockStore, Cid), Failure> {
    let (database, heads) = open_all_for_reading(&source.file)?;
    let (_, head) = choose(&heads, source.repo.as_deref())?;
    Ok((database, *head))
}

/// Opens a database and finds the heads of all repositories. All that is read is of one moment,
/// whatever others write meanwhile.
pub(crate) fn open_all_for_reading(
    path: &Path,
) -> Result<(SqliteBlockStore, Vec<(String, Cid)>), Failure> {
    let database = open(path, Access::ReadOnly)?;
    let begun = database.with_connection(|connection| connection.execute_batch("BEGIN"));
    begun.map_err(|error| failure(SqliteError::from(error)))?;
    let heads = database.heads()?;
    Ok((database, heads))
}

/// Opens the database at `path`.
pub(crate) fn open(path: &Path, access: Access) -> Result<SqliteBlockStore, Failure> {
    let mut options = SqliteOptions::default();
    options.access = access;
    SqliteBlockStore::open_with(path, &options).map_err(failure)
}

/// The size of a database in bytes, without what is yet to be carried over from its log.
pub(crate) fn size(database: &SqliteBlockStore) -> Result<u64, Failure> {
    const SIZE: &str = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    let size = database
        .with_connection(|connection| connection.query_row(SIZE, [], |row| row.get::<_, i64>(0)));
    let size = size.map_err(|error| failure(error.into()))?;
    Ok(u64::try_from(size).unwrap_or_default())
}

/// Gives back to the file system what is free in a database.
pub(crate) fn shrink(database: &SqliteBlockStore) -> Result<(), Failure> {
    let shrink = "VACUUM; PRAGMA wal_checkpoint(TRUNCATE)";
    let shrunk = database.with_connection(|connection| connection.execute_batch(shrink));
    shrunk.map_err(|error| failure(error.into()))
}

/// The head whose name is `wanted`, or the only one there is.
pub(crate) fn choose<'h>(
    heads: &'h [(String, Cid)],
    wanted: Option<&str>,
) -> Result<&'h (String, Cid), Failure> {
    let found = match (wanted, heads) {
        (_, []) => return Err(none()),
        (None, [head]) => Some(head),
        (None, _) => {
            let count = heads.len();
            return Err(Failure::Usage(format!(
                "the database holds {count} repositories; say which with --repo:{}",
                list(heads)
            )));
        }
        (Some(wanted), _) => heads.iter().find(|(name, _)| name == wanted),
    };
    found.ok_or_else(|| {
        let wanted = wanted.unwrap_or_default();
        let there = list(heads);
        Failure::NotFound(format!(
            "no repository of {wanted} in the database, only:{there}"
        ))
    })
}

pub(crate) fn none() -> Failure {
    Failure::NotFound("there is no repository in the database".to_owned())
}

/// The names of the first of `heads`, each with a space before it.
fn list(heads: &[(String, Cid)]) -> String {
    const MOST: usize = 50;
    let mut list = String::new();
    for (name, _) in heads.iter().take(MOST) {
        list.push(' ');
        list.push_str(name);
    }
    if heads.len() > MOST {
        list.push_str(" ...");
    }
    list
}

fn failure(error: SqliteError) -> Failure {
    StoreError::from(error).into()
}

/// How each file begins that is an SQLite database.
///
/// Source: <https://www.sqlite.org/fileformat.html#magic_header_string>
pub(crate) const MAGIC: &[u8] = b"SQLite format 3\0";
