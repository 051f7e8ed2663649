//! Commits on a repository of 100,000 records, made and checked:
//! `cargo bench -p mst-repo --bench firehose`.

use std::collections::VecDeque;
use std::sync::LazyLock;

use blockstore_core::{BlockStoreMut, Cid, MemoryBlockStore};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use mst_repo::{
    CommitEvent, Curve, EventCheck, Frame, NewCommit, RepoState, SigningKey, Write, Writer,
};
use mst_testkit::{BENCH_RECORDS, BENCH_SEED, Rng, SampleRepository};

fn main() {
    divan::main();
}

/// How many commits one run makes or checks.
const COMMITS: usize = 200;

/// A repository, and what to write to it.
struct Input {
    blocks: MemoryBlockStore,
    commit: Cid,
    /// The writes of each commit, 1 to 5 of them: most are new records, the others deletions.
    writes: Vec<Vec<Write>>,
}

static INPUT: LazyLock<Input> = LazyLock::new(|| {
    let sample = SampleRepository::generate(BENCH_SEED, BENCH_RECORDS);
    let blocks = MemoryBlockStore::new();
    let put = blocks.put_many(&sample.blocks());
    put.expect("a made-up repository has the right CIDs");
    let mut rng = Rng::new(BENCH_SEED);
    let mut old: Vec<&String> = sample.paths.keys().collect();
    rng.shuffle(&mut old);
    let mut old: VecDeque<&String> = old.into();
    // Another repository has records from the same times, with other keys.
    let other = SampleRepository::generate(BENCH_SEED + 1, BENCH_RECORDS);
    let mut new: Vec<_> = other
        .paths
        .iter()
        .filter(|(path, _)| !sample.paths.contains_key(*path))
        .collect();
    rng.shuffle(&mut new);
    let mut new = new.into_iter();
    let mut next = || {
        let path = old.pop_front().expect("there are enough").clone();
        if rng.below(10) == 0 {
            return Write::Delete { path };
        }
        let (path, cid) = new.next().expect("there are enough");
        let record = other.records.get(cid).expect("it has all its records");
        Write::Create {
            path: path.clone(),
            record: record.clone(),
        }
    };
    let mut lens = Rng::new(BENCH_SEED);
    let writes = (0..COMMITS)
        .map(|_| (0..=lens.below(5)).map(|_| next()).collect())
        .collect();
    Input {
        commit: sample.commit.0,
        blocks,
        writes,
    }
});

static KEY: LazyLock<SigningKey> = LazyLock::new(|| {
    SigningKey::from_bytes(Curve::K256, &[7; 32]).expect("a small number is a key")
});

/// Makes all commits, with a writer whose tree was loaded before.
fn write(writer: &mut Writer<&MemoryBlockStore>, key: Option<&SigningKey>) -> Vec<NewCommit> {
    let commits = INPUT.writes.iter().map(|writes| {
        let new = match key {
            Some(key) => writer.write(writes, key),
            // Not by a key, but in the form of one that is.
            None => writer.write(writes, &|_: &[u8]| Ok([1; 64])),
        };
        new.expect("the writes fit the repository")
    });
    commits.collect()
}

fn writer() -> Writer<&'static MemoryBlockStore> {
    let writer = Writer::open(&INPUT.blocks, &INPUT.commit).expect("it has a commit");
    writer.tree().verify().expect("the tree is whole");
    writer
}

/// The messages about all commits, signed, with the state before the first.
static EVENTS: LazyLock<(RepoState, Vec<CommitEvent>)> = LazyLock::new(|| {
    let mut writer = writer();
    let before = RepoState::of(writer.commit());
    let commits = write(&mut writer, Some(&KEY));
    let events = commits.iter().zip(1..);
    let event = |(new, seq)| CommitEvent::new(new, seq, "2026-11-21T00:00:00.000Z");
    (before, events.map(event).collect())
});

/// A commit of 1 to 5 writes, with its blocks put into a store in memory: without a signature, and
/// with one.
#[divan::bench(args = [false, true])]
fn write_commit(bencher: Bencher, signed: bool) {
    let key = signed.then_some(&*KEY);
    bencher
        .counter(ItemsCount::new(COMMITS))
        .with_inputs(writer)
        .bench_local_refs(|writer| write(writer, key));
}

/// The message about such a commit, from the frame.
#[divan::bench]
fn decode_frame(bencher: Bencher) {
    let events = EVENTS.1.iter().cloned().map(Box::new);
    let frames: Vec<Vec<u8>> = events.map(|event| Frame::Commit(event).encode()).collect();
    bencher.counter(ItemsCount::new(COMMITS)).bench_local(|| {
        for frame in &frames {
            let _ = black_box(Frame::decode(black_box(frame)));
        }
    });
}

/// The check of such a message against the state before it: without the signature, and with it.
#[divan::bench(args = [false, true])]
fn check_commit(bencher: Bencher, signed: bool) {
    let (before, events) = &*EVENTS;
    let key = KEY.public_key();
    bencher.counter(ItemsCount::new(COMMITS)).bench_local(|| {
        let mut state = *before;
        for event in events {
            let mut check = EventCheck::default().with_state(&state);
            check.key = signed.then_some(&key);
            state = check.commit(event).expect("the commit is right").state;
        }
        state
    });
}
