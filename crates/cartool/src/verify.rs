//! `cartool verify`

use std::rc::Rc;

use atproto_mst::{BlockStore, Bytes, CarBlockStore, Cid, Repository, StoreError};

use crate::cli::VerifyArgs;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::input;
use crate::output::Output;
use crate::progress::Progress;
use crate::quote::Counted;
use crate::report::Report;

pub(crate) fn run(args: &VerifyArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    let (car, _) = input::open_car(&args.file)?;
    let root = input::root_of(&car)?;
    report.show(Progress::of_silent_work(car.len()));
    let progress = report.progress();
    let repository = input::open_at(Watched { car, progress }, &root)?;
    let counts = print_faults(&repository, out, report)?;
    report.progress().clear();
    out.line(format_args!("{counts}"))
}

fn print_faults(
    repository: &Repository<Watched>,
    out: &mut Output,
    report: &mut Report,
) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    let mut faults = repository.faults();
    for fault in faults.by_ref() {
        let fault = Fault::new(fault.place, fault.error)?;
        counts.add(&fault);
        report.count_fault();
        print_fault(&fault, out, &report.progress())?;
    }
    let summary = faults.summary();
    (counts.nodes, counts.records) = (summary.nodes, summary.records);
    Ok(counts)
}

fn print_fault(fault: &Fault, out: &mut Output, progress: &Progress) -> Result<(), Failure> {
    progress.aside(|| {
        out.line(format_args!("{fault}"))?;
        // Both may be the same terminal, where the line must not wait behind the bar.
        if progress.is_shown() {
            out.flush()
        } else {
            Ok(())
        }
    })
}

/// A CAR that tells how far the reading of it has come.
struct Watched {
    car: CarBlockStore,
    progress: Rc<Progress>,
}

impl BlockStore for Watched {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        let block = self.car.get(cid)?;
        if block.is_some() {
            self.progress.tick();
        }
        Ok(block)
    }

    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        self.car.has(cid)
    }
}

/// What was found, in numbers.
#[derive(Debug, Default)]
struct Counts {
    nodes: u64,
    records: u64,
    missing_nodes: u64,
    missing_records: u64,
    bad: u64,
}

impl Counts {
    fn add(&mut self, fault: &Fault) {
        let count = match (fault.is_missing(), fault.is_node()) {
            (false, _) => &mut self.bad,
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
