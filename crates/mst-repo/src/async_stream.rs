//! Reads a repository asynchronously, with the I/O traits of [`tokio`] but without its runtime.

use std::fmt;

use blockstore_car::{CarError, Decoded, YieldBudget};
use blockstore_core::{Bytes, Cid};
use tokio::io::AsyncRead;

use crate::{Commit, Record, RepositoryDecoder, RepositorySummary, StreamError, StreamOptions};

/// A repository in a CAR from any [`AsyncRead`], as a [`RepositoryStream`](crate::RepositoryStream)
/// is one from a [`Read`](std::io::Read). (Feature `async`.)
///
/// It waits for nothing but the stream. After each 64 to 128 KiB that it has read or returned it
/// yields to other tasks, even if it need not wait: decoding and hashing that much takes a fraction
/// of a millisecond. A longer block takes as long as its hash, 20 ms for 32 MiB
/// ([`CarOptions::section_len`](blockstore_car::CarOptions::section_len) bounds it).
///
/// [`next_record`](Self::next_record) and [`next_block`](Self::next_block) are cancel-safe: if a
/// future is dropped before it is ready, nothing is lost. [`open`](Self::open) is not: what was
/// read is dropped.
///
/// If you have a response body in pieces, or another kind of stream, push the bytes into a
/// [`RepositoryDecoder`], which is all that this does. If you have a thread for each download
/// anyway, as for an import into a database, it is simpler to use a
/// [`RepositoryStream`](crate::RepositoryStream) there, over a bridge from one kind of stream to
/// the other.
///
/// # Examples
///
/// ```
/// use mst_repo::AsyncRepositoryStream;
/// # let download = mst_testkit::SampleRepository::generate(7, 10).car();
///
/// # async fn read(download: &[u8]) -> Result<(), mst_repo::StreamError> {
/// let mut repository = AsyncRepositoryStream::open(download).await?;
/// println!("{} at {}", repository.commit().did, repository.commit().rev);
/// while let Some(record) = repository.next_record().await? {
///     println!("{}: {} bytes", record.path(), record.bytes().len());
/// }
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(read(&download))?;
/// # Ok::<(), mst_repo::StreamError>(())
/// ```
pub struct AsyncRepositoryStream<R> {
    input: R,
    decoder: RepositoryDecoder,
    budget: YieldBudget,
    /// The length of the last item.
    last_len: usize,
}

impl<R: AsyncRead + Unpin> AsyncRepositoryStream<R> {
    /// Reads the commit.
    ///
    /// # Errors
    ///
    /// [`StreamError`].
    pub async fn open(car: R) -> Result<Self, StreamError> {
        Self::open_with(car, StreamOptions::default()).await
    }

    /// Reads the commit, and prepares to read the rest, with the given options.
    ///
    /// # Errors
    ///
    /// [`StreamError`].
    pub async fn open_with(car: R, options: StreamOptions) -> Result<Self, StreamError> {
        let mut stream = Self {
            input: car,
            decoder: RepositoryDecoder::with_options(options),
            budget: YieldBudget::default(),
            last_len: 0,
        };
        while stream.decoder.commit()?.is_none() {
            stream.read_on().await?;
        }
        Ok(stream)
    }

    /// Makes [`next_block`](Self::next_block) leave out large records that it has returned for
    /// another path, as [`RepositoryDecoder::for_store`] does.
    #[must_use]
    pub fn for_store(mut self) -> Self {
        self.decoder.leave_out_large();
        self
    }

    /// Reads the next record, in path order; `None` once all were returned and the CAR was read to
    /// its end.
    ///
    /// A record is returned for each path that leads to it, so a small CAR from an untrusted source
    /// can expand to a great many bytes of records: bound what you keep.
    ///
    /// # Errors
    ///
    /// [`StreamError`], and from then on [`StreamError::AfterError`].
    pub async fn next_record(&mut self) -> Result<Option<Record>, StreamError> {
        self.next(RepositoryDecoder::next_record, Record::bytes)
            .await
    }

    /// Reads the next block, of the commit, the nodes and the records, in streamable order; `None`
    /// after the last. Read either records or blocks from a stream, not both.
    ///
    /// A record is returned for each path that leads to it, unless this is
    /// [`for_store`](Self::for_store).
    ///
    /// Stores are synchronous. If one waits for a disk, put many blocks at a time
    /// ([`put_many`](crate::BlockStoreMut::put_many)), on a thread that may block. Tell that thread
    /// explicitly when the blocks are complete, and commit only then: if no more come, this task
    /// may also have been cancelled.
    ///
    /// # Errors
    ///
    /// [`StreamError`], and from then on [`StreamError::AfterError`].
    pub async fn next_block(&mut self) -> Result<Option<(Cid, Bytes)>, StreamError> {
        self.next(RepositoryDecoder::next_block, |(_, block)| block)
            .await
    }

    /// The next item, which `decode` returns as soon as there are enough bytes.
    async fn next<T>(
        &mut self,
        decode: impl Fn(&mut RepositoryDecoder) -> Result<Decoded<T>, StreamError>,
        bytes: impl Fn(&T) -> &Bytes,
    ) -> Result<Option<T>, StreamError> {
        self.budget.spend(std::mem::take(&mut self.last_len)).await;
        loop {
            match decode(&mut self.decoder)? {
                Decoded::Item(item) => {
                    self.last_len = bytes(&item).len() + ITEM_LEN;
                    return Ok(Some(item));
                }
                Decoded::NeedsBytes => {
                    let read = self.read_on().await;
                    read.inspect_err(|_| self.decoder.fail())?;
                }
                Decoded::End => return Ok(None),
            }
        }
    }

    async fn read_on(&mut self) -> Result<(), StreamError> {
        let read = self.decoder.read_from_async(&mut self.input).await;
        self.budget.spend(read.map_err(CarError::from)?).await;
        Ok(())
    }
}

/// The cost of an item in addition to its bytes, counted as this many more.
const ITEM_LEN: usize = 128;

impl<R> AsyncRepositoryStream<R> {
    /// Returns the commit. Its signature is not checked.
    pub fn commit(&self) -> &Commit {
        self.decoder.opened().1
    }

    /// Returns the CID of the commit.
    pub fn commit_cid(&self) -> Cid {
        *self.decoder.opened().0
    }

    /// Returns how many nodes and records have been read so far; at the end, the totals.
    pub fn summary(&self) -> RepositorySummary {
        self.decoder.summary()
    }
}

impl<R> fmt::Debug for AsyncRepositoryStream<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncRepositoryStream")
            .field("decoder", &self.decoder)
            .finish_non_exhaustive()
    }
}
