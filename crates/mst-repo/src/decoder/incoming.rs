//! The blocks of a CAR that comes in, as a store that gives each of them once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use blockstore_car::{CarDecoder, CarError, Decoded, Verify};
use blockstore_core::{BlockStore, Bytes, Cid, CidBytes, StoreError};

use super::given::Given;
use crate::large::LargeRecords;
use crate::{Error, StreamError, StreamOptions};

/// Why there is no block yet, or never will be.
pub(super) enum Halt {
    /// More bytes have to be handed over first. What was asked for can be asked for again.
    NeedsBytes,
    Fault(Box<StreamError>),
}

impl From<StreamError> for Halt {
    fn from(error: StreamError) -> Self {
        Self::Fault(Box::new(error))
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        StreamError::from(error).into()
    }
}

impl From<CarError> for Halt {
    fn from(error: CarError) -> Self {
        StreamError::from(error).into()
    }
}

/// The blocks still to come, for a walker to read nodes from.
pub(super) struct Incoming(Mutex<State>);

pub(super) struct State {
    car: CarDecoder,
    options: StreamOptions,
    /// What came before it was wanted.
    aside: HashMap<Box<[u8]>, Aside>,
    aside_len: usize,
    /// The most that was. The table does not become smaller, and what is taken out leaves holes.
    most_aside: usize,
    /// Whether any block came that was not the one wanted.
    out_of_order: bool,
    given: Given,
    /// The last record that was too large to be kept among those.
    large: Option<(Box<[u8]>, Bytes)>,
    /// The large records that were given, if they are not to be given again.
    once: Option<LargeRecords>,
    /// The block that comes next, if it was read before it was wanted.
    next: Option<(Box<[u8]>, Aside)>,
    /// What kept a node from being read, on its way past the errors of a store.
    halt: Option<Halt>,
}

/// A block that came before it was wanted.
struct Aside {
    bytes: Bytes,
    /// Whether they hash to the CID.
    verified: bool,
}

impl Aside {
    fn memory_len(&self) -> usize {
        /// What one takes beside its bytes at most: its CID, its place in the table, allocations.
        const OVERHEAD: usize = 256;
        self.bytes.len() + OVERHEAD
    }
}

impl Incoming {
    pub(super) fn new(options: StreamOptions) -> Self {
        Self(Mutex::new(State {
            car: CarDecoder::with_options(options.car),
            options,
            aside: HashMap::new(),
            aside_len: 0,
            most_aside: 0,
            out_of_order: false,
            given: Given::default(),
            large: None,
            once: None,
            next: None,
            halt: None,
        }))
    }

    #[inline]
    pub(super) fn state(&mut self) -> &mut State {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a walker, which shares the store.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is behind an error of a walker.
    pub(super) fn halt(&self, error: mst_ops::Error) -> Halt {
        let halt = self.lock().halt.take();
        halt.unwrap_or_else(|| Error::from(error).into())
    }
}

impl State {
    pub(super) fn car(&mut self) -> &mut CarDecoder {
        &mut self.car
    }

    /// The root that the CAR names first.
    pub(super) fn root(&mut self) -> Result<Cid, Halt> {
        let roots = self.car.roots()?.ok_or(Halt::NeedsBytes)?;
        Ok(*roots.first().ok_or(StreamError::NoRoot)?)
    }

    /// Gives no large record twice.
    pub(super) fn leave_out_large(&mut self) {
        self.once.get_or_insert_default();
    }

    /// Reads on to the record that is wanted: its CID, in binary and as `cid` makes it.
    #[inline]
    pub(super) fn read_record(
        &mut self,
        wanted: &[u8],
        cid: impl Fn() -> Cid,
    ) -> Result<Bytes, Halt> {
        self.read_up_to(wanted, cid, Self::keep)
    }

    /// Reads on to a record for who wants blocks. `None` if it was given and is not to be given again.
    pub(super) fn read_for_store(&mut self, cid: &Cid) -> Result<Option<Bytes>, Halt> {
        let was_given = |once: &LargeRecords| once.has(cid);
        if self.once.as_ref().is_some_and(was_given) {
            return Ok(None);
        }
        let record = self.read_record(CidBytes::from(cid).as_ref(), || *cid)?;
        if let Some(once) = &mut self.once {
            once.note(cid, &record);
        }
        Ok(Some(record))
    }

    /// Reads on to the block that is wanted, a node or the commit.
    pub(super) fn read_block(&mut self, cid: &Cid) -> Result<Bytes, Halt> {
        self.read_up_to(CidBytes::from(cid).as_ref(), || *cid, |_, _, _| {})
    }

    /// Reads what comes behind all that was wanted.
    pub(super) fn read_to_end(&mut self) -> Result<(), Halt> {
        loop {
            match self.car.next_block()? {
                Decoded::Item(_) => {}
                Decoded::NeedsBytes => return Err(Halt::NeedsBytes),
                Decoded::End => return Ok(()),
            }
        }
    }

    /// Reads on to the block that is wanted. If bytes are needed first, what came before them is
    /// laid aside. A block that is given for the first time, `keep` may keep.
    #[inline]
    fn read_up_to(
        &mut self,
        wanted: &[u8],
        cid: impl Fn() -> Cid,
        keep: impl FnOnce(&mut Self, &[u8], &Bytes),
    ) -> Result<Bytes, Halt> {
        if !self.aside.is_empty()
            && let Some(block) = self.aside.remove(wanted)
        {
            self.aside_len -= block.memory_len();
            return self.give(block.bytes, block.verified, wanted, cid, keep);
        }
        let mut is_next = true;
        loop {
            if let Some((cid_bytes, block)) = self.next.take() {
                if *cid_bytes == *wanted {
                    return self.give(block.bytes, block.verified, wanted, cid, keep);
                }
                self.out_of_order = true;
                // Where a CAR has once what many paths refer to, no more is read for each.
                if is_next && let Some(given) = self.find_given(wanted) {
                    self.next = Some((cid_bytes, block));
                    return Ok(given);
                }
                self.lay_aside(cid_bytes, block)?;
                is_next = false;
            }
            let block = match self.car.next_block()? {
                Decoded::Item(block) => block,
                Decoded::NeedsBytes => return Err(Halt::NeedsBytes),
                Decoded::End => break,
            };
            let verified = block.verified();
            let bytes = Bytes::copy_from_slice(block.bytes());
            if block.cid_bytes() == wanted {
                return self.give(bytes, verified, wanted, cid, keep);
            }
            self.next = Some((block.cid_bytes().into(), Aside { bytes, verified }));
        }
        let given = self.find_given(wanted);
        given.ok_or_else(|| StreamError::NotAhead(cid()).into())
    }

    /// Gives the block that is wanted, if it is known to be what its CID names.
    #[inline]
    fn give(
        &mut self,
        block: Bytes,
        verified: bool,
        wanted: &[u8],
        cid: impl Fn() -> Cid,
        keep: impl FnOnce(&mut Self, &[u8], &Bytes),
    ) -> Result<Bytes, Halt> {
        if verified || self.options.car.verify == Some(Verify::Never) {
            keep(self, wanted, &block);
            return Ok(block);
        }
        Err(Error::Store(StoreError::Unverifiable(cid())).into())
    }

    /// Keeps a record, in case that another path leads to it.
    #[inline]
    fn keep(&mut self, cid: &[u8], record: &Bytes) {
        let room = self.room_for_given();
        let half = self.options.memory_bytes / 2;
        if !self.given.push(cid, record, room) && record.len() <= half {
            self.large = Some((cid.into(), record.clone()));
            self.make_room();
        }
    }

    fn find_given(&mut self, wanted: &[u8]) -> Option<Bytes> {
        if let Some((cid, record)) = &self.large
            && **cid == *wanted
        {
            return Some(record.clone());
        }
        let room = self.room_for_given();
        self.given.find(wanted, room)
    }

    /// How many bytes of memory records may take that were given.
    fn room_for_given(&self) -> usize {
        let room = self.options.memory_bytes;
        if self.out_of_order {
            room.saturating_sub(self.most_aside + self.large_len())
        } else {
            // Enough for records that lie side by side, as those of two paths mostly do.
            (room / 16).min(1 << 20)
        }
    }

    fn large_len(&self) -> usize {
        self.large.as_ref().map_or(0, |(_, record)| record.len())
    }

    /// Drops of the records that were given what there is no room for.
    fn make_room(&mut self) {
        if self.most_aside + self.large_len() > self.options.memory_bytes {
            self.large = None;
        }
        let room = self.room_for_given();
        self.given.shrink_to(room);
    }

    fn lay_aside(&mut self, cid: Box<[u8]>, block: Aside) -> Result<(), StreamError> {
        if let Some(once) = &self.once
            && Cid::try_from(&*cid).is_ok_and(|cid| once.has(&cid))
        {
            return Ok(());
        }
        // Of a CID that comes twice the first block counts.
        if let Entry::Vacant(place) = self.aside.entry(cid) {
            self.aside_len += block.memory_len();
            self.most_aside = self.most_aside.max(self.aside_len);
            place.insert(block);
        }
        let limit = self.options.memory_bytes;
        if self.aside_len > limit {
            return Err(StreamError::TooMuchAside { limit });
        }
        self.make_room();
        Ok(())
    }
}

impl BlockStore for Incoming {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        let mut state = self.lock();
        match state.read_block(cid) {
            Ok(block) => Ok(Some(block)),
            Err(halt) => {
                state.halt = Some(halt);
                Err(StoreError::backend("the stream says why"))
            }
        }
    }
}
