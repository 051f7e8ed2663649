//! Formats values that may be long for people to read: only their length, or how they begin.

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

/// Text, in quotation marks.
pub(crate) struct Quoted<'t>(pub(crate) &'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Longer than anything that is shown, except for a few paths.
        const SHOWN: usize = 300;
        let shown = self.0.floor_char_boundary(SHOWN);
        let (start, rest) = self.0.split_at(shown);
        match rest.len() {
            0 => write!(f, "{start:?}"),
            more => write!(f, "{start:?} (and {more} bytes more)"),
        }
    }
}
