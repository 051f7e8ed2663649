//! The tree in memory, the builder for sorted pairs, and the blocks of a repository in order.

use std::{borrow::Cow, collections::HashMap, time::Instant};

use atproto_mst::{
    BlockStore, Bytes, CarBlockStore, CarWriter, Cid, NodeStore, NodeStoreOptions, Repository,
    Tree, TreeBuilder,
};

use super::{open, read_once, root_of};
use crate::{
    Result, check,
    input::{Input, Write},
    node::{cid_of, digest_of},
    outcome::{Outcome, Tally},
};

pub(super) fn insert(input: &Input) -> Result<Outcome> {
    let pairs = input.read_shuffled_pairs(Ok)?;

    let start = Instant::now();
    let mut tree = Tree::new();
    for (key, value) in &pairs {
        tree.insert(key.as_bytes(), value)?;
    }
    let root = tree.root();
    Ok(Outcome::of(
        start.elapsed(),
        pairs.len(),
        Some(root.to_string()),
    ))
}

/// Each block goes to a vector as soon as it is complete.
pub(super) fn bulk(input: &Input) -> Result<Outcome> {
    let pairs = input.read_pairs(Ok)?;

    let start = Instant::now();
    let mut blocks = Vec::new();
    let mut builder = TreeBuilder::new(|cid, block| {
        blocks.push((cid, block));
        Ok(())
    });
    for (key, value) in &pairs {
        builder.push(key.as_bytes(), value)?;
    }
    let root = builder.finish()?;
    let elapsed = start.elapsed();

    let blocks: HashMap<Cid, Bytes> = blocks.into_iter().collect();
    check::tree(elapsed, &digest_of(&root), |digest| {
        let block = blocks.get(&cid_of(digest))?;
        Some(Cow::Borrowed(&**block))
    })
}

/// The tree is kept with all nodes decoded, after `verify`, so that a commit reads no block. The
/// new blocks are appended to a vector, since nothing needs to find them again.
pub(super) fn commit(input: &Input) -> Result<Outcome> {
    let writes = input.read_writes(Ok)?;
    let (car, root) = open(input)?;
    let nodes = NodeStore::with_options(&car, read_once());
    let mut tree = Tree::open(&nodes, &root)?;
    tree.verify()?;
    let mut kept = Vec::new();
    let mut roots = Vec::with_capacity(writes.len());

    let start = Instant::now();
    for write in &writes {
        match write {
            Write::Create(key, value) | Write::Update(key, value) => {
                tree.insert(key.as_bytes(), value)?;
            }
            Write::Delete(key) => {
                tree.remove(key.as_bytes())?;
            }
        }
        let changes = tree.flush();
        roots.push(digest_of(&changes.root));
        kept.extend(changes.new);
    }
    let elapsed = start.elapsed();

    let kept: HashMap<Cid, Bytes> = kept.into_iter().collect();
    check::commits(elapsed, &roots, |digest| {
        let before = || car.get(&cid_of(digest)).ok()?;
        let block = kept.get(&cid_of(digest)).cloned().or_else(before)?;
        Some(Cow::Owned(block.into()))
    })
}

/// From the CAR in memory, through no cache, since each node is needed once.
pub(super) fn export(input: &Input, options: NodeStoreOptions) -> Result<Outcome> {
    let store = CarBlockStore::from_bytes(input.read_car()?)?;
    let head = root_of(&store)?;

    let start = Instant::now();
    let repository = Repository::open_with(&store, &head, options)?;
    let mut writer = CarWriter::new(Vec::new(), &[head])?;
    for block in repository.export()? {
        let (cid, block) = block?;
        writer.write_block(&cid, &block)?;
    }
    let output = writer.finish()?;
    let elapsed = start.elapsed();

    check::export(elapsed, &output)
}

/// Through a tree, made `warm` by `verify`, which leaves all nodes in it.
pub(super) fn get(input: &Input, warm: bool) -> Result<Outcome> {
    let wanted = input.read_wanted()?;
    let (car, root) = open(input)?;
    let nodes = NodeStore::with_options(&car, read_once());
    let tree = Tree::open(&nodes, &root)?;
    if warm {
        tree.verify()?;
    }

    let start = Instant::now();
    let mut tally = Tally::new();
    for key in &wanted {
        if let Some(value) = tree.get(key.as_bytes())? {
            tally.add(key.as_bytes(), value.hash().digest());
        }
    }
    Ok(tally.outcome(start.elapsed(), &root))
}
