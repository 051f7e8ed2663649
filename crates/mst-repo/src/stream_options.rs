//! How a repository is read as it comes in.

use blockstore_car::CarOptions;
use mst_ops::NodeStoreOptions;

/// How a [`RepositoryDecoder`](crate::RepositoryDecoder) or a
/// [`RepositoryStream`](crate::RepositoryStream) reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamOptions {
    /// How the CAR is read.
    pub car: CarOptions,
    /// How nodes are checked. There is no use for a cache, as no node comes twice. No key may be longer
    /// than a path, whatever the limits say.
    pub nodes: NodeStoreOptions,
    /// How many bytes of memory may be taken by blocks that came before they were wanted, and by
    /// records that may be wanted again; 64 MiB by default. A block counts with 256 bytes more than it
    /// has, so that in no order at all a CAR may be some 23 MB long with the smallest of records, and 40
    /// MB with records of 300 bytes. As long as it is in the streamable order, a sixteenth is used, up to
    /// 1 MiB, and what the last large record takes.
    ///
    /// To this comes what a [`CarDecoder`](blockstore_car::CarDecoder) keeps, 64 KiB also while nothing
    /// comes, and a copy of the block that comes next: where a stranger has the longest of sections come, some four times
    /// [`CarOptions::section_len`]. And the nodes on the way down, one of each height, whose keys may
    /// be longer in memory than in the CAR, up to [`Limits::key_bytes`](mst_ops::Limits::key_bytes).
    pub memory_bytes: usize,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            car: CarOptions::default(),
            nodes: NodeStoreOptions::uncached(),
            memory_bytes: 64 << 20,
        }
    }
}
