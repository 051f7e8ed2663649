//! Writes a repository with another tree, as a CAR.

use std::fmt;
use std::path::Path;

use atproto_mst::mst_repo::Tid;
use atproto_mst::{BlockStoreMut, Bytes, Cid, Commit, MemoryBlockStore, OverlayBlockStore};

use crate::failure::Failure;
use crate::input::{self, Repository};
use crate::output::Output;
use crate::progress::Progress;
use crate::report::Report;
use crate::watched::Watched;
use crate::whole::{self, Keys};

/// What became of the commit in the changed repository, as a line of text.
pub(crate) enum Outcome {
    /// The tree is the same, so the commit is unchanged, including its signature.
    Kept {
        commit: Cid,
        rev: Tid,
    },
    New {
        commit: Cid,
        rev: Tid,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept { commit, rev } => write!(f, "commit {commit}, rev {rev}, stays as it was"),
            Self::New { commit, rev } => write!(
                f,
                "commit {commit}, rev {rev}, is NOT SIGNED: nobody will accept it as the account's"
            ),
        }
    }
}

/// Writes `repository` with the tree of `root` as a CAR to `target`. The nodes and records that it
/// may not have yet are in `new_blocks`.
pub(crate) fn write(
    repository: &Repository,
    root: &Cid,
    new_blocks: &[(Cid, Bytes)],
    target: &Path,
    out: &mut Output,
    report: &mut Report,
) -> Result<Outcome, Failure> {
    let new = MemoryBlockStore::new();
    new.put_many(new_blocks)?;
    let old = repository.commit();
    let (commit, rev) = if *root == old.data {
        (repository.commit_cid(), old.rev)
    } else {
        let rev = rev_after(old.rev)?;
        let commit = Commit::unsigned(&old.did, rev, *root);
        let block = Bytes::from(commit.encode());
        new.put(&commit.cid(), block)?;
        (commit.cid(), rev)
    };
    write_at(repository, new, &commit, target, out, report)?;
    Ok(if commit == repository.commit_cid() {
        Outcome::Kept { commit, rev }
    } else {
        Outcome::New { commit, rev }
    })
}

/// The revision of the present time; or, if `old` is in the future, as clocks differ, the one after
/// that.
fn rev_after(old: Tid) -> Result<Tid, Failure> {
    // Other tools, which might see the same microsecond, have other clock numbers.
    let now = Tid::now(Tid::random_clock());
    now.after(old).ok_or_else(|| {
        let what = format!("no revision can follow {old}: a TID cannot name a later time");
        Failure::Invalid(what)
    })
}

/// Writes `repository` at the commit `commit` as a CAR to `target`. The commit, nodes and records
/// that it may not have yet are in `new`.
pub(crate) fn write_at(
    repository: &Repository,
    new: MemoryBlockStore,
    commit: &Cid,
    target: &Path,
    out: &mut Output,
    report: &mut Report,
) -> Result<(), Failure> {
    let blocks = repository.blocks();
    // They are read once to check that everything is present, and once to be written.
    report.show(Progress::of_silent_work(
        blocks.count().map(|count| 2 * count),
    ));
    let blocks = OverlayBlockStore::new(new, blocks);
    let progress = report.progress();
    let changed = input::open_at(Watched { blocks, progress }, commit)?;
    whole::check(&changed, Keys::Any, report)?;
    whole::write(&changed, target, out, |_| {})?;
    Ok(())
}
