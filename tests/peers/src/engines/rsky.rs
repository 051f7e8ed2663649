//! rsky-repo: a CAR reader that hashes nothing, and a tree that keeps the nodes it has decoded.

use std::{sync::Arc, time::Instant};

use rsky_repo::{
    block_map::BlockMap, car::read_stream_car_with_root, mst::MST, repo::Repo,
    storage::memory_blockstore::MemoryBlockstore,
};
use tokio::sync::RwLock;

use super::runtime;
use crate::{
    Result, car,
    input::Input,
    outcome::{Outcome, Tally},
    workload::Job,
};

mod sync;
mod write;

pub(super) fn run(job: Job, input: &Input) -> Result<Option<Outcome>> {
    let runtime = runtime()?;
    match job {
        Job::Read => runtime.block_on(read(input)),
        Job::Walk => runtime.block_on(walk(input)),
        Job::Get => runtime.block_on(get(input, true)),
        Job::GetCold => runtime.block_on(get(input, false)),
        Job::Insert => runtime.block_on(write::insert(input)),
        Job::Commit => runtime.block_on(write::commit(input)),
        Job::Bulk => runtime.block_on(write::bulk(input)),
        Job::Export => runtime.block_on(write::export(input)),
        Job::Diff => runtime.block_on(sync::diff(input)),
        Job::Prove => runtime.block_on(sync::prove(input)),
        Job::Invert => runtime.block_on(sync::invert(input)),
        Job::Verify | Job::VerifySigned => return Ok(None),
    }
    .map(Some)
}

/// Unverified: neither the reader nor the store compares a block with its CID. The records are
/// read from the store's public map, since its `get_bytes` copies each.
async fn read(input: &Input<'_>) -> Result<Outcome> {
    let start = Instant::now();
    let car = input.read_car()?;
    let (tree, blocks) = load(&car).await?;
    let root = tree.get_pointer().await?;
    let leaves = tree.clone().leaves().await?;
    let blocks = blocks.read().await;
    let mut tally = Tally::new();
    for leaf in &leaves {
        let record = blocks.get(leaf.value).ok_or("a record is not in the CAR")?;
        tally.add(leaf.key.as_bytes(), record);
    }
    Ok(Outcome {
        unverified: true,
        ..tally.outcome(start.elapsed(), &root)
    })
}

/// Timed: the list of leaves of a tree that has not read its root yet. The blocks were verified
/// for it beforehand.
async fn walk(input: &Input<'_>) -> Result<Outcome> {
    let car = input.read_car()?;
    car::verify(&car)?;
    let (tree, _) = load(&car).await?;
    let root = tree.get_pointer().await?;

    let start = Instant::now();
    let leaves = tree.clone().leaves().await?;
    let mut tally = Tally::new();
    for leaf in &leaves {
        tally.add(leaf.key.as_bytes(), leaf.value.hash().digest());
    }
    Ok(tally.outcome(start.elapsed(), &root))
}

/// Made `warm` by a list of all leaves, which leaves all nodes decoded in the tree.
async fn get(input: &Input<'_>, warm: bool) -> Result<Outcome> {
    let wanted = input.read_wanted()?;
    let car = input.read_car()?;
    car::verify(&car)?;
    let (mut tree, _) = load(&car).await?;
    let root = tree.get_pointer().await?;
    if warm {
        tree.clone().leaves().await?;
    }

    let start = Instant::now();
    let mut tally = Tally::new();
    for key in &wanted {
        if let Some(value) = tree.get(key).await? {
            tally.add(key.as_bytes(), value.hash().digest());
        }
    }
    Ok(tally.outcome(start.elapsed(), &root))
}

/// Reads the CAR into the store and returns the tree there, unread, and the store's blocks. The
/// store is made from its public fields, since its constructor copies all blocks.
async fn load(car: &[u8]) -> Result<(MST, Arc<RwLock<BlockMap>>)> {
    let parsed = read_stream_car_with_root(car).await?;
    let blocks = Arc::new(RwLock::new(parsed.blocks));
    let store = MemoryBlockstore {
        blocks: Arc::clone(&blocks),
        ..Default::default()
    };
    let repo = Repo::load(Arc::new(RwLock::new(store)), Some(parsed.root)).await?;
    Ok((repo.data, blocks))
}
