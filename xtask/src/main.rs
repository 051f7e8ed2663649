//! The tasks of this workspace: `cargo xtask --help`.

mod ci;
mod conformance;
mod examples;
mod others;
mod peers;
mod sample;
mod shell;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The tasks of this workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// Run the checks that only the maintainers need, after the tests.
    Ci(ci::Arguments),
    /// Run the published vectors and suites.
    Conformance(conformance::Arguments),
    /// Build and run the examples.
    Examples,
    /// Install other implementations, and test whether they agree with ours.
    Others,
    /// Compare speed and memory with other crates for the same job.
    Peers(peers::Arguments),
    /// Write the sample repository that the examples read.
    Sample(sample::Arguments),
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Ci(arguments) => ci::run(&arguments),
        Task::Conformance(arguments) => conformance::run(&arguments),
        Task::Examples => examples::run(),
        Task::Others => others::run(),
        Task::Peers(arguments) => peers::run(&arguments),
        Task::Sample(arguments) => sample::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
