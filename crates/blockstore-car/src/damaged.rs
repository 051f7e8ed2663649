//! The sections that are left of a damaged CAR.

use blockstore_core::{Cid, sha2_256};

use crate::section::{self, Section, Split};
use crate::{CarError, CarFault};

/// What is in a damaged CAR, from its start to its end.
///
/// A length that is wrong leads astray: where the next section begins, nothing says. But a block
/// certifies itself. So where the way is lost, it goes on where a length, a CID and a block stand that
/// belong together.
pub(crate) struct Sections<'c> {
    car: &'c [u8],
    limit: u32,
    /// Where the section begins that was found last to be certain: 0 before one was looked for,
    /// [`NOWHERE`] where there is none.
    certain: usize,
    /// How many bytes may still be hashed: what may be sections overlaps, and a CAR can be made of
    /// nothing else. Then nothing is looked for any more, and lengths are taken for right.
    budget: usize,
}

/// A place in no CAR.
const NOWHERE: usize = usize::MAX;

/// A part of a damaged CAR.
pub(crate) enum Part {
    /// A section whose block is what its CID names, as far as that can be told.
    Section(Section),
    /// One whose block is not, or that reaches over another whose block is.
    BadBlock(Section, CarError),
    /// What is no section.
    Fault(CarError),
}

impl<'c> Sections<'c> {
    pub(crate) fn new(car: &'c [u8], limit: u32) -> Self {
        /// More than it takes, but for a CAR that was made to take long.
        const HASHED_TIMES: usize = 16;
        Self {
            car,
            limit,
            certain: 0,
            // Not used up by the CAR itself.
            budget: car.len().saturating_mul(HASHED_TIMES).saturating_add(1),
        }
    }

    /// Returns what is at `at`, and where to go on; `None` if nothing is there. It must be asked in the
    /// order of places.
    pub(crate) fn part(&mut self, at: usize) -> Option<(Part, usize)> {
        let rest = self.car.get(at..)?;
        let section = match section::split(rest, self.limit) {
            Ok(Split::End) => return None,
            Ok(Split::Section(section)) => section,
            Ok(Split::Incomplete(cut_off)) => return Some(self.fault(at, 0, cut_off.fault())),
            Err((inside, fault)) => return Some(self.fault(at, inside, fault)),
        };
        let next = at + section.end;
        if section.verifiable && self.is_good(&section, rest) {
            return Some((Part::Section(section), next));
        }
        // This may be no section at all, and one that is may begin inside.
        let certain = self.certain_behind(at).min(next);
        if self.budget == 0 {
            return Some((Part::Section(section), next));
        }
        if !section.verifiable && certain == next {
            return Some((Part::Section(section), next));
        }
        let fault = if section.verifiable {
            let cid = Cid::try_from(section.cid(rest));
            CarFault::HashMismatch(cid.expect("the section was split behind a CID"))
        } else {
            let next = certain as u64;
            CarFault::Overlap { next }
        };
        let fault = CarError::at(at as u64, fault);
        Some((Part::BadBlock(section, fault), certain))
    }

    fn fault(&mut self, at: usize, inside: usize, fault: CarFault) -> (Part, usize) {
        let fault = CarError::at((at + inside) as u64, fault);
        (Part::Fault(fault), self.certain_behind(at))
    }

    /// Returns where the next section behind `at` begins whose block is what its CID names.
    fn certain_behind(&mut self, at: usize) -> usize {
        if self.certain <= at {
            self.certain = self.find(at + 1);
        }
        self.certain
    }

    /// Finds the next section from `from` on whose block is what its CID names.
    pub(crate) fn find(&mut self, from: usize) -> usize {
        /// A length of more bytes is more than any limit allows.
        const MAX_LENGTH_LEN: usize = 5;
        let searched = self.car.get(from..).unwrap_or_default();
        for (before, cid) in searched.windows(4).enumerate() {
            // As in `section`: CIDv1, a codec of one byte, sha2-256 with the whole digest.
            if !matches!(cid, [0x01, 0x00..=0x7f, 0x12, 0x20]) {
                continue;
            }
            for start in (before.saturating_sub(MAX_LENGTH_LEN)..before).rev() {
                if self.is_certain(from + start) {
                    return from + start;
                }
            }
        }
        NOWHERE
    }

    fn is_certain(&mut self, at: usize) -> bool {
        let rest = self.car.get(at..).unwrap_or_default();
        let Ok(Split::Section(section)) = section::split(rest, self.limit) else {
            return false;
        };
        section.verifiable && self.is_good(&section, rest)
    }

    /// Whether the block of a section, with which `bytes` begin, is what its CID names. Once it has
    /// taken too long, it is not looked at.
    fn is_good(&mut self, section: &Section, bytes: &[u8]) -> bool {
        let block = section.block(bytes);
        self.budget = self.budget.saturating_sub(block.len());
        self.budget > 0 && section.cid(bytes).ends_with(&sha2_256(block))
    }
}
