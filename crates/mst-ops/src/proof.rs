//! What a tree says about some keys, and the nodes that show it.

use std::fmt;
use std::ops::{Bound, RangeBounds};

use blockstore_core::{BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, StoreError};
use hashbrown::HashSet;

use crate::entries::prefix_end;
use crate::node_store::DigestKey;
use crate::{Error, NodeStore, NodeStoreOptions, NodeWalker};

/// Claims about a tree, and the blocks that prove them to someone who has nothing but the
/// tree's root.
///
/// [`Prover`] makes one. It is a plain value, so that it can be sent and stored in any form;
/// what comes from a stranger is worth nothing until [`verify`](Self::verify) has seen it.
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
/// assert_eq!(prover.key(b"a/1")?, Some(value));
/// assert_eq!(prover.key(b"a/3")?, None);
/// prover.prefix(b"b/")?;
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
    /// What is to be proven.
    pub claims: Vec<Claim>,
    /// Nodes of the tree. There may be more than it takes, and in any order.
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

/// Why a proof proves nothing.
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
    /// A block is not what its CID names.
    #[error("a block of the proof is not what it says it is")]
    Block(#[source] StoreError),
    /// A node that a claim depends on is not among the blocks. That says nothing about whether
    /// the claim is true.
    #[error("claim {claim} needs the node {missing}, which the proof does not have")]
    Incomplete {
        /// The claim, counted from 0.
        claim: usize,
        /// The node.
        missing: Box<Cid>,
    },
    /// The nodes that a claim depends on are no part of a well-formed tree.
    #[error("claim {claim} rests on an invalid tree")]
    Tree {
        /// The claim, counted from 0.
        claim: usize,
        /// What is wrong with it.
        source: Error,
    },
    /// The nodes show that a claim is not true.
    #[error("claim {claim} is not true")]
    Refuted {
        /// The claim, counted from 0.
        claim: usize,
    },
}

impl Proof {
    /// Checks that the claims are true of the tree of `root`.
    ///
    /// Every block is hashed, and every node that is read on the way to an answer is held to
    /// its place in the tree: encoding, height, order, range. That a block is missing proves
    /// nothing; only where a key could not be in it is it not needed. A proof that claims nothing
    /// is always true, and that there are nodes around a key ([`Prover::cover`]) is no claim.
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
        blocks.put_many(&self.blocks).map_err(ProofError::Block)?;
        let mut options = NodeStoreOptions::default();
        // Enough for all of them, decoded, and no more, as making room takes time.
        let bytes: usize = self.blocks.iter().map(|(_, block)| block.len()).sum();
        options.cache_bytes = options.cache_bytes.min(256 * bytes as u64);
        let nodes = NodeStore::with_options(blocks, options);
        // In key order, by one walker, no node is decoded again for each claim that rests on it:
        // a small block may stand for long keys, and there may be many claims.
        let mut claims: Vec<_> = self.claims.iter().enumerate().collect();
        claims.sort_by(|(_, one), (_, other)| one.start().cmp(other.start()));
        let mut walker = None;
        let mut first: Option<(usize, ProofError)> = None;
        for (index, claim) in claims {
            if first.as_ref().is_some_and(|(first, _)| *first < index) {
                continue;
            }
            let error = match claim.is_true(&nodes, root, &mut walker) {
                Ok(true) => continue,
                Ok(false) => ProofError::Refuted { claim: index },
                Err(Error::MissingBlock(cid)) => ProofError::Incomplete {
                    claim: index,
                    missing: Box::new(cid),
                },
                Err(source) => ProofError::Tree {
                    claim: index,
                    source,
                },
            };
            first = Some((index, error));
        }
        first.map_or(Ok(()), |(_, error)| Err(error))
    }
}

impl Claim {
    /// A key that the answer lies at or behind.
    fn start(&self) -> &[u8] {
        match self {
            Self::Key { key, .. } => key,
            Self::Range { start, .. } => match start {
                Bound::Included(start) | Bound::Excluded(start) => start,
                Bound::Unbounded => &[],
            },
        }
    }

    /// Whether this is what the tree says. It takes time for what was claimed and no more.
    /// `walker` comes from the claim before.
    fn is_true<'s, S: BlockStore>(
        &self,
        nodes: &'s NodeStore<S>,
        root: &Cid,
        walker: &mut Option<NodeWalker<'s, S>>,
    ) -> Result<bool, Error> {
        let walker = match walker {
            Some(walker) => walker,
            None => walker.insert(NodeWalker::new(nodes, root)?),
        };
        match self {
            Self::Key { key, value } => Ok(walker.find(key)? == *value),
            Self::Range {
                start,
                end,
                entries,
            } => {
                // Where it fails, the range does or does not need to go there.
                let _ = walker.seek(self.start());
                let mut found = walker.range::<Vec<u8>>((start.as_ref(), end.as_ref()));
                for (key, value) in entries {
                    match found.next().transpose()? {
                        Some(entry) if entry.key() == key && entry.value() == *value => {}
                        _ => return Ok(false),
                    }
                }
                Ok(found.next().transpose()?.is_none())
            }
        }
    }
}

/// Makes a [`Proof`]: answers questions about a tree, and collects the nodes that the answers
/// rest on.
pub struct Prover<'s, S> {
    walker: NodeWalker<'s, S>,
    proof: Proof,
    seen: HashSet<DigestKey>,
    /// Where nodes are encoded.
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
    /// Those of [`NodeWalker::find`]; the proof is then as it was, but for nodes that it does
    /// not need.
    pub fn key(&mut self, key: &[u8]) -> Result<Option<Cid>, Error> {
        let found = self.walker.find(key);
        self.collect();
        let value = found?;
        self.proof.claims.push(Claim::Key {
            key: key.to_vec(),
            value,
        });
        Ok(value)
    }

    /// Claims which entries have keys in `bounds`: those, and no others. Returns how many.
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
    pub fn prefix(&mut self, prefix: &[u8]) -> Result<usize, Error> {
        self.bounded(Bound::Included(prefix.to_vec()), prefix_end(prefix))
    }

    /// Claims what `key` maps to, and adds the nodes that lead to its neighbours on both sides:
    /// what it takes to put the key back or take it out again (see
    /// [`Tree::invert`](crate::Tree::invert)).
    ///
    /// # Errors
    ///
    /// As for [`range`](Self::range).
    pub fn cover(&mut self, key: &[u8]) -> Result<Option<Cid>, Error> {
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
        let mut entries = Vec::new();
        match &start {
            Bound::Included(key) | Bound::Excluded(key) => self.walker.seek(key)?,
            Bound::Unbounded => self.walker.go_to_start(),
        }
        // Nodes on this way need not be on the way to any entry.
        self.collect();
        loop {
            let entry = self.walker.next_entry()?;
            self.collect();
            let Some(entry) = entry else {
                break;
            };
            let key = entry.key();
            let within = match &end {
                Bound::Included(end) => key <= end.as_slice(),
                Bound::Excluded(end) => key < end.as_slice(),
                Bound::Unbounded => true,
            };
            if !within {
                break;
            }
            if !matches!(&start, Bound::Excluded(start) if start == key) {
                entries.push((key.to_vec(), entry.value()));
            }
        }
        let len = entries.len();
        self.proof.claims.push(Claim::Range {
            start,
            end,
            entries,
        });
        Ok(len)
    }

    /// Adds the nodes that lead to the entries beside where the walker stands, which is at a key
    /// or where it would be, or before a node whose absence says that it is not there.
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

    /// Adds the nodes on the way to where the walker stands.
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
