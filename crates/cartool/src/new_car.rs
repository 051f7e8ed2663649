//! Writes a CAR.

use std::io::{self, Write};
use std::path::Path;

use atproto_mst::{Bytes, CarError, CarWriter, Cid};

use crate::database;
use crate::failure::{Failure, chain};
use crate::new_file::NewFile;
use crate::output::{Output, is_standard_output};

/// Writes `blocks` as a CAR with the root `root`: to standard output if `target` is `-`, or over
/// the file there, which stays unchanged if anything goes wrong. Returns its size in bytes.
pub(crate) fn write(
    root: &Cid,
    blocks: impl IntoIterator<Item = Result<(Cid, Bytes), Failure>>,
    target: &Path,
    out: &mut Output,
) -> Result<u64, Failure> {
    write_by(NewFile::create, root, blocks, target, out)
}

/// The same for a new CAR: if there is a file at `target`, it stays, and that is a failure.
pub(crate) fn create(
    root: &Cid,
    blocks: impl IntoIterator<Item = Result<(Cid, Bytes), Failure>>,
    target: &Path,
    out: &mut Output,
) -> Result<u64, Failure> {
    let created = write_by(NewFile::create_new, root, blocks, target, out);
    created.map_err(|failure| match failure {
        Failure::Of(file, failure) if is_taken(&failure) => {
            let what = "the output would replace a file, which might be a repository";
            Failure::Of(file, Box::new(Failure::Usage(what.to_owned())))
        }
        failure => failure,
    })
}

fn is_taken(failure: &Failure) -> bool {
    matches!(failure, Failure::Output(error) if error.kind() == io::ErrorKind::AlreadyExists)
}

fn write_by(
    start: fn(&Path) -> io::Result<NewFile>,
    root: &Cid,
    blocks: impl IntoIterator<Item = Result<(Cid, Bytes), Failure>>,
    target: &Path,
    out: &mut Output,
) -> Result<u64, Failure> {
    if is_standard_output(target) {
        let written = write_blocks(root, blocks, out.writer())?;
        out.flush()?;
        return Ok(written);
    }
    database::check_none_at(target)?;
    let write = || {
        let mut file = start(target).map_err(Failure::Output)?;
        let written = write_blocks(root, blocks, &mut file)?;
        file.finish().map_err(Failure::Output)?;
        Ok(written)
    };
    write().map_err(|failure| match failure {
        Failure::Output(_) => failure.of(target),
        failure => failure,
    })
}

fn write_blocks(
    root: &Cid,
    blocks: impl IntoIterator<Item = Result<(Cid, Bytes), Failure>>,
    to: impl Write,
) -> Result<u64, Failure> {
    let mut to = Counting { to, bytes: 0 };
    let mut car = CarWriter::new(&mut to, &[*root]).map_err(not_written)?;
    for block in blocks {
        let (cid, block) = block?;
        car.write_block(&cid, &block).map_err(not_written)?;
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

/// A writer that counts bytes.
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
