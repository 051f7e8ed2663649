//! `cargo xtask sample`: the small repository that the examples read.

use std::fs;

use clap::Args;
use mst_testkit::SampleRepository;

use crate::{Result, shell};

const PATH: &str = "crates/atproto-mst/examples/sample.car";
const SEED: u64 = 2;
const RECORDS: usize = 24;

/// Write the sample repository that the examples read.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail if the file is not what would be written.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.check {
        return check();
    }
    let car = repository().car();
    Ok(fs::write(shell::root().join(PATH), car)?)
}

/// Makes the repository.
pub(crate) fn repository() -> SampleRepository {
    SampleRepository::generate(SEED, RECORDS)
}

/// Fails if the file is not what would be written.
pub(crate) fn check() -> Result<()> {
    let car = repository().car();
    if fs::read(shell::root().join(PATH))? == car {
        Ok(())
    } else {
        Err(format!("{PATH} is out of date: run `cargo xtask sample`").into())
    }
}
