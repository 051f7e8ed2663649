//! Positioned reads from a file, which share no cursor with other readers.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError, TryLockError};

use blockstore_core::CidBytes;

use crate::place::{Asked, Place, Places};
use crate::section::{self, CutOff, Section, Split};
use crate::varint;

/// How much is read ahead when reads are sequential.
const WINDOW: usize = 64 << 10;

/// The maximum distance between two places for one window to cover both.
const BEHIND: u64 = 16 << 10;

/// How much is read at first when a section is read alone: enough for most sections.
const FIRST_READ: usize = 512;

/// The section at `offset` is not the one that was there on opening.
pub(crate) fn changed(offset: u64) -> io::Error {
    let what = format!("the CAR has changed at byte {offset} since it was opened");
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A file that any number of threads read at given offsets.
///
/// Sequential reads, as of a CAR whose blocks are in the order in which they are wanted, are served
/// from a read-ahead window.
#[derive(Debug)]
pub(crate) struct PositionedFile {
    file: File,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
    places: Places<Place>,
}

impl PositionedFile {
    pub(crate) fn new(file: File) -> Self {
        Self {
            file,
            window: Mutex::default(),
        }
    }

    /// Reads the section at `offset` and hands its CID and its block to `look`.
    ///
    /// # Errors
    ///
    /// If no section is there: the file has changed since it was opened.
    pub(crate) fn with_section<T>(
        &self,
        asked: Asked,
        offset: u64,
        limit: u32,
        look: impl FnOnce(&[u8], &[u8]) -> T,
    ) -> io::Result<T> {
        let mut window = match self.window.try_lock() {
            Ok(window) => window,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Another thread is using the window, so reads are not sequential.
            Err(TryLockError::WouldBlock) => {
                return self.with_section_alone(offset, limit, look);
            }
        };
        if window.places.of(asked).is_near(offset) && window.section(offset, limit).is_none() {
            let start = window.refill_from(offset);
            self.refill(&mut window, start)?;
        }
        if let Some((section, bytes)) = window.section(offset, limit) {
            let seen = look(section.cid(bytes), section.block(bytes));
            let end = offset + section.end as u64;
            window.places.of_mut(asked).come_to(offset, end);
            return Ok(seen);
        }
        let place = window.places.of_mut(asked);
        self.section_alone(offset, limit, |section, bytes| {
            place.come_to(offset, offset + section.end as u64);
            look(section.cid(bytes), section.block(bytes))
        })
    }

    /// The same without the window, and without filling it.
    pub(crate) fn with_section_alone<T>(
        &self,
        offset: u64,
        limit: u32,
        look: impl FnOnce(&[u8], &[u8]) -> T,
    ) -> io::Result<T> {
        self.section_alone(offset, limit, |section, bytes| {
            look(section.cid(bytes), section.block(bytes))
        })
    }

    /// Empties the window.
    pub(crate) fn forget(&self) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.bytes.clear();
    }

    /// Hands the CIDs and blocks of the sections after the last one to `look` until it returns
    /// something. Only if reads are sequential, and only as far as the window goes.
    pub(crate) fn with_next<T>(
        &self,
        asked: Asked,
        limit: u32,
        look: impl Fn(&[u8], &[u8]) -> Option<T>,
    ) -> Option<T> {
        let mut window = self.window.try_lock().ok()?;
        let mut place = *window.places.of(asked);
        let found = place.look_ahead(|offset| {
            let (section, bytes) = window.section(offset, limit)?;
            let found = look(section.cid(bytes), section.block(bytes));
            Some((found, offset + section.end as u64))
        })?;
        *window.places.of_mut(asked) = place;
        Some(found)
    }

    /// Reads the CID of the section at `offset`, without its block, and hands it to `look`.
    ///
    /// # Errors
    ///
    /// As for [`with_section`](Self::with_section).
    pub(crate) fn with_cid<T>(&self, offset: u64, look: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        let mut start = [0; varint::MAX_LEN + CidBytes::MAX_LEN];
        let filled = self.fill(&mut start, offset)?;
        let cid = start.get(..filled).and_then(section::cid);
        cid.map(look).ok_or_else(|| changed(offset))
    }

    /// As [`with_cid`](Self::with_cid), for sections in the order of the file: it reads in large
    /// pieces, so that all sections together take no more than reading the file once more, if
    /// nothing else is read in between.
    pub(crate) fn with_cid_ahead<T>(
        &self,
        offset: u64,
        look: impl FnOnce(&[u8]) -> T,
    ) -> io::Result<T> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.cid(offset).is_none() {
            self.refill(&mut window, offset)?;
        }
        window.cid(offset).map(look).ok_or_else(|| changed(offset))
    }

    /// Reads the section at `offset`, and little else.
    fn section_alone<T>(
        &self,
        offset: u64,
        limit: u32,
        look: impl FnOnce(&Section, &[u8]) -> T,
    ) -> io::Result<T> {
        let mut first = [0; FIRST_READ];
        let filled = self.fill(&mut first, offset)?;
        let first = first.get(..filled).unwrap_or_default();
        let missing = match section::split(first, limit) {
            Ok(Split::Section(section)) => return Ok(look(&section, first)),
            Ok(Split::Incomplete(CutOff::Body { missing, .. })) => missing,
            _ => return Err(changed(offset)),
        };
        // The length is within `limit`, and that many bytes were there on opening.
        let missing = usize::try_from(missing).map_err(|_| changed(offset))?;
        let mut bytes = vec![0; filled + missing];
        let filled = self.fill(&mut bytes, offset)?;
        bytes.truncate(filled);
        match section::split(&bytes, limit) {
            Ok(Split::Section(section)) => Ok(look(&section, &bytes)),
            _ => Err(changed(offset)),
        }
    }

    /// The file from its beginning, as a stream.
    pub(crate) fn stream(&self) -> impl Read + '_ {
        Stream { file: self, at: 0 }
    }

    /// Fills the window from `offset` on.
    fn refill(&self, window: &mut Window, offset: u64) -> io::Result<()> {
        // Left empty if reading fails, so that the bytes always match `start`.
        let mut bytes = std::mem::take(&mut window.bytes);
        bytes.resize(WINDOW, 0);
        let filled = self.fill(&mut bytes, offset)?;
        bytes.truncate(filled);
        window.start = offset;
        window.bytes = bytes;
        Ok(())
    }

    /// Fills `buffer` from `offset` on, up to the end of the file. Returns how many bytes that is.
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match read_at(&self.file, rest, offset + filled as u64)? {
                0 => break,
                len => filled += len,
            }
        }
        Ok(filled)
    }
}

impl Window {
    /// Where to start reading ahead so that `offset` is in the window. The two places of a reader
    /// are close to each other, so this starts where the other one may go on, if that is shortly
    /// before.
    fn refill_from(&self, offset: u64) -> u64 {
        let behind = |place: &Place| offset.checked_sub(place.next).filter(|far| *far < BEHIND);
        let Places { one, many } = &self.places;
        let far = [one, many].into_iter().filter_map(behind).max();
        offset - far.unwrap_or(0)
    }

    /// The bytes in the window from `offset` on.
    fn rest(&self, offset: u64) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.bytes.get(start..)
    }

    /// The CID of the section at `offset`, if the window holds all of it.
    fn cid(&self, offset: u64) -> Option<&[u8]> {
        section::cid(self.rest(offset)?)
    }

    /// The section at `offset` and the bytes that begin with it, if the window holds all of it.
    fn section(&self, offset: u64, limit: u32) -> Option<(Section, &[u8])> {
        let rest = self.rest(offset)?;
        match section::split(rest, limit) {
            Ok(Split::Section(section)) => Some((section, rest)),
            _ => None,
        }
    }
}

struct Stream<'f> {
    file: &'f PositionedFile,
    at: u64,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = read_at(&self.file.file, buffer, self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

/// Reads what one call gives, and retries a call that a signal interrupted.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match read_at_once(file, buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(unix)]
fn read_at_once(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at_once(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

#[cfg(not(any(unix, windows)))]
fn read_at_once(_: &File, _: &mut [u8], _: u64) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}
