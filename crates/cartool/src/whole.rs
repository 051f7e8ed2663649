//! Checks and writes whole repositories.

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
    /// A repository that is changed or copied may have any keys, and that cannot be helped.
    Any,
}

/// Reads a whole repository and counts its contents. Anything missing or wrong is reported, and
/// then the repository is refused.
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

/// Writes a repository as a CAR in streamable order: to standard output if `target` is `-`, or over
/// the file there, which stays unchanged if anything goes wrong. Returns its size in bytes. `each`
/// is called for each section, of which several may have the same block.
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
