//! shrike: a CAR reader that borrows from the bytes in memory, and a tree without I/O over a map
//! of borrowed blocks.

use std::{collections::HashMap, time::Instant};

use shrike::{
    car::SliceReader,
    cbor::Cid,
    mst::{DetachedTree, MstError},
    repo::Commit,
};

use crate::{
    Result,
    input::Input,
    outcome::{Outcome, Tally},
    workload::Job,
};

mod sync;
mod write;

pub(super) fn run(job: Job, input: &Input) -> Result<Option<Outcome>> {
    match job {
        Job::Read => read(input),
        Job::Walk => walk(input),
        Job::Get => get(input, true),
        Job::GetCold => get(input, false),
        Job::Insert => write::insert(input),
        Job::Commit => write::commit(input),
        Job::Bulk => write::bulk(input),
        Job::Export => write::export(input),
        Job::Diff => sync::diff(input),
        Job::Prove => sync::prove(input),
        Job::Invert => sync::invert_all(input),
        Job::Verify => sync::verify(input, false),
        Job::VerifySigned => sync::verify(input, true),
    }
    .map(Some)
}

/// `Repo::load_car` would check the same and copy the blocks it keeps, but its repository lists
/// only one collection at a time; so this does its first half, without the copies.
fn read(input: &Input) -> Result<Outcome> {
    let start = Instant::now();
    let car = input.read_car()?;
    let (blocks, root) = load(&car)?;
    let mut tree = DetachedTree::load(root);
    let mut tally = Tally::new();
    tree.walk(&blocks, |key, value| {
        let record = blocks
            .get(&value)
            .ok_or_else(|| MstError::BlockNotFound(value.to_string()))?;
        tally.add(key.as_bytes(), record);
        Ok(())
    })?;
    Ok(tally.outcome(start.elapsed(), &root))
}

/// Timed: the walk of a tree that has not read its root yet.
fn walk(input: &Input) -> Result<Outcome> {
    let car = input.read_car()?;
    let (blocks, root) = load(&car)?;
    let mut tree = DetachedTree::load(root);

    let start = Instant::now();
    let mut tally = Tally::new();
    tree.walk(&blocks, |key, value| {
        tally.add(key.as_bytes(), value.hash());
        Ok(())
    })?;
    Ok(tally.outcome(start.elapsed(), &root))
}

/// Made `warm` by a walk, which leaves all nodes decoded in the tree; the gets then read no block.
fn get(input: &Input, warm: bool) -> Result<Outcome> {
    let wanted = input.read_wanted()?;
    let car = input.read_car()?;
    let (blocks, root) = load(&car)?;
    let mut tree = DetachedTree::load(root);
    if warm {
        tree.walk(&blocks, |_, _| Ok(()))?;
    }

    let start = Instant::now();
    let mut tally = Tally::new();
    for key in &wanted {
        if let Some(value) = tree.get(&blocks, key)? {
            tally.add(key.as_bytes(), value.hash());
        }
    }
    Ok(tally.outcome(start.elapsed(), &root))
}

/// Any hasher will do, and this one is as fast as the crate's own, which is private.
type Blocks<'a> = HashMap<Cid, &'a [u8], foldhash::fast::RandomState>;

/// Splits the CAR, checks each block against its CID, and returns them with the tree's root.
fn load(car: &[u8]) -> Result<(Blocks<'_>, Cid)> {
    let (blocks, head) = split(car)?;
    let commit = Commit::from_cbor(blocks.get(&head).ok_or("the commit is not in the CAR")?)?;
    Ok((blocks, commit.data))
}

/// The same, with the commit's CID.
fn split(car: &[u8]) -> Result<(Blocks<'_>, Cid)> {
    let reader = SliceReader::new(car)?;
    let head = *reader.roots().first().ok_or("the CAR has no root")?;
    let mut blocks = Blocks::default();
    blocks.reserve(car.len() / BYTES_PER_BLOCK);
    for block in reader {
        let block = block?;
        if Cid::compute(block.cid.codec(), block.data) != block.cid {
            return Err(format!("block {} does not hash to its CID", block.cid).into());
        }
        blocks.insert(block.cid, block.data);
    }
    Ok((blocks, head))
}

/// What the crate's own `read_slice` expects of a block.
const BYTES_PER_BLOCK: usize = 256;
