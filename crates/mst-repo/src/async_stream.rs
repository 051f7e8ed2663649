//! A repository read once, from a stream of [`tokio`], which needs no runtime of that name.

use std::fmt;

use blockstore_car::{CarError, Decoded, Turns};
use blockstore_core::{Bytes, Cid};
use tokio::io::AsyncRead;

use crate::{Commit, Record, RepositoryDecoder, RepositorySummary, StreamError, StreamOptions};

/// A repository in a CAR that comes from any [`AsyncRead`]: what a
/// [`RepositoryStream`](crate::RepositoryStream) is over a [`Read`](std::io::Read). (Feature
/// `async`.)
///
/// It waits for the stream, and for nothing else. After each 64 to 128 KiB that it has read or given it
/// lets other tasks have their turn, also where it need not wait: to decode and hash as much takes a
/// fraction of a millisecond. A block that is longer takes as long as its hash, 20 ms for 32 MiB
/// ([`CarOptions::section_len`](blockstore_car::CarOptions::section_len) bounds it).
///
/// If a future of [`next_record`](Self::next_record) or [`next_block`](Self::next_block) is dropped
/// before it is ready, nothing is lost. With one of [`open`](Self::open), what was read is dropped.
///
/// Whoever has the body of a response in pieces, or streams of another kind, hands the bytes over to
/// a [`RepositoryDecoder`], which is all that this does. And whoever has a thread for each download
/// anyway, as for an import into a database, has less to do with a
/// [`RepositoryStream`](crate::RepositoryStream) there, over a bridge from the one kind of stream to
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
    turns: Turns,
    /// How long the item is that was given last.
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

    /// Reads the commit, and will read the rest as `options` say.
    ///
    /// # Errors
    ///
    /// [`StreamError`].
    pub async fn open_with(car: R, options: StreamOptions) -> Result<Self, StreamError> {
        let mut stream = Self {
            input: car,
            decoder: RepositoryDecoder::with_options(options),
            turns: Turns::default(),
            last_len: 0,
        };
        while stream.decoder.commit()?.is_none() {
            stream.read_on().await?;
        }
        Ok(stream)
    }

    /// Leaves out of what [`next_block`](Self::next_block) gives large records that came before at
    /// another path, as [`RepositoryDecoder::for_store`] does.
    #[must_use]
    pub fn for_store(mut self) -> Self {
        self.decoder.leave_out_large();
        self
    }

    /// Reads the next record, in the order of their paths; `None` when all were given, and the CAR
    /// was read to its end.
    ///
    /// A record comes once for each path that leads to it, so a small CAR of a stranger can be a
    /// great many bytes of records: bound what you keep.
    ///
    /// # Errors
    ///
    /// [`StreamError`], and from then on [`StreamError::AfterError`].
    pub async fn next_record(&mut self) -> Result<Option<Record>, StreamError> {
        self.next(RepositoryDecoder::next_record, Record::bytes)
            .await
    }

    /// Reads the next block, of the commit, the nodes and the records, in the streamable order;
    /// `None` behind the last. A stream is for records or for blocks, not for both.
    ///
    /// A record comes for each path that leads to it, unless this is [`for_store`](Self::for_store).
    ///
    /// Stores are synchronous. Into one that waits for a disk, blocks go best many at a time
    /// ([`put_many`](crate::BlockStoreMut::put_many)), on a thread that may wait. Whoever sends them
    /// there says when they are all, and commits no sooner: that no more come may also mean that this
    /// task was cancelled.
    ///
    /// # Errors
    ///
    /// [`StreamError`], and from then on [`StreamError::AfterError`].
    pub async fn next_block(&mut self) -> Result<Option<(Cid, Bytes)>, StreamError> {
        self.next(RepositoryDecoder::next_block, |(_, block)| block)
            .await
    }

    /// The next item, which `decode` finds as soon as there are bytes enough.
    async fn next<T>(
        &mut self,
        decode: impl Fn(&mut RepositoryDecoder) -> Result<Decoded<T>, StreamError>,
        bytes: impl Fn(&T) -> &Bytes,
    ) -> Result<Option<T>, StreamError> {
        self.turns.take(std::mem::take(&mut self.last_len)).await;
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
        self.turns.take(read.map_err(CarError::from)?).await;
        Ok(())
    }
}

/// What an item takes beside its bytes, as if it were so many more.
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

    /// Returns how many nodes and records were read so far; at the end, in all.
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
