//! `cartool export`

mod part;

use crate::cli::{ExportArgs, Source};
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;
use crate::quote::Counted;
use crate::report::Report;
use crate::watched::Watched;
use crate::whole::{self, Keys};
use crate::{database, input};

pub(crate) fn run(args: &ExportArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    let source = Source {
        file: args.file.clone(),
        repo: args.repo.clone(),
    };
    match (&args.collection, &args.since) {
        (Some(collection), _) => {
            return part::collection(&source, collection, &args.output, out, report);
        }
        (None, Some(old)) => return part::since(&source, old, &args.output, out, report),
        (None, None) => {}
    }
    if !database::is_at(&source.file)? {
        let what = "not an SQLite database; to put a CAR in order, use `cartool compact`";
        return Err(Failure::Usage(what.to_owned()));
    }
    let opened = input::open_blocks(&source)?;
    let commit = opened.commit()?;
    let blocks = opened.blocks;
    report.show(Progress::of_silent_work(blocks.count()));
    let progress = report.progress();
    let repository = input::open_at(Watched { blocks, progress }, &commit)?;
    let found = whole::check(&repository, Keys::Any, report)?;
    let bytes = whole::write(&repository, &args.output, out, |_| {})?;

    let (did, rev) = (&repository.commit().did, &repository.commit().rev);
    let (records, nodes) = (
        Counted(found.records, "record"),
        Counted(found.nodes, "node"),
    );
    report.note(&format_args!(
        "{did}, rev {rev}: {records}, {nodes}; {bytes} bytes"
    ));
    Ok(())
}
