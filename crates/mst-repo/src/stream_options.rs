//! How a repository is read as a stream.

use blockstore_car::CarOptions;
use mst_ops::NodeStoreOptions;

/// How a [`RepositoryDecoder`](crate::RepositoryDecoder) or a
/// [`RepositoryStream`](crate::RepositoryStream) reads.
///
/// # Examples
///
/// ```
/// use mst_repo::{RepositoryStream, StreamOptions};
/// # let download = mst_testkit::SampleRepository::generate(7, 10).car();
///
/// let options = StreamOptions {
///     memory_bytes: 16 << 20,
///     ..StreamOptions::default()
/// };
/// let repository = RepositoryStream::open_with(download.as_slice(), options)?;
/// # assert_eq!(repository.summary().records, 0);
/// # Ok::<(), mst_repo::StreamError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    /// How the CAR is read.
    pub car: CarOptions,
    /// How nodes are checked. A cache is of no use, as no node comes twice. No key may be longer
    /// than a path, whatever the limits say.
    pub nodes: NodeStoreOptions,
    /// How many bytes of memory may be taken by blocks that came before they were wanted, and by
    /// records that may be wanted again; 64 MiB by default. Each block counts as 256 bytes more
    /// than its length, so a CAR in no order at all may be some 23 MB long with the smallest
    /// records, and 40 MB with records of 300 bytes. As long as it is in streamable order, a
    /// sixteenth of this is used, up to 1 MiB, and the length of the last large record.
    ///
    /// In addition, a [`CarDecoder`](blockstore_car::CarDecoder) keeps its buffer, 64 KiB even if
    /// nothing comes, and there is a copy of the block that comes next: if an untrusted source
    /// sends sections of the maximum length, some four times [`CarOptions::section_len`]. And the
    /// nodes on the path down, one of each height, whose keys may be longer in memory than in the
    /// CAR, up to [`Limits::key_bytes`](mst_ops::Limits::key_bytes).
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
