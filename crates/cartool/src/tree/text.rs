//! A tree as text.

use std::io::{self, Write};

use super::outline::{Outline, Part};
use crate::failure::Failure;
use crate::input::Repository;
use crate::output::Output;
use crate::quote::Quoted;
use crate::report::Report;

pub(super) fn write(
    repository: &Repository,
    outline: Outline<'_>,
    out: &mut Output,
    report: &mut Report,
) -> Result<(), Failure> {
    out.line(format_args!("commit {}", repository.commit_cid()))?;
    let mut depth = 0;
    for part in outline {
        let part = part?;
        if let Part::Fault { fault, .. } = &part
            && !fault.is_missing()
        {
            report.count_fault();
        }
        if matches!(part, Part::End) {
            depth -= 1;
            continue;
        }
        write_part(&part, depth, out.writer()).map_err(Failure::Output)?;
        depth += usize::from(matches!(part, Part::Node { .. }));
    }
    Ok(())
}

fn write_part(part: &Part, depth: usize, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{:width$}", "", width = 2 * depth)?;
    match part {
        Part::Node { cid, height } => writeln!(out, "node {cid} height {height}"),
        Part::Entry {
            key,
            value,
            is_there,
        } => {
            let key = Quoted(key);
            let cid = super::picture::short(value);
            let missing = if *is_there { "" } else { " (missing)" };
            writeln!(out, "{key} -> {cid}{missing}")
        }
        Part::Closed { cid } => writeln!(out, "closed node {cid}"),
        Part::Fault { fault, .. } => writeln!(out, "{fault}"),
        Part::End => Ok(()),
    }
}
