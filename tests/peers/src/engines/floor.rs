//! The floor: the hashes that must be computed and the bytes that must be moved, in
//! straight-line code without the checks of a library. Not something to be used: something that
//! an engine's time can be divided by. Where it knows no tree, only its count is checked.

use std::{
    collections::HashMap,
    fs::File,
    hint::black_box,
    io::Read,
    path::Path,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use crate::{
    Result,
    car::{self, Sections},
    input::Input,
    node,
    outcome::Outcome,
    workload::Job,
};

mod sync;
mod write;

pub(super) fn run(job: Job, input: &Input) -> Result<Option<Outcome>> {
    match job {
        Job::Read => read(input),
        Job::Walk => walk(input),
        Job::Get => get(input),
        Job::GetCold => return Ok(None),
        Job::Insert => write::insert(input),
        Job::Commit => write::commit(input),
        Job::Bulk => write::bulk(input),
        Job::Export => write::export(input),
        Job::Diff => sync::diff(input),
        Job::Prove => sync::prove(input),
        Job::Invert => sync::check_commits(input, false, false),
        Job::Verify => sync::check_commits(input, true, false),
        Job::VerifySigned => sync::check_commits(input, true, true),
    }
    .map(Some)
}

/// Timed: reading the file through one reused buffer, splitting the sections, one SHA-256 of each
/// block compared with its CID, and one SHA-256 of each key for its height. Nothing is kept, and
/// nothing put in order. The keys come from the list, read beforehand.
fn read(input: &Input) -> Result<Outcome> {
    let keys = input.read_keys()?;

    let start = Instant::now();
    let blocks = hash_blocks(&input.car)?;
    black_box(heights(&keys));
    let elapsed = start.elapsed();

    if blocks < keys.len() {
        return Err("the CAR has fewer blocks than there are keys".into());
    }
    Ok(outcome(elapsed, keys.len()))
}

/// Timed: one SHA-256 of each key for its height, and the sum of all bytes of the node blocks,
/// for having had them in hand once. No node is decoded. The keys come from the list; that and
/// finding the nodes among the blocks happens beforehand.
fn walk(input: &Input) -> Result<Outcome> {
    let keys = input.read_keys()?;
    let bytes = input.read_car()?;
    let nodes: Vec<&[u8]> = Sections::new(&bytes)
        .skip(1)
        .filter_map(car::split)
        .map(|(_, block)| block)
        .filter(|block| block.starts_with(node::START))
        .collect();

    let start = Instant::now();
    black_box(heights(&keys));
    let sum = nodes
        .iter()
        .flat_map(|node| *node)
        .fold(0_u64, |sum, byte| sum + u64::from(*byte));
    black_box(sum);
    let elapsed = start.elapsed();

    Ok(outcome(elapsed, keys.len()))
}

/// Timed: one probe of the standard library's `HashMap` for each key. Filling the map from the
/// list of keys happens beforehand.
fn get(input: &Input) -> Result<Outcome> {
    let map: HashMap<String, usize> = input
        .read_keys()?
        .into_iter()
        .enumerate()
        .map(|(value, key)| (key, value))
        .collect();
    let wanted = input.read_wanted()?;

    let start = Instant::now();
    let found = wanted
        .iter()
        .filter_map(|key| map.get(key))
        .map(black_box)
        .count();
    let elapsed = start.elapsed();

    Ok(outcome(elapsed, found))
}

/// Hashes the blocks of a CAR file, whose sections must fit the buffer, and returns their number.
fn hash_blocks(path: &Path) -> Result<usize> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER_LEN];
    let mut filled = 0;
    let mut blocks = 0;
    let mut header = true;
    loop {
        let read = file.read(&mut buffer[filled..])?;
        filled += read;
        let mut sections = Sections::new(&buffer[..filled]);
        for section in &mut sections {
            if header {
                header = false;
                continue;
            }
            let (digest, block) = car::split(section).ok_or("a section of the CAR is too short")?;
            if Sha256::digest(block)[..] != digest[..] {
                return Err("a block of the CAR does not hash to its CID".into());
            }
            blocks += 1;
        }
        let rest = sections.rest().len();
        if read == 0 {
            return if rest == 0 {
                Ok(blocks)
            } else {
                Err("the CAR is cut short".into())
            };
        }
        buffer.copy_within(filled - rest..filled, 0);
        filled = rest;
    }
}

/// Hashes each key, as its height in the tree asks for.
fn heights(keys: &[String]) -> u32 {
    keys.iter()
        .map(|key| u32::from(Sha256::digest(key)[0]))
        .sum()
}

fn outcome(elapsed: Duration, count: usize) -> Outcome {
    Outcome::of(elapsed, count, None)
}

/// Fits the second-level cache, and the largest section of the data many times.
const BUFFER_LEN: usize = 256 * 1024;
