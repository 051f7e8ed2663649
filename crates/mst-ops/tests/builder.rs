//! The danger: a second way to the same root. A tree that is streamed out level by level is
//! never seen as a whole, so nobody notices a subtree in the wrong slot, a missing level without
//! keys between two that have some, a block that is returned twice or not at all, or a key that
//! went into the next node because an earlier one was refused.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use blockstore_core::{BlockStoreMut, Bytes, Cid, MemoryBlockStore, StoreError, dag_cbor_cid};
use mst_node::{InvalidKey, Node, height_of};
use mst_ops::{Error, Limits, NodeStore, TreeBuilder, verify};
use mst_testkit::{PUBLISHED_ROOTS, PUBLISHED_VALUE, Rng, build_tree, key_of_height};
use proptest::prelude::*;
use proptest::sample::Index;

type Map = BTreeMap<String, Cid>;

#[test]
fn the_published_trees_are_built() {
    let value: Cid = PUBLISHED_VALUE.parse().unwrap();
    for (root, keys) in PUBLISHED_ROOTS {
        let map = keys.iter().map(|key| ((*key).to_owned(), value)).collect();
        assert_eq!(built(&map).0.to_string(), root);
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn a_streamed_tree_is_that_built_the_obvious_way(
        pairs in prop::collection::vec(any::<(Index, u8)>(), 0..50),
    ) {
        let map: Map = pairs
            .iter()
            .map(|(key, value)| (key.get(&KEYS).clone(), value_of(*value)))
            .collect();
        assert_built(&map);
    }

    #[test]
    fn an_entry_that_is_refused_leaves_no_trace(
        pairs in prop::collection::vec(any::<(Index, u8)>(), 1..50),
    ) {
        // In the given order; those out of order are refused.
        let mut map = Map::new();
        let mut blocks = Vec::new();
        let mut builder = TreeBuilder::new(collect_into(&mut blocks));
        for (key, value) in &pairs {
            let (key, value) = (key.get(&KEYS), value_of(*value));
            let in_order = map.last_key_value().is_none_or(|(last, _)| last < key);
            let pushed = builder.push(key.as_bytes(), &value);
            if in_order {
                pushed.unwrap();
                map.insert(key.clone(), value);
            } else {
                let count = map.len() as u64;
                let refused = matches!(pushed, Err(Error::KeyOrder { index }) if index == count);
                prop_assert!(refused, "{:?}", pushed);
            }
        }
        let root = builder.finish().unwrap();
        assert_is_tree(&map, root, &blocks);
    }
}

#[test]
fn a_tree_of_tens_of_thousands_of_keys_is_built() {
    let mut rng = Rng::new(11);
    let map: Map = (0..30_000_u32)
        .map(|n| {
            let random = rng.next_u64();
            let key = match n % 3 {
                0 => format!("app.bsky.feed.like/{random:013x}"),
                1 => format!("app.bsky.feed.post/{n:07}"),
                _ => format!("app.bsky.graph.follow/{}", random % 1_000_000_000),
            };
            (key, value_of(u8::try_from(random >> 56).unwrap()))
        })
        .collect();
    assert_built(&map);

    let (root, blocks) = built(&map);
    let store = MemoryBlockStore::new();
    store.put_many(&blocks).unwrap();
    let summary = verify(&NodeStore::new(&store), &root).unwrap();
    assert_eq!(summary.nodes, blocks.len() as u64);
    assert_eq!(summary.entries, map.len() as u64);
}

#[test]
fn levels_without_keys_have_nodes() {
    for heights in [
        &[0, 7][..],
        &[7, 0],
        &[0, 7, 0],
        &[0, 3, 7, 3, 0],
        &[7],
        &[3, 7, 0],
    ] {
        let keys = heights.iter().zip('a'..);
        let map = keys
            .map(|(height, letter)| (key_of_height(&letter.to_string(), *height), value_of(1)))
            .collect();
        assert_built(&map);
    }
}

#[test]
fn a_key_that_is_not_greater_is_refused() {
    let mut blocks = Vec::new();
    let mut builder = TreeBuilder::new(collect_into(&mut blocks));
    let value = value_of(1);
    builder.push(b"b", &value).unwrap();
    builder.push(b"ba", &value).unwrap();
    for key in [b"ba".as_slice(), b"b", b"a", b"az"] {
        let error = builder.push(key, &value).unwrap_err();
        assert!(matches!(error, Error::KeyOrder { index: 2 }), "{error:?}");
    }
    // By bytes, not by characters, and with no regard to collation.
    builder.push(b"ba\x00", &value).unwrap();
    builder.push(b"ba\xff", &value).unwrap();
    let error = builder.push("ba\u{7f}".as_bytes(), &value).unwrap_err();
    assert!(matches!(error, Error::KeyOrder { index: 4 }), "{error:?}");
    let root = builder.finish().unwrap();

    let nodes = stored(&blocks);
    assert_eq!(verify(&nodes, &root).unwrap().entries, 4);
    assert_eq!(nodes.get(&root, b"ba\xff").unwrap(), Some(value));
}

#[test]
fn a_key_that_no_tree_can_have_is_refused() {
    let mut blocks = Vec::new();
    let mut builder = TreeBuilder::new(collect_into(&mut blocks));
    let value = value_of(1);
    let longest = Limits::default().key_len;
    let refused = |builder: &mut TreeBuilder<_>| {
        let error = builder.push(b"", &value).unwrap_err();
        assert!(matches!(error, Error::InvalidKey(InvalidKey::Empty)));
        let error = builder.push(vec![b'z'; longest + 1], &value).unwrap_err();
        assert!(matches!(
            error,
            Error::InvalidKey(InvalidKey::TooLong { .. })
        ));
    };
    refused(&mut builder);
    builder.push(b"a", &value).unwrap();
    refused(&mut builder);
    builder.push(b"b", &value).unwrap();
    refused(&mut builder);
    assert_eq!(builder.finish().unwrap(), built_of(&["a", "b"]));

    // With nothing but refused keys, the tree is empty.
    let mut blocks = Vec::new();
    let mut builder = TreeBuilder::new(collect_into(&mut blocks));
    refused(&mut builder);
    assert_eq!(builder.finish().unwrap(), Node::empty().cid());
    assert_eq!(blocks.len(), 1);
}

#[test]
fn a_node_does_not_grow_past_the_limit_of_entries() {
    let limit = Limits::default().entries;
    let mut low = (0..)
        .map(|n| format!("k{n:06}"))
        .filter(|key| height_of(key.as_bytes()) == 0);
    let mut map = Map::new();
    let mut blocks = Vec::new();
    let mut builder = TreeBuilder::new(collect_into(&mut blocks));
    for key in low.by_ref().take(limit) {
        builder.push(key.as_bytes(), &value_of(1)).unwrap();
        map.insert(key, value_of(1));
    }
    let keys_len: usize = map.keys().map(String::len).sum();
    let next = low.next().unwrap();
    for _ in 0..2 {
        let error = builder.push(next.as_bytes(), &value_of(1)).unwrap_err();
        assert!(
            matches!(error, Error::NodeTooLarge { entries, keys_len: len }
                if entries == limit + 1 && len == keys_len + next.len()),
            "{error:?}"
        );
    }
    // A key of another level is accepted, and then the next node has room.
    let above = key_of_height(&next, 1);
    let behind = key_of_height(&format!("{next}~"), 0);
    for key in [above, behind] {
        builder.push(key.as_bytes(), &value_of(1)).unwrap();
        map.insert(key, value_of(1));
    }
    let root = builder.finish().unwrap();
    assert_is_tree(&map, root, &blocks);
    assert_eq!(
        verify(&stored(&blocks), &root).unwrap().entries,
        map.len() as u64
    );
}

/// Also the first of its level.
#[test]
fn a_key_that_fits_no_node_is_refused_wherever_it_comes() {
    let limits = Limits {
        key_bytes: 100,
        ..Limits::default()
    };
    let long = "l".repeat(100);
    for before in [
        vec![],
        vec![key_of_height("a", 0)],
        vec![key_of_height("a", 1)],
    ] {
        let mut blocks = Vec::new();
        let mut builder = TreeBuilder::with_limits(collect_into(&mut blocks), limits);
        for key in &before {
            builder.push(key.as_bytes(), &value_of(1)).unwrap();
        }
        for height in 0..3 {
            let key = key_of_height(&long, height);
            let error = builder.push(key.as_bytes(), &value_of(1)).unwrap_err();
            assert!(matches!(error, Error::NodeTooLarge { entries: 1 | 2, .. }));
        }
        builder.finish().unwrap();
        assert_eq!(blocks.len(), 1);
    }
}

#[test]
fn a_node_does_not_grow_past_the_limit_of_key_bytes() {
    let limits = Limits::default();
    let long = "l".repeat(limits.key_len - 32);
    let mut keys: Vec<String> = (0..20)
        .map(|n| key_of_height(&format!("{n:02}{long}"), 0))
        .collect();
    keys.sort_unstable();
    let mut blocks = Vec::new();
    let mut builder = TreeBuilder::new(collect_into(&mut blocks));
    let mut len = 0;
    let mut refused = 0;
    for key in &keys {
        let pushed = builder.push(key.as_bytes(), &value_of(1));
        if len + key.len() <= limits.key_bytes {
            pushed.unwrap();
            len += key.len();
        } else {
            let error = pushed.unwrap_err();
            assert!(
                matches!(error, Error::NodeTooLarge { keys_len, .. } if keys_len == len + key.len())
            );
            refused += 1;
        }
    }
    assert!(refused > 0);
    // After a key of another level comes another node, which has room.
    for key in [key_of_height("y", 1), key_of_height(&format!("z{long}"), 0)] {
        builder.push(key.as_bytes(), &value_of(1)).unwrap();
    }
    let root = builder.finish().unwrap();
    assert_eq!(
        verify(&stored(&blocks), &root).unwrap().entries,
        22 - refused
    );
}

#[test]
fn a_sink_that_fails_is_reported_at_once() {
    let map: Map = KEYS.iter().map(|key| (key.clone(), value_of(1))).collect();
    let count = build_tree(&map).nodes.len();
    for fail_at in 0..=count {
        let mut given = 0;
        let mut builder = TreeBuilder::new(|_, _| {
            given += 1;
            if given > fail_at {
                return Err(StoreError::backend("no space left"));
            }
            Ok(())
        });
        let pushed = map
            .iter()
            .try_for_each(|(key, value)| builder.push(key.as_bytes(), value));
        let failed = match pushed {
            Ok(()) => builder.finish().map(|_| ()),
            Err(error) => Err(error),
        };
        if fail_at < count {
            assert!(matches!(failed, Err(Error::Store(StoreError::Backend(_)))));
            assert_eq!(given, fail_at + 1);
        } else {
            failed.unwrap();
            assert_eq!(given, count);
        }
    }
}

#[test]
fn a_builder_whose_sink_has_failed_gives_no_root() {
    let map: Map = KEYS.iter().map(|key| (key.clone(), value_of(1))).collect();
    let count = build_tree(&map).nodes.len();
    for fail_at in 1..=count {
        let mut given = 0;
        let mut builder = TreeBuilder::new(|_, _| {
            given += 1;
            if given == fail_at {
                return Err(StoreError::backend("no space left"));
            }
            Ok(())
        });
        // Ignoring what `push` returns, or trying again, still gives no root.
        let failures = map
            .iter()
            .filter(|(key, value)| builder.push(key.as_bytes(), value).is_err())
            .count();
        assert!(
            matches!(builder.finish(), Err(Error::Store(_))),
            "{failures} failures"
        );
    }
}

// ---- What the tests share.

/// Keys of many heights, in random order; some share more than 255 bytes.
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let heights = [0, 1, 0, 2, 0, 3, 1, 0, 6, 0, 1, 2, 0, 1, 0, 4];
    let long = "l".repeat(300);
    let mut keys: Vec<String> = (0..48_usize)
        .map(|n| {
            let start = if n % 6 == 5 { &long } else { "k" };
            key_of_height(
                &format!("{start}{:02}/", n * 31 % 48),
                heights[n % heights.len()],
            )
        })
        .collect();
    keys.extend(["ñ", "ñandú", "\u{10ffff}"].map(str::to_owned));
    keys
});

/// Values whose CIDs have different lengths.
fn value_of(n: u8) -> Cid {
    match n % 3 {
        0 => dag_cbor_cid(&[n]),
        1 => blockstore_core::raw_cid(&[n]),
        _ => Cid::new_v0(*dag_cbor_cid(&[n]).hash()).unwrap(),
    }
}

fn collect_into(
    blocks: &mut Vec<(Cid, Bytes)>,
) -> impl FnMut(Cid, Bytes) -> Result<(), StoreError> + '_ {
    |cid, block| {
        blocks.push((cid, block));
        Ok(())
    }
}

fn built(map: &Map) -> (Cid, Vec<(Cid, Bytes)>) {
    let mut blocks = Vec::new();
    let mut builder = TreeBuilder::new(collect_into(&mut blocks));
    for (key, value) in map {
        builder.push(key.as_bytes(), value).unwrap();
    }
    let root = builder.finish().unwrap();
    (root, blocks)
}

fn built_of(keys: &[&str]) -> Cid {
    let map = keys.iter().map(|key| ((*key).to_owned(), value_of(1)));
    build_tree(&map.collect()).root
}

fn stored(blocks: &[(Cid, Bytes)]) -> NodeStore<MemoryBlockStore> {
    let store = MemoryBlockStore::new();
    store.put_many(blocks).unwrap();
    NodeStore::new(store)
}

fn assert_built(map: &Map) {
    let (root, blocks) = built(map);
    assert_is_tree(map, root, &blocks);
}

/// Checks that `blocks` are the nodes of the tree of `map`, each once, and none before one that
/// it links to.
fn assert_is_tree(map: &Map, root: Cid, blocks: &[(Cid, Bytes)]) {
    let expected = build_tree(map);
    assert_eq!(root, expected.root);
    let mut given = BTreeSet::new();
    for (cid, block) in blocks {
        assert_eq!(dag_cbor_cid(block), *cid);
        let node = Node::decode(block).unwrap();
        for slot in 0..=node.len() {
            assert!(
                node.subtree(slot)
                    .is_none_or(|below| given.contains(&below))
            );
        }
        assert!(given.insert(*cid), "each once");
    }
    assert_eq!(blocks.last().unwrap().0, root);
    let expected: BTreeSet<Cid> = expected.nodes.iter().map(|(cid, _)| *cid).collect();
    assert_eq!(given, expected);
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
