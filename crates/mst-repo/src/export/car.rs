//! Writes exports as CARs.

use std::io::{BufWriter, IntoInnerError, Write};

#[cfg(feature = "async")]
use blockstore_car::AsyncCarWriter;
use blockstore_car::{CarError, CarWriter};
use blockstore_core::{BlockStore, Bytes, Cid};
#[cfg(feature = "async")]
use tokio::io::AsyncWrite;

use super::{Export, ExportSince};
use crate::Error;

/// Why an export was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The repository cannot be read, or is not complete.
    #[error(transparent)]
    Repository(#[from] Error),
    /// The output failed.
    #[error(transparent)]
    Output(#[from] CarError),
}

impl ExportError {
    /// Returns the block that is missing or at fault, if it is one block's fault.
    pub fn cid(&self) -> Option<Cid> {
        match self {
            Self::Repository(error) => error.cid(),
            Self::Output(_) => None,
        }
    }
}

impl<S: BlockStore> Export<'_, S> {
    /// Writes a CAR of these blocks, whose root is the commit, and returns `output`, flushed.
    /// Writes are buffered, so `output` need not be.
    ///
    /// Blocks are read as they are written: only a few are in memory at a time. Anything missing or
    /// wrong is an error, and what was written by then is not a complete CAR; so if you write a
    /// file, give it its final name afterwards. The example `serve_repo` of `atproto-mst` shows how
    /// to send it as the body of a response.
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
    /// let commit = car.root()?;
    /// let repository = Repository::open(car, &commit)?;
    ///
    /// let in_order = repository.export()?.write_car(Vec::new())?;
    /// # assert_eq!(in_order, sample.car());
    /// let posts = repository.export_collection("app.bsky.feed.post")?;
    /// assert!(posts.write_car(Vec::new())?.len() < in_order.len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write_car<W: Write>(self, output: W) -> Result<W, ExportError> {
        write_car(self.state.commit, self, output)
    }

    /// Writes a CAR of these blocks to an asynchronous stream, as [`write_car`](Self::write_car)
    /// does to others. (Feature `async`.) Writes are buffered; at the end the stream is flushed and
    /// not shut down. Blocks are read in between, synchronously: a store that waits for a disk
    /// blocks the runtime.
    ///
    /// After an error, or if the future is dropped, `output` is dropped too, with only a part of
    /// the CAR written. A receiver who takes that for the end sees a CAR that is well-formed up to
    /// there, and only reading the repository shows that something is missing. If you can, abort
    /// the response. Through a `duplex` of `tokio` this end and an error look the same to whoever
    /// reads: [`Repository::into_car`](crate::Repository::into_car) gives errors to the reader.
    ///
    /// # Errors
    ///
    /// [`ExportError`].
    #[cfg(feature = "async")]
    pub async fn write_car_async<W: AsyncWrite + Unpin>(self, output: W) -> Result<W, ExportError> {
        write_car_async(self.state.commit, self, output).await
    }
}

impl<S: BlockStore> ExportSince<'_, S> {
    /// Writes a CAR of these blocks, as [`Export::write_car`] does.
    ///
    /// # Errors
    ///
    /// [`ExportError`].
    pub fn write_car<W: Write>(self, output: W) -> Result<W, ExportError> {
        write_car(self.export.state.commit, self, output)
    }

    /// Writes a CAR of these blocks, as [`Export::write_car_async`] does.
    ///
    /// # Errors
    ///
    /// [`ExportError`].
    #[cfg(feature = "async")]
    pub async fn write_car_async<W: AsyncWrite + Unpin>(self, output: W) -> Result<W, ExportError> {
        write_car_async(self.export.state.commit, self, output).await
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

#[cfg(feature = "async")]
async fn write_car_async<W: AsyncWrite + Unpin>(
    commit: Cid,
    blocks: impl Iterator<Item = Result<(Cid, Bytes), Error>>,
    output: W,
) -> Result<W, ExportError> {
    let buffered = tokio::io::BufWriter::new(output);
    let mut car = AsyncCarWriter::new(buffered, &[commit]).await?;
    for block in blocks {
        let (cid, bytes) = block?;
        car.write_block(&cid, &bytes).await?;
    }
    Ok(car.finish().await?.into_inner())
}
