//! The danger: an answer about something that is not a tree. Nodes whose hashes are honest, but
//! which are in the wrong place, occur twice, or have more paths through them than anybody has time
//! for. A diff, a proof or an inversion that believes them gives a wrong answer, or none at all in
//! a lifetime.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Bound;

use blockstore_core::{
    BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, StoreError, dag_cbor_cid, raw_cid,
};
use mst_node::NodeBuilder;
use mst_ops::{
    Claim, Diff, Error, InvertError, NodeStore, NodeStoreOptions, NodeWalker, Operation, Proof,
    ProofError, Prover, Tree, TreeFault, verify,
};
use mst_testkit::key_of_height;

// ---- A diff of what is not a tree.

#[test]
fn a_top_on_the_bottom_has_no_subtrees() {
    let blocks = MemoryBlockStore::new();
    let leaf = put(&blocks, None, &[(&key("b", 0), None)]);
    let bad = put(&blocks, Some(leaf), &[(&key("m", 0), None)]);
    let good = put(&blocks, None, &[(&key("m", 0), None)]);
    for (old, new) in [(good, bad), (bad, good)] {
        let error = diff(&blocks, &old, &new).unwrap_err();
        let fault = TreeFault::BelowBottom;
        assert!(
            matches!(&error, Error::InvalidTree { cid, fault: found } if *cid == bad && *found == fault),
            "{error}"
        );
    }
}

/// The ways in which a node can be out of place: the node, the fault, and the root above it.
fn misfits(blocks: &MemoryBlockStore) -> Vec<(Cid, TreeFault, Cid)> {
    let (b, d) = (key("b", 1), key("d", 1));
    let [low, middle, high] = ["a", "c", "e"].map(|prefix| key(prefix, 0));
    let leaf = |key: &str| put(blocks, None, &[(key, None)]);
    let nothing = put(blocks, None, &[]);
    let height = |expected, found| TreeFault::Height { expected, found };
    let mut found = Vec::new();
    let mut add = |node: Cid, fault, root| found.push((node, fault, root));

    // Too high, too low, on the same level.
    let node = put(blocks, None, &[(&key("a", 2), None)]);
    add(node, height(0, 2), put(blocks, Some(node), &[(&b, None)]));
    let node = put(blocks, None, &[(&key("a", 1), None)]);
    add(node, height(0, 1), put(blocks, Some(node), &[(&b, None)]));
    let root = put(blocks, Some(leaf(&low)), &[(&key("b", 2), None)]);
    add(leaf(&low), height(1, 0), root);
    // A level of keyless nodes too many.
    let between = put(blocks, Some(leaf(&low)), &[]);
    add(
        between,
        TreeFault::BelowBottom,
        put(blocks, Some(between), &[(&b, None)]),
    );
    // Nothing, and nothing below nothing.
    add(
        nothing,
        TreeFault::Empty,
        put(blocks, Some(nothing), &[(&b, None)]),
    );
    let between = put(blocks, Some(nothing), &[]);
    let root = put(blocks, None, &[(&key("b", 2), Some(between))]);
    add(nothing, TreeFault::Empty, root);
    // Out of range, on each side; and the same subtree twice.
    for (key, slot, fault) in [
        (&middle, 0, TreeFault::KeyNotLess),
        (&high, 0, TreeFault::KeyNotLess),
        (&low, 1, TreeFault::KeyNotGreater),
        (&high, 1, TreeFault::KeyNotLess),
        (&low, 2, TreeFault::KeyNotGreater),
        (&middle, 2, TreeFault::KeyNotGreater),
    ] {
        let mut slots = [None; 3];
        slots[slot] = Some(leaf(key));
        let root = put(blocks, slots[0], &[(&b, slots[1]), (&d, slots[2])]);
        add(leaf(key), fault, root);
    }
    // Out of range of a key that is two levels above.
    let (first, last) = (leaf(&key("a", 0)), leaf(&key("z", 0)));
    let left = put(blocks, None, &[(&key("b", 1), Some(last))]);
    let root = put(blocks, Some(left), &[(&key("m", 2), None)]);
    add(last, TreeFault::KeyNotLess, root);
    let right = put(blocks, Some(first), &[(&key("y", 1), None)]);
    let root = put(blocks, None, &[(&key("m", 2), Some(right))]);
    add(first, TreeFault::KeyNotGreater, root);
    let node = leaf(&low);
    let root = put(blocks, Some(node), &[(&b, Some(node))]);
    add(node, TreeFault::KeyNotGreater, root);
    found
}

#[test]
fn a_node_out_of_place_in_either_tree_is_named() {
    let blocks = MemoryBlockStore::new();
    let other = put(&blocks, None, &[(&key("x", 0), None)]);
    for (node, fault, root) in misfits(&blocks) {
        assert_named(&blocks, [root, other], node, fault);
    }
}

/// With the empty tree on the other side every node is read, so none can be out of place. The one
/// node of the empty tree must not be in another tree, and may be in both here.
#[test]
fn a_node_out_of_place_is_named_also_beside_the_empty_tree() {
    let blocks = MemoryBlockStore::new();
    let empty = put(&blocks, None, &[]);
    for (node, fault, root) in misfits(&blocks) {
        assert_named(&blocks, [root, empty], node, fault);
    }
}

/// Asserts that the diff of two trees, in both directions, names `node` as out of place.
fn assert_named(blocks: &MemoryBlockStore, [one, other]: [Cid; 2], node: Cid, fault: TreeFault) {
    let expected = Error::InvalidTree { cid: node, fault };
    for (old, new) in [(one, other), (other, one)] {
        let error = diff(blocks, &old, &new).unwrap_err();
        assert_eq!(error.to_string(), expected.to_string());
    }
}

#[test]
fn a_top_without_keys_is_refused_in_either_tree() {
    let blocks = MemoryBlockStore::new();
    let leaf = put(&blocks, None, &[(&key("a", 0), None)]);
    let top = put(&blocks, Some(leaf), &[]);
    for (old, new) in [(top, leaf), (leaf, top), (top, top)] {
        let error = diff(&blocks, &old, &new).unwrap_err();
        assert!(
            matches!(error, Error::InvalidTree { cid, fault: TreeFault::TopWithoutKeys } if cid == top)
        );
    }
}

/// A store that assumes trees to be well-formed has not computed the heights of all keys, and then
/// those of one tree say nothing about the other.
#[test]
fn heights_that_were_not_looked_at_are_not_passed_on() {
    let blocks = MemoryBlockStore::new();
    let (high, low, top) = (key("a", 1), key("b", 0), key("y", 2));
    let mut keys = vec![(high.as_str(), None), (low.as_str(), None)];
    let mixed = put(&blocks, None, &keys);
    let old = put(&blocks, Some(mixed), &[(&top, None)]);
    let more = key("c", 1);
    keys.push((&more, None));
    let mixed = put(&blocks, None, &keys);
    let new = put(&blocks, Some(mixed), &[(&top, None)]);
    let options = NodeStoreOptions {
        trusted: true,
        ..NodeStoreOptions::default()
    };
    let trusted = NodeStore::with_options(&blocks, options);
    assert_eq!(Diff::new(&trusted, &old, &trusted, &new).unwrap().len(), 1);
    for cache_bytes in [0, 1 << 20] {
        let options = NodeStoreOptions {
            cache_bytes,
            ..NodeStoreOptions::default()
        };
        let nodes = NodeStore::with_options(&blocks, options);
        let error = Diff::new(&trusted, &old, &nodes, &new).unwrap_err();
        assert!(matches!(error, Error::InvalidNode { cid, .. } if cid == mixed));
    }
}

/// A tree that links to a node twice is not valid; what differs from the other tree is named once.
#[test]
fn a_subtree_that_stands_twice_is_left_out_or_refused() {
    let blocks = MemoryBlockStore::new();
    let leaf = put(&blocks, None, &[(&key("m", 0), None)]);
    let keyless = put(&blocks, Some(leaf), &[]);
    let (b, y) = (key("b", 2), key("y", 2));
    let both = put(&blocks, None, &[(&b, Some(keyless)), (&y, None)]);
    let elsewhere = put(&blocks, Some(keyless), &[(&b, Some(keyless)), (&y, None)]);
    let nodes = NodeStore::new(&blocks);
    for (old, new) in [(both, elsewhere), (elsewhere, both)] {
        let diff = Diff::new(&nodes, &old, &nodes, &new).unwrap();
        assert_eq!(
            (diff.deleted(), diff.created()),
            ([old].as_slice(), [new].as_slice())
        );
        assert_eq!(diff.count(), 0);
    }
    // Without the subtree, but with what is below it.
    let beside = put(&blocks, None, &[(&key("x", 1), None)]);
    let low = put(&blocks, Some(leaf), &[(&key("p", 1), None)]);
    let other = put(&blocks, Some(beside), &[(&b, Some(low)), (&y, None)]);
    let diff = Diff::new(&nodes, &elsewhere, &nodes, &other).unwrap_err();
    assert!(matches!(
        diff,
        Error::InvalidTree {
            fault: TreeFault::Repeated,
            ..
        }
    ));
}

/// Also where the first place is the right one, and keys below the other are never looked at.
#[test]
fn a_node_without_keys_that_stands_twice_is_refused() {
    let blocks = MemoryBlockStore::new();
    let empty = put(&blocks, None, &[]);
    let (b, y) = (key("b", 2), key("y", 2));
    let leaf = put(&blocks, None, &[(&key("m", 0), None)]);
    let keyless = put(&blocks, Some(leaf), &[]);
    let tree = put(&blocks, None, &[(&b, Some(keyless)), (&y, Some(keyless))]);
    let nodes = NodeStore::new(&blocks);
    assert!(verify(&nodes, &tree).is_err());
    for (old, new) in [(empty, tree), (tree, empty)] {
        let error = Diff::new(&nodes, &old, &nodes, &new).unwrap_err();
        assert!(
            matches!(&error, Error::InvalidTree { cid, fault: TreeFault::Repeated } if *cid == keyless),
            "{error:?}"
        );
    }
}

// ---- More paths than nodes.

/// Nodes whose nine slots all lead to the one below: 9 to the power of `height` paths down, over
/// nodes each of which is fine.
fn bomb(blocks: &MemoryBlockStore, height: u8) -> Cid {
    let mut below = None;
    for height in 0..=height {
        let keys: Vec<String> = (1..9)
            .map(|n| key(&format!("{n}{height}"), height))
            .collect();
        let entries: Vec<_> = keys.iter().map(|key| (key.as_str(), below)).collect();
        below = Some(put(blocks, below, &entries));
    }
    below.unwrap()
}

#[test]
fn many_ways_to_the_same_nodes_are_not_all_gone() {
    let blocks = MemoryBlockStore::new();
    let root = bomb(&blocks, 5);
    let other = put(&blocks, None, &[(&key("x", 0), None)]);
    for (old, new) in [(root, other), (other, root)] {
        let watched = Watched::new(&blocks);
        let error = diff(&watched, &old, &new).unwrap_err();
        assert!(matches!(error, Error::InvalidTree { .. }));
        assert!(watched.reads() < 40, "{}", watched.reads());
    }
    assert_eq!(diff(&blocks, &root, &root).unwrap(), []);

    let watched = Watched::new(&blocks);
    let nodes = uncached(&watched);
    let tree = Tree::open(&nodes, &root).unwrap();
    let error = tree.invert(&[]).unwrap_err();
    assert!(matches!(
        error,
        InvertError::Tree(Error::InvalidTree { .. })
    ));
    let mut prover = Prover::new(&nodes, &root).unwrap();
    assert!(matches!(prover.prefix(b""), Err(Error::InvalidTree { .. })));
    assert!(watched.reads() < 200, "{}", watched.reads());
}

/// Nodes without keys break no order, however many paths lead to them. What is below them is
/// missing, so nothing ends the walk; but there are never more steps than links and levels.
#[test]
fn many_ways_to_a_missing_node_take_no_more_than_links_times_levels() {
    let blocks = MemoryBlockStore::new();
    let mut chain = dag_cbor_cid(b"missing");
    for _ in 0..4 {
        chain = put(&blocks, Some(chain), &[]);
    }
    let keys: Vec<String> = (10..60).map(|n| key(&format!("k{n}"), 5)).collect();
    let entries: Vec<_> = keys.iter().map(|key| (key.as_str(), Some(chain))).collect();
    let root = put(&blocks, Some(chain), &entries);

    let watched = Watched::new(&blocks);
    let nodes = uncached(&watched);
    assert_eq!(
        Tree::open(&nodes, &root).unwrap().invert(&[]).unwrap(),
        root
    );
    let gaps = NodeWalker::new(&nodes, &root).unwrap().gaps();
    assert_eq!(gaps.map(Result::unwrap).count(), entries.len() + 1);
    assert!(watched.reads() < 2 * 6 * (entries.len() + 2));
    let other = put(&blocks, None, &[(&key("x", 0), None)]);
    let error = diff(&blocks, &root, &other).unwrap_err();
    assert!(matches!(
        error,
        Error::InvalidTree {
            fault: TreeFault::Repeated,
            ..
        }
    ));
}

#[test]
fn a_node_of_very_many_entries_is_compared_and_inverted() {
    let blocks = MemoryBlockStore::new();
    let keys: Vec<String> = (0_u32..)
        .map(|n| format!("k{n:06}"))
        .filter(|key| mst_node::height_of(key.as_bytes()) == 0)
        .take(8_192)
        .collect();
    let all: Vec<_> = keys.iter().map(|key| (key.as_str(), None)).collect();
    let wide = put(&blocks, None, &all);
    let narrow = put(&blocks, None, &all[..1]);
    let operations = diff(&blocks, &narrow, &wide).unwrap();
    assert_eq!(operations.len(), all.len() - 1);
    let nodes = uncached(&blocks);
    let tree = Tree::open(&nodes, &wide).unwrap();
    assert_eq!(tree.invert(&operations).unwrap(), narrow);
    // It must not become wider than the limits allow to be read; inverting may.
    let tree = Tree::open(&nodes, &narrow).unwrap();
    let back: Vec<_> = operations.into_iter().map(Operation::inverse).collect();
    assert_eq!(tree.invert(&back).unwrap(), wide);
}

// ---- A proof that costs more than it weighs.

/// A small block that represents long keys, and a claim after another that needs it.
#[test]
fn a_node_is_decoded_once_however_many_claims_rest_on_it() {
    let long = "x".repeat(100_000);
    let keys: Vec<String> = (0..40).map(|n| key(&format!("{long}{n:02}/"), 0)).collect();
    let entries: Vec<_> = keys.iter().map(|key| (key.as_str(), None)).collect();
    let blocks = MemoryBlockStore::new();
    let root = put(&blocks, None, &entries);
    let block = blocks.get(&root).unwrap().unwrap();
    assert!(block.len() < 110_000);
    let claim = |n: u32| Claim::Key {
        key: n.to_be_bytes().to_vec(),
        value: None,
    };
    let proof = Proof {
        root,
        claims: (0..3_000).map(claim).collect(),
        blocks: vec![(root, block)],
    };
    proof.verify(&root).unwrap();
}

// ---- Proofs.

#[test]
fn ranges_of_every_shape_are_proven_and_no_entry_can_be_left_out() {
    let keys: Vec<String> = (0..5)
        .map(|n| key(&format!("k{n}/"), [0, 1, 0, 2, 0][n]))
        .collect();
    let tree = Tree::from_entries(keys.iter().map(|key| (key, value())))
        .unwrap()
        .flush();
    let blocks = MemoryBlockStore::new();
    blocks.put_many(&tree.new).unwrap();
    let nodes = NodeStore::new(&blocks);
    let key_at = |n: usize| keys[n].as_bytes().to_vec();
    let mut bounds = vec![Bound::Unbounded];
    for n in 0..5 {
        bounds.extend([Bound::Included(key_at(n)), Bound::Excluded(key_at(n))]);
        let mut beside = key_at(n);
        beside.push(0);
        bounds.extend([Bound::Included(beside.clone()), Bound::Excluded(beside)]);
    }
    for start in &bounds {
        for end in &bounds {
            let holds = |key: &&String| {
                let key = key.as_bytes();
                let from = match start {
                    Bound::Included(start) => start.as_slice() <= key,
                    Bound::Excluded(start) => start.as_slice() < key,
                    Bound::Unbounded => true,
                };
                let to = match end {
                    Bound::Included(end) => key <= end.as_slice(),
                    Bound::Excluded(end) => key < end.as_slice(),
                    Bound::Unbounded => true,
                };
                from && to
            };
            let expected: Vec<_> = keys
                .iter()
                .filter(holds)
                .map(|key| (key.as_bytes().to_vec(), value()))
                .collect();
            // The prover may have been anywhere before.
            let mut prover = Prover::new(&nodes, &tree.root).unwrap();
            prover.key(keys[4].as_bytes()).unwrap();
            let len = prover
                .range::<Vec<u8>>((start.as_ref(), end.as_ref()))
                .unwrap();
            assert_eq!(len, expected.len(), "{start:?} {end:?}");
            let mut proof = prover.finish();
            proof.claims.remove(0);
            let Claim::Range { entries, .. } = &proof.claims[0] else {
                panic!("another claim than was asked for");
            };
            assert_eq!(*entries, expected);
            proof.verify(&tree.root).unwrap();
            for at in 0..expected.len() {
                let mut less = proof.clone();
                if let Claim::Range { entries, .. } = &mut less.claims[0] {
                    entries.remove(at);
                }
                let error = less.verify(&tree.root).unwrap_err();
                assert!(matches!(error, ProofError::Refuted { claim: 0 }));
            }
            if let Some(beside) = keys.iter().find(|key| !holds(key)) {
                let mut more = proof.clone();
                if let Claim::Range { entries, .. } = &mut more.claims[0] {
                    entries.push((beside.as_bytes().to_vec(), value()));
                }
                let error = more.verify(&tree.root).unwrap_err();
                assert!(matches!(error, ProofError::Refuted { claim: 0 }));
            }
        }
    }
}

/// What a proof contains besides the tree is neither needed nor believed.
#[test]
fn blocks_that_are_no_nodes_of_the_tree_do_no_harm_and_no_good() {
    let blocks = MemoryBlockStore::new();
    let root = put(
        &blocks,
        None,
        &[(&key("b", 1), Some(dag_cbor_cid(b"missing")))],
    );
    let block = |cid: &Cid| (*cid, blocks.get(cid).unwrap().unwrap());
    let absent = Claim::Key {
        key: key("c", 0).into_bytes(),
        value: None,
    };
    let present = Claim::Key {
        key: key("b", 1).into_bytes(),
        value: Some(value()),
    };
    let junk = Bytes::from_static(b"\xff\xff");
    let (other, empty) = (
        put(&blocks, None, &[(&key("c", 0), None)]),
        put(&blocks, None, &[]),
    );
    let proof = Proof {
        root,
        claims: vec![present, absent],
        blocks: vec![
            block(&empty),
            (raw_cid(&junk), junk.clone()),
            (dag_cbor_cid(&junk), junk),
            block(&root),
            block(&other),
            block(&root),
        ],
    };
    let error = proof.verify(&root).unwrap_err();
    let missing = dag_cbor_cid(b"missing");
    assert!(
        matches!(&error, ProofError::Incomplete { claim: 1, missing: found } if **found == missing),
        "{error:?}"
    );
}

#[test]
fn a_range_through_a_misplaced_node_is_not_proven() {
    let blocks = MemoryBlockStore::new();
    for (node, fault, root) in misfits(&blocks) {
        let mut proof = Proof {
            root,
            claims: vec![Claim::Range {
                start: Bound::Unbounded,
                end: Bound::Unbounded,
                entries: Vec::new(),
            }],
            blocks: all(&blocks),
        };
        // Whatever is claimed, even what can be read of it.
        let nodes = NodeStore::new(&blocks);
        let readable: Vec<_> = nodes.entries(&root).unwrap().flatten().collect();
        for count in 0..=readable.len() {
            let owned = readable[..count]
                .iter()
                .map(|entry| (entry.key().to_vec(), entry.value()));
            if let Claim::Range { entries, .. } = &mut proof.claims[0] {
                *entries = owned.collect();
            }
            match proof.verify(&root).unwrap_err() {
                ProofError::Refuted { claim: 0 } => {}
                ProofError::Tree { claim: 0, source } => {
                    let expected = Error::InvalidTree {
                        cid: node,
                        fault: fault.clone(),
                    };
                    assert_eq!(source.to_string(), expected.to_string());
                }
                error => panic!("{error:?}"),
            }
        }
    }
}

/// Whether or not the path to the answer leads into it.
#[test]
fn a_node_of_the_bottom_with_a_subtree_proves_nothing() {
    let blocks = MemoryBlockStore::new();
    let below = put(&blocks, None, &[(&key("a", 0), None)]);
    let (b, c, d) = (key("b", 0), key("c", 1), key("d", 0));
    let bottom = put(&blocks, Some(below), &[(&b, None)]);
    let beside = put(&blocks, None, &[(&d, None)]);
    for (root, asked) in [
        (put(&blocks, Some(bottom), &[(&c, Some(beside))]), &b),
        (bottom, &b),
    ] {
        let key = asked.clone().into_bytes();
        let one = Bound::Included(key.clone());
        let claims = [
            Claim::Key {
                key: key.clone(),
                value: Some(value()),
            },
            Claim::Range {
                start: one.clone(),
                end: one,
                entries: vec![(key, value())],
            },
        ];
        for claim in claims {
            let proof = Proof {
                root,
                claims: vec![claim],
                blocks: all(&blocks),
            };
            let error = proof.verify(&root).unwrap_err();
            let expected = Error::InvalidTree {
                cid: bottom,
                fault: TreeFault::BelowBottom,
            };
            assert!(
                matches!(&error, ProofError::Tree { claim: 0, source } if source.to_string() == expected.to_string()),
                "{error:?}"
            );
        }
    }
}

// ---- Inversions.

#[test]
fn a_misplaced_node_is_named_whatever_the_operations_are() {
    let blocks = MemoryBlockStore::new();
    let nodes = NodeStore::new(&blocks);
    let far = Operation {
        key: key("zz", 0).into_bytes(),
        old: Some(value()),
        new: None,
    };
    for (node, fault, root) in misfits(&blocks) {
        let expected = Error::InvalidTree { cid: node, fault };
        for operations in [vec![], vec![far.clone()]] {
            let tree = Tree::open(&nodes, &root).unwrap();
            let error = tree.invert(&operations).unwrap_err();
            assert_eq!(error.to_string(), expected.to_string());
        }
    }
}

/// A tree may be changed before it is inverted: its nodes have no CIDs yet.
#[test]
fn operations_are_taken_back_from_a_tree_that_was_changed_and_not_flushed() {
    let keys: Vec<String> = (0..9)
        .map(|n| key(&format!("k{n}/"), [0, 1, 0, 2, 0, 1, 0, 3, 0][n]))
        .collect();
    let full = Tree::from_entries(keys.iter().map(|key| (key, value())))
        .unwrap()
        .flush();
    let blocks = MemoryBlockStore::new();
    blocks.put_many(&full.new).unwrap();
    let nodes = NodeStore::new(&blocks);
    for one in &keys {
        for other in &keys {
            let mut tree = Tree::open(&nodes, &full.root).unwrap();
            let mut operations = Vec::new();
            for key in [one, other] {
                let old = tree.remove(key.as_bytes()).unwrap();
                operations.extend(old.map(|_| Operation {
                    key: key.as_bytes().to_vec(),
                    old,
                    new: None,
                }));
            }
            assert_eq!(tree.invert(&operations).unwrap(), full.root);
            // Only the first: what the second has done stays, though nothing has stored it.
            let mut only_second = Tree::open(&nodes, &full.root).unwrap();
            if one != other {
                only_second.remove(other.as_bytes()).unwrap();
            }
            assert_eq!(tree.invert(&operations[..1]).unwrap(), only_second.root());
            // Without asking for a root in between: it is the first to need any digest.
            let keys = operations.iter().map(|operation| operation.key.as_slice());
            assert_eq!(tree.cover(keys).unwrap()[0].0, tree.root());
        }
    }
}

// ---- Covers and gaps.

fn sample() -> (Vec<String>, Cid, MemoryBlockStore) {
    let heights = [0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0];
    let keys: Vec<String> = (0..11)
        .map(|n| key(&format!("k{n:02}"), heights[n]))
        .collect();
    let tree = Tree::from_entries(keys.iter().map(|key| (key, value())))
        .unwrap()
        .flush();
    let blocks = MemoryBlockStore::new();
    blocks.put_many(&tree.new).unwrap();
    (keys, tree.root, blocks)
}

#[test]
fn a_cover_has_each_node_once_and_above_those_below_it() {
    let (keys, root, blocks) = sample();
    let nodes = NodeStore::new(&blocks);
    let tree = Tree::open(&nodes, &root).unwrap();
    let cover = tree.cover(keys.iter().map(String::as_bytes)).unwrap();
    assert_eq!(cover.len(), blocks.len());
    let mut known = vec![root];
    for (cid, block) in cover {
        let at = known.iter().position(|known| *known == cid);
        known.swap_remove(at.expect("a link to it came before, and it did not"));
        let node = mst_ops::Node::decode(&block).unwrap();
        known.extend((0..=node.len()).filter_map(|slot| node.subtree(slot)));
    }
    assert_eq!(known, []);
}

/// That a key is absent may be seen further up than where its neighbours are.
#[test]
fn a_cover_that_lacks_a_neighbour_is_none() {
    let (keys, root, whole) = sample();
    let asked = keys
        .iter()
        .cloned()
        .chain((0..4).map(|height| key("k05+", height)));
    for asked in asked {
        let nodes = NodeStore::new(&whole);
        let asked = asked.as_bytes();
        let cover = Tree::open(&nodes, &root).unwrap().cover([asked]).unwrap();
        for (gone, block) in &cover[1..] {
            whole.delete(gone).unwrap();
            let nodes = uncached(&whole);
            let missing =
                |error: Error| assert!(matches!(error, Error::MissingBlock(cid) if cid == *gone));
            missing(
                Tree::open(&nodes, &root)
                    .unwrap()
                    .cover([asked])
                    .unwrap_err(),
            );
            missing(
                Prover::new(&nodes, &root)
                    .unwrap()
                    .cover(asked)
                    .unwrap_err(),
            );
            whole.put(gone, block.clone()).unwrap();
        }
    }
}

#[test]
fn a_cover_that_fails_claims_nothing() {
    let (keys, root, blocks) = sample();
    let nodes = NodeStore::new(&blocks);
    let tree = Tree::open(&nodes, &root).unwrap();
    let cover = tree.cover([keys[7].as_bytes()]).unwrap();
    blocks.delete(&cover.last().unwrap().0).unwrap();
    let nodes = uncached(&blocks);
    let mut prover = Prover::new(&nodes, &root).unwrap();
    prover.cover(keys[7].as_bytes()).unwrap_err();
    assert_eq!(prover.finish().claims, []);
}

#[test]
fn every_gap_lies_between_the_keys_that_enclose_what_is_missing() {
    let (keys, root, blocks) = sample();
    for (gone, block) in all(&blocks) {
        if gone == root {
            continue;
        }
        blocks.delete(&gone).unwrap();
        let nodes = uncached(&blocks);
        let walker = NodeWalker::new(&nodes, &root).unwrap();
        let gaps: Vec<_> = walker.gaps().map(Result::unwrap).collect();
        let [gap] = gaps.as_slice() else {
            panic!("{gaps:?}");
        };
        assert_eq!(gap.cid, gone);
        let found: Vec<_> = walker
            .entries()
            .flatten()
            .map(|entry| entry.key().to_vec())
            .collect();
        let lost: Vec<_> = keys
            .iter()
            .filter(|key| !found.iter().any(|found| found == key.as_bytes()))
            .collect();
        let at = keys.iter().position(|key| key == lost[0]).unwrap();
        let beside = |at: Option<usize>| {
            at.and_then(|at| keys.get(at))
                .map(|key| key.as_bytes().to_vec())
        };
        assert_eq!(gap.left, beside(at.checked_sub(1)));
        assert_eq!(gap.right, beside(Some(at + lost.len())));
        blocks.put(&gone, block).unwrap();
    }
    assert_eq!(
        NodeWalker::new(&uncached(&blocks), &root)
            .unwrap()
            .gaps()
            .count(),
        0
    );
}

#[test]
fn a_bad_node_is_an_error_among_the_gaps_and_not_their_end() {
    let blocks = MemoryBlockStore::new();
    let missing = dag_cbor_cid(b"missing");
    let bad = put(&blocks, None, &[(&key("z", 0), None)]);
    let root = put(&blocks, Some(bad), &[(&key("b", 1), Some(missing))]);
    let nodes = NodeStore::new(&blocks);
    let mut gaps = NodeWalker::new(&nodes, &root).unwrap().gaps();
    assert!(matches!(gaps.next(), Some(Err(Error::InvalidTree { cid, .. })) if cid == bad));
    assert!(matches!(gaps.next(), Some(Ok(gap)) if gap.cid == missing && gap.right.is_none()));
    assert!(gaps.next().is_none());
    assert!(gaps.next().is_none());
}

// ---- Helpers.

fn diff<S: BlockStore>(blocks: &S, old: &Cid, new: &Cid) -> Result<Vec<Operation>, Error> {
    let nodes = uncached(blocks);
    Ok(Diff::new(&nodes, old, &nodes, new)?.collect())
}

fn uncached<S: BlockStore>(blocks: &S) -> NodeStore<&S> {
    NodeStore::with_options(blocks, NodeStoreOptions::uncached())
}

fn put(blocks: &MemoryBlockStore, left: Option<Cid>, entries: &[(&str, Option<Cid>)]) -> Cid {
    let mut builder = NodeBuilder::new(left.as_ref()).unwrap();
    for (key, right) in entries {
        builder
            .push(key.as_bytes(), &value(), right.as_ref())
            .unwrap();
    }
    let node = builder.finish();
    blocks.put(&node.cid(), node.encode().into()).unwrap();
    node.cid()
}

/// All blocks of a store.
fn all(blocks: &MemoryBlockStore) -> Vec<(Cid, Bytes)> {
    let mut cids = Vec::new();
    blocks.retain(|cid| {
        cids.push(*cid);
        true
    });
    let found = cids.into_iter().map(|cid| (cid, blocks.get(&cid)));
    found
        .map(|(cid, block)| (cid, block.unwrap().unwrap()))
        .collect()
}

fn key(prefix: &str, height: u8) -> String {
    key_of_height(&format!("{prefix}/"), height)
}

fn value() -> Cid {
    dag_cbor_cid(b"\xa0")
}

/// Counts how often a block is requested.
struct Watched<'b> {
    blocks: &'b MemoryBlockStore,
    asked: RefCell<HashMap<Cid, usize>>,
}

impl<'b> Watched<'b> {
    fn new(blocks: &'b MemoryBlockStore) -> Self {
        Self {
            blocks,
            asked: RefCell::default(),
        }
    }

    fn reads(&self) -> usize {
        self.asked.borrow().values().sum()
    }
}

impl BlockStore for Watched<'_> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        *self.asked.borrow_mut().entry(*cid).or_default() += 1;
        self.blocks.get(cid)
    }
}

#[test]
fn a_proof_that_claims_nothing_needs_no_tree() {
    let root = dag_cbor_cid(b"not there");
    let proof = Proof {
        root,
        claims: vec![],
        blocks: vec![],
    };
    proof.verify(&root).unwrap();
}
