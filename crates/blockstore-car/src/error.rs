//! What can be wrong with a CAR.

use std::io;

use blockstore_core::{Cid, StoreError};

/// Why a CAR could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CarError {
    /// The file or stream failed, not the CAR in it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The CAR is wrong.
    #[error("byte {offset} of the CAR: {fault}")]
    Invalid {
        /// Offset into the CAR, in bytes, of the part that is wrong.
        offset: u64,
        /// What is wrong there.
        fault: CarFault,
    },
    /// The header names no root, so no commit.
    #[error("the CAR names no root")]
    NoRoot,
    /// Reading or writing went on after an error, which is not possible.
    #[error("nothing can be read or written after an earlier error")]
    AfterError,
}

/// A bad block is [`StoreError::HashMismatch`]; all else is [`StoreError::Backend`].
impl From<CarError> for StoreError {
    fn from(error: CarError) -> Self {
        match error.cid() {
            Some(cid) => Self::HashMismatch(cid),
            None => Self::backend(error),
        }
    }
}

impl CarError {
    /// Returns the CID of the block that does not hash to it, if that is what is wrong.
    pub fn cid(&self) -> Option<Cid> {
        match self {
            Self::Invalid {
                fault: CarFault::HashMismatch(cid),
                ..
            } => Some(*cid),
            _ => None,
        }
    }

    #[cold]
    pub(crate) fn at(offset: u64, fault: CarFault) -> Self {
        Self::Invalid { offset, fault }
    }
}

/// What is wrong with a CAR.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CarFault {
    /// There are no bytes at all, so no header.
    #[error("no header: the CAR is empty")]
    Empty,
    /// The CAR ends inside a length.
    #[error("the CAR ends inside a length")]
    LengthCutOff,
    /// A length goes on after nine bytes.
    #[error("a length of more than nine bytes")]
    LengthTooLong,
    /// A length is not in its shortest form.
    #[error("a length that is not in its shortest form")]
    LengthNotMinimal,
    /// The CAR ends inside the header or inside a section.
    #[error("the CAR ends inside a header or section of {len} bytes; bytes missing: {missing}")]
    CutOff {
        /// How long the header or section claims to be, in bytes.
        len: u64,
        /// How many of those bytes are missing.
        missing: u64,
    },
    /// The header or a section is longer than the caller's limit.
    #[error("a header or section of {len} bytes, more than the limit of {limit}")]
    TooLong {
        /// How long it claims to be, in bytes.
        len: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The CAR is longer than 1 TiB.
    #[error("a CAR of more than 1 TiB")]
    CarTooLong,
    /// A length of zero: an empty header, an empty section, or padding.
    #[error("a length of zero")]
    LengthZero,
    /// The header is for another version of the format.
    #[error("CAR version {found}; only version 1 is supported")]
    Version {
        /// The version.
        found: u64,
    },
    /// The header is not a map of `roots` and `version` in canonical DAG-CBOR.
    #[error("the header is not that of a CAR: expected {wanted}")]
    Header {
        /// What should stand there.
        wanted: &'static str,
    },
    /// A section ends inside the CID that it begins with.
    #[error("a section of {len} bytes ends inside its CID")]
    SectionTooShort {
        /// The length of the section in bytes.
        len: u64,
    },
    /// A section overlaps one that begins later and is valid. Only reported when a damaged CAR is
    /// salvaged ([`from_damaged_bytes`](crate::CarBlockStore::from_damaged_bytes)).
    #[error("a section that reaches beyond byte {next}, where another begins")]
    Overlap {
        /// Where the other begins, in bytes.
        next: u64,
    },
    /// A section has another length than its block, and with that length no CID that can be checked.
    /// Only reported when a damaged CAR is salvaged
    /// ([`from_damaged_bytes`](crate::CarBlockStore::from_damaged_bytes)).
    #[error("a wrong length: the section ends at byte {end}")]
    WrongLength {
        /// Where the section ends, in bytes.
        end: u64,
    },
    /// So much of a damaged CAR was hashed in search of sections that from here on the lengths are
    /// trusted; after one that is wrong, nothing more is found
    /// ([`CarBlockStore::from_damaged_bytes`](crate::CarBlockStore::from_damaged_bytes)).
    #[error("the search for sections, which took too long, is given up here")]
    SearchGivenUp,
    /// A section does not begin with a CID; or its digest is longer than 64 bytes, or its codec or
    /// hash function is 2^63 or more.
    #[error("a section that does not begin with a valid CID")]
    InvalidCid,
    /// A block does not hash to its CID.
    #[error("block {0} does not hash to its CID")]
    HashMismatch(Cid),
}
