//! `cargo xtask ci`: what the maintainers check besides the tests.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use mst_testkit::SampleRepository;

use crate::shell::{self, cargo};
use crate::{Result, conformance, examples, others, sample};

/// Run the checks that only the maintainers need, after the tests.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The folder of the published suites; without it they are left out.
    #[arg(long, value_name = "DIR")]
    suite: Option<PathBuf>,
    /// How long each fuzz target runs; with 0 none is built.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    fuzz: u32,
    /// How many processes that write commits are killed.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    kills: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    formatting()?;
    lints()?;
    docs()?;
    features()?;
    dependencies()?;
    sample::check()?;
    examples::run()?;
    suites(arguments)?;
    agreement()?;
    kills(arguments.kills)?;
    fuzz(arguments.fuzz)?;
    println!("all checks passed");
    Ok(())
}

fn formatting() -> Result<()> {
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml", "tests/peers/Cargo.toml"] {
        shell::run(&mut cargo(&format!(
            "fmt --all --check --manifest-path {manifest}"
        )))?;
    }
    Ok(())
}

fn lints() -> Result<()> {
    let line = "clippy --workspace --all-targets --all-features --locked -- -D warnings";
    shell::run(&mut cargo(line))
}

fn docs() -> Result<()> {
    // Without the features, so that no link leads to what is not there.
    for chosen in ["--workspace --all-features", "-p mst-repo"] {
        let mut doc = cargo(&format!("doc {chosen} --no-deps --locked"));
        shell::run(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    }
    Ok(())
}

/// Builds the crates with each of the features that a user may choose, one at a time.
fn features() -> Result<()> {
    for chosen in [
        "-p atproto-mst --no-default-features",
        "-p atproto-mst --no-default-features --features car",
        "-p atproto-mst --no-default-features --features async",
        "-p atproto-mst --no-default-features --features sqlite",
        "-p atproto-mst --no-default-features --features sqlite-unbundled",
        "-p atproto-mst --no-default-features --features k256",
        "-p atproto-mst --no-default-features --features p256",
        "-p blockstore-core --no-default-features",
        "-p blockstore-core --features contract",
        "-p blockstore-car",
        "-p blockstore-car --features async",
        "-p mst-node",
        "-p mst-ops",
        "-p mst-repo",
        "-p mst-repo --no-default-features",
        "-p mst-repo --no-default-features --features async",
        "-p mst-repo --no-default-features --features k256",
        "-p mst-repo --no-default-features --features p256",
        "-p blockstore-sqlite",
        "-p blockstore-sqlite --no-default-features",
    ] {
        shell::run(&mut cargo(&format!(
            "clippy {chosen} --locked -- -D warnings"
        )))?;
    }
    Ok(())
}

/// Checks that a user of the facade builds no runtime, unless the streams of one are requested,
/// and that all licenses allow the use.
fn dependencies() -> Result<()> {
    let line = "tree -p atproto-mst --features k256,p256,sqlite -e normal,build --prefix none";
    let tree = cargo(line).output()?;
    if !tree.status.success() {
        return Err(format!("cargo {line}: {}", String::from_utf8_lossy(&tree.stderr)).into());
    }
    let tree = String::from_utf8(tree.stdout)?;
    let mut crates: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    crates.sort_unstable();
    crates.dedup();
    println!("the facade builds {} crates", crates.len());
    for unwanted in ["tokio", "async-std", "openssl-sys"] {
        if crates.contains(&unwanted) {
            return Err(format!("the facade depends on {unwanted}").into());
        }
    }
    shell::run(&mut cargo(
        "deny --all-features check bans licenses sources",
    ))?;
    // Building the peers takes minutes; checking their lock file does not.
    let line = "metadata --format-version 1 --locked --manifest-path tests/peers/Cargo.toml";
    let locked = cargo(line).output()?;
    if locked.status.success() {
        Ok(())
    } else {
        Err("tests/peers/Cargo.lock is out of date".into())
    }
}

/// Kills processes that write commits to SQLite, far more than the tests do by default.
fn kills(count: u32) -> Result<()> {
    let mut kills = cargo("test -p blockstore-sqlite --test sqlite kill");
    shell::run(kills.env("BLOCKSTORE_SQLITE_KILLS", count.to_string()))
}

fn suites(arguments: &Arguments) -> Result<()> {
    if let Some(folder) = &arguments.suite {
        return conformance::run_in(folder);
    }
    println!("no folder of suites given: left out");
    Ok(())
}

/// If they cannot be installed, that is not a fault of what is checked here.
fn agreement() -> Result<()> {
    if let Some(program) = others::missing() {
        println!("no {program} to run other implementations with: left out");
        return Ok(());
    }
    match others::install() {
        Ok(()) => others::test(),
        Err(error) => {
            println!("the other implementations cannot be installed: left out ({error})");
            Ok(())
        }
    }
}

fn fuzz(seconds: u32) -> Result<()> {
    if seconds == 0 {
        println!("no fuzzing asked for: left out");
        return Ok(());
    }
    let mut targets: Vec<String> = Vec::new();
    for file in fs::read_dir(shell::root().join("fuzz/fuzz_targets"))? {
        let path = file?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        targets.extend(name.map(str::to_owned));
    }
    targets.sort_unstable();
    seeds()?;
    for target in targets {
        let line = format!("+nightly fuzz run {target} -- -max_total_time={seconds}");
        shell::run(&mut cargo(&line))?;
    }
    Ok(())
}

/// Gives the fuzzer blocks and CARs to start from, if it has none from before.
fn seeds() -> Result<()> {
    let sample = SampleRepository::generate(4, 200);
    let seed = |target: &str, name: &str, bytes: &[u8]| -> Result<()> {
        let folder = shell::root().join("fuzz/corpus").join(target);
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join(name), bytes)?)
    };
    for (cid, block) in &sample.tree.nodes {
        seed("node_decode", &cid.to_string(), block)?;
    }
    seed("commit_decode", "seed-commit", &sample.commit.1)?;
    for (cid, block) in &sample.records {
        seed("record_decode", &cid.to_string(), block)?;
    }
    for (count, name) in [(1, "seed-one"), (6, "seed-six")] {
        let small = SampleRepository::generate(4, count);
        seed("car_read", name, &small.car())?;
        seed(
            "car_read",
            &format!("{name}-shuffled"),
            &small.shuffled_car(4),
        )?;
    }
    Ok(())
}
