//! Inspects and changes atproto repository CARs. See the README, or `cartool --help`.

#![allow(
    clippy::doc_markdown,
    reason = "SQLite is a name, and help texts have no backticks around it"
)]

mod cli;
mod commit;
mod compact;
mod damaged;
mod database;
mod diff;
mod distinct;
mod dump;
mod edit;
mod export;
mod failure;
mod fault;
mod from_json;
mod get;
mod import;
mod info;
mod init;
mod input;
mod json;
mod json_lines;
mod key_file;
mod keygen;
mod list;
mod look_up;
mod new_car;
mod new_file;
mod new_record;
mod operations;
mod output;
mod progress;
mod proof;
mod put;
mod quote;
mod record;
mod redirected;
mod report;
mod rm;
mod salvage;
mod sign;
mod signature;
mod slice;
mod tree;
mod unlocked;
mod verify;
mod walk;
mod watched;
mod whole;
mod writes;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use failure::Failure;
use output::Output;
use report::Report;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => return print_message(&message),
    };
    let mut out = Output::stdout();
    let mut report = Report::new(cli.command.file(), cli.quiet);
    let result = match &cli.command {
        Command::Info(args) => info::run(args, &mut out, &mut report),
        Command::List(args) => list::run(args, &mut out, &mut report),
        Command::Dump(args) => dump::run(args, &mut out, &mut report),
        Command::Get(args) => get::run(args, &mut out, &mut report),
        Command::Verify(args) => verify::run(args, &mut out, &mut report),
        Command::Slice(args) => slice::run(args, &mut out, &mut report),
        Command::Tree(args) => tree::run(args, &mut out, &mut report),
        Command::Diff(args) => diff::run(args, &mut out, &mut report),
        Command::Proof { command } => proof::run(command, &mut out, &mut report),
        Command::Put(args) => put::run(args, &mut out, &mut report),
        Command::Rm(args) => rm::run(args, &mut out, &mut report),
        Command::Keygen(args) => keygen::run(args, &mut out, &mut report),
        Command::Init(args) => init::run(args, &mut out, &mut report),
        Command::Sign(args) => sign::run(args, &mut out, &mut report),
        Command::Commit(args) => commit::run(args, &mut out, &mut report),
        Command::Salvage(args) => salvage::run(args, &mut out, &mut report),
        Command::Compact(args) => compact::run(args, &mut out, &mut report),
        Command::Import(args) => import::run(args, &mut report),
        Command::Export(args) => export::run(args, &mut out, &mut report),
    };
    // Output from before a failure is still valid.
    let flushed = out.flush();
    report.finish(result.and(flushed))
}

/// Prints a message of the argument parser: help, the version, or a usage error.
fn print_message(message: &clap::Error) -> ExitCode {
    let printed = message.print().map_err(Failure::Output);
    match printed {
        Err(failure) if !message.use_stderr() => {
            Report::new(Path::new("-"), true).finish(Err(failure))
        }
        _ => ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(failure::USAGE)),
    }
}
