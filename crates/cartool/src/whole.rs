//! Whole repositories: that they are, and writing them.

use std::io::{self, Write};
use std::path::Path;

use atproto_mst::{BlockStore, CarError, CarWriter, Cid, Error, Repository, RepositorySummary};

use crate::failure::{Failure, chain};
use crate::fault::Fault;
use crate::new_file::NewFile;
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
    each: impl FnMut(&Cid),
) -> Result<u64, Failure> {
    if target == Path::new("-") {
        let written = write_blocks(repository, out.writer(), each)?;
        out.flush()?;
        return Ok(written);
    }
    replace(repository, target, each).map_err(|failure| match failure {
        Failure::Output(_) => failure.of(target),
        failure => failure,
    })
}

fn replace<S: BlockStore>(
    repository: &Repository<S>,
    target: &Path,
    each: impl FnMut(&Cid),
) -> Result<u64, Failure> {
    let mut file = NewFile::create(target).map_err(Failure::Output)?;
    let written = write_blocks(repository, &mut file, each)?;
    file.finish().map_err(Failure::Output)?;
    Ok(written)
}

fn write_blocks<S: BlockStore>(
    repository: &Repository<S>,
    to: impl Write,
    mut each: impl FnMut(&Cid),
) -> Result<u64, Failure> {
    let mut to = Counting { to, bytes: 0 };
    let mut car = CarWriter::new(&mut to, &[repository.commit_cid()]).map_err(not_written)?;
    for block in repository.export()? {
        let (cid, block) = block?;
        car.write_block(&cid, &block).map_err(not_written)?;
        each(&cid);
    }
    car.finish().map_err(not_written)?;
    Ok(to.bytes)
}

fn not_written(error: CarError) -> Failure {
    match error {
        CarError::Io(error) => Failure::Output(error),
        error => Failure::Invalid(chain(&error)),
    }
}

/// A writer that counts.
struct Counting<W> {
    to: W,
    bytes: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.to.write(bytes)?;
        self.bytes += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
