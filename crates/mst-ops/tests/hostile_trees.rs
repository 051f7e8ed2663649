//! The danger: nodes that are each fine but do not make a tree. Their hashes are honest, so
//! no store refuses them; a reader that trusts the links returns keys twice, out of order or
//! not at all, lets two roots represent one set of records, or never ends.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use blockstore_core::{
    BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, StoreError, dag_cbor_cid, raw_cid,
};
use mst_node::{DecodeFault, MixedHeights, Node, NodeBuilder, height_of, node_digest};
use mst_ops::{
    EntryRef, Error, InvalidNode, Limits, NodeStore, NodeStoreOptions, NodeWalker, Operation,
    TreeFault, verify,
};
use mst_testkit::{build_tree, key_of_height};
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

// ---- A link to a digest that nothing has.

/// In a tree that is being changed, zeros mean what is not known yet. A stranger can link to them
/// as to any other missing block.
#[test]
fn a_link_of_zeros_is_one_to_a_missing_block() {
    let nowhere = mst_node::node_cid(&[0; 32]);
    let (low, high, last) = (key("b", 1), key("c", 1), key("d", 1));
    let blocks = MemoryBlockStore::new();
    let without = |entries: &[(&str, Option<Cid>)]| node(Some(nowhere), entries).cid();
    let root = put(&blocks, Some(nowhere), &[(&low, None), (&high, None)]);
    for keeps_open in [false, true] {
        let nodes = NodeStore::new(&blocks);
        let mut tree = mst_ops::Tree::open(&nodes, &root).unwrap();
        if keeps_open {
            assert!(tree.get(b"a").is_err());
        }
        assert_eq!(tree.remove(high.as_bytes()).unwrap(), Some(value()));
        assert_eq!(tree.root(), without(&[(&low, None)]));
        tree.insert(last.as_bytes(), &value()).unwrap();
        assert_eq!(tree.clone().root(), without(&[(&low, None), (&last, None)]));
        let changes = tree.flush();
        assert_eq!(changes.root, without(&[(&low, None), (&last, None)]));
        assert_eq!((changes.new.len(), changes.removed), (1, vec![root]));

        let tree = mst_ops::Tree::open(&nodes, &root).unwrap();
        let created = Operation {
            key: high.clone().into(),
            old: None,
            new: Some(value()),
        };
        assert_eq!(tree.invert(&[created]).unwrap(), without(&[(&low, None)]));
        // Where it would have to be split, it is missing.
        let mut tree = mst_ops::Tree::open(&nodes, &root).unwrap();
        let error = tree.remove(low.as_bytes()).map(|_| tree.root());
        assert!(error.is_ok(), "{error:?}");
        let mut tree = mst_ops::Tree::open(&nodes, &root).unwrap();
        let error = tree.insert(key("a", 1).as_bytes(), &value()).unwrap_err();
        assert!(matches!(error, Error::MissingBlock(cid) if cid == nowhere));
        assert_eq!(tree.root(), root);
    }
}

/// Whatever the limits are, even without any.
#[test]
fn a_node_store_without_limits_is_one() {
    let blocks = MemoryBlockStore::new();
    let root = put(&blocks, None, &[(&key("a", 0), None)]);
    let mut options = NodeStoreOptions::default();
    options.limits.key_bytes = usize::MAX;
    options.limits.entries = usize::MAX;
    options.limits.key_len = usize::MAX;
    let nodes = NodeStore::with_options(&blocks, options);
    assert_eq!(nodes.entries(&root).unwrap().count(), 1);
}

// ---- A node out of place.

#[test]
fn a_child_as_high_as_its_parent_is_refused() {
    let blocks = MemoryBlockStore::new();
    let child = put(&blocks, None, &[(&key("a", 1), None)]);
    let root = put(&blocks, Some(child), &[(&key("b", 1), None)]);
    let fault = TreeFault::Height {
        expected: 0,
        found: 1,
    };
    assert_refused(&blocks, root, &out_of_place(child, fault), &[&key("b", 1)]);
}

#[test]
fn a_child_higher_than_its_parent_is_refused() {
    let blocks = MemoryBlockStore::new();
    let child = put(&blocks, None, &[(&key("b", 3), None)]);
    let root = put(&blocks, None, &[(&key("a", 1), Some(child))]);
    let fault = TreeFault::Height {
        expected: 0,
        found: 3,
    };
    assert_refused(&blocks, root, &out_of_place(child, fault), &[&key("a", 1)]);
}

#[test]
fn a_child_two_levels_down_without_an_empty_node_between_is_refused() {
    let blocks = MemoryBlockStore::new();
    let child = put(&blocks, None, &[(&key("a", 0), None)]);
    let root = put(&blocks, Some(child), &[(&key("b", 2), None)]);
    let fault = TreeFault::Height {
        expected: 1,
        found: 0,
    };
    assert_refused(&blocks, root, &out_of_place(child, fault), &[&key("b", 2)]);
}

#[test]
fn a_node_of_nothing_below_another_is_refused() {
    let blocks = MemoryBlockStore::new();
    let nothing = put(&blocks, None, &[]);
    for (left, right) in [(Some(nothing), None), (None, Some(nothing))] {
        let root = put(&blocks, left, &[(&key("b", 1), right)]);
        let error = out_of_place(nothing, TreeFault::Empty);
        assert_refused(&blocks, root, &error, &[&key("b", 1)]);
    }
    // Also below a node that is empty itself.
    let between = put(&blocks, Some(nothing), &[]);
    let root = put(&blocks, None, &[(&key("b", 2), Some(between))]);
    let error = out_of_place(nothing, TreeFault::Empty);
    assert_refused(&blocks, root, &error, &[&key("b", 2)]);
}

#[test]
fn a_top_that_only_points_to_a_subtree_is_refused() {
    let blocks = MemoryBlockStore::new();
    let leaf = put(&blocks, None, &[(&key("a", 0), None)]);
    let mut top = leaf;
    for _ in 0..3 {
        top = put(&blocks, Some(top), &[]);
        let nodes = NodeStore::new(&blocks);
        let error = out_of_place(top, TreeFault::TopWithoutKeys);
        assert_eq!(
            NodeWalker::new(&nodes, &top).unwrap_err().to_string(),
            error
        );
        assert_eq!(verify(&nodes, &top).unwrap_err().to_string(), error);
        assert_eq!(nodes.entries(&top).unwrap_err().to_string(), error);
        assert_eq!(nodes.get(&top, b"a").unwrap_err().to_string(), error);
    }
    assert_eq!(verify(&NodeStore::new(&blocks), &leaf).unwrap().entries, 1);
}

#[test]
fn a_subtree_below_the_bottom_is_refused() {
    let blocks = MemoryBlockStore::new();
    let child = put(&blocks, None, &[(&key("b", 0), None)]);
    let bottom = put(&blocks, None, &[(&key("a", 0), Some(child))]);
    let error = out_of_place(bottom, TreeFault::BelowBottom);
    let nodes = NodeStore::new(&blocks);
    assert_eq!(
        NodeWalker::new(&nodes, &bottom).unwrap_err().to_string(),
        error
    );
    assert_eq!(verify(&nodes, &bottom).unwrap_err().to_string(), error);
    // Also of the key that it has.
    let found = nodes.get(&bottom, key("a", 0).as_bytes());
    assert_eq!(found.unwrap_err().to_string(), error);
    let root = put(&blocks, Some(bottom), &[(&key("c", 1), None)]);
    assert_refused(&blocks, root, &error, &[&key("c", 1)]);

    // An empty node at height 0 that leads on.
    let empty = put(&blocks, Some(child), &[]);
    let root = put(&blocks, None, &[(&key("a", 1), Some(empty))]);
    let error = out_of_place(empty, TreeFault::BelowBottom);
    assert_refused(&blocks, root, &error, &[&key("a", 1)]);
}

#[test]
fn keys_outside_what_the_parent_leaves_are_refused() {
    let blocks = MemoryBlockStore::new();
    let (b, d) = (key("b", 1), key("d", 1));
    let fault_of = |slot: usize, leaf: Cid| {
        let mut slots = [None; 3];
        slots[slot] = Some(leaf);
        put(&blocks, slots[0], &[(&b, slots[1]), (&d, slots[2])])
    };
    for (slot, leaf_key, fault) in [
        (0, key("c", 0), TreeFault::KeyNotLess),
        (0, key("e", 0), TreeFault::KeyNotLess),
        (1, key("a", 0), TreeFault::KeyNotGreater),
        (1, key("e", 0), TreeFault::KeyNotLess),
        (2, key("a", 0), TreeFault::KeyNotGreater),
        (2, key("c", 0), TreeFault::KeyNotGreater),
    ] {
        let leaf = put(&blocks, None, &[(&leaf_key, None)]);
        let root = fault_of(slot, leaf);
        assert_refused(&blocks, root, &out_of_place(leaf, fault), &[&b, &d]);
    }
    // One key too many at either end of an otherwise valid leaf.
    let [before, between, behind] = ["a", "c", "e"].map(|prefix| key(prefix, 0));
    for (keys, fault) in [
        ([&before, &between], TreeFault::KeyNotGreater),
        ([&between, &behind], TreeFault::KeyNotLess),
    ] {
        let leaf = put(&blocks, None, &keys.map(|key| (key.as_str(), None)));
        let root = fault_of(1, leaf);
        assert_refused(&blocks, root, &out_of_place(leaf, fault), &[&b, &d]);
    }
}

#[test]
fn keys_outside_what_the_grandparent_leaves_are_refused() {
    let blocks = MemoryBlockStore::new();
    let (b, f) = (key("b", 2), key("f", 2));
    let d = key("d", 1);
    for (outside, slot, fault) in [
        (key("a", 0), 0, TreeFault::KeyNotGreater),
        (key("g", 0), 1, TreeFault::KeyNotLess),
    ] {
        let leaf = put(&blocks, None, &[(&outside, None)]);
        let (left, right) = if slot == 0 {
            (Some(leaf), None)
        } else {
            (None, Some(leaf))
        };
        let child = put(&blocks, left, &[(&d, right)]);
        let root = put(&blocks, None, &[(&b, Some(child)), (&f, None)]);
        assert_refused(
            &blocks,
            root,
            &out_of_place(leaf, fault.clone()),
            &[&b, &d, &f],
        );

        // With an empty node in between, which has no key of its own to compare with.
        let between = put(&blocks, Some(leaf), &[]);
        let root = put(&blocks, None, &[(&b, Some(between)), (&f, None)]);
        assert_refused(&blocks, root, &out_of_place(leaf, fault), &[&b, &f]);
    }
}

#[test]
fn a_key_that_an_ancestor_has_already_is_refused() {
    // A key has one height, so a node that repeats it is on the wrong level too; with the
    // levels right, a repeated key can only be in two nodes of one level.
    let blocks = MemoryBlockStore::new();
    let (a, b, c) = (key("a", 0), key("b", 1), key("c", 0));
    let leaf = put(&blocks, None, &[(&a, None), (&c, None)]);
    let root = put(&blocks, Some(leaf), &[(&b, None)]);
    let error = out_of_place(leaf, TreeFault::KeyNotLess);
    assert_refused(&blocks, root, &error, &[&b]);

    let one = put(&blocks, None, &[(&a, None)]);
    let root = put(&blocks, Some(one), &[(&b, Some(one))]);
    let error = out_of_place(one, TreeFault::KeyNotGreater);
    assert_refused(&blocks, root, &error, &[&a, &b]);
}

#[test]
fn keys_of_different_heights_in_one_node_are_refused() {
    let blocks = MemoryBlockStore::new();
    let (a, b) = (key("a", 1), key("b", 0));
    let mixed = put(&blocks, None, &[(&a, None), (&b, None)]);
    let fault = MixedHeights {
        index: 1,
        height: 0,
        first: 1,
    };
    let error = invalid_node(mixed, fault.into());
    for options in [trusting(false), trusting(true)] {
        let nodes = NodeStore::with_options(&blocks, options);
        assert_eq!(verify(&nodes, &mixed).unwrap_err().to_string(), error);
    }
    let c = key("c", 2);
    let root = put(&blocks, Some(mixed), &[(&c, None)]);
    assert_refused(&blocks, root, &error, &[&c]);
}

#[test]
fn a_link_to_what_is_no_node_is_refused() {
    let blocks = MemoryBlockStore::new();
    let record = Bytes::from_static(b"\xa1\x61a\x01");
    let record_cid = dag_cbor_cid(&record);
    blocks.put(&record_cid, record).unwrap();
    let garbage = Bytes::from_static(b"\xff\x00\xff");
    let garbage_cid = dag_cbor_cid(&garbage);
    blocks.put(&garbage_cid, garbage).unwrap();

    let b = key("b", 1);
    for cid in [record_cid, garbage_cid] {
        let root = put(&blocks, None, &[(&b, Some(cid))]);
        let nodes = NodeStore::new(&blocks);
        let error = verify(&nodes, &root).unwrap_err();
        assert!(
            matches!(&error, Error::InvalidNode { cid: of, source }
                if *of == cid && matches!(**source, InvalidNode::Encoding(_))),
            "{error:?}"
        );
        assert_refused(&blocks, root, &error.to_string(), &[&b]);
        // As the root, there is nothing else.
        assert!(matches!(
            NodeWalker::new(&nodes, &cid),
            Err(Error::InvalidNode { .. })
        ));
    }
}

#[test]
fn a_root_of_another_cid_form_is_refused() {
    let blocks = MemoryBlockStore::new();
    let empty: Bytes = Node::empty().encode().into();
    let raw = raw_cid(&empty);
    blocks.put(&raw, empty.clone()).unwrap();
    let v0 = Cid::new_v0(*raw.hash()).unwrap();
    blocks.put(&v0, empty).unwrap();
    let nodes = NodeStore::new(&blocks);
    for cid in [raw, v0] {
        let error = out_of_place(cid, TreeFault::RootCid);
        assert_eq!(verify(&nodes, &cid).unwrap_err().to_string(), error);
        assert_eq!(nodes.node(&cid).unwrap_err().to_string(), error);
    }
}

#[test]
fn the_empty_tree_is_a_tree() {
    let blocks = MemoryBlockStore::new();
    let root = put(&blocks, None, &[]);
    let nodes = NodeStore::new(&blocks);
    let summary = verify(&nodes, &root).unwrap();
    assert_eq!((summary.height, summary.nodes, summary.entries), (0, 1, 0));
    let mut walker = NodeWalker::new(&nodes, &root).unwrap();
    assert!(walker.is_final());
    assert!(!walker.go_down().unwrap() && !walker.go_right() && !walker.go_up());
    assert!(walker.next_entry().unwrap().is_none());
    assert!(walker.previous_entry().unwrap().is_none());
    assert_eq!(walker.find(b"a").unwrap(), None);
    assert_eq!(walker.entries().count() + walker.entries().rev().count(), 0);
}

#[test]
fn a_high_key_over_low_ones_with_empty_nodes_between_is_a_tree() {
    let map = ["a", "c"]
        .map(|prefix| key(prefix, 0))
        .into_iter()
        .chain([key("b", 6)]);
    let map: BTreeMap<String, Cid> = map.map(|key| (key, value())).collect();
    let tree = build_tree(&map);
    // The top, five empty nodes and a leaf on either side of it.
    assert_eq!(tree.nodes.len(), 13);
    let blocks = MemoryBlockStore::new();
    blocks.put_many(&tree.nodes).unwrap();
    let summary = verify(&NodeStore::new(&blocks), &tree.root).unwrap();
    assert_eq!((summary.height, summary.nodes, summary.entries), (6, 13, 3));
}

// ---- Trees that would take forever.

#[test]
fn one_subtree_linked_many_times_over_many_levels_is_refused_at_once() {
    let blocks = MemoryBlockStore::new();
    // Each level links to the one below in every slot: 5 to the power of 6 leaves.
    let mut below = None;
    for height in 0..=6 {
        let keys = ["b", "c", "d", "e"].map(|prefix| key(prefix, height));
        let entries = keys.each_ref().map(|key| (key.as_str(), below));
        below = Some(put(&blocks, below, &entries));
    }
    let root = below.unwrap();
    let nodes = NodeStore::with_options(&blocks, trusting(false));
    assert!(matches!(
        verify(&nodes, &root),
        Err(Error::InvalidTree { .. })
    ));
    // Each whole subtree is refused, so few of them are even looked at.
    for items in [
        nodes.entries(&root).unwrap().collect::<Vec<_>>(),
        nodes.entries(&root).unwrap().rev().collect(),
    ] {
        assert_eq!(items.iter().flatten().count(), 4);
        assert_eq!(items.len(), 4 + 5);
    }
}

#[test]
fn a_bomb_of_levels_without_honest_heights_is_refused_at_once() {
    let blocks = MemoryBlockStore::new();
    // 64 levels of two links each to the one below, all keys of height 0 but the top's.
    let mut below = put(&blocks, None, &[(&key("a", 0), None)]);
    for level in 0..64 {
        let key = key(&format!("b{level:02}"), 0);
        below = put(&blocks, Some(below), &[(&key, Some(below))]);
    }
    let top = key("c", 6);
    let root = put(&blocks, Some(below), &[(&top, Some(below))]);
    let nodes = NodeStore::new(&blocks);
    let items: Vec<_> = nodes.entries(&root).unwrap().collect();
    assert_eq!(items.len(), 3);
    let fault = TreeFault::Height {
        expected: 5,
        found: 0,
    };
    assert_eq!(
        items[0].as_ref().unwrap_err().to_string(),
        out_of_place(below, fault)
    );
}

#[test]
fn chains_of_empty_nodes_end_at_the_bottom_however_long() {
    let blocks = MemoryBlockStore::new();
    let mut chain = vec![put(&blocks, None, &[(&key("a", 0), None)])];
    for _ in 0..30_000 {
        chain.push(put(&blocks, chain.last().copied(), &[]));
    }
    let top = key("b", 6);
    let root = put(&blocks, chain.last().copied(), &[(&top, None)]);
    // The first link is to height 5, so the sixth node of the chain is at height 0.
    let at_bottom = chain[chain.len() - 6];
    let error = out_of_place(at_bottom, TreeFault::BelowBottom);
    assert_refused(&blocks, root, &error, &[&top]);

    let nodes = NodeStore::new(&blocks);
    let error = out_of_place(*chain.last().unwrap(), TreeFault::TopWithoutKeys);
    assert_eq!(
        verify(&nodes, chain.last().unwrap())
            .unwrap_err()
            .to_string(),
        error
    );
}

#[test]
fn the_widest_node_with_the_same_empty_nodes_in_every_slot_takes_one_look_at_each() {
    let blocks = MemoryBlockStore::new();
    let leaf = put(&blocks, None, &[(&key("a", 0), None)]);
    let below = put(&blocks, Some(put(&blocks, Some(leaf), &[])), &[]);
    let keys: Vec<String> = (0..8_192).map(|n| key(&format!("b{n:05}/"), 3)).collect();
    let entries: Vec<_> = keys.iter().map(|key| (key.as_str(), Some(below))).collect();
    let root = put(&blocks, Some(below), &entries);
    let nodes = NodeStore::new(&blocks);
    for items in [
        nodes.entries(&root).unwrap().collect::<Vec<_>>(),
        nodes.entries(&root).unwrap().rev().collect(),
    ] {
        // Only the leftmost leaf is in its place.
        assert_eq!(items.iter().flatten().count(), 1 + 8_192);
        assert_eq!(items.iter().filter(|item| item.is_err()).count(), 8_192);
    }
    let visits = NodeWalker::new(&nodes, &root).unwrap().nodes().count();
    assert_eq!(visits, 1 + 3 * 8_193);
}

#[test]
fn nodes_of_up_to_8192_entries_are_read_and_wider_ones_if_the_caller_says_so() {
    let blocks = MemoryBlockStore::new();
    let keys: Vec<String> = (0..8_193).map(|n| key(&format!("{n:05}/"), 0)).collect();
    let entries: Vec<_> = keys.iter().map(|key| (key.as_str(), None)).collect();
    let widest = put(&blocks, None, &entries[..8_192]);
    let nodes = NodeStore::new(&blocks);
    assert_eq!(verify(&nodes, &widest).unwrap().entries, 8_192);

    let too_wide = put(&blocks, None, &entries);
    let error = verify(&nodes, &too_wide).unwrap_err();
    let Error::InvalidNode { cid, source } = error else {
        panic!("{error:?}");
    };
    assert_eq!(cid, too_wide);
    let InvalidNode::Encoding(error) = *source else {
        panic!("{source:?}");
    };
    let fault = DecodeFault::TooManyEntries {
        found: 8_193,
        limit: 8_192,
    };
    assert_eq!(error.fault, fault);

    let mut options = NodeStoreOptions::default();
    options.limits.entries = 8_193;
    let nodes = NodeStore::with_options(&blocks, options);
    assert_eq!(verify(&nodes, &too_wide).unwrap().entries, 8_193);

    options.limits = Limits::default();
    options.limits.entries = 200;
    let nodes = NodeStore::with_options(&blocks, options);
    assert!(matches!(
        verify(&nodes, &widest),
        Err(Error::InvalidNode { .. })
    ));
}

// ---- Stores that break their promise.

/// A store that returns what it likes.
#[derive(Default)]
struct LyingStore(HashMap<Cid, Bytes>);

impl BlockStore for LyingStore {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.get(cid).cloned())
    }
}

#[test]
fn a_cycle_of_a_store_that_lies_about_hashes_is_refused() {
    let [one, two, three] = [1_u8, 2, 3].map(|n| dag_cbor_cid(&[n]));
    let mut store = LyingStore::default();
    // A node that is its own child, on either side.
    let b = key("b", 4);
    let own_child = |left, right| node(left, &[(&b, right)]).encode().into();
    store.0.insert(one, own_child(Some(one), None));
    store.0.insert(two, own_child(None, Some(two)));
    // An empty node below itself, below a top.
    store
        .0
        .insert(three, node(Some(three), &[]).encode().into());
    let top = dag_cbor_cid(&[4]);
    store.0.insert(top, own_child(Some(three), Some(three)));

    let nodes = NodeStore::new(&store);
    for cid in [one, two, top] {
        assert!(matches!(
            verify(&nodes, &cid),
            Err(Error::InvalidTree { .. })
        ));
        let walker = NodeWalker::new(&nodes, &cid).unwrap();
        for items in [
            walker.entries().collect::<Vec<_>>(),
            walker.entries().rev().collect(),
            walker.range("a".."c").collect(),
        ] {
            assert_eq!(items.iter().flatten().count(), 1);
            assert!(items.len() <= 3);
        }
    }
    // Even where nothing is checked, each step goes one level down.
    let trusting = NodeStore::with_options(&store, trusting(true));
    for cid in [one, two, top] {
        let items = trusting.entries(&cid).unwrap().take(1_000).count();
        assert!(items < 1_000);
    }
}

/// A store that fails for some blocks.
struct FailingStore<'b> {
    blocks: &'b MemoryBlockStore,
    fails_for: Cid,
}

impl BlockStore for FailingStore<'_> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        if *cid == self.fails_for {
            return Err(StoreError::backend("no connection"));
        }
        self.blocks.get(cid)
    }
}

#[test]
fn a_store_that_fails_is_never_an_answer() {
    let blocks = MemoryBlockStore::new();
    let (a, b, c) = (key("a", 0), key("b", 1), key("c", 0));
    let left = put(&blocks, None, &[(&a, None)]);
    let right = put(&blocks, None, &[(&c, None)]);
    let root = put(&blocks, Some(left), &[(&b, Some(right))]);
    let store = FailingStore {
        blocks: &blocks,
        fails_for: left,
    };
    let nodes = NodeStore::new(&store);
    let is_failure = |error: &Error| matches!(error, Error::Store(StoreError::Backend(_)));
    assert!(is_failure(&verify(&nodes, &root).unwrap_err()));
    // Also for a key too high to be in the node that could not be read.
    for key in [a.clone(), key("aa", 1)] {
        match nodes.get(&root, key.as_bytes()) {
            Ok(found) => assert!(found.is_none() && height_of(key.as_bytes()) > 0),
            Err(error) => assert!(is_failure(&error)),
        }
    }
    for items in [
        nodes.entries(&root).unwrap().collect::<Vec<_>>(),
        nodes.entries(&root).unwrap().rev().collect(),
    ] {
        assert_eq!(items.iter().flatten().count(), 2);
        assert!(
            items
                .iter()
                .filter_map(|item| item.as_ref().err())
                .all(is_failure)
        );
        assert_eq!(items.len(), 3);
    }
    assert!(is_failure(
        &NodeWalker::new(
            &NodeStore::new(FailingStore {
                blocks: &blocks,
                fails_for: root
            }),
            &root
        )
        .unwrap_err()
    ));
}

// ---- Any change at all.

proptest! {
    #![proptest_config(cases(384))]

    #[test]
    fn a_tree_is_valid_exactly_if_building_it_anew_gives_its_root(
        keys in subsequence(POOL.clone(), 0..=POOL.len()),
        changes in prop::collection::vec((any::<Index>(), any::<Index>(), 0..6_u8), 0..3),
    ) {
        let mut tree = Tree::of(keys);
        for (slot, other, change) in changes {
            tree.change(slot, other, change);
        }

        let blocks = MemoryBlockStore::new();
        let root = tree.write(&blocks);
        let mut keys = Vec::new();
        tree.keys(&mut keys);
        let anew: BTreeMap<String, Cid> = keys.iter().map(|key| (key.clone(), value())).collect();
        let canonical = build_tree(&anew).root == root && anew.len() == keys.len();
        for (trusted, cache_bytes) in [(false, 0), (false, 4_000), (false, 1 << 20), (true, 1 << 20)] {
            let mut options = trusting(trusted);
            options.cache_bytes = cache_bytes;
            let nodes = NodeStore::with_options(&blocks, options);
            // What a walk has found or assumed must not be believed in another place.
            for walk in 0..3 {
                let verified = verify(&nodes, &root);
                prop_assert_eq!(verified.is_ok(), canonical, "{:?}", verified);
                if let Ok(summary) = verified {
                    prop_assert_eq!(summary.entries, anew.len() as u64);
                }
                if let Ok(entries) = nodes.entries(&root) {
                    let _ = if walk == 0 { entries.rev().count() } else { entries.count() };
                }
            }
        }

        // The same from either end, in order, and no key that does not exist.
        let nodes = NodeStore::new(&blocks);
        let Ok(walker) = NodeWalker::new(&nodes, &root) else { return Ok(()) };
        let forward: Vec<_> = walker.entries().collect();
        let mut backward: Vec<_> = walker.entries().rev().collect();
        backward.reverse();
        prop_assert_eq!(format!("{forward:?}"), format!("{backward:?}"));
        let found: Vec<&[u8]> = forward.iter().flatten().map(EntryRef::key).collect();
        prop_assert!(found.is_sorted_by(|left, right| left < right));
        prop_assert_eq!(forward.iter().all(Result::is_ok), canonical);
        for key in found {
            prop_assert_eq!(walker.clone().find(key).unwrap(), Some(value()));
        }
    }

    /// A look-up goes along the links between cached nodes, which another tree may have left.
    #[test]
    fn a_look_up_finds_the_same_whatever_the_cache_holds(
        keys in subsequence(POOL.clone(), 1..=POOL.len()),
        changes in prop::collection::vec((any::<Index>(), any::<Index>(), 0..6_u8), 0..3),
        missing in prop::collection::vec(any::<Index>(), 0..3),
        trusted in any::<bool>(),
        order in prop::collection::vec(any::<Index>(), 0..60),
    ) {
        let mut tree = Tree::of(keys);
        let blocks = MemoryBlockStore::new();
        let mut roots = vec![tree.write(&blocks)];
        for (slot, other, change) in changes {
            tree.change(slot, other, change);
            roots.push(tree.write(&blocks));
        }

        let cids = blocks.cids();
        for index in missing {
            blocks.delete(index.get(&cids)).unwrap();
        }
        let cached = NodeStore::with_options(&blocks, trusting(trusted));
        let options = NodeStoreOptions { trusted, ..NodeStoreOptions::uncached() };
        let fresh = NodeStore::with_options(&blocks, options);
        for index in order {
            let root = index.get(&roots);
            for key in POOL.iter().map(String::as_str).chain(["", "k", "k2", "l"]) {
                let found = cached.get(root, key.as_bytes());
                let expected = fresh.get(root, key.as_bytes());
                prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{}", key);
            }
        }
    }
}

/// A tree, perhaps an invalid one, in its parts.
#[derive(Debug, Clone, Default)]
struct Tree {
    keys: Vec<String>,
    subtrees: Vec<Option<Tree>>,
}

impl Tree {
    /// The valid tree of these keys.
    fn of(keys: Vec<String>) -> Self {
        let map = keys.into_iter().map(|key| (key, value())).collect();
        let built = build_tree(&map);
        Self::read(&built.nodes.into_iter().collect(), &built.root)
    }

    fn read(blocks: &HashMap<Cid, Bytes>, root: &Cid) -> Self {
        let node = Node::decode(&blocks[root]).unwrap();
        let text = |key: &[u8]| String::from_utf8(key.to_vec()).unwrap();
        let subtree = |slot| Some(Self::read(blocks, &node.subtree(slot)?));
        Self {
            keys: node.entries().map(|entry| text(entry.key())).collect(),
            subtrees: (0..=node.len()).map(subtree).collect(),
        }
    }

    fn write(&self, blocks: &MemoryBlockStore) -> Cid {
        let links: Vec<Option<Cid>> = self
            .subtrees
            .iter()
            .map(|subtree| Some(subtree.as_ref()?.write(blocks)))
            .collect();
        let entries = self
            .keys
            .iter()
            .map(String::as_str)
            .zip(links[1..].iter().copied());
        put(blocks, links[0], &entries.collect::<Vec<_>>())
    }

    fn keys(&self, keys: &mut Vec<String>) {
        for (slot, subtree) in self.subtrees.iter().enumerate() {
            if let Some(subtree) = subtree {
                subtree.keys(keys);
            }
            keys.extend(self.keys.get(slot).cloned());
        }
    }

    fn slots(&mut self) -> Vec<&mut Option<Tree>> {
        let mut slots = Vec::new();
        for subtree in &mut self.subtrees {
            if subtree.is_some() {
                // The slot and those below it cannot both be borrowed at once.
                slots.extend(subtree.as_mut().map(Self::slots).unwrap_or_default());
            } else {
                slots.push(subtree);
            }
        }
        slots
    }

    fn nodes(&self) -> Vec<&Tree> {
        let below = self.subtrees.iter().flatten().flat_map(Self::nodes);
        std::iter::once(self).chain(below).collect()
    }

    /// Changes something about one node.
    fn change(&mut self, which: Index, other: Index, change: u8) {
        let count = self.nodes().len();
        let copy = other.get(&self.nodes()).to_owned().clone();
        match change {
            // A copy of another part where nothing was.
            0 => {
                let mut slots = self.slots();
                if !slots.is_empty() {
                    let slot = which.index(slots.len());
                    *slots[slot] = Some(copy);
                }
            }
            1 => *self.nth(which.index(count)) = copy,
            // One level more, one level less.
            2 => {
                let node = self.nth(which.index(count));
                let below = std::mem::take(node);
                node.subtrees = vec![Some(below)];
            }
            3 => {
                let node = self.nth(which.index(count));
                if let Some(Some(left)) = node.subtrees.first().cloned() {
                    *node = left;
                }
            }
            // One entry less, with what was to the right of it.
            4 => {
                let node = self.nth(which.index(count));
                if !node.keys.is_empty() {
                    let index = other.index(node.keys.len());
                    node.keys.remove(index);
                    node.subtrees.remove(index + 1);
                }
            }
            // One subtree less, which removes its keys but not validity.
            _ => {
                let node = self.nth(which.index(count));
                let slot = other.index(node.subtrees.len());
                node.subtrees[slot] = None;
            }
        }
    }

    /// The node `n` in preorder.
    fn nth(&mut self, n: usize) -> &mut Tree {
        if n == 0 {
            return self;
        }
        let mut rest = n - 1;
        for subtree in self.subtrees.iter_mut().flatten() {
            let count = subtree.nodes().len();
            if rest < count {
                return subtree.nth(rest);
            }
            rest -= count;
        }
        unreachable!("a node less than the count of nodes")
    }
}

/// A node store remembers which nodes belong below which, but not between which keys: that differs
/// in every tree that they are in.
#[test]
fn a_subtree_that_has_its_place_in_one_tree_is_looked_at_again_in_another() {
    let blocks = MemoryBlockStore::new();
    let (low, high) = (key("b", 0), key("t", 0));
    let (below, behind) = (
        put(&blocks, None, &[(&low, None)]),
        put(&blocks, None, &[(&high, None)]),
    );
    let sound = put(&blocks, Some(below), &[(&key("m", 1), Some(behind))]);
    let nodes = NodeStore::new(&blocks);
    for key in [&low, &high] {
        assert!(nodes.get(&sound, key.as_bytes()).unwrap().is_some());
    }
    // The key beside it is between it and its first subtree, or its last.
    let left = put(&blocks, None, &[(&key("k", 2), Some(sound))]);
    let right = put(&blocks, Some(sound), &[(&key("p", 2), None)]);
    for (root, lost, on_the_way) in [(left, &low, b"l"), (right, &high, b"n")] {
        for _ in 0..2 {
            let found = nodes.get(&root, on_the_way);
            assert!(matches!(found, Err(Error::InvalidTree { .. })), "{found:?}");
        }
        let entries: Vec<_> = nodes.entries(&root).unwrap().collect();
        assert!(entries.iter().any(Result::is_err));
        let mut walker = NodeWalker::new(&nodes, &root).unwrap();
        let mut found = Ok(());
        while found.is_ok() {
            found = match walker.next_entry() {
                Ok(Some(entry)) => {
                    assert_ne!(entry.key(), lost.as_bytes());
                    Ok(())
                }
                Ok(None) => break,
                Err(error) => Err(error),
            };
        }
        assert!(matches!(found, Err(Error::InvalidTree { .. })), "{found:?}");
    }
}

/// The key that a node is compared with may be in a node far above it.
#[test]
fn a_look_up_compares_with_keys_several_levels_above() {
    let blocks = MemoryBlockStore::new();
    let outer = [key("b", 0), key("t", 0)];
    let leaves = outer
        .each_ref()
        .map(|key| put(&blocks, None, &[(key, None)]));
    let above = put(&blocks, Some(leaves[0]), &[(&key("m", 1), Some(leaves[1]))]);
    let higher = put(&blocks, Some(above), &[(&key("u", 2), None)]);
    let lower = put(&blocks, None, &[(&key("a", 2), Some(above))]);
    let nodes = NodeStore::new(&blocks);
    for (root, key) in [(higher, &outer[0]), (lower, &outer[1])] {
        assert!(nodes.get(&root, key.as_bytes()).unwrap().is_some());
    }
    let left = put(&blocks, None, &[(&key("c", 3), Some(higher))]);
    let right = put(&blocks, Some(lower), &[(&key("s", 3), None)]);
    for (root, on_the_way) in [(left, b"d"), (right, b"r")] {
        for _ in 0..2 {
            let found = nodes.get(&root, on_the_way);
            assert!(matches!(found, Err(Error::InvalidTree { .. })), "{found:?}");
        }
    }
}

/// Nor on which level: a node without keys says nothing about that.
#[test]
fn a_node_without_keys_is_looked_at_again_in_another_tree() {
    let blocks = MemoryBlockStore::new();
    let leaf = put(&blocks, None, &[(&key("b", 0), None)]);
    let keyless = put(&blocks, Some(leaf), &[]);
    let sound = put(&blocks, Some(keyless), &[(&key("m", 2), None)]);
    let too_high = put(&blocks, Some(keyless), &[(&key("m", 3), None)]);
    let nodes = NodeStore::new(&blocks);
    let mut walker = NodeWalker::new(&nodes, &sound).unwrap();
    while walker.next_entry().unwrap().is_some() {}
    let mut walker = NodeWalker::new(&nodes, &too_high).unwrap();
    let found = walker.next_entry();
    assert!(matches!(found, Err(Error::InvalidTree { .. })), "{found:?}");
    for (root, is_sound) in [(sound, true), (too_high, false)].repeat(2) {
        let found = nodes.get(&root, key("b", 0).as_bytes());
        assert_eq!(found.is_ok(), is_sound, "{found:?}");
    }
}

// ---- Making trees, and checking them.

/// 40 keys of heights 0 to 3, in order.
static POOL: LazyLock<Vec<String>> = LazyLock::new(|| {
    const HEIGHTS: [u8; 10] = [0, 1, 0, 0, 2, 1, 0, 3, 0, 1];
    (0..40)
        .map(|n| key(&format!("k{n:02}/"), HEIGHTS[n % 10]))
        .collect()
});

fn key(prefix: &str, height: u8) -> String {
    key_of_height(prefix, height)
}

fn value() -> Cid {
    Node::empty().cid()
}

fn node(left: Option<Cid>, entries: &[(&str, Option<Cid>)]) -> Node {
    let mut builder = NodeBuilder::new(left.as_ref()).unwrap();
    for (key, right) in entries {
        builder
            .push(key.as_bytes(), &value(), right.as_ref())
            .unwrap();
    }
    builder.finish()
}

fn put(blocks: &MemoryBlockStore, left: Option<Cid>, entries: &[(&str, Option<Cid>)]) -> Cid {
    let block = node(left, entries).encode();
    let cid = dag_cbor_cid(&block);
    assert!(node_digest(&cid).is_some());
    blocks.put(&cid, block.into()).unwrap();
    cid
}

fn trusting(trusted: bool) -> NodeStoreOptions {
    NodeStoreOptions {
        trusted,
        ..NodeStoreOptions::default()
    }
}

fn out_of_place(cid: Cid, fault: TreeFault) -> String {
    Error::InvalidTree { cid, fault }.to_string()
}

fn invalid_node(cid: Cid, fault: InvalidNode) -> String {
    let source = Box::new(fault);
    Error::InvalidNode { cid, source }.to_string()
}

/// Asserts that the tree of `root` is refused with `error` in every way that it can be
/// read, and that the `keys` that can be reached are still returned.
fn assert_refused(blocks: &MemoryBlockStore, root: Cid, error: &str, keys: &[&str]) {
    for trusted in [false, true] {
        let nodes = NodeStore::with_options(blocks, trusting(trusted));
        assert_eq!(verify(&nodes, &root).unwrap_err().to_string(), error);
    }
    let nodes = NodeStore::new(blocks);
    let mut walker = NodeWalker::new(&nodes, &root).unwrap();
    for reverse in [false, true] {
        let mut items: Vec<_> = if reverse {
            walker.entries().rev().collect()
        } else {
            walker.entries().collect()
        };
        if reverse {
            items.reverse();
        }
        let found: Vec<&str> = items
            .iter()
            .flatten()
            .map(|e| e.key_str().unwrap())
            .collect();
        assert_eq!(found, keys);
        let errors: Vec<String> = items
            .iter()
            .filter_map(|i| Some(i.as_ref().err()?.to_string()))
            .collect();
        assert_eq!(errors, [error]);
    }
    let errors: Vec<String> = walker
        .nodes()
        .filter_map(|n| Some(n.err()?.to_string()))
        .collect();
    assert_eq!(errors, [error]);

    // Step by step: the walker stays where it is, and can go past.
    let mut found = Vec::new();
    let mut errors = 0;
    loop {
        match walker.next_entry() {
            Ok(Some(entry)) => found.push(entry.key_str().unwrap().to_owned()),
            Ok(None) => break,
            Err(first) => {
                assert_eq!(first.to_string(), error);
                let beside = (
                    walker.left_key().map(<[u8]>::to_vec),
                    walker.right_key().map(<[u8]>::to_vec),
                );
                assert_eq!(walker.next_entry().unwrap_err().to_string(), error);
                assert_eq!(walker.go_down().unwrap_err().to_string(), error);
                assert_eq!(walker.subtree_walker().unwrap_err().to_string(), error);
                assert_eq!(
                    beside,
                    (
                        walker.left_key().map(<[u8]>::to_vec),
                        walker.right_key().map(<[u8]>::to_vec)
                    )
                );
                // No key between the two is answered for.
                let between = [beside.0.unwrap_or_default().as_slice(), b"\0"].concat();
                let mut seeker = NodeWalker::new(&nodes, &root).unwrap();
                assert_eq!(seeker.find(&between).unwrap_err().to_string(), error);
                walker.skip_subtree();
                errors += 1;
            }
        }
    }
    assert_eq!(
        (found.iter().map(String::as_str).collect::<Vec<_>>(), errors),
        (keys.to_vec(), 1)
    );
}

/// This many cases, and no file for one that fails: the seed is in the report.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
