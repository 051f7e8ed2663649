//! `cartool put`

use atproto_mst::{RepoPath, Tree};

use crate::cli::PutArgs;
use crate::failure::{Failure, chain};
use crate::new_file::check_kept;
use crate::new_record::{self, Form};
use crate::output::Output;
use crate::quote::Quoted;
use crate::report::Report;
use crate::{edit, input, look_up};

pub(crate) fn run(args: &PutArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    let inputs = [&*args.source.file, &args.record];
    input::check_one_dash(&inputs, "the repository and the record")?;
    check_kept(&args.output, &args.record, "the record")?;
    let key = args.path.as_bytes();
    let path = RepoPath::parse(key).map_err(|error| Failure::Usage(chain(&error)))?;
    let form = if args.cbor { Form::DagCbor } else { Form::Json };
    let (cid, block) = new_record::read(&args.record, form)?;
    let oddity = new_record::oddity(&block, path.collection());

    let repository = input::open(&args.source)?;
    let old = look_up::cid(&repository, &args.path)?;
    let mut tree = Tree::open(repository.nodes(), &repository.commit().data)?;
    tree.insert(key, &cid)?;
    let mut changes = tree.flush();
    changes.new.push((cid, block));
    let (root, new) = (&changes.root, &changes.new);
    let outcome = edit::write(&repository, root, new, &args.output, out, report)?;

    if let Some(oddity) = oddity {
        report.note(&format_args!("note: {oddity}"));
    }
    let path = Quoted(key);
    match old {
        None => report.note(&format_args!("created {path} -> {cid}")),
        Some(old) if old == cid => report.note(&format_args!("unchanged {path} -> {cid}")),
        Some(old) => report.note(&format_args!("updated {path} -> {cid}, which was {old}")),
    }
    report.note(&outcome);
    Ok(())
}
