//! The danger: a commit that must not be made, but is; a failed write that leaves half of itself
//! behind.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use blockstore_car::CarBlockStore;
use blockstore_core::{
    BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, OverlayBlockStore, StoreError,
    dag_cbor_cid,
};
use mst_ops::{NodeStore, Tree};
use mst_repo::{
    Error, MAX_OPERATIONS, MAX_RECORD_LEN, NewCommit, Repository, SignError, Write, WriteError,
    Writer, check_record,
};

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
    let nested =
        |levels: usize| [b"\xa1\x61n".as_slice(), &vec![0x81; levels - 2], b"\x80"].concat();
    // An array, a map with a float, a map cut off, a map in another encoding, integers beyond
    // those of the data model, one level too many.
    for bad in [
        b"\x80".as_slice(),
        b"\xa1\x61n\xfb\0\0\0\0\0\0\0\0",
        b"\xa1",
        b"\xb8\0",
        b"\xa1\x61n\x1b\x80\0\0\0\0\0\0\0",
        b"\xa1\x61n\x81\x3b\x80\0\0\0\0\0\0\0",
        &nested(128),
    ] {
        let error = refused(&[put(&path(2), bad)]);
        assert!(matches!(error, WriteError::InvalidRecord { .. }), "{bad:?}");
    }
    for fine in [
        b"\xa1\x61n\x1b\x7f\xff\xff\xff\xff\xff\xff\xff".as_slice(),
        b"\xa1\x61n\x3b\x7f\xff\xff\xff\xff\xff\xff\xff",
        &nested(127),
    ] {
        assert_eq!(check_record(fine), Ok(()), "{fine:?}");
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
    // Three records, each within its limit, but together beyond that of the slice.
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
    // And as many as allowed.
    let many: Vec<Write> = (2..MAX_OPERATIONS + 2).map(create).collect();
    writer.write(&many, &sign).unwrap();
    let nobody = Writer::create(&store, "no did", &sign);
    assert!(matches!(nobody, Err(WriteError::InvalidDid { .. })));
}

/// Blocks that can be read as long as the flag is not set.
struct Unreadable<'b>(&'b MemoryBlockStore, &'b Cell<bool>);

impl BlockStore for Unreadable<'_> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        if self.1.get() {
            return Err(StoreError::backend("the disk is gone"));
        }
        self.0.get(cid)
    }

    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        self.0.has(cid)
    }
}

#[test]
fn a_store_that_fails_is_one_kind_of_error_wherever_it_fails() {
    let store = MemoryBlockStore::new();
    let (mut writer, _) = Writer::create(&store, DID, &sign).unwrap();
    let writes: Vec<Write> = (1..100).map(create).collect();
    let commit = writer.write(&writes, &sign).unwrap().cid;
    let (unreadable, upper) = (Cell::new(false), MemoryBlockStore::new());
    let blocks = OverlayBlockStore::new(&upper, Unreadable(&store, &unreadable));
    let mut writer = Writer::open(blocks, &commit).unwrap();
    unreadable.set(true);
    // Each needs nodes that were not read yet.
    for number in 100..110 {
        let error = writer.write(&[create(number)], &sign).unwrap_err();
        assert!(matches!(error, WriteError::Store(_)), "{error}");
    }
    unreadable.set(false);
    writer.write(&[create(100)], &sign).unwrap();
}

/// A database whose answer was lost, and which has kept the commit and dropped what it replaces.
#[test]
fn a_writer_does_not_go_on_beside_a_commit_that_was_kept_after_all() {
    let store = MemoryBlockStore::new();
    let (mut writer, _) = Writer::create(&store, DID, &sign).unwrap();
    let writes: Vec<Write> = (1..30).map(create).collect();
    let before = writer.write(&writes, &sign).unwrap();

    let mut kept = None;
    let lost = writer.write_with(&[create(40)], &sign, |blocks, new| {
        blocks.put_many(&new.new_blocks)?;
        blocks.delete_many(&new.removed)?;
        kept = Some(new.cid);
        Err(StoreError::backend("the connection was lost"))
    });
    assert!(matches!(lost, Err(WriteError::Store(_))));
    let dropped: Vec<Cid> = before.new_blocks.iter().map(|(cid, _)| *cid).collect();
    for _ in 0..2 {
        let error = writer.write(&[create(41)], &sign).unwrap_err();
        let is_missing = matches!(
            error,
            WriteError::Repository(Error::MissingBlock(cid))
                if dropped.contains(&cid) && !store.has(&cid).unwrap()
        );
        assert!(is_missing, "{error}");
    }

    let mut writer = Writer::open(&store, &kept.unwrap()).unwrap();
    let new = writer.write(&[create(41)], &sign).unwrap();
    let repository = Repository::open(&store, &new.cid).unwrap();
    assert_eq!(repository.verify().unwrap().records, 31);
}

/// A store that has only what was fetched before from another, level by level.
#[test]
fn writes_need_what_is_missing_for_their_paths_and_nothing_else() {
    for seed in 0..20 {
        let far = MemoryBlockStore::new();
        let (mut writer, _) = Writer::create(&far, DID, &sign).unwrap();
        let writes: Vec<Write> = (0..100).map(|n| create(3 * n)).collect();
        let last = writer.write(&writes, &sign).unwrap();

        let near = MemoryBlockStore::new();
        let fetch = |cid: &Cid| near.put(cid, far.get(cid).unwrap().unwrap()).unwrap();
        fetch(&last.cid);
        fetch(&last.commit.data);
        let mut writer = Writer::open(&near, &last.cid).unwrap();
        let writes = [
            create(3 * seed + 1),
            Write::Delete {
                path: path(150 + 3 * seed),
            },
        ];
        loop {
            let missing = writer
                .tree()
                .missing_for(writes.iter().map(Write::path))
                .unwrap();
            if missing.is_empty() {
                break;
            }
            missing.iter().for_each(fetch);
        }
        let cover = writer.tree().cover(writes.iter().map(Write::path)).unwrap();
        assert_eq!(near.len(), cover.len() + 1);
        let new = writer.write(&writes, &sign).unwrap();
        far.put_many(&new.new_blocks).unwrap();
        let summary = Repository::open(&far, &new.cid).unwrap().verify().unwrap();
        assert_eq!(summary.records, 100);
    }
}

/// A transaction around the write was rolled back.
#[test]
fn a_writer_does_not_go_on_from_a_commit_that_does_not_exist() {
    let store = MemoryBlockStore::new();
    let (mut writer, first) = Writer::create(&store, DID, &sign).unwrap();
    let second = writer.write(&[create(1)], &sign).unwrap();
    for (cid, _) in &second.new_blocks {
        store.delete(cid).unwrap();
    }
    let error = writer.write(&[create(2)], &sign).unwrap_err();
    let is_missing = matches!(
        error,
        WriteError::Repository(Error::MissingBlock(cid)) if cid == second.cid
    );
    assert!(is_missing, "{error}");
    let mut writer = Writer::open(&store, &first.cid).unwrap();
    let new = writer.write(&[create(2)], &sign).unwrap();
    let repository = Repository::open(&store, &new.cid).unwrap();
    assert_eq!(repository.verify().unwrap().records, 1);
}

/// A store that fails, or panics, while it drops what is no longer used. The nodes are in the
/// writer's memory, so it could go on without them.
#[test]
fn a_writer_does_not_go_on_over_nodes_that_were_dropped() {
    for (seed, panics) in (0..40).flat_map(|seed| [(seed, false), (seed, true)]) {
        let store = MemoryBlockStore::new();
        let (mut writer, _) = Writer::create(&store, DID, &sign).unwrap();
        let writes: Vec<Write> = (0..50 + seed).map(create).collect();
        let before = writer.write(&writes, &sign).unwrap();
        let mut dropped = 0;
        let failing = AssertUnwindSafe(|| {
            writer.write_with(&[create(900 + seed)], &sign, |blocks, new| {
                blocks.put_many(&new.new_blocks)?;
                dropped = seed % (new.removed.len() + 1);
                blocks.delete_many(&new.removed[..dropped])?;
                assert!(!panics);
                Err(StoreError::backend("the disk failed"))
            })
        });
        let failed = catch_unwind(failing);
        assert!(if panics {
            failed.is_err()
        } else {
            failed.unwrap().is_err()
        });

        let delete = Write::Delete { path: path(seed) };
        match writer.write(&[delete], &sign) {
            Ok(new) => {
                assert_eq!(dropped, 0);
                let repository = Repository::open(&store, &new.cid).unwrap();
                assert_eq!(repository.verify().unwrap().records, 49 + seed as u64);
            }
            Err(WriteError::Repository(Error::MissingBlock(cid))) => {
                assert!(dropped > 0 && !store.has(&cid).unwrap());
                assert_eq!(writer.commit_cid(), before.cid);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// What a commit no longer uses may be dropped: so no record may be one of the tree's own blocks,
/// or become one.
#[test]
fn no_node_and_no_commit_is_taken_for_a_record() {
    let store = MemoryBlockStore::new();
    let (mut writer, first) = Writer::create(&store, DID, &sign).unwrap();
    // Two paths with one record: that record comes once.
    let second = writer.write(&[create(1), create(2)], &sign).unwrap();
    let blocks = [first, second].map(|new| new.new_blocks).concat();
    let (records, others): (Vec<_>, Vec<_>) = blocks
        .into_iter()
        .partition(|(_, block)| *block == record(0x10_0000));
    assert!(records.len() == 1 && others.len() >= 4, "{others:?}");
    for (_, record) in others {
        let path = path(3);
        let error = writer.write(&[Write::Put { path, record }], &sign);
        assert!(matches!(error, Err(WriteError::NotARecord { .. })));
    }
}

#[test]
fn what_is_put_is_created_or_updated() {
    let store = MemoryBlockStore::new();
    let (mut writer, first) = Writer::create(&store, DID, &sign).unwrap();
    let mut put = |n: u32| {
        let (path, record) = (path(1), record(0x10_0000 + n));
        let new = writer.write(&[Write::Put { path, record }], &sign);
        new.unwrap()
    };
    let (created, updated) = (put(1), put(2));
    assert_eq!(
        (first.previous, created.previous, updated.previous),
        (None, Some(first.cid), Some(created.cid))
    );
    let values = |new: &NewCommit| (new.operations[0].old, new.operations[0].new);
    let [one, two] = [0x10_0001, 0x10_0002].map(|n| dag_cbor_cid(&record(n)));
    assert_eq!(values(&created), (None, Some(one)));
    assert_eq!(values(&updated), (Some(one), Some(two)));
    // The previous commit is no longer used, and neither is the record that was replaced.
    assert_eq!(first.removed, []);
    assert!(created.removed.contains(&first.cid) && updated.removed.contains(&created.cid));
    assert_eq!((created.replaced, updated.replaced), (vec![], vec![one]));
    let again = put(2);
    assert!(again.operations.is_empty() && again.replaced.is_empty());
    assert_eq!(again.removed, [updated.cid]);
    // The record exists, and is not sent again.
    assert_eq!(
        again.new_blocks,
        [(again.cid, again.commit.encode().into())]
    );
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
        assert_eq!(new.prev_data, Some(first.commit.data));
        let slice = CarBlockStore::from_bytes(new.slice.clone()).unwrap();
        assert_eq!(slice.roots(), [new.cid]);
        let nodes = NodeStore::new(&slice);
        let tree = Tree::open(&nodes, &new.commit.data).unwrap();
        assert_eq!(tree.invert(&[]).unwrap(), first.commit.data);
        assert!(new.commit.rev > first.commit.rev);
    }
    assert!(store.has(&dag_cbor_cid(&record(0x10_0000))).unwrap());
}

#[test]
fn a_revision_at_the_end_of_time_has_none_behind_it() {
    let store = MemoryBlockStore::new();
    let (writer, _) = Writer::create(&store, DID, &sign).unwrap();
    let mut last = writer.commit().clone();
    last.rev = "jzzzzzzzzzzzz".parse().unwrap();
    last.sign(&sign).unwrap();
    store.put(&last.cid(), last.encode().into()).unwrap();
    let mut writer = Writer::open(&store, &last.cid()).unwrap();
    let len = store.len();
    for writes in [vec![], vec![create(1)]] {
        let error = writer.write(&writes, &sign).unwrap_err();
        assert!(matches!(error, WriteError::NoRevision { .. }), "{error:?}");
        assert_eq!((writer.commit_cid(), store.len()), (last.cid(), len));
    }
}

#[test]
fn a_writer_gives_its_store_back_unless_its_tree_is_still_used() {
    let (mut writer, _) = Writer::create(MemoryBlockStore::new(), DID, &sign).unwrap();
    let new = writer.write(&[create(1)], &sign).unwrap();
    let store = writer.into_blocks().unwrap();
    assert!(store.has(&new.cid).unwrap());
    let writer = Writer::open(store, &new.cid).unwrap();
    let tree = writer.tree().clone();
    assert!(writer.into_blocks().is_none());
    drop(tree);
}
