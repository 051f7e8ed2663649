//! Finds the sections that are left in a damaged CAR.

use std::mem;
use std::ops::Range;

use blockstore_core::{Cid, cid_of, dag_cbor_cid, raw_cid, sha2_256};

use crate::section::{self, Section, Split};
use crate::{CarError, CarFault};

/// The contents of a damaged CAR, from start to end.
///
/// After a wrong length, nothing says where the next section begins. But a block certifies itself:
/// it is enough to search for the next place where a length, a CID and a block match.
pub(crate) struct Sections<'c> {
    car: &'c [u8],
    limit: u32,
    /// Where the certain section found last begins: 0 before the first search, [`NOWHERE`] if there
    /// is none.
    certain: usize,
    /// How many bytes may still be hashed in search of sections. Candidates may overlap, and a CAR
    /// can be crafted of nothing else. Once this is used up, the search stops, and lengths are
    /// trusted; then sections follow each other, and each is hashed once.
    budget: usize,
    /// Whether it was reported that the search is given up.
    is_reported: bool,
}

/// The length of a CID of atproto's form.
const CID_LEN: usize = 36;

/// The length of the longest length: one that takes more bytes is above the limit.
const MAX_LENGTH_LEN: usize = 4;

/// Not a place in any CAR.
const NOWHERE: usize = usize::MAX;

/// A part of a damaged CAR.
pub(crate) enum Part {
    /// A section whose block matches its CID, as far as that can be checked.
    Section(Section),
    /// One whose block does not match, or that overlaps another whose block does.
    BadBlock(Section, CarError),
    /// Not a section.
    Fault(CarError),
}

impl<'c> Sections<'c> {
    pub(crate) fn new(car: &'c [u8], limit: u32) -> Self {
        /// More than any CAR needs that was not crafted to take long.
        const HASHED_TIMES: usize = 16;
        Self {
            car,
            limit,
            certain: 0,
            // Plus one, so that hashing exactly as much does not use it up.
            budget: car.len().saturating_mul(HASHED_TIMES).saturating_add(1),
            is_reported: false,
        }
    }

    /// Returns what is at `at`, and where to go on; `None` if nothing is there. Calls must be made
    /// with ascending `at`.
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
        // This may not be a section at all, and a real one may begin inside.
        let certain = self.next_certain(at).min(next);
        if !section.verifiable && certain == next {
            // A wrong length may begin with the same bytes as a CID, and be taken for its start.
            let other = self.with_other_length(at).map(|(_, block)| block.end);
            return Some(match other.filter(|end| *end != next) {
                Some(end) => self.fault(at, 0, CarFault::WrongLength { end: end as u64 }),
                None => (Part::Section(section), next),
            });
        }
        let fault = if section.verifiable {
            let cid = Cid::try_from(section.cid(rest));
            CarFault::HashMismatch(cid.expect("the section was split after a CID"))
        } else {
            let next = certain as u64;
            CarFault::Overlap { next }
        };
        let fault = CarError::at(at as u64, fault);
        Some((Part::BadBlock(section, fault), certain))
    }

    /// Returns that the search is given up, if the `part` at `at` is the first for which it was.
    pub(crate) fn given_up(&mut self, part: &Part, at: usize) -> Option<CarError> {
        let wants_search = self.budget == 0 && !matches!(part, Part::Section(_));
        let is_new = wants_search && !mem::replace(&mut self.is_reported, true);
        is_new.then(|| CarError::at(at as u64, CarFault::SearchGivenUp))
    }

    /// Returns the block of the `part` from `at` to `next` with its CID, if only the CID or only the
    /// length is damaged. (If it is the block, no link leads to this CID.)
    pub(crate) fn repaired(
        &mut self,
        part: &Part,
        at: usize,
        next: usize,
    ) -> Option<(Cid, Range<usize>)> {
        if matches!(part, Part::Section(section) if section.verifiable) {
            return self.with_other_codec(at, next);
        }
        // If this succeeds, it is certain.
        let repaired = self.with_other_length(at);
        repaired.or_else(|| self.with_other_cid(at, next))
    }

    /// The block as DAG-CBOR, if atproto does not use the codec of its CID.
    fn with_other_codec(&self, at: usize, next: usize) -> Option<(Cid, Range<usize>)> {
        let (start, end) = section::body(self.car.get(at..)?, self.limit).ok()?.ok()?;
        let is_other = codec_of(self.car.get(at + start..at + end)?).is_none();
        is_other.then(|| self.with_other_cid(at, next))?
    }

    /// The block under the CID that it matches.
    fn with_other_cid(&self, at: usize, next: usize) -> Option<(Cid, Range<usize>)> {
        let (start, end) = section::body(self.car.get(at..)?, self.limit).ok()?.ok()?;
        let (start, end) = (at + start, at + end);
        // A section that overlaps another has a wrong length.
        if end > next {
            return None;
        }
        let (damaged, block) = self.car.get(start..end)?.split_at_checked(CID_LEN)?;
        let cid = if let Some(codec) = codec_of(damaged) {
            cid_of(codec, block)
        } else {
            // A CID of another form may be a sound one, unless the digest shows what it was.
            let cid = match damaged.get(1) {
                Some(0x55) => raw_cid(block),
                _ => dag_cbor_cid(block),
            };
            damaged.ends_with(cid.hash().digest()).then_some(cid)?
        };
        Some((cid, start + CID_LEN..end))
    }

    /// The block if it reaches up to the next section whose block matches its CID.
    fn with_other_length(&mut self, at: usize) -> Option<(Cid, Range<usize>)> {
        let end = self.next_certain(at).min(self.car.len());
        let begins_with_cid =
            |start: &usize| self.car.get(*start..end).and_then(codec_of).is_some();
        let start = (at + 1..=at + MAX_LENGTH_LEN).find(begins_with_cid)?;
        let (cid, block) = self.car.get(start..end)?.split_at_checked(CID_LEN)?;
        self.budget = self.budget.saturating_sub(block.len());
        let is_good = self.budget > 0 && cid.ends_with(&sha2_256(block));
        let cid = Cid::try_from(cid).ok().filter(|_| is_good)?;
        Some((cid, start + CID_LEN..end))
    }

    fn fault(&mut self, at: usize, inside: usize, fault: CarFault) -> (Part, usize) {
        let fault = CarError::at((at + inside) as u64, fault);
        (Part::Fault(fault), self.next_certain(at))
    }

    /// Returns where the next section after `at` begins whose block matches its CID.
    fn next_certain(&mut self, at: usize) -> usize {
        if self.certain <= at {
            self.certain = self.find(at + 1);
        }
        self.certain
    }

    /// Finds the next section, at `from` or later, whose block matches its CID.
    pub(crate) fn find(&mut self, from: usize) -> usize {
        let searched = self.car.get(from..).unwrap_or_default();
        for (before, cid) in searched.windows(4).enumerate() {
            // As in `section`: CIDv1, a codec of one byte, sha2-256 with the whole digest.
            if !matches!(cid, [0x01, 0x00..=0x7f, 0x12, 0x20]) {
                continue;
            }
            for start in (before.saturating_sub(MAX_LENGTH_LEN)..before).rev() {
                if self.begins_certain(from + start) {
                    return from + start;
                }
            }
        }
        NOWHERE
    }

    /// Whether a section begins at `at` whose block matches its CID. Once the budget is used up, the
    /// answer is no.
    fn begins_certain(&mut self, at: usize) -> bool {
        let rest = self.car.get(at..).unwrap_or_default();
        let Ok(Split::Section(section)) = section::split(rest, self.limit) else {
            return false;
        };
        self.budget > 0 && section.verifiable && self.is_good(&section, rest)
    }

    /// Whether the block of a section, with which `bytes` begin, matches its CID.
    fn is_good(&mut self, section: &Section, bytes: &[u8]) -> bool {
        let block = section.block(bytes);
        self.budget = self.budget.saturating_sub(block.len());
        section.cid(bytes).ends_with(&sha2_256(block))
    }
}

/// The codec of a CID of atproto's form, if `cid` begins as one.
fn codec_of(cid: &[u8]) -> Option<u64> {
    match *cid {
        [0x01, codec @ (0x55 | 0x71), 0x12, 0x20, ..] => Some(codec.into()),
        _ => None,
    }
}
