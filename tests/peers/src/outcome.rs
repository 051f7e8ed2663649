//! The result of one run of a workload.

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
            streamable: false,
        }
    }
}

/// One measurement, and what shows whether it measured the right thing.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) elapsed: Duration,
    pub(crate) count: u64,
    /// The root of the tree; none from the floor if it knows no tree.
    pub(crate) root: Option<String>,
    /// The [`Checksum`] that the workload asks for; none if the root says as much, and none from
    /// the floor if it visits nothing.
    pub(crate) checksum: Option<u64>,
    /// Whether the job asks for verified hashes and the engine's crate verifies none.
    pub(crate) unverified: bool,
    /// Whether a CAR was written in the order in which it can be read as a stream: the commit,
    /// then the tree in preorder, with the records in between.
    pub(crate) streamable: bool,
}

impl Outcome {
    /// Returns the outcome of `count` operations that left the tree of `root`, or of the floor.
    pub(crate) const fn of(elapsed: Duration, count: usize, root: Option<String>) -> Self {
        Self {
            elapsed,
            count: count as u64,
            root,
            checksum: None,
            unverified: false,
            streamable: false,
        }
    }
}
