//! How many records to read ahead.

/// How many records to read at once, as a store gives many blocks at once for less: few at first,
/// for who wants no more, and one alone where records are large.
#[derive(Debug)]
pub(crate) struct Batch {
    len: usize,
    max_len: usize,
}

/// Where as many bytes as this were read ahead, the next record is read alone.
const LARGE: usize = 256 << 10;

impl Batch {
    pub(crate) fn up_to(max_len: usize) -> Self {
        Self { len: 1, max_len }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Settles on the next number of records, after as many `bytes` were read ahead.
    pub(crate) fn settle(&mut self, bytes: usize) {
        self.len = if bytes < LARGE {
            (self.len * 2).min(self.max_len)
        } else {
            1
        };
    }
}
