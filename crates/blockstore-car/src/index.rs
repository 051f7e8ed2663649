//! Where each block of a CAR lies.

use std::convert::Infallible;
use std::hash::BuildHasher;
use std::hint::black_box;

use blockstore_core::{Cid, CidBytes};
use hashbrown::DefaultHashBuilder;

/// A table from CIDs to the places of their sections.
///
/// It holds no CIDs: a CAR has each of them at the head of its section, so the table keeps
/// only the place and some bits of the CID's hash, eight bytes in all, and whoever looks
/// compares the CID that stands there. It has slots for two and a half times as many sections as there
/// are at the most, so each takes 20 bytes or fewer, and all of a repository of a hundred thousand
/// blocks fit a processor's cache. The hash is keyed, differently in each table, and most CIDs are
/// hashes themselves: so it would take much to choose CIDs that collide.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    slots: Box<[Slot]>,
    len: usize,
    hasher: DefaultHashBuilder,
}

/// The offset of a section in its low bits and a part of the CID's hash in its high bits, or
/// [`EMPTY`].
type Slot = u64;

/// No section begins so far behind the start.
const EMPTY: Slot = u64::MAX;

const OFFSET_BITS: u32 = 40;

const OFFSET_MASK: u64 = (1 << OFFSET_BITS) - 1;

/// The first offset that a slot cannot hold: all but 1 TiB.
pub(crate) const OFFSET_LIMIT: u64 = OFFSET_MASK;

/// The sections of a CAR as they are found, before there is a table of them.
#[derive(Debug, Default)]
pub(crate) struct Indexer {
    sections: Vec<Found>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug, Clone, Copy)]
struct Found {
    offset: u64,
    hash: u64,
}

impl Indexer {
    /// Notes the section at `offset`, which must be less than [`OFFSET_LIMIT`].
    pub(crate) fn push(&mut self, cid: &[u8], offset: u64) {
        let hash = self.hasher.hash_one(cid);
        self.sections.push(Found { offset, hash });
    }

    /// Returns the number of sections.
    pub(crate) fn len(&self) -> usize {
        self.sections.len()
    }

    /// Makes the table. Of sections with the same CID it has the first. `same` says whether
    /// the sections at two offsets have the same CID.
    pub(crate) fn finish<E>(self, same: impl Fn(u64, u64) -> Result<bool, E>) -> Result<Index, E> {
        // Never more than four fifths full, so that looking for what is not there ends soon.
        let capacity = (self.sections.len() * 5 / 4 + 1).next_power_of_two();
        let mut index = Index {
            slots: vec![EMPTY; capacity].into_boxed_slice(),
            len: 0,
            hasher: self.hasher,
        };
        for found in self.sections {
            let (slot, entry) = index.probe(found.hash, |offset| same(offset, found.offset))?;
            if entry.is_none() {
                if let Some(place) = index.slots.get_mut(slot) {
                    *place = tag(found.hash) | found.offset;
                }
                index.len += 1;
            }
        }
        Ok(index)
    }
}

impl Index {
    /// Returns the number of blocks, each counted once.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the offsets of all sections that it has, in their order.
    pub(crate) fn offsets(&self) -> Vec<u64> {
        let entries = self.slots.iter().filter(|entry| **entry != EMPTY);
        let mut offsets: Vec<u64> = entries.map(|entry| entry & OFFSET_MASK).collect();
        offsets.sort_unstable();
        offsets
    }

    /// Returns the offset of the section whose CID is `cid`. `holds_cid` says whether the
    /// section at an offset has it.
    pub(crate) fn find<E>(
        &self,
        cid: &[u8],
        holds_cid: impl Fn(u64) -> Result<bool, E>,
    ) -> Result<Option<u64>, E> {
        let (_, entry) = self.probe(self.hasher.hash_one(cid), holds_cid)?;
        Ok(entry)
    }

    /// Whether a section with the CID `found` may stand where `cid` was looked for. If not,
    /// it was not there when the index was made.
    pub(crate) fn may_collide(&self, cid: &[u8], found: &[u8]) -> bool {
        tag(self.hasher.hash_one(cid)) == tag(self.hasher.hash_one(found))
    }

    /// Returns the offsets of sections that may well have the CIDs, without looking at these.
    pub(crate) fn guess(&self, cids: &[Cid]) -> Vec<Option<u64>> {
        let hash = |cid| self.hasher.hash_one(CidBytes::from(cid).as_ref());
        let hashes: Vec<u64> = cids.iter().map(hash).collect();
        for hash in &hashes {
            // With nothing else to do between, the processor fetches all of them at once.
            black_box(self.slots.get(self.first_slot(*hash)).copied());
        }
        let guess = |hash| {
            let Ok((_, offset)) = self.probe(hash, |_| Ok::<_, Infallible>(true));
            offset
        };
        hashes.into_iter().map(guess).collect()
    }

    /// Where the entry of a CID is, unless others took the slot.
    fn first_slot(&self, hash: u64) -> usize {
        // The tag has the high bits. Where a pointer has 32, those that are masked out do not fit.
        let mask = self.slots.len() as u64 - 1;
        usize::try_from(hash & mask).unwrap_or(0)
    }

    /// Goes from slot to slot until there is the entry or an empty slot: which slot, and the
    /// offset in it.
    fn probe<E>(
        &self,
        hash: u64,
        is_it: impl Fn(u64) -> Result<bool, E>,
    ) -> Result<(usize, Option<u64>), E> {
        let mask = self.slots.len() - 1;
        let wanted = tag(hash);
        let mut slot = self.first_slot(hash);
        loop {
            let entry = self.slots.get(slot).copied().unwrap_or(EMPTY);
            if entry == EMPTY {
                return Ok((slot, None));
            }
            let offset = entry & OFFSET_MASK;
            if entry - offset == wanted && is_it(offset)? {
                return Ok((slot, Some(offset)));
            }
            slot = (slot + 1) & mask;
        }
    }
}

/// The high bits of the hash, where a slot keeps them.
fn tag(hash: u64) -> u64 {
    hash >> OFFSET_BITS << OFFSET_BITS
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use blockstore_core::raw_cid;

    use super::{Indexer, Slot};

    #[test]
    fn a_section_takes_20_bytes_at_the_most() {
        for len in [1_000_u64, 3_276, 3_277, 5_000, 8_000] {
            let mut indexer = Indexer::default();
            for offset in 0..len {
                indexer.push(&raw_cid(&offset.to_be_bytes()).to_bytes(), offset);
            }
            let Ok(index) = indexer.finish(|_, _| Ok::<_, Infallible>(false));
            let taken = index.slots.len() * size_of::<Slot>();
            assert_eq!(index.len() as u64, len);
            assert!(taken as u64 <= 20 * len + 20, "{len}: {taken} bytes");
        }
    }
}
