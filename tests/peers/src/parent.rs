//! `peers all`: starts a process for each measurement, one after the other, and collects.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    Result,
    engines::Engine,
    expect::Expect,
    report::{Cell, Report, Row, Sample},
    workload::Workload,
};

/// Runs all workloads through all engines `reps` times and prints the report. The repetitions are
/// the outermost loop and the engines the innermost, so that whatever slows the machine for a
/// while affects all engines alike.
///
/// The exit code says whether the results of this project's own engines were right.
pub(crate) fn run(
    data: &Path,
    engines: &[&'static Engine],
    workloads: &[&'static Workload],
    reps: usize,
) -> Result<ExitCode> {
    let expect = Expect::read(&data.join("expect.json"))?;
    let mut rows: Vec<Row> = workloads
        .iter()
        .map(|workload| Row {
            workload,
            cells: engines.iter().map(|engine| Cell::new(engine)).collect(),
        })
        .collect();
    for rep in 1..=reps {
        for row in &mut rows {
            for cell in row.cells.iter_mut().filter(|cell| cell.is_open()) {
                let label = format!("{rep}/{reps} {} {}", row.workload.name, cell.engine.name);
                match measure(cell.engine, row.workload, data, &expect) {
                    Ok(Some(sample)) => {
                        eprintln!("{label}: {:.1} ms", sample.elapsed.as_secs_f64() * 1e3);
                        cell.samples.push(sample);
                    }
                    Ok(None) => {
                        eprintln!("{label}: no API");
                        cell.unsupported = true;
                    }
                    Err(error) => {
                        eprintln!("{label}: WRONG: {error}");
                        cell.fault = Some(error.to_string());
                    }
                }
            }
        }
    }

    let report = Report { rows, reps };
    print!("{report}");
    Ok(if report.ours_are_right() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs one workload through one engine in a process of its own. `None` means that the engine has
/// no API for it.
///
/// # Errors
///
/// A process that fails, takes too long, or has a wrong result.
fn measure(
    engine: &Engine,
    workload: &Workload,
    data: &Path,
    expect: &Expect,
) -> Result<Option<Sample>> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["run", "--engine", engine.name, "--workload", workload.name])
        .arg("--data")
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let result = wait(&mut child)?;
    if let Some(error) = result.get("error").and_then(Value::as_str) {
        return Err(error.into());
    }
    if result.get("unsupported").is_some() {
        return Ok(None);
    }
    if let Some(fault) = expect.fault(workload, &result)? {
        return Err(fault.into());
    }
    let elapsed = result
        .get("elapsed_ns")
        .and_then(Value::as_u64)
        .ok_or("no elapsed_ns")?;
    let is_set = |name| result.get(name).and_then(Value::as_bool).unwrap_or(false);
    Ok(Some(Sample {
        elapsed: Duration::from_nanos(elapsed),
        peak_bytes: result.get("peak_bytes").and_then(Value::as_u64),
        unverified: is_set("unverified"),
        streamable: is_set("streamable"),
    }))
}

/// Waits until a child ends and returns the line it printed, which fits any pipe.
fn wait(child: &mut Child) -> Result<Value> {
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > TIME_LIMIT {
            child.kill()?;
            child.wait()?;
            return Err(format!("took longer than {} s", TIME_LIMIT.as_secs()).into());
        }
        thread::sleep(POLL);
    };
    if !status.success() {
        return Err(format!("the process ended with {status}").into());
    }
    let mut line = String::new();
    child
        .stdout
        .take()
        .ok_or("the child's stdout is piped")?
        .read_to_string(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

const TIME_LIMIT: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(5);
