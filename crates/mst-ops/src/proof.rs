//! Claims about the keys of a tree, and the nodes that prove them.

mod check;

use std::fmt;
use std::ops::{Bound, RangeBounds};

use blockstore_core::{BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, StoreError};
use hashbrown::HashSet;
use mst_node::node_digest;

use crate::bounds::{ends_by, is_after_start, is_before_end, is_empty_range, prefix_end};
use crate::node_store::DigestKey;
use crate::{Error, NodeStore, NodeStoreOptions, NodeWalker};

/// Claims about a tree, and the blocks that prove them to someone who has nothing but the tree's
/// root.
///
/// [`Prover`] makes one. It is a plain value, so it can be sent and stored in any form; one from an
/// untrusted source proves nothing until [`verify`](Self::verify) has checked it.
///
/// # Examples
///
/// ```
/// use mst_ops::{Claim, Node, NodeStore, ProofError, Prover, Tree};
/// # use blockstore_core::{BlockStoreMut, MemoryBlockStore};
///
/// let value = Node::empty().cid();
/// let changes = Tree::from_entries([("a/1", value), ("a/2", value), ("b/1", value)])?.flush();
/// # let blocks = MemoryBlockStore::new();
/// # blocks.put_many(&changes.new)?;
/// let nodes = NodeStore::new(blocks);
///
/// let mut prover = Prover::new(&nodes, &changes.root)?;
/// assert_eq!(prover.key("a/1")?, Some(value));
/// assert_eq!(prover.key("a/3")?, None);
/// prover.prefix("b/")?;
/// let mut proof = prover.finish();
/// proof.verify(&changes.root)?;
///
/// proof.claims[1] = Claim::Key { key: b"a/3".into(), value: Some(value) };
/// assert!(matches!(proof.verify(&changes.root), Err(ProofError::Refuted { claim: 1 })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The root of the tree that the claims are about.
    pub root: Cid,
    /// The claims to be proven.
    pub claims: Vec<Claim>,
    /// Nodes of the tree. There may be more than needed, in any order. A block that cannot be a
    /// node by its CID is ignored.
    pub blocks: Vec<(Cid, Bytes)>,
}

/// A claim about a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// What one key maps to.
    Key {
        /// The key.
        key: Vec<u8>,
        /// Its value; `None` if the tree does not have the key.
        value: Option<Cid>,
    },
    /// The entries of a range: these, and no others.
    Range {
        /// Where the range starts.
        start: Bound<Vec<u8>>,
        /// Where it ends.
        end: Bound<Vec<u8>>,
        /// Keys and values, in key order.
        entries: Vec<(Vec<u8>, Cid)>,
    },
}

/// Why a proof does not prove its claims.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// It is about another tree.
    #[error("the proof is about the tree {found}, not {expected}")]
    Root {
        /// The root that it should have.
        expected: Box<Cid>,
        /// The root that it has.
        found: Box<Cid>,
    },
    /// A block does not match its CID.
    #[error("a block of the proof is not what its CID names")]
    Block(#[source] StoreError),
    /// A node that a claim depends on is not among the blocks. That does not say whether the claim
    /// is true.
    #[error("claim {claim} needs the node {missing}, which the proof does not have")]
    Incomplete {
        /// The claim, counted from 0.
        claim: usize,
        /// The node.
        missing: Box<Cid>,
    },
    /// The nodes that a claim depends on are not part of a well-formed tree.
    #[error("claim {claim} depends on an invalid tree")]
    Tree {
        /// The claim, counted from 0.
        claim: usize,
        /// What is wrong with the tree.
        source: Error,
    },
    /// The nodes show that a claim is false.
    #[error("claim {claim} is not true")]
    Refuted {
        /// The claim, counted from 0.
        claim: usize,
    },
}

impl Proof {
    /// Checks that the claims are true of the tree of `root`.
    ///
    /// Every block is hashed, and every node that is read on the way to an answer is checked in its
    /// place in the tree: encoding, height, order, range. A missing block proves nothing; only one
    /// that could not hold the key may be missing. A proof without claims is accepted, and proves
    /// nothing; the additional nodes around a key ([`Prover::cover`]) are not a claim.
    ///
    /// # Errors
    ///
    /// [`ProofError`]: the first claim that the blocks do not prove.
    pub fn verify(&self, root: &Cid) -> Result<(), ProofError> {
        if self.root != *root {
            return Err(ProofError::Root {
                expected: Box::new(*root),
                found: Box::new(self.root),
            });
        }
        let blocks = MemoryBlockStore::new();
        for (cid, block) in &self.blocks {
            if node_digest(cid).is_some() {
                let put = blocks.put(cid, block.clone());
                put.map_err(ProofError::Block)?;
            }
        }
        let nodes = NodeStore::with_options(blocks, NodeStoreOptions::uncached());
        check::check(&nodes, root, &self.claims)
    }
}

/// Makes a [`Proof`]: answers questions about a tree, and collects the nodes that the answers
/// depend on.
///
/// A proof has neither the commit nor records. An answer to `com.atproto.sync.getRecord`, which has
/// them, is made by `export_range` and checked by `EventCheck::record` of `mst-repo`.
pub struct Prover<'s, S> {
    walker: NodeWalker<'s, S>,
    proof: Proof,
    seen: HashSet<DigestKey>,
    /// The buffer that nodes are encoded into.
    block: Vec<u8>,
}

impl<'s, S: BlockStore> Prover<'s, S> {
    /// Starts a proof about the tree of `root`.
    ///
    /// # Errors
    ///
    /// Those of [`NodeWalker::new`].
    pub fn new(nodes: &'s NodeStore<S>, root: &Cid) -> Result<Self, Error> {
        let mut prover = Self {
            walker: NodeWalker::new(nodes, root)?,
            proof: Proof {
                root: *root,
                claims: Vec::new(),
                blocks: Vec::new(),
            },
            seen: HashSet::new(),
            block: Vec::new(),
        };
        prover.collect();
        Ok(prover)
    }

    /// Claims what `key` maps to, and returns it; `None` if the tree does not have the key.
    ///
    /// # Errors
    ///
    /// Those of [`NodeWalker::find`]; the proof is then unchanged, except for nodes that it does
    /// not need.
    pub fn key(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Cid>, Error> {
        let key = key.as_ref();
        let found = self.walker.find(key);
        self.collect();
        let value = found?;
        self.proof.claims.push(Claim::Key {
            key: key.to_vec(),
            value,
        });
        Ok(value)
    }

    /// Claims which entries have keys in `bounds`: these, and no others. Returns how many.
    ///
    /// # Errors
    ///
    /// Those of [`NodeWalker::seek`] and [`NodeWalker::next_entry`], as for
    /// [`key`](Self::key).
    pub fn range<K: AsRef<[u8]> + ?Sized>(
        &mut self,
        bounds: impl RangeBounds<K>,
    ) -> Result<usize, Error> {
        let owned = |bound: Bound<&K>| bound.map(|key| key.as_ref().to_vec());
        self.bounded(owned(bounds.start_bound()), owned(bounds.end_bound()))
    }

    /// Claims which entries have keys that begin with `prefix`, as [`range`](Self::range) does.
    ///
    /// # Errors
    ///
    /// As for [`range`](Self::range).
    pub fn prefix(&mut self, prefix: impl AsRef<[u8]>) -> Result<usize, Error> {
        let prefix = prefix.as_ref();
        self.bounded(Bound::Included(prefix.to_vec()), prefix_end(prefix))
    }

    /// Claims what `key` maps to, and adds the nodes that lead to its neighbours on both sides:
    /// what is needed to insert or remove the key (see [`Tree::invert`](crate::Tree::invert)).
    ///
    /// # Errors
    ///
    /// As for [`range`](Self::range).
    pub fn cover(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Cid>, Error> {
        let value = self.key(key)?;
        let covered = self.collect_neighbours(value.is_some());
        if covered.is_err() {
            self.proof.claims.pop();
        }
        covered.map(|()| value)
    }

    /// Returns the proof.
    pub fn finish(self) -> Proof {
        self.proof
    }

    fn bounded(&mut self, start: Bound<Vec<u8>>, end: Bound<Vec<u8>>) -> Result<usize, Error> {
        let entries = if is_empty_range(&start, &end) {
            Vec::new()
        } else {
            self.collect_range(&start, &end)?
        };
        let len = entries.len();
        self.proof.claims.push(Claim::Range {
            start,
            end,
            entries,
        });
        Ok(len)
    }

    /// Adds the nodes that show which entries are in a range, and returns these.
    fn collect_range(
        &mut self,
        start: &Bound<Vec<u8>>,
        end: &Bound<Vec<u8>>,
    ) -> Result<Vec<(Vec<u8>, Cid)>, Error> {
        let mut entries = Vec::new();
        match start {
            Bound::Included(key) | Bound::Excluded(key) => self.walker.seek(key)?,
            Bound::Unbounded => self.walker.go_to_start(),
        }
        // Nodes on this path need not be on the path to any entry.
        self.collect();
        while self.walker.left_key().is_none_or(|key| !ends_by(end, key)) {
            let entry = self.walker.next_entry()?;
            self.collect();
            let Some(entry) = entry.filter(|entry| is_before_end(end, entry.key())) else {
                break;
            };
            if is_after_start(start, entry.key()) {
                entries.push((entry.key().to_vec(), entry.value()));
            }
        }
        Ok(entries)
    }

    /// Adds the nodes that lead to the entries on both sides of the walker. It stands at a key, or
    /// where that would be, or before a missing node that cannot contain it.
    fn collect_neighbours(&mut self, found: bool) -> Result<(), Error> {
        let mut onward = self.walker.clone();
        self.walker.previous_entry()?;
        self.collect();
        if found {
            onward.next_entry()?;
        }
        onward.next_entry()?;
        self.walker = onward;
        self.collect();
        Ok(())
    }

    /// Adds the nodes on the path to where the walker stands.
    fn collect(&mut self) {
        for node in self.walker.path() {
            if self.seen.insert(DigestKey(*node.digest())) {
                self.block.clear();
                node.encode_linking(&mut self.block, |_, own| own);
                let block = Bytes::copy_from_slice(&self.block);
                self.proof.blocks.push((node.cid(), block));
            }
        }
    }
}

impl<S: BlockStore> fmt::Debug for Prover<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prover")
            .field("root", &self.proof.root)
            .field("claims", &self.proof.claims.len())
            .field("blocks", &self.proof.blocks.len())
            .finish_non_exhaustive()
    }
}
