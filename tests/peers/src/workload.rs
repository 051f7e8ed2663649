//! What is measured: the one list of workloads.

use crate::sample::GETS;

/// What an engine is asked to do. Each engine matches on it and answers `None` to what its
/// crate has no API for. The clock stops at the last visit: what is in memory by then is freed
/// untimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// Visits every record of the CAR in key order: key, block bytes, and the CID where the API
    /// gives it.
    ///
    /// Timed: from opening the file to the last record, with every block's hash verified.
    Read,
    /// Visits every key and value CID of the tree in key order.
    ///
    /// Not timed: reading the CAR into the engine's fastest store in memory, all blocks verified,
    /// and opening the tree there by its root CID. Timed: the visit, with no node decoded
    /// beforehand except where opening a tree decodes its root.
    Walk,
    /// Gets the value CID of existing keys, in an order that has nothing to do with theirs.
    ///
    /// Not timed: the same as for [`Job::Walk`], and then loading the tree as suits the engine
    /// best. Timed: the gets.
    Get,
}

/// One row of the report.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) job: Job,
    /// The file of the data folder that the job is given.
    pub(crate) car: &'static str,
    /// The field of `expect.json` with the checksum that must come out.
    pub(crate) checksum: &'static str,
    /// How many operations one run makes: it is reported per operation, in microseconds. Without,
    /// one run is an operation on all records, reported in milliseconds.
    pub(crate) operations: Option<usize>,
    /// Whether its peak memory is reported.
    pub(crate) memory: bool,
}

/// All workloads, in the order of the report. A new one is a line here, a [`Job`] if it is a new
/// kind of work, and an arm in the engines that can do it.
pub(crate) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "read-preorder",
        job: Job::Read,
        car: "preorder.car",
        checksum: "checksum_records",
        operations: None,
        memory: true,
    },
    Workload {
        name: "read-random",
        job: Job::Read,
        car: "random.car",
        checksum: "checksum_records",
        operations: None,
        memory: true,
    },
    Workload {
        name: "walk",
        job: Job::Walk,
        car: "preorder.car",
        checksum: "checksum_values",
        operations: None,
        memory: false,
    },
    Workload {
        name: "get",
        job: Job::Get,
        car: "preorder.car",
        checksum: "checksum_gets",
        operations: Some(GETS),
        memory: false,
    },
];
