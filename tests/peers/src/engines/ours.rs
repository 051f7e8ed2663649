//! This project's own crates: `ours` over a CAR in memory, `ours-file` over the file,
//! `ours-stream` through it once, and `ours-trusted`, which takes trees for well-formed, as most of
//! the others always do.

use std::{fs::File, time::Instant};

use atproto_mst::{
    BlockStore, CarBlockStore, CarError, Cid, Commit, NodeStore, NodeStoreOptions, NodeWalker,
    Repository, RepositoryStream, StreamError,
};

use crate::{
    Result,
    input::Input,
    outcome::{Outcome, Tally},
    workload::Job,
};

mod sync;
mod write;

/// The CAR is read into memory first, and blocks are slices of it.
pub(super) fn run_memory(job: Job, input: &Input) -> Result<Option<Outcome>> {
    match job {
        Job::Read => {
            let start = Instant::now();
            read(start, CarBlockStore::from_bytes(input.read_car()?)?)
        }
        Job::Walk => walk(input, read_once()),
        Job::Get => get(input, NodeStoreOptions::default(), true),
        Job::GetCold => get(input, NodeStoreOptions::default(), false),
        Job::Insert => write::insert(input),
        Job::Commit => write::commit(input),
        Job::Bulk => write::bulk(input),
        Job::Export => write::export(input, read_once()),
        Job::Diff => sync::diff(input, NodeStoreOptions::default(), false),
        Job::Prove => sync::prove(input),
        Job::Invert => sync::invert(input),
        Job::Verify => sync::verify(input, false),
        Job::VerifySigned => sync::verify(input, true),
    }
    .map(Some)
}

/// What has been verified before, or comes from one's own store, need not be checked again:
/// heights, order and ranges are not, hashes are.
pub(super) fn run_trusted(job: Job, input: &Input) -> Result<Option<Outcome>> {
    match job {
        Job::Diff => sync::diff(input, trusting(NodeStoreOptions::default()), false).map(Some),
        Job::Export => write::export(input, trusting(read_once())).map(Some),
        Job::Walk => walk(input, trusting(read_once())).map(Some),
        Job::Get => get(input, trusting(NodeStoreOptions::default()), true).map(Some),
        Job::GetCold => get(input, trusting(NodeStoreOptions::default()), false).map(Some),
        _ => Ok(None),
    }
}

/// Instead of a cache, a tree in memory, as a server would keep it for an account.
pub(super) fn run_tree(job: Job, input: &Input) -> Result<Option<Outcome>> {
    match job {
        Job::Get => write::get(input, true).map(Some),
        Job::GetCold => write::get(input, false).map(Some),
        Job::Prove => sync::prove_in_tree(input).map(Some),
        _ => Ok(None),
    }
}

/// The cache has seen both trees before, as those of accounts that are often compared.
pub(super) fn run_warm(job: Job, input: &Input) -> Result<Option<Outcome>> {
    match job {
        Job::Diff => sync::diff(input, NodeStoreOptions::default(), true).map(Some),
        _ => Ok(None),
    }
}

/// The CAR stays in its file. Walks and gets take no block from the store that has not been
/// read before, so they are not run again.
pub(super) fn run_file(job: Job, input: &Input) -> Result<Option<Outcome>> {
    match job {
        Job::Read => {
            let start = Instant::now();
            read(start, CarBlockStore::open(&input.car)?).map(Some)
        }
        _ => Ok(None),
    }
}

/// The CAR is read once, as a download would be, and no more of it is in memory than what is being
/// read. That takes a CAR in the order of the tree.
pub(super) fn run_stream(job: Job, input: &Input) -> Result<Option<Outcome>> {
    if job != Job::Read {
        return Ok(None);
    }
    match read_stream(input) {
        Err(StreamError::TooMuchAside { .. }) => Ok(None),
        result => Ok(Some(result?)),
    }
}

fn read_stream(input: &Input) -> std::result::Result<Outcome, StreamError> {
    let start = Instant::now();
    let file = File::open(&input.car).map_err(CarError::from)?;
    let mut repository = RepositoryStream::open(file)?;
    let root = repository.commit().data;
    let mut tally = Tally::new();
    for record in repository.records() {
        let record = record?;
        tally.add(record.path().as_bytes(), record.bytes());
    }
    Ok(tally.outcome(start.elapsed(), &root))
}

/// Heights, order and ranges of all keys are checked, and that each key is a repository path.
fn read(start: Instant, car: CarBlockStore) -> Result<Outcome> {
    let commit = root_of(&car)?;
    let repository = Repository::open_with(car, &commit, read_once())?;
    let mut tally = Tally::new();
    for record in repository.records()? {
        let record = record?;
        tally.add(record.path().as_bytes(), record.bytes());
    }
    Ok(tally.outcome(start.elapsed(), &repository.commit().data))
}

/// Heights, order and ranges of all keys are checked, unless the options say otherwise.
fn walk(input: &Input, options: NodeStoreOptions) -> Result<Outcome> {
    let (car, root) = open(input)?;
    let nodes = NodeStore::with_options(&car, options);

    let start = Instant::now();
    let mut tally = Tally::new();
    for entry in NodeWalker::new(&nodes, &root)?.entries() {
        let entry = entry?;
        tally.add(entry.key(), entry.value().hash().digest());
    }
    Ok(tally.outcome(start.elapsed(), &root))
}

/// Made `warm` by a walk in single steps, which leaves all nodes in the cache.
fn get(input: &Input, options: NodeStoreOptions, warm: bool) -> Result<Outcome> {
    let wanted = input.read_wanted()?;
    let (car, root) = open(input)?;
    let nodes = NodeStore::with_options(&car, options);
    if warm {
        fill_cache(&nodes, &root)?;
    }

    let start = Instant::now();
    let mut tally = Tally::new();
    for key in &wanted {
        if let Some(value) = nodes.get(&root, key)? {
            tally.add(key.as_bytes(), value.hash().digest());
        }
    }
    Ok(tally.outcome(start.elapsed(), &root))
}

/// Iterators over all entries would leave the cache as it is.
fn fill_cache<S: BlockStore>(nodes: &NodeStore<S>, root: &Cid) -> Result<()> {
    let mut walker = NodeWalker::new(nodes, root)?;
    while walker.next_entry()?.is_some() {}
    Ok(())
}

/// The CAR in memory, all blocks verified, and the CID of the tree.
fn open(input: &Input) -> Result<(CarBlockStore, Cid)> {
    let car = CarBlockStore::from_bytes(input.read_car()?)?;
    let commit = car
        .get(&root_of(&car)?)?
        .ok_or("the commit is not in the CAR")?;
    Ok((car, Commit::decode(&commit)?.data))
}

fn root_of(car: &CarBlockStore) -> Result<Cid> {
    Ok(*car.roots().first().ok_or("the CAR has no root")?)
}

/// For a tree that is read through just once, a cache is only in the way.
fn read_once() -> NodeStoreOptions {
    NodeStoreOptions::uncached()
}

fn trusting(mut options: NodeStoreOptions) -> NodeStoreOptions {
    options.trusted = true;
    options
}
