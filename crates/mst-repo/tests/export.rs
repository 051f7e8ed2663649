//! The danger: an export that is not the repository. It lacks a block and nobody notices, contains
//! what its author deleted, or comes in an order that its reader must buffer completely. And a
//! sweep that deletes what is in use.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use blockstore_car::CarError;
use blockstore_core::{
    BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, StoreError, dag_cbor_cid,
};
use mst_ops::{Node, NodeStore, Tree};
use mst_repo::{Commit, Error, ExportError, Repository, reachable};
use mst_testkit::{Rng, SampleRepository};
use tokio::io::AsyncWrite;

type Block = (Cid, Bytes);

fn stored(blocks: &[Block]) -> MemoryBlockStore {
    let store = MemoryBlockStore::new();
    store.put_many(blocks).unwrap();
    store
}

fn garbage() -> Block {
    let block = Bytes::from_static(b"\x64none");
    (dag_cbor_cid(&block), block)
}

#[test]
fn blocks_come_in_streamable_order_whatever_else_is_in_the_store() {
    for (seed, len) in [(1, 0), (2, 1), (3, 17), (4, 2_000)] {
        let sample = SampleRepository::generate(seed, len);
        let store = stored(&sample.blocks());
        let (cid, block) = garbage();
        store.put(&cid, block).unwrap();
        let repository = Repository::open(&store, &sample.commit.0).unwrap();
        let blocks: Result<Vec<Block>, Error> = repository.export().unwrap().collect();
        assert_eq!(blocks.unwrap(), sample.blocks(), "{len} records");
    }
}

#[test]
fn every_missing_block_is_an_item_and_all_that_can_be_reached_comes_beside_it() {
    let sample = SampleRepository::generate(5, 60);
    let whole = sample.blocks();
    // Not the commit, and not the top node: without these there is nothing to export.
    for at in 2..whole.len() {
        let mut blocks = whole.clone();
        let (missing, _) = blocks.remove(at);
        if blocks.iter().any(|(cid, _)| *cid == missing) {
            continue;
        }
        let store = stored(&blocks);
        let repository = Repository::open(&store, &sample.commit.0).unwrap();
        let mut found = BTreeSet::new();
        let mut errors = Vec::new();
        for item in repository.export().unwrap() {
            match item {
                Ok((cid, _)) => assert!(found.insert(cid)),
                Err(error) => errors.push(error.cid()),
            }
        }
        assert_eq!(errors, [Some(missing)], "block {at}");
        // Only a record is missing, or everything below a node.
        let below = whole.len() - found.len();
        let is_record = sample.records.contains_key(&missing);
        assert!(if is_record { below == 1 } else { below > 1 }, "block {at}");
    }
}

/// Fails for one block, and for every request for several at once.
struct Failing<'s> {
    store: &'s MemoryBlockStore,
    bad: Cid,
}

impl BlockStore for Failing<'_> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        if *cid == self.bad {
            return Err(StoreError::HashMismatch(*cid));
        }
        self.store.get(cid)
    }

    fn get_many(&self, _: &[Cid]) -> Result<Vec<Option<Bytes>>, StoreError> {
        Err(StoreError::backend("not at once"))
    }
}

#[test]
fn one_bad_record_is_one_error() {
    let sample = SampleRepository::generate(6, 40);
    let store = stored(&sample.blocks());
    let bad = *sample.records.keys().next().unwrap();
    let failing = Failing { store: &store, bad };
    let repository = Repository::open(failing, &sample.commit.0).unwrap();
    let (found, errors): (Vec<_>, Vec<_>) = repository.export().unwrap().partition(Result::is_ok);
    assert_eq!(found.len() + 1, sample.blocks().len());
    assert_eq!(errors.len(), 1);
    assert!(matches!(&errors[0], Err(error) if error.cid() == Some(bad)));
}

/// Accepts this many bytes and no more, as a full disk does.
struct Full(usize);

impl io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(self.0);
        self.0 -= len;
        if len == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncWrite for Full {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(io::Write::write(&mut *self, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        panic!("whether the response ends well is for its sender to say");
    }
}

/// As on a runtime of many threads.
fn run<T>(future: impl Future<Output = T> + Send) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    { runtime }.build().unwrap().block_on(future)
}

#[test]
fn a_car_is_written_whole_or_an_error_says_what_failed() {
    let sample = SampleRepository::generate(8, 100);
    let store = stored(&sample.blocks());
    let repository = Repository::open(&store, &sample.commit.0).unwrap();
    let export = || repository.export().unwrap();
    assert_eq!(export().write_car(Vec::new()).unwrap(), sample.car());
    let written = run(export().write_car_async(Vec::new()));
    assert_eq!(written.unwrap(), sample.car());
    let len = sample.car().len();
    assert_eq!(export().write_car(Full(len)).unwrap().0, 0);
    assert_eq!(run(export().write_car_async(Full(len))).unwrap().0, 0);
    for room in [0, 1, 10_000, len - 1] {
        let written = export().write_car(Full(room));
        let written_async = run(export().write_car_async(Full(room)));
        for full in [written, written_async].map(|full| full.err().unwrap()) {
            assert!(
                matches!(&full, ExportError::Output(CarError::Io(error)) if error.kind() == io::ErrorKind::StorageFull),
                "{full}"
            );
        }
    }
    let missing = *sample.records.keys().next().unwrap();
    store.delete(&missing).unwrap();
    let written = export().write_car(Vec::new());
    let written_async = run(export().write_car_async(Vec::new()));
    for error in [written, written_async].map(|error| error.err().unwrap()) {
        assert!(matches!(&error, ExportError::Repository(error) if error.cid() == Some(missing)));
    }
}

#[test]
fn what_is_reachable_is_what_is_exported() {
    let sample = SampleRepository::generate(7, 500);
    let mut blocks = sample.blocks();
    blocks.push(garbage());
    Rng::new(7).shuffle(&mut blocks);
    let store = stored(&blocks);
    let used = reachable(&store, &[sample.commit.0]).unwrap();
    let exported: BTreeSet<Cid> = sample.blocks().iter().map(|(cid, _)| *cid).collect();
    assert_eq!(used.len(), exported.len());
    assert!(exported.iter().all(|cid| used.contains(cid)));
    assert!(!used.contains(&garbage().0));

    assert_eq!(store.retain(|cid| used.contains(cid)), 1);
    let repository = Repository::open(&store, &sample.commit.0).unwrap();
    assert_eq!(repository.verify().unwrap().records, 500);
}

#[test]
fn several_roots_keep_what_any_of_them_needs() {
    let sample = SampleRepository::generate(8, 200);
    let store = stored(&sample.blocks());
    let nodes = NodeStore::new(&store);
    let mut tree = Tree::open(&nodes, &sample.tree.root).unwrap();
    let (path, value) = sample.paths.iter().next().unwrap();
    tree.remove(path.as_bytes()).unwrap();
    let changes = tree.flush();
    store.put_many(&changes.new).unwrap();

    let (old, new) = (sample.commit.0, changes.root);
    let both = reachable(&store, &[old, new]).unwrap();
    assert_eq!(both.len(), store.len());
    let only_new = reachable(&store, &[new]).unwrap();
    // The commit, the removed record, and the nodes of the old tree only.
    assert_eq!(only_new.len() + 2 + changes.removed.len(), store.len());
    assert!(!only_new.contains(value));
    assert!(changes.removed.iter().all(|cid| !only_new.contains(cid)));
    assert!(reachable(&store, &[]).unwrap().is_empty());
    assert!(!only_new.is_empty());
}

/// Nothing keeps an author from writing the CID of somebody's node into a tree as a value.
#[test]
fn a_value_that_is_a_node_does_not_hide_what_is_below_the_node() {
    let sample = SampleRepository::generate(9, 300);
    let store = stored(&sample.blocks());
    let mut tree = Tree::new();
    for (n, (cid, _)) in sample.tree.nodes.iter().enumerate() {
        tree.insert(format!("a/{n}").as_bytes(), cid).unwrap();
    }
    let changes = tree.flush();
    store.put_many(&changes.new).unwrap();
    let used = reachable(&store, &[changes.root, sample.commit.0]).unwrap();
    assert!(sample.blocks().iter().all(|(cid, _)| used.contains(cid)));
    assert_eq!(used.len(), store.len());
}

#[test]
fn where_anything_cannot_be_read_nothing_is_taken_for_garbage() {
    let sample = SampleRepository::generate(10, 100);
    for (missing, _) in &sample.tree.nodes {
        let store = stored(&sample.blocks());
        store.delete(missing).unwrap();
        let error = reachable(&store, &[sample.commit.0]).unwrap_err();
        assert!(matches!(error, Error::MissingBlock(cid) if cid == *missing));
    }
    // A root that is neither a commit nor a node; and one that is missing.
    let (cid, block) = garbage();
    let store = stored(&[(cid, block)]);
    let error = reachable(&store, &[cid]).unwrap_err();
    assert!(matches!(error, Error::InvalidCommit { cid: found, .. } if found == cid));
    let error = reachable(&store, &[sample.commit.0]).unwrap_err();
    assert!(matches!(error, Error::MissingBlock(_)));
}

#[test]
fn an_old_commit_of_version_2_keeps_its_blocks_too() {
    let sample = SampleRepository::generate(11, 20);
    let store = stored(&sample.blocks());
    let mut commit = Commit::decode(&sample.commit.1).unwrap();
    commit.version = 2;
    let block = Bytes::from(commit.encode());
    let cid = dag_cbor_cid(&block);
    store.put(&cid, block).unwrap();
    let used = reachable(&store, &[cid]).unwrap();
    assert_eq!(used.len(), sample.blocks().len());
}

#[test]
fn a_copy_is_the_whole_repository_and_nothing_else_or_nothing() {
    let sample = SampleRepository::generate(12, 3_000);
    let mut blocks = sample.blocks();
    blocks.push(garbage());
    let from = stored(&blocks);
    let to = MemoryBlockStore::new();
    let repository = Repository::open(&from, &sample.commit.0).unwrap();
    assert_eq!(repository.copy_to(&to).unwrap().records, 3_000);
    assert_eq!(to.len() + 1, from.len());
    let copy = Repository::open(&to, &sample.commit.0).unwrap();
    assert_eq!(copy.verify().unwrap().records, 3_000);

    // The very last record is missing.
    let (_, value) = sample.paths.iter().next_back().unwrap();
    from.delete(value).unwrap();
    let to = MemoryBlockStore::new();
    let error = repository.copy_to(&to).unwrap_err();
    assert!(matches!(error, Error::MissingBlock(cid) if cid == *value));
    assert!(to.is_empty());
}

/// Counts the reads of one block.
struct Counted {
    blocks: MemoryBlockStore,
    cid: Cid,
    reads: Cell<usize>,
}

impl BlockStore for Counted {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        self.reads
            .set(self.reads.get() + usize::from(*cid == self.cid));
        self.blocks.get(cid)
    }
}

/// What an attacker could do: megabytes that a few bytes of path cause to be read again and again.
#[test]
fn a_large_record_of_many_paths_is_not_read_for_each() {
    for (len, is_large) in [(16 << 10, true), ((16 << 10) - 1, false)] {
        let record = Bytes::from(vec![0; len]);
        let cid = dag_cbor_cid(&record);
        let paths = (0..2_000).map(|n| (format!("com.example.record/{n}"), cid));
        let sample = SampleRepository::of(paths.collect(), [(cid, record)].into(), "3jzfcijpj2z2a");
        let blocks = MemoryBlockStore::new();
        blocks.put_many(&sample.blocks()).unwrap();
        let reads = Cell::new(0);
        let repository =
            Repository::open(Counted { blocks, cid, reads }, &sample.commit.0).unwrap();
        let reads = || repository.blocks().reads.replace(0);

        assert_eq!(repository.verify().unwrap().records, 2_000);
        assert_eq!(reads(), if is_large { 1 } else { 2_000 });
        // As a whole, and as what is new since an empty tree.
        let empty = Node::empty();
        for since in [None, Some(empty.cid())] {
            let store = MemoryBlockStore::new();
            store.put(&empty.cid(), empty.encode().into()).unwrap();
            let copied = match since {
                None => repository.copy_to(&store),
                Some(root) => repository.copy_since_to(&root, &store),
            };
            assert_eq!(copied.unwrap().records, 2_000);
            assert!(if is_large {
                reads() < 100
            } else {
                reads() == 4_000
            });
            let copy = Repository::open(&store, &sample.commit.0).unwrap();
            assert_eq!(copy.verify().unwrap().records, 2_000);
        }
        // A CAR in the streamable order repeats it, so that its reader keeps nothing.
        let repeated = repository.export().unwrap().filter(|block| {
            let (found, _) = block.as_ref().unwrap();
            *found == cid
        });
        assert_eq!(repeated.count(), 2_000);
    }
}
