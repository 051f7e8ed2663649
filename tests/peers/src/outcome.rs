//! What one run of a workload came to.

use std::time::Duration;

use crate::checksum::Checksum;

/// What an engine visited: one call of [`add`](Self::add) for each record, entry or answer.
#[derive(Debug)]
pub(crate) struct Tally {
    count: u64,
    checksum: Checksum,
}

impl Tally {
    pub(crate) const fn new() -> Self {
        Self {
            count: 0,
            checksum: Checksum::new(),
        }
    }

    /// Counts one key with its record's bytes, or with the digest of its value's CID.
    #[inline]
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.count += 1;
        self.checksum.add(key, value);
    }

    /// Returns the outcome of a run that took `elapsed` on the tree of `root`.
    pub(crate) fn outcome(self, elapsed: Duration, root: &impl ToString) -> Outcome {
        Outcome {
            elapsed,
            count: self.count,
            root: Some(root.to_string()),
            checksum: Some(self.checksum.value()),
            unverified: false,
        }
    }
}

/// One measurement, and what tells whether it measured the right thing.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) elapsed: Duration,
    pub(crate) count: u64,
    /// The root of the tree; the floor, which knows no tree, has none.
    pub(crate) root: Option<String>,
    /// The [`Checksum`] of what was visited; none from the floor.
    pub(crate) checksum: Option<u64>,
    /// Whether the job asks for verified hashes and the engine's crate verifies none.
    pub(crate) unverified: bool,
}
