//! Parts of repositories: a collection with its proof, or what is new since an older tree.

use std::path::Path;

use atproto_mst::{BlockStore, Bytes, Cid, Commit, Error};

use crate::cli::{Source, parse_cid};
use crate::failure::{Failure, name_of};
use crate::input::{self, Repository};
use crate::new_file::check_kept;
use crate::output::Output;
use crate::progress::Progress;
use crate::quote::Counted;
use crate::report::Report;
use crate::walk::{Step, Walk};
use crate::{database, look_up, new_car};

/// Writes the commit, the records of `collection`, and the nodes that prove that these are all.
pub(super) fn collection(
    source: &Source,
    collection: &str,
    target: &Path,
    out: &mut Output,
    report: &mut Report,
) -> Result<(), Failure> {
    check_kept(target, &source.file, "the whole repository")?;
    let repository = input::open(source)?;
    report.show(Progress::of_silent_work(None));
    let records = check_collection(&repository, collection, report)?;
    let blocks = repository.export_collection(collection)?;
    let (count, bytes) = write(&repository, blocks, target, out)?;

    let (did, rev) = (&repository.commit().did, &repository.commit().rev);
    let nodes = Counted(count - 1 - records, "node");
    let records = Counted(records, "record");
    report.note(&format_args!(
        "{did}, rev {rev}, {collection}: {records}, shown by {nodes}; {bytes} bytes"
    ));
    Ok(())
}

/// Reads a collection and counts its records. Anything missing or wrong is reported, and then the
/// collection is refused.
fn check_collection(
    repository: &Repository,
    collection: &str,
    report: &mut Report,
) -> Result<u64, Failure> {
    let (mut records, mut whole) = (0, true);
    for step in Walk::new(repository, Some(collection), false)? {
        let fault = match step? {
            Step::Fault(fault) => *fault,
            Step::Entry(entry) => {
                report.tick();
                match look_up::record(repository, entry.key(), &entry.value())? {
                    Ok(_) => {
                        records += 1;
                        continue;
                    }
                    Err(fault) => fault,
                }
            }
        };
        report.fault(&fault);
        whole = false;
    }
    if whole {
        return Ok(records);
    }
    let what = "the collection is not whole, so nothing was written";
    Err(Failure::Invalid(what.to_owned()))
}

/// Writes the commit, and the nodes and records that the tree of `old` does not have.
pub(super) fn since(
    source: &Source,
    old: &Path,
    target: &Path,
    out: &mut Output,
    report: &mut Report,
) -> Result<(), Failure> {
    input::check_one_dash(&[&source.file, old], "the two repositories")?;
    check_kept(target, &source.file, "the whole repository")?;
    check_kept(target, old, "the old repository")?;
    let of_old = |failure: Failure| failure.of(old);
    // A file may have the name of a CID, which then is what is in it.
    let commit = old.to_str().filter(|_| !old.exists());
    let commit = commit.and_then(|old| parse_cid(old).ok());
    // Checked before the other is opened, which may be the same file.
    let is_database = commit.is_none() && database::is_at(old).map_err(of_old)?;
    let repository = input::open(source)?;
    let other;
    let (nodes, root) = if let Some(cid) = commit {
        (repository.nodes(), tree_of(&repository, &cid)?)
    } else {
        other = open_old(source, old, is_database).map_err(of_old)?;
        report.note_if_two(other.commit(), repository.commit());
        (other.nodes(), other.commit().data)
    };
    let unknown = |error: Error| match Failure::from(error) {
        Failure::Invalid(what) => {
            let old = name_of(old);
            Failure::Invalid(format!("cannot tell what {old} does not have: {what}"))
        }
        failure => failure,
    };
    let difference = || repository.export_since(nodes, &root).map_err(unknown);
    report.show(Progress::of_silent_work(None));
    let mut whole = true;
    for block in difference()? {
        report.tick();
        match block {
            Ok(_) => {}
            Err(Error::MissingBlock(cid)) => {
                report.fault(&format_args!("missing block {cid}"));
                whole = false;
            }
            Err(error) => match Failure::from(error) {
                Failure::Invalid(what) => {
                    report.fault(&what);
                    whole = false;
                }
                failure => return Err(failure),
            },
        }
    }
    if !whole {
        let what = "some of what is new is missing or invalid, so nothing was written";
        return Err(Failure::Invalid(what.to_owned()));
    }
    let (count, bytes) = write(&repository, difference()?, target, out)?;

    let (did, rev) = (&repository.commit().did, &repository.commit().rev);
    let blocks = Counted(count, "block");
    report.note(&format_args!(
        "{did}, rev {rev}, since the tree {root}: {blocks}; {bytes} bytes"
    ));
    Ok(())
}

/// Opens the older repository at `old`. If that is a database, `source` chooses the repository in
/// it too.
fn open_old(source: &Source, old: &Path, is_database: bool) -> Result<Repository, Failure> {
    let source = Source {
        file: old.to_owned(),
        repo: source.repo.clone().filter(|_| is_database),
    };
    input::open_of(&source, is_database)
}

/// The root of the tree that `cid` refers to: that of a commit, or `cid` itself.
fn tree_of(repository: &Repository, cid: &Cid) -> Result<Cid, Failure> {
    let Some(block) = repository.blocks().get(cid)? else {
        let what = format!("block {cid}, to start from, is missing; OLD may also be a file");
        return Err(Failure::Invalid(what));
    };
    let commit = Commit::decode_version_2_or_3(&block);
    Ok(commit.map_or(*cid, |commit| commit.data))
}

/// Writes blocks as a CAR, and returns how many there are, and how many bytes.
fn write(
    repository: &Repository,
    blocks: impl Iterator<Item = Result<(Cid, Bytes), Error>>,
    target: &Path,
    out: &mut Output,
) -> Result<(u64, u64), Failure> {
    let mut count = 0;
    let blocks = blocks.map(|block| {
        count += 1;
        block.map_err(Failure::from)
    });
    let bytes = new_car::write(&repository.commit_cid(), blocks, target, out)?;
    Ok((count, bytes))
}
