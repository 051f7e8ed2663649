//! The danger: a hand-written codec that agrees with itself and with nobody else.
//!
//! `serde_ipld_dagcbor`, which others wrote and which knows nothing of this crate, is the
//! oracle: it decodes what is accepted here to the same parts, and what it encodes is
//! accepted here.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::{BTreeMap, BTreeSet};

use mst_node::{BuildError, Cid, InvalidKey, Node, NodeBuilder, node_cid};
use proptest::prelude::*;
use proptest::sample::Index;
use serde::{Deserialize, Serialize};

#[test]
fn the_oracle_reads_the_published_node() {
    // The tree of one key, in `@atproto/repo` and indigo (`mst_interop_test.go`).
    let value = "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454";
    let mut builder = NodeBuilder::new(None).unwrap();
    let key = b"com.example.record/3jqfcqzm3fo2j";
    builder.push(key, &value.parse().unwrap(), None).unwrap();
    let node = builder.finish();
    assert_eq!(
        node.cid().to_string(),
        "bafyreibj4lsc3aqnrvphp5xmrnfoorvru4wynt6lwidqbm2623a6tatzdu"
    );
    assert_same(
        &node,
        &serde_ipld_dagcbor::from_slice(&node.encode()).unwrap(),
    );
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn what_the_oracle_encodes_is_decoded_to_the_same(parts in parts()) {
        let plain = PlainNode::from(&parts);
        let block = serde_ipld_dagcbor::to_vec(&plain).unwrap();
        let node = Node::decode(&block).unwrap();
        assert_same(&node, &plain);
        prop_assert_eq!(node.encode(), block);
    }

    #[test]
    fn what_is_built_and_encoded_the_oracle_decodes_to_the_same(parts in parts()) {
        let node = built(&parts);
        let block = node.encode();
        assert_same(&node, &serde_ipld_dagcbor::from_slice(&block).unwrap());
        prop_assert_eq!(&block, &serde_ipld_dagcbor::to_vec(&PlainNode::from(&parts)).unwrap());
        let decoded = Node::decode(&block).unwrap();
        prop_assert_eq!(&decoded, &node);
        prop_assert_eq!(decoded.cid(), node.cid());
        prop_assert!(node.memory_len() >= size_of::<Node>() + parts.entries.keys().map(Vec::len).sum::<usize>());
    }

    #[test]
    fn the_parts_of_a_node_are_those_it_was_built_from(parts in parts(), absent in key()) {
        let node = built(&parts);
        prop_assert_eq!(node.len(), parts.entries.len());
        prop_assert_eq!(node.is_empty(), parts.entries.is_empty());
        prop_assert_eq!(node.subtree(0), parts.left);
        for (index, (key, (value, right))) in parts.entries.iter().enumerate() {
            prop_assert_eq!(node.key(index), Some(key.as_slice()));
            prop_assert_eq!(node.value(index), Some(*value));
            prop_assert_eq!(node.value_bytes(index).map(<[u8]>::to_vec), Some(value.to_bytes()));
            prop_assert_eq!(node.subtree(index + 1), *right);
            prop_assert_eq!(node.find(key), Ok(index));
        }
        for (entry, (key, (value, right))) in node.entries().zip(&parts.entries) {
            prop_assert_eq!((entry.key(), entry.value(), entry.right()), (key.as_slice(), *value, *right));
        }
        let len = parts.entries.len();
        prop_assert_eq!((node.key(len), node.value(len), node.subtree(len + 1)), (None, None, None));
        let keys: Vec<&Vec<u8>> = parts.entries.keys().collect();
        prop_assert_eq!(node.find(&absent), keys.binary_search(&&absent));
    }

    #[test]
    fn a_changed_block_is_refused_or_is_the_spelling_of_what_it_says(
        parts in parts(),
        changes in prop::collection::vec((any::<Index>(), changes()), 1..4),
    ) {
        let mut block = built(&parts).encode();
        for (at, change) in &changes {
            change.apply(&mut block, *at);
        }
        if let Ok(node) = Node::decode(&block) {
            prop_assert_eq!(node.encode(), block.clone());
            assert_same(&node, &serde_ipld_dagcbor::from_slice(&block).unwrap());
        }
    }

    #[test]
    fn any_bytes_are_refused_or_are_the_spelling_of_what_they_say(
        tail in prop::collection::vec(prop_oneof![
            any::<u8>(),
            prop::sample::select(b"\x61\xa2\xa4\xf6\xd8\x2a\x58\x25\x00\x01\x71\x12\x20ekptvl".to_vec()),
        ], 0..80),
    ) {
        let block = [b"\xa2\x61e\x81\xa4\x61k".as_slice(), &tail].concat();
        for block in [block.as_slice(), &tail] {
            if let Ok(node) = Node::decode(block) {
                prop_assert_eq!(node.encode(), block);
            }
        }
    }

    #[test]
    fn a_builder_takes_ascending_keys_only_and_stays_as_it_was(keys in prop::collection::vec(key(), 1..12)) {
        let mut builder = NodeBuilder::new(None).unwrap();
        let mut taken: Vec<Vec<u8>> = Vec::new();
        for key in keys {
            let index = taken.len();
            let pushed = builder.push(&key, &cid(1), Some(&cid(2)));
            if key.is_empty() {
                let source = InvalidKey::Empty;
                prop_assert_eq!(pushed, Err(BuildError::InvalidKey { index, source }));
            } else if taken.last().is_some_and(|last| key <= *last) {
                prop_assert_eq!(pushed, Err(BuildError::KeyOrder { index }));
            } else {
                prop_assert_eq!(pushed, Ok(()));
                taken.push(key);
            }
        }
        let node = builder.finish();
        let found: Vec<Vec<u8>> = node.entries().map(|entry| entry.key().to_vec()).collect();
        prop_assert_eq!(found, taken);
        prop_assert_eq!(Node::decode(&node.encode()).unwrap(), node);
    }
}

// ---- What the oracle sees: the specification's fields and nothing else.

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainNode {
    e: Vec<PlainEntry>,
    l: Option<Cid>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainEntry {
    k: PlainBytes,
    p: u64,
    t: Option<Cid>,
    v: Cid,
}

/// A byte string, which serde would treat as a list of numbers.
#[derive(Debug, PartialEq)]
struct PlainBytes(Vec<u8>);

impl Serialize for PlainBytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for PlainBytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = PlainBytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a byte string")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<PlainBytes, E> {
                Ok(PlainBytes(bytes.to_vec()))
            }
        }

        deserializer.deserialize_bytes(Visitor)
    }
}

impl From<&Parts> for PlainNode {
    fn from(parts: &Parts) -> Self {
        let mut previous: &[u8] = &[];
        let mut e = Vec::new();
        for (key, (v, t)) in &parts.entries {
            let mut p = 0;
            while p < previous.len() && p < key.len() && previous[p] == key[p] {
                p += 1;
            }
            e.push(PlainEntry {
                k: PlainBytes(key[p..].to_vec()),
                p: p as u64,
                t: *t,
                v: *v,
            });
            previous = key;
        }
        Self { e, l: parts.left }
    }
}

fn assert_same(node: &Node, plain: &PlainNode) {
    assert_eq!(node.len(), plain.e.len());
    assert_eq!(node.subtree(0), plain.l);
    let mut key: Vec<u8> = Vec::new();
    for (entry, plain) in node.entries().zip(&plain.e) {
        key.truncate(usize::try_from(plain.p).unwrap());
        key.extend_from_slice(&plain.k.0);
        assert_eq!(entry.key(), key);
        assert_eq!(entry.value(), plain.v);
        assert_eq!(entry.right(), plain.t);
    }
}

// ---- Nodes of all kinds.

#[derive(Debug, Clone)]
struct Parts {
    left: Option<Cid>,
    entries: BTreeMap<Vec<u8>, (Cid, Option<Cid>)>,
}

fn built(parts: &Parts) -> Node {
    let mut builder = NodeBuilder::new(parts.left.as_ref()).unwrap();
    for (key, (value, right)) in &parts.entries {
        builder.push(key, value, right.as_ref()).unwrap();
    }
    builder.finish()
}

fn parts() -> impl Strategy<Value = Parts> {
    let key = key().prop_filter("a key is not empty", |key| !key.is_empty());
    let entry = (value(), prop::option::of(subtree()));
    let entries = prop::collection::btree_map(key, entry, 0..40);
    (prop::option::of(subtree()), entries).prop_map(|(left, entries)| Parts { left, entries })
}

/// Keys that share much with each other, now and then several hundred bytes.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::collection::vec(
        prop_oneof![Just(b'a'), Just(0), Just(0xff), any::<u8>()],
        0..6,
    );
    let start = prop_oneof![
        4 => Just(String::new()),
        4 => Just("app.bsky.feed.post/3k".to_owned()),
        1 => (250..270_usize).prop_map(|len| "x".repeat(len)),
        1 => Just("ñ".repeat(150)),
    ];
    (start, bytes).prop_map(|(start, bytes)| [start.into_bytes(), bytes].concat())
}

fn subtree() -> impl Strategy<Value = Cid> {
    any::<u8>().prop_map(cid)
}

fn value() -> impl Strategy<Value = Cid> {
    let digest = || prop::collection::vec(any::<u8>(), 64);
    let from = |bytes: Vec<u8>| Cid::try_from(bytes.as_slice()).unwrap();
    prop_oneof![
        6 => subtree(),
        1 => digest().prop_map(move |d| from([b"\x01\x55\x12\x20", &d[..32]].concat())),
        1 => digest().prop_map(move |d| from([b"\x12\x20", &d[..32]].concat())),
        1 => digest().prop_map(move |d| from([b"\x01\x71\x13\x40", d.as_slice()].concat())),
        1 => (digest(), 0..=64_u8)
            .prop_map(move |(d, len)| from([b"\x01\x55\x00".as_slice(), &[len], &d[..usize::from(len)]].concat())),
    ]
}

fn cid(byte: u8) -> Cid {
    node_cid(&[byte; 32])
}

/// A change to some bytes of a block.
#[derive(Debug, Clone)]
enum Change {
    Set(u8),
    Add(u8),
    Insert(Vec<u8>),
    Remove(usize),
    Swap(Index),
}

impl Change {
    fn apply(&self, block: &mut Vec<u8>, at: Index) {
        let at = at.index(block.len().max(1));
        match self {
            Self::Insert(bytes) => {
                let at = at.min(block.len());
                block.splice(at..at, bytes.iter().copied());
            }
            _ if block.is_empty() => {}
            Self::Set(byte) => block[at] = *byte,
            Self::Add(step) => block[at] = block[at].wrapping_add(*step),
            Self::Remove(len) => {
                block.drain(at..(at + len).min(block.len()));
            }
            Self::Swap(other) => {
                let other = other.index(block.len());
                block.swap(at, other);
            }
        }
    }
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<u8>().prop_map(Change::Set),
        prop_oneof![Just(1), Just(255), Just(0x20)].prop_map(Change::Add),
        prop::collection::vec(any::<u8>(), 1..4).prop_map(Change::Insert),
        (1..4_usize).prop_map(Change::Remove),
        any::<Index>().prop_map(Change::Swap),
    ]
}

/// This many cases, and no file for one that fails: the seed is in the report.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(256))]

    /// Keys that share much, that are prefixes of each other, that end in zeros.
    #[test]
    fn a_key_is_found_where_a_search_of_all_keys_finds_it(
        prefix in prop::collection::vec(0..3_u8, 0..12),
        rests in prop::collection::btree_set(prop::collection::vec(0..3_u8, 0..7), 1..70),
        asked in prop::collection::vec(prop::collection::vec(0..3_u8, 0..20), 20),
    ) {
        let keys: BTreeSet<Vec<u8>> = rests
            .into_iter()
            .map(|rest| [prefix.as_slice(), &rest].concat())
            .filter(|key| !key.is_empty())
            .collect();
        let value = Node::empty().cid();
        let mut builder = NodeBuilder::new(None).unwrap();
        for key in &keys {
            builder.push(key, &value, None).unwrap();
        }
        let node = builder.finish();
        let keys: Vec<_> = keys.into_iter().collect();
        let near = asked.iter().map(|rest| [prefix.as_slice(), rest].concat());
        for key in near.chain(asked.clone()).chain(keys.clone()) {
            prop_assert_eq!(node.find(&key), keys.binary_search(&key), "{:?}", key);
        }
    }
}
