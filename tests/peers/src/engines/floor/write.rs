//! Trees made and repositories written by the floor. Its trees are whole and right, and checked
//! as everybody's are; its commits are not, since it would take a library to make them.

use std::{borrow::Cow, collections::HashMap, hint::black_box, time::Instant};

use sha2::{Digest as _, Sha256};

use super::outcome;
use crate::{
    Result,
    car::{Sections, push_section, push_start, split},
    check,
    input::{Input, Write},
    node::{self, Digest, Entry, Node, cid_of, digest_of, height_of, link_behind},
    outcome::Outcome,
};

/// Timed: one SHA-256 of each key for its height, the sort, and each node encoded and
/// hashed once.
pub(super) fn insert(input: &Input) -> Result<Outcome> {
    let pairs = input.read_shuffled_pairs(|cid| Ok(digest_of(&cid)))?;

    let start = Instant::now();
    let mut sorted: Vec<&(String, Digest)> = pairs.iter().collect();
    sorted.sort_unstable_by_key(|(key, _)| &**key);
    let mut builder = Builder::new(|_, _| ());
    for (key, value) in sorted {
        builder.push(key, value);
    }
    let root = builder.finish();
    let elapsed = start.elapsed();

    let root = cid_of(&root).to_string();
    Ok(Outcome::of(elapsed, pairs.len(), Some(root)))
}

/// Timed: the same without the sort, and all blocks kept.
pub(super) fn bulk(input: &Input) -> Result<Outcome> {
    let pairs = input.read_pairs(|cid| Ok(digest_of(&cid)))?;

    let start = Instant::now();
    let mut blocks = Vec::new();
    let mut builder = Builder::new(|digest, block| blocks.push((digest, block)));
    for (key, value) in &pairs {
        builder.push(key, value);
    }
    let root = builder.finish();
    let elapsed = start.elapsed();

    let blocks: HashMap<Digest, Vec<u8>> = blocks.into_iter().collect();
    check::tree(elapsed, &root, |digest| {
        blocks.get(digest).map(|block| Cow::Borrowed(&**block))
    })
}

/// Timed: for each commit one SHA-256 of the key for its height, and of each node from the root
/// to the key one copy, kept, and one SHA-256 of that. The nodes are those of the tree before all
/// commits, found beforehand: about as many and as long as the new ones.
pub(super) fn commit(input: &Input) -> Result<Outcome> {
    let writes = input.read_writes(|_| Ok(()))?;
    let car = input.read_car()?;
    let (blocks, head) = load(&car)?;
    let root = root_of(&blocks, head)?;
    let mut commits: Vec<(&str, Vec<&[u8]>)> = Vec::new();
    for write in &writes {
        let (Write::Create(key, ()) | Write::Update(key, ()) | Write::Delete(key)) = write;
        commits.push((key, path(&blocks, root, key.as_bytes())?));
    }

    let start = Instant::now();
    let mut kept = Vec::new();
    for (key, path) in &commits {
        black_box(height_of(key.as_bytes()));
        for block in path {
            let at = kept.len();
            kept.extend_from_slice(block);
            black_box(Sha256::digest(&kept[at..]));
        }
    }
    black_box(&kept);
    Ok(outcome(start.elapsed(), commits.len()))
}

/// Timed: a walk without any check over a map of borrowed blocks, each copied with its CID and
/// its length before it. Nothing is hashed.
pub(super) fn export(input: &Input) -> Result<Outcome> {
    let car = input.read_car()?;
    let (blocks, head) = load(&car)?;

    let start = Instant::now();
    let mut output = Vec::new();
    push_start(head, &mut output);
    push(&blocks, head, &mut output)?;
    push_tree(&blocks, root_of(&blocks, head)?, &mut output)?;
    let elapsed = start.elapsed();

    check::export(elapsed, &output)
}

/// Makes a tree from pairs in key order: one node at a time on each level.
struct Builder<'p, F> {
    /// From the bottom.
    levels: Vec<Level<'p>>,
    /// Where the nodes go.
    sink: F,
}

/// The node that is being made on a level.
#[derive(Default)]
struct Level<'p> {
    left: Option<Digest>,
    entries: Vec<u8>,
    len: usize,
    /// The last entry, which waits for what is to the right of it.
    last: Option<(&'p str, &'p Digest)>,
    /// How much of its key it shares with the one before.
    prefix_len: usize,
}

impl<'p, F: FnMut(Digest, Vec<u8>)> Builder<'p, F> {
    const fn new(sink: F) -> Self {
        Self {
            levels: Vec::new(),
            sink,
        }
    }

    fn push(&mut self, key: &'p str, value: &'p Digest) {
        let height = usize::from(height_of(key.as_bytes()));
        while self.levels.len() <= height {
            self.levels.push(Level::default());
        }
        let below = self.close(height);
        let level = &mut self.levels[height];
        let previous = level.last.map_or("", |(key, _)| key);
        level.end_slot(below);
        level.last = Some((key, value));
        level.prefix_len = shared_len(previous.as_bytes(), key.as_bytes());
    }

    /// Returns the root.
    fn finish(mut self) -> Digest {
        let root = self.close(self.levels.len());
        root.expect("there is a pair")
    }

    /// Ends the nodes below `height`, and returns the highest if there is any.
    fn close(&mut self, height: usize) -> Option<Digest> {
        let mut below = None;
        for level in &mut self.levels[..height] {
            level.end_slot(below);
            if level.len == 0 && level.left.is_none() {
                continue;
            }
            let block = node::encode(level.left.as_ref(), level.len, &level.entries);
            level.left = None;
            level.entries.clear();
            level.len = 0;
            let digest = Sha256::digest(&block).into();
            (self.sink)(digest, block);
            below = Some(digest);
        }
        below
    }
}

impl Level<'_> {
    /// Puts what is below to the right of the last entry, or to the left of all.
    fn end_slot(&mut self, below: Option<Digest>) {
        let Some((key, value)) = self.last.take() else {
            self.left = below;
            return;
        };
        let entry = Entry {
            prefix_len: self.prefix_len,
            suffix: &key.as_bytes()[self.prefix_len..],
            value,
            right: below.as_ref(),
        };
        node::encode_entry(&entry, &mut self.entries);
        self.len += 1;
    }
}

#[inline]
fn shared_len(one: &[u8], other: &[u8]) -> usize {
    let differ = |(one, other): (&u8, &u8)| one != other;
    let shorter = one.len().min(other.len());
    one.iter().zip(other).position(differ).unwrap_or(shorter)
}

/// Blocks by their digest, a slice of the CAR each.
pub(super) type Blocks<'c> = HashMap<&'c Digest, &'c [u8], foldhash::fast::RandomState>;

/// Splits a CAR into its blocks, and returns them with the digest of the root that it names.
pub(super) fn load(car: &[u8]) -> Result<(Blocks<'_>, &Digest)> {
    let mut sections = Sections::new(car);
    let header = sections.next().ok_or("the CAR has no header")?;
    let head = link_behind(header, b"\x65roots\x81").ok_or("the CAR names no root")?;
    Ok((sections.filter_map(split).collect(), head))
}

/// Returns the root of the tree of a commit.
pub(super) fn root_of<'c>(blocks: &Blocks<'c>, head: &Digest) -> Result<&'c Digest> {
    let commit = blocks.get(head).ok_or("the commit is missing")?;
    Ok(link_behind(commit, b"\x64data").ok_or("the commit names no tree")?)
}

/// Returns the nodes from the root to the one that holds `key` or would, as far as they exist.
pub(super) fn path<'c>(blocks: &Blocks<'c>, root: &Digest, key: &[u8]) -> Result<Vec<&'c [u8]>> {
    let mut path = Vec::new();
    let mut next = Some(root);
    // All nodes of a level have the same height: the top's is known by its first key.
    let mut height = None;
    while let Some(digest) = next {
        let block = *blocks.get(digest).ok_or("a node is missing")?;
        path.push(block);
        let node = Node::decode(block).ok_or("a node is none")?;
        next = node.left;
        let mut full = Vec::new();
        for entry in node {
            full.truncate(entry.prefix_len);
            full.extend_from_slice(entry.suffix);
            height.get_or_insert_with(|| height_of(&full));
            if *full > *key {
                break;
            }
            next = entry.right;
        }
        if height == Some(height_of(key)) {
            break;
        }
        height = height.and_then(|height| height.checked_sub(1));
    }
    Ok(path)
}

/// Writes a node, and slot by slot its subtrees and records.
fn push_tree(blocks: &Blocks, digest: &Digest, output: &mut Vec<u8>) -> Result<()> {
    let node = Node::decode(push(blocks, digest, output)?).ok_or("a node is none")?;
    if let Some(left) = node.left {
        push_tree(blocks, left, output)?;
    }
    for entry in node {
        push(blocks, entry.value, output)?;
        if let Some(right) = entry.right {
            push_tree(blocks, right, output)?;
        }
    }
    Ok(())
}

/// Writes a block.
fn push<'c>(blocks: &Blocks<'c>, digest: &Digest, output: &mut Vec<u8>) -> Result<&'c [u8]> {
    let block = *blocks.get(digest).ok_or("a block is missing")?;
    push_section(digest, block, output);
    Ok(block)
}
