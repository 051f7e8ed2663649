//! Exports as CARs.

use std::io::{BufWriter, IntoInnerError, Write};

use blockstore_car::{CarError, CarWriter};
use blockstore_core::{BlockStore, Bytes, Cid};

use super::{Export, ExportSince};
use crate::Error;

/// Why an export was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The repository cannot be read, or is not whole.
    #[error(transparent)]
    Repository(#[from] Error),
    /// The output failed.
    #[error(transparent)]
    Output(#[from] CarError),
}

impl<S: BlockStore> Export<'_, S> {
    /// Writes a CAR of these blocks, whose root is the commit, and returns `output`, flushed. What
    /// is written goes through a buffer, so that `output` need not have one.
    ///
    /// Blocks are read as they are written: no more than a few are in memory. If anything is
    /// missing or wrong, that is the error, and what was written by then is no whole CAR; so
    /// whoever writes a file gives it its name afterwards.
    ///
    /// # Errors
    ///
    /// [`ExportError`].
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_car::CarBlockStore;
    /// use mst_repo::Repository;
    /// # let sample = mst_testkit::SampleRepository::generate(7, 10);
    /// # let bytes = sample.shuffled_car(1);
    ///
    /// let car = CarBlockStore::from_bytes(bytes)?;
    /// let commit = car.roots()[0];
    /// let repository = Repository::open(car, &commit)?;
    ///
    /// let in_order = repository.export()?.write_car(Vec::new())?;
    /// # assert_eq!(in_order, sample.car());
    /// let posts = repository.export_collection("app.bsky.feed.post")?;
    /// assert!(posts.write_car(Vec::new())?.len() < in_order.len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write_car<W: Write>(self, output: W) -> Result<W, ExportError> {
        write_car(self.commit, self, output)
    }
}

impl<S: BlockStore> ExportSince<'_, S> {
    /// Writes a CAR of these blocks, as [`Export::write_car`] does.
    ///
    /// # Errors
    ///
    /// [`ExportError`].
    pub fn write_car<W: Write>(self, output: W) -> Result<W, ExportError> {
        write_car(self.export.commit, self, output)
    }
}

fn write_car<W: Write>(
    commit: Cid,
    blocks: impl Iterator<Item = Result<(Cid, Bytes), Error>>,
    output: W,
) -> Result<W, ExportError> {
    let mut car = CarWriter::new(BufWriter::new(output), &[commit])?;
    for block in blocks {
        let (cid, bytes) = block?;
        car.write_block(&cid, &bytes)?;
    }
    let output = car.finish()?.into_inner();
    Ok(output.map_err(|error| CarError::from(IntoInnerError::into_error(error)))?)
}
