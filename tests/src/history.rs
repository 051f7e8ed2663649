//! What an account does over the years, commit by commit, made up.

use std::collections::{BTreeMap, BTreeSet};

use blockstore_core::{Bytes, Cid, dag_cbor_cid};

use crate::{Rng, SampleTree, build_tree};

/// A random history of a repository: what is in it, and what each commit changes.
///
/// Most commits have no more than six changes, some as many as a commit may have. The repository
/// grows to some hundred records, shrinks until it is empty, and grows again.
#[derive(Debug, Clone)]
pub struct History {
    rng: Rng,
    records: BTreeMap<String, Bytes>,
    /// How many paths have been made up so far.
    made: u32,
    grows: bool,
}

/// What a commit does to one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The record's path.
    pub path: String,
    /// The record before; `None` if there was none.
    pub before: Option<Bytes>,
    /// The record afterwards; `None` if it is deleted.
    pub after: Option<Bytes>,
}

impl History {
    /// Begins the history of `seed`, with an empty repository.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            records: BTreeMap::new(),
            made: 0,
            grows: true,
        }
    }

    /// Returns the records by their paths, as they are now.
    pub fn records(&self) -> &BTreeMap<String, Bytes> {
        &self.records
    }

    /// Returns the tree of the records, built the obvious way.
    pub fn tree(&self) -> SampleTree {
        let cids = |(path, record): (&String, &Bytes)| (path.clone(), dag_cbor_cid(record));
        let pairs: BTreeMap<String, Cid> = self.records.iter().map(cids).collect();
        build_tree(&pairs)
    }

    /// Makes the changes of one commit and returns them, in random order, each of another path.
    pub fn step(&mut self) -> Vec<Change> {
        match self.records.len() {
            0 => self.grows = true,
            MOST_RECORDS.. => self.grows = false,
            _ => {}
        }
        let most = if self.grows {
            MOST_CHANGES
        } else {
            MOST_CHANGES.min(self.records.len() / 2 + 1)
        };
        let count = match self.rng.below(60) {
            0 => most,
            1 => self.rng.below(most),
            _ => self.rng.below(7),
        };
        let mut changes = Vec::new();
        let mut paths = BTreeSet::new();
        while changes.len() < count {
            let path = self.path();
            if paths.insert(path.clone()) {
                changes.push(self.change(path));
            }
        }
        self.rng.shuffle(&mut changes);
        changes
    }

    fn change(&mut self, path: String) -> Change {
        let before = self.records.get(&path).cloned();
        let deleted = before.is_some() && self.rng.below(4) > usize::from(self.grows);
        let after = (!deleted).then(|| {
            loop {
                let record = self.record();
                if before.as_ref() != Some(&record) {
                    break record;
                }
            }
        });
        match &after {
            Some(record) => self.records.insert(path.clone(), record.clone()),
            None => self.records.remove(&path),
        };
        Change {
            path,
            before,
            after,
        }
    }

    /// A new path, or an existing one.
    fn path(&mut self) -> String {
        let there = self.rng.below(4) > 2 * usize::from(self.grows);
        if there && !self.records.is_empty() {
            let index = self.rng.below(self.records.len());
            return self.records.keys().nth(index).cloned().unwrap_or_default();
        }
        self.made += 1;
        match self.rng.below(8) {
            0 => "app.bsky.actor.profile/self".to_owned(),
            // As for posts: after everything before.
            1..4 => format!("app.bsky.feed.post/3l{:011}", self.made),
            4..6 => format!("app.bsky.feed.like/{:x}", self.rng.next_u64()),
            // Every allowed character, and more than 255 bytes that two paths share.
            6 => format!("com.example.a-b.c/~{:x}:._-Z", self.rng.next_u64()),
            _ => format!(
                "com.example.long/{}{:x}",
                "x".repeat(450 + self.rng.below(2)),
                self.rng.below(1 << 20)
            ),
        }
    }

    /// `{"n": ..., "text": ...}`. Now and then two paths have the same.
    fn record(&mut self) -> Bytes {
        let mut number = [0; 2];
        number.fill_with(|| 24 + u8::try_from(self.rng.below(200)).unwrap_or(0));
        let [n, len] = number;
        let head = [0xa2, 0x61, b'n', 0x18, n, 0x64];
        let text = vec![b'.'; len.into()];
        [&head, b"text\x78".as_slice(), &[len], &text]
            .concat()
            .into()
    }
}

/// The most changes that a commit may have.
const MOST_CHANGES: usize = 200;
/// How many records there are when the repository begins to shrink.
const MOST_RECORDS: usize = 400;
