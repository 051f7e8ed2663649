//! Where each block of a CAR is.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher};
use std::hint::black_box;

use hashbrown::DefaultHashBuilder;

/// A hash table from CIDs to the offsets of their sections.
///
/// It stores no CIDs: each is at the head of its section in the CAR. So a slot holds only the
/// offset and some bits of the CID's hash, eight bytes in all, and a look-up compares the CID in
/// the section. There are at most two and a half slots per section, which makes 20 bytes or fewer
/// (twice that if there are only a [`FEW`]), and the table of a repository of a hundred thousand
/// blocks fits into a processor's cache. The hash is keyed, differently for each table, and most
/// CIDs are hashes themselves, so choosing CIDs that collide would be hard.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    slots: Box<[Slot]>,
    len: usize,
    hasher: DefaultHashBuilder,
}

/// The offset of a section in its low bits and a part of the CID's hash in its high bits, or
/// [`EMPTY`].
type Slot = u64;

/// No section begins at such an offset.
const EMPTY: Slot = u64::MAX;

/// Up to so many sections, there are twice as many slots.
const FEW: usize = 256;

const OFFSET_BITS: u32 = 40;

const OFFSET_MASK: u64 = (1 << OFFSET_BITS) - 1;

/// The first offset that a slot cannot hold, just short of 1 TiB.
pub(crate) const OFFSET_LIMIT: u64 = OFFSET_MASK;

/// Collects the sections of a CAR until the table is made.
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
    /// Adds the section at `offset`, which must be less than [`OFFSET_LIMIT`].
    pub(crate) fn push(&mut self, cid: &[u8], offset: u64) {
        let hash = hash(&self.hasher, cid);
        self.sections.push(Found { offset, hash });
    }

    /// Returns the number of sections.
    pub(crate) fn len(&self) -> usize {
        self.sections.len()
    }

    /// Makes the table. Of sections with the same CID it keeps the first. `same` says whether the
    /// sections at two offsets have the same CID.
    pub(crate) fn finish<E>(self, same: impl Fn(u64, u64) -> Result<bool, E>) -> Result<Index, E> {
        // Never more than four fifths full, so that looking for a CID that is not there ends soon. In
        // the slice of a commit most links lead to nodes that are not there, so its table is larger.
        let room = self.sections.len() * if self.sections.len() <= FEW { 2 } else { 1 };
        let capacity = (room * 5 / 4 + 1).next_power_of_two();
        let mut index = Index {
            slots: vec![EMPTY; capacity].into_boxed_slice(),
            len: 0,
            hasher: self.hasher,
        };
        for found in self.sections {
            let look = |offset| Ok(same(offset, found.offset)?.then_some(()));
            let (slot, earlier) = index.probe(found.hash, look)?;
            if earlier.is_none() {
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

    /// Returns the offsets of all sections in the table, in ascending order.
    pub(crate) fn offsets(&self) -> Vec<u64> {
        let entries = self.slots.iter().filter(|entry| **entry != EMPTY);
        let mut offsets: Vec<u64> = entries.map(|entry| entry & OFFSET_MASK).collect();
        offsets.sort_unstable();
        offsets
    }

    /// Looks for the section whose CID is `cid`: returns what `look` finds at its offset. `look`
    /// finds nothing in a section that has another CID.
    pub(crate) fn find<T, E>(
        &self,
        cid: &[u8],
        look: impl Fn(u64) -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        let (_, found) = self.probe(hash(&self.hasher, cid), look)?;
        Ok(found)
    }

    /// Whether the section at `offset` probably had the CID `cid` when the table was made.
    pub(crate) fn holds(&self, cid: &[u8], offset: u64) -> bool {
        let look = |at| Ok::<_, Infallible>((at == offset).then_some(()));
        let Ok(found) = self.find(cid, look);
        found.is_some()
    }

    /// Whether a look-up of `cid` may come across a section with the CID `found`. If not, the
    /// section was not there when the table was made.
    pub(crate) fn may_collide(&self, cid: &[u8], found: &[u8]) -> bool {
        tag(hash(&self.hasher, cid)) == tag(hash(&self.hasher, found))
    }

    /// Returns the likely offsets of the sections with these CIDs, without comparing the CIDs, and
    /// [`OFFSET_LIMIT`] for those that are not there.
    pub(crate) fn guess(&self, cids: impl Iterator<Item = impl AsRef<[u8]>>) -> Vec<u64> {
        let hashes: Vec<u64> = cids.map(|cid| hash(&self.hasher, cid.as_ref())).collect();
        // A loop that does nothing else, so that the processor loads all slots in parallel.
        let slots = hashes
            .iter()
            .map(|hash| self.slots.get(self.first_slot(*hash)));
        black_box(slots.flatten().fold(0, |touched, slot| touched ^ slot));
        let guess = |hash| {
            let Ok((_, offset)) = self.probe(hash, |offset| Ok::<_, Infallible>(Some(offset)));
            offset.unwrap_or(OFFSET_LIMIT)
        };
        hashes.into_iter().map(guess).collect()
    }

    /// The slot of a CID, unless others have taken it.
    fn first_slot(&self, hash: u64) -> usize {
        // The tag is in the high bits. On 32-bit platforms, the bits that are masked out would not
        // fit.
        let mask = self.slots.len() as u64 - 1;
        usize::try_from(hash & mask).unwrap_or(0)
    }

    /// Probes slot by slot until `look` finds something at the offset in one, or one is empty.
    /// Returns the slot, and what was found.
    fn probe<T, E>(
        &self,
        hash: u64,
        look: impl Fn(u64) -> Result<Option<T>, E>,
    ) -> Result<(usize, Option<T>), E> {
        let mask = self.slots.len() - 1;
        let wanted = tag(hash);
        let mut slot = self.first_slot(hash);
        loop {
            let entry = self.slots.get(slot).copied().unwrap_or(EMPTY);
            if entry == EMPTY {
                return Ok((slot, None));
            }
            let offset = entry & OFFSET_MASK;
            if entry - offset == wanted
                && let Some(found) = look(offset)?
            {
                return Ok((slot, Some(found)));
            }
            slot = (slot + 1) & mask;
        }
    }
}

#[inline]
fn hash(hasher: &DefaultHashBuilder, cid: &[u8]) -> u64 {
    // Not `hash_one`, which hashes the length of a slice too, in case another one follows.
    let mut hasher = hasher.build_hasher();
    hasher.write(cid);
    hasher.finish()
}

/// The high bits of the hash, as a slot stores them.
fn tag(hash: u64) -> u64 {
    hash >> OFFSET_BITS << OFFSET_BITS
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use blockstore_core::raw_cid;

    use super::{Indexer, Slot};

    #[test]
    fn a_section_takes_20_bytes_at_the_most_or_all_take_8_kib() {
        for len in [1_u64, 100, 256, 257, 1_000, 3_276, 3_277, 5_000, 8_000] {
            let mut indexer = Indexer::default();
            for offset in 0..len {
                indexer.push(&raw_cid(&offset.to_be_bytes()).to_bytes(), offset);
            }
            let Ok(index) = indexer.finish(|_, _| Ok::<_, Infallible>(false));
            let taken = index.slots.len() * size_of::<Slot>();
            assert_eq!(index.len() as u64, len);
            let limit = (20 * len + 20).max(8 << 10);
            assert!(taken as u64 <= limit, "{len}: {taken} bytes");
        }
    }
}
