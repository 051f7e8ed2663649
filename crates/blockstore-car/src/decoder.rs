//! Decodes a CAR from bytes that are pushed in as they arrive.

use std::fmt;
use std::io::{self, Read};

use blockstore_core::{Cid, sha2_256};
#[cfg(feature = "async")]
use tokio::io::{AsyncRead, AsyncReadExt};

#[cfg(feature = "async")]
use crate::YieldBudget;
use crate::section::{self, CutOff, Section, Split};
use crate::{BlockRef, CarError, CarFault, CarOptions, Verify, header};

/// Reads the blocks of a CAR v1 out of bytes that are pushed into it, without any I/O of its own:
/// for asynchronous servers of any kind, and whoever else cannot block on a [`Read`].
///
/// It checks what a [`CarReader`](crate::CarReader) checks, which is this over a [`Read`]. Bytes
/// that were pushed and not consumed yet are kept in a buffer of at least 64 KiB and at most three
/// times what it had to hold, which shrinks once a sixteenth of it would do; so take all available
/// blocks before pushing more. The buffer has to hold the longest section as a whole, which
/// [`CarOptions::section_len`] bounds. A CAR may go on for ever, so count the bytes of a download.
///
/// Blocks and roots are borrowed from the decoder. In a function that returns a block from inside a
/// loop, as readers do, convert it to a [`CarBlock`](crate::CarBlock), or the borrow checker
/// objects.
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
///         // If the body is asynchronous, this is where to `await`.
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
#[derive(Default)]
pub struct CarDecoder {
    buffer: Buffer,
    options: CarOptions,
    roots: Option<Vec<Cid>>,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Reading,
    Ended,
    Failed,
}

/// What a decoder returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Decoded<T> {
    /// The next item.
    Item(T),
    /// Nothing, until more bytes are pushed or the end is signalled.
    NeedsBytes,
    /// Nothing more: the last item has been returned, and there was no error.
    End,
}

impl<T> Decoded<T> {
    /// Maps the item, if there is one.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Decoded<U> {
        match self {
            Self::Item(item) => Decoded::Item(make(item)),
            Self::NeedsBytes => Decoded::NeedsBytes,
            Self::End => Decoded::End,
        }
    }
}

impl CarDecoder {
    /// Returns a decoder that has not been given any bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a decoder with the given options.
    pub fn with_options(options: CarOptions) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// Pushes the next bytes of the CAR, which are copied. After the [`end`](Self::end) or an error
    /// they are dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.takes_bytes() {
            self.buffer.push(bytes);
        }
    }

    /// Pushes the next bytes of the CAR, as many as one call of [`Read::read`] gives, and returns
    /// how many. Zero means the [`end`](Self::end). After that or an error nothing is read.
    ///
    /// # Errors
    ///
    /// Any error of `input` except [`Interrupted`](io::ErrorKind::Interrupted), and one if `input`
    /// claims to have given more than there was room for. Nothing was pushed then, and the call may
    /// be repeated.
    pub fn read_from(&mut self, input: &mut (impl Read + ?Sized)) -> io::Result<usize> {
        if !self.takes_bytes() {
            return Ok(0);
        }
        let room = self.buffer.room(1);
        let len = loop {
            match input.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.buffer.filled(len)
    }

    fn takes_bytes(&self) -> bool {
        self.state == State::Reading && !self.buffer.ended
    }

    /// Signals that all bytes have been pushed.
    pub fn end(&mut self) {
        self.buffer.ended = true;
    }

    /// Returns the roots that the header names, the commit first in a repository CAR; `None` if the
    /// header is not complete yet.
    ///
    /// # Errors
    ///
    /// [`CarError::Invalid`] if the header is wrong, and from then on [`CarError::AfterError`].
    pub fn roots(&mut self) -> Result<Option<&[Cid]>, CarError> {
        if self.roots.is_none() {
            if self.failed() {
                return Err(CarError::AfterError);
            }
            let header = self.buffer.header(self.options.header_len);
            self.roots = header.inspect_err(|_| self.state = State::Failed)?;
        }
        Ok(self.roots.as_deref())
    }

    /// The roots, once they are known.
    pub(crate) fn known_roots(&self) -> &[Cid] {
        self.roots.as_deref().unwrap_or_default()
    }

    /// Returns the next block, borrowed from the decoder's buffer.
    ///
    /// # Errors
    ///
    /// [`CarError::Invalid`] with [`CarFault::HashMismatch`] or a framing fault, and from then on
    /// [`CarError::AfterError`].
    #[inline]
    pub fn next_block(&mut self) -> Result<Decoded<BlockRef<'_>>, CarError> {
        Ok(match self.find()? {
            Decoded::Item(section) => Decoded::Item(self.take(section)?),
            Decoded::NeedsBytes => Decoded::NeedsBytes,
            Decoded::End => Decoded::End,
        })
    }

    /// Finds the section of the next block, for [`take`](Self::take).
    #[inline]
    pub(crate) fn find(&mut self) -> Result<Decoded<Section>, CarError> {
        match self.state {
            State::Reading => {}
            State::Ended => return Ok(Decoded::End),
            State::Failed => return Err(CarError::AfterError),
        }
        if self.roots.is_none() && self.roots()?.is_none() {
            return Ok(Decoded::NeedsBytes);
        }
        let section = self.buffer.section(self.options.section_len);
        match &section {
            Ok(Decoded::Item(_) | Decoded::NeedsBytes) => {}
            Ok(Decoded::End) => self.state = State::Ended,
            Err(_) => self.state = State::Failed,
        }
        section
    }

    /// Takes the block of a section that was found, and checks it.
    #[inline]
    pub(crate) fn take(&mut self, section: Section) -> Result<BlockRef<'_>, CarError> {
        let verify = self.options.verify != Some(Verify::Never) && section.verifiable;
        let block = self.buffer.take(section, verify);
        if verify && !block.cid_bytes().ends_with(&sha2_256(block.bytes())) {
            self.state = State::Failed;
            let fault = CarFault::HashMismatch(block.cid());
            return Err(CarError::at(block.offset(), fault));
        }
        Ok(block)
    }

    /// Pushes the next bytes of the CAR from an asynchronous stream, as
    /// [`read_from`](Self::read_from) does. (Feature `async`.) Cancel-safe: if the future is
    /// dropped before it is ready, nothing is lost.
    ///
    /// # Errors
    ///
    /// As for [`read_from`](Self::read_from).
    #[cfg(feature = "async")]
    pub async fn read_from_async(
        &mut self,
        input: &mut (impl AsyncRead + Unpin + ?Sized),
    ) -> io::Result<usize> {
        if !self.takes_bytes() {
            return Ok(0);
        }
        let room = self.buffer.room(1);
        // No more than is processed before yielding.
        let (room, _) = room.split_at_mut(room.len().min(YieldBudget::LEN));
        let len = loop {
            match input.read(room).await {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.buffer.filled(len)
    }

    /// Whether there has been an error.
    pub(crate) fn failed(&self) -> bool {
        self.state == State::Failed
    }

    /// Makes this return nothing more, after an error.
    pub(crate) fn fail(&mut self) {
        self.state = State::Failed;
    }
}

impl fmt::Debug for CarDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CarDecoder")
            .field("roots", &self.roots)
            .field("offset", &(self.buffer.base + self.buffer.start as u64))
            .field("buffered", &(self.buffer.end - self.buffer.start))
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// The bytes of a CAR that were pushed and not consumed yet.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// Where in `bytes` the unconsumed ones begin.
    start: usize,
    /// Where they end.
    end: usize,
    /// The offset in the CAR at which `bytes` begins.
    base: u64,
    /// Whether the end was signalled.
    ended: bool,
}

impl Buffer {
    /// Consumes the header and returns the roots. `None` if it is not complete yet.
    fn header(&mut self, limit: u32) -> Result<Option<Vec<Cid>>, CarError> {
        let header = header::split(self.rest(), limit);
        let cut_off = match header.map_err(|(at, fault)| self.error(at, fault))? {
            Ok((roots, end)) => {
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

    /// Returns where the parts of the next section are, once it is complete.
    #[inline]
    fn section(&mut self, limit: u32) -> Result<Decoded<Section>, CarError> {
        let split = section::split(self.rest(), limit);
        match split.map_err(|(at, fault)| self.error(at, fault))? {
            Split::Section(section) => Ok(Decoded::Item(section)),
            _ if !self.ended => Ok(Decoded::NeedsBytes),
            Split::End => Ok(Decoded::End),
            Split::Incomplete(cut_off) => Err(self.error(0, cut_off.fault())),
        }
    }

    /// Consumes the section that [`section`](Self::section) found.
    fn take(&mut self, section: Section, verified: bool) -> BlockRef<'_> {
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

    /// Adds `len` bytes that were written to [`room`](Self::room).
    fn filled(&mut self, len: usize) -> io::Result<usize> {
        if len > self.bytes.len() - self.end {
            return Err(io::Error::other(
                "a stream that gives more than it was asked",
            ));
        }
        self.end += len;
        self.ended |= len == 0;
        Ok(len)
    }

    /// Room for the next `len` bytes or more. The buffer grows only when it is full of bytes that
    /// have arrived, never by what a length claims.
    fn room(&mut self, len: usize) -> &mut [u8] {
        /// The minimum size of the buffer.
        const CHUNK: usize = 64 << 10;
        let wanted = self.end - self.start + len;
        let too_large = self.bytes.len() / 16 > CHUNK.max(wanted);
        if too_large || self.bytes.len() - self.end < len {
            self.bytes.copy_within(self.start..self.end, 0);
            self.base += self.start as u64;
            self.end -= self.start;
            self.start = 0;
            if too_large {
                self.bytes.truncate(CHUNK.max(2 * wanted));
                self.bytes.shrink_to_fit();
            } else if self.end > self.bytes.len() / 2 || self.bytes.len() < wanted {
                let doubled = CHUNK.max(2 * self.bytes.len());
                self.bytes.resize(doubled.max(wanted), 0);
            }
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    fn error(&self, at: usize, fault: CarFault) -> CarError {
        CarError::at(self.base + (self.start + at) as u64, fault)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use blockstore_core::raw_cid;

    use super::{CarDecoder, Decoded};
    use crate::{CarError, CarFault, CarWriter};

    #[test]
    fn the_buffer_of_what_was_long_is_given_back() {
        let mut writer = CarWriter::new(Vec::new(), &[]).expect("a vector takes every write");
        let long = vec![0; 20 << 20];
        for block in [&long, &vec![1; 100_000], &vec![2; 100_000]] {
            let written = writer.write_block(&raw_cid(block), block);
            written.expect("a vector takes every write");
        }
        let car = writer.finish().expect("a vector takes every write");
        let mut decoder = CarDecoder::new();
        let mut most = 0;
        for piece in car.chunks(16 << 10) {
            while let Decoded::Item(_) = decoder.next_block().expect("it is whole") {}
            decoder.push(piece);
            most = most.max(decoder.buffer.bytes.capacity());
        }
        assert!(most < 3 * long.len(), "{most} bytes");
        let left = decoder.buffer.bytes.capacity();
        assert!(left < 500_000, "{left} bytes");
    }

    #[test]
    fn a_stream_that_lies_about_what_it_gave_is_an_error_and_the_end_stays_one() {
        struct Lying;

        impl Read for Lying {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                Ok(buffer.len() + 1)
            }
        }

        assert!(CarDecoder::new().read_from(&mut Lying).is_err());

        let mut decoder = CarDecoder::new();
        decoder.end();
        decoder.push(&[0x0a; 10]);
        assert!(decoder.buffer.bytes.is_empty());
        let more = decoder.read_from(&mut [0x0a].as_slice());
        more.expect("a slice can be read");
        let fault = decoder.roots().expect_err("that is not a header");
        let CarError::Invalid { fault, .. } = fault else {
            panic!("{fault}");
        };
        assert_eq!(fault, CarFault::Empty);
    }
}
