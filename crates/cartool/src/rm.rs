//! `cartool rm`

use atproto_mst::Tree;

use crate::cli::RmArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::quote::Quoted;
use crate::report::Report;
use crate::{edit, input, look_up};

pub(crate) fn run(args: &RmArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    let repository = input::open(&args.source)?;
    let old = look_up::cid(&repository, &args.path)?;
    let old = old.ok_or_else(|| look_up::not_found(&args.path))?;
    let key = args.path.as_bytes();
    let mut tree = Tree::open(repository.nodes(), &repository.commit().data)?;
    tree.remove(key)?;
    let changes = tree.flush();
    let (root, new) = (&changes.root, &changes.new);
    let outcome = edit::write(&repository, root, new, &args.output, out, report)?;

    report.note(&format_args!("removed {} -> {old}", Quoted(key)));
    report.note(&outcome);
    Ok(())
}
