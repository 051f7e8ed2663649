//! The danger: that a repository and its copies drift apart, one commit in thousands at a time.
//! The store lacks a block of a commit, the firehose leaves out what a receiver needs, a revision
//! does not grow; or a copy that has missed something continues as if it had not.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use blockstore_car::{CarBlockStore, CarReader, CarWriter};
use blockstore_core::{BlockStoreMut, Bytes, Cid, MemoryBlockStore};
use mst_ops::{NodeStore, Tree};
use mst_repo::{
    CommitEvent, Curve, EventCheck, EventError, Frame, NewCommit, PublicKey, RepoState, Repository,
    SigningKey, SyncEvent, Write, Writer, reachable,
};
use mst_testkit::{Change, History, Rng};

const DID: &str = "did:plc:z72i7hdynmk6r22z27h6tvur";
const TIME: &str = "2026-11-21T00:00:00Z";
const COMMITS: i64 = 2_500;

fn write(change: &Change) -> Write {
    let path = change.path.clone();
    match (&change.before, change.after.clone()) {
        (None, Some(record)) => Write::Create { path, record },
        (Some(_), Some(record)) => Write::Update { path, record },
        (_, None) => Write::Delete { path },
    }
}

/// The repository that the others are copies of, and all messages that it has sent.
struct Origin {
    key: SigningKey,
    store: Arc<MemoryBlockStore>,
    writer: Writer<Arc<MemoryBlockStore>>,
    history: History,
    rng: Rng,
}

impl Origin {
    fn new(seed: u64) -> (Self, NewCommit) {
        let key = SigningKey::from_bytes(Curve::K256, &[7; 32]).unwrap();
        let store = Arc::new(MemoryBlockStore::new());
        let (writer, first) = Writer::create(store.clone(), DID, &key).unwrap();
        let origin = Self {
            key,
            store,
            writer,
            history: History::new(seed),
            rng: Rng::new(seed),
        };
        (origin, first)
    }

    /// One more commit, compared with the tree of the records, built the obvious way.
    fn commit(&mut self) -> NewCommit {
        let before = (self.writer.commit().rev, self.writer.commit().data);
        let changes = self.history.step();
        let writes: Vec<Write> = changes.iter().map(write).collect();
        let new = self.writer.write(&writes, &self.key).unwrap();

        assert_eq!(new.operations.len(), changes.len());
        assert_eq!(new.commit.data, self.history.tree().root);
        assert!(new.commit.rev > before.0, "a revision only grows");
        assert_eq!(new.since, Some(before.0));
        assert_eq!(new.prev_data, Some(before.1));
        // Everything that is no longer used can be removed, and nothing is missing.
        for cid in &new.removed {
            self.store.delete(cid).unwrap();
        }
        if self.rng.below(40) == 0 {
            let store = self.store.clone();
            self.writer = Writer::open(store, &new.cid).unwrap();
        }
        new
    }

    /// The repository as it is now, as `com.atproto.sync.getRepo` returns it.
    fn export(&self) -> Vec<u8> {
        let commit = self.writer.commit_cid();
        let repository = Repository::open(&self.store, &commit).unwrap();
        let mut car = CarWriter::new(Vec::new(), &[commit]).unwrap();
        for block in repository.export().unwrap() {
            let (cid, block) = block.unwrap();
            car.write_block(&cid, &block).unwrap();
        }
        car.finish().unwrap()
    }

    /// A message with the present state of the repository.
    fn sync(&self) -> SyncEvent {
        SyncEvent::new(self.writer.commit(), 0, TIME)
    }
}

/// A copy of the repository, in a store of its own.
struct Mirror {
    key: PublicKey,
    store: MemoryBlockStore,
    head: Cid,
    state: RepoState,
}

impl Mirror {
    fn new(origin: &Origin) -> Self {
        let (store, head) = (MemoryBlockStore::new(), origin.writer.commit_cid());
        let state = import(&origin.export(), &head, &store);
        Self {
            key: origin.key.public_key(),
            store,
            head,
            state,
        }
    }

    fn check(&self) -> EventCheck<'_> {
        EventCheck::default()
            .with_key(&self.key)
            .with_state(&self.state)
            .with_cover(true)
    }

    /// Processes a message as it comes over the wire.
    fn take(&mut self, frame: &[u8]) -> Result<(), EventError> {
        match Frame::decode(frame).unwrap() {
            Frame::Commit(event) => {
                let checked = self.check().commit(&event)?;
                // The operations, done again here, lead to the same root as the nodes that came.
                let mut tree = Tree::open(NodeStore::new(&self.store), &self.state.data).unwrap();
                for operation in &checked.operations {
                    let old = match &operation.new {
                        Some(value) => tree.insert(&operation.key, value),
                        None => tree.remove(&operation.key),
                    };
                    assert_eq!(old.unwrap(), operation.old);
                }
                assert_eq!(tree.flush().root, checked.state.data);
                self.put(&event.blocks);
                (self.head, self.state) = (checked.cid, checked.state);
            }
            Frame::Sync(event) => {
                self.state = self.check().sync(&event)?;
                self.head = self.put(&event.blocks);
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    }

    /// Stores the blocks of a message, and returns its root.
    fn put(&self, car: &[u8]) -> Cid {
        let mut blocks = CarReader::new(car).unwrap();
        let root = blocks.roots()[0];
        for block in &mut blocks {
            let block = block.unwrap();
            self.store.put(&block.cid, block.bytes).unwrap();
        }
        root
    }

    /// Forgets everything except the store and the last commit.
    fn restart(&mut self) {
        let repository = Repository::open(&self.store, &self.head).unwrap();
        let state = RepoState::of(repository.commit());
        assert_eq!(state, self.state);
        self.state = state;
    }

    /// Fetches the whole repository, and drops what it does not need.
    fn resync(&mut self, origin: &Origin) {
        self.head = origin.writer.commit_cid();
        let check = EventCheck::default()
            .with_key(&self.key)
            .with_state(&self.state);
        let state = check.repository(DID, origin.writer.commit()).unwrap();
        self.state = import(&origin.export(), &self.head, &self.store);
        assert_eq!(self.state, state);
        let used = reachable(&self.store, &[self.head]).unwrap();
        self.store.retain(|cid| used.contains(cid));
    }

    /// Reads everything, and compares it with the records.
    fn assert_holds(&self, records: &BTreeMap<String, Bytes>) {
        let repository = Repository::open(&self.store, &self.head).unwrap();
        repository.commit().verify_signature(&self.key).unwrap();
        repository.verify().unwrap();
        let found = repository.records().unwrap().map(|record| {
            let record = record.unwrap();
            (record.path().to_owned(), record.bytes().clone())
        });
        assert!(found.collect::<BTreeMap<_, _>>() == *records);
    }
}

/// Puts a repository that came as a CAR into `store`.
fn import(car: &[u8], head: &Cid, store: &MemoryBlockStore) -> RepoState {
    let car = CarBlockStore::from_bytes(car.to_vec()).unwrap();
    assert_eq!(car.roots(), [*head]);
    let repository = Repository::open(car, head).unwrap();
    repository.copy_to(store).unwrap();
    RepoState::of(repository.commit())
}

#[test]
fn thousands_of_commits_invert_and_a_mirror_of_slices_agrees_after_each() {
    let (mut origin, first) = Origin::new(1);
    let mut mirror = Mirror::new(&origin);
    assert_eq!(mirror.head, first.cid);
    let (mut most, mut empty, mut largest) = (0, 0, 0);
    for seq in 1..=COMMITS {
        let new = origin.commit();
        let frame = Frame::from(CommitEvent::new(&new, seq, TIME)).encode();
        mirror.take(&frame).unwrap();
        assert_eq!(mirror.state.data, origin.writer.commit().data);
        assert_eq!(mirror.head, new.cid);
        // The same again is late, and changes nothing.
        assert!(matches!(mirror.take(&frame), Err(EventError::Stale { .. })));
        if seq % 50 == 0 || seq == COMMITS {
            mirror.restart();
            mirror.assert_holds(origin.history.records());
        }
        let records = origin.history.records().len();
        most = most.max(new.operations.len());
        largest = largest.max(records);
        empty += usize::from(records == 0);
    }
    println!("up to {most} operations and {largest} records; {empty} times none");
    assert!(most == 200 && largest > 400 && empty > 0);
}

#[test]
fn a_mirror_that_misses_messages_notices_fetches_the_repository_and_goes_on() {
    let (mut origin, _) = Origin::new(2);
    let mut mirror = Mirror::new(&origin);
    let mut rng = Rng::new(3);
    // Sent, but not yet read: the mirror may fetch a repository that is ahead.
    let mut sent: VecDeque<Vec<u8>> = VecDeque::new();
    let (mut dropped, mut restarts, mut resyncs, mut late, mut agreed) = (0, 0, 0, 0, 0);
    for seq in 1..=COMMITS {
        let new = origin.commit();
        let event = CommitEvent::new(&new, seq, TIME);
        sent.push_back(Frame::from(event).encode());
        match rng.below(60) {
            // Some messages are lost, on either side.
            0 => {
                let many = rng.below(5).min(sent.len());
                dropped += sent.drain(..many).count();
            }
            1 => dropped += usize::from(sent.pop_back().is_some()),
            2 => sent.push_back(Frame::Sync(origin.sync()).encode()),
            3 => {
                mirror.restart();
                restarts += 1;
            }
            // It lags behind.
            4..30 => continue,
            _ => {}
        }
        while let Some(frame) = sent.pop_front() {
            let before = (mirror.head, mirror.state);
            match mirror.take(&frame) {
                Ok(()) => {}
                Err(EventError::OutOfSync(_)) => {
                    assert_eq!((mirror.head, mirror.state), before);
                    mirror.resync(&origin);
                    mirror.assert_holds(origin.history.records());
                    resyncs += 1;
                }
                Err(EventError::Stale { .. }) => late += 1,
                Err(other) => panic!("{other:?}"),
            }
            if rng.below(10) == 0 {
                break;
            }
        }
        if sent.is_empty() && mirror.state.rev == origin.writer.commit().rev {
            assert_eq!(mirror.state.data, origin.writer.commit().data);
            assert_eq!(mirror.head, origin.writer.commit_cid());
            agreed += 1;
        }
    }
    // The last message brings it back in sync, whatever was lost.
    let sync = Frame::Sync(origin.sync()).encode();
    for frame in sent.into_iter().chain([sync]) {
        if let Err(EventError::OutOfSync(_)) = mirror.take(&frame) {
            mirror.resync(&origin);
        }
    }
    assert_eq!(mirror.head, origin.writer.commit_cid());
    mirror.assert_holds(origin.history.records());
    println!(
        "{dropped} dropped, {restarts} restarts, {resyncs} resyncs, {late} late, {agreed} agreed"
    );
    assert!(dropped > 50 && restarts > 20 && resyncs > 20 && late > 20 && agreed > 500);
}
