//! The blocks of a CAR that is still arriving, as a store that returns each of them once.

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
    /// More bytes have to be pushed first. Then the request can be repeated.
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

/// The blocks that have not come yet, as a store for a walker to read nodes from.
pub(super) struct Incoming(Mutex<State>);

pub(super) struct State {
    car: CarDecoder,
    options: StreamOptions,
    /// Blocks that came before they were wanted.
    aside: HashMap<Box<[u8]>, Aside>,
    aside_len: usize,
    /// The maximum so far. The table does not shrink, and removals leave holes.
    most_aside: usize,
    /// Whether any block came that was not the one wanted.
    out_of_order: bool,
    given: Given,
    /// The last record that was too large to be kept in `given`.
    large: Option<(Box<[u8]>, Bytes)>,
    /// The large records that were returned, if they are not to be returned again.
    once: Option<LargeRecords>,
    /// The next block, if it was read before it was wanted.
    next: Option<(Box<[u8]>, Aside)>,
    /// Why a node could not be read, which an error of a store cannot express.
    halt: Option<Halt>,
}

/// A block that came before it was wanted.
struct Aside {
    bytes: Bytes,
    /// Whether its bytes hash to the CID.
    verified: bool,
}

impl Aside {
    fn memory_len(&self) -> usize {
        /// The maximum overhead of one: its CID, its slot in the table, allocations.
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

    /// Locks the state, which is shared with the walker.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reason behind an error of a walker.
    pub(super) fn halt(&self, error: mst_ops::Error) -> Halt {
        let halt = self.lock().halt.take();
        halt.unwrap_or_else(|| Error::from(error).into())
    }
}

impl State {
    pub(super) fn car(&mut self) -> &mut CarDecoder {
        &mut self.car
    }

    /// The first root that the CAR names.
    pub(super) fn root(&mut self) -> Result<Cid, Halt> {
        let roots = self.car.roots()?.ok_or(Halt::NeedsBytes)?;
        Ok(*roots.first().ok_or(StreamError::NoRoot)?)
    }

    /// Makes large records be returned only once.
    pub(super) fn leave_out_large(&mut self) {
        self.once.get_or_insert_default();
    }

    /// Reads on until the wanted record comes. The CID is passed in binary form and as made by
    /// `cid`.
    #[inline]
    pub(super) fn read_record(
        &mut self,
        wanted: &[u8],
        cid: impl Fn() -> Cid,
    ) -> Result<Bytes, Halt> {
        self.read_up_to(wanted, cid, Self::keep)
    }

    /// Reads on until a record comes, for a caller who wants blocks. `None` if it was returned and
    /// is not to be returned again.
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

    /// Reads on until the wanted block comes, a node or the commit.
    pub(super) fn read_block(&mut self, cid: &Cid) -> Result<Bytes, Halt> {
        self.read_up_to(CidBytes::from(cid).as_ref(), || *cid, |_, _, _| {})
    }

    /// Reads what comes after everything that was wanted.
    pub(super) fn read_to_end(&mut self) -> Result<(), Halt> {
        loop {
            match self.car.next_block()? {
                Decoded::Item(_) => {}
                Decoded::NeedsBytes => return Err(Halt::NeedsBytes),
                Decoded::End => return Ok(()),
            }
        }
    }

    /// Reads on until the wanted block comes. If it needs bytes first, blocks that came before are
    /// put aside. `keep` may keep a block that is returned for the first time.
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
                // If a CAR has a record of many paths only once, nothing more is read for each
                // path.
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

    /// Returns the wanted block, if it is known to match its CID.
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

    /// Keeps a record, in case another path leads to it.
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

    /// How many bytes of memory returned records may take.
    fn room_for_given(&self) -> usize {
        let room = self.options.memory_bytes;
        if self.out_of_order {
            room.saturating_sub(self.most_aside + self.large_len())
        } else {
            // Enough for records that are close to each other, as those of two paths mostly are.
            (room / 16).min(1 << 20)
        }
    }

    fn large_len(&self) -> usize {
        self.large.as_ref().map_or(0, |(_, record)| record.len())
    }

    /// Drops returned records for which there is no room.
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
        // If a CID comes twice, the first block counts.
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
