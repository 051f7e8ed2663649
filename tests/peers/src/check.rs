//! Whether blocks that an engine wrote make up what they must: read back in straight-line code
//! that shares nothing with any engine. Untimed.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use cid::Cid;
use sha2::{Digest as _, Sha256};

use crate::{
    Result,
    car::{Sections, split},
    checksum::Checksum,
    node::{Digest, Node, cid_of, link_behind},
    outcome::{Outcome, Tally},
    sample::CHECKPOINT,
};

/// Returns the outcome of writing a whole tree: every node below `root` is there, hashes to its
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

/// Returns the outcome of a sequence of commits: each of `roots` is there and hashes to its CID,
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

/// Returns the outcome of writing a repository as a CAR: it is whole, has no block twice, each
/// block hashes to its CID, and the tree of the commit that the header names is there with all
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

/// Where a walk stands.
enum Step<'s> {
    Node(&'s Digest),
    /// A key with the digest of its value.
    Entry(&'s [u8], &'s Digest),
}

/// How a walk and a check look up a block.
type Get<'g, 'a> = &'g mut dyn FnMut(&Digest) -> Option<Cow<'a, [u8]>>;

/// Visits the tree in preorder: a node, then slot by slot its subtrees and entries. A tree whose
/// nodes hash to their CIDs has no cycle; deep it is not, as long as its root is the right one.
fn walk(
    digest: &Digest,
    get: Get<'_, '_>,
    visit: &mut dyn FnMut(Step<'_>) -> Result<()>,
) -> Result<()> {
    let bytes = block(digest, get)?;
    visit(Step::Node(digest))?;
    let invalid = || format!("{} is no node", cid_of(digest));
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

/// Returns the block of a digest, which it hashes to.
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
            assert!(export_of(&blocks).is_err(), "block {index} is there twice");
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
}
