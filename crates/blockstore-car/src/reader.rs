//! A CAR as a stream of blocks.

use std::io::{self, Read};

use blockstore_core::{Bytes, Cid, sha2_256};

use crate::section::{self, CutOff, Section, Split};
use crate::{CarError, CarFault, CarOptions, Verify, header};

/// How many bytes are asked of the stream at a time, at the least.
const CHUNK: usize = 64 << 10;

/// Reads the blocks of a CAR v1 one after another, in the order of the stream.
///
/// Each block is checked against its CID, unless [`CarOptions::verify`] says
/// [`Verify::Never`]. A block whose CID has another hash function than sha2-256 cannot be
/// checked: it is given all the same, for what nothing links to does no harm, and
/// [`CarBlock::verified`] says so.
///
/// As an iterator it gives owned blocks; [`read_block`](Self::read_block) lends each from
/// the reader's buffer. Memory is bounded by the longest section. The first error ends it.
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
#[derive(Debug)]
pub struct CarReader<R> {
    input: Buffer<R>,
    options: CarOptions,
    roots: Vec<Cid>,
    done: bool,
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

/// A block of a CAR, lent from the reader's buffer.
#[derive(Debug, Clone, Copy)]
pub struct BlockRef<'r> {
    offset: u64,
    cid: &'r [u8],
    bytes: &'r [u8],
    verified: bool,
}

impl<'r> BlockRef<'r> {
    /// Returns where the block's section begins in the CAR, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the block's CID.
    pub fn cid(&self) -> Cid {
        Cid::try_from(self.cid).expect("the section was split behind a whole CID")
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

    /// Reads the header of a CAR, to be read as `options` say.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn with_options(input: R, options: CarOptions) -> Result<Self, CarError> {
        let mut input = Buffer::new(input);
        let roots = input.header(options.header_len)?;
        Ok(Self {
            input,
            options,
            roots,
            done: false,
        })
    }

    /// Returns the roots that the header names; in a repository CAR the first is the commit.
    pub fn roots(&self) -> &[Cid] {
        &self.roots
    }

    /// Reads the next block, or `None` at the end of the CAR.
    ///
    /// # Errors
    ///
    /// [`CarError::Invalid`] with [`CarFault::HashMismatch`] or a fault of the framing,
    /// [`CarError::Io`] if the stream fails. Nothing follows an error.
    pub fn read_block(&mut self) -> Result<Option<BlockRef<'_>>, CarError> {
        if self.done {
            return Ok(None);
        }
        // Until this block is found to be good.
        self.done = true;
        let Some(section) = self.input.section(self.options.section_len)? else {
            return Ok(None);
        };
        let verify = self.options.verify != Some(Verify::Never) && section.verifiable;
        let block = self.input.take(section, verify);
        if verify && !block.cid.ends_with(&sha2_256(block.bytes)) {
            let fault = CarFault::HashMismatch(block.cid());
            return Err(CarError::at(block.offset, fault));
        }
        self.done = false;
        Ok(Some(block))
    }
}

impl<R: Read> Iterator for CarReader<R> {
    type Item = Result<CarBlock, CarError>;

    fn next(&mut self) -> Option<Self::Item> {
        let block = self.read_block().transpose()?;
        Some(block.map(|block| CarBlock {
            offset: block.offset,
            cid: block.cid(),
            bytes: Bytes::copy_from_slice(block.bytes),
            verified: block.verified,
        }))
    }
}

/// The part of a CAR that has been read but not taken.
#[derive(Debug)]
pub(crate) struct Buffer<R> {
    input: R,
    bytes: Vec<u8>,
    /// What is read and not taken begins here in `bytes`,
    start: usize,
    /// and ends here.
    end: usize,
    /// Where `bytes` begin in the CAR.
    base: u64,
}

impl<R: Read> Buffer<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            bytes: Vec::new(),
            start: 0,
            end: 0,
            base: 0,
        }
    }

    /// Takes the header: the roots.
    pub(crate) fn header(&mut self, limit: u32) -> Result<Vec<Cid>, CarError> {
        loop {
            let cut_off = match section::body(self.rest(), limit) {
                Ok(Ok((start, end))) => {
                    let header = self.rest().get(start..end).unwrap_or_default();
                    let roots = header::decode(header)
                        .map_err(|(at, fault)| self.error(start + at, fault))?;
                    self.start += end;
                    return Ok(roots);
                }
                Ok(Err(cut_off)) => cut_off,
                Err((at, fault)) => return Err(self.error(at, fault)),
            };
            if !self.fill()? {
                let fault = match cut_off {
                    CutOff::Length if self.rest().is_empty() => CarFault::Empty,
                    _ => cut_off.fault(),
                };
                return Err(self.error(0, fault));
            }
        }
    }

    /// Returns where the parts of the next section lie, which is then in the buffer whole;
    /// `None` at the end of the CAR.
    pub(crate) fn section(&mut self, limit: u32) -> Result<Option<Section>, CarError> {
        loop {
            let split = section::split(self.rest(), limit);
            match split.map_err(|(at, fault)| self.error(at, fault))? {
                Split::Section(section) => return Ok(Some(section)),
                _ if self.fill()? => {}
                Split::End => return Ok(None),
                Split::Incomplete(cut_off) => return Err(self.error(0, cut_off.fault())),
            }
        }
    }

    /// Takes the section that [`section`](Self::section) found.
    pub(crate) fn take(&mut self, section: Section, verified: bool) -> BlockRef<'_> {
        let start = self.start;
        self.start += section.end;
        let bytes = self.bytes.get(start..).unwrap_or_default();
        BlockRef {
            offset: self.base + start as u64,
            cid: section.cid(bytes),
            bytes: section.block(bytes),
            verified,
        }
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads on, as much as one call gives; says whether anything came. The buffer grows only
    /// when it is full of what has come, never by what a length says.
    fn fill(&mut self) -> io::Result<bool> {
        if self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            self.base += self.start as u64;
            self.end -= self.start;
            self.start = 0;
            if self.end > self.bytes.len() / 2 || self.bytes.is_empty() {
                self.bytes.resize(CHUNK.max(self.bytes.len() * 2), 0);
            }
        }
        let room = self.bytes.get_mut(self.end..).unwrap_or_default();
        loop {
            match self.input.read(room) {
                Ok(len) => {
                    self.end += len;
                    return Ok(len > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn error(&self, at: usize, fault: CarFault) -> CarError {
        CarError::at(self.base + (self.start + at) as u64, fault)
    }
}
