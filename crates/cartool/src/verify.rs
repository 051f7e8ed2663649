//! `cartool verify`

mod inversion;
mod unread;

use std::collections::HashSet;

use atproto_mst::{BlockStore, Cid, Repository, SqliteBlockStore};

use crate::cli::VerifyArgs;
use crate::database;
use crate::failure::{Failure, chain};
use crate::fault::Fault;
use crate::input;
use crate::output::Output;
use crate::progress::Progress;
use crate::quote::{Counted, Harmless};
use crate::report::Report;
use crate::signature;
use crate::watched::Watched;

pub(crate) fn run(args: &VerifyArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    out.may_close();
    if args.all {
        return verify_all(args, out, report);
    }
    let operations = match &args.ops {
        Some(file) => Some(inversion::read(file, &args.source)?),
        None => None,
    };
    let opened = input::open_and_check_blocks(&args.source)?;
    let root = opened.commit()?;
    report.show(Progress::of_silent_work(opened.blocks.count()));
    let (blocks, progress) = (opened.blocks, report.progress());
    let repository = input::open_at(Watched { blocks, progress }, &root)?;
    let mut counts = print_faults(&repository, "", args.partial, out, report)?;
    report.progress().clear();
    if let Some(bad_block) = &opened.bad_block {
        let blocks = &repository.blocks().blocks;
        counts.bad += unread::print_faults(blocks, bad_block, &counts.bad_cids, out, report)?;
    }
    out.line(format_args!("{counts}"))?;
    if let Some(key) = &args.key {
        signature::tell(repository.commit(), key, out, report)?;
    }
    if let Some(operations) = operations {
        let since = args.since_root.as_ref();
        inversion::check(&repository, &operations, since, out, report)?;
    }
    Ok(())
}

/// Checks each repository of a database. A fault in one does not stop the others from being
/// checked.
fn verify_all(args: &VerifyArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    let file = &args.source.file;
    if !database::is_at(file)? {
        let what = "--all is for a database, and this is not one".to_owned();
        return Err(Failure::Usage(what));
    }
    let database = database::open_all_for_reading(file)?;
    let heads = database::repositories(database.heads()?);
    if heads.is_empty() {
        return Err(database::none());
    }
    report.show(Progress::of_silent_work(None));
    for (did, head) in &heads {
        let counts = verify_head(&database, did, head, args.partial, out, report);
        let did = Harmless(did);
        match counts {
            Ok(counts) => print_aside(&format_args!("{did}: {counts}"), out, &report.progress())?,
            Err(Failure::Invalid(what)) => {
                report.count_fault();
                let line = format_args!("{did}: invalid: {what}");
                print_aside(&line, out, &report.progress())?;
            }
            Err(Failure::Input(error)) => {
                report.count_fault();
                let line = format_args!("{did}: unreadable: {}", chain(&*error));
                print_aside(&line, out, &report.progress())?;
            }
            Err(failure) => return Err(failure),
        }
    }
    report.progress().clear();
    Ok(())
}

/// Checks the repository at `head`, which should be that of `did`, and returns the counts.
fn verify_head(
    blocks: &SqliteBlockStore,
    did: &str,
    head: &Cid,
    partial: bool,
    out: &mut Output,
    report: &mut Report,
) -> Result<String, Failure> {
    let progress = report.progress();
    let repository = input::open_at(Watched { blocks, progress }, head)?;
    let start = format!("{}: ", Harmless(did));
    let counts = print_faults(&repository, &start, partial, out, report)?;
    let name = &repository.commit().did;
    if name == did {
        return Ok(counts.to_string());
    }
    report.count_fault();
    let name = Harmless(name);
    Ok(format!("invalid: it is the repository of {name}; {counts}"))
}

/// Prints the faults of a repository, each after `start`.
fn print_faults<S: BlockStore>(
    repository: &Repository<Watched<S>>,
    start: &str,
    partial: bool,
    out: &mut Output,
    report: &mut Report,
) -> Result<Counts, Failure> {
    let mut counts = Counts {
        partial,
        ..Counts::default()
    };
    let mut faults = repository.faults();
    for fault in faults.by_ref() {
        let fault = Fault::new(fault.place, fault.error)?;
        counts.add(&fault);
        if !partial || !fault.is_missing() {
            report.count_fault();
        } else if !fault.is_node() {
            // A part has most keys only along with others, without records for them.
            continue;
        }
        print_aside(&format_args!("{start}{fault}"), out, &report.progress())?;
    }
    let summary = faults.summary();
    (counts.nodes, counts.records) = (summary.nodes, summary.records);
    Ok(counts)
}

/// Prints a line while a progress bar may be shown.
fn print_aside(
    line: &dyn std::fmt::Display,
    out: &mut Output,
    progress: &Progress,
) -> Result<(), Failure> {
    progress.aside(|| {
        out.line(format_args!("{line}"))?;
        // Both may be the same terminal, where the line must not be held back while the bar is
        // shown.
        if progress.is_shown() {
            out.flush()
        } else {
            Ok(())
        }
    })
}

/// The numbers of what was found.
#[derive(Debug, Default)]
struct Counts {
    /// Whether missing parts are accepted.
    partial: bool,
    nodes: u64,
    records: u64,
    missing_nodes: u64,
    missing_records: u64,
    bad: u64,
    /// The blocks among the bad.
    bad_cids: HashSet<Cid>,
}

impl Counts {
    fn add(&mut self, fault: &Fault) {
        let count = match (fault.is_missing(), fault.is_node()) {
            (false, _) => {
                self.bad_cids.extend(fault.cid());
                &mut self.bad
            }
            (true, true) => &mut self.missing_nodes,
            (true, false) => &mut self.missing_records,
        };
        *count += 1;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let missing = self.missing_nodes + self.missing_records;
        f.write_str(match (self.bad, missing) {
            (0, 0) => "ok: ",
            (0, _) if self.partial => "ok, in part: ",
            (0, _) => "incomplete: ",
            (_, _) => "invalid: ",
        })?;
        let count = |records, nodes| (Counted(records, "record"), Counted(nodes, "node"));
        let (records, nodes) = count(self.records, self.nodes);
        write!(f, "{records}, {nodes}")?;
        if missing > 0 {
            let (records, nodes) = count(self.missing_records, self.missing_nodes);
            write!(f, "; missing: {records}, {nodes}")?;
        }
        if self.bad > 0 {
            write!(f, "; bad: {}", self.bad)?;
        }
        Ok(())
    }
}
