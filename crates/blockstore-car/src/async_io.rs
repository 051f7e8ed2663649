//! Reads and writes CARs asynchronously, with the I/O traits of [`tokio`] but without its runtime.

use std::fmt;
use std::future::poll_fn;
use std::task::Poll;

use blockstore_core::Cid;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::writer::{header_section, start_section};
use crate::{BlockRef, CarDecoder, CarError, CarOptions, Decoded};

/// Lets a task that does much work without waiting yield to others now and then. (Feature `async`.)
///
/// Decoding and hashing 64 KiB takes a fraction of a millisecond. [`AsyncCarReader`] and
/// [`AsyncCarWriter`] yield by themselves; a task that pushes bytes into a [`CarDecoder`] may want
/// this.
///
/// # Examples
///
/// ```
/// use blockstore_car::{CarDecoder, CarError, Decoded, YieldBudget};
///
/// async fn count_blocks(body: &[&[u8]]) -> Result<usize, CarError> {
///     let (mut decoder, mut budget, mut blocks) = (CarDecoder::new(), YieldBudget::default(), 0);
///     for piece in body {
///         decoder.push(piece);
///         while let Decoded::Item(_) = decoder.next_block()? {
///             blocks += 1;
///         }
///         budget.spend(piece.len()).await;
///     }
///     Ok(blocks)
/// }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(count_blocks(&[]))?;
/// # Ok::<(), CarError>(())
/// ```
#[derive(Debug, Default)]
pub struct YieldBudget {
    /// How many bytes this task has processed since it last yielded.
    worked: usize,
}

impl YieldBudget {
    /// How many bytes are processed before yielding.
    pub(crate) const LEN: usize = 64 << 10;

    /// Counts `worked` bytes as processed, and yields to the executor if that makes 64 KiB since
    /// the last time.
    pub async fn spend(&mut self, worked: usize) {
        self.worked = self.worked.saturating_add(worked);
        if self.worked < Self::LEN {
            return;
        }
        self.worked = 0;
        let mut was_asked = false;
        poll_fn(|context| {
            if was_asked {
                return Poll::Ready(());
            }
            was_asked = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// Reads the blocks of a CAR v1 one after another, in the order of the stream, as a
/// [`CarReader`](crate::CarReader) does. (Feature `async`.)
///
/// It waits for the stream, and yields to other tasks after each 64 to 128 KiB ([`YieldBudget`]).
/// If you have a response body in pieces, or another kind of stream, push the bytes into a
/// [`CarDecoder`], which is all that this does.
///
/// # Examples
///
/// ```
/// use blockstore_car::{AsyncCarReader, AsyncCarWriter};
/// use blockstore_core::dag_cbor_cid;
///
/// # async fn read_and_write() -> Result<(), blockstore_car::CarError> {
/// let cid = dag_cbor_cid(b"\xa0");
/// let mut writer = AsyncCarWriter::new(Vec::new(), &[cid]).await?;
/// writer.write_block(&cid, b"\xa0").await?;
/// let car = writer.finish().await?;
///
/// let mut reader = AsyncCarReader::new(car.as_slice()).await?;
/// assert_eq!(reader.roots(), [cid]);
/// while let Some(block) = reader.read_block().await? {
///     assert_eq!((block.cid(), block.bytes()), (cid, b"\xa0".as_slice()));
/// }
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(read_and_write())?;
/// # Ok::<(), blockstore_car::CarError>(())
/// ```
pub struct AsyncCarReader<R> {
    input: R,
    decoder: CarDecoder,
    budget: YieldBudget,
}

impl<R> fmt::Debug for AsyncCarReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncCarReader")
            .field("decoder", &self.decoder)
            .finish_non_exhaustive()
    }
}

impl<R: AsyncRead + Unpin> AsyncCarReader<R> {
    /// Reads the header of a CAR.
    ///
    /// # Errors
    ///
    /// As for [`CarReader::new`](crate::CarReader::new).
    pub async fn new(input: R) -> Result<Self, CarError> {
        Self::with_options(input, CarOptions::default()).await
    }

    /// Reads the header of a CAR, with the given options.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub async fn with_options(mut input: R, options: CarOptions) -> Result<Self, CarError> {
        let mut decoder = CarDecoder::with_options(options);
        while decoder.roots()?.is_none() {
            decoder.read_from_async(&mut input).await?;
        }
        Ok(Self {
            input,
            decoder,
            budget: YieldBudget::default(),
        })
    }

    /// Returns the roots that the header names; in a repository CAR the first is the commit.
    pub fn roots(&self) -> &[Cid] {
        self.decoder.known_roots()
    }

    /// Returns the first root: in a repository CAR the commit.
    ///
    /// # Errors
    ///
    /// [`CarError::NoRoot`] if there is none.
    pub fn root(&self) -> Result<Cid, CarError> {
        self.roots().first().copied().ok_or(CarError::NoRoot)
    }

    /// Reads the next block, or `None` at the end of the CAR. Cancel-safe: if the future is dropped
    /// before it is ready, nothing is lost.
    ///
    /// # Errors
    ///
    /// As for [`CarReader::read_block`](crate::CarReader::read_block).
    pub async fn read_block(&mut self) -> Result<Option<BlockRef<'_>>, CarError> {
        loop {
            match self.decoder.find()? {
                Decoded::Item(section) => return self.decoder.take(section).map(Some),
                Decoded::NeedsBytes => {
                    let read = self.decoder.read_from_async(&mut self.input).await;
                    let len = read.inspect_err(|_| self.decoder.fail())?;
                    self.budget.spend(len).await;
                }
                Decoded::End => return Ok(None),
            }
        }
    }
}

/// Writes a CAR v1 to a stream, block by block, as a [`CarWriter`](crate::CarWriter) does. (Feature
/// `async`.)
///
/// Each block takes two writes to the stream, so wrap one that waits for a disk or a network in a
/// `BufWriter` of `tokio`. It yields to other tasks after each 64 KiB or so ([`YieldBudget`]). Not
/// cancel-safe: if a future is dropped after it was first polled and before it is ready, its block
/// may be missing or written in part, so every later write is an error.
pub struct AsyncCarWriter<W> {
    output: W,
    /// Whether the output ends with a whole block.
    whole: bool,
    /// The bytes before a block, joined here to go out in one write.
    start: Vec<u8>,
    budget: YieldBudget,
}

impl<W> fmt::Debug for AsyncCarWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncCarWriter").finish_non_exhaustive()
    }
}

impl<W: AsyncWrite + Unpin> AsyncCarWriter<W> {
    /// Writes the header of a CAR, with the CIDs that it names as its roots.
    ///
    /// # Errors
    ///
    /// [`CarError::Io`] if `output` fails.
    pub async fn new(mut output: W, roots: &[Cid]) -> Result<Self, CarError> {
        output.write_all(&header_section(roots)).await?;
        Ok(Self {
            output,
            whole: true,
            start: Vec::new(),
            budget: YieldBudget::default(),
        })
    }

    /// Writes one block. The caller vouches that `cid` is its CID: readers check it.
    ///
    /// # Errors
    ///
    /// [`CarError::Io`] if the stream fails; it then does not hold a whole CAR.
    /// [`CarError::AfterError`] after such an error, and after a future that was polled and then
    /// dropped.
    pub async fn write_block(&mut self, cid: &Cid, block: &[u8]) -> Result<(), CarError> {
        self.check_whole()?;
        // A future that is dropped leaves out this block, or a part of it.
        self.whole = false;
        start_section(&mut self.start, cid, block.len());
        self.budget.spend(self.start.len() + block.len()).await;
        self.output.write_all(&self.start).await?;
        self.output.write_all(block).await?;
        self.whole = true;
        Ok(())
    }

    fn check_whole(&self) -> Result<(), CarError> {
        if self.whole {
            Ok(())
        } else {
            Err(CarError::AfterError)
        }
    }

    /// Flushes the stream and gives it back. It is not shut down.
    ///
    /// # Errors
    ///
    /// As for [`write_block`](Self::write_block).
    pub async fn finish(mut self) -> Result<W, CarError> {
        self.check_whole()?;
        self.output.flush().await?;
        Ok(self.output)
    }
}
