//! The danger: a part of a repository that is too small, so that its receiver takes a collection
//! for shorter than it is, or ends up with an incomplete repository; or one that is too large, and
//! so contains what nobody asked for, or reads everything to send little.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use blockstore_core::{
    BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, OverlayBlockStore, StoreError,
    dag_cbor_cid,
};
use mst_ops::{NodeStore, NodeStoreOptions, ProofError, Prover};
use mst_repo::{Commit, Error, Export, Repository};
use mst_testkit::{Rng, SampleRepository, build_tree, key_of_height};

type Block = (Cid, Bytes);

const REV: &str = "3zzzzzzzzzzzz";

fn stored(blocks: &[Block]) -> MemoryBlockStore {
    let store = MemoryBlockStore::new();
    store.put_many(blocks).unwrap();
    store
}

fn collected<S: BlockStore>(export: Export<'_, S>) -> Vec<Block> {
    export.map(Result::unwrap).collect()
}

/// `sample` with the tree that its paths have now, at a commit of its own.
fn rebuilt(sample: &SampleRepository) -> SampleRepository {
    let tree = build_tree(&sample.paths);
    let mut commit = Commit::decode(&sample.commit.1).unwrap();
    commit.data = tree.root;
    SampleRepository {
        commit: (commit.cid(), commit.encode().into()),
        tree,
        ..sample.clone()
    }
}

/// The blocks of `whole`, in its order, that `wanted` has.
fn in_order(whole: &[Block], wanted: &BTreeSet<Cid>) -> Vec<Block> {
    let wanted = |(cid, _): &&Block| wanted.contains(cid);
    whole.iter().filter(wanted).cloned().collect()
}

const COLLECTIONS: [&str; 8] = [
    "app.bsky.actor.profile",
    "app.bsky.feed.like",
    "app.bsky.feed.post",
    "app.bsky.feed.repost",
    "app.bsky.graph.follow",
    // There are no records of these: before all, between, after all.
    "aaa.example.none",
    "app.bsky.feed.pos",
    "zzz.example.none",
];

#[test]
fn a_collection_comes_with_its_proof_and_nothing_else_in_streamable_order() {
    for (seed, len) in [(1, 0), (2, 1), (3, 40), (4, 2_000)] {
        let sample = SampleRepository::generate(seed, len);
        let whole = sample.blocks();
        let repository = Repository::open(stored(&whole), &sample.commit.0).unwrap();
        for collection in COLLECTIONS {
            let prefix = format!("{collection}/");
            let mut prover = Prover::new(repository.nodes(), &sample.tree.root).unwrap();
            prover.prefix(prefix.as_bytes()).unwrap();
            let mut wanted: BTreeSet<Cid> =
                prover.finish().blocks.iter().map(|(cid, _)| *cid).collect();
            wanted.insert(sample.commit.0);
            let paths = sample.paths.iter();
            let paths = paths.filter(|(path, _)| path.starts_with(&prefix));
            wanted.extend(paths.map(|(_, value)| *value));

            let blocks = collected(repository.export_collection(collection).unwrap());
            assert!(blocks == in_order(&whole, &wanted), "{collection} of {len}");
        }
    }
}

/// Passing a record that was returned must not lead into subtrees that nobody asked for.
#[test]
fn a_part_for_a_store_leaves_out_only_large_records_that_come_again() {
    let mut sample = SampleRepository::generate(21, 600);
    let large = Bytes::from(vec![0xf6; 20_000]);
    let large = (dag_cbor_cid(&large), large);
    for value in sample.paths.values_mut().step_by(3) {
        *value = large.0;
    }
    sample.records.insert(large.0, large.1.clone());
    let sample = rebuilt(&sample);
    let repository = Repository::open(stored(&sample.blocks()), &sample.commit.0).unwrap();
    let keys: Vec<&String> = sample.paths.keys().collect();
    let mut rng = Rng::new(5);
    let mut left_out = 0;
    for _ in 0..300 {
        let (one, other) = (keys[rng.below(keys.len())], keys[rng.below(keys.len())]);
        let range = one.min(other).clone()..=one.max(other).clone();
        let part = collected(repository.export_range(borrowed(&range)).unwrap());
        let export = repository.export_range(borrowed(&range)).unwrap();
        let for_store = collected(export.for_store());
        let others = |part: &[Block]| {
            let others = part.iter().filter(|(cid, _)| *cid != large.0);
            others.cloned().collect::<Vec<_>>()
        };
        assert_eq!(others(&for_store), others(&part));
        assert_eq!(for_store.contains(&large), part.contains(&large));
        left_out += part.len() - for_store.len();
    }
    assert!(left_out > 1000, "{left_out} were left out");
}

#[test]
fn a_part_lists_its_collection_whole_and_without_any_of_its_nodes_it_does_not() {
    let sample = SampleRepository::generate(5, 300);
    let repository = Repository::open(stored(&sample.blocks()), &sample.commit.0).unwrap();
    for collection in COLLECTIONS {
        let blocks = collected(repository.export_collection(collection).unwrap());
        let expected: Vec<_> = repository.collection(collection).unwrap().collect();
        let part = Repository::open(stored(&blocks), &sample.commit.0).unwrap();
        let listed = |backward: bool| {
            let records = part.collection(collection).unwrap();
            let mut records: Vec<_> = if backward {
                records.rev().map(Result::unwrap).collect()
            } else {
                records.map(Result::unwrap).collect()
            };
            if backward {
                records.reverse();
            }
            records
        };
        for records in [listed(false), listed(true)] {
            assert_eq!(records.len(), expected.len());
            for (record, expected) in records.iter().zip(&expected) {
                let expected = expected.as_ref().unwrap();
                assert_eq!(record.path(), expected.path());
                assert_eq!(record.bytes(), expected.bytes());
            }
        }

        let nodes: BTreeSet<Cid> = sample.tree.nodes.iter().map(|(cid, _)| *cid).collect();
        for (cid, _) in blocks.iter().filter(|(cid, _)| nodes.contains(cid)) {
            part.blocks().delete(cid).unwrap();
            let fresh = Repository::open(part.blocks(), &sample.commit.0).unwrap();
            let failed = match fresh.collection(collection) {
                Ok(mut records) => records.find_map(Result::err).map(Error::from),
                Err(error) => Some(error),
            };
            assert_eq!(failed.and_then(|error| error.cid()), Some(*cid));
            let (cid, block) = blocks.iter().find(|(other, _)| other == cid).unwrap();
            part.blocks().put(cid, block.clone()).unwrap();
        }
    }
}

#[test]
fn any_range_is_proven_by_no_more_nodes_than_it_takes() {
    let sample = SampleRepository::generate(6, 200);
    let whole = sample.blocks();
    let repository = Repository::open(stored(&whole), &sample.commit.0).unwrap();
    let keys: Vec<&String> = sample.paths.keys().collect();
    let mut rng = Rng::new(6);
    for round in 0..500 {
        // Existing keys, and keys beside them.
        let mut key = || {
            let mut key = keys[rng.below(keys.len())].clone();
            match rng.below(4) {
                0 => drop(key.pop()),
                1 => key.push('~'),
                _ => {}
            }
            match rng.below(5) {
                0 => Bound::Unbounded,
                1 | 2 => Bound::Excluded(key),
                _ => Bound::Included(key),
            }
        };
        let (start, end) = (key(), key());
        let bound = |bound: &Bound<String>| match bound {
            Bound::Included(key) | Bound::Excluded(key) => Some(key.clone()),
            Bound::Unbounded => None,
        };
        if let (Some(start), Some(end)) = (bound(&start), bound(&end))
            && start >= end
        {
            continue;
        }
        let range = (start, end);
        let blocks = collected(repository.export_range(borrowed(&range)).unwrap());

        let within: BTreeSet<Cid> = sample
            .paths
            .range(range.clone())
            .map(|(_, value)| *value)
            .collect();
        let is_record = |(cid, _): &&Block| sample.records.contains_key(cid);
        let (records, nodes): (Vec<&Block>, Vec<_>) = blocks[1..].iter().partition(is_record);
        assert!(records.iter().all(|(cid, _)| within.contains(cid)));
        assert_eq!(records.len(), within.len(), "{round}: {range:?}");

        // The nodes are a proof, and with any fewer they are not.
        let mut prover = Prover::new(repository.nodes(), &sample.tree.root).unwrap();
        prover.range::<String>(range.clone()).unwrap();
        let mut proof = prover.finish();
        proof.blocks = nodes.into_iter().cloned().collect();
        proof.verify(&sample.tree.root).unwrap();
        let left_out = proof.blocks.remove(rng.below(proof.blocks.len())).0;
        let error = proof.verify(&sample.tree.root).unwrap_err();
        assert!(
            matches!(&error, ProofError::Incomplete { missing, .. } if **missing == left_out)
                || left_out == sample.tree.root,
            "{round}: {range:?}: {error}"
        );
    }
    let all = collected(repository.export_range(..).unwrap());
    assert!(all == whole);
}

/// What is left of an existing key is not needed, nor, from the other side, what is right of it.
#[test]
fn a_range_that_begins_or_ends_at_a_key_goes_no_further() {
    let sample = SampleRepository::generate(6, 200);
    let whole = sample.blocks();
    let repository = Repository::open(stored(&whole), &sample.commit.0).unwrap();
    let keys: Vec<&str> = sample.paths.keys().map(String::as_str).collect();
    for (at, key) in keys.iter().copied().enumerate() {
        let mut from = Prover::new(repository.nodes(), &sample.tree.root).unwrap();
        from.range(key..).unwrap();
        // A prover looks for the entry after an included end; an excluded end it meets.
        let mut to = Prover::new(repository.nodes(), &sample.tree.root).unwrap();
        to.range(..key).unwrap();
        to.key(key.as_bytes()).unwrap();
        for (prover, records, export) in [
            (from, &keys[at..], repository.export_range(key..)),
            (to, &keys[..=at], repository.export_range(..=key)),
        ] {
            let mut wanted = as_set(&prover.finish().blocks);
            wanted.insert(sample.commit.0);
            wanted.extend(records.iter().map(|key| sample.paths[*key]));
            assert!(
                collected(export.unwrap()) == in_order(&whole, &wanted),
                "{key}"
            );
        }
    }
}

#[test]
fn a_range_that_ends_before_it_starts_has_no_records() {
    let sample = SampleRepository::generate(7, 100);
    let repository = Repository::open(stored(&sample.blocks()), &sample.commit.0).unwrap();
    for (start, end) in [("b", "a"), ("z", "a"), ("app.bsky.feed.like/", "app")] {
        let blocks = collected(repository.export_range(start..end).unwrap());
        let is_record = |(cid, _): &Block| sample.records.contains_key(cid);
        assert!(!blocks.iter().any(is_record));
        assert_eq!(blocks[0], sample.commit);
    }
}

#[test]
fn of_a_part_what_is_missing_is_an_item_and_what_lies_elsewhere_is_not_missed() {
    let sample = SampleRepository::generate(8, 200);
    let whole = sample.blocks();
    let collection = "app.bsky.feed.post";
    let repository = Repository::open(stored(&whole), &sample.commit.0).unwrap();
    let part = collected(repository.export_collection(collection).unwrap());
    let needed: BTreeSet<Cid> = part.iter().map(|(cid, _)| *cid).collect();
    assert!(needed.len() > 30 && needed.len() + 30 < whole.len());
    // Not the commit, and not the top node.
    for (missing, _) in &whole[2..] {
        let store = stored(&whole);
        store.delete(missing).unwrap();
        let repository = Repository::open(store, &sample.commit.0).unwrap();
        let items = repository.export_collection(collection).unwrap();
        let (found, failed): (Vec<_>, Vec<_>) = items.partition(Result::is_ok);
        let failed: Vec<_> = failed
            .iter()
            .map(|item| item.as_ref().unwrap_err().cid())
            .collect();
        if needed.contains(missing) {
            assert_eq!(failed, [Some(*missing)]);
            assert!(found.len() < part.len());
        } else {
            assert_eq!((failed.len(), found.len()), (0, part.len()));
        }
    }
}

#[test]
fn a_collection_must_have_a_name() {
    let sample = SampleRepository::generate(9, 10);
    let repository = Repository::open(stored(&sample.blocks()), &sample.commit.0).unwrap();
    for name in ["", "app.bsky.feed.post/", "app"] {
        let error = repository.export_collection(name).unwrap_err();
        assert!(matches!(error, Error::InvalidCollection { .. }), "{name}");
    }
}

/// Some random changes: records created, updated, deleted, moved, and put at a second path.
fn changed(sample: &SampleRepository, count: usize, rng: &mut Rng) -> SampleRepository {
    let mut new = sample.clone();
    for n in 0..count {
        let paths: Vec<String> = new.paths.keys().cloned().collect();
        let Some(path) = paths.get(rng.below(paths.len().max(1))) else {
            break;
        };
        let record = format!(
            "\u{19}{}{}",
            char::from(b'a' + u8::try_from(n).unwrap()),
            rng.below(10)
        );
        let record = Bytes::from(record);
        let fresh = (dag_cbor_cid(&record), record);
        let other = new.paths[path];
        let elsewhere = format!("com.example.note/{}", rng.below(1_000));
        match rng.below(6) {
            0 => {
                new.paths.insert(elsewhere, fresh.0);
            }
            1 => {
                new.paths.insert(path.clone(), fresh.0);
            }
            2 => {
                new.paths.remove(path);
            }
            3 => {
                new.paths.remove(path);
                new.paths.insert(elsewhere, other);
            }
            4 => {
                new.paths.insert(elsewhere, other);
            }
            // The records of two paths change places.
            _ => {
                let second = paths[rng.below(paths.len())].clone();
                let value = new.paths[&second];
                new.paths.insert(second, other);
                new.paths.insert(path.clone(), value);
            }
        }
        new.records.insert(fresh.0, fresh.1);
    }
    rebuilt(&new)
}

/// What `new` has and `old` does not, the obvious way: nodes that are only in one set, records at
/// paths where they were not before, and the commit.
fn obvious(old: &SampleRepository, new: &SampleRepository) -> BTreeSet<Cid> {
    let old_nodes = as_set(&old.tree.nodes);
    let mut wanted = BTreeSet::from([new.commit.0]);
    let nodes = new.tree.nodes.iter().map(|(cid, _)| *cid);
    wanted.extend(nodes.filter(|cid| !old_nodes.contains(cid)));
    let records = new.paths.iter();
    let records = records.filter(|(path, value)| old.paths.get(*path) != Some(*value));
    wanted.extend(records.map(|(_, value)| *value));
    wanted
}

fn as_set(blocks: &[Block]) -> BTreeSet<Cid> {
    blocks.iter().map(|(cid, _)| *cid).collect()
}

#[test]
fn an_old_repository_and_the_difference_are_the_new_one_whole() {
    let mut rng = Rng::new(10);
    for round in 0..150 {
        let len = [0, 1, 5, 60, 700][round % 5];
        let old = SampleRepository::generate(round as u64, len);
        let count = rng.below(12);
        let new = changed(&old, count, &mut rng);
        let (old_blocks, new_blocks) = (old.blocks(), new.blocks());
        let old_nodes = NodeStore::new(stored(&old_blocks));
        let repository = Repository::open(stored(&new_blocks), &new.commit.0).unwrap();

        let blocks = repository.export_since(&old_nodes, &old.tree.root);
        let blocks: Vec<Block> = blocks.unwrap().map(Result::unwrap).collect();
        assert_eq!(blocks[0], new.commit);
        assert_eq!(as_set(&blocks), obvious(&old, &new), "{round}");
        // A part of the order of the whole.
        let mut rest = new_blocks.iter();
        assert!(blocks.iter().all(|block| rest.any(|other| other == block)));

        let both = stored(&old_blocks);
        both.put_many(&blocks).unwrap();
        let summary = Repository::open(&both, &new.commit.0).unwrap().verify();
        assert_eq!(summary.unwrap().records, new.paths.len() as u64);

        // In one store, the same.
        let both = stored(&old_blocks);
        both.put_many(&new_blocks).unwrap();
        let repository = Repository::open(both, &new.commit.0).unwrap();
        let again = repository.export_since(repository.nodes(), &old.tree.root);
        let again: Vec<Block> = again.unwrap().map(Result::unwrap).collect();
        assert_eq!(again, blocks);
    }
}

/// Opens what a receiver of `part` has together with `store`.
fn over<'s>(
    part: &[Block],
    store: &'s MemoryBlockStore,
    commit: &Cid,
) -> Repository<OverlayBlockStore<MemoryBlockStore, &'s MemoryBlockStore>> {
    Repository::open(OverlayBlockStore::new(stored(part), store), commit).unwrap()
}

#[test]
fn a_store_with_the_old_repository_takes_the_difference_and_has_the_new_one() {
    let mut rng = Rng::new(20);
    for round in 0..60 {
        let old = SampleRepository::generate(round as u64, [0, 1, 5, 60, 700][round % 5]);
        let new = changed(&old, rng.below(12), &mut rng);
        let (old_blocks, difference) = (old.blocks(), obvious(&old, &new));
        let store = stored(&old_blocks);
        let old_cids = as_set(&old_blocks);
        // Whether sent or not: what the receiver has anyway.
        let mut part = in_order(&new.blocks(), &difference);
        part.retain(|(cid, _)| !old_cids.contains(cid) || rng.below(2) == 0);

        let repository = over(&part, &store, &new.commit.0);
        let copied = repository.copy_since_to(&old.tree.root, &store).unwrap();
        let nodes = new.tree.nodes.iter();
        let nodes = nodes.filter(|(cid, _)| difference.contains(cid)).count();
        let records = new.paths.iter();
        let records = records.filter(|(path, value)| old.paths.get(*path) != Some(*value));
        assert_eq!(copied.records, records.count() as u64, "{round}");
        // A record could be a node's block too, but none here is.
        assert_eq!(copied.nodes, nodes as u64, "{round}");

        assert_eq!(store.len(), old_cids.union(&difference).count());
        let summary = Repository::open(&store, &new.commit.0).unwrap().verify();
        assert_eq!(summary.unwrap().records, new.paths.len() as u64);
    }
}

#[test]
fn a_difference_of_which_anything_is_missing_or_wrong_changes_nothing() {
    let old = SampleRepository::generate(21, 300);
    let new = changed(&old, 9, &mut Rng::new(21));
    let old_blocks = old.blocks();
    let old_cids = as_set(&old_blocks);
    let part = in_order(&new.blocks(), &obvious(&old, &new));
    assert!(part.len() > 10);
    for (missing, _) in &part[1..] {
        let store = stored(&old_blocks);
        let mut rest = part.clone();
        rest.retain(|(cid, _)| cid != missing);
        let repository = over(&rest, &store, &new.commit.0);
        let copied = repository.copy_since_to(&old.tree.root, &store);
        if old_cids.contains(missing) {
            copied.unwrap();
        } else {
            assert_eq!(copied.unwrap_err().cid(), Some(*missing));
            assert_eq!(store.len(), old_cids.len());
        }
    }

    let mut named = old.clone();
    let value = *old.paths.values().next().unwrap();
    named.paths.insert("app.bsky.feed.post/.".to_owned(), value);
    let named = rebuilt(&named);
    let store = stored(&old_blocks);
    let repository = over(&named.blocks(), &store, &named.commit.0);
    let error = repository.copy_since_to(&old.tree.root, &store);
    assert!(matches!(error, Err(Error::InvalidPath { .. })), "{error:?}");
    assert_eq!(store.len(), old_cids.len());
}

/// More than is put at once.
#[test]
fn a_large_difference_whose_end_is_missing_changes_nothing() {
    let old = SampleRepository::generate(21, 30);
    let (mut paths, mut records) = (old.paths.clone(), old.records.clone());
    for n in 0..12_u8 {
        let head = b"\xa1\x61v\x5a\x00\x0f\x00\x00".as_slice();
        let record = Bytes::from([head, &vec![n; 0xf_0000]].concat());
        let cid = dag_cbor_cid(&record);
        paths.insert(format!("zzz.example.large/{n:02}"), cid);
        records.insert(cid, record);
    }
    let new = SampleRepository::of(paths, records, REV);
    let missing = *new.paths.values().next_back().unwrap();
    let store = stored(&old.blocks());
    let before = store.len();
    let mut part = new.blocks();
    part.retain(|(cid, _)| *cid != missing);
    let repository = over(&part, &store, &new.commit.0);
    let error = repository
        .copy_since_to(&old.tree.root, &store)
        .unwrap_err();
    assert_eq!(error.cid(), Some(missing));
    assert_eq!(store.len(), before);
}

/// A commit of the tree below `root`.
fn commit_of(root: Cid) -> Block {
    let mut commit = Commit::unsigned("did:plc:abc", REV.parse().unwrap(), root);
    commit.sig = vec![0; 64];
    (commit.cid(), commit.encode().into())
}

/// A new key put on the wrong side of an old subtree, whose keys nobody would find any more. The
/// nodes that are new are valid in themselves, and no operation but the new key is visible.
#[test]
fn an_old_subtree_on_the_wrong_side_of_a_new_key_is_refused() {
    let key = |name: &str, height| key_of_height(&format!("com.example.{name}/"), height);
    let (a, m, z) = (key("a", 0), key("m", 1), key("z", 0));
    let (first, last) = (key("aa", 2), key("y", 2));
    let (value, record) = (dag_cbor_cid(b"\xa0"), Bytes::from_static(b"\xa0"));
    let sample = |keys: &[&String]| {
        let paths = keys.iter().map(|key| ((*key).clone(), value));
        SampleRepository::of(paths.collect(), [(value, record.clone())].into(), REV)
    };
    // A tree of two levels: `a`, then `m`, then `z`.
    let old = sample(&[&a, &m, &z]);
    let store = stored(&old.blocks());
    let subtree = Some(old.tree.root);
    for (left, new, right) in [(None, &first, subtree), (subtree, &last, None)] {
        let mut top = mst_node::NodeBuilder::new(left.as_ref()).unwrap();
        top.push(new.as_bytes(), &value, right.as_ref()).unwrap();
        let top = top.finish();
        let commit = commit_of(top.cid());
        let part = [
            commit.clone(),
            (top.cid(), top.encode().into()),
            (value, record.clone()),
        ];
        for trusted in [false, true] {
            let options = NodeStoreOptions {
                trusted,
                ..NodeStoreOptions::default()
            };
            let both = OverlayBlockStore::new(stored(&part), &store);
            let repository = Repository::open_with(both, &commit.0, options).unwrap();
            let refused = repository.copy_since_to(&old.tree.root, &store);
            let Err(Error::Tree(mst_ops::Error::InvalidTree { .. })) = refused else {
                panic!("{new}: {refused:?}");
            };
            assert_eq!(store.len(), as_set(&old.blocks()).len());
        }
    }
    // On the right side of all, it is one like any other.
    let behind = key("zz", 2);
    let new = sample(&[&a, &m, &z, &behind]);
    let repository = over(&new.blocks(), &store, &new.commit.0);
    let copied = repository.copy_since_to(&old.tree.root, &store).unwrap();
    assert_eq!((copied.nodes, copied.records), (1, 1));
}

/// The same below a new node that is not the top, and behind one.
#[test]
fn an_old_subtree_on_the_wrong_side_is_refused_at_any_depth() {
    let key = |name: &str, height| key_of_height(&format!("com.example.{name}/"), height);
    let (value, record) = (dag_cbor_cid(b"\xa0"), Bytes::from_static(b"\xa0"));
    let node = |left: Option<&Cid>, entries: &[(&str, Option<Cid>)]| {
        let mut node = mst_node::NodeBuilder::new(left).unwrap();
        for (key, right) in entries {
            node.push(key.as_bytes(), &value, right.as_ref()).unwrap();
        }
        node.finish()
    };
    let old = |first: &str| {
        let paths = [key(first, 0), key("o", 1), key("z", 0)].map(|key| (key, value));
        SampleRepository::of(paths.into(), [(value, record.clone())].into(), REV)
    };
    let (wide, narrow) = (old("a"), old("n"));
    let right = node(None, &[(&key("aa", 2), Some(wide.tree.root))]);
    let left = node(Some(&wide.tree.root), &[(&key("y", 2), None)]);
    let leaf = node(None, &[(&key("b", 1), None)]);
    let behind = [
        (&*key("e", 2), Some(narrow.tree.root)),
        (&key("y", 2), None),
    ];
    for (old, top, below) in [
        (
            &wide,
            node(None, &[(&key("a", 3), Some(right.cid()))]),
            right,
        ),
        (
            &wide,
            node(Some(&left.cid()), &[(&key("zz", 3), None)]),
            left,
        ),
        (&narrow, node(Some(&leaf.cid()), &behind), leaf),
    ] {
        let store = stored(&old.blocks());
        let before = store.len();
        let commit = commit_of(top.cid());
        let part = [
            commit.clone(),
            (top.cid(), top.encode().into()),
            (below.cid(), below.encode().into()),
            (value, record.clone()),
        ];
        let refused = over(&part, &store, &commit.0).copy_since_to(&old.tree.root, &store);
        let Err(Error::Tree(mst_ops::Error::InvalidTree { .. })) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(store.len(), before);
    }
}

#[test]
fn since_itself_there_is_the_commit_and_since_nothing_there_is_all() {
    let sample = SampleRepository::generate(11, 400);
    let repository = Repository::open(stored(&sample.blocks()), &sample.commit.0).unwrap();
    let since = |nodes: &NodeStore<MemoryBlockStore>, root| -> Vec<Block> {
        let blocks = repository.export_since(nodes, root).unwrap();
        blocks.map(Result::unwrap).collect()
    };
    let itself = since(repository.nodes(), &sample.tree.root);
    assert_eq!(itself, std::slice::from_ref(&sample.commit));
    let empty = SampleRepository::generate(11, 0);
    let nodes = NodeStore::new(stored(&empty.blocks()));
    assert_eq!(since(&nodes, &empty.tree.root), sample.blocks());
    // And from all to nothing there is the one empty node.
    let none = Repository::open(stored(&empty.blocks()), &empty.commit.0).unwrap();
    let blocks = none.export_since(repository.nodes(), &sample.tree.root);
    let blocks: Vec<Block> = blocks.unwrap().map(Result::unwrap).collect();
    assert_eq!(blocks, empty.blocks());
}

#[test]
fn a_tree_that_shrinks_to_a_part_of_the_old_one_is_all_there() {
    let old = SampleRepository::generate(12, 500);
    // Of the keys before the first of the top node there is a subtree in the old tree.
    let (_, block) = old
        .tree
        .nodes
        .iter()
        .find(|(cid, _)| *cid == old.tree.root)
        .unwrap();
    let top = mst_ops::Node::decode(block).unwrap();
    let first = String::from_utf8(top.key(0).unwrap().to_vec()).unwrap();
    let mut new = old.clone();
    drop(new.paths.split_off(&first));
    let new = rebuilt(&new);
    assert!(new.paths.len() > 1 && new.tree.root != old.tree.root);
    assert!(old.tree.nodes.iter().any(|(cid, _)| *cid == new.tree.root));
    let store = stored(&old.blocks());
    store.put(&new.commit.0, new.commit.1.clone()).unwrap();
    let repository = Repository::open(store, &new.commit.0).unwrap();
    let blocks = repository.export_since(repository.nodes(), &old.tree.root);
    let blocks: Vec<Block> = blocks.unwrap().map(Result::unwrap).collect();
    assert_eq!(blocks, [new.commit]);
}

/// Records what is requested.
struct Watched<S> {
    blocks: S,
    asked: RefCell<BTreeSet<Cid>>,
}

impl<S: BlockStore> Watched<S> {
    fn new(blocks: S) -> Self {
        let asked = RefCell::default();
        Self { blocks, asked }
    }
}

impl<S: BlockStore> BlockStore for Watched<S> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        self.asked.borrow_mut().insert(*cid);
        self.blocks.get(cid)
    }
}

#[test]
fn only_what_differs_is_read() {
    let old = SampleRepository::generate(13, 5_000);
    let new = changed(&old, 5, &mut Rng::new(13));
    let old_nodes = NodeStore::new(Watched::new(stored(&old.blocks())));
    let watched = Watched::new(stored(&new.blocks()));
    let repository = Repository::open(watched, &new.commit.0).unwrap();
    let blocks = repository.export_since(&old_nodes, &old.tree.root).unwrap();
    let sent: BTreeSet<Cid> = blocks.map(|block| block.unwrap().0).collect();
    assert_eq!(*repository.blocks().asked.borrow(), sent);
    let gone: BTreeSet<Cid> = {
        let new: BTreeSet<Cid> = new.tree.nodes.iter().map(|(cid, _)| *cid).collect();
        let old = old.tree.nodes.iter().map(|(cid, _)| *cid);
        old.filter(|cid| !new.contains(cid)).collect()
    };
    assert_eq!(*old_nodes.blocks().asked.borrow(), gone);
    assert!(sent.len() < 100, "{} blocks", sent.len());

    let watched = Watched::new(stored(&new.blocks()));
    let repository = Repository::open(watched, &new.commit.0).unwrap();
    let part = repository.export_collection("app.bsky.actor.profile");
    let sent: BTreeSet<Cid> = part.unwrap().map(|block| block.unwrap().0).collect();
    assert_eq!(*repository.blocks().asked.borrow(), sent);
    assert!(sent.len() < 30, "{} blocks", sent.len());
}

#[test]
fn without_a_node_that_differs_there_is_no_difference_and_without_a_record_one_less() {
    let old = SampleRepository::generate(14, 300);
    let new = changed(&old, 8, &mut Rng::new(14));
    let (old_blocks, new_blocks) = (old.blocks(), new.blocks());
    let difference = obvious(&old, &new);
    let mut failed_early = 0;
    for (missing, _) in &new_blocks[1..] {
        let store = stored(&new_blocks);
        store.delete(missing).unwrap();
        let old_nodes = NodeStore::new(stored(&old_blocks));
        let repository = Repository::open(store, &new.commit.0).unwrap();
        let blocks = match repository.export_since(&old_nodes, &old.tree.root) {
            Ok(blocks) => blocks,
            Err(error) => {
                assert_eq!(error.cid(), Some(*missing));
                failed_early += 1;
                continue;
            }
        };
        let (found, failed): (Vec<_>, Vec<_>) = blocks.partition(Result::is_ok);
        let found: BTreeSet<Cid> = found.into_iter().map(|block| block.unwrap().0).collect();
        if difference.contains(missing) {
            assert_eq!(failed.len(), 1);
            assert!(
                matches!(&failed[0], Err(Error::MissingBlock(cid)) if cid == missing),
                "{failed:?}"
            );
            assert_eq!(found.len() + 1, difference.len());
        } else {
            assert!(failed.is_empty(), "{failed:?}");
            assert_eq!(found, difference);
        }
    }
    let nodes: BTreeSet<Cid> = old.tree.nodes.iter().map(|(cid, _)| *cid).collect();
    let new_nodes = new.tree.nodes.iter().map(|(cid, _)| *cid);
    assert_eq!(
        failed_early,
        new_nodes.filter(|cid| !nodes.contains(cid)).count()
    );

    // Of the old tree, only the nodes that it alone has are needed, and no records.
    for (missing, _) in &old.tree.nodes {
        let store = stored(&old_blocks);
        store.retain(|cid| cid != missing && !old.records.contains_key(cid));
        let old_nodes = NodeStore::new(store);
        let repository = Repository::open(stored(&new_blocks), &new.commit.0).unwrap();
        match repository.export_since(&old_nodes, &old.tree.root) {
            Ok(blocks) => {
                assert!(new.tree.nodes.iter().any(|(cid, _)| cid == missing));
                assert_eq!(blocks.map(Result::unwrap).count(), difference.len());
            }
            Err(error) => assert_eq!(error.cid(), Some(*missing)),
        }
    }
}

#[test]
fn a_node_that_is_gone_by_the_time_its_turn_comes_ends_the_difference() {
    let old = SampleRepository::generate(1, 0);
    let new = SampleRepository::generate(2, 3_000);
    let store = stored(&new.blocks());
    let nodes = NodeStore::new(stored(&old.blocks()));
    let options = NodeStoreOptions::uncached();
    let repository = Repository::open_with(&store, &new.commit.0, options).unwrap();
    let difference = repository.export_since(&nodes, &old.tree.root).unwrap();
    for (cid, _) in &new.tree.nodes[1..] {
        store.delete(cid).unwrap();
    }
    let items: Vec<_> = difference.collect();
    assert_eq!(items.iter().position(Result::is_err), Some(items.len() - 1));
}

/// A tree whose keys are not in order.
#[test]
fn a_tree_that_is_not_well_formed_is_an_error() {
    let old = SampleRepository::generate(15, 300);
    let mut new = changed(&old, 8, &mut Rng::new(15));
    // Two subtrees of the top node change places.
    let root = new.tree.root;
    let (_, block) = new.tree.nodes.iter().find(|(cid, _)| *cid == root).unwrap();
    let top = mst_ops::Node::decode(block).unwrap();
    let mut subtrees: Vec<Option<Cid>> = (0..=top.len()).map(|slot| top.subtree(slot)).collect();
    subtrees.reverse();
    assert!(subtrees[0] != top.subtree(0));
    let mut builder = mst_node::NodeBuilder::new(subtrees[0].as_ref()).unwrap();
    for (entry, right) in top.entries().zip(&subtrees[1..]) {
        let key = entry.key();
        builder.push(key, &entry.value(), right.as_ref()).unwrap();
    }
    let wrong = builder.finish();
    new.tree.nodes.push((wrong.cid(), wrong.encode().into()));
    let mut commit = Commit::decode(&new.commit.1).unwrap();
    commit.data = wrong.cid();
    let mut blocks = new.blocks();
    blocks.extend(new.tree.nodes.iter().cloned());
    blocks.push((commit.cid(), commit.encode().into()));

    let old_nodes = NodeStore::new(stored(&old.blocks()));
    let repository = Repository::open(stored(&blocks), &commit.cid()).unwrap();
    let error = repository.export_since(&old_nodes, &old.tree.root);
    assert!(matches!(error, Err(Error::Tree(_))));
    let items = repository.export_collection("app.bsky.feed.post").unwrap();
    assert!(items.filter_map(Result::err).count() > 0);
}

/// Also where the old tree continues after the last record of the new one.
#[test]
fn an_old_tree_that_is_not_well_formed_is_an_error() {
    let (old_value, new_value) = (dag_cbor_cid(b"\x01"), dag_cbor_cid(b"\x02"));
    let node_of = |key: &str, value: &Cid, right: Option<&Cid>| {
        let mut builder = mst_node::NodeBuilder::new(None).unwrap();
        builder.push(key.as_bytes(), value, right).unwrap();
        let node = builder.finish();
        (node.cid(), Bytes::from(node.encode()))
    };
    // Keys of height 0 and 1: "asdf" does not belong on the right of "blue".
    let low = node_of("asdf", &old_value, None);
    let high = node_of("blue", &old_value, Some(&low.0));
    let new = node_of("asdf", &new_value, None);
    let commit = Commit::unsigned("did:plc:test", REV.parse().unwrap(), new.0);
    let old_nodes = NodeStore::new(stored(&[low, high.clone()]));
    let blocks = [
        (commit.cid(), Bytes::from(commit.encode())),
        new,
        (new_value, Bytes::from_static(b"\x02")),
    ];
    let repository = Repository::open(stored(&blocks), &commit.cid()).unwrap();
    let error = repository.export_since(&old_nodes, &high.0).unwrap_err();
    assert!(matches!(error, Error::Tree(_)), "{error:?}");
}

fn borrowed(range: &impl RangeBounds<String>) -> (Bound<&str>, Bound<&str>) {
    let [start, end] = [range.start_bound(), range.end_bound()];
    (start.map(String::as_str), end.map(String::as_str))
}

// ---- A CAR in pieces.

#[test]
fn pieces_are_those_of_the_car_that_is_written_at_once() {
    fn assert_send(_: &(impl Send + 'static)) {}
    for (seed, len) in [(1, 0), (2, 50), (3, 3_000)] {
        let sample = SampleRepository::generate(seed, len);
        let store = Arc::new(stored(&sample.blocks()));
        let repository = || Repository::open(Arc::clone(&store), &sample.commit.0).unwrap();
        let pieces = repository().into_car().unwrap();
        assert_send(&pieces);
        let pieces: Vec<Bytes> = pieces.collect::<Result<_, _>>().unwrap();
        assert_eq!(pieces.concat(), sample.car());
        let (last, others) = pieces.split_last().unwrap();
        let is_usual = |piece: &Bytes| (64 << 10..80 << 10).contains(&piece.len());
        assert!(!last.is_empty() && others.iter().all(is_usual));
        assert!(len < 1_000 || others.len() > 3);
    }
}

#[test]
fn a_difference_comes_in_pieces_too() {
    let old = SampleRepository::generate(4, 2_000);
    let mut new = old.clone();
    for path in old.paths.keys().step_by(3) {
        new.paths.remove(path);
    }
    let new = rebuilt(&new);
    let store = stored(&[old.blocks(), new.blocks()].concat());
    let repository = || Repository::open(&store, &new.commit.0).unwrap();
    let (whole, old_root) = (repository(), old.tree.root);
    let since = whole.export_since(whole.nodes(), &old_root).unwrap();
    let at_once = since.write_car(Vec::new()).unwrap();
    let pieces = repository().into_car_since(&old_root).unwrap();
    let pieces: Vec<Bytes> = pieces.collect::<Result<_, _>>().unwrap();
    assert!(pieces.len() > 1);
    assert_eq!(pieces.concat(), at_once);
}

#[test]
fn an_error_is_the_last_piece() {
    let sample = SampleRepository::generate(5, 2_000);
    let record = *sample.paths.values().nth(1_500).unwrap();
    let (node, _) = *sample
        .tree
        .nodes
        .iter()
        .find(|(cid, _)| *cid != sample.tree.root)
        .unwrap();
    let empty = mst_node::Node::empty();
    for gone in [record, node] {
        let store = stored(&sample.blocks());
        store.put(&empty.cid(), empty.encode().into()).unwrap();
        let repository = || Repository::open(&store, &sample.commit.0).unwrap();
        let since = repository().into_car_since(&empty.cid()).unwrap();
        store.delete(&gone).unwrap();
        // The nodes of the difference were read when it was found.
        let since = Some(since).filter(|_| gone == record);
        for mut pieces in since.into_iter().chain([repository().into_car().unwrap()]) {
            let error = pieces.find_map(Result::err).unwrap();
            assert_eq!(error.cid(), Some(gone));
            assert!(pieces.next().is_none());
        }
    }
}
