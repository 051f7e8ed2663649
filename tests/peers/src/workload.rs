//! What is measured: the one list of workloads.

use crate::sample::{COMMITS, EVENTS, GETS};

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
    /// The same from a tree of which nothing was read: each node is decoded by the first get that
    /// takes it, as for a request that opens a repository.
    ///
    /// Not timed: the same as for [`Job::Walk`]. Timed: the gets.
    GetCold,
    /// Inserts all keys and values into an empty tree, in an order that has nothing to do with
    /// theirs, and asks for its root CID.
    ///
    /// Not timed: reading the pairs into a vector, keys as strings and values as the CIDs of the
    /// engine's crate. Timed: the inserts, and the root.
    Insert,
    /// Makes commits of one change each, most of them new keys, as on a server: after each, the
    /// root CID and the new node blocks with their CIDs are at hand, and kept in memory.
    ///
    /// Not timed: reading the CAR, verified; opening the tree and loading it as suits the engine
    /// best; reading the changes into a vector. Timed: the changes and what follows each. The
    /// commit block and its signature are left out, so are the blocks that are needed no more.
    Commit,
    /// Makes the tree, all its node blocks with their CIDs, from keys and values in key order.
    ///
    /// Not timed: the same as for [`Job::Insert`]. Timed: from the first pair to the last block.
    Bulk,
    /// Writes the CAR of a repository to a vector: all blocks that a walk from the commit finds.
    ///
    /// Not timed: filling the engine's fastest store in memory with all blocks, verified, in the
    /// order of the file. Timed: from opening the repository there by its commit to the last byte,
    /// with no node decoded beforehand.
    Export,
    /// Finds the records that differ between two trees: each key with its value in the one and in
    /// the other.
    ///
    /// Not timed: filling the engine's fastest store in memory with the nodes of both trees,
    /// verified, and loading them as suits the engine best; `ours` and `ours-trusted` load none.
    /// Timed: from the two trees to the last change.
    Diff,
    /// Collects the nodes that cover the operations of commits, for the slice that goes to the
    /// firehose: those on the way to each key, and those that lead to the neighbours of a key that
    /// is new, as they have to become one again. New nodes may be left out; others may come along.
    ///
    /// Not timed: the same as for [`Job::Commit`], and making each commit, so that its new nodes
    /// are in the tree and in the store. Timed: for each commit, from its keys to the nodes' blocks
    /// with their CIDs.
    Prove,
    /// Takes commits back: from the nodes of their slices and their operations to the root of the
    /// tree before, with every block hashed and the operations held to what the tree has.
    ///
    /// Not timed: splitting the slices; nodes and operations are in vectors, in the types of the
    /// engine's crate. Timed: for each commit, from these to the root, into a store of its own.
    Invert,
    /// Checks the messages of the firehose about commits, without their signatures: from the
    /// message, decoded into the type of the engine's crate, with its CAR as it came.
    ///
    /// Timed: for each message the CAR and its hashes, the commit and its fields, the operations
    /// against the tree, and that taken back they lead to the tree before.
    Verify,
    /// The same with signatures, of secp256k1.
    ///
    /// Not timed: the key is read beforehand, as suits the engine best.
    VerifySigned,
}

/// One row of the report.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) job: Job,
    /// The file of the data folder that the job is given.
    pub(crate) car: &'static str,
    /// The fields of `expect.json` with what must come out.
    pub(crate) expect: Fields,
    /// How many operations one run makes: it is reported per operation, in microseconds. Without,
    /// one run is an operation on all records, reported in milliseconds.
    pub(crate) operations: Option<usize>,
    /// Whether its peak memory is reported.
    pub(crate) memory: bool,
    /// Whether its operations in a second are reported.
    pub(crate) rate: bool,
}

/// Names of fields of `expect.json`.
#[derive(Debug)]
pub(crate) struct Fields {
    /// The count, unless the workload has a number of operations: then it is that.
    pub(crate) count: &'static str,
    /// The root of the tree.
    pub(crate) root: &'static str,
    pub(crate) checksum: &'static str,
}

impl Fields {
    /// What most workloads are about: the tree of the repository and the number of its records.
    const fn of_tree(checksum: &'static str) -> Self {
        Self {
            count: "count",
            root: "root",
            checksum,
        }
    }
}

/// All workloads, in the order of the report. A new one is a line here, a [`Job`] if it is a new
/// kind of work, and an arm in the engines that can do it.
pub(crate) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "read-preorder",
        job: Job::Read,
        car: "preorder.car",
        expect: Fields::of_tree("checksum_records"),
        operations: None,
        memory: true,
        rate: false,
    },
    Workload {
        name: "read-random",
        job: Job::Read,
        car: "random.car",
        expect: Fields::of_tree("checksum_records"),
        operations: None,
        memory: true,
        rate: false,
    },
    Workload {
        name: "walk",
        job: Job::Walk,
        car: "preorder.car",
        expect: Fields::of_tree("checksum_values"),
        operations: None,
        memory: false,
        rate: false,
    },
    Workload {
        name: "get",
        job: Job::Get,
        car: "preorder.car",
        expect: Fields::of_tree("checksum_gets"),
        operations: Some(GETS),
        memory: false,
        rate: false,
    },
    Workload {
        name: "get-cold",
        job: Job::GetCold,
        car: "preorder.car",
        expect: Fields::of_tree("checksum_gets"),
        operations: Some(GETS),
        memory: false,
        rate: false,
    },
    Workload {
        name: "insert",
        job: Job::Insert,
        car: "preorder.car",
        expect: Fields::of_tree("checksum_values"),
        operations: None,
        memory: true,
        rate: false,
    },
    Workload {
        name: "commit",
        job: Job::Commit,
        car: "preorder.car",
        expect: Fields {
            count: "count",
            root: "root_commits",
            checksum: "checksum_commits",
        },
        operations: Some(COMMITS),
        memory: false,
        rate: false,
    },
    Workload {
        name: "bulk",
        job: Job::Bulk,
        car: "preorder.car",
        expect: Fields::of_tree("checksum_values"),
        operations: None,
        memory: false,
        rate: false,
    },
    Workload {
        name: "export",
        job: Job::Export,
        car: "random.car",
        expect: Fields {
            count: "blocks",
            root: "root",
            checksum: "checksum_records",
        },
        operations: None,
        memory: false,
        rate: false,
    },
    Workload {
        name: "diff",
        job: Job::Diff,
        car: "preorder.car",
        expect: Fields {
            count: "changes",
            root: "root_changed",
            checksum: "checksum_changes",
        },
        operations: None,
        memory: false,
        rate: false,
    },
    Workload {
        name: "prove",
        job: Job::Prove,
        car: "preorder.car",
        expect: AFTER_EVENTS,
        operations: Some(EVENTS),
        memory: false,
        rate: false,
    },
    Workload {
        name: "invert",
        job: Job::Invert,
        car: "preorder.car",
        expect: Fields {
            count: "count",
            root: "root_before_events",
            checksum: "checksum_before_events",
        },
        operations: Some(EVENTS),
        memory: false,
        rate: false,
    },
    Workload {
        name: "verify",
        job: Job::Verify,
        car: "preorder.car",
        expect: AFTER_EVENTS,
        operations: Some(EVENTS),
        memory: false,
        rate: true,
    },
    Workload {
        name: "verify-signed",
        job: Job::VerifySigned,
        car: "preorder.car",
        expect: AFTER_EVENTS,
        operations: Some(EVENTS),
        memory: false,
        rate: true,
    },
];

/// What comes of all messages.
const AFTER_EVENTS: Fields = Fields {
    count: "count",
    root: "root_events",
    checksum: "checksum_events",
};
