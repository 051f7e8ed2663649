//! What a CAR is held to.

/// When blocks are checked against their CIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verify {
    /// As the CAR is opened or read through: one bad block and the CAR is refused.
    OnOpen,
    /// Each time that a block is taken out of a store, which then gives an error for a bad
    /// one and all others as if nothing were wrong. A [`CarReader`](crate::CarReader)
    /// takes a block out as it reads it, and ends at a bad one either way.
    OnRead,
    /// Never: for bytes that the caller vouches for.
    Never,
}

/// How a CAR is read: when its blocks are checked, and how long its parts may be.
///
/// # Examples
///
/// ```
/// use blockstore_car::{CarOptions, Verify};
///
/// let mut options = CarOptions::default();
/// options.verify = Some(Verify::OnRead);
/// options.section_len = 2 << 20;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CarOptions {
    /// When blocks are checked. The default, `None`, is not [`Verify::Never`]: it checks each block
    /// once between the bytes and the caller, bytes in memory when they are opened, for they stay what
    /// they are, and a file when a block is read from it, for it may change.
    pub verify: Option<Verify>,
    /// Longest header, in bytes; 1 MiB by default.
    pub header_len: u32,
    /// Longest section (a CID and its block), in bytes; 32 MiB by default, as in `go-car`.
    pub section_len: u32,
}

impl Default for CarOptions {
    fn default() -> Self {
        Self {
            verify: None,
            header_len: 1 << 20,
            section_len: 32 << 20,
        }
    }
}
