//! `cartool proof`

mod check;
mod make;

use crate::cli::ProofCommand;
use crate::failure::Failure;
use crate::output::Output;
use crate::report::Report;

pub(crate) fn run(
    command: &ProofCommand,
    out: &mut Output,
    report: &mut Report,
) -> Result<(), Failure> {
    match command {
        ProofCommand::Make(args) => make::run(args, out, report),
        ProofCommand::Check(args) => check::run(args, out, report),
    }
}
