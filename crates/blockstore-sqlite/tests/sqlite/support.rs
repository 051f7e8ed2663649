//! What the tests share: made-up blocks, folders, other processes.

use std::env;
use std::error::Error;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use blockstore_core::{dag_cbor_cid, sha2_256};
use blockstore_sqlite::{Bytes, Cid, SqliteBlockStore, SqliteError, SqliteOptions, StoreError};
use tempfile::TempDir;

/// A folder with a place for a database in it; gone when dropped.
pub(crate) struct Folder {
    folder: TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path().join("blocks.sqlite")
    }

    pub(crate) fn open(&self) -> SqliteBlockStore {
        SqliteBlockStore::open(self.database()).unwrap()
    }
}

/// Made-up bytes: the same for the same numbers, other for others.
pub(crate) fn digest(seed: u64, number: u64) -> [u8; 32] {
    let mut bytes = seed.to_le_bytes().to_vec();
    bytes.extend(number.to_le_bytes());
    sha2_256(&bytes)
}

/// A made-up block of 40 to 700 bytes, now and then of some thousand.
pub(crate) fn block(seed: u64, number: u64) -> (Cid, Bytes) {
    let digest = digest(seed, number);
    let len = u16::from_le_bytes([digest[0], digest[1]]);
    let len = match len % 32 {
        0 => 1_000 + len % 8_000,
        _ => 40 + len % 660,
    };
    let block: Bytes = digest.into_iter().cycle().take(len.into()).collect();
    (dag_cbor_cid(&block), block)
}

pub(crate) fn blocks(seed: u64, count: u64) -> Vec<(Cid, Bytes)> {
    (0..count).map(|number| block(seed, number)).collect()
}

pub(crate) fn cids(blocks: &[(Cid, Bytes)]) -> Vec<Cid> {
    blocks.iter().map(|(cid, _)| *cid).collect()
}

/// Checks that a store holds all of `blocks`, as they are.
pub(crate) fn assert_holds(store: &impl blockstore_sqlite::BlockStore, blocks: &[(Cid, Bytes)]) {
    let found = store.get_many(&cids(blocks)).unwrap();
    for ((cid, block), found) in blocks.iter().zip(found) {
        assert!(found.as_ref() == Some(block), "{cid} is there, and whole");
    }
}

/// What SQLite had against it.
pub(crate) fn fault<T: Debug>(result: Result<T, StoreError>) -> SqliteFault {
    let error = result.expect_err("this should fail");
    SqliteFault::of(&error)
}

/// Which variant of [`SqliteError`] it was; they cannot be compared themselves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SqliteFault(String);

impl SqliteFault {
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        let error = SqliteError::find(error).expect("an error of SQLite");
        let variant = format!("{error:?}");
        let end = variant.find(|c: char| !c.is_alphanumeric());
        Self(variant[..end.unwrap_or(variant.len())].to_owned())
    }
}

impl PartialEq<&str> for SqliteFault {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

/// Options with a busy timeout that a test can wait for.
pub(crate) fn impatient() -> SqliteOptions {
    let mut options = SqliteOptions::default();
    options.busy_timeout = Duration::from_millis(20);
    options
}

/// The variable that tells a test that it runs in a process of its own, and on which file.
const FILE: &str = "BLOCKSTORE_SQLITE_FILE";
/// The variable with what else it has to know.
const WORD: &str = "BLOCKSTORE_SQLITE_WORD";

/// The command that runs the ignored test `name` in a process of its own.
pub(crate) fn child(name: &str, file: &Path, word: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    child_arguments(&mut command, name, file, word);
    command
}

pub(crate) fn child_arguments(command: &mut Command, name: &str, file: &Path, word: &str) {
    command
        .args([
            name,
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(FILE, file)
        .env(WORD, word)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
}

/// The file and the word given to [`child`]. `None` if somebody runs all ignored tests.
pub(crate) fn told() -> Option<(PathBuf, String)> {
    let file = env::var_os(FILE)?;
    Some((file.into(), env::var(WORD).unwrap()))
}
