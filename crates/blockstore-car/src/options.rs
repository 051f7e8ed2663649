//! How a CAR is checked.

/// When blocks are checked against their CIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verify {
    /// When the CAR is opened or read through: one bad block and the CAR is refused.
    OnOpen,
    /// Each time that a block is read from a store, which returns an error for a bad block and
    /// reads all others as usual. A [`CarReader`](crate::CarReader) reads each block once, and ends
    /// at a bad one with this and with `OnOpen`.
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
/// let options = CarOptions {
///     verify: Some(Verify::OnRead),
///     section_len: 2 << 20,
///     ..CarOptions::default()
/// };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CarOptions {
    /// When blocks are checked. The default, `None`, is not [`Verify::Never`]: each block is
    /// checked once on its way to the caller. In memory that is on opening, as the bytes cannot
    /// change; in a file it is on each read, as the file can.
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
