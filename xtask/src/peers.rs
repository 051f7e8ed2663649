//! `cargo xtask peers`: the same workloads through our crates and through others.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use atproto_mst::{Bytes, CarWriter, Cid};
use clap::Args;
use mst_testkit::{BENCH_RECORDS, BENCH_SEED, Rng, SampleRepository, build_tree};
use serde_json::json;

use crate::{Result, shell};

// The package that measures defines what is expected, and how it is summed up.
#[path = "../../tests/peers/src/checksum.rs"]
mod checksum;
#[path = "../../tests/peers/src/sample.rs"]
mod sample;

mod changed;
mod events;

use changed::Changed;
use checksum::Checksum;
use events::Events;
use sample::{CHECKPOINT, COMMITS};

const DATA: &str = "target/peers-data";

/// Compare speed and memory with other crates for the same job.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Number of records of the repository.
    #[arg(long, default_value_t = BENCH_RECORDS)]
    records: usize,
    /// Seed of the repository.
    #[arg(long, default_value_t = BENCH_SEED)]
    seed: u64,
    /// Arguments to pass on, for example `--reps 3 --only ours,shrike --workloads walk`.
    #[arg(last = true)]
    rest: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let manifest = "tests/peers/Cargo.toml";
    shell::run(&mut shell::command(
        "cargo",
        &[
            "build",
            "--release",
            "--locked",
            "--manifest-path",
            manifest,
            "--target-dir",
            "target/peers",
        ],
    ))?;
    write_data(arguments)?;
    let mut peers = shell::command("target/peers/release/peers", &["all", "--data", DATA]);
    shell::run(peers.args(&arguments.rest))
}

/// Writes what the peers read, and what is expected.
fn write_data(arguments: &Arguments) -> Result<()> {
    let repository = SampleRepository::generate(arguments.seed, arguments.records);
    let folder = shell::root().join(DATA);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("preorder.car"), repository.car())?;
    fs::write(
        folder.join("random.car"),
        repository.shuffled_car(arguments.seed),
    )?;
    write_pairs(&repository, &folder.join("pairs.txt"))?;
    let commits = Commits::generate(arguments.seed, &repository);
    fs::write(folder.join("writes.txt"), commits.writes)?;
    let changed = Changed::generate(arguments.seed, &repository);
    fs::write(folder.join("changed.car"), changed.car)?;
    let events = Events::generate(arguments.seed, &repository)?;
    fs::write(folder.join("events.bin"), events.frames)?;
    fs::write(folder.join("refused.bin"), events.refused)?;
    fs::write(folder.join("forged.bin"), events.forged)?;
    fs::write(folder.join("key.txt"), events.key)?;

    let expected = json!({
        "root": repository.tree.root.to_string(),
        "count": repository.paths.len(),
        "blocks": 1 + repository.tree.nodes.len() + repository.records.len(),
        "root_commits": commits.root,
        "checksum_records": sum_of_records(&repository),
        "checksum_values": sum_of_values(&repository, 0..repository.paths.len()),
        "checksum_gets": sum_of_values(&repository, sample::sample(repository.paths.len())),
        "checksum_commits": commits.checksum,
        "changes": changed.count,
        "root_changed": changed.root,
        "checksum_changes": changed.checksum,
        "root_events": events.root,
        "root_before_events": events.previous_root,
        "checksum_events": events.checksum,
        "checksum_before_events": events.checksum_previous,
    });
    Ok(fs::write(folder.join("expect.json"), expected.to_string())?)
}

fn write_pairs(repository: &SampleRepository, path: &Path) -> Result<()> {
    let mut lines = String::new();
    for (key, value) in &repository.paths {
        writeln!(lines, "{key} {value}")?;
    }
    Ok(fs::write(path, lines)?)
}

/// What to change in the tree, one commit each, and the results.
struct Commits {
    /// One change per line.
    writes: String,
    /// The root after the last.
    root: String,
    /// Over the roots at the checkpoints.
    checksum: String,
}

impl Commits {
    /// Makes up changes like those on a server: most are new records, whose keys are later than
    /// all before, and the others change or delete any existing record.
    fn generate(seed: u64, repository: &SampleRepository) -> Self {
        let mut paths = repository.paths.clone();
        let mut keys: Vec<String> = paths.keys().cloned().collect();
        let mut new = later_records(seed, repository, COMMITS).into_iter();

        let mut rng = Rng::new(seed);
        let mut writes = String::new();
        let mut sum = Checksum::new();
        let mut root = repository.tree.root;
        for commit in 1..=COMMITS {
            let kind = if keys.is_empty() { 0 } else { rng.below(100) };
            let line = if kind < 90 {
                let (path, value, _) = new.next().expect("there is a new record for each commit");
                let key = match kind {
                    0..85 => {
                        keys.push(path.clone());
                        &path
                    }
                    _ => keys.get(rng.below(keys.len())).expect("below the length"),
                };
                let before = paths.insert(key.clone(), value);
                let verb = before.map_or("create", |_| "update");
                format!("{verb} {key} {value}\n")
            } else {
                let key = keys.swap_remove(rng.below(keys.len()));
                paths.remove(&key);
                format!("delete {key}\n")
            };
            writes.push_str(&line);
            if commit % CHECKPOINT == 0 || commit == COMMITS {
                root = build_tree(&paths).root;
            }
            if commit % CHECKPOINT == 0 {
                sum.add(&[], root.hash().digest());
            }
        }
        Self {
            writes,
            root: root.to_string(),
            checksum: sum_text(sum),
        }
    }
}

/// Returns the records that the repository would have next, with their paths and CIDs: the
/// earliest first.
fn later_records(
    seed: u64,
    repository: &SampleRepository,
    count: usize,
) -> Vec<(String, Cid, Bytes)> {
    let later = SampleRepository::generate(seed, repository.paths.len() + count);
    let mut new: Vec<_> = later
        .paths
        .into_iter()
        .filter(|(path, _)| !repository.paths.contains_key(path))
        .filter_map(|(path, cid)| {
            let record = later.records.get(&cid)?.clone();
            Some((path, cid, record))
        })
        .collect();
    new.sort_unstable_by(|(one, ..), (other, ..)| {
        let rkey = |path: &str| path.rsplit('/').next().map(str::to_owned);
        rkey(one).cmp(&rkey(other))
    });
    new
}

/// Returns a CAR of blocks.
fn car_of(root: &Cid, blocks: &[(Cid, Bytes)]) -> Vec<u8> {
    const FITS: &str = "a vector takes every write";
    let mut writer = CarWriter::new(Vec::new(), &[*root]).expect(FITS);
    for (cid, block) in blocks {
        writer.write_block(cid, block).expect(FITS);
    }
    writer.finish().expect(FITS)
}

fn sum_text(sum: Checksum) -> String {
    format!("{:016x}", sum.value())
}

fn sum_of_records(repository: &SampleRepository) -> String {
    let mut sum = Checksum::new();
    for (path, cid) in &repository.paths {
        sum.add(
            path.as_bytes(),
            repository.records.get(cid).map_or(&[], |block| block),
        );
    }
    sum_text(sum)
}

/// The sum over the entries at `positions` in key order.
fn sum_of_values(
    repository: &SampleRepository,
    positions: impl IntoIterator<Item = usize>,
) -> String {
    let entries: Vec<_> = repository.paths.iter().collect();
    let mut sum = Checksum::new();
    for (path, cid) in positions
        .into_iter()
        .filter_map(|position| entries.get(position))
    {
        sum.add(path.as_bytes(), cid.hash().digest());
    }
    sum_text(sum)
}
