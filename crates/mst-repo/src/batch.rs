//! Records read ahead.

use blockstore_core::{BlockStore, Bytes, Cid};

/// How many records to read ahead, as a store gives many blocks at once for less: few at first,
/// for who wants no more, and one alone where records are large.
#[derive(Debug)]
pub(crate) struct Batch {
    len: usize,
}

/// Where as many bytes as this were read ahead, the next record is read alone.
pub(crate) const LARGE: usize = 256 << 10;

/// The most blocks that are asked for at once, as nobody knows how long they are before they are
/// there.
const AT_ONCE: usize = 16;

impl Default for Batch {
    fn default() -> Self {
        Self { len: 1 }
    }
}

impl Batch {
    /// Returns for how many records it pays to know the CIDs before the first is read.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Reads records, no more than [`len`](Self::len), and settles on the length of the next batch.
    /// One that is not in the result, or is `None`, was not read, and has to be asked for by itself:
    /// there were enough bytes without it, or it could not be read.
    pub(crate) fn read(&mut self, blocks: &impl BlockStore, cids: &[Cid]) -> Vec<Option<Bytes>> {
        let mut read = Vec::with_capacity(cids.len());
        let mut read_len = 0;
        let mut rest = cids;
        while !rest.is_empty() && read_len < LARGE {
            let (next, behind) = rest.split_at(distinct_len(rest));
            let Ok(found) = blocks.get_many(next) else {
                break;
            };
            read_len += found.iter().flatten().map(Bytes::len).sum::<usize>();
            read.extend(found);
            rest = behind;
        }
        self.len = if read_len < LARGE {
            (self.len * 2).min(AT_ONCE)
        } else {
            1
        };
        read
    }
}

/// Returns how many CIDs, from the first on, are asked for at once: each but once, since a store
/// may make a copy for each, and a few bytes of path may lead to megabytes that were there before.
fn distinct_len(cids: &[Cid]) -> usize {
    let start = |cid: &Cid| cid.hash().digest().first_chunk::<8>().copied();
    let again = |(index, cid)| {
        cids.iter()
            .take(index)
            .any(|other| start(other) == start(cid))
    };
    let twin = cids.iter().enumerate().position(again);
    twin.unwrap_or(cids.len())
}
