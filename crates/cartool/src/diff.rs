//! `cartool diff`

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use atproto_mst::{
    Action, BlockStore, Bytes, Cid, Diff, Operation, Repository, StoreError, mst_ops,
};

use crate::cli::{DiffArgs, Source};
use crate::failure::{self, Failure};
use crate::fault::Fault;
use crate::input::{self, Blocks};
use crate::output::Output;
use crate::progress::Progress;
use crate::quote::Counted;
use crate::report::Report;
use crate::watched::Watched;
use crate::{database, operations};

pub(crate) fn run(args: &DiffArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    out.may_close();
    input::check_one_dash(&[&args.old, &args.new], "the two")?;
    let is_database = |file: &Path| database::is_at(file).map_err(|failure| failure.of(file));
    let is_database = [is_database(&args.old)?, is_database(&args.new)?];
    if args.repo.is_some() && is_database == [false, false] {
        let what = "--repo chooses from a database, but these are CARs, with one repository each";
        return Err(Failure::Usage(what.to_owned()));
    }
    report.show(Progress::of(None));
    let [old_is_database, new_is_database] = is_database;
    let last = Rc::new(Cell::new(Side::Old));
    let open = |side, file: &Path, is_database: bool| {
        let source = Source {
            file: file.to_owned(),
            repo: args.repo.clone().filter(|_| is_database),
        };
        open(&source, is_database, side, &last, report).map_err(|failure| failure.of(file))
    };
    let old = open(Side::Old, &args.old, old_is_database)?;
    let new = open(Side::New, &args.new, new_is_database)?;
    let compared = compare(&old, &new, args, out, report);
    let counts = compared.map_err(|error| match error {
        Stopped::Tree(error) => match Fault::of_node(error) {
            Ok(fault) => Failure::Invalid(format!("the comparison ends here: {fault}")),
            Err(failure) => failure,
        }
        .of(match last.get() {
            Side::Old => &args.old,
            Side::New => &args.new,
        }),
        Stopped::Output(failure) => failure,
    })?;
    report.progress().clear();
    out.flush()?;
    report.note_if_two(old.commit(), new.commit());
    if counts.is_empty() {
        if old.commit_cid() != new.commit_cid() {
            report.note(&"no record differs; the commits do");
        }
    } else {
        report.answer(failure::DIFFERENT);
        report.note(&counts);
    }
    Ok(())
}

fn open(
    source: &Source,
    is_database: bool,
    side: Side,
    last: &Rc<Cell<Side>>,
    report: &Report,
) -> Result<Repository<Asked>, Failure> {
    let opened = input::open_blocks_of(source, is_database)?;
    let commit = opened.commit()?;
    let (blocks, progress) = (opened.blocks, report.progress());
    let blocks = Asked {
        blocks: Watched { blocks, progress },
        side,
        last: Rc::clone(last),
    };
    Ok(input::open_at(blocks, &commit)?)
}

fn compare(
    old: &Repository<Asked>,
    new: &Repository<Asked>,
    args: &DiffArgs,
    out: &mut Output,
    report: &mut Report,
) -> Result<Counts, Stopped> {
    let (old_root, new_root) = (&old.commit().data, &new.commit().data);
    let mut diff = Diff::new(old.nodes(), old_root, new.nodes(), new_root)?;
    let mut counts = Counts {
        gone_nodes: diff.deleted().len() as u64,
        new_nodes: diff.created().len() as u64,
        ..Counts::default()
    };
    for operation in diff.by_ref() {
        counts.add(&operation);
        if let Err(error) = std::str::from_utf8(&operation.key)
            && let Some(cid) = operation.new.or(operation.old)
        {
            report.fault(&Fault::bad_key(&operation.key, cid, error.to_string()));
        }
        let write = if args.jsonl {
            operations::write_json(&operation, out.writer())
        } else {
            operations::write_text(&operation, out.writer())
        };
        write.map_err(Failure::Output)?;
    }
    if args.nodes {
        write_nodes("-", "old", diff.deleted(), args.jsonl, out)?;
        write_nodes("+", "new", diff.created(), args.jsonl, out)?;
    }
    Ok(counts)
}

fn write_nodes(
    sign: &str,
    side: &str,
    cids: &[Cid],
    jsonl: bool,
    out: &mut Output,
) -> Result<(), Failure> {
    for cid in cids {
        if jsonl {
            operations::write_node_json(side, cid, out.writer()).map_err(Failure::Output)?;
        } else {
            out.line(format_args!("{sign} node {cid}"))?;
        }
    }
    Ok(())
}

/// Why a comparison stopped early.
enum Stopped {
    /// One of the trees cannot be read.
    Tree(mst_ops::Error),
    Output(Failure),
}

impl From<mst_ops::Error> for Stopped {
    fn from(error: mst_ops::Error) -> Self {
        Self::Tree(error)
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Output(failure)
    }
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Old,
    New,
}

/// The blocks of one side, which record that it was the last to be read: an error of a comparison
/// is about what was read last, and does not say on which side that is.
struct Asked {
    blocks: Watched<Blocks>,
    side: Side,
    last: Rc<Cell<Side>>,
}

impl BlockStore for Asked {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        self.last.set(self.side);
        self.blocks.get(cid)
    }

    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        self.last.set(self.side);
        self.blocks.has(cid)
    }
}

/// The numbers of differences.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    created: u64,
    updated: u64,
    deleted: u64,
    new_nodes: u64,
    gone_nodes: u64,
}

impl Counts {
    fn add(&mut self, operation: &Operation) {
        *match Action::from(operation) {
            Action::Create => &mut self.created,
            Action::Update => &mut self.updated,
            Action::Delete => &mut self.deleted,
        } += 1;
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            created,
            updated,
            deleted,
            new_nodes,
            gone_nodes,
        } = self;
        let records = Counted(created + updated + deleted, "record");
        write!(
            f,
            "{records}: {created} created, {updated} updated, {deleted} deleted; \
             nodes: {new_nodes} new, {gone_nodes} gone"
        )
    }
}
