//! The danger: a change that fails half-way. Nodes come from a store while a tree is changed,
//! and any of them may be missing, unreadable, malformed or in the wrong place; a tree that has
//! by then moved a subtree, or that treats what it could not read as empty, has a root that
//! nobody can follow and that says nothing about the loss.
//!
//! So each block of trees of all shapes is removed, and each pair of them: a change then says
//! which block is missing and leaves the tree as it was, or needs none of them and leads to the
//! right root. The same with stores that fail, with blocks that are not nodes, with nodes out of
//! place and with nodes that would grow too large; and a clone, which shares all this with its
//! original, must not see what the other does.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use blockstore_core::{
    BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, StoreError, dag_cbor_cid, raw_cid,
};
use mst_node::{InvalidKey, MixedHeights, Node, NodeBuilder, height_of};
use mst_ops::{
    Changes, Error, InvalidNode, NodeSource, NodeStore, NodeStoreOptions, Tree, TreeFault, verify,
};
use mst_testkit::{PUBLISHED_ROOTS, PUBLISHED_VALUE, SampleTree, build_tree, key_of_height};
use proptest::prelude::*;
use proptest::sample::Index;

type Map = BTreeMap<String, Cid>;

/// Trees as lines of keys, each a letter for its position, and its height. Among them
/// are nodes without keys on either side and in chains, nodes that split and merge on several
/// levels at once, and tops that disappear with their only key.
const SHAPES: [&str; 20] = [
    "a0",
    "a0 b0 c0",
    "b1",
    "a0 b1",
    "b1 c0",
    "a0 b1 c0",
    "a0 b0 c1 d0 e1 f0 g0",
    "a0 c2 e0",
    "c2 e0",
    "a0 c2 d1",
    "a0 b1 c0 d2 e0 f1 g0",
    "a1 b2 c0 d1",
    "a0 b4 c0",
    "a0 b0 c3 d1 e0 f3 g0 h0",
    "a0 b3 c3 d0",
    "a0 b1 c0 d3 e0",
    "a0 b2 c1 d0 e3 f0 g2 h1",
    "a0 b2 d3 f2 g0",
    "a1 b0 c5 d0 e1",
    "a0 b1 c2 d3 e2 f1 g0",
];

#[test]
fn changes_lead_from_one_published_tree_to_another() {
    let value: Cid = PUBLISHED_VALUE.parse().unwrap();
    for (_, before) in PUBLISHED_ROOTS {
        for (root, after) in PUBLISHED_ROOTS {
            let mut tree = Tree::from_entries(before.iter().map(|key| (key, value))).unwrap();
            for key in before.iter().filter(|key| !after.contains(key)) {
                assert_eq!(tree.remove(key.as_bytes()).unwrap(), Some(value));
            }
            for key in after.iter().rev() {
                tree.insert(key.as_bytes(), &value).unwrap();
            }
            assert_eq!(tree.root().to_string(), root);
        }
    }
}

// ---- Blocks that are missing.

#[test]
fn a_change_needs_exactly_the_blocks_on_its_way_and_fails_without_a_trace() {
    let mut missed = 0;
    for shape in SHAPES {
        let sample = Sample::new(shape);
        for change in sample.changes() {
            for gone in sample.gaps() {
                missed += assert_atomic(&sample, &change, &gone);
            }
        }
    }
    assert!(missed > 10_000, "only {missed} changes missed a block");
}

/// Removes the blocks `gone`, tries `change`, and puts blocks back as it requests them. Returns how
/// many it requested.
fn assert_atomic(sample: &Sample, change: &Change, gone: &[Cid]) -> usize {
    let at = || format!("{} without {gone:?}, {change:?}", sample.shape);
    for cid in gone {
        sample.blocks.delete(cid).unwrap();
    }
    let mut tree = open(&sample.blocks, &sample.tree.root).unwrap();
    let mut needed: BTreeSet<Cid> = gone.iter().copied().collect();
    needed.retain(|cid| change.needed.contains(cid));
    let count = needed.len();
    loop {
        match change.apply(&mut tree) {
            Ok(previous) => {
                assert!(needed.is_empty(), "{}", at());
                assert_eq!(previous, sample.map.get(&change.key).copied());
                break;
            }
            Err(Error::MissingBlock(cid)) => {
                assert!(needed.remove(&cid), "{}: {cid}", at());
                assert_untouched(&mut tree, &sample.tree.root);
                sample.put_back(&cid);
            }
            Err(error) => panic!("{}: {error}", at()),
        }
    }
    assert_eq!(tree.root(), change.after.root, "{}", at());
    assert_changes(&tree.flush(), &sample.tree, &change.after);
    for cid in gone {
        sample.put_back(cid);
    }
    count
}

#[test]
fn a_failed_change_leaves_the_contents_as_they_were() {
    for shape in SHAPES {
        let sample = Sample::new(shape);
        for missing in &sample.tree.nodes[1..] {
            sample.blocks.delete(&missing.0).unwrap();
            let expected = contents(&open(&sample.blocks, &sample.tree.root).unwrap());
            // All changes on one tree, from which some succeed and are undone.
            let mut tree = open(&sample.blocks, &sample.tree.root).unwrap();
            for change in sample.changes() {
                let mut clone = tree.clone();
                if change.apply(&mut tree).is_err() {
                    assert_eq!(contents(&tree), expected, "{shape}");
                    assert_untouched(&mut tree, &sample.tree.root);
                } else {
                    std::mem::swap(&mut tree, &mut clone);
                }
            }
            assert_eq!(contents(&tree), expected, "{shape}");
            sample.put_back(&missing.0);
        }
    }
}

#[test]
fn a_look_up_needs_exactly_the_blocks_that_could_hold_its_key() {
    for shape in SHAPES {
        let sample = Sample::new(shape);
        let keys = sample.keys();
        for gone in sample.gaps() {
            for cid in &gone {
                sample.blocks.delete(cid).unwrap();
            }
            // A tree that remembers, and one for each question.
            let old = open(&sample.blocks, &sample.tree.root).unwrap();
            for key in &keys {
                let way = sample.way(key);
                let missing = way.iter().find(|(height, cid)| {
                    *height >= height_of(key.as_bytes()) && gone.contains(cid)
                });
                let new = open(&sample.blocks, &sample.tree.root).unwrap();
                for tree in [&old, &new] {
                    let (found, contained) =
                        (tree.get(key.as_bytes()), tree.contains(key.as_bytes()));
                    if let Some((_, missing)) = missing {
                        assert_missing(found, missing);
                        assert_missing(contained, missing);
                    } else {
                        assert_eq!(found.unwrap(), sample.map.get(key).copied());
                        assert_eq!(contained.unwrap(), sample.map.contains_key(key));
                    }
                }
            }
            for cid in &gone {
                sample.put_back(cid);
            }
        }
    }
}

#[test]
fn entries_go_on_beside_what_is_missing() {
    for shape in SHAPES {
        let sample = Sample::new(shape);
        let whole = open(&sample.blocks, &sample.tree.root).unwrap();
        assert!(!whole.is_partial().unwrap());
        for gone in sample.gaps() {
            for cid in &gone {
                sample.blocks.delete(cid).unwrap();
            }
            let tree = open(&sample.blocks, &sample.tree.root).unwrap();
            let expected = sample.expected_entries(&sample.tree.root, &gone);
            for _ in 0..2 {
                let mut entries = tree.entries();
                let found: Vec<_> = entries
                    .by_ref()
                    .map(|entry| match entry {
                        Ok((key, value)) => Ok((String::from_utf8(key.to_vec()).unwrap(), value)),
                        Err(Error::MissingBlock(cid)) => Err(cid),
                        Err(error) => panic!("{error}"),
                    })
                    .collect();
                assert_eq!(found, expected, "{shape}");
                assert!(entries.next().is_none());
            }
            // Of the next trees, one has loaded what there is, the other nothing.
            for tree in [tree, open(&sample.blocks, &sample.tree.root).unwrap()] {
                assert!(tree.is_partial().unwrap());
                assert!(
                    matches!(tree.verify(), Err(Error::MissingBlock(cid)) if gone.contains(&cid))
                );
                assert!(
                    matches!(tree.to_map(), Err(Error::MissingBlock(cid)) if gone.contains(&cid))
                );
            }
            for cid in &gone {
                sample.put_back(cid);
            }
        }
    }
}

#[test]
fn a_tree_whose_top_is_missing_is_not_opened() {
    let sample = Sample::new("a0 b1 c0");
    let root = sample.tree.root;
    sample.blocks.delete(&root).unwrap();
    assert_missing(open(&sample.blocks, &root), &root);
    let raw = raw_cid(&sample.tree.nodes[0].1);
    let error = open(&sample.blocks, &raw).unwrap_err();
    assert_eq!(error.to_string(), out_of_place(raw, TreeFault::RootCid));
}

#[test]
fn a_change_of_nothing_needs_no_more_than_a_look_up() {
    let sample = Sample::new("a0 b1 c0 d2 e0 f1 g0");
    let d = &sample.keys_of_shape[3];
    for (cid, _) in &sample.tree.nodes[1..] {
        sample.blocks.delete(cid).unwrap();
    }
    let mut tree = open(&sample.blocks, &sample.tree.root).unwrap();
    let value = sample.map[d];
    assert_eq!(tree.insert(d.as_bytes(), &value).unwrap(), Some(value));
    let absent = key_of_height("d~", 2);
    assert_eq!(tree.remove(absent.as_bytes()).unwrap(), None);
    assert_untouched(&mut tree, &sample.tree.root);
    // Another value changes the top alone.
    let other = value_of(99);
    assert_eq!(tree.insert(d.as_bytes(), &other).unwrap(), Some(value));
    let changes = tree.flush();
    assert_eq!((changes.new.len(), changes.removed.len()), (1, 1));
}

#[test]
fn the_first_fault_in_preorder_is_named() {
    for shape in SHAPES {
        let sample = Sample::new(shape);
        for gone in sample.gaps() {
            for cid in &gone {
                sample.blocks.delete(cid).unwrap();
            }
            // The gaps are in preorder; one below another is not seen.
            let tree = open(&sample.blocks, &sample.tree.root).unwrap();
            assert_missing(tree.verify(), &gone[0]);
            assert_missing(
                verify(&uncached(&sample.blocks), &sample.tree.root),
                &gone[0],
            );
            for cid in &gone {
                sample.put_back(cid);
            }
        }
    }
}

// ---- Stores that fail.

#[test]
fn a_store_that_fails_at_any_read_leaves_the_tree_as_it_was() {
    let mut failures = 0;
    for shape in SHAPES {
        let sample = Sample::new(shape);
        for change in sample.changes() {
            let mut tree = {
                let store = Failing::new(&sample.blocks);
                Tree::open(uncached(store), &sample.tree.root).unwrap()
            };
            // Each try gets one read further than the one before.
            loop {
                let store = tree.nodes().blocks();
                store.fail_at.store(1, Ordering::Relaxed);
                match change.apply(&mut tree) {
                    Ok(previous) => {
                        assert_eq!(previous, sample.map.get(&change.key).copied());
                        break;
                    }
                    Err(Error::Store(StoreError::Backend(_))) => {
                        failures += 1;
                        assert_untouched(&mut tree, &sample.tree.root);
                        // One block more gets through before it fails the next time.
                        let store = tree.nodes().blocks();
                        store.fail_at.store(2, Ordering::Relaxed);
                        let read = tree.get(change.key.as_bytes());
                        if let Err(error) = read {
                            assert!(matches!(error, Error::Store(_)), "{error}");
                        }
                        assert_untouched(&mut tree, &sample.tree.root);
                        let store = tree.nodes().blocks();
                        store.fail_at.store(2, Ordering::Relaxed);
                        match change.apply(&mut tree) {
                            Ok(_) => break,
                            Err(Error::Store(StoreError::Backend(_))) => {
                                assert_untouched(&mut tree, &sample.tree.root);
                            }
                            Err(error) => panic!("{shape}, {change:?}: {error}"),
                        }
                    }
                    Err(error) => panic!("{shape}, {change:?}: {error}"),
                }
            }
            assert_eq!(tree.root(), change.after.root, "{shape}, {change:?}");
            assert_changes(&tree.flush(), &sample.tree, &change.after);
        }
    }
    assert!(failures > 500, "only {failures} reads failed");
}

#[test]
fn a_store_that_fails_is_no_gap() {
    let sample = Sample::new("a0 b1 c0");
    let store = Failing::new(&sample.blocks);
    let tree = Tree::open(uncached(store), &sample.tree.root).unwrap();
    let fail = || tree.nodes().blocks().fail_at.store(1, Ordering::Relaxed);
    fail();
    assert!(matches!(tree.is_partial(), Err(Error::Store(_))));
    fail();
    assert!(matches!(tree.verify(), Err(Error::Store(_))));
    // Too high to be in the node that could not be read, but still the store's fault.
    fail();
    assert!(matches!(
        tree.get(key_of_height("a~", 1).as_bytes()),
        Err(Error::Store(_))
    ));
    fail();
    assert!(tree.entries().next().unwrap().is_err());
    assert_eq!(tree.to_map().unwrap().len(), 3);
}

// ---- Nodes that are not what they should be.

#[test]
fn a_bad_node_is_refused_by_every_change_that_reads_it() {
    let blocks = MemoryBlockStore::new();
    let (a0, b2) = (key_of_height("a", 0), key_of_height("b", 2));
    for bad in bad_nodes(&blocks) {
        // On the right of a top `b2`, or two levels down on the right of a `d1`.
        let right = if bad.height == 0 {
            put(&blocks, None, &[(&key_of_height("d", 1), Some(bad.cid))])
        } else {
            bad.cid
        };
        let leaf = put(&blocks, None, &[(&a0, None)]);
        let left = put(&blocks, Some(leaf), &[]);
        let root = put(&blocks, Some(left), &[(&b2, Some(right))]);
        for trusted in [false, true] {
            let nodes = NodeStore::with_options(&blocks, options(trusted));
            let mut tree = Tree::open(&nodes, &root).unwrap();
            if trusted && bad.is_mixed {
                // Nobody has looked, so it is read; and found when the whole tree is checked.
                let found = tree.verify().unwrap_err();
                let fault = TreeFault::Height {
                    expected: 1,
                    found: 0,
                };
                assert_eq!(found.to_string(), out_of_place(bad.cid, fault));
                continue;
            }
            assert_refused(&mut tree, &bad, &b2);
            assert_untouched(&mut tree, &root);
            let errors: Vec<_> = tree.entries().filter_map(Result::err).collect();
            assert_eq!(errors.len(), 1);
            assert_eq!(errors[0].to_string(), bad.error);

            // The rest of the tree can be used.
            let beside = key_of_height("a~", 0);
            assert_eq!(tree.insert(beside.as_bytes(), &root).unwrap(), None);
            assert!(tree.remove(a0.as_bytes()).unwrap().is_some());
            assert_eq!(tree.remove(beside.as_bytes()).unwrap(), Some(root));
            assert_refused(&mut tree, &bad, &b2);
        }
    }
}

/// Checks that no question about `bad` gets an answer, and no change goes through it.
fn assert_refused(tree: &mut Tree<impl NodeSource>, bad: &BadNode, top_key: &str) {
    let into_it = key_of_height("g", 0);
    // Nor a key that would cut it in two.
    let above_it = key_of_height("g", 3);
    let value = value_of(1);
    let mut errors = vec![
        tree.get(into_it.as_bytes()).unwrap_err(),
        tree.remove(into_it.as_bytes()).unwrap_err(),
        tree.insert(into_it.as_bytes(), &value).unwrap_err(),
        tree.insert(above_it.as_bytes(), &value).unwrap_err(),
        tree.is_partial().unwrap_err(),
        tree.verify().unwrap_err(),
        tree.to_map().unwrap_err(),
    ];
    if bad.height == 1 {
        // The key whose removal would merge it with another, or make it the top.
        errors.push(tree.remove(top_key.as_bytes()).unwrap_err());
    }
    for error in errors {
        assert_eq!(error.to_string(), bad.error);
    }
}

struct BadNode {
    /// The level on which it is bad.
    height: u8,
    cid: Cid,
    error: String,
    /// Whether its keys have several heights.
    is_mixed: bool,
}

/// Nodes that do not belong on the right of `b2` (height 1) or `d1` (height 0).
fn bad_nodes(blocks: &MemoryBlockStore) -> Vec<BadNode> {
    let leaf_of = |prefix, height| put(blocks, None, &[(&key_of_height(prefix, height), None)]);
    let (c1, e0) = (key_of_height("c", 1), key_of_height("e", 0));
    let bottom = leaf_of("e", 0);
    let nothing = put(blocks, None, &[]);
    let height = |expected, found| TreeFault::Height { expected, found };
    let misplaced = [
        (1, leaf_of("c", 2), height(1, 2)),
        (1, leaf_of("c", 0), height(1, 0)),
        (1, nothing, TreeFault::Empty),
        (1, leaf_of("a", 1), TreeFault::KeyNotGreater),
        (0, leaf_of("f", 1), height(0, 1)),
        (0, nothing, TreeFault::Empty),
        (0, leaf_of("a", 0), TreeFault::KeyNotGreater),
        (0, leaf_of("c", 0), TreeFault::KeyNotGreater),
        (
            0,
            put(blocks, None, &[(&e0, Some(bottom))]),
            TreeFault::BelowBottom,
        ),
        (0, put(blocks, Some(bottom), &[]), TreeFault::BelowBottom),
    ]
    .map(|(height, cid, fault)| (height, cid, out_of_place(cid, fault)));

    let mixed = put(blocks, None, &[(&c1, None), (&e0, None)]);
    let heights = MixedHeights {
        index: 1,
        height: 0,
        first: 1,
    };
    let record = Bytes::from_static(b"\xa1\x61a\x01");
    let no_node = dag_cbor_cid(&record);
    let decode_error = Node::decode(&record).unwrap_err();
    blocks.put(&no_node, record).unwrap();
    let invalid = [
        (1, mixed, invalid_node(mixed, heights.into())),
        (
            1,
            no_node,
            invalid_node(no_node, decode_error.clone().into()),
        ),
        (0, no_node, invalid_node(no_node, decode_error.into())),
    ];

    let bad = misplaced.into_iter().chain(invalid);
    bad.map(|(height, cid, error)| BadNode {
        height,
        cid,
        error,
        is_mixed: cid == mixed,
    })
    .collect()
}

#[test]
fn keys_outside_what_all_ancestors_leave_are_refused() {
    let blocks = MemoryBlockStore::new();
    let key = key_of_height;
    let (b2, d1, f2) = (key("b", 2), key("d", 1), key("f", 2));
    for (outside, inside, fault) in [
        (key("a", 0), key("c", 0), TreeFault::KeyNotGreater),
        (key("g", 0), key("e", 0), TreeFault::KeyNotLess),
    ] {
        let leaf = put(&blocks, None, &[(&outside, None)]);
        let between = if fault == TreeFault::KeyNotGreater {
            put(&blocks, Some(leaf), &[(&d1, None)])
        } else {
            put(&blocks, None, &[(&d1, Some(leaf))])
        };
        // With a key of its own on the other side, and with none.
        for between in [between, put(&blocks, Some(leaf), &[])] {
            let root = put(&blocks, None, &[(&b2, Some(between)), (&f2, None)]);
            let nodes = uncached(&blocks);
            let mut tree = Tree::open(&nodes, &root).unwrap();
            let cut = key(&inside[..1], 1);
            for error in [
                tree.get(inside.as_bytes()).unwrap_err(),
                tree.insert(inside.as_bytes(), &root).unwrap_err(),
                tree.insert(cut.as_bytes(), &root).unwrap_err(),
                tree.remove(inside.as_bytes()).unwrap_err(),
                tree.verify().unwrap_err(),
                tree.entries().find_map(Result::err).unwrap(),
            ] {
                assert_eq!(error.to_string(), out_of_place(leaf, fault.clone()));
            }
            assert_untouched(&mut tree, &root);
        }
    }
}

#[test]
fn a_top_that_cannot_be_one_is_refused() {
    let blocks = MemoryBlockStore::new();
    let leaf = put(&blocks, None, &[(&key_of_height("a", 0), None)]);
    let keyless = put(&blocks, Some(leaf), &[]);
    let below_bottom = put(&blocks, Some(leaf), &[(&key_of_height("b", 0), None)]);
    for trusted in [false, true] {
        let nodes = NodeStore::with_options(&blocks, options(trusted));
        let error = Tree::open(&nodes, &keyless).unwrap_err();
        assert_eq!(
            error.to_string(),
            out_of_place(keyless, TreeFault::TopWithoutKeys)
        );
        let error = Tree::open(&nodes, &below_bottom).unwrap_err();
        assert_eq!(
            error.to_string(),
            out_of_place(below_bottom, TreeFault::BelowBottom)
        );
    }
}

#[test]
fn a_trusted_tree_does_not_have_a_key_on_two_levels() {
    let blocks = MemoryBlockStore::new();
    let [a0, b1, c0, d1, e0] = [("a", 0), ("b", 1), ("c", 0), ("d", 1), ("e", 0)]
        .map(|(prefix, height)| key_of_height(prefix, height));
    // The key of one level is on the other, which only a trusted store allows.
    let left = put(&blocks, None, &[(&a0, None), (&d1, None)]);
    let right = put(&blocks, None, &[(&c0, None), (&e0, None)]);
    for (root, bad, fault) in [
        (
            put(&blocks, Some(left), &[(&d1, None)]),
            left,
            TreeFault::KeyNotLess,
        ),
        (
            put(&blocks, None, &[(&b1, None), (&c0, Some(right))]),
            right,
            TreeFault::KeyNotGreater,
        ),
    ] {
        let nodes = NodeStore::with_options(&blocks, options(true));
        let tree = Tree::open(&nodes, &root).unwrap();
        let error = tree.entries().find_map(Result::err).unwrap();
        assert_eq!(error.to_string(), out_of_place(bad, fault));
    }
}

#[test]
fn a_key_that_a_trusted_tree_has_on_another_level_is_not_doubled() {
    let blocks = MemoryBlockStore::new();
    let [a0, b1, c2] = [("a", 0), ("b", 1), ("c", 2)].map(|(p, h)| key_of_height(p, h));
    // Key c2 on the bottom, beside one that belongs there.
    let bottom = put(&blocks, None, &[(&a0, None), (&c2, None)]);
    let value = dag_cbor_cid(b"");
    for (root, height) in [
        (bottom, 0),
        (
            put(&blocks, Some(bottom), &[(&key_of_height("d", 1), None)]),
            0,
        ),
        (put(&blocks, None, &[(&b1, None), (&c2, None)]), 1),
    ] {
        let nodes = NodeStore::with_options(&blocks, options(true));
        let mut tree = Tree::open(&nodes, &root).unwrap();
        assert_eq!(tree.get(c2.as_bytes()).unwrap(), Some(value));
        let error = tree.insert(c2.as_bytes(), &value).unwrap_err();
        let fault = TreeFault::Height {
            expected: height,
            found: 2,
        };
        let at = if root == bottom || height == 1 {
            root
        } else {
            bottom
        };
        assert_eq!(error.to_string(), out_of_place(at, fault));
        assert_untouched(&mut tree, &root);
        // But it can be removed, and the tree is then valid.
        assert_eq!(tree.remove(c2.as_bytes()).unwrap(), Some(value));
        assert_eq!(tree.root(), rebuilt(&tree));
        assert_eq!(tree.insert(c2.as_bytes(), &value).unwrap(), None);
        assert_eq!(tree.root(), rebuilt(&tree));
        tree.verify().unwrap();
    }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn whatever_lies_in_the_store_a_change_happens_as_a_whole_or_not_at_all(
        nodes in prop::collection::vec(any_node(), 1..12),
        changes in prop::collection::vec(any::<(Index, bool)>(), 1..25),
        trusted in any::<bool>(),
    ) {
        let blocks = MemoryBlockStore::new();
        let Some(root) = store_nodes(&blocks, &nodes) else { return Ok(()) };
        let nodes = NodeStore::with_options(&blocks, options(trusted));
        let Ok(mut tree) = Tree::open(&nodes, &root) else { return Ok(()) };
        let mut root = tree.root();
        let _ = tree.flush();
        for (key, insert) in changes {
            let key = key.get(&KEYS).as_bytes();
            let before = tree.clone();
            let changed = if insert {
                tree.insert(key, &value_of(1))
            } else {
                tree.remove(key)
            };
            if changed.is_ok() {
                let expected = insert.then(|| value_of(1));
                match tree.get(key) {
                    Ok(now) if insert || before.verify().is_ok() => {
                        prop_assert_eq!(now, expected);
                    }
                    // In place of the key there is now a subtree that its removal did not read. It may
                    // be missing or bad, and even have the key again, which was not allowed.
                    Ok(_) => {}
                    Err(error) => prop_assert!(!insert, "{}", error),
                }
                root = tree.root();
            } else {
                prop_assert_eq!(tree.root(), root);
                prop_assert_eq!(tree.flush().new, before.clone().flush().new);
                prop_assert_eq!(contents(&tree), contents(&before));
            }
        }
        let items: Vec<_> = tree.entries().collect();
        let keys: Vec<_> = items.iter().flatten().map(|(key, _)| *key).collect();
        prop_assert!(keys.is_sorted_by(|left, right| left < right));
        if tree.verify().is_ok() {
            prop_assert_eq!(tree.root(), rebuilt(&tree));
        } else if !trusted {
            prop_assert!(items.iter().any(Result::is_err));
        }
        let root = tree.root();
        let changes = tree.flush();
        prop_assert_eq!(changes.root, root);
        prop_assert!(changes.new.iter().all(|(cid, block)| dag_cbor_cid(block) == *cid));
        let fresh = MemoryBlockStore::new();
        fresh.put_many(&changes.new).unwrap();
        for (_, block) in &changes.new {
            prop_assert!(Node::decode(block).is_ok());
        }
    }
}

/// What a store may hold under some CID, linking to those before it.
#[derive(Debug, Clone)]
struct AnyNode {
    left: Option<Index>,
    entries: Vec<(Index, Option<Index>)>,
    missing: bool,
}

fn any_node() -> impl Strategy<Value = AnyNode> {
    let link = || prop::option::of(any::<Index>());
    let entries = prop::collection::vec((any::<Index>(), link()), 0..8);
    (link(), entries, prop::bool::weighted(0.1)).prop_map(|(left, entries, missing)| AnyNode {
        left,
        entries,
        missing,
    })
}

/// Puts `nodes` into a store and returns the CID of the last. Half of them get keys of one height
/// and links to the level below, so that not all trees are bad at first sight.
fn store_nodes(blocks: &MemoryBlockStore, nodes: &[AnyNode]) -> Option<Cid> {
    let mut made: Vec<Cid> = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        let recent = &made[made.len().saturating_sub(3)..];
        let link = |index: &Option<Index>| {
            index
                .filter(|_| !recent.is_empty())
                .map(|index| *index.get(recent))
        };
        let height = u8::try_from(at / 2 % 4).unwrap();
        let mut keys: Vec<(&str, Option<Cid>)> = node
            .entries
            .iter()
            .map(|(key, right)| (key.get::<String>(&KEYS).as_str(), link(right)))
            .filter(|(key, _)| at % 5 == 4 || height_of(key.as_bytes()) == height)
            .collect();
        keys.sort_unstable();
        keys.dedup_by_key(|(key, _)| *key);
        let mut builder = NodeBuilder::new(link(&node.left).as_ref()).unwrap();
        for (key, right) in keys {
            builder
                .push(key.as_bytes(), &value_of(0), right.as_ref())
                .unwrap();
        }
        let node_made = builder.finish();
        let cid = node_made.cid();
        if !node.missing {
            blocks.put(&cid, node_made.encode().into()).unwrap();
        }
        made.push(cid);
    }
    made.last().copied()
}

#[test]
fn what_a_removal_does_not_read_is_held_to_its_new_place() {
    // Key c0 is left of b1: not a tree. Without b1 it is in its place.
    let blocks = MemoryBlockStore::new();
    let [b1, c0, d1] = [("b", 1), ("c", 0), ("d", 1)].map(|(p, h)| key_of_height(p, h));
    let leaf = put(&blocks, None, &[(&c0, None)]);
    let root = put(&blocks, Some(leaf), &[(&b1, None), (&d1, None)]);
    let nodes = uncached(&blocks);
    let mut tree = Tree::open(&nodes, &root).unwrap();
    let mut warned = tree.clone();
    tree.remove(b1.as_bytes()).unwrap();
    assert_eq!(tree.root(), rebuilt(&tree));
    tree.verify().unwrap();

    let error = warned.verify().unwrap_err();
    assert_eq!(error.to_string(), out_of_place(leaf, TreeFault::KeyNotLess));
    assert_untouched(&mut warned, &root);
    // And from the other side, of which nothing is left but the key beside it.
    warned.remove(d1.as_bytes()).unwrap();
    assert_eq!(warned.verify().unwrap_err().to_string(), error.to_string());
}

// ---- Limits.

#[test]
fn a_node_does_not_grow_past_the_limit_of_entries() {
    let mut options = options(false);
    options.limits.entries = 3;
    // Two levels down, so that the merge goes through nodes that may become one.
    let sample = Sample::new("a0 b0 c1 d0 e0 f0 g2 h0 i0 j1 k0 l0");
    let nodes = NodeStore::with_options(&sample.blocks, options);
    let mut tree = Tree::open(&nodes, &sample.tree.root).unwrap();
    let key = |letter: usize| sample.keys_of_shape[letter].as_bytes();

    let fourth = key_of_height("e~", 0);
    let keys_len = [3, 4, 5]
        .map(|letter| key(letter).len())
        .iter()
        .sum::<usize>()
        + fourth.len();
    let refused = tree.insert(fourth.as_bytes(), &value_of(1));
    assert_too_large(refused, 4, keys_len);
    assert_untouched(&mut tree, &sample.tree.root);
    // Changing a value of the third is allowed.
    tree.insert(key(4), &value_of(50)).unwrap();
    tree.insert(key(4), &sample.map[&sample.keys_of_shape[4]])
        .unwrap();
    assert_untouched(&mut tree, &sample.tree.root);

    // Without g2 the node of d0 e0 f0 and that of h0 i0 become one.
    let keys_len = [3, 4, 5, 7, 8].map(|letter| key(letter).len()).iter().sum();
    assert_too_large(tree.remove(key(6)), 5, keys_len);
    assert_untouched(&mut tree, &sample.tree.root);
    // The same of c1, whose neighbours are a0 b0 and d0 e0 f0.
    assert!(matches!(
        tree.remove(key(2)),
        Err(Error::NodeTooLarge { entries: 5, .. })
    ));
    assert_untouched(&mut tree, &sample.tree.root);

    // As soon as they fit, it works.
    for letter in [3, 4] {
        assert!(tree.remove(key(6)).is_err());
        tree.remove(key(letter)).unwrap();
    }
    assert!(tree.remove(key(6)).unwrap().is_some());
    assert_eq!(tree.root(), rebuilt(&tree));
    tree.verify().unwrap();

    // What the changes made can be read back under the same limits.
    sample.blocks.put_many(&tree.flush().new).unwrap();
    assert_eq!(verify(&nodes, &tree.root()).unwrap().entries, 9);
}

#[test]
fn a_node_does_not_grow_past_the_limit_of_key_bytes() {
    let mut options = options(false);
    let sample = Sample::new("a0 b1 c0");
    let key = |letter: usize| sample.keys_of_shape[letter].as_bytes();
    let merged = key(0).len() + key(2).len();
    for (key_bytes, fits) in [(merged, true), (merged - 1, false)] {
        options.limits.key_bytes = key_bytes;
        let nodes = NodeStore::with_options(&sample.blocks, options);
        let mut tree = Tree::open(&nodes, &sample.tree.root).unwrap();
        let grown = key_of_height("a~", 0);
        assert_too_large(
            tree.insert(grown.as_bytes(), &value_of(1)),
            2,
            key(0).len() + grown.len(),
        );
        assert_untouched(&mut tree, &sample.tree.root);
        let removed = tree.remove(key(1));
        if fits {
            assert!(removed.unwrap().is_some());
            assert_eq!(tree.root(), rebuilt(&tree));
        } else {
            assert_too_large(removed, 2, merged);
            assert_untouched(&mut tree, &sample.tree.root);
        }
    }
}

#[test]
fn a_key_that_no_tree_can_have_is_refused() {
    let mut options = options(false);
    options.limits.key_len = 10;
    let sample = Sample::new("a0 b1 c0");
    let nodes = NodeStore::with_options(&sample.blocks, options);
    let mut tree = Tree::open(&nodes, &sample.tree.root).unwrap();
    let empty = tree.insert(b"", &value_of(1)).unwrap_err();
    assert!(
        matches!(empty, Error::InvalidKey(InvalidKey::Empty)),
        "{empty:?}"
    );
    let long = tree.insert(b"elevenbytes", &value_of(1)).unwrap_err();
    assert!(
        matches!(long, Error::InvalidKey(InvalidKey::TooLong { .. })),
        "{long:?}"
    );
    assert_untouched(&mut tree, &sample.tree.root);
    for key in [b"".as_slice(), b"elevenbytes"] {
        assert_eq!(tree.get(key).unwrap(), None);
        assert_eq!(tree.remove(key).unwrap(), None);
    }
    tree.insert(b"ten bytes!", &value_of(1)).unwrap();
    assert_eq!(tree.root(), rebuilt(&tree));
    // A node of the store with a longer key is not read either.
    options.limits.key_len = 1;
    let nodes = NodeStore::with_options(&sample.blocks, options);
    assert!(matches!(
        Tree::open(&nodes, &sample.tree.root),
        Err(Error::InvalidNode { .. })
    ));
}

#[test]
fn a_key_too_long_for_a_node_of_its_own_is_refused() {
    let mut options = options(false);
    options.limits.key_bytes = 8;
    let sample = Sample::new("a0 c2 e0");
    let nodes = NodeStore::with_options(&sample.blocks, options);
    // Into an existing node, into a new one below another, and into a new top.
    for (letter, height) in [("b~~~~~~~", 0), ("c~~~~~~~", 1), ("b~~~~~~~", 3)] {
        let mut tree = Tree::open(&nodes, &sample.tree.root).unwrap();
        let key = mined(letter, height);
        let refused = tree.insert(key.as_bytes(), &value_of(1));
        assert!(
            matches!(refused, Err(Error::NodeTooLarge { .. })),
            "{refused:?}"
        );
        assert_untouched(&mut tree, &sample.tree.root);
    }
}

#[test]
fn a_key_may_be_as_long_as_the_limits_of_the_store_say() {
    let mut options = options(false);
    options.limits.key_len = 4 << 20;
    let nodes = NodeStore::with_options(MemoryBlockStore::new(), options);
    let mut tree = Tree::empty(&nodes);
    let long = "l".repeat(2 << 20);
    for height in [0, 1] {
        let key = key_of_height(&long, height);
        tree.insert(key.as_bytes(), &value_of(1)).unwrap();
    }
    let changes = tree.flush();
    nodes.blocks().put_many(&changes.new).unwrap();
    assert_eq!(verify(&nodes, &changes.root).unwrap().entries, 2);
}

// ---- Clones and flushes.

/// Of several trees over one store, one is changed, read, flushed, or becomes another's clone.
#[derive(Debug, Clone)]
enum Step {
    Insert(usize, Index, u8),
    Remove(usize, Index),
    Clone(usize, usize),
    Read(usize, Index),
    ReadAll(usize),
    Root(usize),
    Flush(usize),
    Reopen(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let tree = || 0..3_usize;
    let key = any::<Index>;
    let step = prop_oneof![
        8 => (tree(), key(), 0..2_u8).prop_map(|(tree, key, value)| Step::Insert(tree, key, value)),
        8 => (tree(), key()).prop_map(|(tree, key)| Step::Remove(tree, key)),
        3 => (tree(), tree()).prop_map(|(from, to)| Step::Clone(from, to)),
        2 => (tree(), key()).prop_map(|(tree, key)| Step::Read(tree, key)),
        1 => tree().prop_map(Step::ReadAll),
        2 => tree().prop_map(Step::Root),
        3 => tree().prop_map(Step::Flush),
        2 => tree().prop_map(Step::Reopen),
    ];
    prop::collection::vec(step, 1..50)
}

/// A tree, its contents, and the nodes it had when it was opened or flushed last.
#[derive(Clone)]
struct Handle<'s> {
    tree: Tree<Arc<NodeStore<&'s MemoryBlockStore>>>,
    map: Map,
    saved: Option<BTreeSet<Cid>>,
}

impl Handle<'_> {
    fn flush(&mut self, blocks: &MemoryBlockStore) {
        let after = build_tree(&self.map);
        let changes = self.tree.flush();
        assert_eq!(changes.root, after.root);
        assert_children_first(&changes);
        let now: BTreeSet<Cid> = after.nodes.iter().map(|(cid, _)| *cid).collect();
        let before = self.saved.take().unwrap_or_default();
        assert_same(
            changes.new.iter().map(|(cid, _)| *cid),
            now.difference(&before),
        );
        assert_same(changes.removed.iter().copied(), before.difference(&now));
        let oracle: HashMap<Cid, Bytes> = after.nodes.into_iter().collect();
        assert!(changes.new.iter().all(|(cid, block)| oracle[cid] == *block));
        blocks.put_many(&changes.new).unwrap();
        self.saved = Some(now);
        let nothing = self.tree.flush();
        assert_eq!(
            (nothing.root, nothing.new, nothing.removed),
            (changes.root, vec![], vec![])
        );
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn clones_are_independent_and_each_flushes_what_it_changed(
        start in prop::collection::vec(any::<Index>(), 0..30),
        steps in steps(),
    ) {
        let blocks = MemoryBlockStore::new();
        let map: Map = start
            .iter()
            .map(|key| (key.get(&KEYS).clone(), value_of(0)))
            .collect();
        let stored = build_tree(&map);
        blocks.put_many(&stored.nodes).unwrap();
        let nodes = || Arc::new(uncached(&blocks));
        let opened = Handle {
            tree: Tree::open(nodes(), &stored.root).unwrap(),
            map,
            saved: Some(stored.nodes.iter().map(|(cid, _)| *cid).collect()),
        };
        let new = Handle {
            tree: Tree::empty(nodes()),
            map: Map::new(),
            saved: None,
        };
        // Two trees that share a top from which nothing is loaded yet, and one apart.
        let mut handles = [opened.clone(), opened, new];
        for step in steps {
            match step {
                Step::Insert(at, key, value) => {
                    let (key, value) = (key.get(&KEYS), value_of(value));
                    let handle = &mut handles[at];
                    let previous = handle.tree.insert(key.as_bytes(), &value).unwrap();
                    prop_assert_eq!(previous, handle.map.insert(key.clone(), value));
                }
                Step::Remove(at, key) => {
                    let (key, handle) = (key.get::<String>(&KEYS), &mut handles[at]);
                    let previous = handle.tree.remove(key.as_bytes()).unwrap();
                    prop_assert_eq!(previous, handle.map.remove(key));
                }
                Step::Clone(from, to) => handles[to] = handles[from].clone(),
                Step::Read(at, key) => {
                    let key = key.get::<String>(&KEYS);
                    let found = handles[at].tree.get(key.as_bytes()).unwrap();
                    prop_assert_eq!(found, handles[at].map.get(key).copied());
                }
                Step::ReadAll(at) => {
                    let found = handles[at].tree.to_map().unwrap();
                    let expected = handles[at].map.iter();
                    prop_assert!(found.into_iter().eq(
                        expected.map(|(key, value)| (key.clone().into_bytes(), *value))
                    ));
                }
                Step::Root(at) => {
                    prop_assert_eq!(handles[at].tree.root(), build_tree(&handles[at].map).root);
                }
                Step::Flush(at) => handles[at].flush(&blocks),
                Step::Reopen(at) => {
                    handles[at].flush(&blocks);
                    let root = handles[at].tree.root();
                    handles[at].tree = Tree::open(nodes(), &root).unwrap();
                }
            }
        }
        for handle in &mut handles {
            handle.flush(&blocks);
            let summary = handle.tree.verify().unwrap();
            prop_assert_eq!(summary, verify(&uncached(&blocks), &handle.tree.root()).unwrap());
        }
    }
}

#[test]
fn what_is_loaded_after_a_clone_is_not_seen_as_changed() {
    let sample = Sample::new("a0 b1 c0 d2 e0 f1 g0");
    let mut tree = open(&sample.blocks, &sample.tree.root).unwrap();
    let mut clone = tree.clone();
    // Loaded through the original, in nodes that both share.
    assert!(
        tree.get(sample.keys_of_shape[0].as_bytes())
            .unwrap()
            .is_some()
    );
    for (cid, _) in &sample.tree.nodes[1..] {
        sample.blocks.delete(cid).unwrap();
    }
    assert!(
        clone
            .get(sample.keys_of_shape[0].as_bytes())
            .unwrap()
            .is_some()
    );
    clone
        .insert(sample.keys_of_shape[0].as_bytes(), &value_of(70))
        .unwrap();
    assert_untouched(&mut tree, &sample.tree.root);
    assert_eq!(clone.flush().removed.len(), 3);
    assert_untouched(&mut tree, &sample.tree.root);
}

#[test]
fn changes_that_were_undone_give_nothing() {
    for shape in SHAPES {
        let sample = Sample::new(shape);
        for change in sample.changes() {
            let mut tree = open(&sample.blocks, &sample.tree.root).unwrap();
            change.apply(&mut tree).unwrap();
            if change.asks_root {
                tree.root();
            }
            match sample.map.get(&change.key) {
                Some(value) => tree.insert(change.key.as_bytes(), value).unwrap(),
                None => tree.remove(change.key.as_bytes()).unwrap(),
            };
            assert_untouched(&mut tree, &sample.tree.root);
        }
    }
}

#[test]
fn asking_for_the_root_loses_no_blocks() {
    for shape in SHAPES {
        let sample = Sample::new(shape);
        for change in sample.changes() {
            let mut asked = open(&sample.blocks, &sample.tree.root).unwrap();
            let mut silent = asked.clone();
            change.apply(&mut asked).unwrap();
            change.apply(&mut silent).unwrap();
            assert_eq!(asked.root(), change.after.root);
            assert_eq!(asked.clone().flush(), silent.flush());
            assert_changes(&asked.flush(), &sample.tree, &change.after);
        }
    }
}

#[test]
fn the_empty_tree_has_a_node_that_comes_and_goes() {
    let empty = Node::empty();
    let node = (empty.cid(), Bytes::from(empty.encode()));
    let a0 = key_of_height("a", 0);
    let b3 = key_of_height("b", 3);

    // Never stored: its node is new, once.
    let mut tree = Tree::new();
    assert!(tree.is_empty());
    assert_eq!(tree.root(), node.0);
    let changes = tree.flush();
    assert_eq!(
        (&changes.new, changes.removed.len()),
        (&vec![node.clone()], 0)
    );
    assert_eq!(tree.flush().new, []);

    for key in [&a0, &b3] {
        tree.insert(key.as_bytes(), &value_of(1)).unwrap();
        assert!(!tree.is_empty());
        let one = tree.flush();
        assert_eq!((one.new.len(), &one.removed), (1, &vec![node.0]));
        tree.remove(key.as_bytes()).unwrap();
        assert!(tree.is_empty());
        let gone = tree.flush();
        assert_eq!(
            (&gone.new, &gone.removed),
            (&vec![node.clone()], &vec![one.root])
        );
        assert_eq!(gone.root, node.0);
        // Nobody has seen the one in between.
        tree.insert(key.as_bytes(), &value_of(1)).unwrap();
        tree.remove(key.as_bytes()).unwrap();
        assert_untouched(&mut tree, &node.0);
    }

    // In a tree that was not returned while it was empty, that node never existed.
    let mut tree = Tree::new();
    tree.insert(b3.as_bytes(), &value_of(1)).unwrap();
    let changes = tree.flush();
    assert_eq!((changes.new.len(), changes.removed.len()), (1, 0));

    // Opened, it is as if it had been flushed.
    let blocks = MemoryBlockStore::new();
    blocks.put(&node.0, node.1.clone()).unwrap();
    let mut tree = open(&blocks, &node.0).unwrap();
    assert!(tree.is_empty() && tree.entries().next().is_none());
    assert_untouched(&mut tree, &node.0);
    assert_eq!(tree.remove(a0.as_bytes()).unwrap(), None);
    assert_untouched(&mut tree, &node.0);
    tree.insert(a0.as_bytes(), &value_of(1)).unwrap();
    assert_eq!(tree.flush().removed, [node.0]);
}

#[test]
fn a_key_high_above_the_others_raises_and_lowers_the_tree() {
    let high = key_of_height("m", 9);
    let low: Vec<String> = ["a", "b", "y", "z"]
        .map(|letter| key_of_height(letter, 0))
        .into();
    let mut map: Map = low.iter().map(|key| (key.clone(), value_of(0))).collect();
    let blocks = MemoryBlockStore::new();
    let flat = build_tree(&map);
    assert_eq!(flat.nodes.len(), 1);
    map.insert(high.clone(), value_of(1));
    let tall = build_tree(&map);
    // The top, and on either side a leaf under eight nodes without keys.
    assert_eq!(tall.nodes.len(), 19);
    blocks.put_many(&flat.nodes).unwrap();
    blocks.put_many(&tall.nodes).unwrap();

    let mut tree = open(&blocks, &flat.root).unwrap();
    tree.insert(high.as_bytes(), &value_of(1)).unwrap();
    assert_eq!(tree.verify().unwrap().height, 9);
    assert_changes(&tree.flush(), &flat, &tall);

    // From what was made in memory, and from what is in the store.
    for mut tree in [tree, open(&blocks, &tall.root).unwrap()] {
        for cid in [tall.nodes[9].0, tall.nodes[18].0] {
            blocks.delete(&cid).unwrap();
        }
        if let Err(error) = tree.remove(high.as_bytes()) {
            assert!(matches!(error, Error::MissingBlock(cid) if cid == tall.nodes[9].0));
            assert_untouched(&mut tree, &tall.root);
            blocks.put_many(&tall.nodes[..10]).unwrap();
            let error = tree.remove(high.as_bytes()).unwrap_err();
            assert!(matches!(error, Error::MissingBlock(cid) if cid == tall.nodes[18].0));
            assert_untouched(&mut tree, &tall.root);
            blocks.put_many(&tall.nodes).unwrap();
            tree.remove(high.as_bytes()).unwrap();
        }
        assert_changes(&tree.flush(), &tall, &flat);
        blocks.put_many(&tall.nodes).unwrap();
    }

    // With one side only, and that side empty in the end.
    let mut tree = open(&blocks, &tall.root).unwrap();
    for key in &low[2..] {
        tree.remove(key.as_bytes()).unwrap();
    }
    assert_eq!(tree.verify().unwrap().nodes, 10);
    assert_eq!(tree.root(), rebuilt(&tree));
    tree.remove(high.as_bytes()).unwrap();
    assert_eq!(tree.verify().unwrap().height, 0);
    assert_eq!(tree.root(), rebuilt(&tree));
    for key in &low[..2] {
        tree.remove(key.as_bytes()).unwrap();
    }
    assert_eq!(tree.flush().root, Node::empty().cid());
}

#[test]
fn of_entries_with_the_same_key_the_last_counts() {
    let pairs = [("a", 1), ("b", 2), ("a", 3)].map(|(key, value)| (key, value_of(value)));
    let tree = Tree::from_entries(pairs).unwrap();
    assert_eq!(tree.get(b"a").unwrap(), Some(value_of(3)));
    assert_eq!(tree.root(), rebuilt(&tree));
    let refused = Tree::from_entries([("a", value_of(1)), ("", value_of(1))]);
    assert!(matches!(refused, Err(Error::InvalidKey(InvalidKey::Empty))));
}

// ---- Threads.

#[test]
fn threads_that_share_a_tree_all_find_what_is_there() {
    let map: Map = (0..3_000_u32)
        .map(|n| {
            (
                format!("key/{n:04}"),
                value_of(u8::try_from(n % 7).unwrap()),
            )
        })
        .collect();
    let stored = build_tree(&map);
    let blocks = MemoryBlockStore::new();
    blocks.put_many(&stored.nodes).unwrap();
    for cache_bytes in [0, 1 << 20] {
        let mut options = options(false);
        options.cache_bytes = cache_bytes;
        let nodes = NodeStore::with_options(&blocks, options);
        let tree = Tree::open(&nodes, &stored.root).unwrap();
        let (tree, map) = (&tree, &map);
        std::thread::scope(|scope| {
            for thread in 0..4_usize {
                scope.spawn(move || {
                    let keys: Vec<_> = map.iter().collect();
                    for step in 0..keys.len() {
                        // The same keys in other orders, from both ends and across.
                        let at = [step, keys.len() - 1 - step, step * 7, step * 1_009][thread];
                        let (key, value) = keys[at % keys.len()];
                        assert_eq!(tree.get(key.as_bytes()).unwrap(), Some(*value));
                        let absent = format!("{key}~");
                        assert_eq!(tree.get(absent.as_bytes()).unwrap(), None);
                    }
                    if thread == 0 {
                        let mut clone = tree.clone();
                        clone.remove(keys[0].0.as_bytes()).unwrap();
                        assert_ne!(clone.root(), tree.root());
                    } else {
                        assert_eq!(tree.entries().map(Result::unwrap).count(), map.len());
                        assert_eq!(tree.verify().unwrap().entries, map.len() as u64);
                    }
                });
            }
        });
        assert_eq!(tree.root(), stored.root);
        assert_untouched(&mut tree.clone(), &stored.root);
    }
}

// ---- What the tests share.

/// A tree in a store.
struct Sample {
    shape: &'static str,
    keys_of_shape: Vec<String>,
    map: Map,
    tree: SampleTree,
    nodes: HashMap<Cid, Node>,
    blocks: MemoryBlockStore,
}

/// An insert or a removal.
struct Change {
    key: String,
    value: Option<Cid>,
    /// The blocks without which it cannot be done.
    needed: BTreeSet<Cid>,
    after: SampleTree,
    /// Whether the root is requested in between: every other time.
    asks_root: bool,
}

impl Change {
    fn apply(&self, tree: &mut Tree<impl NodeSource>) -> Result<Option<Cid>, Error> {
        match &self.value {
            Some(value) => tree.insert(self.key.as_bytes(), value),
            None => tree.remove(self.key.as_bytes()),
        }
    }
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.value.is_some() {
            "insert"
        } else {
            "remove"
        };
        write!(f, "{kind} {:?}", self.key)
    }
}

impl Sample {
    fn new(shape: &'static str) -> Self {
        let keys: Vec<String> = shape
            .split(' ')
            .map(|key| mined(&key[..1], key[1..].parse().unwrap()))
            .collect();
        let map: Map = keys
            .iter()
            .zip(1..)
            .map(|(key, n)| (key.clone(), value_of(n)))
            .collect();
        let tree = build_tree(&map);
        let blocks = MemoryBlockStore::new();
        blocks.put_many(&tree.nodes).unwrap();
        let nodes = tree
            .nodes
            .iter()
            .map(|(cid, block)| (*cid, Node::decode(block).unwrap()))
            .collect();
        Self {
            shape,
            keys_of_shape: keys,
            map,
            tree,
            nodes,
            blocks,
        }
    }

    /// The keys of the tree, and on either side of each some others, of heights from the bottom
    /// to above the top.
    fn keys(&self) -> Vec<String> {
        let mut keys = self.keys_of_shape.clone();
        let top = self.top_height();
        let mut heights = vec![0, 1, top, top + 1];
        heights.sort_unstable();
        heights.dedup();
        for before in std::iter::once("A").chain(self.keys_of_shape.iter().map(|key| &key[..1])) {
            for height in &heights {
                keys.push(mined(&format!("{before}~"), *height));
            }
        }
        keys
    }

    fn top_height(&self) -> u8 {
        let heights = self.map.keys().map(|key| height_of(key.as_bytes()));
        heights.max().unwrap_or(0)
    }

    /// Everything that one key can do to the tree.
    fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        for key in self.keys() {
            for value in [Some(value_of(100)), None] {
                let mut map = self.map.clone();
                match value {
                    Some(value) => map.insert(key.clone(), value),
                    None => map.remove(&key),
                };
                let after = build_tree(&map);
                changes.push(Change {
                    needed: self.needed(&key, value.is_some(), &after),
                    key: key.clone(),
                    value,
                    after,
                    asks_root: changes.len() % 2 == 0,
                });
            }
        }
        changes
    }

    /// The blocks that it takes to insert or remove `key`.
    fn needed(&self, key: &str, insert: bool, after: &SampleTree) -> BTreeSet<Cid> {
        let way = self.way(key);
        if insert {
            // All nodes between whose keys it would be: they get it, or are cut in two, or are
            // needed to know that they are not.
            return way.into_iter().map(|(_, cid)| cid).collect();
        }
        if !self.map.contains_key(key) {
            let height = height_of(key.as_bytes());
            let could_hold = way.into_iter().filter(|(level, _)| *level >= height);
            return could_hold.map(|(_, cid)| cid).collect();
        }
        // Those that change or disappear, and the new top, which has to prove that it can be one.
        let now: BTreeSet<Cid> = after.nodes.iter().map(|(cid, _)| *cid).collect();
        let before = self.tree.nodes.iter().map(|(cid, _)| *cid);
        before
            .filter(|cid| !now.contains(cid) || *cid == after.root)
            .collect()
    }

    /// The nodes where `key` is or would be, from the top down, with their heights.
    fn way(&self, key: &str) -> Vec<(u8, Cid)> {
        let mut way = Vec::new();
        let mut next = Some((self.top_height(), self.tree.root));
        while let Some((height, cid)) = next {
            way.push((height, cid));
            next = match self.nodes[&cid].find(key.as_bytes()) {
                Ok(_) => None,
                Err(slot) => self.nodes[&cid].subtree(slot).map(|cid| (height - 1, cid)),
            };
        }
        way
    }

    /// Each block below the top, and each pair of them.
    fn gaps(&self) -> Vec<Vec<Cid>> {
        let cids: Vec<Cid> = self.tree.nodes[1..].iter().map(|(cid, _)| *cid).collect();
        let mut gaps = Vec::new();
        for (at, cid) in cids.iter().enumerate() {
            gaps.push(vec![*cid]);
            gaps.extend(cids[at + 1..].iter().map(|other| vec![*cid, *other]));
        }
        gaps
    }

    fn put_back(&self, cid: &Cid) {
        let node = self.nodes[cid].encode();
        self.blocks.put(cid, node.into()).unwrap();
    }

    /// The entries below `cid`, and in their place the missing subtrees.
    fn expected_entries(&self, cid: &Cid, gone: &[Cid]) -> Vec<Result<(String, Cid), Cid>> {
        if gone.contains(cid) {
            return vec![Err(*cid)];
        }
        let node = &self.nodes[cid];
        let mut items = Vec::new();
        for slot in 0..=node.len() {
            if let Some(below) = node.subtree(slot) {
                items.extend(self.expected_entries(&below, gone));
            }
            if let (Some(key), Some(value)) = (node.key(slot), node.value(slot)) {
                items.push(Ok((String::from_utf8(key.to_vec()).unwrap(), value)));
            }
        }
        items
    }
}

/// A store whose n-th read from now fails, and the next does not.
struct Failing<'b> {
    blocks: &'b MemoryBlockStore,
    /// 0 for never.
    fail_at: AtomicUsize,
}

impl<'b> Failing<'b> {
    fn new(blocks: &'b MemoryBlockStore) -> Self {
        Self {
            blocks,
            fail_at: AtomicUsize::new(0),
        }
    }
}

impl BlockStore for Failing<'_> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        let left = self.fail_at.load(Ordering::Relaxed);
        self.fail_at
            .store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 1 {
            return Err(StoreError::backend("the disk is on fire"));
        }
        self.blocks.get(cid)
    }
}

fn uncached<S: BlockStore>(blocks: S) -> NodeStore<S> {
    NodeStore::with_options(blocks, options(false))
}

fn open<'b>(
    blocks: &'b MemoryBlockStore,
    root: &Cid,
) -> Result<Tree<Arc<NodeStore<&'b MemoryBlockStore>>>, Error> {
    Tree::open(Arc::new(uncached(blocks)), root)
}

fn options(trusted: bool) -> NodeStoreOptions {
    NodeStoreOptions {
        trusted,
        ..NodeStoreOptions::uncached()
    }
}

fn put(blocks: &MemoryBlockStore, left: Option<Cid>, entries: &[(&str, Option<Cid>)]) -> Cid {
    let mut builder = NodeBuilder::new(left.as_ref()).unwrap();
    for (key, right) in entries {
        builder
            .push(key.as_bytes(), &dag_cbor_cid(b""), right.as_ref())
            .unwrap();
    }
    let node = builder.finish();
    blocks.put(&node.cid(), node.encode().into()).unwrap();
    node.cid()
}

fn value_of(n: u8) -> Cid {
    if n % 3 == 2 {
        raw_cid(&[n])
    } else {
        dag_cbor_cid(&[n])
    }
}

/// As [`key_of_height`], each key found only once.
fn mined(prefix: &str, height: u8) -> String {
    static MINED: LazyLock<Mutex<HashMap<(String, u8), String>>> = LazyLock::new(Mutex::default);
    let mut mined = MINED.lock().unwrap();
    mined
        .entry((prefix.to_owned(), height))
        .or_insert_with(|| key_of_height(prefix, height))
        .clone()
}

/// Keys of many heights, spread so that neighbours are far apart in height.
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let heights = [0, 1, 0, 2, 0, 3, 1, 0, 5, 0, 1, 2, 0, 1, 0, 4];
    (0..32_usize)
        .map(|n| key_of_height(&format!("k{n:02}/"), heights[n % heights.len()]))
        .collect()
});

/// What a tree holds, errors included.
fn contents(tree: &Tree<impl NodeSource>) -> Vec<String> {
    tree.entries().map(|entry| format!("{entry:?}")).collect()
}

/// The root of the tree of the same entries, built the obvious way.
fn rebuilt(tree: &Tree<impl NodeSource>) -> Cid {
    let map = tree.to_map().unwrap().into_iter();
    let map = map.map(|(key, value)| (String::from_utf8(key).unwrap(), value));
    build_tree(&map.collect()).root
}

/// Checks that nothing happened to a tree since it was opened or flushed.
fn assert_untouched(tree: &mut Tree<impl NodeSource>, root: &Cid) {
    assert_eq!(tree.root(), *root);
    let changes = tree.flush();
    assert_eq!(
        (changes.root, changes.new, changes.removed),
        (*root, vec![], vec![])
    );
    assert_eq!(tree.root(), *root);
}

/// Checks that `changes` lead from the nodes of one tree to those of another.
fn assert_changes(changes: &Changes, before: &SampleTree, after: &SampleTree) {
    let cids =
        |tree: &SampleTree| -> BTreeSet<Cid> { tree.nodes.iter().map(|(cid, _)| *cid).collect() };
    let (before, now) = (cids(before), cids(after));
    assert_eq!(changes.root, after.root);
    assert_children_first(changes);
    assert_same(
        changes.new.iter().map(|(cid, _)| *cid),
        now.difference(&before),
    );
    assert_same(changes.removed.iter().copied(), before.difference(&now));
    for node in &changes.new {
        assert!(after.nodes.contains(node));
    }
}

fn assert_children_first(changes: &Changes) {
    let mut to_come: BTreeSet<Cid> = changes.new.iter().map(|(cid, _)| *cid).collect();
    for (cid, block) in &changes.new {
        let node = Node::decode(block).unwrap();
        to_come.remove(cid);
        let links = (0..=node.len()).filter_map(|slot| node.subtree(slot));
        assert!(links.into_iter().all(|link| !to_come.contains(&link)));
    }
}

/// Checks that `found` are `expected`, each once, in any order.
fn assert_same<'c>(found: impl Iterator<Item = Cid>, expected: impl Iterator<Item = &'c Cid>) {
    let mut found: Vec<Cid> = found.collect();
    found.sort_unstable();
    assert_eq!(found, expected.copied().collect::<Vec<_>>());
}

fn assert_missing<T: std::fmt::Debug>(result: Result<T, Error>, missing: &Cid) {
    match result {
        Err(Error::MissingBlock(cid)) if cid == *missing => {}
        other => panic!("block {missing} is missing, but: {other:?}"),
    }
}

fn assert_too_large(result: Result<Option<Cid>, Error>, of_entries: usize, of_bytes: usize) {
    match result {
        Err(Error::NodeTooLarge { entries, keys_len }) => {
            assert_eq!((entries, keys_len), (of_entries, of_bytes));
        }
        other => panic!("a node too large, but: {other:?}"),
    }
}

fn out_of_place(cid: Cid, fault: TreeFault) -> String {
    Error::InvalidTree { cid, fault }.to_string()
}

fn invalid_node(cid: Cid, source: InvalidNode) -> String {
    let source = Box::new(source);
    Error::InvalidNode { cid, source }.to_string()
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
