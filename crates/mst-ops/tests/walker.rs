//! The danger: a walk that is wrong only in trees of a certain shape. It loses the entries
//! beside a missing node, returns one twice where the two ends of an iterator meet, or answers
//! "no such key" where a node that could hold the key is missing.
//!
//! So every way to walk is compared with a `BTreeMap`, over trees that the test kit builds
//! the obvious way; and with a list of what can be reached, if nodes are missing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use blockstore_core::{
    BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, StoreError, dag_cbor_cid,
};
use mst_node::{Node, height_of};
use mst_ops::{EntryRef, Error, NodeStore, NodeStoreOptions, NodeWalker, VisitedNode, verify};
use mst_testkit::{PUBLISHED_ROOTS, PUBLISHED_VALUE, SampleTree, build_tree, key_of_height};
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

type Map = BTreeMap<String, Cid>;

// ---- Published vectors.

#[test]
fn published_trees_are_built_walked_and_found_valid() {
    let leaf: Cid = PUBLISHED_VALUE.parse().unwrap();
    for (root, keys) in PUBLISHED_ROOTS {
        let map: Map = keys.iter().map(|key| ((*key).to_owned(), leaf)).collect();
        let tree = build_tree(&map);
        assert_eq!(tree.root.to_string(), root, "{keys:?}");

        let nodes = NodeStore::new(stored(&tree, &BTreeSet::new()));
        let summary = verify(&nodes, &tree.root).unwrap();
        assert_eq!(summary.entries, keys.len() as u64, "{root}");
        assert_eq!(summary.nodes, tree.nodes.len() as u64, "{root}");
        let walked = nodes.entries(&tree.root).unwrap();
        let walked: Vec<String> = walked.map(|entry| key(&entry.unwrap())).collect();
        assert_eq!(walked, keys, "{root}");
    }
}

// ---- Whole trees.

#[test]
fn entries_have_the_walker_of_their_last_item() {
    let keys = ["a/1", "a/2", "b/1", "c/1"].map(|key| (key.to_owned(), dag_cbor_cid(b"\xa0")));
    let (nodes, tree) = whole(&Map::from(keys));
    let mut entries = nodes.entries(&tree.root).unwrap();
    for key in ["c/1", "b/1"] {
        entries.next_back().unwrap().unwrap();
        assert_eq!(entries.walker().right_key(), Some(key.as_bytes()));
    }
    entries.next().unwrap().unwrap();
    assert_eq!(entries.walker().left_key(), Some(b"a/1".as_slice()));
    entries.next_back().unwrap().unwrap();
    assert_eq!(entries.walker().right_key(), Some(b"a/2".as_slice()));
}

#[test]
fn going_up_leads_before_the_subtree_wherever_the_walker_comes_from() {
    let keys = ["a/", "b/", "c/"].map(|prefix| key_of_height(prefix, u8::from(prefix == "c/")));
    let map = keys.clone().map(|key| (key, dag_cbor_cid(b"\xa0")));
    let (nodes, tree) = whole(&Map::from(map));
    let first = |mut walker: NodeWalker<'_, _>| {
        assert!(walker.go_up());
        walker.next_entry().unwrap().unwrap().key().to_vec()
    };
    let mut walker = NodeWalker::new(&nodes, &tree.root).unwrap();
    assert!(walker.go_down().unwrap());
    assert_eq!(first(walker.clone()), keys[0].as_bytes());
    walker.go_to_end();
    while walker.depth() == 0 {
        walker.previous_entry().unwrap().unwrap();
    }
    assert_eq!(first(walker), keys[0].as_bytes());
}

proptest! {
    #![proptest_config(cases(384))]

    #[test]
    fn entries_are_those_of_the_map_from_either_end(map in maps()) {
        let (nodes, tree) = whole(&map);
        let walker = NodeWalker::new(&nodes, &tree.root).unwrap();
        let pairs: Vec<_> = walker.entries().map(|entry| pair(&entry.unwrap())).collect();
        prop_assert_eq!(&pairs, &pairs_of(&map));
        let mut back: Vec<_> = walker.entries().rev().map(|entry| pair(&entry.unwrap())).collect();
        back.reverse();
        prop_assert_eq!(&back, &pairs);
    }

    #[test]
    fn both_ends_of_an_iterator_meet_without_gap_or_overlap(
        map in maps(),
        range in ranges(),
        from_front in prop::collection::vec(any::<bool>(), 100),
    ) {
        let (nodes, tree) = whole(&map);
        let walker = NodeWalker::new(&nodes, &tree.root).unwrap();
        let mut entries = walker.range(range.clone());
        let mut model = in_range(&map, &range).into_iter();
        for front in from_front {
            let (found, expected) = if front {
                (entries.next(), model.next())
            } else {
                (entries.next_back(), model.next_back())
            };
            prop_assert_eq!(found.map(|entry| pair(&entry.unwrap())), expected);
        }
    }

    #[test]
    fn ranges_are_those_of_the_map(map in maps(), range in ranges()) {
        let (nodes, tree) = whole(&map);
        let walker = NodeWalker::new(&nodes, &tree.root).unwrap();
        let expected = in_range(&map, &range);
        let pairs: Vec<_> = walker
            .range(range.clone())
            .map(|entry| pair(&entry.unwrap()))
            .collect();
        prop_assert_eq!(&pairs, &expected);
        let mut back: Vec<_> = walker
            .range(range.clone())
            .rev()
            .map(|entry| pair(&entry.unwrap()))
            .collect();
        back.reverse();
        prop_assert_eq!(&back, &expected);
    }

    #[test]
    fn prefixes_give_the_keys_that_begin_with_them(map in maps(), place in places(), len in 0..6_usize) {
        let (nodes, tree) = whole(&map);
        let walker = NodeWalker::new(&nodes, &tree.root).unwrap();
        let prefix = place.get(..len).unwrap_or(&place);
        let found: Vec<String> = walker
            .prefix(prefix.as_bytes())
            .map(|entry| key(&entry.unwrap()))
            .collect();
        let expected: Vec<String> =
            map.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn seek_stands_between_what_is_less_and_what_is_not(map in maps(), places in prop::collection::vec(places(), 1..6)) {
        let (nodes, tree) = whole(&map);
        let mut walker = NodeWalker::new(&nodes, &tree.root).unwrap();
        for place in places {
            let after: Vec<_> = map.range(place.clone()..).map(|(k, v)| (k.clone(), *v)).collect();
            let before: Vec<_> = map.range(..place.clone()).map(|(k, v)| (k.clone(), *v)).collect();
            walker.seek(place.as_bytes()).unwrap();
            prop_assert_eq!(
                walker.right_entry().map(|entry| pair(&entry)),
                after.first().cloned()
            );
            // There may be a subtree to the right of what it found, so this is a step, not a look.
            let mut onward = walker.clone();
            for expected in &after {
                prop_assert_eq!(&pair(&onward.next_entry().unwrap().unwrap()), expected);
            }
            prop_assert!(onward.next_entry().unwrap().is_none());
            prop_assert!(onward.next_entry().unwrap().is_none(), "and again");
            for expected in map.keys().rev() {
                prop_assert_eq!(&key(&onward.previous_entry().unwrap().unwrap()), expected);
            }
            for expected in before.iter().rev() {
                prop_assert_eq!(&pair(&walker.previous_entry().unwrap().unwrap()), expected);
            }
            prop_assert!(walker.previous_entry().unwrap().is_none());
            prop_assert!(walker.previous_entry().unwrap().is_none(), "and again");
            for expected in map.keys() {
                prop_assert_eq!(&key(&walker.next_entry().unwrap().unwrap()), expected);
            }
        }
    }

    #[test]
    fn steps_back_and_forth_are_those_of_a_position_in_a_list(
        map in maps(),
        forward in prop::collection::vec(any::<bool>(), 60),
    ) {
        let (nodes, tree) = whole(&map);
        let mut walker = NodeWalker::new(&nodes, &tree.root).unwrap();
        let keys: Vec<&String> = map.keys().collect();
        let mut at = 0;
        for forward in forward {
            let found = if forward {
                let found = walker.next_entry().unwrap();
                let expected = keys.get(at);
                at += usize::from(expected.is_some());
                prop_assert_eq!(found.as_ref().map(key), expected.map(|key| (*key).clone()));
                found.map(|_| walker.left_key().unwrap().to_vec())
            } else {
                let found = walker.previous_entry().unwrap();
                let expected = at.checked_sub(1).map(|before| keys[before]);
                at = at.saturating_sub(1);
                prop_assert_eq!(found.as_ref().map(key), expected.cloned());
                found.map(|_| walker.right_key().unwrap().to_vec())
            };
            if let Some(beside) = found {
                let expected = if forward { keys[at - 1] } else { keys[at] };
                prop_assert_eq!(beside, expected.as_bytes());
            }
        }
    }

    #[test]
    fn a_position_goes_on_where_it_was_but_only_in_its_store(map in maps()) {
        let (mut nodes, tree) = whole(&map);
        let (other, _) = whole(&map);
        let mut position = NodeWalker::new(&nodes, &tree.root).unwrap().into_position();
        let mut pairs = Vec::new();
        loop {
            prop_assert!(NodeWalker::at(&other, position.clone()).is_none());
            // The store may be changed meanwhile.
            nodes.blocks_mut().put(&dag_cbor_cid(b"\x01"), b"\x01".as_slice().into()).unwrap();
            let mut walker = NodeWalker::at(&nodes, position).unwrap();
            let Some(entry) = walker.next_entry().unwrap() else {
                break;
            };
            pairs.push(pair(&entry));
            position = walker.into_position();
        }
        prop_assert_eq!(pairs, pairs_of(&map));
    }

    #[test]
    fn find_gives_what_the_map_gives(map in maps(), places in prop::collection::vec(places(), 8)) {
        let (nodes, tree) = whole(&map);
        let mut walker = NodeWalker::new(&nodes, &tree.root).unwrap();
        for place in map.keys().chain(&places) {
            let expected = map.get(place).copied();
            prop_assert_eq!(walker.find(place.as_bytes()).unwrap(), expected);
            prop_assert_eq!(nodes.get(&tree.root, place.as_bytes()).unwrap(), expected);
        }
    }

    #[test]
    fn nodes_come_in_preorder_each_at_its_height(map in maps()) {
        let (nodes, tree) = whole(&map);
        let walker = NodeWalker::new(&nodes, &tree.root).unwrap();
        let mut found = Vec::new();
        for node in walker.nodes() {
            let node = node.unwrap();
            if let Some(height) = node.key_height() {
                prop_assert_eq!(height, node.height());
            }
            found.push(node.cid());
        }
        let expected: Vec<Cid> = tree.nodes.iter().map(|(cid, _)| *cid).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn skipping_the_subtrees_of_a_node_leaves_out_all_below_it_and_nothing_else(
        map in maps(),
        skips in prop::collection::vec(any::<bool>(), 100),
    ) {
        let (nodes, tree) = whole(&map);
        let found = nodes_skipping(&nodes, &tree.root, &skips, 1);
        prop_assert_eq!(found, preorder_skipping(&tree, &skips));
    }

    #[test]
    fn skipping_the_subtrees_of_a_node_twice_is_skipping_them_once(
        map in maps(),
        skips in prop::collection::vec(any::<bool>(), 10),
    ) {
        let (nodes, tree) = whole(&map);
        let twice = nodes_skipping(&nodes, &tree.root, &skips, 2);
        prop_assert_eq!(twice, preorder_skipping(&tree, &skips));
    }

    #[test]
    fn single_steps_see_the_neighbours_that_the_map_has(map in maps()) {
        let (nodes, tree) = whole(&map);
        let mut walker = NodeWalker::new(&nodes, &tree.root).unwrap();
        let mut keys = Vec::new();
        let finals = step_through(&mut walker, &map, &mut keys);
        prop_assert_eq!(keys, map.keys().cloned().collect::<Vec<_>>());
        prop_assert_eq!(finals, 1, "one slot is the last of all");
        prop_assert!(!walker.go_up(), "back at the root");
    }

    #[test]
    fn going_right_or_up_is_going_over_the_next_key_outside_the_subtree(map in maps()) {
        let (nodes, tree) = whole(&map);
        let mut walker = NodeWalker::new(&nodes, &tree.root).unwrap();
        loop {
            while walker.go_down().unwrap() {}
            let next = walker.right_key().map(<[u8]>::to_vec);
            let went = walker.go_right_or_up();
            prop_assert_eq!(went, next.is_some());
            if !went {
                prop_assert!(walker.is_final());
                break;
            }
            prop_assert_eq!(walker.left_key(), next.as_deref());
        }
    }

    #[test]
    fn a_subtree_walker_is_held_to_its_part_of_the_map(map in maps(), range in ranges(), step in any::<Index>()) {
        let (nodes, tree) = whole(&map);
        let mut walker = NodeWalker::new(&nodes, &tree.root).unwrap();
        // To any slot of any node.
        let steps = step.index(map.len() + 1);
        for _ in 0..steps {
            walker.next_entry().unwrap();
        }
        walker.go_up();
        let left = walker.left_key().map(<[u8]>::to_vec);
        let right = walker.right_key().map(<[u8]>::to_vec);
        let Some(subtree) = walker.subtree_walker().unwrap() else {
            prop_assert_eq!(walker.subtree(), None);
            return Ok(());
        };
        prop_assert_eq!(subtree.height() + 1, walker.height());
        prop_assert_eq!(subtree.left_key(), left.as_deref());
        let inside = |key: &&String| {
            left.as_deref().is_none_or(|left| key.as_bytes() > left)
                && right.as_deref().is_none_or(|right| key.as_bytes() < right)
        };
        let part: Map = map.iter().filter(|(k, _)| inside(k)).map(|(k, v)| (k.clone(), *v)).collect();
        let found: Vec<_> = subtree.entries().map(|entry| pair(&entry.unwrap())).collect();
        prop_assert_eq!(&found, &pairs_of(&part));
        let mut back: Vec<_> = subtree.entries().rev().map(|entry| pair(&entry.unwrap())).collect();
        back.reverse();
        prop_assert_eq!(back, found);

        // Bounds outside of it, and the keys that enclose it.
        let edges = (
            left.map_or(Bound::Unbounded, |key| Bound::Excluded(String::from_utf8(key).unwrap())),
            right.map_or(Bound::Unbounded, |key| Bound::Included(String::from_utf8(key).unwrap())),
        );
        for range in [range, edges] {
            let found: Vec<_> =
                subtree.range(range.clone()).map(|entry| pair(&entry.unwrap())).collect();
            prop_assert_eq!(&found, &in_range(&part, &range));
            let mut back: Vec<_> =
                subtree.range(range.clone()).rev().map(|entry| pair(&entry.unwrap())).collect();
            back.reverse();
            prop_assert_eq!(back, found);
        }
    }

    #[test]
    fn a_small_cache_or_none_or_trust_changes_nothing(map in maps(), cache_bytes in 0..4_000_u64, trusted: bool) {
        let tree = build_tree(&map);
        let options = NodeStoreOptions { cache_bytes, trusted, ..NodeStoreOptions::default() };
        let nodes = NodeStore::with_options(stored(&tree, &BTreeSet::new()), options);
        for _ in 0..2 {
            let entries = nodes.entries(&tree.root).unwrap();
            let found: Vec<_> = entries.map(|entry| pair(&entry.unwrap())).collect();
            prop_assert_eq!(found, pairs_of(&map));
        }
    }
}

// ---- Trees with nodes missing.

proptest! {
    #![proptest_config(cases(384))]

    #[test]
    fn what_is_missing_stands_in_its_place_and_all_else_is_given(partial in partials()) {
        let Partial { tree, missing, .. } = &partial;
        let nodes = NodeStore::new(stored(tree, missing));
        if missing.contains(&tree.root) {
            let error = NodeWalker::new(&nodes, &tree.root).unwrap_err();
            prop_assert!(matches!(error, Error::MissingBlock(cid) if cid == tree.root));
            return Ok(());
        }
        let walker = NodeWalker::new(&nodes, &tree.root).unwrap();
        let expected = reachable(tree, missing);
        let found: Vec<Item> = walker.entries().map(item).collect();
        prop_assert_eq!(&found, &expected);
        let mut back: Vec<Item> = walker.entries().rev().map(item).collect();
        back.reverse();
        prop_assert_eq!(&back, &expected);

        let mut gone = BTreeSet::new();
        let mut there = BTreeSet::new();
        for node in walker.nodes() {
            match node {
                Ok(node) => there.insert(node.cid()),
                Err(Error::MissingBlock(cid)) => gone.insert(cid),
                Err(error) => panic!("{error}"),
            };
        }
        let items = expected.iter().filter_map(|item| match item {
            Item::Gap { cid, .. } => Some(*cid),
            Item::Entry(_) => None,
        });
        prop_assert_eq!(gone, items.collect::<BTreeSet<_>>());
        prop_assert!(there.is_disjoint(missing));
    }

    #[test]
    fn a_range_reports_what_is_missing_in_it_and_reads_nothing_else(partial in partials(), range in ranges()) {
        let Partial { tree, missing, .. } = &partial;
        if missing.contains(&tree.root) {
            return Ok(());
        }
        let nodes = NodeStore::new(stored(tree, missing));
        let walker = NodeWalker::new(&nodes, &tree.root).unwrap();
        let items = reachable(tree, missing);
        let expected: Vec<Item> = items.into_iter().filter(|item| item.may_be_in(&range)).collect();
        if is_inverted(&range) {
            // Nothing can be in it; whether a gap is looked into is not specified.
            let entries = walker.range(range.clone()).flatten();
            prop_assert_eq!(entries.count(), 0);
            return Ok(());
        }
        let found: Vec<Item> = walker.range(range.clone()).map(item).collect();
        prop_assert_eq!(&found, &expected);
        let mut back: Vec<Item> = walker.range(range.clone()).rev().map(item).collect();
        back.reverse();
        prop_assert_eq!(&back, &expected);
    }

    #[test]
    fn from_both_ends_every_entry_and_every_gap_comes_once(
        partial in partials(),
        range in ranges(),
        from_front in prop::collection::vec(any::<bool>(), 1..200),
    ) {
        let Partial { tree, missing, .. } = &partial;
        if missing.contains(&tree.root) {
            return Ok(());
        }
        let nodes = NodeStore::new(stored(tree, missing));
        let walker = NodeWalker::new(&nodes, &tree.root).unwrap();
        let mut entries = walker.range(range.clone());
        if is_inverted(&range) {
            prop_assert!(entries.next().is_none() && entries.next_back().is_none());
            return Ok(());
        }
        let (mut front, mut back) = (Vec::new(), Vec::new());
        for from_front in from_front.iter().cycle().take(1_000) {
            let (next, given) = if *from_front {
                (entries.next(), &mut front)
            } else {
                (entries.next_back(), &mut back)
            };
            let Some(next) = next else { break };
            given.push(item(next));
        }
        front.extend(back.into_iter().rev());
        let expected: Vec<Item> = reachable(tree, missing)
            .into_iter()
            .filter(|item| item.may_be_in(&range))
            .collect();
        prop_assert_eq!(front, expected);
    }

    #[test]
    fn from_both_ends_a_gap_is_reported_once(partial in partials(), from_front in prop::collection::vec(any::<bool>(), 200)) {
        let Partial { tree, missing, .. } = &partial;
        if missing.contains(&tree.root) {
            return Ok(());
        }
        let nodes = NodeStore::new(stored(tree, missing));
        let mut entries = nodes.entries(&tree.root).unwrap();
        let mut found = 0;
        for from_front in from_front {
            let next = if from_front { entries.next() } else { entries.next_back() };
            found += usize::from(matches!(next, Some(Err(_))));
        }
        let gaps = reachable(tree, missing).into_iter().filter(|item| matches!(item, Item::Gap { .. }));
        prop_assert_eq!(found, gaps.count());
    }

    #[test]
    fn absence_is_an_answer_only_where_it_is_proved(partial in partials(), places in prop::collection::vec(places(), 8)) {
        let Partial { map, tree, missing } = &partial;
        if missing.contains(&tree.root) {
            return Ok(());
        }
        let nodes = NodeStore::new(stored(tree, missing));
        let mut walker = NodeWalker::new(&nodes, &tree.root).unwrap();
        for place in map.keys().chain(&places) {
            let found = walker.find(place.as_bytes());
            if let Some(gap) = hiding_place(tree, missing, place) {
                let named = matches!(found, Err(Error::MissingBlock(cid)) if cid == gap);
                prop_assert!(named, "{}: {:?} instead of an error for {}", place, found, gap);
            } else {
                prop_assert_eq!(found.unwrap(), map.get(place).copied());
            }
        }
    }

    #[test]
    fn a_step_that_failed_can_be_taken_again(partial in partials(), place in places(), forward: bool) {
        let Partial { map, tree, missing } = &partial;
        let blocks = stored(tree, missing);
        let nodes = NodeStore::new(&blocks);
        let fetch = |error: Error| {
            let Error::MissingBlock(cid) = error else { panic!("{error}") };
            assert!(missing.contains(&cid));
            let (_, block) = tree.nodes.iter().find(|(of, _)| *of == cid).unwrap();
            blocks.put(&cid, block.clone()).unwrap();
        };
        let mut walker = loop {
            match NodeWalker::new(&nodes, &tree.root) {
                Ok(walker) => break walker,
                Err(error) => fetch(error),
            }
        };
        while let Err(error) = walker.seek(place.as_bytes()) {
            fetch(error);
        }
        let mut found = Vec::new();
        loop {
            let step = if forward { walker.next_entry() } else { walker.previous_entry() };
            match step {
                Ok(Some(entry)) => found.push(key(&entry)),
                Ok(None) => break,
                Err(error) => fetch(error),
            }
        }
        let mut expected: Vec<String> = if forward {
            map.range(place..).map(|(key, _)| key.clone()).collect()
        } else {
            map.range(..place).map(|(key, _)| key.clone()).collect()
        };
        if !forward {
            expected.reverse();
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_tree_with_a_node_missing_is_not_valid(partial in partials()) {
        let Partial { map, tree, missing } = &partial;
        let nodes = NodeStore::new(stored(tree, missing));
        match verify(&nodes, &tree.root) {
            Ok(summary) => {
                prop_assert!(missing.is_empty());
                prop_assert_eq!(summary.entries, map.len() as u64);
                prop_assert_eq!(summary.nodes, tree.nodes.len() as u64);
                let height = map.keys().map(|key| height_of(key.as_bytes())).max();
                prop_assert_eq!(summary.height, height.unwrap_or(0));
            }
            Err(Error::MissingBlock(cid)) => {
                // The first in preorder.
                let first = tree.nodes.iter().find(|(cid, _)| missing.contains(cid));
                prop_assert_eq!(Some(cid), first.map(|(cid, _)| *cid));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_walker_of_a_subtree_reads_nothing_for_keys_outside_it() {
    let tree = build_tree(&map_of(POOL.iter().cloned()));
    let whole = NodeStore::new(stored(&tree, &BTreeSet::new()));
    let mut top = NodeWalker::new(&whole, &tree.root).unwrap();
    loop {
        if let (Some(cid), Some(subtree)) = (top.subtree(), top.subtree_walker().unwrap()) {
            let (left, right) = (top.left_key(), top.right_key());
            let (left, right) = (left.map(<[u8]>::to_vec), right.map(<[u8]>::to_vec));
            // Of the subtree, only the first node is present.
            let missing = tree.nodes.iter().map(|(cid, _)| *cid);
            let kept = BTreeSet::from([tree.root, cid]);
            let missing = missing.filter(|cid| !kept.contains(cid)).collect();
            let part = NodeStore::new(stored(&tree, &missing));
            let mut walker = NodeWalker::new(&part, &tree.root).unwrap();
            while walker.slot() < top.slot() {
                assert!(walker.go_right());
            }
            let mut walker = walker.subtree_walker().unwrap().unwrap();
            assert_eq!(walker.node().cid(), subtree.node().cid());
            for key in [left.clone(), Some(Vec::new())].into_iter().flatten() {
                if left.is_some() {
                    assert_eq!(walker.find(&key).unwrap(), None);
                    assert_eq!(walker.range(..=key.as_slice()).count(), 0);
                    assert_eq!(walker.range(..=key.as_slice()).rev().count(), 0);
                    let start = Bound::Included(b"".as_slice());
                    let range = walker.range::<[u8]>((start, Bound::Included(key.as_slice())));
                    assert_eq!(range.count(), 0);
                }
            }
            if let Some(right) = right {
                for key in [right.clone(), [&*right, b"\x01"].concat()] {
                    assert_eq!(walker.find(&key).unwrap(), None);
                    assert_eq!(walker.range(key.as_slice()..).count(), 0);
                    walker.seek(&key).unwrap();
                    assert_eq!(walker.right_key(), Some(&*right));
                    assert_eq!(walker.range(key.as_slice()..).rev().count(), 0);
                }
            }
        }
        if !top.go_right() {
            break;
        }
    }
}

#[test]
fn skipping_subtrees_after_an_error_loses_no_node_beside_it() {
    let tree = build_tree(&map_of(POOL.iter().cloned()));
    for gap in 1..tree.nodes.len() {
        let missing = BTreeSet::from([tree.nodes[gap].0]);
        let nodes = NodeStore::new(stored(&tree, &missing));
        let walker = NodeWalker::new(&nodes, &tree.root).unwrap();
        let cid_of = |item: Result<VisitedNode, Error>| item.ok().map(|node| node.cid());
        let all: Vec<Option<Cid>> = walker.nodes().map(cid_of).collect();
        let at = all.iter().position(Option::is_none).unwrap();

        let last = all[at - 1].unwrap();
        let is_leaf = (0..=node_of(&tree, &last).len())
            .all(|slot| node_of(&tree, &last).subtree(slot).is_none());
        if is_leaf {
            let mut nodes = walker.nodes();
            let mut found: Vec<Option<Cid>> = nodes.by_ref().take(at + 1).map(cid_of).collect();
            // Below the last node returned, a leaf, there is nothing to leave out.
            nodes.skip_subtrees();
            found.extend(nodes.map(cid_of));
            assert_eq!(found, all, "gap at {at}");
        }
    }
}

/// What a look-up leaves in the cache stays there, even if the whole tree is read.
#[test]
fn reading_a_tree_through_leaves_the_cache_as_it_is() {
    struct Counting(MemoryBlockStore, AtomicUsize);

    impl BlockStore for Counting {
        fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.get(cid)
        }
    }

    let map = map_of(POOL.iter().cloned());
    let (nodes, tree) = whole(&map);
    let store = Counting(nodes.into_blocks(), AtomicUsize::new(0));
    let nodes = NodeStore::new(store);
    let reads = || nodes.blocks().1.swap(0, Ordering::Relaxed);
    let all = tree.nodes.len();
    let read_through = || {
        assert_eq!(nodes.entries(&tree.root).unwrap().count(), map.len());
        let walker = NodeWalker::new(&nodes, &tree.root).unwrap();
        assert_eq!(walker.nodes().count(), all);
        reads()
    };
    // The top node is looked up, and stays.
    assert_eq!(read_through(), 1 + 2 * (all - 1));
    assert_eq!(read_through(), 2 * (all - 1));
    let get = || nodes.get(&tree.root, POOL[0].as_bytes()).unwrap();
    assert!(get().is_some() && reads() > 0);
    assert!(get().is_some() && reads() == 0);
}

#[test]
fn one_node_store_serves_many_threads() {
    let map = map_of(POOL.iter().cloned());
    let (nodes, tree) = whole(&map);
    let expected = pairs_of(&map);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let entries = nodes.entries(&tree.root).unwrap();
                    let found: Vec<_> = entries.map(|entry| pair(&entry.unwrap())).collect();
                    assert_eq!(found, expected);
                }
            });
        }
    });
}

// ---- Trees and places in them.

/// 80 keys in four groups, of heights 0 to 4.
static POOL: LazyLock<Vec<String>> = LazyLock::new(|| {
    const HEIGHTS: [u8; 20] = [0, 0, 1, 0, 2, 0, 1, 0, 3, 0, 0, 1, 0, 0, 2, 0, 4, 0, 1, 0];
    let mut keys = Vec::new();
    for prefix in ["a/", "a/b", "b/", "über/"] {
        for (n, height) in HEIGHTS.into_iter().enumerate() {
            keys.push(key_of_height(&format!("{prefix}{n:02}-"), height));
        }
    }
    keys
});

fn maps() -> impl Strategy<Value = Map> {
    subsequence(POOL.clone(), 0..=POOL.len()).prop_map(map_of)
}

fn map_of(keys: impl IntoIterator<Item = String>) -> Map {
    let with_value = |key: String| {
        let value = dag_cbor_cid(key.as_bytes());
        (key, value)
    };
    keys.into_iter().map(with_value).collect()
}

/// Keys that a tree may have, and places around them.
fn places() -> impl Strategy<Value = String> {
    (any::<Index>(), 0..5_u8).prop_map(|(index, change)| {
        let key = index.get(&POOL).clone();
        match change {
            0 => format!("{key}\0"),
            1 => key[..key.len() - 1].to_owned(),
            2 => key.split('-').next().unwrap_or_default().to_owned(),
            _ => key,
        }
    })
}

type Range = (Bound<String>, Bound<String>);

fn ranges() -> impl Strategy<Value = Range> {
    let bound = || {
        prop_oneof![
            places().prop_map(Bound::Included),
            places().prop_map(Bound::Excluded),
            Just(Bound::Unbounded),
        ]
    };
    (bound(), bound())
}

fn contains(range: &Range, key: &str) -> bool {
    let after = match &range.0 {
        Bound::Included(start) => key >= start.as_str(),
        Bound::Excluded(start) => key > start.as_str(),
        Bound::Unbounded => true,
    };
    let before = match &range.1 {
        Bound::Included(end) => key <= end.as_str(),
        Bound::Excluded(end) => key < end.as_str(),
        Bound::Unbounded => true,
    };
    after && before
}

fn is_inverted(range: &Range) -> bool {
    match range {
        // One key is in it.
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (
            Bound::Included(start) | Bound::Excluded(start),
            Bound::Included(end) | Bound::Excluded(end),
        ) => start >= end,
        _ => false,
    }
}

/// The entries of `map` in `range`. Filtered by hand, because `BTreeMap::range` panics if the
/// start is after the end.
fn in_range(map: &Map, range: &Range) -> Vec<(String, Cid)> {
    let all = pairs_of(map).into_iter();
    all.filter(|(key, _)| contains(range, key)).collect()
}

fn stored(tree: &SampleTree, missing: &BTreeSet<Cid>) -> MemoryBlockStore {
    let blocks = MemoryBlockStore::new();
    for (cid, block) in &tree.nodes {
        if !missing.contains(cid) {
            blocks.put(cid, block.clone()).unwrap();
        }
    }
    blocks
}

fn whole(map: &Map) -> (NodeStore<MemoryBlockStore>, SampleTree) {
    let tree = build_tree(map);
    (NodeStore::new(stored(&tree, &BTreeSet::new())), tree)
}

fn key(entry: &EntryRef) -> String {
    entry.key_str().unwrap().to_owned()
}

fn pair(entry: &EntryRef) -> (String, Cid) {
    (key(entry), entry.value())
}

fn pairs_of(map: &Map) -> Vec<(String, Cid)> {
    map.iter()
        .map(|(key, value)| (key.clone(), *value))
        .collect()
}

// ---- Walks done the obvious way.

/// Goes through the subtree in whose first slot `walker` stands, by single steps. Returns in how
/// many slots it stood.
fn step_through(
    walker: &mut NodeWalker<'_, MemoryBlockStore>,
    map: &Map,
    keys: &mut Vec<String>,
) -> usize {
    let mut finals = 0;
    loop {
        finals += usize::from(walker.is_final());
        let left = walker.left_key().map(<[u8]>::to_vec);
        let right = walker.right_key().map(<[u8]>::to_vec);
        assert_eq!(
            walker.left_value(),
            left.as_deref().map(|key| value(map, key))
        );
        assert_eq!(
            walker.right_value(),
            right.as_deref().map(|key| value(map, key))
        );
        let between = map.keys().map(String::as_bytes).filter(|key| {
            left.as_deref().is_none_or(|left| *key > left)
                && right.as_deref().is_none_or(|right| *key < right)
        });
        let empty = between.count() == 0;
        assert_eq!(walker.subtree().is_none(), empty);
        assert_eq!(walker.go_down().unwrap(), !empty);
        if !empty {
            assert_eq!(walker.left_key(), left.as_deref(), "the bound stays");
            finals += step_through(walker, map, keys);
            assert!(walker.go_up());
            assert_eq!(walker.right_key(), right.as_deref(), "the bound stays");
        }
        assert_eq!(walker.can_go_right(), walker.slot() < walker.node().len());
        if !walker.go_right() {
            return finals;
        }
        let passed = walker.left_key().unwrap().to_vec();
        assert_eq!(Some(&passed), right.as_ref());
        keys.push(String::from_utf8(passed).unwrap());
    }
}

fn value(map: &Map, key: &[u8]) -> Cid {
    map[str::from_utf8(key).unwrap()]
}

fn nodes_skipping(
    nodes: &NodeStore<MemoryBlockStore>,
    root: &Cid,
    skips: &[bool],
    times: usize,
) -> Vec<Cid> {
    let mut nodes = NodeWalker::new(nodes, root).unwrap().nodes();
    let mut found = Vec::new();
    while let Some(node) = nodes.next() {
        let node = node.unwrap();
        if skips[found.len() % skips.len()] {
            for _ in 0..times {
                nodes.skip_subtrees();
            }
        }
        found.push(node.cid());
    }
    found
}

fn preorder_skipping(tree: &SampleTree, skips: &[bool]) -> Vec<Cid> {
    fn below(tree: &SampleTree, cid: Cid, skips: &[bool], found: &mut Vec<Cid>) {
        let skip = skips[found.len() % skips.len()];
        found.push(cid);
        if !skip {
            let node = node_of(tree, &cid);
            for child in (0..=node.len()).filter_map(|slot| node.subtree(slot)) {
                below(tree, child, skips, found);
            }
        }
    }
    let mut found = Vec::new();
    below(tree, tree.root, skips, &mut found);
    found
}

/// What an iterator over a partial tree returns.
#[derive(Debug, Clone)]
enum Item {
    Entry(String),
    Gap {
        cid: Cid,
        left: Option<String>,
        right: Option<String>,
    },
}

/// An iterator does not say where a gap is.
impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Entry(key), Self::Entry(other)) => key == other,
            (Self::Gap { cid, .. }, Self::Gap { cid: other, .. }) => cid == other,
            _ => false,
        }
    }
}

impl Item {
    /// Whether the key is in `range`, or the gap may hide a key that is.
    fn may_be_in(&self, range: &Range) -> bool {
        match self {
            Self::Entry(key) => contains(range, key),
            Self::Gap { left, right, .. } => {
                let after_start = match (&range.0, right) {
                    (Bound::Included(start) | Bound::Excluded(start), Some(right)) => right > start,
                    _ => true,
                };
                let before_end = match (&range.1, left) {
                    (Bound::Included(end) | Bound::Excluded(end), Some(left)) => left < end,
                    _ => true,
                };
                after_start && before_end
            }
        }
    }
}

#[derive(Debug, Clone)]
struct Partial {
    map: Map,
    tree: SampleTree,
    missing: BTreeSet<Cid>,
}

fn partials() -> impl Strategy<Value = Partial> {
    (maps(), prop::collection::vec(any::<Index>(), 0..6)).prop_map(|(map, gone)| {
        let tree = build_tree(&map);
        let missing = gone.iter().map(|index| index.get(&tree.nodes).0).collect();
        Partial { map, tree, missing }
    })
}

fn item(result: Result<EntryRef, Error>) -> Item {
    match result {
        Ok(entry) => Item::Entry(key(&entry)),
        Err(Error::MissingBlock(cid)) => Item::Gap {
            cid,
            left: None,
            right: None,
        },
        Err(error) => panic!("{error}"),
    }
}

/// The entries that can be reached, and in their places the nodes that are missing.
fn reachable(tree: &SampleTree, missing: &BTreeSet<Cid>) -> Vec<Item> {
    fn below(
        tree: &SampleTree,
        missing: &BTreeSet<Cid>,
        cid: Cid,
        (left, right): (Option<String>, Option<String>),
        items: &mut Vec<Item>,
    ) {
        if missing.contains(&cid) {
            return items.push(Item::Gap { cid, left, right });
        }
        let node = node_of(tree, &cid);
        let key = |index: usize| Some(String::from_utf8(node.key(index)?.to_vec()).unwrap());
        for slot in 0..=node.len() {
            if let Some(child) = node.subtree(slot) {
                let left = slot.checked_sub(1).map_or(left.clone(), key);
                let right = key(slot).or_else(|| right.clone());
                below(tree, missing, child, (left, right), items);
            }
            items.extend(key(slot).map(Item::Entry));
        }
    }
    let mut items = Vec::new();
    below(tree, missing, tree.root, (None, None), &mut items);
    items
}

/// The missing node in which `key` may be, if there is one.
fn hiding_place(tree: &SampleTree, missing: &BTreeSet<Cid>, key: &str) -> Option<Cid> {
    reachable(tree, missing)
        .into_iter()
        .find_map(|item| match item {
            Item::Gap { cid, left, right } => {
                let enclosed = left.is_none_or(|left| left.as_str() < key)
                    && right.is_none_or(|right| key < right.as_str());
                // A subtree holds keys of its own height and of those below it.
                let height = height_in(tree, tree.root, &cid)?;
                (enclosed && height_of(key.as_bytes()) <= height).then_some(cid)
            }
            Item::Entry(_) => None,
        })
}

/// The height of the node `cid`, which may have no keys, below `from`.
fn height_in(tree: &SampleTree, from: Cid, cid: &Cid) -> Option<u8> {
    if from == *cid {
        return Some(height_of_top(tree, from));
    }
    let node = node_of(tree, &from);
    let mut children = (0..=node.len()).filter_map(|slot| node.subtree(slot));
    children.find_map(|child| height_in(tree, child, cid))
}

fn height_of_top(tree: &SampleTree, cid: Cid) -> u8 {
    let node = node_of(tree, &cid);
    match (node.key(0), node.subtree(0)) {
        (Some(key), _) => height_of(key),
        (None, Some(below)) => height_of_top(tree, below) + 1,
        (None, None) => 0,
    }
}

fn node_of(tree: &SampleTree, cid: &Cid) -> Node {
    let (_, block) = tree.nodes.iter().find(|(of, _)| of == cid).unwrap();
    Node::decode(block).unwrap()
}

/// This many cases, and no file for one that fails: the seed is in the report.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
