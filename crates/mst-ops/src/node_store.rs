//! Decoded nodes on top of any block store.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZero;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, Weak};
use std::thread::available_parallelism;

use blockstore_core::{BlockStore, Cid};
use mst_node::{DIGEST_LEN, Limits, MixedHeights, Node, height_of, node_cid};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::bad_nodes::BadNodes;
use crate::descent::Descended;
use crate::entries::Entries;
use crate::{EntryRef, Error, InvalidNode, NodeWalker, TreeFault};

/// The nodes of a block store, decoded, with the most used ones in a cache.
///
/// All nodes that this crate reads are read through this. A `NodeStore` can be shared between
/// threads if its block store can; there is one cache for all roots, so trees that share nodes
/// share them here too.
///
/// A node is checked once, when it is decoded: that its block is the canonical encoding of a node,
/// within [`NodeStoreOptions::limits`], and that all its keys have one height. That the block
/// hashes to its CID is for the block store to ensure.
///
/// # Examples
///
/// ```
/// use blockstore_core::{BlockStoreMut, MemoryBlockStore};
/// use mst_ops::{Error, Node, NodeStore};
///
/// let blocks = MemoryBlockStore::new();
/// let empty = Node::empty();
/// blocks.put(&empty.cid(), empty.encode().into())?;
///
/// let nodes = NodeStore::new(&blocks);
/// assert_eq!(nodes.get(&empty.cid(), b"no such key")?, None);
///
/// blocks.delete(&empty.cid())?;
/// let nodes = NodeStore::new(&blocks);
/// let missing = nodes.get(&empty.cid(), b"no such key");
/// assert!(matches!(missing, Err(Error::MissingBlock(cid)) if cid == empty.cid()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct NodeStore<S> {
    blocks: S,
    options: NodeStoreOptions,
    cache: Option<Cache<DigestKey, Arc<TreeNode>, MemoryLen>>,
    /// Nodes found to be bad. They are remembered even without a cache.
    bad: BadNodes,
    /// Unique among all stores of the process, past and present.
    id: u64,
}

/// How a [`NodeStore`] caches and checks.
///
/// # Examples
///
/// ```
/// use blockstore_core::MemoryBlockStore;
/// use mst_ops::{NodeStore, NodeStoreOptions};
///
/// // For trees that were made here.
/// let options = NodeStoreOptions {
///     trusted: true,
///     ..NodeStoreOptions::default()
/// };
/// let nodes = NodeStore::with_options(MemoryBlockStore::new(), options);
/// # assert!(nodes.options().trusted);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeStoreOptions {
    /// Bytes of memory that cached nodes may take; 64 MiB by default. With 0 there is no cache.
    /// Reading through a tree ([`NodeWalker::entries`], [`NodeWalker::nodes`]) uses the cache but
    /// adds nothing to it.
    pub cache_bytes: u64,
    /// The limits up to which a node is accepted.
    pub limits: Limits,
    /// Whether trees are trusted to be well-formed: heights, order and range of keys are then not
    /// checked by walkers and look-ups ([`Tree`](crate::Tree) and [`Diff`](crate::Diff) rely on
    /// them, and still check them). For nodes that the caller has made or verified; `false` by
    /// default.
    pub trusted: bool,
}

impl NodeStoreOptions {
    /// Returns the default options without a cache: for when no node is needed twice.
    pub fn uncached() -> Self {
        Self {
            cache_bytes: 0,
            ..Self::default()
        }
    }

    /// Returns these options for verification: nothing is taken from a cache, as it may be gone
    /// from the block store since, and no tree is trusted to be well-formed.
    #[must_use]
    pub fn verifying(self) -> Self {
        Self {
            cache_bytes: 0,
            trusted: false,
            ..self
        }
    }
}

impl Default for NodeStoreOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            limits: Limits::default(),
            trusted: false,
        }
    }
}

/// The number of processors, kept because finding it out reads system files, and stores are made
/// often.
static CORES: LazyLock<usize> = LazyLock::new(|| available_parallelism().map_or(1, NonZero::get));

/// A digest in a hash table.
///
/// Only the first 64 bits are hashed: finding digests that agree in these takes too many hashes to
/// fill a table with them, and where they are put in a table cannot be predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DigestKey(pub(crate) [u8; DIGEST_LEN]);

impl Hash for DigestKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let start = self.0.first_chunk().copied();
        state.write_u64(u64::from_ne_bytes(start.unwrap_or_default()));
    }
}

/// A [`Node`] of a tree, with what takes a hash to know: its own CID and its height.
#[derive(Debug)]
pub struct TreeNode {
    node: Node,
    digest: [u8; DIGEST_LEN],
    /// The height of its keys, if it has any. For trusted nodes it is computed on request.
    height: Option<u8>,
    /// The nodes of the subtrees that were read, so that going down takes no look-up as long as the
    /// cache holds them. Empty if no cache holds the node itself.
    links: Box<[OnceLock<Weak<TreeNode>>]>,
}

impl TreeNode {
    /// Returns the node's CID.
    pub fn cid(&self) -> Cid {
        node_cid(&self.digest)
    }

    pub(crate) fn digest(&self) -> &[u8; DIGEST_LEN] {
        &self.digest
    }

    /// The node itself.
    pub(crate) fn into_node(self) -> Node {
        self.node
    }

    /// Returns the height of the node's keys, or `None` if it has none.
    pub fn key_height(&self) -> Option<u8> {
        self.height.or_else(|| self.key(0).map(height_of))
    }
}

/// What a node is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// It may soon be needed again, so the cache keeps it.
    Again,
    /// A whole tree is read, or the caller keeps the node. It is taken from the cache but not added
    /// to it: that would evict nodes that are needed more often, and takes as long as reading does.
    Once,
}

/// The node of a subtree.
pub(crate) struct Child {
    pub(crate) node: Arc<TreeNode>,
    /// Whether it was found through a link of the parent.
    pub(crate) linked: bool,
}

impl TreeNode {
    /// The node of the subtree in slot `slot`, if this node has a link to it.
    #[inline]
    pub(crate) fn linked(&self, slot: usize) -> Option<Arc<TreeNode>> {
        self.links.get(slot)?.get()?.upgrade()
    }

    /// Remembers the node of the subtree in slot `slot`, which was found to belong there.
    ///
    /// A link to a node that was dropped is not replaced, and the cache is asked each time. That is
    /// how the cache learns that the node is in use, and keeps it.
    pub(crate) fn link(&self, slot: usize, child: &Arc<TreeNode>) {
        if let Some(link) = self.links.get(slot) {
            link.get_or_init(|| Arc::downgrade(child));
        }
    }
}

impl Deref for TreeNode {
    type Target = Node;

    #[inline]
    fn deref(&self) -> &Node {
        &self.node
    }
}

impl<S: BlockStore> NodeStore<S> {
    /// Reads the nodes of `blocks`, with the default options.
    pub fn new(blocks: S) -> Self {
        Self::with_options(blocks, NodeStoreOptions::default())
    }

    /// Reads the nodes of `blocks`, with the given options.
    pub fn with_options(blocks: S, options: NodeStoreOptions) -> Self {
        static STORES: AtomicU64 = AtomicU64::new(0);
        /// The memory that the cache takes for a node of an average repository.
        const TYPICAL_NODE: u64 = 512;
        // The minimum size of a shard, so that a node with as many bytes of keys as the limits
        // allow fits. What does not fit is decoded each time.
        let shard = (options.limits.key_bytes as u64)
            .saturating_mul(2)
            .max(8 << 20);
        let cache = (options.cache_bytes > 0).then(|| {
            let count = usize::try_from(options.cache_bytes / TYPICAL_NODE).unwrap_or(usize::MAX);
            let most = usize::try_from(options.cache_bytes / shard).unwrap_or(usize::MAX);
            let shards = (4 * *CORES).min(most.max(1));
            let sizes = OptionsBuilder::new()
                .shards(1 << shards.ilog2())
                .estimated_items_capacity(count.max(1))
                .weight_capacity(options.cache_bytes)
                .build()
                .expect("all that has no default is set");
            let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
            Cache::with_options(sizes, MemoryLen, hasher, lifecycle)
        });
        Self {
            blocks,
            options,
            cache,
            bad: BadNodes::default(),
            id: STORES.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The nodes that were found to be bad so far.
    #[inline]
    pub(crate) fn bad(&self) -> &BadNodes {
        &self.bad
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Returns the block store.
    pub fn blocks(&self) -> &S {
        &self.blocks
    }

    /// Gives the block store back.
    pub fn into_blocks(self) -> S {
        self.blocks
    }

    /// Returns the block store for changes, which takes exclusive access to the node store. Cached
    /// nodes stay valid, as what a CID names does not change.
    pub fn blocks_mut(&mut self) -> &mut S {
        &mut self.blocks
    }

    /// Returns the options.
    pub fn options(&self) -> &NodeStoreOptions {
        &self.options
    }

    /// Returns a node store of the same blocks and limits, for verification
    /// ([`NodeStoreOptions::verifying`]).
    pub fn verifying(&self) -> NodeStore<&S> {
        NodeStore::with_options(&self.blocks, self.options.verifying())
    }

    /// Returns the node named `cid`.
    ///
    /// # Errors
    ///
    /// [`Error::MissingBlock`] if neither the cache nor the block store holds it,
    /// [`Error::InvalidNode`] if it is not a node, [`Error::Store`] if the block store fails, and
    /// [`Error::InvalidTree`] if no node can have this CID.
    pub fn node(&self, cid: &Cid) -> Result<Arc<TreeNode>, Error> {
        match mst_node::node_digest(cid) {
            Some(digest) => self.node_by_digest(digest),
            None => Err(Error::InvalidTree {
                cid: *cid,
                fault: TreeFault::RootCid,
            }),
        }
    }

    /// Returns the value of `key` in the tree of `root`, or `None` if it has no such key.
    ///
    /// Nodes that the answer does not depend on are not read. So a partial tree can answer for the
    /// keys in the part that is there, and for those whose absence that part proves.
    ///
    /// # Errors
    ///
    /// [`Error::MissingBlock`] if the answer needs a node that is missing, and the errors of
    /// [`NodeWalker`].
    pub fn get(&self, root: &Cid, key: impl AsRef<[u8]>) -> Result<Option<Cid>, Error> {
        Ok(self.entry(root, key)?.map(|entry| entry.value()))
    }

    /// Returns the entry of `key` in the tree of `root`, as [`get`](Self::get) returns its value.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub fn entry(&self, root: &Cid, key: impl AsRef<[u8]>) -> Result<Option<EntryRef>, Error> {
        let key = key.as_ref();
        match self.descend(root, key) {
            Some(Descended::Found(entry)) => Ok(Some(entry)),
            Some(Descended::Absent) => Ok(None),
            Some(Descended::Stopped(descent)) => NodeWalker::along(self, *descent).find_below(key),
            None => NodeWalker::new(self, root)?.find_entry(key),
        }
    }

    /// Returns the entries of the tree of `root`, in key order.
    ///
    /// # Errors
    ///
    /// Those of [`NodeWalker::new`]; what goes wrong later is an item of the iterator.
    pub fn entries(&self, root: &Cid) -> Result<Entries<'_, S>, Error> {
        Ok(NodeWalker::new(self, root)?.into_entries())
    }

    /// The node of the subtree in slot `slot` of `parent`, or `None` if there is none.
    #[inline]
    pub(crate) fn child(
        &self,
        parent: &TreeNode,
        slot: usize,
        intended: Use,
    ) -> Result<Option<Child>, Error> {
        if let Some(node) = parent.linked(slot) {
            return Ok(Some(Child { node, linked: true }));
        }
        let Some(digest) = parent.subtree_digest(slot) else {
            return Ok(None);
        };
        let found = self.find(digest, intended, Node::key_height)?;
        let node = found.ok_or_else(|| Error::missing_node(digest))?;
        Ok(Some(Child {
            node,
            linked: false,
        }))
    }

    /// Prepares for reading all subtrees of `node`.
    pub(crate) fn will_read_below(&self, node: &TreeNode) {
        let digests = node.subtree_digests();
        self.blocks
            .will_get(&mut digests.map(|(_, digest)| node_cid(digest)));
    }

    /// The node whose SHA-256 is `digest`.
    pub(crate) fn node_by_digest(&self, digest: &[u8; DIGEST_LEN]) -> Result<Arc<TreeNode>, Error> {
        self.node_with(digest, Node::key_height)
    }

    /// The node whose SHA-256 is `digest`. If its height has to be computed, `height` does it in
    /// place of [`Node::key_height`]: for a caller who knows the heights of some keys.
    pub(crate) fn node_with(
        &self,
        digest: &[u8; DIGEST_LEN],
        height: impl FnOnce(&Node) -> Result<Option<u8>, MixedHeights>,
    ) -> Result<Arc<TreeNode>, Error> {
        let found = self.find(digest, Use::Again, height)?;
        found.ok_or_else(|| Error::missing_node(digest))
    }

    /// The node whose SHA-256 is `digest`, if it is there, for a caller who keeps it, so that the
    /// cache need not.
    pub(crate) fn own_node(&self, digest: &[u8; DIGEST_LEN]) -> Result<Option<TreeNode>, Error> {
        let Some(cached) = self.cached(digest) else {
            return self.load(digest, Use::Once, Node::key_height);
        };
        Ok(Some(TreeNode {
            node: cached.node.clone(),
            digest: cached.digest,
            height: cached.height,
            links: Box::default(),
        }))
    }

    /// The node whose SHA-256 is `digest`, if it is there, cached or read.
    fn find(
        &self,
        digest: &[u8; DIGEST_LEN],
        intended: Use,
        height: impl FnOnce(&Node) -> Result<Option<u8>, MixedHeights>,
    ) -> Result<Option<Arc<TreeNode>>, Error> {
        let Some(cache) = &self.cache else {
            return Ok(self.load(digest, intended, height)?.map(Arc::new));
        };
        let key = DigestKey(*digest);
        if let Some(node) = cache.get(&key) {
            return Ok(Some(node));
        }
        let node = self.load(digest, intended, height)?.map(Arc::new);
        if let (Some(node), Use::Again) = (&node, intended) {
            cache.insert(key, Arc::clone(node));
        }
        Ok(node)
    }

    fn load(
        &self,
        digest: &[u8; DIGEST_LEN],
        intended: Use,
        height: impl FnOnce(&Node) -> Result<Option<u8>, MixedHeights>,
    ) -> Result<Option<TreeNode>, Error> {
        let cid = node_cid(digest);
        let invalid = |fault| Error::InvalidNode {
            cid,
            source: Box::new(fault),
        };
        if let Some(fault) = self.bad.invalid(digest) {
            return Err(invalid(fault));
        }
        let Some(block) = self.blocks.get(&cid)? else {
            return Ok(None);
        };
        let (node, height) = self.decode(&block, height).map_err(|fault| {
            self.bad.insert_invalid(digest, fault.clone());
            invalid(fault)
        })?;
        let kept = self.cache.is_some() && intended == Use::Again;
        let slots = if kept && node.has_subtrees() {
            node.len() + 1
        } else {
            0
        };
        Ok(Some(TreeNode {
            node,
            digest: *digest,
            height,
            links: (0..slots).map(|_| OnceLock::new()).collect(),
        }))
    }
}

impl<S> NodeStore<S> {
    /// The node whose SHA-256 is `digest`, if the cache has it.
    #[inline]
    pub(crate) fn cached(&self, digest: &[u8; DIGEST_LEN]) -> Option<Arc<TreeNode>> {
        self.cache.as_ref()?.get(&DigestKey(*digest))
    }

    /// Decodes a node, and computes its height unless trees are trusted.
    fn decode(
        &self,
        block: &[u8],
        height: impl FnOnce(&Node) -> Result<Option<u8>, MixedHeights>,
    ) -> Result<(Node, Option<u8>), InvalidNode> {
        let node = Node::decode_within(block, &self.options.limits)?;
        let height = if self.options.trusted {
            None
        } else {
            height(&node)?
        };
        Ok((node, height))
    }
}

impl<S> fmt::Debug for NodeStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeStore")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// What a node weighs in the cache: the bytes that it takes.
#[derive(Debug, Clone)]
struct MemoryLen;

impl Weighter<DigestKey, Arc<TreeNode>> for MemoryLen {
    fn weight(&self, _: &DigestKey, node: &Arc<TreeNode>) -> u64 {
        /// The cache's own memory for an item (21 bytes beside key and value by its documentation,
        /// in a table that may be half empty), and the two counts of an `Arc`.
        const OVERHEAD: usize = 2 * (DIGEST_LEN + 8 + 21) + 16;
        /// A link, and the struct that it keeps alive after the node's buffers are gone.
        const LINK: usize = size_of::<OnceLock<Weak<TreeNode>>>() + size_of::<TreeNode>() + 16;
        let struct_rest = size_of::<TreeNode>() - size_of::<Node>();
        (node.node.memory_len() + struct_rest + node.links.len() * LINK + OVERHEAD) as u64
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic in a test is the report")]
mod tests {
    use std::collections::BTreeMap;

    use blockstore_core::{BlockStoreMut, MemoryBlockStore};
    use mst_testkit::build_tree;

    use super::{NodeStore, NodeStoreOptions};
    use crate::{Node, NodeWalker};

    #[test]
    fn the_cache_takes_no_more_bytes_than_it_may() {
        let value = Node::empty().cid();
        let keys = (0..20_000).map(|n| (format!("com.example.record/{n:013}"), value));
        let tree = build_tree(&keys.collect::<BTreeMap<_, _>>());
        let blocks = MemoryBlockStore::new();
        blocks.put_many(&tree.nodes).unwrap();
        for cache_bytes in [100_000, 1_000_000] {
            let options = NodeStoreOptions {
                cache_bytes,
                ..NodeStoreOptions::default()
            };
            let nodes = NodeStore::with_options(&blocks, options);
            let mut walker = NodeWalker::new(&nodes, &tree.root).unwrap();
            while walker.next_entry().unwrap().is_some() {}
            let cache = nodes.cache.as_ref().unwrap();
            let held: usize = cache.iter().map(|(_, node)| node.node.memory_len()).sum();
            assert!(held as u64 > cache_bytes / 4, "{held} bytes");
            assert!(held as u64 <= cache_bytes, "{held} bytes");
            assert!(cache.weight() <= cache_bytes);
        }
    }
}
