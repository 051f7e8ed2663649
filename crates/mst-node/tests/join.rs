//! The danger: a node cut up by counting bytes. All parts of a node are in one buffer, found by
//! where they end; one count that is off by an entry makes a node that looks valid but has a
//! neighbour's value, or a link in the slot beside its own, and is then hashed into a root.
//!
//! So each node that is joined, changed or encoded part by part is compared with one that
//! [`NodeBuilder`] builds from the same parts, for all places to cut.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::BTreeMap;

use mst_node::{
    BuildError, Cid, DIGEST_LEN, InvalidKey, Joint, Node, NodeBuilder, NodeEncoder, NodeParts,
    node_cid, node_digest,
};
use proptest::prelude::*;
use proptest::sample::Index;

type Digest = [u8; DIGEST_LEN];
type Key = Vec<u8>;

/// What a node is made of.
#[derive(Debug, Clone, Default, PartialEq)]
struct Parts {
    left: Option<Digest>,
    entries: Vec<(Key, Cid, Option<Digest>)>,
}

impl Parts {
    fn build(&self) -> Node {
        let mut builder = NodeBuilder::new(self.left.map(|left| node_cid(&left)).as_ref()).unwrap();
        for (key, value, right) in &self.entries {
            let right = right.map(|right| node_cid(&right));
            builder.push(key, value, right.as_ref()).unwrap();
        }
        builder.finish()
    }

    fn set_subtree(&mut self, slot: usize, digest: Option<Digest>) {
        match slot.checked_sub(1) {
            Some(index) => self.entries[index].2 = digest,
            None => self.left = digest,
        }
    }

    /// What [`Node::join`] should make of these and `right`.
    fn join(&self, len: usize, joint: &OwnJoint, right: &Self, start: usize) -> Self {
        let mut joined = self.clone();
        joined.entries.truncate(len);
        let behind = joined.entries.len();
        joined.set_subtree(behind, joint.subtree);
        joined.entries.extend(joint.entry.clone());
        let tail = right.entries.get(start..).unwrap_or_default();
        joined.entries.extend_from_slice(tail);
        joined
    }
}

#[derive(Debug, Clone)]
struct OwnJoint {
    subtree: Option<Digest>,
    entry: Option<(Key, Cid, Option<Digest>)>,
}

impl OwnJoint {
    fn borrow(&self) -> Joint<'_> {
        match &self.entry {
            Some((key, value, right)) => {
                Joint::entry(self.subtree.as_ref(), key, value, right.as_ref())
            }
            None => Joint::subtree(self.subtree.as_ref()),
        }
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn a_joined_node_is_one_built_of_its_parts(
        keys in keys(0..10),
        parts in prop::collection::vec(entry(), 10),
        slots in prop::array::uniform3(digest()),
        unrelated in parts(),
        cut in any::<Index>(),
        with_entry in any::<bool>(),
    ) {
        // Ascending keys for a left part, perhaps one between, and a right part.
        let mut entries: Vec<_> = keys
            .into_iter()
            .zip(parts)
            .map(|(key, (value, right))| (key, value, right))
            .collect();
        let right = entries.split_off(cut.index(entries.len() + 1));
        let new = if with_entry { entries.pop() } else { None };
        let joint = OwnJoint { subtree: slots[0], entry: new };
        let left = Parts { left: slots[1], entries };
        let right = Parts { left: slots[2], entries: right };
        let (left_node, right_node) = (left.build(), right.build());
        for len in 0..left.entries.len() + 3 {
            for start in 0..right.entries.len() + 3 {
                let joined = Node::join(&left_node, len, joint.borrow(), &right_node, start);
                let expected = left.join(len, &joint, &right, start);
                assert_is(&joined.unwrap(), &expected);
            }
        }
        // A part of no entries may come from any node, whatever its keys.
        let none = Parts::default();
        let other = unrelated.build();
        let len = unrelated.entries.len();
        let head = Node::join(&left_node, usize::MAX, joint.borrow(), &other, len).unwrap();
        assert_is(&head, &left.join(usize::MAX, &joint, &none, 0));
        let tail = Node::join(&other, 0, joint.borrow(), &right_node, 0).unwrap();
        assert_is(&tail, &none.join(0, &joint, &right, 0));
    }

    #[test]
    fn a_node_cut_in_two_and_joined_again_is_the_same(parts in parts()) {
        let (node, none) = (parts.build(), Node::empty());
        for cut in 0..=node.len() {
            let subtree = Joint::subtree(node.subtree_digest(cut));
            let left = Node::join(&node, cut, Joint::subtree(None), &none, 0).unwrap();
            let right = Node::join(&none, 0, Joint::subtree(None), &node, cut).unwrap();
            prop_assert_eq!((left.len(), right.len()), (cut, node.len() - cut));
            prop_assert_eq!((left.subtree(cut), right.subtree(0)), (None, None));
            assert_is(&Node::join(&left, cut, subtree, &right, 0).unwrap(), &parts);
            assert_is(&Node::join(&node, cut, subtree, &node, cut).unwrap(), &parts);
        }
        // An entry out, and in again.
        for (index, (key, value, right)) in parts.entries.iter().enumerate() {
            let without = Node::join(&node, index, Joint::subtree(None), &node, index + 1).unwrap();
            prop_assert_eq!(without.len(), node.len() - 1);
            prop_assert_eq!(without.find(key), Err(index));
            let joint = Joint::entry(node.subtree_digest(index), key, value, right.as_ref());
            assert_is(&Node::join(&without, index, joint, &without, index).unwrap(), &parts);
        }
    }

    #[test]
    fn a_new_value_changes_nothing_else(parts in parts(), values in prop::collection::vec(value(), 1..4)) {
        for index in 0..parts.entries.len() + 2 {
            let (mut node, mut expected) = (parts.build(), parts.clone());
            for value in &values {
                node.set_value(index, value);
                if let Some(entry) = expected.entries.get_mut(index) {
                    entry.1 = *value;
                }
                assert_is(&node, &expected);
            }
        }
        let (mut node, mut expected) = (parts.build(), parts);
        for (index, entry) in expected.entries.iter_mut().enumerate() {
            entry.1 = values[index % values.len()];
            node.set_value(index, &entry.1);
        }
        assert_is(&node, &expected);
    }

    #[test]
    fn a_node_encoded_with_other_links_is_one_that_has_them(
        parts in parts(),
        links in prop::collection::vec(digest(), 12),
        before in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let node = parts.build();
        let mut expected = parts.clone();
        for (slot, link) in links.iter().enumerate() {
            // An existing subtree can be replaced; an empty slot stays empty.
            if link.is_some() && node.subtree_digest(slot).is_some() {
                expected.set_subtree(slot, *link);
            }
        }
        let mut block = before.clone();
        node.encode_linking(&mut block, |slot, own| {
            assert_eq!(node.subtree_digest(slot), Some(own), "slot {slot}");
            links[slot].as_ref().unwrap_or(own)
        });
        prop_assert_eq!(&block[..before.len()], &before);
        prop_assert_eq!(&block[before.len()..], expected.build().encode());

        let mut same = Vec::new();
        node.encode_linking(&mut same, |_, own| own);
        prop_assert_eq!(same, node.encode());

        // And so it is if the node itself gets them.
        let mut changed = node.clone();
        for (slot, link) in links.iter().enumerate() {
            if let Some(link) = link {
                let has_one = node.subtree_digest(slot).is_some();
                prop_assert_eq!(changed.set_subtree_digest(slot, link), has_one);
            }
        }
        prop_assert_eq!(changed, expected.build());
    }

    #[test]
    fn nodes_encoded_while_they_come_are_those_built_of_their_parts(
        nodes in prop::collection::vec(parts(), 1..5),
        twice in any::<bool>(),
    ) {
        // One after the other by the same encoder, which must keep nothing of the previous one.
        let mut encoder = NodeEncoder::default();
        for parts in nodes {
            prop_assert!(encoder.is_vacant() && encoder.is_empty());
            prop_assert_eq!((encoder.len(), encoder.keys_len()), (0, 0));
            let put = |encoder: &mut NodeEncoder, digest: Option<Digest>| {
                if let Some(digest) = digest {
                    if twice {
                        encoder.set_subtree([0; DIGEST_LEN]);
                    }
                    encoder.set_subtree(digest);
                }
            };
            put(&mut encoder, parts.left);
            prop_assert!(encoder.is_empty());
            prop_assert_eq!(encoder.is_vacant(), parts.left.is_none());
            for (index, (key, value, right)) in parts.entries.iter().enumerate() {
                encoder.push(key, value);
                put(&mut encoder, *right);
                prop_assert_eq!(encoder.len(), index + 1);
                prop_assert!(!encoder.is_empty() && !encoder.is_vacant());
            }
            prop_assert_eq!(encoder.keys_len(), parts.build().keys_len());
            prop_assert_eq!(encoder.clone().finish(), parts.build().encode());
            prop_assert_eq!(encoder.finish(), parts.build().encode());
        }
    }

    #[test]
    fn nodes_put_together_of_others_are_those_built_of_their_parts(
        nodes in prop::collection::vec((parts(), prop::collection::vec(0..4_usize, 20)), 1..5),
    ) {
        // Of each node, as many entries from here and there as `cuts` says; none: one by itself.
        let sources: Vec<Vec<(Node, std::ops::Range<usize>)>> = nodes
            .iter()
            .map(|(parts, cuts)| {
                let mut at = 0;
                let runs = cuts.iter().cycle().map_while(|len| {
                    let end = parts.entries.len().min(at + len.max(&1));
                    let (start, around) = (at.saturating_sub(1), parts.entries.len().min(end + 1));
                    let source = Parts {
                        left: parts.left,
                        entries: parts.entries[start..around].to_vec(),
                    };
                    let run = at - start..end - start;
                    at = end;
                    (!run.is_empty()).then(|| (source.build(), run))
                });
                runs.collect()
            })
            .collect();
        let mut together = NodeParts::default();
        for ((parts, cuts), sources) in nodes.iter().zip(&sources) {
            if let Some(left) = parts.left {
                together.set_subtree(left);
            }
            let mut taken = 0;
            for ((source, run), len) in sources.iter().zip(cuts.iter().cycle()) {
                if *len == 0 {
                    together.push(&parts.entries[taken].0, &parts.entries[taken].1);
                } else {
                    together.push_entries(source, run.clone());
                }
                taken += run.len();
                if let Some(right) = parts.entries[taken - 1].2 {
                    together.set_subtree(right);
                }
            }
            let mut block = b"before".to_vec();
            together.finish_into(&mut block);
            prop_assert_eq!(&block[6..], parts.build().encode());
        }
    }

    #[test]
    fn keys_out_of_order_do_not_join(
        left in parts(),
        right in parts(),
        (key, value, digest) in (key(), value(), digest()),
        with_entry in any::<bool>(),
    ) {
        let (left_node, right_node) = (left.build(), right.build());
        let joint = OwnJoint {
            subtree: digest,
            entry: with_entry.then_some((key, value, digest)),
        };
        for len in 0..=left.entries.len() {
            for start in 0..=right.entries.len() {
                let joined = Node::join(&left_node, len, joint.borrow(), &right_node, start);
                let expected = left.join(len, &joint, &right, start);
                let pairs = expected.entries.windows(2).enumerate();
                let mut wrong = pairs.filter(|(_, pair)| pair[0].0 >= pair[1].0);
                match wrong.next() {
                    None => assert_is(&joined.unwrap(), &expected),
                    Some((before, _)) => prop_assert_eq!(
                        joined,
                        Err(BuildError::KeyOrder { index: before + 1 })
                    ),
                }
            }
        }
    }
}

#[test]
fn a_joint_with_a_key_that_no_node_can_have_is_refused() {
    let value = Node::empty().cid();
    let none = Node::empty();
    let joint = Joint::entry(None, b"a", &value, None);
    let one = Node::join(&none, 0, joint, &none, 0).unwrap();
    for (node, index) in [(&none, 0), (&one, 1)] {
        let joint = Joint::entry(None, b"", &value, None);
        let refused = Node::join(node, usize::MAX, joint, &none, 0);
        let source = InvalidKey::Empty;
        assert_eq!(refused, Err(BuildError::InvalidKey { index, source }));
    }
    // The caller decides how long it may be.
    let long = vec![b'z'; 4 << 20];
    let joint = Joint::entry(None, &long, &value, None);
    let node = Node::join(&one, 1, joint, &none, 0).unwrap();
    assert_eq!(node.key(1), Some(long.as_slice()));
}

#[test]
fn nothing_joined_to_nothing_is_empty() {
    let none = Node::empty();
    let joined = Node::join(&none, 0, Joint::subtree(None), &none, 0).unwrap();
    assert_eq!(joined, none);
    let joined = Node::join(&none, 5, Joint::subtree(None), &none, 5).unwrap();
    assert_eq!(joined, none);
    let digest = [7; DIGEST_LEN];
    let joined = Node::join(&none, 0, Joint::subtree(Some(&digest)), &none, 0).unwrap();
    assert_eq!((joined.len(), joined.subtree_digest(0)), (0, Some(&digest)));
    // The slot of a node without entries is at the cut on either side, so it is left out.
    let again = Node::join(&joined, 0, Joint::subtree(None), &joined, 0).unwrap();
    assert_eq!(again, none);
}

#[test]
fn entries_that_share_long_prefixes_are_encoded_with_them() {
    let value = Node::empty().cid();
    let shared = vec![b'k'; 70_000];
    let key = |end: &[u8]| [&shared[..], end].concat();
    let parts = Parts {
        left: None,
        entries: [&b"a"[..], b"aa", b"ab", b"\xff"]
            .map(|end| (key(end), value, None))
            .into(),
    };
    let mut encoder = NodeEncoder::default();
    for (key, value, _) in &parts.entries {
        encoder.push(key, value);
    }
    let block = encoder.finish();
    assert!(block.len() < 72_000);
    assert_eq!(block, parts.build().encode());
    assert_eq!(Node::decode(&block).unwrap(), parts.build());
}

/// Keeping a block keeps its whole buffer.
#[test]
fn a_block_takes_no_more_memory_than_it_has_bytes() {
    let value = Node::empty().cid();
    let key = |n: usize| format!("{}/{n:03}", "k".repeat(4_000));
    let keys: Vec<String> = (0..100).map(key).collect();
    let mut builder = NodeBuilder::default();
    let mut encoder = NodeEncoder::default();
    for key in &keys {
        builder.push(key.as_bytes(), &value, None).unwrap();
        encoder.push(key.as_bytes(), &value);
    }
    let node = builder.finish();
    for block in [node.encode(), encoder.finish()] {
        // One page more, for how an allocator counts.
        assert!(
            block.capacity() < block.len() + 4_096,
            "{}",
            block.capacity()
        );
    }
    // Nor is there room for the previous nodes.
    let mut parts = NodeParts::default();
    parts.push_entries(&node, 0..node.len());
    parts.finish_into(&mut Vec::new());
    let mut block = Vec::new();
    parts.finish_into(&mut block);
    assert_eq!(block, Node::empty().encode());
    assert!(block.capacity() < 4_096, "{}", block.capacity());
}

// ---- What the tests share.

/// Checks that `node` has these parts and no others, as one that was built or decoded.
fn assert_is(node: &Node, parts: &Parts) {
    assert_eq!(node.len(), parts.entries.len());
    assert_eq!(node.subtree_digest(0).copied(), parts.left);
    for (index, (key, value, right)) in parts.entries.iter().enumerate() {
        assert_eq!(node.key(index), Some(key.as_slice()));
        assert_eq!(node.value(index), Some(*value));
        assert_eq!(node.subtree_digest(index + 1), right.as_ref());
        assert_eq!(node.find(key), Ok(index));
    }
    let keys_len: usize = parts.entries.iter().map(|(key, _, _)| key.len()).sum();
    assert_eq!(node.keys_len(), keys_len);
    let built = parts.build();
    assert_eq!(*node, built);
    let block = node.encode();
    assert_eq!(block, built.encode());
    assert_eq!(Node::decode(&block).as_ref(), Ok(node));
}

fn parts() -> impl Strategy<Value = Parts> {
    let entries = prop::collection::btree_map(key(), entry(), 0..8);
    (digest(), entries).prop_map(|(left, entries): (_, BTreeMap<_, _>)| Parts {
        left,
        entries: entries
            .into_iter()
            .map(|(key, (value, right))| (key, value, right))
            .collect(),
    })
}

fn entry() -> impl Strategy<Value = (Cid, Option<Digest>)> {
    (value(), digest())
}

fn keys(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Key>> {
    prop::collection::btree_set(key(), count).prop_map(|keys| keys.into_iter().collect())
}

/// Keys that often share a start, sometimes a long one.
fn key() -> impl Strategy<Value = Key> {
    let start = prop_oneof![
        4 => Just(0),
        4 => 1..4_usize,
        1 => 250..260_usize,
    ];
    let end = prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), any::<u8>()], 1..5);
    (start, end).prop_map(|(len, end)| [vec![b'k'; len], end].concat())
}

fn digest() -> impl Strategy<Value = Option<Digest>> {
    prop::option::of(prop::array::uniform32(any::<u8>()))
}

/// CIDs of all forms, from 4 bytes to 68.
fn value() -> impl Strategy<Value = Cid> {
    let digest = || prop::collection::vec(any::<u8>(), 64);
    let from = |start: &[u8], digest: &[u8]| Cid::try_from([start, digest].concat()).unwrap();
    prop_oneof![
        4 => digest().prop_map(move |d| from(b"\x01\x71\x12\x20", &d[..32])),
        2 => digest().prop_map(move |d| from(b"\x01\x55\x12\x20", &d[..32])),
        1 => digest().prop_map(move |d| from(b"\x12\x20", &d[..32])),
        1 => digest().prop_map(move |d| from(b"\x01\x71\x13\x40", &d)),
        1 => (digest(), 0..=64_u8)
            .prop_map(move |(d, len)| from(&[1, 0x55, 0, len], &d[..usize::from(len)])),
    ]
}

#[test]
fn a_digest_is_that_of_the_cid_it_came_from() {
    let digest = [3; DIGEST_LEN];
    assert_eq!(node_digest(&node_cid(&digest)), Some(&digest));
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
