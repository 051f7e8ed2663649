//! Reads records ahead.

use blockstore_core::{BlockStore, Bytes, Cid};

/// How many records to read ahead, as many blocks at once cost a store less than one by one: few at
/// first, in case no more are wanted, and one at a time if records are large.
#[derive(Debug)]
pub(crate) struct Batch {
    len: usize,
}

/// If this many bytes were read ahead, the next record is read alone.
pub(crate) const LARGE: usize = 256 << 10;

/// The maximum number of blocks that are requested at once, as their length is not known in
/// advance.
const AT_ONCE: usize = 16;

impl Default for Batch {
    fn default() -> Self {
        Self { len: 1 }
    }
}

impl Batch {
    /// Returns how many CIDs to collect before the first record is read.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Reads records, no more than [`len`](Self::len), and decides on the length of the next batch.
    /// One that is not in the result, or is `None`, was not read, and has to be requested by
    /// itself: there were enough bytes without it, or it could not be read.
    pub(crate) fn read(&mut self, blocks: &impl BlockStore, cids: &[Cid]) -> Vec<Option<Bytes>> {
        let mut read = Vec::with_capacity(cids.len());
        let mut read_len = 0;
        let mut rest = cids;
        while !rest.is_empty() && read_len < LARGE {
            let (next, after) = rest.split_at(distinct_len(rest));
            let Ok(found) = blocks.get_many(next) else {
                break;
            };
            read_len += found.iter().flatten().map(Bytes::len).sum::<usize>();
            read.extend(found);
            rest = after;
        }
        self.len = if read_len < LARGE {
            (self.len * 2).min(AT_ONCE)
        } else {
            1
        };
        read
    }
}

/// Returns how many CIDs, from the first on, can be requested at once without a duplicate: a store
/// may make a copy for each, and a few bytes of path may lead to the same megabytes again.
fn distinct_len(cids: &[Cid]) -> usize {
    let start = |cid: &Cid| cid.hash().digest().first_chunk().copied();
    let start = |cid| start(cid).map_or(0, u64::from_ne_bytes);
    let starts: Vec<u64> = cids.iter().map(start).collect();
    let again = |(index, start)| {
        starts
            .get(..index)
            .is_some_and(|before| before.contains(start))
    };
    let twin = starts.iter().enumerate().position(again);
    twin.unwrap_or(cids.len())
}
