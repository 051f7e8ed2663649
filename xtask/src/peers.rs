//! `cargo xtask peers`: the same work through our crates and through others.

use std::fs;
use std::path::Path;

use clap::Args;
use mst_testkit::{BENCH_RECORDS, BENCH_SEED, SampleRepository};
use serde_json::json;

use crate::{Result, shell};

// The package that measures says what must come out, and how it is summed up.
#[path = "../../tests/peers/src/checksum.rs"]
mod checksum;
#[path = "../../tests/peers/src/sample.rs"]
mod gets;

use checksum::Checksum;

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
    /// What to hand on, for example `--reps 3 --only ours,shrike --workloads walk`.
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

/// Writes what the peers read, and what must come out.
fn write_data(arguments: &Arguments) -> Result<()> {
    let repository = SampleRepository::generate(arguments.seed, arguments.records);
    let folder = shell::root().join(DATA);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("preorder.car"), repository.car())?;
    fs::write(
        folder.join("random.car"),
        repository.shuffled_car(arguments.seed),
    )?;
    write_keys(&repository, &folder.join("keys.txt"))?;

    let expected = json!({
        "root": repository.tree.root.to_string(),
        "count": repository.paths.len(),
        "checksum_records": sum_of_records(&repository),
        "checksum_values": sum_of_values(&repository, 0..repository.paths.len()),
        "checksum_gets": sum_of_values(&repository, gets::sample(repository.paths.len())),
    });
    Ok(fs::write(folder.join("expect.json"), expected.to_string())?)
}

fn write_keys(repository: &SampleRepository, path: &Path) -> Result<()> {
    let mut lines = String::new();
    for key in repository.paths.keys() {
        lines.push_str(key);
        lines.push('\n');
    }
    Ok(fs::write(path, lines)?)
}

fn sum_of_records(repository: &SampleRepository) -> String {
    let mut sum = Checksum::new();
    for (path, cid) in &repository.paths {
        sum.add(
            path.as_bytes(),
            repository.records.get(cid).map_or(&[], |block| block),
        );
    }
    format!("{:016x}", sum.value())
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
    format!("{:016x}", sum.value())
}
