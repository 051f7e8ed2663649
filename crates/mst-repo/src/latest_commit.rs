//! Finds the commit of a damaged repository that names none.

use std::collections::{HashMap, HashSet};

use blockstore_core::{BlockStore, Cid, StoreError};
use mst_node::{Node, node_digest};
use mst_ops::NodeStoreOptions;

use crate::Commit;
use crate::repository::{of_paths, read_if_intact};

/// Looks for the latest commit among the blocks `cids`, and returns it with its CID: for a CAR
/// whose header is damaged, so that nothing names the commit.
///
/// It reads all of the blocks, and passes over those that are damaged or missing. Blocks that can
/// be commits, but are less likely to be the one wanted, are considered only after all others:
/// records, which their author can make look like anything; and commits whose tree is not among the
/// blocks. The signature is not checked.
///
/// # Errors
///
/// [`StoreError::Backend`] if the store fails.
///
/// # Examples
///
/// ```
/// use mst_repo::{CarBlockStore, Repository, latest_commit};
///
/// let sample = mst_testkit::SampleRepository::generate(7, 10);
/// let mut damaged = sample.car();
/// damaged[0] ^= 1;
///
/// let (car, faults) = CarBlockStore::from_damaged_bytes(damaged);
/// assert_eq!((car.roots().len(), faults.len()), (0, 1));
/// let cids = car.cids().collect::<Result<Vec<_>, _>>()?;
/// let (commit, _) = latest_commit(&car, &cids)?.ok_or("no commit is left")?;
/// assert_eq!(Repository::open(&car, &commit)?.verify()?.records, 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn latest_commit<S: BlockStore + ?Sized>(
    blocks: &S,
    cids: &[Cid],
) -> Result<Option<(Cid, Commit)>, StoreError> {
    let mut commits = HashMap::new();
    // A commit under a CID of another form could not be opened.
    for cid in cids.iter().filter(|cid| node_digest(cid).is_some()) {
        let block = read_if_intact(blocks, cid)?;
        if let Some(commit) = block.and_then(|block| Commit::decode(&block).ok()) {
            commits.insert(*cid, commit);
        }
    }
    let mut records = HashSet::new();
    let limits = of_paths(NodeStoreOptions::default()).limits;
    if commits.len() > 1 {
        for cid in cids {
            let block = read_if_intact(blocks, cid)?;
            let node = block.and_then(|block| Node::decode_within(&block, &limits).ok());
            let values = node.iter().flat_map(Node::entries);
            let values = values.map(|entry| entry.value());
            records.extend(values.filter(|value| commits.contains_key(value)));
        }
    }
    let mut latest = None;
    for (cid, commit) in commits {
        let has_tree = read_if_intact(blocks, &commit.data)?.is_some();
        let rank = (!records.contains(&cid), has_tree, commit.rev, cid);
        if latest.as_ref().is_none_or(|(best, _)| *best < rank) {
            latest = Some((rank, commit));
        }
    }
    Ok(latest.map(|((.., cid), commit)| (cid, commit)))
}
