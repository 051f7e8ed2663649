//! Runs the same workloads through this project's crates and through others of the same kind,
//! each in a process of its own, checks the results, and compares time and memory.
//!
//! ```text
//! peers all --data DIR [--reps N] [--only ENGINE,..] [--workloads WORKLOAD,..]
//! peers run --engine ENGINE --workload WORKLOAD --data DIR [--reps N]
//! ```

use std::{path::Path, process::ExitCode};

use crate::{
    args::Options,
    engines::{ENGINES, Engine},
    input::Input,
    workload::{WORKLOADS, Workload},
};

mod args;
mod car;
mod check;
mod checksum;
mod child;
mod engines;
mod expect;
mod input;
mod machine;
mod node;
mod outcome;
mod parent;
mod report;
mod sample;
mod workload;

/// Errors are only shown here, not handled.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("run") => {
            let known = ["--engine", "--workload", "--data", "--reps"];
            let options = Options::parse(args, &known)?;
            let engine = one(options.require("--engine")?, ENGINES, engine_name)?;
            let workload = one(options.require("--workload")?, WORKLOADS, workload_name)?;
            let input = Input::new(Path::new(options.require("--data")?), workload.car);
            child::run(engine, workload, &input, options.reps(1)?);
            Ok(ExitCode::SUCCESS)
        }
        Some("all") => {
            let known = ["--data", "--reps", "--only", "--workloads"];
            let options = Options::parse(args, &known)?;
            let data = Path::new(options.require("--data")?);
            let engines = options.select("--only", ENGINES, engine_name)?;
            let workloads = options.select("--workloads", WORKLOADS, workload_name)?;
            parent::run(data, &engines, &workloads, options.reps(7)?)
        }
        _ => Err("the first argument must be `all` or `run`".into()),
    }
}

fn one<T>(name: &str, all: &'static [T], name_of: fn(&T) -> &str) -> Result<&'static T> {
    all.iter()
        .find(|item| name_of(item) == name)
        .ok_or_else(|| format!("there is no {name}").into())
}

fn engine_name(engine: &Engine) -> &str {
    engine.name
}

fn workload_name(workload: &Workload) -> &str {
    workload.name
}
