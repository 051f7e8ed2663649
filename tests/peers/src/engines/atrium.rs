//! atrium-repo: an indexed CAR store, and a tree that decodes the nodes it needs at each call.

use std::{io::Cursor, pin::pin, time::Instant};

use atrium_repo::{
    Repository,
    blockstore::{AsyncBlockStoreRead, CarStore},
};
use cid::Cid;
use futures::TryStreamExt;

use super::runtime;
use crate::{
    Result,
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
        // The tree keeps no nodes between calls, so there is nothing to warm.
        Job::Get | Job::GetCold => runtime.block_on(get(input)),
        Job::Insert => runtime.block_on(write::insert(input)),
        Job::Commit => runtime.block_on(write::commit(input)),
        Job::Bulk => runtime.block_on(write::bulk(input)),
        Job::Export => runtime.block_on(write::export(input)),
        Job::Prove => runtime.block_on(sync::prove(input)),
        Job::Invert => runtime.block_on(sync::invert(input)),
        Job::Diff | Job::Verify | Job::VerifySigned => return Ok(None),
    }
    .map(Some)
}

/// The list of entries borrows the store, so it is collected before the records are read, each
/// into the same buffer.
async fn read(input: &Input<'_>) -> Result<Outcome> {
    let start = Instant::now();
    let (mut store, head) = load(input).await?;
    let mut repository = Repository::open(&mut store, head).await?;
    let mut tree = repository.tree();
    let root = tree.root();
    let entries: Vec<(String, Cid)> = tree.entries().try_collect().await?;
    let mut tally = Tally::new();
    let mut record = Vec::new();
    for (key, value) in &entries {
        store.read_block_into(*value, &mut record).await?;
        tally.add(key.as_bytes(), &record);
    }
    Ok(tally.outcome(start.elapsed(), &root))
}

/// Timed: the stream of entries over the CAR in memory, whose store copies each node out. The
/// crate's map of blocks in memory is as fast.
async fn walk(input: &Input<'_>) -> Result<Outcome> {
    let (mut store, head) = load(input).await?;
    let mut repository = Repository::open(&mut store, head).await?;
    let mut tree = repository.tree();
    let root = tree.root();

    let start = Instant::now();
    let mut tally = Tally::new();
    let mut entries = pin!(tree.entries());
    while let Some((key, value)) = entries.try_next().await? {
        tally.add(key.as_bytes(), value.hash().digest());
    }
    Ok(tally.outcome(start.elapsed(), &root))
}

async fn get(input: &Input<'_>) -> Result<Outcome> {
    let wanted = input.read_wanted()?;
    let (mut store, head) = load(input).await?;
    let mut repository = Repository::open(&mut store, head).await?;
    let mut tree = repository.tree();
    let root = tree.root();

    let start = Instant::now();
    let mut tally = Tally::new();
    for key in &wanted {
        if let Some(value) = tree.get(key).await? {
            tally.add(key.as_bytes(), value.hash().digest());
        }
    }
    Ok(tally.outcome(start.elapsed(), &root))
}

/// Opens the CAR in memory, which indexes it and verifies all blocks.
async fn load(input: &Input<'_>) -> Result<(CarStore<Cursor<Vec<u8>>>, Cid)> {
    let store = CarStore::open(Cursor::new(input.read_car()?)).await?;
    let head = store.roots().next().ok_or("the CAR has no root")?;
    Ok((store, head))
}
