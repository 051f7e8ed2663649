//! Builds a whole tree from its entries in key order.

use std::fmt;

use blockstore_core::{Bytes, Cid, StoreError, sha2_256};
use mst_node::{DIGEST_LEN, Limits, NodeEncoder, check_key, height_of, node_cid};

use crate::levels::Levels;
use crate::{Error, place::check_size};

/// Builds a tree from entries in key order, in one pass.
///
/// Each node is passed on as soon as it is complete, lower nodes before higher ones, and then
/// dropped, so the builder's memory is one node per level. This works for trees of any size, and is
/// the fastest way to build one.
///
/// # Examples
///
/// ```
/// use blockstore_core::{BlockStoreMut, MemoryBlockStore};
/// use mst_ops::{Error, Node, NodeStore, TreeBuilder};
///
/// let value = Node::empty().cid();
/// let blocks = MemoryBlockStore::new();
/// let mut builder = TreeBuilder::new(|cid, block| blocks.put(&cid, block));
/// for key in ["app.bsky.feed.post/1", "app.bsky.feed.post/2"] {
///     builder.push(key, &value)?;
/// }
/// assert!(matches!(builder.push("app.bsky.feed.like/1", &value), Err(Error::KeyOrder { .. })));
/// let root = builder.finish()?;
///
/// let nodes = NodeStore::new(&blocks);
/// assert_eq!(nodes.get(&root, "app.bsky.feed.post/2")?, Some(value));
/// # Ok::<(), Error>(())
/// ```
pub struct TreeBuilder<F> {
    sink: F,
    limits: Limits,
    levels: Levels<NodeEncoder>,
    /// The greatest key so far.
    last_key: Vec<u8>,
    /// The number of entries.
    len: u64,
    /// Whether the sink has failed, so that a node is lost.
    failed: bool,
}

impl<F: FnMut(Cid, Bytes) -> Result<(), StoreError>> TreeBuilder<F> {
    /// Starts a tree whose nodes go to `sink`. If each write to the store is a transaction, collect
    /// some hundred nodes in the sink and put them at once.
    pub fn new(sink: F) -> Self {
        Self::with_limits(sink, Limits::default())
    }

    /// Starts a tree whose nodes and keys are held to `limits`.
    pub fn with_limits(sink: F, limits: Limits) -> Self {
        Self {
            sink,
            limits,
            levels: Levels::default(),
            last_key: Vec::new(),
            len: 0,
            failed: false,
        }
    }

    /// Appends an entry.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidKey`], [`Error::KeyOrder`] if `key` is not greater than the one before, and
    /// [`Error::NodeTooLarge`]; the builder is then unchanged. [`Error::Store`] if the sink failed:
    /// a node is then lost, and so every later call fails too.
    pub fn push(&mut self, key: impl AsRef<[u8]>, value: &Cid) -> Result<(), Error> {
        let key = key.as_ref();
        self.check_sink()?;
        check_key(key, &self.limits)?;
        if self.len > 0 && key <= self.last_key.as_slice() {
            return Err(Error::KeyOrder { index: self.len });
        }
        let height = height_of(key);
        let node = self.levels.get(usize::from(height));
        let (len, keys_len) = node.map_or((0, 0), |node| (node.len(), node.keys_len()));
        check_size(len + 1, keys_len + key.len(), &self.limits)?;
        self.append(key, value, height)?;
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        Ok(())
    }

    /// Appends an entry whose key is known to be within the limits, to come after the last one, and
    /// to have this height.
    pub(crate) fn append(&mut self, key: &[u8], value: &Cid, height: u8) -> Result<(), Error> {
        let hand_out = hand_out(&mut self.sink, &mut self.failed);
        let node = self.levels.rise(usize::from(height), hand_out)?;
        node.push(key, value);
        self.len += 1;
        Ok(())
    }

    /// Passes the remaining nodes on, and returns the root.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] if the sink failed, now or before.
    pub fn finish(mut self) -> Result<Cid, Error> {
        self.check_sink()?;
        let mut hand_out = hand_out(&mut self.sink, &mut self.failed);
        let top = match self.levels.finish(&mut hand_out)? {
            Some(top) => top,
            // Even a tree without entries has a node.
            None => hand_out(0, &mut NodeEncoder::default())?,
        };
        Ok(node_cid(&top))
    }

    fn check_sink(&self) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::backend("a node was lost when the sink failed"));
        }
        Ok(())
    }
}

/// Gives each complete node to `sink`. Sets `failed` if that fails.
fn hand_out<F: FnMut(Cid, Bytes) -> Result<(), StoreError>>(
    sink: &mut F,
    failed: &mut bool,
) -> impl FnMut(usize, &mut NodeEncoder) -> Result<[u8; DIGEST_LEN], StoreError> {
    |_, node| {
        let block = node.finish();
        let digest = sha2_256(&block);
        *failed = true;
        sink(node_cid(&digest), block.into())?;
        *failed = false;
        Ok(digest)
    }
}

impl<F> fmt::Debug for TreeBuilder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeBuilder")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
