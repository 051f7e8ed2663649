//! The danger: a commit that is not quite what it says. The store lacks a block of it, the
//! firehose leaves out what a receiver needs, a failed write leaves half of itself behind, or a
//! revision does not grow.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::{BTreeMap, BTreeSet};

use blockstore_car::{CarBlockStore, CarReader};
use blockstore_core::{
    BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, StoreError, dag_cbor_cid,
};
use mst_ops::{NodeStore, Tree};
use mst_repo::{
    Commit, Error, MAX_OPERATIONS, MAX_RECORD_LEN, NewCommit, Repository, SignError, Write,
    WriteError, Writer,
};
use mst_testkit::Rng;

const DID: &str = "did:plc:z72i7hdynmk6r22z27h6tvur";

#[allow(clippy::unnecessary_wraps, reason = "the shape of a signer")]
fn sign(_: &[u8]) -> Result<[u8; 64], SignError> {
    Ok([7; 64])
}

/// The record `{"n": n}`.
fn record(n: u32) -> Bytes {
    [b"\xa1\x61n\x1a".as_slice(), &n.to_be_bytes()]
        .concat()
        .into()
}

fn path(n: usize) -> String {
    format!("app.bsky.feed.post/{n:05}")
}

fn create(n: usize) -> Write {
    Write::Create {
        path: path(n),
        record: record(0x10_0000),
    }
}

/// Random writes that fit what is there.
fn random_writes(rng: &mut Rng, map: &mut BTreeMap<String, Bytes>) -> Vec<Write> {
    let mut paths = BTreeSet::new();
    for _ in 0..=rng.below(5) {
        paths.insert(path(rng.below(400)));
    }
    let mut writes: Vec<Write> = Vec::new();
    for path in paths {
        let record = record(0x10_0000 + u32::try_from(rng.below(1_000_000)).unwrap());
        let write = match map.contains_key(&path) {
            true if rng.below(3) > 0 => Write::Delete { path: path.clone() },
            true => Write::Update {
                path: path.clone(),
                record: record.clone(),
            },
            false => Write::Create {
                path: path.clone(),
                record: record.clone(),
            },
        };
        match write {
            Write::Delete { .. } => map.remove(&path),
            _ => map.insert(path, record),
        };
        writes.push(write);
    }
    rng.shuffle(&mut writes);
    writes
}

/// What a mirror does with a slice: checks it against what it has, and takes the new blocks.
fn take_slice(mirror: &MemoryBlockStore, root: &Cid, new: &NewCommit) -> Cid {
    let slice = CarBlockStore::from_bytes(new.slice.clone()).unwrap();
    assert_eq!(slice.roots(), [new.cid]);
    let commit = Commit::decode(&slice.get(&new.cid).unwrap().unwrap()).unwrap();
    assert_eq!(commit, new.commit);
    let nodes = NodeStore::new(&slice);
    let tree = Tree::open(&nodes, &commit.data).unwrap();
    assert_eq!(tree.invert(&new.operations).unwrap(), *root);
    assert_eq!(new.prev_data, Some(*root));
    for block in CarReader::new(new.slice.as_slice()).unwrap() {
        let block = block.unwrap();
        mirror.put(&block.cid, block.bytes).unwrap();
    }
    commit.data
}

#[test]
fn a_history_of_commits_is_whole_at_every_step_and_so_is_a_mirror_fed_with_slices() {
    let store = MemoryBlockStore::new();
    let (mut writer, first) = Writer::create(&store, DID, &sign).unwrap();
    let mirror = MemoryBlockStore::new();
    mirror.put_many(&first.new_blocks).unwrap();
    let mut root = first.commit.data;
    let mut map = BTreeMap::new();
    let mut rng = Rng::new(1);
    let mut rev = first.commit.rev.clone();
    for step in 0..600 {
        let writes = random_writes(&mut rng, &mut map);
        let new = writer.write(&writes, &sign).unwrap();
        assert!(new.commit.rev > rev, "a revision only grows");
        assert_eq!(new.since.as_ref(), Some(&rev));
        rev.clone_from(&new.commit.rev);
        root = take_slice(&mirror, &root, &new);
        assert_eq!(root, new.commit.data);

        for cid in &new.removed {
            store.delete(cid).unwrap();
        }
        if step % 40 == 0 {
            writer = Writer::open(&store, &writer.commit_cid()).unwrap();
        }
        if step % 10 == 0 {
            for blocks in [&store, &mirror] {
                let repository = Repository::open(blocks, &new.cid).unwrap();
                assert_eq!(repository.verify().unwrap().records, map.len() as u64);
                for record in repository.records().unwrap() {
                    let record = record.unwrap();
                    assert_eq!(map[record.path()], *record.bytes());
                }
            }
        }
    }
}

#[test]
fn what_is_not_allowed_is_refused_and_changes_nothing() {
    let store = MemoryBlockStore::new();
    let (mut writer, _) = Writer::create(&store, DID, &sign).unwrap();
    writer.write(&[create(1)], &sign).unwrap();
    let (before, len) = (writer.commit_cid(), store.len());
    let mut refused = |writes: &[Write]| {
        let error = writer.write(writes, &sign).unwrap_err();
        assert_eq!((writer.commit_cid(), store.len()), (before, len));
        error
    };
    let put = |path: &str, record: &[u8]| Write::Create {
        path: path.into(),
        record: Bytes::copy_from_slice(record),
    };
    assert!(matches!(
        refused(&[create(2), create(1)]),
        WriteError::Exists { .. }
    ));
    assert!(matches!(
        refused(&[create(2), create(2)]),
        WriteError::Duplicate { .. }
    ));
    let delete = Write::Delete { path: path(2) };
    assert!(matches!(refused(&[delete]), WriteError::NotFound { .. }));
    let update = Write::Update {
        path: path(2),
        record: record(0x10_0001),
    };
    assert!(matches!(refused(&[update]), WriteError::NotFound { .. }));
    let error = refused(&[put("no path", b"\xa0")]);
    assert!(matches!(
        error,
        WriteError::Repository(Error::InvalidPath { .. })
    ));
    // An array, a map with a float, a map cut off, a map in another spelling.
    for bad in [
        b"\x80".as_slice(),
        b"\xa1\x61n\xfb\0\0\0\0\0\0\0\0",
        b"\xa1",
        b"\xb8\0",
    ] {
        let error = refused(&[put(&path(2), bad)]);
        assert!(matches!(error, WriteError::InvalidRecord { .. }), "{bad:?}");
    }
    let large = vec![0; MAX_RECORD_LEN + 1];
    assert!(matches!(
        refused(&[put(&path(2), &large)]),
        WriteError::RecordTooLarge { .. }
    ));
    let many: Vec<Write> = (2..=MAX_OPERATIONS + 2).map(create).collect();
    assert!(matches!(
        refused(&many),
        WriteError::TooManyOperations { .. }
    ));
    // Three records within the limit of one, together beyond that of the slice.
    let large = [
        b"\xa1\x61t\x7a\x00\x0c\x35\x00".as_slice(),
        &vec![b'x'; 800_000],
    ]
    .concat();
    let large: Vec<Write> = (2..5)
        .map(|n| {
            let mut record = large.clone();
            record[10 + n] = b'y';
            put(&path(n), &record)
        })
        .collect();
    assert!(matches!(refused(&large), WriteError::SliceTooLarge { .. }));

    let error = writer
        .write(&[create(2)], &|_: &[u8]| Err(SignError::signer("no key")))
        .unwrap_err();
    assert!(matches!(error, WriteError::Sign(_)));
    let error = writer
        .write_with(&[create(2)], &sign, |_, _| Err(StoreError::backend("full")))
        .unwrap_err();
    assert!(matches!(error, WriteError::Store(_)));
    assert_eq!((writer.commit_cid(), store.len()), (before, len));
    // And as many as are allowed.
    let many: Vec<Write> = (2..MAX_OPERATIONS + 2).map(create).collect();
    writer.write(&many, &sign).unwrap();
    assert!(Writer::create(&store, "no did", &sign).is_err());
}

#[test]
fn a_write_without_effect_is_no_operation_and_a_commit_without_any_stands_for_itself() {
    let store = MemoryBlockStore::new();
    let (mut writer, _) = Writer::create(&store, DID, &sign).unwrap();
    let first = writer.write(&[create(1)], &sign).unwrap();
    let same = Write::Update {
        path: path(1),
        record: record(0x10_0000),
    };
    for writes in [vec![same], vec![]] {
        let new = writer.write(&writes, &sign).unwrap();
        assert!(new.operations.is_empty());
        assert_eq!(new.commit.data, first.commit.data);
        take_slice(&MemoryBlockStore::new(), &first.commit.data, &new);
        assert!(new.commit.rev > first.commit.rev);
    }
    assert!(store.has(&dag_cbor_cid(&record(0x10_0000))).unwrap());
}
