//! Looks into atproto repository CARs. See the README, or `cartool --help`.

mod cli;
mod dag_cbor;
mod dump;
mod failure;
mod fault;
mod get;
mod info;
mod input;
mod json;
mod list;
mod output;
mod progress;
mod quote;
mod record;
mod report;
mod verify;
mod walk;

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
    let mut report = Report::new(&cli.command.file(), cli.quiet);
    let result = match &cli.command {
        Command::Info(args) => info::run(args, &mut out, &mut report),
        Command::List(args) => list::run(args, &mut out, &mut report),
        Command::Dump(args) => dump::run(args, &mut out, &mut report),
        Command::Get(args) => get::run(args, &mut out, &mut report),
        Command::Verify(args) => verify::run(args, &mut out, &mut report),
    };
    // What was found before a failure is data all the same.
    let flushed = out.flush();
    report.finish(result.and(flushed))
}

/// Prints what the parser of the arguments has to say: help, the version, or a usage error.
fn print_message(message: &clap::Error) -> ExitCode {
    let printed = message.print().map_err(Failure::Output);
    match printed {
        Err(failure) if !message.use_stderr() => Report::new("-", true).finish(Err(failure)),
        _ => ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(failure::USAGE)),
    }
}
