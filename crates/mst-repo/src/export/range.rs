//! The part of a tree that covers a range of keys.

use std::ops::{Bound, RangeBounds};

/// A range of keys, which may be all of them or none.
pub(super) struct KeyRange {
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
}

impl KeyRange {
    pub(super) const ALL: Self = Self {
        start: Bound::Unbounded,
        end: Bound::Unbounded,
    };

    pub(super) fn of<K: AsRef<[u8]> + ?Sized>(bounds: &impl RangeBounds<K>) -> Self {
        let owned = |bound: Bound<&K>| bound.map(|key| key.as_ref().to_vec());
        Self {
            start: owned(bounds.start_bound()),
            end: owned(bounds.end_bound()),
        }
    }

    pub(super) fn is_all(&self) -> bool {
        matches!(
            (&self.start, &self.end),
            (Bound::Unbounded, Bound::Unbounded)
        )
    }

    pub(super) fn holds(&self, key: &[u8]) -> bool {
        let start = self.start.as_ref().map(Vec::as_slice);
        let end = self.end.as_ref().map(Vec::as_slice);
        RangeBounds::<[u8]>::contains(&(start, end), key)
    }

    /// Whether there may be keys in the range that are greater than `left` and less than `right`.
    pub(super) fn reaches_between(&self, left: Option<&[u8]>, right: Option<&[u8]>) -> bool {
        let starts_before_right = match (&self.start, right) {
            (Bound::Included(start) | Bound::Excluded(start), Some(right)) => **start < *right,
            (Bound::Unbounded, _) | (_, None) => true,
        };
        let ends_after_left = match (&self.end, left) {
            (Bound::Included(end) | Bound::Excluded(end), Some(left)) => *left < **end,
            (Bound::Unbounded, _) | (_, None) => true,
        };
        starts_before_right && ends_after_left
    }
}
