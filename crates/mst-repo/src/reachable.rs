//! Finds out which blocks of a store are in use.

use std::collections::HashSet;
use std::fmt;

use blockstore_core::{BlockStore, Cid};
use mst_node::DIGEST_LEN;
use mst_ops::{NodeStore, NodeStoreOptions, NodeWalker, TreeFault};

use crate::repository::read_block;
use crate::{Commit, Error};

/// Returns the blocks that `roots` need: the roots themselves, the nodes of their trees, and the
/// records. Each root is a commit or the top node of a tree.
///
/// All other blocks are garbage, which can be removed from a store: old nodes, which every change
/// leaves behind, and deleted records, which their author wants gone. If anything cannot be read,
/// that is an error and there is no answer, so that nothing is taken for garbage by mistake.
/// Records are not read; links in them, to blobs and other repositories, are not followed. So one
/// damaged repository prevents sweeps, until what it lacks is put again, for example by
/// [`Repository::copy_to`](crate::Repository::copy_to) from a sound copy, or what is left of it is
/// salvaged into another store.
///
/// Nobody may add to the store between this call and the sweep: a new block would be taken for
/// garbage. You can also pass older roots, of revisions for which somebody may still ask what has
/// changed since. If you pass one root at a time, you can tell which of many repositories is
/// damaged.
///
/// # Errors
///
/// [`Error::MissingBlock`] if a root or a node is missing, [`Error::InvalidCommit`] if a root is
/// neither a commit nor a node, and the errors of the tree and the store.
///
/// # Examples
///
/// ```
/// use blockstore_core::{BlockStore, BlockStoreMut, MemoryBlockStore, dag_cbor_cid};
/// use mst_repo::reachable;
///
/// let sample = mst_testkit::SampleRepository::generate(7, 10);
/// let blocks = MemoryBlockStore::new();
/// blocks.put_many(&sample.blocks())?;
/// let garbage = dag_cbor_cid(b"\xa0");
/// blocks.put(&garbage, b"\xa0".as_slice().into())?;
///
/// let used = reachable(&blocks, &[sample.commit.0])?;
/// assert_eq!(blocks.retain(|cid| used.contains(cid)), 1);
/// assert!(!blocks.has(&garbage)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn reachable<S: BlockStore + ?Sized>(blocks: &S, roots: &[Cid]) -> Result<Reachable, Error> {
    let nodes = NodeStore::with_options(blocks, NodeStoreOptions::uncached());
    let mut found = Reachable::default();
    let mut seen = HashSet::new();
    for root in roots {
        if !seen.insert(root) {
            continue;
        }
        let block = read_block(blocks, root)?;
        let tree = match Commit::decode_version_2_or_3(&block) {
            Ok(commit) => {
                found.insert_value(root);
                commit.data
            }
            Err(fault) => match nodes.node(root) {
                Ok(_) => *root,
                // It is neither; the error as a commit says more.
                Err(mst_ops::Error::InvalidNode { .. } | mst_ops::Error::InvalidTree { .. }) => {
                    return Err(Error::InvalidCommit {
                        cid: *root,
                        source: Box::new(fault),
                    });
                }
                Err(error) => return Err(error.into()),
            },
        };
        found.insert_tree(&nodes, &tree)?;
    }
    Ok(found)
}

/// The blocks that are in use, from [`reachable`].
///
/// It keeps the digests of their CIDs, about 40 to 80 bytes of memory per block, and up to 110
/// while it grows.
#[derive(Clone, Default)]
pub struct Reachable {
    /// The nodes. Their subtrees are known too, so a value must not be added here, even though
    /// anybody can use the CID of a node as a value.
    nodes: HashSet<[u8; DIGEST_LEN]>,
    /// Commits and values. If two CIDs have the same digest, each names the same bytes.
    values: HashSet<[u8; DIGEST_LEN]>,
    /// Values whose digest has another length.
    others: HashSet<Cid>,
}

impl Reachable {
    /// Returns whether the block named `cid` is in use.
    pub fn contains(&self, cid: &Cid) -> bool {
        match digest_of(cid) {
            Some(digest) => self.nodes.contains(digest) || self.values.contains(digest),
            None => self.others.contains(cid),
        }
    }

    /// Returns how many blocks are in use. It goes through all of them to count.
    pub fn len(&self) -> usize {
        self.nodes.union(&self.values).count() + self.others.len()
    }

    /// Returns whether no block is in use: there were no roots.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.values.is_empty() && self.others.is_empty()
    }

    fn insert_value(&mut self, cid: &Cid) {
        match digest_of(cid) {
            Some(digest) => self.values.insert(*digest),
            None => self.others.insert(*cid),
        };
    }

    fn insert_tree<S: BlockStore>(
        &mut self,
        nodes: &NodeStore<S>,
        root: &Cid,
    ) -> Result<(), Error> {
        if digest_of(root).is_some_and(|digest| self.nodes.contains(digest)) {
            // A tree before has it, and everything below.
            return Ok(());
        }
        // A repeated node with keys is found by the order of keys; one without is not.
        let mut keyless = HashSet::new();
        let mut nodes = NodeWalker::new(nodes, root)?.nodes();
        while let Some(node) = nodes.next() {
            let node = node?;
            let cid = node.cid();
            if node.is_empty() && !keyless.insert(cid) {
                let fault = TreeFault::Repeated;
                return Err(mst_ops::Error::InvalidTree { cid, fault }.into());
            }
            if !digest_of(&cid).is_some_and(|digest| self.nodes.insert(*digest)) {
                // A tree before has it too, and everything below.
                nodes.skip_subtrees();
                continue;
            }
            for entry in node.entries() {
                self.insert_value(&entry.value());
            }
        }
        Ok(())
    }
}

fn digest_of(cid: &Cid) -> Option<&[u8; DIGEST_LEN]> {
    cid.hash().digest().try_into().ok()
}

impl fmt::Debug for Reachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reachable")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
