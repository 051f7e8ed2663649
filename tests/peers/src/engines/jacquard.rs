//! jacquard-repo: a CAR parser that hashes nothing, and a tree that keeps the nodes it has
//! decoded. Of its ways to list the leaves, the sequential one is the fastest on one thread: `leaves`
//! spawns a task for each subtree.

use std::{sync::Arc, time::Instant};

use cid::Cid;
use jacquard_repo::{BlockStore, MemoryBlockStore, Mst, Repository, car::parse_car_bytes};

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
        Job::Invert => runtime.block_on(sync::invert_all(input)),
        Job::Verify => runtime.block_on(sync::verify(input, false)),
        Job::VerifySigned => runtime.block_on(sync::verify(input, true)),
    }
    .map(Some)
}

/// Unverified: neither the parser nor the store compares a block with its CID.
async fn read(input: &Input<'_>) -> Result<Outcome> {
    let start = Instant::now();
    let car = input.read_car()?;
    let (tree, root) = load(&car).await?;
    let store = tree.storage();
    let leaves = tree.leaves_sequential().await?;
    let mut tally = Tally::new();
    for (key, value) in &leaves {
        let record = store
            .get(value)
            .await?
            .ok_or("a record is not in the CAR")?;
        tally.add(key.as_bytes(), &record);
    }
    Ok(Outcome {
        unverified: true,
        ..tally.outcome(start.elapsed(), &root)
    })
}

/// Timed: the sequential list of leaves of a tree that has not read its root yet. The blocks were verified
/// for it beforehand.
async fn walk(input: &Input<'_>) -> Result<Outcome> {
    let car = input.read_car()?;
    car::verify(&car)?;
    let (tree, root) = load(&car).await?;

    let start = Instant::now();
    let leaves = tree.leaves_sequential().await?;
    let mut tally = Tally::new();
    for (key, value) in &leaves {
        tally.add(key.as_bytes(), value.hash().digest());
    }
    Ok(tally.outcome(start.elapsed(), &root))
}

/// Made `warm` by a list of all leaves, which leaves all nodes decoded in the tree.
async fn get(input: &Input<'_>, warm: bool) -> Result<Outcome> {
    let wanted = input.read_wanted()?;
    let car = input.read_car()?;
    car::verify(&car)?;
    let (tree, root) = load(&car).await?;
    if warm {
        tree.leaves_sequential().await?;
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

/// Parses the CAR into the store and returns the tree there, unread, with its root.
async fn load(car: &[u8]) -> Result<(Mst<MemoryBlockStore>, Cid)> {
    let parsed = parse_car_bytes(car).await?;
    let store = Arc::new(MemoryBlockStore::new_from_blocks(parsed.blocks));
    let repository = Repository::<String, _>::from_commit(store, &parsed.root).await?;
    let root = *repository.current_commit().data();
    Ok((repository.mst().clone(), root))
}
