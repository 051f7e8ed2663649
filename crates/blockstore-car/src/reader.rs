//! A CAR as a stream of blocks.

use std::fmt;
use std::io::Read;
use std::iter::FusedIterator;

use blockstore_core::{Bytes, Cid};

use crate::section::Section;
use crate::{CarDecoder, CarError, CarOptions, Decoded};

/// Reads the blocks of a CAR v1 one after another, in the order of the stream.
///
/// Each block is checked against its CID, unless [`CarOptions::verify`] says
/// [`Verify::Never`](crate::Verify::Never). A block whose CID has a hash function other than
/// sha2-256 cannot be checked. It is returned all the same, as a block that nothing links to does
/// no harm, and [`CarBlock::verified`] says so.
///
/// As an iterator it returns owned blocks; [`read_block`](Self::read_block) borrows each from the
/// reader's buffer. Memory is bounded by the longest section. The first error ends it.
///
/// # Examples
///
/// ```
/// use blockstore_car::{CarReader, CarWriter};
/// use blockstore_core::dag_cbor_cid;
///
/// let cid = dag_cbor_cid(b"\xa0");
/// let mut writer = CarWriter::new(Vec::new(), &[cid])?;
/// writer.write_block(&cid, b"\xa0")?;
/// let car = writer.finish()?;
///
/// let reader = CarReader::new(car.as_slice())?;
/// assert_eq!(reader.roots(), [cid]);
/// for block in reader {
///     let block = block?;
///     assert_eq!((block.cid, block.bytes.as_ref()), (cid, b"\xa0".as_slice()));
/// }
/// # Ok::<(), blockstore_car::CarError>(())
/// ```
///
/// All of a CAR into a store. Most stores refuse blocks that cannot be checked:
///
/// ```
/// # use blockstore_car::{CarWriter, dag_cbor_cid};
/// use blockstore_car::{CarReader, StoreError};
/// use blockstore_core::{MemoryBlockStore, put_all};
///
/// # let cid = dag_cbor_cid(b"\xa0");
/// # let mut writer = CarWriter::new(Vec::new(), &[cid])?;
/// # writer.write_block(&cid, b"\xa0")?;
/// # let car = writer.finish()?;
/// let store = MemoryBlockStore::new();
/// let blocks = CarReader::new(car.as_slice())?
///     .filter(|block| !matches!(block, Ok(block) if !block.verified))
///     .map(|block| Ok::<_, StoreError>(block?.into()));
/// put_all(blocks, &store)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CarReader<R> {
    input: R,
    decoder: CarDecoder,
}

/// A block of a CAR.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CarBlock {
    /// Where its section begins in the CAR, in bytes.
    pub offset: u64,
    /// Its CID.
    pub cid: Cid,
    /// Its bytes.
    pub bytes: Bytes,
    /// Whether the bytes were found to hash to the CID.
    pub verified: bool,
}

/// A block of a CAR, borrowed from the reader's buffer.
#[derive(Debug, Clone, Copy)]
pub struct BlockRef<'r> {
    offset: u64,
    cid: &'r [u8],
    bytes: &'r [u8],
    verified: bool,
}

impl<'r> BlockRef<'r> {
    /// The block of `section`, which is at the start of `bytes`.
    #[inline]
    pub(crate) fn new(offset: u64, section: Section, bytes: &'r [u8], verified: bool) -> Self {
        Self {
            offset,
            cid: section.cid(bytes),
            bytes: section.block(bytes),
            verified,
        }
    }

    /// Returns where the block's section begins in the CAR, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the block's CID.
    pub fn cid(&self) -> Cid {
        Cid::try_from(self.cid).expect("the section was split after a whole CID")
    }

    /// Returns the binary form of the block's CID.
    pub fn cid_bytes(&self) -> &'r [u8] {
        self.cid
    }

    /// Returns the block's bytes.
    pub fn bytes(&self) -> &'r [u8] {
        self.bytes
    }

    /// Returns whether the bytes were found to hash to the CID.
    pub fn verified(&self) -> bool {
        self.verified
    }
}

impl<R: Read> CarReader<R> {
    /// Reads the header of a CAR.
    ///
    /// # Errors
    ///
    /// [`CarError::Invalid`] if the header is wrong, [`CarError::Io`] if `input` fails.
    pub fn new(input: R) -> Result<Self, CarError> {
        Self::with_options(input, CarOptions::default())
    }

    /// Reads the header of a CAR, with the given options.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn with_options(mut input: R, options: CarOptions) -> Result<Self, CarError> {
        let mut decoder = CarDecoder::with_options(options);
        while decoder.roots()?.is_none() {
            decoder.read_from(&mut input)?;
        }
        Ok(Self { input, decoder })
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

    /// Reads the next block, or `None` at the end of the CAR.
    ///
    /// # Errors
    ///
    /// [`CarError::Invalid`] with [`CarFault::HashMismatch`](crate::CarFault::HashMismatch) or a
    /// framing fault, [`CarError::Io`] if the stream fails, and from then on
    /// [`CarError::AfterError`].
    pub fn read_block(&mut self) -> Result<Option<BlockRef<'_>>, CarError> {
        match self.find()? {
            Some(section) => self.take_block(section).map(Some),
            None => Ok(None),
        }
    }

    /// Finds the section of the next block, for [`take_block`](Self::take_block); `None` at the
    /// end.
    #[inline]
    pub(crate) fn find(&mut self) -> Result<Option<Section>, CarError> {
        loop {
            match self.decoder.find()? {
                Decoded::Item(section) => return Ok(Some(section)),
                Decoded::NeedsBytes => self.read_on()?,
                Decoded::End => return Ok(None),
            }
        }
    }

    /// Takes the block of a section that was found, and checks it.
    #[inline]
    pub(crate) fn take_block(&mut self, section: Section) -> Result<BlockRef<'_>, CarError> {
        self.decoder.take(section)
    }

    fn read_on(&mut self) -> Result<(), CarError> {
        let read = self.decoder.read_from(&mut self.input);
        read.inspect_err(|_| self.decoder.fail())?;
        Ok(())
    }
}

impl<R> fmt::Debug for CarReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CarReader")
            .field("decoder", &self.decoder)
            .finish_non_exhaustive()
    }
}

impl<R: Read> Iterator for CarReader<R> {
    type Item = Result<CarBlock, CarError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.decoder.failed() {
            return None;
        }
        Some(self.read_block().transpose()?.map(CarBlock::from))
    }
}

impl<R: Read> FusedIterator for CarReader<R> {}

impl From<CarBlock> for (Cid, Bytes) {
    fn from(block: CarBlock) -> Self {
        (block.cid, block.bytes)
    }
}

impl From<BlockRef<'_>> for CarBlock {
    fn from(block: BlockRef<'_>) -> Self {
        Self {
            offset: block.offset,
            cid: block.cid(),
            bytes: Bytes::copy_from_slice(block.bytes),
            verified: block.verified,
        }
    }
}
