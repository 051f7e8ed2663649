//! Whole repositories: that they are, and writing them.

use std::path::Path;

use atproto_mst::{BlockStore, Cid, Error, Repository, RepositorySummary};

use crate::failure::Failure;
use crate::fault::Fault;
use crate::new_car;
use crate::output::Output;
use crate::report::Report;

/// Whether keys have to be repository paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    Paths,
    /// Whoever changes or copies a repository finds them in it and cannot help it.
    Any,
}

/// Reads all of a repository and counts it. What is missing or wrong is reported, and then it
/// is refused.
pub(crate) fn check<S: BlockStore>(
    repository: &Repository<S>,
    keys: Keys,
    report: &mut Report,
) -> Result<RepositorySummary, Failure> {
    let mut faults = repository.faults();
    let mut whole = true;
    for fault in faults.by_ref() {
        if keys == Keys::Any && matches!(fault.error, Error::InvalidPath { .. }) {
            continue;
        }
        report.fault(&Fault::new(fault.place, fault.error)?);
        whole = false;
    }
    if whole {
        return Ok(faults.summary());
    }
    let what = "the repository is not whole, so nothing was written";
    Err(Failure::Invalid(what.to_owned()))
}

/// Writes a repository as a CAR in streamable order: to standard output if `target` is `-`,
/// or in place of the file there, which stays as it was if anything goes wrong. Returns its
/// size in bytes. `each` learns of each section, of which several may be one block.
pub(crate) fn write<S: BlockStore>(
    repository: &Repository<S>,
    target: &Path,
    out: &mut Output,
    mut each: impl FnMut(&Cid),
) -> Result<u64, Failure> {
    let blocks = repository.export()?.map(|block| {
        let (cid, block) = block?;
        each(&cid);
        Ok((cid, block))
    });
    new_car::write(&repository.commit_cid(), blocks, target, out)
}
