//! `peers run`: one job of one engine in a process of its own, reported as one line of JSON.

use std::path::Path;

use serde_json::{Value, json};

use crate::{engines::Engine, input::Input, outcome::Outcome, workload::Workload};

/// Runs the workload `reps` times and prints a line each time, even if it fails. Only the first
/// line's peak memory is that of one run, and only the first run finds a cold allocator: `peers
/// all` runs it once.
pub(crate) fn run(engine: &Engine, workload: &Workload, input: &Input, reps: usize) {
    for _ in 0..reps {
        let line = match (engine.run)(workload.job, input) {
            Ok(outcome) => line(engine, workload, outcome),
            Err(error) => json!({ "error": error.to_string() }),
        };
        println!("{line}");
    }
}

fn line(engine: &Engine, workload: &Workload, outcome: Option<Outcome>) -> Value {
    let Some(outcome) = outcome else {
        return json!({ "engine": engine.name, "workload": workload.name, "unsupported": true });
    };
    json!({
        "engine": engine.name,
        "workload": workload.name,
        "elapsed_ns": u64::try_from(outcome.elapsed.as_nanos()).unwrap_or(u64::MAX),
        "count": outcome.count,
        "root": outcome.root,
        "checksum": outcome.checksum.map(|sum| format!("{sum:016x}")),
        "unverified": outcome.unverified,
        "streamable": outcome.streamable,
        "peak_bytes": peak_bytes(),
    })
}

/// Returns the largest resident set this process has had, if the system tells (Linux).
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
