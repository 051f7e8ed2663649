//! `cartool salvage`

use atproto_mst::{Salvaged, TreeBuilder};

use crate::cli::SalvageArgs;
use crate::damaged::{self, Left};
use crate::edit;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::new_file::check_kept;
use crate::output::Output;
use crate::progress::Progress;
use crate::quote::Counted;
use crate::report::Report;

pub(crate) fn run(
    args: &SalvageArgs,
    out: &mut Output,
    report: &mut Report,
) -> Result<(), Failure> {
    check_kept(&args.output, &args.source.file, "what is damaged")?;
    let Left {
        repository,
        is_named,
    } = damaged::open(&args.source, report)?;
    report.show(Progress::of_silent_work(repository.blocks().count()));
    let mut nodes = Vec::new();
    let mut tree = TreeBuilder::new(|cid, block| {
        nodes.push((cid, block));
        Ok(())
    });
    let (mut saved, mut faults) = (0, 0);
    for item in repository.salvage() {
        match item {
            Salvaged::Record(record) => {
                tree.push(record.path().as_bytes(), &record.cid())?;
                saved += 1;
                report.tick();
            }
            Salvaged::Fault(fault) => {
                report.fault(&Fault::new(fault.place, fault.error)?);
                faults += 1;
            }
        }
    }
    let root = tree.finish()?;
    let records = Counted(saved, "record");
    if saved == 0 && faults > 0 {
        let what = "no record can be reached, so nothing was written";
        return Err(Failure::Invalid(what.to_owned()));
    }
    let outcome = edit::write(&repository, &root, &nodes, &args.output, out, report)?;

    let lost = match (faults, is_named) {
        (0, true) => "nothing was lost",
        (0, false) => "nothing of this commit was lost",
        _ => "those affected by the faults are lost",
    };
    report.note(&format_args!("saved {records}; {lost}"));
    report.note(&outcome);
    Ok(())
}
