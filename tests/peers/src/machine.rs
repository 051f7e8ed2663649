//! Where, with what and how the numbers were measured: a table without these says nothing.

use std::{fmt::Write, fs, process::Command, thread};

use crate::engines::Engine;

/// Returns the machine, the compiler, the versions of the engines' crates and the command.
pub(crate) fn describe(engines: &[&Engine]) -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let mut versions: Vec<String> = engines
        .iter()
        .filter_map(|engine| {
            let package = engine.package?;
            Some(format!("{package} {}", version(package)?))
        })
        .collect();
    versions.dedup();
    let command: Vec<String> = std::env::args().skip(1).collect();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "- machine: {}, {cores} cores",
        cpu().unwrap_or("unknown".into())
    );
    let _ = writeln!(text, "- compiler: {}", rustc().unwrap_or("unknown".into()));
    let _ = writeln!(text, "- crates: {}", versions.join(", "));
    let _ = writeln!(text, "- command: `peers {}`", command.join(" "));
    text
}

/// Returns the model of the processor, if the system tells (Linux).
fn cpu() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(": ").map(|(_, model)| model.to_owned())
}

/// Returns the version of the compiler that is called `rustc` here.
fn rustc() -> Option<String> {
    let output = Command::new("rustc").arg("--version").output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// Returns the version of a package that this program was locked to.
fn version(package: &str) -> Option<&'static str> {
    let name = format!("name = \"{package}\"");
    let mut lines = LOCK.lines().skip_while(|line| *line != name);
    lines
        .nth(1)?
        .strip_prefix("version = \"")?
        .strip_suffix('"')
}

const LOCK: &str = include_str!("../Cargo.lock");
