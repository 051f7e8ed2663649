//! What the bounds of a range of keys say about a key.

use std::ops::Bound;

/// Whether the bounds exclude every key, which can be told without reading anything.
pub(crate) fn is_empty_range(start: &Bound<Vec<u8>>, end: &Bound<Vec<u8>>) -> bool {
    match (start, end) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (
            Bound::Included(start) | Bound::Excluded(start),
            Bound::Included(end) | Bound::Excluded(end),
        ) => start >= end,
    }
}

/// Whether `key` is within the start of a range.
pub(crate) fn is_after_start(start: &Bound<Vec<u8>>, key: &[u8]) -> bool {
    match start {
        Bound::Included(start) => key >= start.as_slice(),
        Bound::Excluded(start) => key > start.as_slice(),
        Bound::Unbounded => true,
    }
}

/// Whether `key` is within the end of a range.
pub(crate) fn is_before_end(end: &Bound<Vec<u8>>, key: &[u8]) -> bool {
    match end {
        Bound::Included(end) => key <= end.as_slice(),
        Bound::Excluded(end) => key < end.as_slice(),
        Bound::Unbounded => true,
    }
}

/// Whether no key greater than `key` can be before the end of a range.
pub(crate) fn ends_by(end: &Bound<Vec<u8>>, key: &[u8]) -> bool {
    match end {
        Bound::Included(end) | Bound::Excluded(end) => key >= end.as_slice(),
        Bound::Unbounded => false,
    }
}

/// Whether no key less than `key` can be after the start of a range.
pub(crate) fn starts_by(start: &Bound<Vec<u8>>, key: &[u8]) -> bool {
    match start {
        Bound::Included(start) | Bound::Excluded(start) => key <= start.as_slice(),
        Bound::Unbounded => false,
    }
}

/// The end of the range of keys that begin with `prefix`: before the least key that is greater than
/// all of them, if there is one.
pub(crate) fn prefix_end(prefix: &[u8]) -> Bound<Vec<u8>> {
    let Some(last) = prefix.iter().rposition(|byte| *byte != u8::MAX) else {
        return Bound::Unbounded;
    };
    let mut end = prefix.to_vec();
    end.truncate(last + 1);
    if let Some(byte) = end.last_mut() {
        *byte += 1;
    }
    Bound::Excluded(end)
}
