//! What is long, for debugging: how long it is, as nobody reads a megabyte of numbers.

use std::fmt;

/// Bytes.
pub(crate) struct Len<'b>(pub(crate) &'b [u8]);

/// A list.
#[cfg(feature = "car")]
pub(crate) struct Count<'l, T>(pub(crate) &'l [T]);

impl fmt::Debug for Len<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

#[cfg(feature = "car")]
impl<T> fmt::Debug for Count<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} items", self.0.len())
    }
}
