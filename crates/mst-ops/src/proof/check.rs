//! Checks claims against a tree, all of them in one pass over it.

use std::ops::Bound;
use std::slice;

use blockstore_core::{BlockStore, Cid};

use super::{Claim, ProofError};
use crate::bounds::{ends_by, is_after_start, is_before_end, is_empty_range};
use crate::{EntryRef, Error, NodeStore, NodeWalker};

/// Checks that all claims are true of the tree of `root`. If not, the error is about the first
/// claim that is not proven.
///
/// The walker only goes forward, and each entry is checked against all ranges that it is in. So no
/// node is decoded again for each claim that rests on it: a small block may expand to long keys,
/// and there may be many claims.
pub(super) fn check<S: BlockStore>(
    nodes: &NodeStore<S>,
    root: &Cid,
    claims: &[Claim],
) -> Result<(), ProofError> {
    if claims.is_empty() {
        return Ok(());
    }
    let walker = NodeWalker::new(nodes, root);
    let mut sweep = Sweep {
        walker: walker.map_err(|error| failure(0, error))?,
        ranges: Ranges::default(),
    };
    let mut claims: Vec<_> = claims.iter().enumerate().collect();
    claims.retain(|(index, claim)| !sweep.ranges.settle_empty(*index, claim));
    claims.sort_by(|(_, one), (_, other)| one.start().cmp(other.start()));
    let mut claims = claims.into_iter().peekable();
    loop {
        if sweep.ranges.open.is_empty() {
            let Some((index, claim)) = claims.next() else {
                break;
            };
            sweep.begin(index, claim);
        } else if let Some(entry) = sweep.step() {
            while let Some((index, claim)) =
                claims.next_if(|(_, claim)| claim.start() <= entry.key())
            {
                sweep.begin_by(&entry, index, claim);
            }
            let (key, value) = (entry.key(), entry.value());
            sweep.ranges.settle(|range| range.meet(key, &value));
        }
    }
    sweep.ranges.first.map_or(Ok(()), |(_, error)| Err(error))
}

fn failure(claim: usize, error: Error) -> ProofError {
    match error {
        Error::MissingBlock(cid) => ProofError::Incomplete {
            claim,
            missing: Box::new(cid),
        },
        source => ProofError::Tree { claim, source },
    }
}

struct Sweep<'c, 's, S> {
    walker: NodeWalker<'s, S>,
    ranges: Ranges<'c>,
}

impl<'c, S: BlockStore> Sweep<'c, '_, S> {
    /// Goes to where a claim starts, which is not before where the walker stands. This settles a
    /// claim about a key, and opens a range.
    fn begin(&mut self, index: usize, claim: &'c Claim) {
        if matches!(self.ranges.first, Some((first, _)) if first < index) {
            return;
        }
        let gone = match claim {
            Claim::Key { key, value } => {
                let found = self.walker.find(key);
                found.map(|found| self.ranges.expect(index, found == *value))
            }
            Claim::Range { .. } => {
                let gone = self.walker.seek(claim.start());
                gone.map(|()| self.ranges.open(index, claim))
            }
        };
        if let Err(error) = gone {
            self.ranges.fail(index, failure(index, error));
        }
    }

    /// The same if the walker has just passed `entry`, the first that is not before the start of
    /// the claim.
    fn begin_by(&mut self, entry: &EntryRef, index: usize, claim: &'c Claim) {
        match claim {
            Claim::Key { key, value } => {
                let found = (entry.key() == key).then(|| entry.value());
                self.ranges.expect(index, found == *value);
            }
            Claim::Range { .. } => self.ranges.open(index, claim),
        }
    }

    /// Passes the next entry, if it can be in an open range. If not, if there is none, or if it
    /// cannot be read, no range is open any more.
    fn step(&mut self) -> Option<EntryRef> {
        if let Some(left) = self.walker.left_key() {
            self.ranges.settle(|range| {
                if ends_by(range.end, left) {
                    range.end()
                } else {
                    Standing::Open
                }
            });
        }
        if self.ranges.open.is_empty() {
            return None;
        }
        match self.walker.next_entry() {
            Ok(Some(entry)) => return Some(entry),
            Ok(None) => self.ranges.settle(|range| range.end()),
            Err(error) => {
                // All of them depend on what could not be read.
                let indices = self.ranges.open.drain(..).map(|range| range.index);
                if let Some(index) = indices.min() {
                    self.ranges.fail(index, failure(index, error));
                }
            }
        }
        None
    }
}

/// The ranges that the walker is in.
#[derive(Default)]
struct Ranges<'c> {
    open: Vec<Range<'c>>,
    /// The first claim so far that is not proven, and why it is not.
    first: Option<(usize, ProofError)>,
}

struct Range<'c> {
    /// Which claim it is.
    index: usize,
    start: &'c Bound<Vec<u8>>,
    end: &'c Bound<Vec<u8>>,
    /// The claimed entries that have not been reached yet.
    claimed: slice::Iter<'c, (Vec<u8>, Cid)>,
}

/// What is known of a claim.
#[derive(PartialEq, Eq)]
enum Standing {
    Open,
    Proven,
    Refuted,
}

impl<'c> Ranges<'c> {
    /// Settles a claim about a range that cannot contain any key, for which nothing has to be read.
    /// Returns whether it is one.
    fn settle_empty(&mut self, index: usize, claim: &Claim) -> bool {
        let Claim::Range {
            start,
            end,
            entries,
        } = claim
        else {
            return false;
        };
        let is_empty = is_empty_range(start, end);
        self.expect(index, !is_empty || entries.is_empty());
        is_empty
    }

    /// Starts checking a range against the next entries.
    fn open(&mut self, index: usize, claim: &'c Claim) {
        if let Claim::Range {
            start,
            end,
            entries,
        } = claim
        {
            self.open.push(Range {
                index,
                start,
                end,
                claimed: entries.iter(),
            });
        }
    }

    /// Keeps the ranges that are still open.
    fn settle(&mut self, mut standing: impl FnMut(&mut Range<'c>) -> Standing) {
        let mut refuted = None;
        self.open.retain_mut(|range| {
            let standing = standing(range);
            if standing == Standing::Refuted {
                refuted = Some(refuted.map_or(range.index, |index| range.index.min(index)));
            }
            standing == Standing::Open
        });
        if let Some(index) = refuted {
            self.expect(index, false);
        }
    }

    fn expect(&mut self, claim: usize, is_true: bool) {
        if !is_true {
            self.fail(claim, ProofError::Refuted { claim });
        }
    }

    fn fail(&mut self, claim: usize, error: ProofError) {
        if self.first.as_ref().is_none_or(|(first, _)| claim < *first) {
            self.first = Some((claim, error));
        }
    }
}

impl Range<'_> {
    /// Checks the range against the next entry.
    fn meet(&mut self, key: &[u8], value: &Cid) -> Standing {
        if !is_before_end(self.end, key) {
            return self.end();
        }
        if !is_after_start(self.start, key) {
            return Standing::Open;
        }
        match self.claimed.next() {
            Some((claimed, its_value)) if claimed == key && its_value == value => Standing::Open,
            _ => Standing::Refuted,
        }
    }

    /// What is known if no more entries come.
    fn end(&self) -> Standing {
        if self.claimed.len() == 0 {
            Standing::Proven
        } else {
            Standing::Refuted
        }
    }
}

impl Claim {
    /// A key such that the answer is at it or after it.
    fn start(&self) -> &[u8] {
        match self {
            Self::Key { key, .. } => key,
            Self::Range { start, .. } => match start {
                Bound::Included(start) | Bound::Excluded(start) => start,
                Bound::Unbounded => &[],
            },
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is the report"
)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;

    use blockstore_core::{BlockStoreMut, Bytes, MemoryBlockStore, StoreError, dag_cbor_cid};
    use mst_testkit::{Rng, build_tree};

    use super::*;
    use crate::NodeStoreOptions;

    struct Counted {
        blocks: MemoryBlockStore,
        reads: Cell<usize>,
    }

    impl BlockStore for Counted {
        fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
            self.reads.set(self.reads.get() + 1);
            self.blocks.get(cid)
        }
    }

    #[test]
    fn no_node_is_read_again_however_many_claims_rest_on_it() {
        let value = dag_cbor_cid(b"\xa0");
        let map: BTreeMap<String, Cid> = (0..600).map(|n| (format!("c/{n:03}"), value)).collect();
        let tree = build_tree(&map);
        let blocks = MemoryBlockStore::new();
        blocks.put_many(&tree.nodes).unwrap();
        let keys: Vec<Vec<u8>> = map.keys().map(|key| key.clone().into_bytes()).collect();

        let mut claims = Vec::new();
        let mut rng = Rng::new(5);
        for (at, key) in keys.iter().enumerate() {
            let after = [key, b"~".as_slice()].concat();
            for (key, value) in [(key.clone(), Some(value)), (after.clone(), None)] {
                claims.push(Claim::Key { key, value });
            }
            for len in [0, 1, 2, 30] {
                let within = keys.iter().skip(at).take(len);
                let last = keys.get(at + len);
                let range = |start, entries: Vec<&Vec<u8>>| Claim::Range {
                    start,
                    end: last.map_or(Bound::Unbounded, |key| Bound::Excluded(key.clone())),
                    entries: entries
                        .into_iter()
                        .map(|key| (key.clone(), value))
                        .collect(),
                };
                if last.is_some() {
                    claims.push(range(
                        Bound::Included(key.clone()),
                        within.clone().collect(),
                    ));
                    let start = Bound::Excluded(key.clone());
                    claims.push(range(start, within.clone().skip(1).collect()));
                    let start = Bound::Included(after.clone());
                    claims.push(range(start, within.skip(1).collect()));
                }
            }
        }
        for at in (1..claims.len()).rev() {
            claims.swap(at, rng.below(at + 1));
        }

        let reads = Cell::new(0);
        let options = NodeStoreOptions::uncached();
        let nodes = NodeStore::with_options(Counted { blocks, reads }, options);
        check(&nodes, &tree.root, &claims).unwrap();
        assert_eq!(nodes.blocks().reads.get(), tree.nodes.len());

        // One that is not true is found among them.
        let Some(Claim::Key { value, .. }) = claims
            .iter_mut()
            .find(|claim| matches!(claim, Claim::Key { .. }))
        else {
            panic!("some claims are about keys");
        };
        *value = value.is_none().then_some(tree.root);
        let error = check(&nodes, &tree.root, &claims).unwrap_err();
        assert!(matches!(error, ProofError::Refuted { .. }), "{error}");
    }
}
