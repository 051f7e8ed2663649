//! The danger: a repository that depends on where its blocks are. Whatever the store, the
//! same blocks must lead to the same records, the same counts and the same errors.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::BTreeSet;

use blockstore_car::{CarBlockStore, CarOptions, Verify};
use blockstore_core::{BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, OverlayBlockStore};
use blockstore_sqlite::SqliteBlockStore;
use mst_ops::NodeStoreOptions;
use mst_repo::Repository;
use mst_testkit::SampleRepository;

#[test]
fn every_store_gives_the_same_repository() {
    let sample = SampleRepository::generate(5, 300);
    assert_same_everywhere(&sample, &sample.blocks());
}

#[test]
fn every_store_misses_the_same_blocks() {
    let sample = SampleRepository::generate(6, 300);
    let mut blocks = sample.blocks();
    // Neither the commit nor the root, which come first.
    let mut n = 0;
    blocks.retain(|_| {
        n += 1;
        n < 3 || n % 7 != 0
    });
    let seen = assert_same_everywhere(&sample, &blocks);
    assert!(seen.iter().any(|line| line.contains("missing")));
}

/// Reads the repository of `blocks` in stores of all kinds; returns what is seen.
fn assert_same_everywhere(sample: &SampleRepository, blocks: &[(Cid, Bytes)]) -> Vec<String> {
    let memory = MemoryBlockStore::new();
    memory.put_many(blocks).unwrap();
    let expected = seen(&memory, &sample.commit.0);

    // Every other block in either half, some in both.
    let (upper, lower) = (MemoryBlockStore::new(), MemoryBlockStore::new());
    for (n, (cid, block)) in blocks.iter().enumerate() {
        if n % 2 == 0 || n % 5 == 0 {
            upper.put(cid, block.clone()).unwrap();
        }
        if n % 2 == 1 || n % 3 == 0 {
            lower.put(cid, block.clone()).unwrap();
        }
    }
    let overlay = OverlayBlockStore::new(upper, lower);
    assert_eq!(seen(&overlay, &sample.commit.0), expected, "overlay");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blocks.sqlite");
    let sqlite = SqliteBlockStore::open(&path).unwrap();
    sqlite.put_many(blocks).unwrap();
    assert_eq!(seen(&sqlite, &sample.commit.0), expected, "SQLite");
    drop(sqlite);
    let sqlite = SqliteBlockStore::open_read_only(&path).unwrap();
    assert_eq!(seen(&sqlite, &sample.commit.0), expected, "SQLite, again");

    let mut shuffled = blocks.to_vec();
    mst_testkit::Rng::new(1).shuffle(&mut shuffled);
    for (order, blocks) in [("in order", blocks), ("shuffled", &shuffled)] {
        let car = sample.car_of(blocks);
        let path = std::env::temp_dir().join(format!(
            "stores-{}-{}.car",
            std::process::id(),
            blocks.len()
        ));
        std::fs::write(&path, &car).unwrap();
        for verify in [Verify::OnOpen, Verify::OnRead, Verify::Never] {
            let options = CarOptions {
                verify: Some(verify),
                ..CarOptions::default()
            };
            let store = CarBlockStore::from_bytes_with(car.clone(), options).unwrap();
            assert_eq!(
                seen(&store, &sample.commit.0),
                expected,
                "{order}, in memory, {verify:?}"
            );
            let store = CarBlockStore::open_with(&path, options).unwrap();
            assert_eq!(
                seen(&store, &sample.commit.0),
                expected,
                "{order}, a file, {verify:?}"
            );
            let boxed: Box<dyn BlockStore> = Box::new(store);
            let over = OverlayBlockStore::new(MemoryBlockStore::new(), boxed);
            assert_eq!(
                seen(&over, &sample.commit.0),
                expected,
                "{order}, behind, {verify:?}"
            );
        }
        std::fs::remove_file(&path).unwrap();
    }
    expected
}

/// Everything that a reader can see of a repository.
fn seen<S: BlockStore>(store: &S, commit: &Cid) -> Vec<String> {
    let mut seen = Vec::new();
    for (trusted, cache_bytes) in [(false, 0), (false, 10_000), (true, 64 << 20)] {
        let options = NodeStoreOptions {
            trusted,
            cache_bytes,
            ..NodeStoreOptions::default()
        };
        let repository = Repository::open_with(store, commit, options).unwrap();
        let mut lines = Vec::new();
        for record in repository.records().unwrap() {
            lines.push(match record {
                Ok(record) => format!("{} {} {:?}", record.path(), record.cid(), record.bytes()),
                Err(error) => error.to_string(),
            });
        }
        for node in repository.walker().unwrap().nodes() {
            lines.push(match node {
                Ok(node) => format!("{} {}", node.cid(), node.height()),
                Err(error) => error.to_string(),
            });
        }
        let mut faults = repository.faults();
        for fault in faults.by_ref() {
            lines.push(format!("{} {:?}", fault.error, fault.place));
        }
        lines.push(format!("{:?}", faults.summary()));
        assert!(seen.is_empty() || seen == lines, "however it is cached");
        seen = lines;
    }
    let distinct: BTreeSet<&String> = seen.iter().collect();
    assert!(distinct.len() > 100);
    seen
}
