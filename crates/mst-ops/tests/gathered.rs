//! The danger: a tree that starts empty only gathers its entries until somebody looks at it, so
//! there are two ways to the same tree. They must be indistinguishable: by the results of changes,
//! by what is too large for a node, by the root, or by what clones see of each other.
//!
//! So the same changes are made to two trees. One was asked for its root while it was empty, and so
//! no longer gathers.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::BTreeMap;

use blockstore_core::{Cid, MemoryBlockStore, dag_cbor_cid, raw_cid};
use mst_node::{Limits, height_of};
use mst_ops::{Changes, Error, NodeSource, NodeStore, NodeStoreOptions, Tree};
use mst_testkit::{Rng, build_tree};
use proptest::collection::vec;
use proptest::prelude::*;

#[test]
fn a_tree_of_one_gathered_entry_is_not_empty() {
    let mut tree = Tree::new();
    assert!(tree.is_empty());
    tree.insert(b"a", &value_of(1)).unwrap();
    assert!(!tree.is_empty());
    tree.remove(b"a").unwrap();
    assert!(tree.is_empty());
}

/// Sorting compares several bytes at a time: no byte may be left out, wherever keys differ.
#[test]
fn gathered_keys_are_sorted_however_much_they_share() {
    for shared in 0..40 {
        let mut rng = Rng::new(shared as u64);
        let mut letter = || char::from(b"abcdefgh"[rng.below(8)]);
        let keys = (0..300).map(|n| {
            let (first, second) = (letter(), letter());
            format!("{}{first}{}{second}", "p".repeat(shared), "q".repeat(n % 3))
        });
        let map: BTreeMap<String, Cid> = keys.map(|key| (key, value_of(1))).collect();
        let mut entries: Vec<_> = map.iter().map(|(key, value)| (key, *value)).collect();
        rng.shuffle(&mut entries);
        let mut tree = Tree::from_entries(entries).unwrap();
        let root = build_tree(&map).root;
        assert_eq!((tree.root(), tree.flush().root), (root, root), "{shared}");
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn gathered_entries_make_the_same_tree(entries in vec((any_key(), any::<u8>()), 0..200)) {
        let mut gathering = Tree::new();
        let mut past = past_gathering(Tree::new());
        let mut map = BTreeMap::new();
        for (key, n) in &entries {
            let old = map.insert(key.clone(), value_of(*n));
            let key = key.as_bytes();
            prop_assert_eq!(gathering.get(key).unwrap(), old);
            prop_assert_eq!(gathering.insert(key, &value_of(*n)).unwrap(), old);
            prop_assert_eq!(past.insert(key, &value_of(*n)).unwrap(), old);
        }
        prop_assert_eq!(gathering.get(b"not there").unwrap(), None);
        prop_assert_eq!(gathering.is_empty(), map.is_empty());
        let root = build_tree(&map).root;
        let summary = past.verify().unwrap();
        let changes = sorted(past.flush());
        // Each question by itself, as it may cause the tree to be built.
        prop_assert_eq!(sorted(gathering.clone().flush()), changes.clone());
        let mut asked = Tree::from_entries(entries.iter().map(|(key, n)| (key, value_of(*n)))).unwrap();
        prop_assert_eq!(asked.root(), root);
        prop_assert_eq!(sorted(asked.flush()), changes.clone());
        prop_assert_eq!(gathering.verify().unwrap(), summary);
        let found = gathering.to_map().unwrap();
        prop_assert!(found.iter().map(|(key, value)| (&**key, value)).eq(map.iter().map(|(key, value)| (key.as_bytes(), value))));
        prop_assert_eq!(gathering.root(), root);
    }

    /// Whatever is done in between to a tree, and to clones of it.
    #[test]
    fn looking_changes_nothing(entries in vec((any_key(), any::<u8>(), 0..20_u8), 1..60)) {
        let mut gathering = Tree::new();
        let mut past = past_gathering(Tree::new());
        let mut clones = Vec::new();
        for (key, n, deed) in &entries {
            let key = key.as_bytes();
            match deed {
                0 => prop_assert_eq!(gathering.root(), past.root()),
                1 => prop_assert_eq!(gathering.to_map().unwrap(), past.to_map().unwrap()),
                2 => prop_assert_eq!(sorted(gathering.flush()), sorted(past.flush())),
                3 => prop_assert_eq!(gathering.remove(key).unwrap(), past.remove(key).unwrap()),
                4 => clones.push((gathering.clone(), past.clone())),
                5 => {
                    if let Some(one) = clones.pop() {
                        clones.insert(0, (gathering, past));
                        (gathering, past) = one;
                    }
                }
                _ => {
                    let old = past.insert(key, &value_of(*n)).unwrap();
                    prop_assert_eq!(gathering.insert(key, &value_of(*n)).unwrap(), old);
                }
            }
        }
        clones.push((gathering, past));
        for (mut gathering, mut past) in clones {
            prop_assert_eq!(sorted(gathering.flush()), sorted(past.flush()));
        }
    }
}

/// Keys are measured some at a time, so all, some or none have been measured when the root is
/// requested.
#[test]
fn entries_that_were_measured_in_pieces_give_the_root_of_all() {
    let mut rng = Rng::new(11);
    for round in 0..40 {
        let mut options = NodeStoreOptions::default();
        options.limits.entries = 60 + rng.below(40);
        let nodes = NodeStore::with_options(MemoryBlockStore::new(), options);
        let keys: Vec<String> = (0..60 + rng.below(600))
            .map(|_| format!("{}/{}", rng.below(7), rng.below(100_000)))
            .collect();
        for len in (14..keys.len()).step_by(97).chain([keys.len()]) {
            let mut gathering = Tree::empty(&nodes);
            let mut map = BTreeMap::new();
            for key in &keys[..len] {
                gathering.insert(key.as_bytes(), &value_of(1)).unwrap();
                map.insert(key.clone(), value_of(1));
            }
            assert_eq!(gathering.root(), build_tree(&map).root, "{round}, {len}");
        }
    }
}

/// Heights that make wide nodes and narrow ones, and limits from those that nothing fits into up.
#[test]
fn what_is_too_large_for_a_node_is_refused_when_it_comes() {
    let mut rng = Rng::new(7);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..400 {
        let mut options = NodeStoreOptions::default();
        options.limits.entries = 1 + rng.below(12);
        options.limits.key_bytes = 8 + rng.below(200);
        let nodes = NodeStore::with_options(MemoryBlockStore::new(), options);
        let mut gathering = Tree::empty(&nodes);
        let mut past = past_gathering(Tree::empty(&nodes));
        let highest = [0, 1, 128][round % 3];
        for _ in 0..80 {
            let key = format!(
                "{:.*}",
                1 + rng.below(20),
                format!("{:020}", rng.below(1 << 30))
            );
            if height_of(key.as_bytes()) > highest {
                continue;
            }
            let one = gathering.insert(key.as_bytes(), &value_of(1));
            let other = past.insert(key.as_bytes(), &value_of(1));
            match (&one, &other) {
                (Ok(one), Ok(other)) => {
                    assert_eq!(one, other, "{key:?}");
                    taken += 1;
                }
                (
                    Err(Error::NodeTooLarge { entries, keys_len }),
                    Err(Error::NodeTooLarge {
                        entries: others,
                        keys_len: other_len,
                    }),
                ) => {
                    assert_eq!((entries, keys_len), (others, other_len), "{key:?}");
                    refused += 1;
                }
                _ => panic!("{key:?}: {one:?} and {other:?}"),
            }
            assert_eq!(
                gathering.get(key.as_bytes()).unwrap().is_some(),
                one.is_ok()
            );
        }
        assert_eq!(sorted(gathering.flush()), sorted(past.flush()));
    }
    assert!(
        taken > 1000 && refused > 1000,
        "{taken} taken, {refused} refused"
    );
}

/// More than one node can hold, in nodes that are not too large, and then one that is.
#[test]
fn a_large_tree_is_gathered_up_to_the_limit_of_a_node() {
    let limit = Limits::default().entries;
    let mut tree = Tree::new();
    let mut map = BTreeMap::new();
    for n in (0..u32::MAX).take(2 * limit) {
        // In random order.
        let key = format!("com.example.record/{:08x}", n.wrapping_mul(0x9e37_79b1));
        tree.insert(key.as_bytes(), &value_of(1)).unwrap();
        map.insert(key, value_of(1));
    }
    // After all of these, of height 0: side by side in one node.
    let wide = (0..).map(|n| format!("com.example.wide/{n:08}"));
    let mut wide = wide.filter(|key| height_of(key.as_bytes()) == 0);
    let mut in_node = 0;
    let error = loop {
        let key = wide.next().unwrap();
        match tree.insert(key.as_bytes(), &value_of(1)) {
            Ok(_) => map.insert(key, value_of(1)),
            Err(error) => break error,
        };
        in_node += 1;
    };
    assert!(
        matches!(error, Error::NodeTooLarge { entries, .. } if entries == limit + 1),
        "{error:?}"
    );
    assert_eq!(in_node, limit);
    assert_eq!(tree.root(), build_tree(&map).root);
}

/// This many cases, or more if `PROPTEST_CASES` says so.
fn cases(cases: u32) -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: config.cases.max(cases),
        ..config
    }
}

/// Values of the usual kind, and of another.
fn value_of(n: u8) -> Cid {
    match n % 3 {
        0 => raw_cid(&[n]),
        _ => dag_cbor_cid(&[n]),
    }
}

/// Keys that sorting by some bytes at a time could get wrong: with zeros at the end, where a
/// shorter key has nothing, and with more bytes in common than are sorted so.
fn any_key() -> impl Strategy<Value = String> {
    let start = prop_oneof![
        4 => Just(String::new()),
        4 => Just("app.bsky.feed.post/3k".to_owned()),
        2 => Just("deep".repeat(40)),
    ];
    let letter = prop_oneof![Just('\0'), Just('\u{1}'), Just('a'), any::<char>()];
    (start, vec(letter, 1..12)).prop_map(|(start, end)| start + &String::from_iter(end))
}

fn past_gathering<N: NodeSource>(tree: Tree<N>) -> Tree<N> {
    tree.root();
    tree
}

/// Nodes are in random order, except that those below come first.
fn sorted(mut changes: Changes) -> Changes {
    changes.new.sort();
    changes.removed.sort();
    changes
}
