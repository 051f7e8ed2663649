//! A CAR as bytes that are handed over as they come.

use std::io::{self, Read};

use blockstore_core::{Cid, sha2_256};

use crate::section::{self, CutOff, Section, Split};
use crate::{BlockRef, CarError, CarFault, CarOptions, Verify, header};

/// Reads the blocks of a CAR v1 out of bytes that it is given, and does no input of its own: for
/// servers that are asynchronous in whatever way, and whoever else cannot wait for a
/// [`Read`].
///
/// It checks what a [`CarReader`](crate::CarReader) checks, which is this over a [`Read`]. What was
/// handed over and not asked for yet is kept, and no more than that.
///
/// # Examples
///
/// ```
/// use blockstore_car::{CarDecoder, CarWriter, Decoded};
/// use blockstore_core::dag_cbor_cid;
///
/// let cid = dag_cbor_cid(b"\xa0");
/// let mut writer = CarWriter::new(Vec::new(), &[cid])?;
/// writer.write_block(&cid, b"\xa0")?;
/// let car = writer.finish()?;
/// let mut body = car.chunks(10);
///
/// let mut decoder = CarDecoder::new();
/// let mut blocks = 0;
/// loop {
///     match decoder.next_block()? {
///         Decoded::Item(block) => {
///             assert_eq!((block.cid(), block.bytes()), (cid, b"\xa0".as_slice()));
///             blocks += 1;
///         }
///         // With an asynchronous body, here is the `await`.
///         Decoded::NeedsBytes => match body.next() {
///             Some(chunk) => decoder.push(chunk),
///             None => decoder.end(),
///         },
///         Decoded::End => break,
///     }
/// }
/// assert_eq!(blocks, 1);
/// # Ok::<(), blockstore_car::CarError>(())
/// ```
#[derive(Debug, Default)]
pub struct CarDecoder {
    buffer: Buffer,
    options: CarOptions,
    roots: Option<Vec<Cid>>,
    done: bool,
}

/// What a decoder has to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Decoded<T> {
    /// The next item.
    Item(T),
    /// Nothing, until more bytes are handed over, or word that no more come.
    NeedsBytes,
    /// Nothing any more: the last item was given, and nothing was wrong; or an error was.
    End,
}

impl<T> Decoded<T> {
    /// Makes something else of the item, if this is one.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Decoded<U> {
        match self {
            Self::Item(item) => Decoded::Item(make(item)),
            Self::NeedsBytes => Decoded::NeedsBytes,
            Self::End => Decoded::End,
        }
    }
}

impl CarDecoder {
    /// Returns a decoder that was given nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a decoder that will decode as `options` say.
    pub fn with_options(options: CarOptions) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// Hands over the bytes of the CAR that come next, which are copied.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.push(bytes);
    }

    /// Hands over the bytes of the CAR that come next: as many as one call of
    /// [`Read::read`] gives. If that is none, it is the [`end`](Self::end).
    ///
    /// # Errors
    ///
    /// That of `input`, unless it is [`Interrupted`](io::ErrorKind::Interrupted); nothing was handed
    /// over then.
    pub fn read_from(&mut self, input: &mut (impl Read + ?Sized)) -> io::Result<()> {
        self.buffer.fill(input)
    }

    /// Says that all bytes were handed over.
    pub fn end(&mut self) {
        self.buffer.ended = true;
    }

    /// Returns the roots that the header names, in a repository CAR the commit first; `None` if
    /// the header is not there yet as a whole.
    ///
    /// # Errors
    ///
    /// [`CarError::Invalid`] if the header is wrong.
    pub fn roots(&mut self) -> Result<Option<&[Cid]>, CarError> {
        if self.roots.is_none() && !self.done {
            // Until the header is found to be good.
            self.done = true;
            self.roots = self.buffer.header(self.options.header_len)?;
            self.done = false;
        }
        Ok(self.roots.as_deref())
    }

    /// Returns the next block, lent from the decoder's buffer.
    ///
    /// # Errors
    ///
    /// [`CarError::Invalid`] with [`CarFault::HashMismatch`] or a fault of the framing. Nothing
    /// follows an error.
    #[inline]
    pub fn next_block(&mut self) -> Result<Decoded<BlockRef<'_>>, CarError> {
        Ok(match self.find()? {
            Decoded::Item(section) => Decoded::Item(self.take(section)?),
            Decoded::NeedsBytes => Decoded::NeedsBytes,
            Decoded::End => Decoded::End,
        })
    }

    /// Finds the section of the next block, to [`take`](Self::take) it.
    #[inline]
    pub(crate) fn find(&mut self) -> Result<Decoded<Section>, CarError> {
        if self.done {
            return Ok(Decoded::End);
        }
        if self.roots.is_none() && self.roots()?.is_none() {
            return Ok(Decoded::NeedsBytes);
        }
        let section = self.buffer.section(self.options.section_len);
        self.done = !matches!(section, Ok(Decoded::Item(_) | Decoded::NeedsBytes));
        section
    }

    /// Takes the block of a section that was found, and checks it.
    #[inline]
    pub(crate) fn take(&mut self, section: Section) -> Result<BlockRef<'_>, CarError> {
        let verify = self.options.verify != Some(Verify::Never) && section.verifiable;
        let block = self.buffer.take(section, verify);
        if verify && !block.cid_bytes().ends_with(&sha2_256(block.bytes())) {
            self.done = true;
            let fault = CarFault::HashMismatch(block.cid());
            return Err(CarError::at(block.offset(), fault));
        }
        Ok(block)
    }

    /// Where the bytes that come next may be put, to be [`filled`](Self::filled).
    #[cfg(feature = "async")]
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.buffer.room(1)
    }

    /// Takes the first bytes of the [`room`](Self::room) for the bytes that come next. If that is
    /// none, it is the [`end`](Self::end).
    #[cfg(feature = "async")]
    pub(crate) fn filled(&mut self, len: usize) {
        self.buffer.filled(len);
    }

    /// Gives nothing any more.
    pub(crate) fn stop(&mut self) {
        self.done = true;
    }
}

/// The part of a CAR that is there but was not taken.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// What is there and was not taken begins here in `bytes`,
    start: usize,
    /// and ends here.
    end: usize,
    /// Where `bytes` begin in the CAR.
    base: u64,
    /// Whether nothing more comes.
    ended: bool,
}

impl Buffer {
    /// Takes the header: the roots. `None` if it is not there as a whole.
    pub(crate) fn header(&mut self, limit: u32) -> Result<Option<Vec<Cid>>, CarError> {
        let body = section::body(self.rest(), limit);
        let cut_off = match body.map_err(|(at, fault)| self.error(at, fault))? {
            Ok((start, end)) => {
                let header = self.rest().get(start..end).unwrap_or_default();
                let roots = header::decode(header);
                let roots = roots.map_err(|(at, fault)| self.error(start + at, fault))?;
                self.start += end;
                return Ok(Some(roots));
            }
            Err(cut_off) => cut_off,
        };
        if !self.ended {
            return Ok(None);
        }
        let fault = match cut_off {
            CutOff::Length if self.rest().is_empty() => CarFault::Empty,
            _ => cut_off.fault(),
        };
        Err(self.error(0, fault))
    }

    /// Returns where the parts of the next section lie, which is there whole.
    #[inline]
    pub(crate) fn section(&mut self, limit: u32) -> Result<Decoded<Section>, CarError> {
        let split = section::split(self.rest(), limit);
        match split.map_err(|(at, fault)| self.error(at, fault))? {
            Split::Section(section) => Ok(Decoded::Item(section)),
            _ if !self.ended => Ok(Decoded::NeedsBytes),
            Split::End => Ok(Decoded::End),
            Split::Incomplete(cut_off) => Err(self.error(0, cut_off.fault())),
        }
    }

    /// Takes the section that [`section`](Self::section) found.
    pub(crate) fn take(&mut self, section: Section, verified: bool) -> BlockRef<'_> {
        let start = self.start;
        self.start += section.end;
        let bytes = self.bytes.get(start..).unwrap_or_default();
        BlockRef::new(self.base + start as u64, section, bytes, verified)
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    fn push(&mut self, bytes: &[u8]) {
        let room = self.room(bytes.len());
        let (filled, _) = room.split_at_mut(bytes.len());
        filled.copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Reads on, as much as one call gives.
    pub(crate) fn fill(&mut self, input: &mut (impl Read + ?Sized)) -> io::Result<()> {
        let room = self.room(1);
        let len = loop {
            match input.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.filled(len);
        Ok(())
    }

    fn filled(&mut self, len: usize) {
        self.end += len;
        self.ended = len == 0;
    }

    /// Room for the bytes that come next, `len` of them or more. The buffer grows only when it is
    /// full of what has come, never by what a length says.
    fn room(&mut self, len: usize) -> &mut [u8] {
        /// How many bytes there is room for at the least.
        const CHUNK: usize = 64 << 10;
        if self.bytes.len() - self.end < len {
            self.bytes.copy_within(self.start..self.end, 0);
            self.base += self.start as u64;
            self.end -= self.start;
            self.start = 0;
            let half = self.bytes.len() / 2;
            if self.end > half || self.bytes.len() - self.end < len {
                let doubled = CHUNK.max(self.bytes.len() * 2);
                self.bytes.resize(doubled.max(self.end + len), 0);
            }
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    fn error(&self, at: usize, fault: CarFault) -> CarError {
        CarError::at(self.base + (self.start + at) as u64, fault)
    }
}
