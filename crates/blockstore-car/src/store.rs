//! A CAR as a read-only block store.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

use blockstore_core::{
    BlockStore, Bytes, Cid, CidBytes, DAG_CBOR, RAW, StoreError, check_block, is_verifiable,
    sha2_256,
};

use crate::damaged::{Part, Sections};
use crate::file::{self, PositionedFile};
use crate::index::{Index, Indexer, OFFSET_LIMIT};
use crate::memory::{CarBytes, SectionRef};
use crate::place::Asked;
use crate::section::{self, Section, Split};
use crate::{CarError, CarFault, CarOptions, CarReader, Verify, header};

/// A CAR v1 as a read-only block store, over bytes in memory or over a file.
///
/// Opening it reads the CAR once, refuses it if its framing is wrong anywhere, and builds an index
/// of 20 bytes or fewer per section, or 8 KiB (some 50 bytes per section while it is being built).
/// To salvage what is left of a damaged CAR, use [`from_damaged_bytes`](Self::from_damaged_bytes).
///
/// - [`from_bytes`](Self::from_bytes): a block is a slice of the CAR's own bytes, never copied.
///   Blocks are checked against their CIDs on opening. A block keeps all of the CAR in memory: copy
///   those that are to outlive it ([`Bytes::copy_from_slice`]).
/// - [`open`](Self::open): blocks are read from the file on request, so memory is bounded by the
///   index. Each block is checked when it is read.
///
/// [`CarOptions::verify`] changes this, and so how much of a damaged CAR can be read: if blocks are
/// checked on opening, one bad block and the CAR is refused; if they are checked on reading, the
/// others can be read. Blocks may come in any order, may occur twice (the first counts), and need
/// not be linked from anywhere. A block whose CID has a hash function other than sha2-256, or
/// only a part of the digest, is not checked on opening; asking for it is
/// [`StoreError::Unverifiable`], unless blocks are never checked.
///
/// # Examples
///
/// ```
/// use blockstore_car::{BlockStore, CarBlockStore, CarWriter};
/// use blockstore_core::dag_cbor_cid;
///
/// let cid = dag_cbor_cid(b"\xa0");
/// let mut writer = CarWriter::new(Vec::new(), &[cid])?;
/// writer.write_block(&cid, b"\xa0")?;
///
/// let car = CarBlockStore::from_bytes(writer.finish()?)?;
/// assert_eq!(car.roots(), [cid]);
/// assert_eq!(car.get(&cid)?.as_deref(), Some(b"\xa0".as_slice()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CarBlockStore {
    source: Source,
    index: Index,
    roots: Vec<Cid>,
    sections: usize,
    /// Whether each section begins where the one before it ends, as their lengths say. In a damaged
    /// CAR only the index knows where they begin.
    is_sound: bool,
    verify: Verify,
    limit: u32,
    /// If the CAR is opened as a damaged one.
    damage: Option<Box<Damage>>,
}

/// What was found out on opening a damaged CAR, so that no block is hashed again for it.
struct Damage {
    /// The blocks in wrong sections, under the CIDs that they match.
    repaired: HashMap<Cid, Bytes>,
    /// The offsets of the sections whose blocks do not match their CIDs.
    bad: HashSet<u64>,
}

enum Source {
    Memory(CarBytes),
    File(PositionedFile),
}

/// The index of a CAR no longer than this stays in the processor's cache, so bypassing it gains
/// nothing.
const SHORT_CAR: usize = 256 << 10;

impl CarBlockStore {
    /// Opens a CAR in memory.
    ///
    /// # Errors
    ///
    /// [`CarError::Invalid`] with the byte at which the CAR is wrong and why;
    /// [`CarFault::HashMismatch`] if a block is not what its CID names.
    pub fn from_bytes(car: impl Into<Bytes>) -> Result<Self, CarError> {
        Self::from_bytes_with(car, CarOptions::default())
    }

    /// Opens a CAR in memory, with the given options.
    ///
    /// # Errors
    ///
    /// As for [`from_bytes`](Self::from_bytes).
    pub fn from_bytes_with(car: impl Into<Bytes>, options: CarOptions) -> Result<Self, CarError> {
        let car = car.into();
        let verify = options.verify.unwrap_or(Verify::OnOpen);
        let (roots, mut at) = header_of(&car, options.header_len)?;
        let mut sections = Indexer::default();
        while let Some(section) = section_at(&car, at, options.section_len)? {
            let rest = car.get(at..).unwrap_or_default();
            let (cid, block) = (section.cid(rest), section.block(rest));
            add(&mut sections, verify, &section, at as u64, cid, block)?;
            at += section.end;
        }
        Self::finish(
            Source::Memory(CarBytes::new(car)),
            roots,
            sections,
            verify,
            options,
        )
    }

    /// Opens what is left of a damaged CAR, and lists the faults in it, from start to end. A section
    /// whose CID has become one of another codec or hash function is not among them, as a sound CAR
    /// may hold such blocks, too.
    ///
    /// Where it is not clear any more where a section begins, it goes on at the next place where a
    /// length, a CID and a block match; only CIDs of atproto's form count (version 1, a codec of
    /// one byte, sha2-256). So between such sections a wrong byte costs at most the section that it
    /// is in. Sections are held to the length limit of [`CarOptions::default`].
    ///
    /// A block that does not match its CID is an error when it is asked for. As it may be the CID
    /// that is damaged, the block is also there under the CID that it matches, one of the
    /// [`repaired_cids`](Self::repaired_cids); and so is one that matches its CID if it ends where
    /// the next section begins, whatever its length says. Any block is also there under its CID
    /// with the other codec that atproto uses, though [`cids`](Self::cids) names it as its section
    /// does. So as long as something links to it, only a wrong byte in a block itself costs that
    /// block.
    ///
    /// Of a CAR that was cut off, the part before the cut is left. If the header is damaged, the
    /// [`roots`](Self::roots) are not known, only the [`cids`](Self::cids). If a CAR was crafted to
    /// take long, the search is given up ([`CarFault::SearchGivenUp`]), and lengths are trusted.
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_car::{BlockStore, CarBlockStore, CarWriter};
    /// use blockstore_core::raw_cid;
    ///
    /// let blocks = [b"one".as_slice(), b"two", b"three"];
    /// let mut writer = CarWriter::new(Vec::new(), &blocks.map(raw_cid))?;
    /// for block in blocks {
    ///     writer.write_block(&raw_cid(block), block)?;
    /// }
    /// let mut car = writer.finish()?;
    /// // The length of the last section but one.
    /// let at = car.len() - 2 * 40 - 2;
    /// car[at] ^= 0x40;
    ///
    /// assert!(CarBlockStore::from_bytes(car.clone()).is_err());
    /// let (car, faults) = CarBlockStore::from_damaged_bytes(car);
    /// assert_eq!((car.len(), faults.len()), (2, 1));
    /// assert_eq!(car.get(&raw_cid(b"three"))?.as_deref(), Some(b"three".as_slice()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_damaged_bytes(car: impl Into<Bytes>) -> (Self, Vec<CarError>) {
        let (car, options) = (car.into(), CarOptions::default());
        let mut faults = Vec::new();
        let mut parts = Sections::new(&car, options.section_len);
        let (roots, mut next) = match header_of(&car, options.header_len) {
            Ok((roots, at)) => (roots, at),
            Err(fault) => {
                faults.push(fault);
                (Vec::new(), parts.find(0))
            }
        };
        let mut sections = Indexer::default();
        // Added last, so that a good block with the same CID comes first.
        let mut bad_blocks = Vec::new();
        let mut repaired = HashMap::new();
        while let Some((part, mut after)) = parts.part(next) {
            if let Some((cid, block)) = parts.repaired(&part, next, after) {
                after = block.end;
                repaired.insert(cid, car.slice(block));
            }
            faults.extend(parts.given_up(&part, next));
            let rest = car.get(next..).unwrap_or_default();
            let offset = next as u64;
            match part {
                Part::Section(section) => sections.push(section.cid(rest), offset),
                Part::BadBlock(section, fault) => {
                    bad_blocks.push((offset, section.cid(rest)));
                    faults.push(fault);
                }
                Part::Fault(fault) => faults.push(fault),
            }
            next = after;
            if next as u64 >= OFFSET_LIMIT {
                break;
            }
        }
        let bad = bad_blocks.iter().map(|(offset, _)| *offset).collect();
        for (offset, cid) in bad_blocks {
            sections.push(cid, offset);
        }
        let source = Source::Memory(CarBytes::new(car.clone()));
        let store = Self::finish(source, roots, sections, Verify::OnRead, options);
        let mut store = store.expect("bytes in memory do not change");
        store.is_sound = faults.is_empty();
        store.damage = Some(Box::new(Damage { repaired, bad }));
        (store, faults)
    }

    /// Opens a CAR file. Its blocks are checked as they are read, so one that nobody asks for may
    /// be damaged; with [`Verify::OnOpen`] all are checked here.
    ///
    /// The file must not change while the store is in use. If it does, a block that does not match
    /// its CID is an error, as long as blocks are checked when they are read.
    ///
    /// # Errors
    ///
    /// [`CarError::Invalid`] with the byte at which the CAR is wrong and why, and [`CarError::Io`]
    /// if the file cannot be read. Neither names the path.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CarError> {
        Self::open_with(path, CarOptions::default())
    }

    /// Opens a CAR file, with the given options.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, options: CarOptions) -> Result<Self, CarError> {
        Self::from_file_with(File::open(path)?, options)
    }

    /// Takes over an open CAR file. It is read from its beginning, whatever its cursor position.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn from_file(file: File) -> Result<Self, CarError> {
        Self::from_file_with(file, CarOptions::default())
    }

    /// Takes over an open CAR file, with the given options.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn from_file_with(file: File, options: CarOptions) -> Result<Self, CarError> {
        let file = PositionedFile::new(file);
        let verify = options.verify.unwrap_or(Verify::OnRead);
        // If blocks are to be checked now, `add` checks them.
        let mut unchecked = options;
        unchecked.verify = Some(Verify::Never);
        let mut reader = CarReader::with_options(file.stream(), unchecked)?;
        let mut sections = Indexer::default();
        while let Some(section) = reader.find()? {
            let block = reader.take_block(section)?;
            let (offset, cid) = (block.offset(), block.cid_bytes());
            add(&mut sections, verify, &section, offset, cid, block.bytes())?;
        }
        let roots = reader.roots().to_vec();
        drop(reader);
        Self::finish(Source::File(file), roots, sections, verify, options)
    }

    fn finish(
        source: Source,
        roots: Vec<Cid>,
        sections: Indexer,
        verify: Verify,
        options: CarOptions,
    ) -> Result<Self, CarError> {
        let limit = options.section_len;
        let count = sections.len();
        // If a CID occurs many times, each of its sections is compared with the first.
        let first = RefCell::new((None, Vec::new()));
        let index = sections.finish(|one, other| {
            let mut first = first.borrow_mut();
            if first.0 != Some(one) {
                *first = (Some(one), source.with_cid(one, limit, <[u8]>::to_vec)?);
            }
            source.with_cid_ahead(other, limit, |other| other == first.1)
        })?;
        Ok(Self {
            source,
            index,
            roots,
            sections: count,
            is_sound: true,
            verify,
            limit,
            damage: None,
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
    pub fn root(&self) -> Result<Cid, CarError> {
        self.roots.first().copied().ok_or(CarError::NoRoot)
    }

    /// Returns the CIDs of all blocks, each once, in the order of the CAR.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] where the file cannot be read, or has changed since it was opened.
    /// The iterator continues after it.
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_car::{CarBlockStore, CarWriter, Cid, StoreError, raw_cid};
    ///
    /// let cids = [b"one".as_slice(), b"two"].map(raw_cid);
    /// let mut writer = CarWriter::new(Vec::new(), &[])?;
    /// writer.write_block(&cids[0], b"one")?;
    /// writer.write_block(&cids[1], b"two")?;
    ///
    /// let car = CarBlockStore::from_bytes(writer.finish()?)?;
    /// assert_eq!(car.cids().collect::<Result<Vec<Cid>, StoreError>>()?, cids);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cids(&self) -> impl Iterator<Item = Result<Cid, StoreError>> {
        let may_change = match &self.source {
            Source::Memory(_) => false,
            Source::File(file) => {
                // What was read before may be out of date.
                file.forget();
                true
            }
        };
        let cid_at = move |offset| {
            let cid = |bytes: &[u8]| {
                let is_there = !may_change || self.index.holds(bytes, offset);
                Cid::try_from(bytes).ok().filter(|_| is_there)
            };
            let cid = self.source.with_cid_ahead(offset, self.limit, cid);
            let cid = cid.and_then(|cid| cid.ok_or_else(|| file::changed(offset)));
            cid.map_err(StoreError::backend)
        };
        self.index.offsets().into_iter().map(cid_at)
    }

    /// Returns the CIDs that the blocks in wrong sections of a damaged CAR match
    /// ([`from_damaged_bytes`](Self::from_damaged_bytes)). If it is the CID or the length of a
    /// section that is damaged, this is what its CID was, except perhaps for the codec; if it is
    /// the block, nothing links to this. The [`cids`](Self::cids) and the [`len`](Self::len) do not
    /// include them.
    pub fn repaired_cids(&self) -> impl Iterator<Item = Cid> {
        let damage = self.damage.iter();
        damage.flat_map(|damage| damage.repaired.keys().copied())
    }

    /// Returns the number of blocks, each counted once.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Returns whether the CAR holds no block.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of sections: as [`len`](Self::len), but a block that occurs twice counts
    /// twice.
    pub fn section_count(&self) -> usize {
        self.sections
    }

    fn find(&self, asked: Asked, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        let bytes = CidBytes::from(cid);
        let wanted = bytes.as_ref();
        match &self.source {
            Source::Memory(car) => Ok(self.find_in(car, asked, wanted)),
            Source::File(file) => self.find_in_file(file, Some(asked), wanted),
        }
    }

    /// Finds a block in a file: in the next sections or through the index. Without `asked`, nothing
    /// is taken from what was read before.
    fn find_in_file(
        &self,
        file: &PositionedFile,
        asked: Option<Asked>,
        wanted: &[u8],
    ) -> Result<Option<Bytes>, StoreError> {
        let copy_if_wanted =
            |cid: &[u8], block: &[u8]| (cid == wanted).then(|| Bytes::copy_from_slice(block));
        if let Some(asked) = asked
            && self.looks_ahead()
            && let Some(block) = file.with_next(asked, self.limit, copy_if_wanted)
        {
            return Ok(Some(block));
        }
        let look = |offset| {
            let look = |cid: &[u8], block: &[u8]| {
                self.check_known(offset, wanted, cid)?;
                Ok(copy_if_wanted(cid, block))
            };
            match asked {
                Some(asked) => file.with_section(asked, offset, self.limit, look),
                None => file.with_section_alone(offset, self.limit, look),
            }
            .flatten()
        };
        self.index.find(wanted, look).map_err(StoreError::backend)
    }

    /// Whether to look for a block in the next sections before the index. Not if a CID occurs
    /// twice, as only the index knows which section is the first, not in a damaged CAR, and not if
    /// that gains nothing.
    fn looks_ahead(&self) -> bool {
        let is_long = match &self.source {
            Source::Memory(car) => car.len() > SHORT_CAR,
            Source::File(_) => true,
        };
        is_long && self.is_sound && self.sections == self.index.len()
    }

    /// Finds a block in memory, in the next sections or through the index.
    fn find_in(&self, car: &CarBytes, asked: Asked, wanted: &[u8]) -> Option<Bytes> {
        if self.looks_ahead()
            && let Some(section) = car.ahead(asked, wanted, self.limit)
        {
            return Some(car.block(section));
        }
        let section = self.indexed(car, wanted)?;
        Some(car.give(asked, section))
    }

    /// Finds a section in memory through the index.
    fn indexed<'c>(&self, car: &'c CarBytes, wanted: &[u8]) -> Option<SectionRef<'c>> {
        let look = |offset| Ok::<_, Infallible>(car.section_of(offset, wanted, self.limit));
        let Ok(section) = self.index.find(wanted, look);
        section
    }

    /// Where the blocks with these CIDs probably are. Prefetches all of their slots in the index in
    /// parallel, and then all of their sections.
    fn guess(&self, car: &CarBytes, cids: impl Iterator<Item = impl AsRef<[u8]>>) -> Vec<u64> {
        let guesses = self.index.guess(cids);
        car.touch(&guesses);
        guesses
    }

    /// Checks that `found`, the CID at an `offset` from the index, may have been there on opening.
    ///
    /// # Errors
    ///
    /// If it was not: `wanted` may have been there instead.
    fn check_known(&self, offset: u64, wanted: &[u8], found: &[u8]) -> io::Result<()> {
        if found == wanted || self.index.may_collide(wanted, found) {
            return Ok(());
        }
        Err(file::changed(offset))
    }

    fn find_checked(&self, asked: Asked, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        let found = self.find(asked, cid);
        let found = found.and_then(|block| self.checked(cid, block));
        match (&self.source, found) {
            // Perhaps the file was wrong only when this part of it was read ahead.
            (Source::File(file), Err(StoreError::HashMismatch(_) | StoreError::Backend(_))) => {
                let block = self.find_in_file(file, None, CidBytes::from(cid).as_ref())?;
                self.checked(cid, block)
            }
            (_, found) => found,
        }
    }

    /// Finds the block that matches `cid` in a damaged CAR, in a section that is wrong or whose CID
    /// has the other codec.
    fn find_repaired(&self, cid: &Cid) -> Option<Bytes> {
        let Damage { repaired, bad } = self.damage.as_deref()?;
        let other_codec = match cid.codec() {
            DAG_CBOR => RAW,
            RAW => DAG_CBOR,
            _ => return repaired.get(cid).cloned(),
        };
        let other = Cid::new_v1(other_codec, *cid.hash());
        let found = repaired.get(cid).or_else(|| repaired.get(&other));
        found.cloned().or_else(|| {
            let Source::Memory(car) = &self.source else {
                return None;
            };
            let section = self.indexed(car, CidBytes::from(&other).as_ref())?;
            let is_good = is_verifiable(&other) && !bad.contains(&(section.start as u64));
            is_good.then(|| car.block(section))
        })
    }

    /// Checks a block that is about to leave the store, if blocks are checked on reading.
    fn checked(&self, cid: &Cid, block: Option<Bytes>) -> Result<Option<Bytes>, StoreError> {
        let Some(block) = block else {
            return Ok(self.find_repaired(cid));
        };
        match self.verify {
            Verify::OnRead => {
                if let Err(error) = check_block(cid, &block) {
                    return self.find_repaired(cid).map(Some).ok_or(error);
                }
            }
            Verify::OnOpen if !is_verifiable(cid) => return Err(StoreError::Unverifiable(*cid)),
            Verify::OnOpen | Verify::Never => {}
        }
        Ok(Some(block))
    }
}

impl fmt::Debug for CarBlockStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CarBlockStore")
            .field("roots", &self.roots)
            .field("len", &self.len())
            .field("verify", &self.verify)
            .finish_non_exhaustive()
    }
}

impl BlockStore for CarBlockStore {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        self.find_checked(Asked::One, cid)
    }

    fn get_many(&self, cids: &[Cid]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let Source::Memory(car) = &self.source else {
            let find = |cid| self.find_checked(Asked::Many, cid);
            return cids.iter().map(find).collect();
        };
        let shared = car.places.of(Asked::Many);
        let mut place = shared.load();
        if place.in_order && self.looks_ahead() {
            let find = |cid| self.find_checked(Asked::Many, cid);
            return cids.iter().map(find).collect();
        }
        let wanted: Vec<CidBytes> = cids.iter().map(CidBytes::from).collect();
        let guesses = self.guess(car, wanted.iter());
        let get = |((cid, wanted), guess): ((&Cid, &CidBytes), u64)| {
            let wanted = wanted.as_ref();
            let block = match car.section_of(guess, wanted, self.limit) {
                Some(section) => {
                    place.come_to(section.start as u64, section.end as u64);
                    Some(car.block(section))
                }
                None => self.find_in(car, Asked::Many, wanted),
            };
            self.checked(cid, block)
        };
        let found = cids.iter().zip(&wanted).zip(guesses).map(get).collect();
        shared.store(place);
        found
    }

    fn will_get(&self, cids: &mut dyn Iterator<Item = Cid>) {
        /// More would be out of the processor's cache again before they are asked for.
        const AT_ONCE: usize = 16;
        if let Source::Memory(car) = &self.source
            && car.len() > SHORT_CAR
            && !car.places.of(Asked::One).load().in_order
        {
            self.guess(car, cids.take(AT_ONCE).map(|cid| CidBytes::from(&cid)));
        }
    }

    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        let bytes = CidBytes::from(cid);
        let wanted = bytes.as_ref();
        let look = |offset| {
            let look = |cid: &[u8]| {
                self.check_known(offset, wanted, cid)?;
                Ok((cid == wanted).then_some(()))
            };
            self.source.with_cid(offset, self.limit, look).flatten()
        };
        let found = self.index.find(wanted, look).map_err(StoreError::backend)?;
        Ok(found.is_some() || self.find_repaired(cid).is_some())
    }
}

impl Source {
    /// Passes the CID of the section at `offset` to `look`.
    fn with_cid<T>(&self, offset: u64, limit: u32, look: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        match self {
            Self::Memory(car) => {
                let section = car.section(offset, limit);
                Ok(look(section.ok_or_else(|| file::changed(offset))?.cid))
            }
            Self::File(file) => file.with_cid(offset, look),
        }
    }

    /// The same for sections in the order of the file.
    fn with_cid_ahead<T>(
        &self,
        offset: u64,
        limit: u32,
        look: impl FnOnce(&[u8]) -> T,
    ) -> io::Result<T> {
        match self {
            Self::Memory(_) => self.with_cid(offset, limit, look),
            Self::File(file) => file.with_cid_ahead(offset, look),
        }
    }
}

/// The roots of a CAR in memory, and where its first section begins.
fn header_of(car: &[u8], limit: u32) -> Result<(Vec<Cid>, usize), CarError> {
    let error = |(at, fault): (usize, CarFault)| CarError::at(at as u64, fault);
    if car.is_empty() {
        return Err(error((0, CarFault::Empty)));
    }
    let header = header::split(car, limit).map_err(error)?;
    header.map_err(|cut_off| error((0, cut_off.fault())))
}

/// The section that begins at `at`, or `None` where the CAR ends.
fn section_at(car: &[u8], at: usize, limit: u32) -> Result<Option<Section>, CarError> {
    let rest = car.get(at..).unwrap_or_default();
    match section::split(rest, limit) {
        Ok(Split::Section(section)) => Ok(Some(section)),
        Ok(Split::End) => Ok(None),
        Ok(Split::Incomplete(cut_off)) => Err(CarError::at(at as u64, cut_off.fault())),
        Err((inside, fault)) => Err(CarError::at((at + inside) as u64, fault)),
    }
}

/// Adds a section to the index, and checks its block if blocks are checked on opening and this one
/// can be.
#[inline]
fn add(
    sections: &mut Indexer,
    verify: Verify,
    section: &Section,
    offset: u64,
    cid: &[u8],
    block: &[u8],
) -> Result<(), CarError> {
    if offset >= OFFSET_LIMIT {
        return Err(CarError::at(offset, CarFault::CarTooLong));
    }
    if verify == Verify::OnOpen && section.verifiable && !cid.ends_with(&sha2_256(block)) {
        let cid = Cid::try_from(cid).expect("the section was split after a whole CID");
        return Err(CarError::at(offset, CarFault::HashMismatch(cid)));
    }
    sections.push(cid, offset);
    Ok(())
}
