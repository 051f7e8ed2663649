//! `cartool salvage`

use atproto_mst::{Cid, Salvaged, TreeBuilder, mst_ops};

use crate::cli::SalvageArgs;
use crate::damaged::{self, Left, Origin};
use crate::edit;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::input::Blocks;
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
        commit,
        mut bad_blocks,
    } = damaged::open(&args.source, args.did.as_deref(), report)?;
    let unreachable = args.unreachable || commit == Origin::Nowhere;
    let known = &repository.commit().did;
    if args.did.as_ref().is_some_and(|did| did != known) {
        report.note(&format_args!(
            "note: there is a commit, of {known}, so --did is not used"
        ));
    }
    report.show(Progress::of_silent_work(repository.blocks().count()));
    let mut nodes = Vec::new();
    let mut tree = TreeBuilder::new(|cid, block| {
        nodes.push((cid, block));
        Ok(())
    });
    let (mut saved, mut faults, mut gaps) = (0, 0, 0);
    let items = if unreachable {
        repository.salvage_among(&cids_of(repository.blocks())?)?
    } else {
        repository.salvage()
    };
    for item in items {
        match item {
            Salvaged::Record(record) => {
                let path = record.path();
                match tree.push(path.as_bytes(), &record.cid()) {
                    // Nodes that are no part of this tree may have any number of keys.
                    Err(error @ mst_ops::Error::NodeTooLarge { .. }) => {
                        report.fault(&format_args!("bad key {path:?}: {error}"));
                        faults += 1;
                    }
                    pushed => {
                        pushed?;
                        saved += 1;
                        report.tick();
                    }
                }
            }
            Salvaged::Fault(fault) => {
                if let Some(cid) = fault.error.cid() {
                    if commit == Origin::Nowhere && cid == repository.commit().data {
                        continue;
                    }
                    bad_blocks.remove(&cid);
                }
                let fault = Fault::new(fault.place, fault.error)?;
                report.fault(&fault);
                faults += 1;
                gaps += u64::from(fault.is_node());
            }
        }
    }
    let root = tree.finish()?;
    for fault in bad_blocks.values() {
        report.fault(&format_args!("{fault}; what can be repaired of it is used"));
    }
    let records = Counted(saved, "record");
    if gaps > 0 && !unreachable && matches!(repository.blocks(), Blocks::Car(_)) {
        report.note(&"note: --unreachable may find records below those nodes");
    }
    if saved == 0 && (faults > 0 || commit == Origin::Nowhere) {
        let what = "no record was found, so nothing was written";
        return Err(Failure::Invalid(what.to_owned()));
    }
    let outcome = edit::write(&repository, &root, &nodes, &args.output, out, report)?;

    let lost = match (faults, commit) {
        (_, Origin::Nowhere) => "nothing shows which others there were",
        (0, Origin::Named) => "nothing was lost",
        (0, Origin::Found) => "nothing of this commit was lost",
        _ => "those affected by the faults are lost",
    };
    report.note(&format_args!("saved {records}; {lost}"));
    report.note(&outcome);
    Ok(())
}

/// The CIDs of all blocks, any of which may be a node that nothing links to.
fn cids_of(blocks: &Blocks) -> Result<Vec<Cid>, Failure> {
    match blocks {
        Blocks::Car(car) => Ok(damaged::cids_of(car)?),
        Blocks::Database(_) => {
            let what = "--unreachable is for CARs; a database may hold nodes of any repository";
            Err(Failure::Usage(what.to_owned()))
        }
    }
}
