//! CARs from and to the streams of [`tokio`], which need no runtime of that name.

use blockstore_core::Cid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::writer::{header_section, start_section};
use crate::{BlockRef, CarDecoder, CarError, CarOptions, Decoded};

/// Reads the blocks of a CAR v1 one after another, in the order of the stream, as a
/// [`CarReader`](crate::CarReader) does. (Feature `async`.)
///
/// Whoever has the body of a response in pieces, or streams of another kind, hands the bytes over to
/// a [`CarDecoder`], which is all that this does.
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
#[derive(Debug)]
pub struct AsyncCarReader<R> {
    input: R,
    decoder: CarDecoder,
    roots: Vec<Cid>,
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

    /// Reads the header of a CAR, to be read as `options` say.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub async fn with_options(mut input: R, options: CarOptions) -> Result<Self, CarError> {
        let mut decoder = CarDecoder::with_options(options);
        let roots = loop {
            if let Some(roots) = decoder.roots()? {
                break roots.to_vec();
            }
            read_on(&mut input, &mut decoder).await?;
        };
        Ok(Self {
            input,
            decoder,
            roots,
        })
    }

    /// Returns the roots that the header names; in a repository CAR the first is the commit.
    pub fn roots(&self) -> &[Cid] {
        &self.roots
    }

    /// Returns the first root: in a repository CAR the commit.
    ///
    /// # Errors
    ///
    /// [`CarError::NoRoot`] if there is none.
    pub fn root(&self) -> Result<&Cid, CarError> {
        self.roots.first().ok_or(CarError::NoRoot)
    }

    /// Reads the next block, or `None` at the end of the CAR. If the future is dropped before it
    /// is ready, nothing is lost.
    ///
    /// # Errors
    ///
    /// As for [`CarReader::read_block`](crate::CarReader::read_block).
    pub async fn read_block(&mut self) -> Result<Option<BlockRef<'_>>, CarError> {
        loop {
            match self.decoder.find()? {
                Decoded::Item(section) => return self.decoder.take(section).map(Some),
                Decoded::NeedsBytes => {
                    let read = read_on(&mut self.input, &mut self.decoder).await;
                    read.inspect_err(|_| self.decoder.fail())?;
                }
                Decoded::End => return Ok(None),
            }
        }
    }
}

async fn read_on(
    input: &mut (impl AsyncRead + Unpin),
    decoder: &mut CarDecoder,
) -> Result<(), CarError> {
    let len = input.read(decoder.room()).await?;
    Ok(decoder.filled(len)?)
}

/// Writes a CAR v1 to a stream, block by block, as a [`CarWriter`](crate::CarWriter) does. (Feature
/// `async`.)
///
/// Each block takes two writes to the stream, so wrap one that waits for a disk or a network in a
/// [`BufWriter`](tokio::io::BufWriter). If a future is dropped before it is ready, part of a block may
/// be in the stream, which will be no CAR any more: whatever is written then is an error.
#[derive(Debug)]
pub struct AsyncCarWriter<W> {
    output: W,
    /// Whether the output ends with a whole block.
    whole: bool,
    /// The bytes before a block, put together here to go out in one write.
    start: Vec<u8>,
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
        })
    }

    /// Writes one block. That `cid` names it is the caller's promise: readers check it.
    ///
    /// # Errors
    ///
    /// [`CarError::Io`] if the stream fails; what it holds is then no whole CAR.
    /// [`CarError::AfterError`] after such an error, and after a future that was dropped.
    pub async fn write_block(&mut self, cid: &Cid, block: &[u8]) -> Result<(), CarError> {
        self.check_whole()?;
        start_section(&mut self.start, cid, block.len());
        self.whole = false;
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
