//! What the tests share: made-up blocks, folders, other processes.

use std::collections::hash_map::RandomState;
use std::env;
use std::error::Error;
use std::fmt::Debug;
use std::hash::BuildHasher;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use blockstore_core::{dag_cbor_cid, sha2_256};
use blockstore_sqlite::{Bytes, Cid, SqliteBlockStore, SqliteError, SqliteOptions, StoreError};
use tempfile::TempDir;

/// A folder with a path for a database in it; deleted when dropped.
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

/// Made-up bytes: the same for the same numbers, different for others.
pub(crate) fn digest(seed: u64, number: u64) -> [u8; 32] {
    let mut bytes = seed.to_le_bytes().to_vec();
    bytes.extend(number.to_le_bytes());
    sha2_256(&bytes)
}

/// A made-up block of 40 to 700 bytes, now and then of several thousand.
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

/// SQLite's reason.
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
    SqliteOptions {
        busy_timeout: Duration::from_millis(20),
        ..SqliteOptions::default()
    }
}

/// The variable that tells a test that it runs in a process of its own, and on which file.
const FILE: &str = "BLOCKSTORE_SQLITE_FILE";
/// The variable with anything else it has to know.
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

/// The file and the word passed to [`child`]. `None` if somebody runs all ignored tests.
pub(crate) fn told() -> Option<(PathBuf, String)> {
    let file = env::var_os(FILE)?;
    Some((file.into(), env::var(WORD).unwrap()))
}

/// Kills a process at a random moment within `longest` milliseconds, counted from its start or from
/// when it prints the line `from`; returns what it had printed in lines that begin with `word`.
pub(crate) fn kill_in_time(
    mut command: Command,
    from: Option<&str>,
    longest: u64,
    word: &str,
) -> Vec<String> {
    let mut child = Killed(command.spawn().unwrap());
    let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
    let mut said = String::new();
    if let Some(from) = from {
        while said.lines().next_back() != Some(from) {
            assert!(stdout.read_line(&mut said).unwrap() > 0, "{said}");
        }
    }
    let random = RandomState::new().hash_one(longest);
    thread::sleep(Duration::from_micros(random % (longest * 1_000)));
    child.0.kill().unwrap();
    stdout.read_to_string(&mut said).unwrap();
    child.0.wait().unwrap();
    assert!(!said.contains("FAILED"), "{said}");
    // A line that was cut off does not count.
    let end = said.rfind('\n').map_or(0, |at| at + 1);
    said[..end]
        .lines()
        .filter(|line| line.starts_with(word))
        .map(str::to_owned)
        .collect()
}

/// A process that does not outlive the test.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Says why a test does nothing. Not by `eprintln`, which a test that passes keeps to itself.
pub(crate) fn left_out(why: &str) {
    let _ = writeln!(io::stderr(), "left out: {why}");
}

/// How often to kill: 40 times, in some seconds, unless the variable says otherwise.
pub(crate) fn kills() -> u64 {
    env::var("BLOCKSTORE_SQLITE_KILLS").map_or(40, |kills| kills.parse().unwrap())
}

/// Makes SQLite check the whole file.
pub(crate) fn assert_sound(store: &SqliteBlockStore) {
    let verdict: String = store.with_connection(|connection| {
        let verdict = connection.pragma_query_value(None, "integrity_check", |row| row.get(0));
        verdict.unwrap()
    });
    assert_eq!(verdict, "ok");
}
