//! The danger: records that are still there and are given up, since nothing leads to their nodes any
//! more; or that are taken from anywhere, although a better answer is known.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::{BTreeMap, BTreeSet};

use blockstore_core::{
    BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, StoreError, dag_cbor_cid,
};
use mst_node::Node;
use mst_ops::Tree;
use mst_repo::{Commit, Error, Repository, Salvaged, latest_commit};
use mst_testkit::{Rng, SampleRepository};

type Records = BTreeMap<String, Cid>;

/// What `salvage_among` finds, all records in one map and the faults.
fn salvage(repository: &Repository<&MemoryBlockStore>, cids: &[Cid]) -> (Records, Vec<Error>) {
    let (mut records, mut faults) = (Vec::new(), Vec::new());
    for item in repository.salvage_among(cids).unwrap() {
        match item {
            Salvaged::Record(record) => records.push((record.path().to_owned(), record.cid())),
            Salvaged::Fault(fault) => faults.push(fault.error),
        }
    }
    assert!(records.is_sorted_by(|one, next| one.0 < next.0));
    (records.into_iter().collect(), faults)
}

/// Whatever is lost, of the nodes and records that are left none is left out.
#[test]
fn every_record_that_a_node_names_is_saved() {
    let mut more = 0;
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let sample = SampleRepository::generate(seed, 1 + rng.below(200));
        let store = MemoryBlockStore::new();
        for (cid, block) in sample.blocks() {
            if cid == sample.commit.0 || rng.below(4) > 0 {
                store.put(&cid, block).unwrap();
            }
        }
        let mut expected = Records::new();
        for (cid, block) in &sample.tree.nodes {
            let node = Node::decode(block).unwrap();
            for entry in node.entries().filter(|_| store.has(cid).unwrap()) {
                if store.has(&entry.value()).unwrap() {
                    let path = String::from_utf8(entry.key().to_vec()).unwrap();
                    expected.insert(path, entry.value());
                }
            }
        }
        let repository = Repository::open(&store, &sample.commit.0).unwrap();
        let (records, faults) = salvage(&repository, &store.cids());
        assert_eq!(records, expected, "seed {seed}");
        assert!(
            !faults
                .iter()
                .any(|fault| matches!(fault, Error::Ambiguous { .. }))
        );
        let is_record = |item: &Salvaged| matches!(item, Salvaged::Record(_));
        more += records.len() - repository.salvage().filter(is_record).count();
    }
    assert!(more > 500, "{more}");
}

/// Two revisions in one store. Of 200 records the later has changed every fifth, and deleted every
/// seventh.
struct History {
    blocks: MemoryBlockStore,
    old: Records,
    new: Records,
    commit: Cid,
    root: Cid,
}

impl History {
    fn new() -> Self {
        let blocks = MemoryBlockStore::new();
        let value = |block: &'static [u8]| {
            let cid = dag_cbor_cid(block);
            blocks.put(&cid, block.into()).unwrap();
            cid
        };
        let (before, after) = (value(b"\xa0"), value(b"\x80"));
        let path = |n: usize| format!("com.example.note/{n:03}");
        let old: Records = (0..200).map(|n| (path(n), before)).collect();
        let mut new = old.clone();
        for n in (0..200).step_by(5) {
            new.insert(path(n), after);
        }
        for n in (0..200).step_by(7) {
            new.remove(&path(n));
        }
        let put = |entries: &Records| {
            let changes = Tree::from_entries(entries.clone()).unwrap().flush();
            blocks.put_many(&changes.new).unwrap();
            changes.root
        };
        put(&old);
        let root = put(&new);
        let commit = commit_of(&blocks, root, "3jzfcijpj2z2a");
        Self {
            blocks,
            old,
            new,
            commit,
            root,
        }
    }

    fn repository(&self) -> Repository<&MemoryBlockStore> {
        Repository::open(&self.blocks, &self.commit).unwrap()
    }
}

#[test]
fn what_can_be_reached_counts_alone() {
    let history = History::new();
    let (records, faults) = salvage(&history.repository(), &history.blocks.cids());
    assert_eq!((records, faults.len()), (history.new.clone(), 0));

    // The leftmost node below the top: outside of it, nothing of the earlier revision is found.
    let top = history.blocks.get(&history.root).unwrap().unwrap();
    let top = Node::decode(&top).unwrap();
    history.blocks.delete(&top.subtree(0).unwrap()).unwrap();
    let first = String::from_utf8(top.key(0).unwrap().to_vec()).unwrap();
    let (records, faults) = salvage(&history.repository(), &history.blocks.cids());
    assert!(!faults.is_empty());
    let outside = |records: &Records| -> Records {
        let outside = records.range(first.clone()..);
        outside.map(|(path, cid)| (path.clone(), *cid)).collect()
    };
    assert_eq!(outside(&records), outside(&history.new));
}

#[test]
fn of_values_that_differ_none_is_chosen() {
    let history = History::new();
    history.blocks.delete(&history.root).unwrap();
    let (records, faults) = salvage(&history.repository(), &history.blocks.cids());
    let ambiguous = faults.iter().filter_map(|fault| match fault {
        Error::Ambiguous { key } => Some(key.clone()),
        _ => None,
    });
    let ambiguous: BTreeSet<String> = ambiguous.collect();
    assert!(ambiguous.len() > 20, "{ambiguous:?}");
    for (path, old) in &history.old {
        let new = history.new.get(path);
        if ambiguous.contains(path) {
            assert!(new.is_some_and(|new| new != old), "{path}");
            assert_eq!(records.get(path), None);
        } else if let Some(new) = new
            && let Some(found) = records.get(path)
        {
            assert!(found == new || found == old, "{path}");
        }
    }
    // What was deleted comes back, as the documentation says.
    let deleted = history
        .old
        .keys()
        .filter(|path| !history.new.contains_key(*path));
    assert!(deleted.filter(|path| records.contains_key(*path)).count() > 20);
}

/// A store that fails when it is asked for one block.
struct Failing<'b>(&'b MemoryBlockStore, Cid);

impl BlockStore for Failing<'_> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        if *cid == self.1 {
            return Err(StoreError::backend("the disk is gone"));
        }
        self.0.get(cid)
    }
}

#[test]
fn a_store_that_fails_does_not_end_the_search_as_if_there_were_nothing() {
    let history = History::new();
    history.blocks.delete(&history.root).unwrap();
    let cids = history.blocks.cids();
    for cid in cids.iter().filter(|cid| **cid != history.commit) {
        let failing = Failing(&history.blocks, *cid);
        let repository = Repository::open(&failing, &history.commit).unwrap();
        let failed = repository.salvage_among(&cids);
        assert!(matches!(failed, Err(Error::Store(StoreError::Backend(_)))));
        assert!(latest_commit(&failing, &cids).is_err());
    }
}

/// A block whose CID was damaged is among no CIDs, but a link to it shows what it is.
#[test]
fn nodes_below_those_that_are_searched_need_not_be_named() {
    let sample = SampleRepository::generate(6, 300);
    let blocks = MemoryBlockStore::new();
    blocks.put_many(&sample.blocks()).unwrap();
    let root = blocks.get(&sample.tree.root).unwrap().unwrap();
    let root = Node::decode(&root).unwrap();
    blocks.delete(&sample.tree.root).unwrap();
    let repository = Repository::open(&blocks, &sample.commit.0).unwrap();
    let tops = (0..=root.len()).filter_map(|slot| root.subtree(slot));
    let tops: Vec<Cid> = tops.collect();
    let (below, _) = salvage(&repository, &tops);
    let (all, _) = salvage(&repository, &blocks.cids());
    assert!(below == all, "{} of {}", below.len(), all.len());
    assert_eq!(all.len() + root.len(), 300);
}

/// Below a gap all keys are lower than those of the node above it.
#[test]
fn a_record_that_the_tree_shows_to_be_absent_stays_absent() {
    let history = History::new();
    let root = history.blocks.get(&history.root).unwrap().unwrap();
    let root = Node::decode(&root).unwrap();
    let mut saved = 0;
    for below in (0..=root.len()).filter_map(|slot| root.subtree(slot)) {
        let block = history.blocks.get(&below).unwrap().unwrap();
        history.blocks.delete(&below).unwrap();
        let repository = history.repository();
        for path in salvage(&repository, &history.blocks.cids()).0.keys() {
            assert!(!matches!(repository.find(path), Ok(None)), "{path}");
            saved += 1;
        }
        history.blocks.put(&below, block).unwrap();
    }
    assert!(saved > 300, "{saved}");
}

/// Values may come in any order, also the first once more at the end.
#[test]
fn three_nodes_with_two_values_disagree() {
    let blocks = MemoryBlockStore::new();
    let values = [b"\xa0".as_slice(), b"\x80"].map(|block| {
        let cid = dag_cbor_cid(block);
        blocks.put(&cid, block.into()).unwrap();
        cid
    });
    let mut cids = values.to_vec();
    for (n, value) in [values[0], values[1], values[0]].iter().enumerate() {
        let entries = [("com.example.note/1".to_owned(), *value)];
        let other = (format!("com.example.note/x{n}"), values[0]);
        let entries = if n < 2 {
            entries.to_vec()
        } else {
            [&entries[..], &[other]].concat()
        };
        let changes = Tree::from_entries(entries).unwrap().flush();
        blocks.put_many(&changes.new).unwrap();
        cids.extend(changes.new.iter().map(|(cid, _)| *cid));
    }
    let commit = commit_of(&blocks, dag_cbor_cid(b"the root is gone"), "3jzfcijpj2z2a");
    let repository = Repository::open(&blocks, &commit).unwrap();
    for _ in 0..cids.len() {
        let (records, faults) = salvage(&repository, &cids);
        assert!(!records.contains_key("com.example.note/1"));
        assert!(
            faults
                .iter()
                .any(|fault| matches!(fault, Error::Ambiguous { .. }))
        );
        cids.rotate_left(1);
    }
}

fn commit_of(blocks: &MemoryBlockStore, root: Cid, rev: &str) -> Cid {
    let empty = SampleRepository::generate(1, 0);
    let mut commit = Commit::decode(&empty.commit.1).unwrap();
    (commit.data, commit.rev) = (root, rev.parse().unwrap());
    blocks.put(&commit.cid(), commit.encode().into()).unwrap();
    commit.cid()
}

#[test]
fn blocks_that_are_missing_are_passed_over() {
    let history = History::new();
    let mut cids = history.blocks.cids();
    cids.push(dag_cbor_cid(b"not there"));
    let found = latest_commit(&history.blocks, &cids).unwrap();
    assert_eq!(found.unwrap().0, history.commit);
    history.blocks.delete(&history.root).unwrap();
    assert!(!salvage(&history.repository(), &cids).0.is_empty());
}

/// A store in which one block is damaged, and one cannot be verified.
struct Damaged<'b>(&'b MemoryBlockStore, [Cid; 2]);

impl BlockStore for Damaged<'_> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        match self.1.iter().position(|bad| bad == cid) {
            Some(0) => Err(StoreError::HashMismatch(*cid)),
            Some(_) => Err(StoreError::Unverifiable(*cid)),
            None => self.0.get(cid),
        }
    }
}

#[test]
fn the_latest_commit_is_the_most_likely_one() {
    let blocks = MemoryBlockStore::new();
    let made = commit_of(&blocks, dag_cbor_cid(b"no tree"), "3zzzzzzzzzzzz");
    // A record that looks like a commit, and has a tree: that of the first commit.
    let (with_tree, without) = ("3jzfcijpj2z2a", "3jzfcijpj2z2b");
    let put = |entries: &[(String, Cid)]| {
        let changes = Tree::from_entries(entries.to_vec()).unwrap().flush();
        blocks.put_many(&changes.new).unwrap();
        changes.root
    };
    let empty = put(&[]);
    let fake = commit_of(&blocks, empty, "3zzzzzzzzzzzy");
    let root = put(&[
        ("com.example.a/1".to_owned(), fake),
        ("com.example.a/2".to_owned(), made),
    ]);
    let old = commit_of(&blocks, root, with_tree);
    let later = commit_of(&blocks, dag_cbor_cid(b"gone"), without);
    let latest = |store: &dyn BlockStore| {
        let found = latest_commit(&store, &blocks.cids()).unwrap();
        found.map(|(cid, _)| cid)
    };
    assert_eq!(latest(&blocks), Some(old));
    assert_eq!(latest(&Damaged(&blocks, [old, empty])), Some(later));
    assert_eq!(latest(&Damaged(&blocks, [old, later])), Some(fake));
    // Under another codec it could not be opened.
    let raw = blockstore_core::raw_cid(&blocks.get(&old).unwrap().unwrap());
    blocks
        .put(&raw, blocks.get(&old).unwrap().unwrap())
        .unwrap();
    blocks.delete(&old).unwrap();
    assert_eq!(latest(&blocks), Some(later));
}

#[test]
fn many_ways_to_nodes_that_nothing_links_to_are_not_all_gone() {
    let blocks = MemoryBlockStore::new();
    let value = dag_cbor_cid(b"\xa0");
    let mut below = None;
    for height in 0..9 {
        let mut node = mst_node::NodeBuilder::new(below.as_ref()).unwrap();
        for n in 0..99 {
            let key = format!("com.example.a/{height}-{n:02}");
            node.push(key.as_bytes(), &value, below.as_ref()).unwrap();
        }
        let node = node.finish();
        blocks.put(&node.cid(), node.encode().into()).unwrap();
        below = Some(node.cid());
    }
    let commit = commit_of(&blocks, dag_cbor_cid(b"gone"), "3jzfcijpj2z2a");
    let repository = Repository::open(&blocks, &commit).unwrap();
    // There are 100 to the power of 8 ways.
    assert!(repository.salvage_among(&blocks.cids()).unwrap().count() > 0);
}
