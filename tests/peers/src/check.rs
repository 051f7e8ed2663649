//! Checks that the blocks that an engine wrote are right: reads them back in straight-line code
//! that shares nothing with any engine. Untimed.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    time::Duration,
};

use atproto_mst::{Action, CommitEvent, RepoOp};
use cid::Cid;
use sha2::{Digest as _, Sha256};

use crate::{
    Result,
    car::{Sections, split},
    checksum::Checksum,
    input::{nodes_in, nodes_of, root_of},
    node::{Digest, Node, cid_of, digest_of, link_behind},
    outcome::{Outcome, Tally},
    sample::CHECKPOINT,
};

/// Returns the outcome of writing a whole tree: every node below `root` is present, hashes to its
/// CID and decodes, and the checksum is over the keys and values in it.
///
/// `get` looks up a block by its digest.
///
/// # Errors
///
/// What is wrong first.
pub(crate) fn tree<'a>(
    elapsed: Duration,
    root: &Digest,
    mut get: impl FnMut(&Digest) -> Option<Cow<'a, [u8]>>,
) -> Result<Outcome> {
    let mut tally = Tally::new();
    walk(root, &mut get, &mut |step| {
        if let Step::Entry(key, value) = step {
            tally.add(key, value);
        }
        Ok(())
    })?;
    Ok(tally.outcome(elapsed, &cid_of(root)))
}

/// Returns the outcome of a sequence of commits: each of `roots` is present and hashes to its CID,
/// and so does every node below the last. The checksum is over the roots at the checkpoints.
///
/// # Errors
///
/// What is wrong first.
pub(crate) fn commits<'a>(
    elapsed: Duration,
    roots: &[Digest],
    mut get: impl FnMut(&Digest) -> Option<Cow<'a, [u8]>>,
) -> Result<Outcome> {
    let mut checksum = Checksum::new();
    for (index, root) in roots.iter().enumerate() {
        block(root, &mut get).map_err(|error| format!("commit {}: {error}", index + 1))?;
        if (index + 1) % CHECKPOINT == 0 {
            checksum.add(&[], root);
        }
    }
    let root = roots.last().ok_or("there was no commit")?;
    let outcome = tree(elapsed, root, get)?;
    Ok(Outcome {
        count: roots.len() as u64,
        checksum: Some(checksum.value()),
        ..outcome
    })
}

/// Returns the outcome of writing a repository as a CAR: it is complete, has no block twice, each
/// block hashes to its CID, and the tree of the commit that the header names is present with all
/// its records. The count is of blocks, the checksum over keys and records.
///
/// # Errors
///
/// What is wrong first.
pub(crate) fn export(elapsed: Duration, car: &[u8]) -> Result<Outcome> {
    let mut sections = Sections::new(car);
    let header = sections.next().ok_or("the CAR has no header")?;
    let mut blocks: HashMap<&Digest, &[u8]> = HashMap::new();
    let mut order = Vec::new();
    for section in sections.by_ref() {
        let (digest, block) = split(section).ok_or("a section of the CAR is too short")?;
        if blocks.insert(digest, block).is_some() {
            return Err(format!("{} is in the CAR twice", cid_of(digest)).into());
        }
        order.push(*digest);
    }
    if !sections.rest().is_empty() {
        return Err("the CAR is cut short".into());
    }

    let mut get = |digest: &Digest| blocks.get(digest).map(|block| Cow::Borrowed(*block));
    let head = link_behind(header, b"\x65roots\x81").ok_or("the CAR names no root")?;
    let commit = block(head, &mut get)?;
    let root = link_behind(&commit, b"\x64data").ok_or("the commit names no tree")?;
    let mut tally = Tally::new();
    let mut preorder = vec![*head];
    walk(root, &mut get, &mut |step| {
        match step {
            Step::Node(digest) => preorder.push(*digest),
            Step::Entry(key, value) => {
                let record = block(value, &mut |digest| {
                    blocks.get(digest).map(|block| Cow::Borrowed(*block))
                })?;
                tally.add(key, &record);
                preorder.push(*value);
            }
        }
        Ok(())
    })?;
    Ok(Outcome {
        count: order.len() as u64,
        streamable: order == preorder,
        ..tally.outcome(elapsed, &cid_of(root))
    })
}

/// A record that differs between two trees: its key, and its value in each.
pub(crate) type Change = (String, Option<Digest>, Option<Digest>);

/// Returns the outcome of comparing a tree with the one of `root`. The changes come in any order.
pub(crate) fn changes(elapsed: Duration, root: &Digest, mut changes: Vec<Change>) -> Outcome {
    changes.sort_unstable();
    let mut checksum = Checksum::new();
    for (key, before, after) in &changes {
        for value in [before, after] {
            checksum.add(key.as_bytes(), value.as_ref().map_or(&[], |value| value));
        }
    }
    Outcome {
        checksum: Some(checksum.value()),
        ..Outcome::of(elapsed, changes.len(), Some(cid_of(root).to_string()))
    }
}

/// Returns the outcome of computing a root for each of several messages.
///
/// # Errors
///
/// There was none.
pub(crate) fn roots(elapsed: Duration, roots: &[Digest]) -> Result<Outcome> {
    let mut checksum = Checksum::new();
    for root in roots {
        checksum.add(&[], root);
    }
    let root = roots.last().ok_or("there was no message")?;
    Ok(Outcome {
        checksum: Some(checksum.value()),
        ..Outcome::of(elapsed, roots.len(), Some(cid_of(root).to_string()))
    })
}

/// Checks that none of some wrong messages is accepted.
///
/// # Errors
///
/// One is.
pub(crate) fn refused(
    wrong: &[CommitEvent],
    accepts: impl FnMut(&CommitEvent) -> bool,
) -> Result<()> {
    match wrong.iter().position(accepts) {
        Some(index) => Err(format!("the wrong message {index} is accepted").into()),
        None => Ok(()),
    }
}

/// Returns the outcome of collecting nodes for each of several commits: each hashes to its CID,
/// and those needed to invert the operations are present, except new ones. `car` has
/// the tree before all commits, and a proof is the nodes for one.
///
/// # Errors
///
/// What is wrong first.
pub(crate) fn proofs<'p>(
    elapsed: Duration,
    car: &[u8],
    events: &[CommitEvent],
    proofs: impl ExactSizeIterator<Item = Vec<(Digest, Cow<'p, [u8]>)>>,
) -> Result<Outcome> {
    if proofs.len() != events.len() {
        return Err("there is not one proof for each commit".into());
    }
    let mut nodes: HashMap<&Digest, &[u8]> = nodes_in(car).collect();
    let mut before = digest_of(
        &events
            .first()
            .and_then(|event| event.prev_data)
            .ok_or("it follows nothing")?,
    );
    let mut after = Vec::new();
    for (index, (event, proof)) in events.iter().zip(proofs).enumerate() {
        let mut there = HashSet::new();
        for (digest, found) in &proof {
            block(digest, &mut |_| Some(Cow::Borrowed(&**found)))
                .map_err(|error| format!("commit {}: {error}", index + 1))?;
            there.insert(*digest);
        }
        nodes.extend(nodes_of(event));
        let root = root_of(event)?;
        for digest in cover(&nodes, &root, &event.ops)? {
            // A node counts as old only if the tree right before has it.
            if !there.contains(&digest) && has_node(&nodes, &before, &digest)? {
                let cid = cid_of(&digest);
                return Err(format!("commit {}: node {cid} is missing", index + 1).into());
            }
        }
        after.push(root);
        before = root;
    }
    roots(elapsed, &after)
}

/// Returns the nodes of the tree of `root` that are needed to invert operations: those on the path
/// to each key, and if the key is new, those on both sides of it, which have to become one.
///
/// # Errors
///
/// A node that is missing or invalid.
pub(crate) fn cover(
    nodes: &HashMap<&Digest, &[u8]>,
    root: &Digest,
    ops: &[RepoOp],
) -> Result<HashSet<Digest>> {
    let mut cover = HashSet::from([*root]);
    for op in ops {
        let key = op.path.as_bytes();
        let mut next = Some(*root);
        while let Some(digest) = next.take() {
            cover.insert(digest);
            let (keys, subtrees) = slots_of(nodes, &digest)?;
            let slot = keys.partition_point(|other| **other < *key);
            if keys.get(slot).is_none_or(|other| **other != *key) {
                next = subtrees[slot];
            } else if op.action == Action::Create {
                add_edge(nodes, subtrees[slot], |len| len, &mut cover)?;
                add_edge(nodes, subtrees[slot + 1], |_| 0, &mut cover)?;
            }
        }
    }
    Ok(cover)
}

/// Adds the nodes of a subtree on one edge, whose slots `edge` picks.
fn add_edge(
    nodes: &HashMap<&Digest, &[u8]>,
    mut subtree: Option<Digest>,
    edge: fn(usize) -> usize,
    cover: &mut HashSet<Digest>,
) -> Result<()> {
    while let Some(digest) = subtree {
        cover.insert(digest);
        let (keys, subtrees) = slots_of(nodes, &digest)?;
        subtree = subtrees[edge(keys.len())];
    }
    Ok(())
}

/// Returns whether the tree of `root` has a node: it is on the path to any of the keys below it.
fn has_node(nodes: &HashMap<&Digest, &[u8]>, root: &Digest, digest: &Digest) -> Result<bool> {
    let mut below = *digest;
    let key = loop {
        let (keys, subtrees) = slots_of(nodes, &below)?;
        match (keys.into_iter().next(), subtrees[0]) {
            (Some(key), _) => break key,
            (None, Some(subtree)) => below = subtree,
            (None, None) => return Ok(root == digest),
        }
    };
    let mut next = Some(*root);
    while let Some(on_the_way) = next {
        if on_the_way == *digest {
            return Ok(true);
        }
        let (keys, subtrees) = slots_of(nodes, &on_the_way)?;
        let slot = keys.partition_point(|other| *other < key);
        next = if keys.get(slot) == Some(&key) {
            None
        } else {
            subtrees[slot]
        };
    }
    Ok(false)
}

/// The keys of a node, and the subtrees around them.
type Slots = (Vec<Vec<u8>>, Vec<Option<Digest>>);

/// Returns the keys of a node, and the subtrees before, between and after them.
fn slots_of(nodes: &HashMap<&Digest, &[u8]>, digest: &Digest) -> Result<Slots> {
    let invalid = || format!("{} is not a node", cid_of(digest));
    let block = nodes.get(digest).ok_or_else(invalid)?;
    let node = Node::decode(block).ok_or_else(invalid)?;
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let mut subtrees = vec![node.left.copied()];
    for entry in node {
        let mut key = keys.last().cloned().unwrap_or_default();
        key.truncate(entry.prefix_len);
        key.extend_from_slice(entry.suffix);
        keys.push(key);
        subtrees.push(entry.right.copied());
    }
    Ok((keys, subtrees))
}

/// Where a walk stands.
enum Step<'s> {
    Node(&'s Digest),
    /// A key with the digest of its value.
    Entry(&'s [u8], &'s Digest),
}

/// How a walk and a check look up blocks.
type Get<'g, 'a> = &'g mut dyn FnMut(&Digest) -> Option<Cow<'a, [u8]>>;

/// Visits the tree in preorder: a node, then slot by slot its subtrees and entries. A tree whose
/// nodes hash to their CIDs has no cycle; and it is not deep, as long as its root is the right one.
fn walk(
    digest: &Digest,
    get: Get<'_, '_>,
    visit: &mut dyn FnMut(Step<'_>) -> Result<()>,
) -> Result<()> {
    let bytes = block(digest, get)?;
    visit(Step::Node(digest))?;
    let invalid = || format!("{} is not a node", cid_of(digest));
    let mut node = Node::decode(&bytes).ok_or_else(invalid)?;
    if let Some(left) = node.left {
        walk(left, get, visit)?;
    }
    let mut key = Vec::new();
    let mut count = 0;
    for entry in node.by_ref() {
        if entry.prefix_len > key.len() {
            return Err(invalid().into());
        }
        key.truncate(entry.prefix_len);
        key.extend_from_slice(entry.suffix);
        visit(Step::Entry(&key, entry.value))?;
        if let Some(right) = entry.right {
            walk(right, get, visit)?;
        }
        count += 1;
    }
    if count < node.len {
        return Err(invalid().into());
    }
    Ok(())
}

/// Returns the block that hashes to a digest.
fn block<'a>(digest: &Digest, get: Get<'_, 'a>) -> Result<Cow<'a, [u8]>> {
    let cid: Cid = cid_of(digest);
    let block = get(digest).ok_or_else(|| format!("block {cid} is missing"))?;
    if Sha256::digest(&block)[..] != digest[..] {
        return Err(format!("block {cid} does not hash to its CID").into());
    }
    Ok(block)
}

/// A check that lets everything pass would make every engine right.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        car::{push_section, push_start},
        node::{Entry, encode, encode_entry},
    };

    /// A commit, a node above another, and a record in each, in the streamable order.
    fn repository() -> Vec<(Digest, Vec<u8>)> {
        let (one, two) = (b"one".to_vec(), b"two".to_vec());
        let (below, _) = node("b/1", &one, None);
        let (above, top) = node("a/1", &two, Some(&below));
        let mut commit = b"\xa1\x64data\xd8\x2a\x58\x25\x00\x01\x71\x12\x20".to_vec();
        commit.extend(above);
        let below = node("b/1", &one, None).1;
        [commit, top, two, below, one]
            .map(|block| (hash(&block), block))
            .into()
    }

    fn node(key: &str, record: &[u8], right: Option<&Digest>) -> (Digest, Vec<u8>) {
        let mut entries = Vec::new();
        let entry = Entry {
            prefix_len: 0,
            suffix: key.as_bytes(),
            value: &hash(record),
            right,
        };
        encode_entry(&entry, &mut entries);
        let block = encode(None, 1, &entries);
        (hash(&block), block)
    }

    fn hash(block: &[u8]) -> Digest {
        Sha256::digest(block).into()
    }

    fn car(blocks: &[(Digest, Vec<u8>)]) -> Vec<u8> {
        let mut car = Vec::new();
        push_start(&repository()[0].0, &mut car);
        for (digest, block) in blocks {
            push_section(digest, block, &mut car);
        }
        car
    }

    fn export_of(blocks: &[(Digest, Vec<u8>)]) -> Result<Outcome> {
        export(Duration::ZERO, &car(blocks))
    }

    #[test]
    fn a_whole_car_is_right_in_any_order() {
        let mut blocks = repository();
        let preorder = export_of(&blocks).unwrap();
        assert_eq!((preorder.count, preorder.streamable), (5, true));
        assert_eq!(preorder.root, Some(cid_of(&blocks[1].0).to_string()));
        blocks.reverse();
        let reversed = export_of(&blocks).unwrap();
        assert!(!reversed.streamable);
        assert_eq!(reversed.checksum, preorder.checksum);
    }

    #[test]
    fn no_block_is_missing_twice_or_other_than_its_cid_says() {
        let whole = repository();
        for index in 0..whole.len() {
            let mut blocks = whole.clone();
            blocks[index].1.push(0);
            assert!(export_of(&blocks).is_err(), "block {index} is changed");
            blocks.remove(index);
            assert!(export_of(&blocks).is_err(), "block {index} is missing");
            blocks.extend([whole[index].clone(), whole[index].clone()]);
            assert!(export_of(&blocks).is_err(), "block {index} comes twice");
        }
        let cut = car(&whole);
        assert!(export(Duration::ZERO, &cut[..cut.len() - 1]).is_err());
    }

    #[test]
    fn the_blocks_of_commits_are_there_and_hash_to_their_cids() {
        let blocks: HashMap<Digest, Vec<u8>> = repository().into_iter().collect();
        let get = |digest: &Digest| blocks.get(digest).map(|block| Cow::Borrowed(&**block));
        let [_, (top, _), _, (below, _), _] = repository().try_into().unwrap();
        let outcome = commits(Duration::ZERO, &[below, top], get).unwrap();
        assert_eq!(outcome.count, 2);
        assert_eq!(outcome.root, Some(cid_of(&top).to_string()));
        for lost in [top, below] {
            let get = |digest: &Digest| get(digest).filter(|_| *digest != lost);
            assert!(commits(Duration::ZERO, &[below, top], get).is_err());
            assert!(tree(Duration::ZERO, &top, get).is_err());
            let other = |digest: &Digest| {
                let block = get(digest)?;
                Some(if *digest == lost {
                    Cow::Borrowed(b"other".as_slice())
                } else {
                    block
                })
            };
            assert!(commits(Duration::ZERO, &[below, top], other).is_err());
            assert!(tree(Duration::ZERO, &top, other).is_err());
        }
    }

    #[test]
    fn a_cover_has_both_sides_of_a_new_key_and_the_way_to_any_other() {
        let (left, left_block) = node("a/1", b"one", None);
        let (right, right_block) = node("c/1", b"two", None);
        let mut entries = Vec::new();
        let entry = Entry {
            prefix_len: 0,
            suffix: b"b/1",
            value: &hash(b"three"),
            right: Some(&right),
        };
        encode_entry(&entry, &mut entries);
        let block = encode(Some(&left), 1, &entries);
        let root = hash(&block);
        let nodes: HashMap<&Digest, &[u8]> = HashMap::from([
            (&root, &*block),
            (&left, &*left_block),
            (&right, &*right_block),
        ]);
        let cover = |action, path: &str| {
            let op = RepoOp {
                action,
                path: path.to_owned(),
                cid: None,
                prev: None,
            };
            cover(&nodes, &root, &[op]).unwrap()
        };
        assert_eq!(cover(Action::Create, "b/1"), [root, left, right].into());
        assert_eq!(cover(Action::Update, "b/1"), [root].into());
        assert_eq!(cover(Action::Delete, "a/2"), [root, left].into());
        for digest in [root, left, right] {
            assert!(has_node(&nodes, &root, &digest).unwrap());
        }
        assert!(!has_node(&nodes, &left, &right).unwrap());
    }

    #[test]
    fn changes_count_in_any_order_and_with_both_values() {
        let create = ("a/1".to_owned(), None, Some([1; 32]));
        let update = ("b/1".to_owned(), Some([1; 32]), Some([2; 32]));
        let sum = |list: &[&Change]| {
            let list = list.iter().copied().cloned().collect();
            changes(Duration::ZERO, &[0; 32], list).checksum
        };
        assert_eq!(sum(&[&create, &update]), sum(&[&update, &create]));
        let mut other = update.clone();
        other.1 = Some([3; 32]);
        assert_ne!(sum(&[&create, &update]), sum(&[&create, &other]));
        assert_ne!(sum(&[&create, &update]), sum(&[&update]));
    }
}
