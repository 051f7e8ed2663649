//! repo-stream: an asynchronous loader that verifies and buffers all blocks, and a synchronous
//! walk over them. It reads in key order only, so there is no `get`, and it writes nothing.

use std::time::Instant;

use cid::Cid;
use repo_stream::{DriverBuilder, MemCar, Output};
use tokio::runtime::Runtime;

use super::runtime;
use crate::{
    Result,
    input::Input,
    outcome::{Outcome, Tally},
    workload::Job,
};

pub(super) fn run(job: Job, input: &Input) -> Result<Option<Outcome>> {
    match job {
        Job::Read => read(input).map(Some),
        Job::Walk => walk(input).map(Some),
        _ => Ok(None),
    }
}

/// From a slice in memory, which it reads faster than tokio's buffered file, and record by record,
/// which is faster than in the chunks of its documentation.
fn read(input: &Input) -> Result<Outcome> {
    let runtime = runtime()?;

    let start = Instant::now();
    let car = input.read_car()?;
    let mut driver = load(&runtime, &car)?;
    let mut tally = Tally::new();
    while let Some(Output { key, data, .. }) = driver.next_strict()? {
        tally.add(key.as_bytes(), &data);
    }
    Ok(tally.outcome(start.elapsed(), &Cid::from(driver.commit.data)))
}

/// Timed: the walk over keys and CIDs of a loaded CAR, whose root node is already decoded.
fn walk(input: &Input) -> Result<Outcome> {
    let runtime = runtime()?;
    let car = input.read_car()?;
    let mut driver = load(&runtime, &car)?;

    let start = Instant::now();
    let mut tally = Tally::new();
    while let Some((key, value)) = driver.next_keys_strict()? {
        tally.add(key.as_bytes(), value.hash().digest());
    }
    Ok(tally.outcome(start.elapsed(), &Cid::from(driver.commit.data)))
}

fn load(runtime: &Runtime, car: &[u8]) -> Result<MemCar> {
    let driver = DriverBuilder::new().with_mem_limit_mb(MEM_LIMIT_MB);
    // The error borrows the bytes, for resuming: only its text leaves here.
    runtime
        .block_on(driver.load_car(car))
        .map_err(|error| error.to_string().into())
}

/// More than any data here needs: nothing is to be spilt to the disk.
const MEM_LIMIT_MB: usize = 4096;
