//! The danger: a server that is killed while it commits, and a repository that does not open
//! afterwards, lacks a commit that was announced, or names an incomplete tree; and a reader that
//! sees half a commit meanwhile.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use blockstore_sqlite::{BlockStoreMut, Bytes, Cid, SqliteBlockStore, StoreError};
use mst_repo::{BlockStore, Curve, NewCommit, Repository, SigningKey, Write, Writer};
use mst_testkit::{Change, History};

use crate::support::{Folder, Killed, assert_sound, child, kill_in_time, kills, told};

const DID: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";

fn key() -> SigningKey {
    SigningKey::from_bytes(Curve::K256, &[7; 32]).unwrap()
}

fn write(change: &Change) -> Write {
    let path = change.path.clone();
    match (&change.before, change.after.clone()) {
        (None, Some(record)) => Write::Create { path, record },
        (Some(_), Some(record)) => Write::Update { path, record },
        (_, None) => Write::Delete { path },
    }
}

/// Whether the repository of this history keeps the nodes of older commits.
fn keeps_all(seed: u64) -> bool {
    seed % 2 == 1
}

/// Continues a history after this many commits, until it is killed; says what it is about to
/// store, and what it has stored.
#[test]
#[ignore = "run by the tests, in a process of its own"]
fn server() {
    let Some((file, word)) = told() else {
        return;
    };
    let numbers: Vec<u64> = word.split(' ').map(|word| word.parse().unwrap()).collect();
    let [seed, life, commits] = numbers[..] else {
        panic!("{word}");
    };
    let blocks = SqliteBlockStore::open(file).unwrap();
    let settings = match life % 3 {
        0 => "",
        1 => "PRAGMA wal_autocheckpoint = 10",
        _ => "PRAGMA cache_size = 10",
    };
    blocks
        .with_connection(|connection| connection.execute_batch(settings))
        .unwrap();
    let store = |blocks: &&SqliteBlockStore, new: &NewCommit| {
        println!("\nstoring {}", new.cid);
        blocks.transaction(|transaction| {
            transaction.put_many(&new.new_blocks)?;
            if !keeps_all(seed) {
                transaction.delete_many(&new.removed)?;
            }
            transaction.set_head(DID, &new.cid)
        })
    };
    let mut writer = if let Some(head) = blocks.head(DID).unwrap() {
        Writer::open(&blocks, &head).unwrap()
    } else {
        let (writer, first) = Writer::create_with(&blocks, DID, &key(), store).unwrap();
        println!("\nstored {}", first.cid);
        writer
    };
    let mut history = History::new(seed);
    for _ in 1..commits {
        history.step();
    }
    for _ in 0..100_000 {
        let writes: Vec<Write> = history.step().iter().map(write).collect();
        let new = writer.write_with(&writes, &key(), store).unwrap();
        println!("\nstored {}", new.cid);
    }
}

/// Verifies what the head names, signature, tree and records, again and again, until it is told
/// to stop; says which trees it saw.
#[test]
#[ignore = "run by the tests, in a process of its own"]
fn auditor() {
    let Some((file, _)) = told() else {
        return;
    };
    let blocks = SqliteBlockStore::open_read_only(file).unwrap();
    let (stop, stopped) = mpsc::channel();
    thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        stop.send(()).unwrap();
    });
    let mut reads = 0;
    let mut last = None;
    while stopped.try_recv().is_err() {
        let seen = blocks.snapshot(|snapshot| {
            let head = snapshot.head(DID)?.expect("there is always a head");
            Ok::<_, StoreError>(verified(snapshot, &head).0)
        });
        let seen = seen.unwrap();
        reads += 1;
        if last != Some(seen) {
            println!("\nsaw {seen}");
            last = Some(seen);
        }
    }
    println!("\nread {reads}");
}

/// Reads a whole commit, and returns its tree's root and its records.
fn verified(blocks: &impl BlockStore, commit: &Cid) -> (Cid, BTreeMap<String, Bytes>) {
    let repository = Repository::open(blocks, commit).unwrap();
    let key = key().public_key();
    repository.commit().verify_signature(&key).unwrap();
    let summary = repository.verify().unwrap();
    let records = repository.records().unwrap().map(|record| {
        let record = record.unwrap();
        (record.path().to_owned(), record.bytes().clone())
    });
    let records: BTreeMap<_, _> = records.collect();
    assert_eq!(records.len() as u64, summary.records);
    (repository.commit().data, records)
}

/// One repository in one file, while its server is killed again and again.
struct Account {
    folder: Folder,
    seed: u64,
    /// What the repository holds after its last commit.
    history: History,
    /// Every commit that is present, with its tree's root.
    commits: Vec<(Cid, Cid)>,
    auditors: Vec<(Killed, JoinHandle<String>)>,
}

impl Account {
    fn new(seed: u64) -> Self {
        Self {
            folder: Folder::new(),
            seed,
            history: History::new(seed),
            commits: Vec::new(),
            auditors: Vec::new(),
        }
    }

    fn push(&mut self, commit: Cid) {
        if !self.commits.is_empty() {
            self.history.step();
        }
        self.commits.push((commit, self.history.tree().root));
    }

    /// Makes a server commit until it is killed. Returns how many commits it acknowledged, and
    /// whether there is one more.
    fn live(&mut self, life: u64) -> (usize, bool) {
        let before = self.commits.len();
        let word = format!("{} {life} {before}", self.seed);
        let child = child("repository::server", &self.folder.database(), &word);
        // Some live long enough to commit, and some do not.
        let longest = if life % 4 == 3 { 600 } else { 60 };
        let said = kill_in_time(child, None, longest, "stor");
        let mut storing = None;
        for line in said {
            let (verb, cid) = line.split_once(' ').unwrap();
            let cid: Cid = cid.parse().unwrap();
            if verb == "storing" {
                storing = Some(cid);
            } else {
                assert_eq!(storing.take(), Some(cid));
                self.push(cid);
            }
        }
        let acknowledged = self.commits.len() - before;

        let blocks = self.folder.open();
        let head = blocks.head(DID).unwrap();
        let last = self.commits.last().map(|(cid, _)| *cid);
        // The next may have been committed, and the message about it lost.
        let more = head != last;
        if more {
            assert_eq!(head, storing);
            self.push(head.unwrap());
        }
        if let Some((commit, root)) = self.commits.last() {
            let (found, records) = verified(&blocks, commit);
            assert_eq!(found, *root);
            assert!(records == *self.history.records());
        }
        if keeps_all(self.seed) {
            self.assert_all_are_whole(before);
        }
        (acknowledged, more)
    }

    /// Verifies all commits from the one numbered `from` on.
    fn assert_all_are_whole(&self, from: usize) {
        let blocks = self.folder.open();
        for (commit, root) in &self.commits[from..] {
            assert_eq!(verified(&blocks, commit).0, *root);
        }
    }

    /// Lets others read, from now on.
    fn begin_audit(&mut self) {
        while self.auditors.len() < 2 {
            let mut command = child("repository::auditor", &self.folder.database(), "");
            let mut child = Killed(command.spawn().unwrap());
            let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
            let said = thread::spawn(move || {
                let mut said = String::new();
                stdout.read_to_string(&mut said).unwrap();
                said
            });
            self.auditors.push((child, said));
        }
    }

    /// Stops the readers, which must have seen trees of this history, in its order. Returns how
    /// often they read, and how many changes they saw.
    fn end_audit(&mut self) -> (u64, u64) {
        let (mut reads, mut changes) = (0, 0);
        for (mut child, said) in self.auditors.drain(..) {
            drop(child.0.stdin.take());
            let said = said.join().unwrap();
            assert!(child.0.wait().unwrap().success(), "{said}");
            let mut roots = self.commits.iter().map(|(_, root)| *root);
            for root in said.lines().filter_map(|line| line.strip_prefix("saw ")) {
                let root: Cid = root.parse().unwrap();
                assert!(roots.any(|next| next == root), "{root} comes next");
                changes += 1;
            }
            let read = said.lines().find_map(|line| line.strip_prefix("read "));
            let read: u64 = read.unwrap().parse().unwrap();
            assert!(read > 0);
            reads += read;
        }
        (reads, changes)
    }
}

#[test]
fn a_repository_is_whole_after_every_kill_and_whenever_somebody_reads_it() {
    /// How often one server is killed before the next repository is started.
    const LIVES: u64 = 20;
    let (mut acknowledged, mut unacknowledged, mut reads, mut changes) = (0, 0, 0, 0);
    for seed in 0..kills().div_ceil(LIVES) {
        let mut account = Account::new(seed);
        for life in seed * LIVES..kills().min((seed + 1) * LIVES) {
            let (commits, more) = account.live(life);
            acknowledged += commits;
            unacknowledged += u64::from(more);
            if !account.commits.is_empty() {
                account.begin_audit();
            }
        }
        let (read, changed) = account.end_audit();
        reads += read;
        changes += changed;
        if keeps_all(account.seed) {
            account.assert_all_are_whole(0);
        }
        assert_sound(&account.folder.open());
    }
    println!(
        "{} kills: {acknowledged} commits acknowledged, {unacknowledged} more there; \
         verified by others {reads} times, {changes} changes seen",
        kills()
    );
    assert!(acknowledged >= 10 && reads > 0);
}
