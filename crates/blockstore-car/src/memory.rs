//! The bytes of a CAR in memory.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use blockstore_core::Bytes;

use crate::place::{Asked, Place, Places};
use crate::section::{self, Split};

/// A CAR in memory.
pub(crate) struct CarBytes {
    car: Bytes,
    pub(crate) places: Places<SharedPlace>,
}

/// A [`Place`] that threads share. It is only a hint, and one thread may spoil another's.
#[derive(Debug, Default)]
pub(crate) struct SharedPlace {
    next: AtomicUsize,
    in_order: AtomicBool,
}

/// The size of a processor's cache line, and how many bytes to prefetch of a section whose length
/// is not known yet.
const LINE: usize = 64;
const TYPICAL_LEN: usize = 320;

/// A section of a CAR in memory.
#[derive(Clone, Copy)]
pub(crate) struct SectionRef<'c> {
    /// Where it begins.
    pub(crate) start: usize,
    pub(crate) cid: &'c [u8],
    block: &'c [u8],
    /// Where the next section begins.
    pub(crate) end: usize,
}

impl CarBytes {
    pub(crate) fn new(car: Bytes) -> Self {
        Self {
            car,
            places: Places::default(),
        }
    }

    /// How long the CAR is.
    pub(crate) fn len(&self) -> usize {
        self.car.len()
    }

    /// Prefetches the sections that probably begin at `offsets`.
    pub(crate) fn touch(&self, offsets: &[u64]) {
        // As few instructions as possible for each line: the fewer there are, the more lines the
        // processor loads at once.
        let mut touched = 0;
        for offset in offsets {
            let at = usize::try_from(*offset).unwrap_or(usize::MAX);
            let rest = self.car.get(at..).unwrap_or_default();
            for line in (0..TYPICAL_LEN).step_by(LINE) {
                touched ^= rest.get(line).copied().unwrap_or_default();
            }
        }
        black_box(touched);
    }

    /// The section at `offset`, which is known from opening.
    pub(crate) fn section(&self, offset: u64, limit: u32) -> Option<SectionRef<'_>> {
        let at = usize::try_from(offset).ok()?;
        let rest = self.car.get(at..)?;
        let Ok(Split::Section(section)) = section::split(rest, limit) else {
            return None;
        };
        Some(SectionRef {
            start: at,
            cid: section.cid(rest),
            block: section.block(rest),
            end: at + section.end,
        })
    }

    /// The section at `offset`, if its CID is `wanted`.
    pub(crate) fn section_of(
        &self,
        offset: u64,
        wanted: &[u8],
        limit: u32,
    ) -> Option<SectionRef<'_>> {
        let section = self.body(offset, limit, wanted.len())?;
        is_same(section.cid, wanted).then_some(section)
    }

    /// The section at `offset`, as if its CID took `cid_len` bytes. If these are a CID, it is the
    /// section's: no CID is a prefix of another.
    #[inline]
    fn body(&self, offset: u64, limit: u32, cid_len: usize) -> Option<SectionRef<'_>> {
        let at = usize::try_from(offset).ok()?;
        let rest = self.car.get(at..)?;
        let (start, end) = section::body(rest, limit).ok()?.ok()?;
        let body = rest.get(start..end)?;
        let (cid, block) = body.split_at_checked(cid_len).unwrap_or((body, &[]));
        Some(SectionRef {
            start: at,
            cid,
            block,
            end: at + end,
        })
    }

    /// The section of the block `wanted`, if it is the next one or a few sections ahead.
    pub(crate) fn ahead(&self, asked: Asked, wanted: &[u8], limit: u32) -> Option<SectionRef<'_>> {
        let shared = self.places.of(asked);
        let mut place = shared.load();
        let found = place.look_ahead(|offset| {
            let section = self.body(offset, limit, wanted.len())?;
            let end = section.end as u64;
            Some((is_same(section.cid, wanted).then_some(section), end))
        })?;
        shared.store(place);
        Some(found)
    }

    /// Returns the block of a section that was looked up, and moves the place past it.
    pub(crate) fn give(&self, asked: Asked, section: SectionRef<'_>) -> Bytes {
        let shared = self.places.of(asked);
        let mut place = shared.load();
        place.come_to(section.start as u64, section.end as u64);
        shared.store(place);
        self.block(section)
    }

    pub(crate) fn block(&self, section: SectionRef<'_>) -> Bytes {
        self.car
            .slice(section.end - section.block.len()..section.end)
    }
}

impl SharedPlace {
    pub(crate) fn load(&self) -> Place {
        Place {
            next: self.next.load(Ordering::Relaxed) as u64,
            in_order: self.in_order.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn store(&self, place: Place) {
        let next = usize::try_from(place.next);
        let next = next.expect("a place in memory fits a usize");
        self.next.store(next, Ordering::Relaxed);
        self.in_order.store(place.in_order, Ordering::Relaxed);
    }
}

/// Whether two CIDs are the same. Takes a few instructions for CIDs of the usual length.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    const USUAL_LEN: usize = 36;
    match (one.as_array::<USUAL_LEN>(), other.as_array()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}
