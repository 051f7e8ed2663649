//! `cartool compact`

use std::path::Path;

use atproto_mst::{Cid, reachable};

use crate::cli::{CompactArgs, Source};
use crate::database;
use crate::distinct::Distinct;
use crate::failure::Failure;
use crate::input::{self, Opened};
use crate::output::Output;
use crate::progress::Progress;
use crate::quote::Counted;
use crate::report::Report;
use crate::watched::Watched;
use crate::whole::{self, Keys};

pub(crate) fn run(
    args: &CompactArgs,
    out: &mut Output,
    report: &mut Report,
) -> Result<(), Failure> {
    if database::is_at(&args.file)? {
        if args.output.is_some() {
            let what = "a database is compacted in its place, without --output; \
                for a CAR of what is in it there is `cartool export`";
            return Err(Failure::Usage(what.to_owned()));
        }
        return compact_database(&args.file, args.drop.as_deref(), report);
    }
    if args.drop.is_some() {
        let what = "--drop is for a database, and this is not one";
        return Err(Failure::Usage(what.to_owned()));
    }
    let Some(target) = &args.output else {
        let what = "compacting a CAR requires --output, which may be the CAR itself";
        return Err(Failure::Usage(what.to_owned()));
    };
    let opened = input::open_blocks(&Source::of(&args.file))?;
    compact_car(opened, target, out, report)
}

fn compact_car(
    opened: Opened,
    target: &Path,
    out: &mut Output,
    report: &mut Report,
) -> Result<(), Failure> {
    let commit = opened.commit()?;
    let blocks = opened.blocks;
    let all = blocks.count().unwrap_or_default();
    // They are read once to check that everything is present, and once to be written.
    report.show(Progress::of_silent_work(Some(2 * all)));
    let progress = report.progress();
    let repository = input::open_at(Watched { blocks, progress }, &commit)?;
    whole::check(&repository, Keys::Any, report)?;
    // A record with several paths is repeated for each.
    let mut used = Distinct::default();
    let after = whole::write(&repository, target, out, |cid| used.note(cid))?;

    let left_out = Counted(all.saturating_sub(used.count()) as u64, "block");
    let before = opened.size;
    report.note(&format_args!(
        "left out {left_out} of {all}; {before} bytes became {after}"
    ));
    Ok(())
}

/// Drops a repository from a database, if one is named, and then all blocks that no head needs.
fn compact_database(
    path: &Path,
    repository: Option<&str>,
    report: &mut Report,
) -> Result<(), Failure> {
    let database = database::open(path)?;
    let before = database::size(&database)?;
    report.show(Progress::of_silent_work(None));
    let progress = report.progress();
    let dropped = database.transaction(|transaction| {
        database::check_sound(transaction)?;
        if repository.is_some() {
            let (name, _) = database::choose(transaction, repository)?;
            transaction.delete_head(&name)?;
        }
        let heads = transaction.heads()?;
        let heads: Vec<Cid> = heads.into_iter().map(|(_, cid)| cid).collect();
        let blocks = transaction;
        let used = reachable(&Watched { blocks, progress }, &heads)?;
        let dropped = transaction.retain(|cid| used.contains(cid))?;
        Ok::<_, Failure>(Counted(dropped as u64, "block"))
    })?;
    // From here on they are gone, even if the file cannot be shrunk now.
    let shrunk = database::shrink(&database);
    let after = database::size(&database)?;
    report.note(&format_args!(
        "dropped {dropped}; {before} bytes became {after}"
    ));
    shrunk
}
