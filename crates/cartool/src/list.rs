//! `cartool list`

use crate::cli::ListArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::quote::Quoted;
use crate::report::Report;
use crate::walk;

pub(crate) fn run(args: &ListArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    walk::each(&args.chosen, report, |_, entry, _| {
        out.line(format_args!("{} -> {}", Quoted(entry.key()), entry.value()))
    })
}
