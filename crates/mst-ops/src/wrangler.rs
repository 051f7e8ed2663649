//! Changes trees from root to root, one record at a time.

use std::fmt;

use blockstore_core::{BlockStoreMut, Cid};

use crate::{Error, NodeStore, Tree};

/// Changes trees in a block store, one record at a time: each change takes a root and returns the
/// new one.
///
/// Every root stays valid, so a wrangler can go on from any of them. The nodes that only older
/// roots use stay in the store as well. If you want to remove them, or make many changes at once,
/// use a [`Tree`], which reports removed nodes and writes each new node only once.
///
/// # Examples
///
/// ```
/// use blockstore_core::MemoryBlockStore;
/// use mst_ops::{Node, NodeStore, NodeWrangler};
///
/// let wrangler = NodeWrangler::new(NodeStore::new(MemoryBlockStore::new()));
/// let value = Node::empty().cid();
/// let empty = wrangler.empty()?;
/// let root = wrangler.put_record(&empty, b"com.example.record/3jqfcqzm3fo2j", &value)?;
/// assert_eq!(wrangler.nodes().get(&root, b"com.example.record/3jqfcqzm3fo2j")?, Some(value));
/// assert_eq!(wrangler.del_record(&root, b"com.example.record/3jqfcqzm3fo2j")?, empty);
/// # Ok::<(), mst_ops::Error>(())
/// ```
pub struct NodeWrangler<S> {
    nodes: NodeStore<S>,
}

impl<S: BlockStoreMut> NodeWrangler<S> {
    /// Changes trees in the block store of `nodes`.
    pub fn new(nodes: NodeStore<S>) -> Self {
        Self { nodes }
    }

    /// Returns the node store.
    pub fn nodes(&self) -> &NodeStore<S> {
        &self.nodes
    }

    /// Gives the node store back.
    pub fn into_nodes(self) -> NodeStore<S> {
        self.nodes
    }

    /// Stores the empty tree and returns its root.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] if the block store fails.
    pub fn empty(&self) -> Result<Cid, Error> {
        self.save(Tree::empty(&self.nodes))
    }

    /// Maps `key` to `value` in the tree of `root`, whether the key exists or not, and returns the
    /// root of the resulting tree.
    ///
    /// # Errors
    ///
    /// Those of [`Tree::open`] and [`Tree::insert`], and [`Error::Store`] if the block store fails
    /// to take the new nodes.
    pub fn put_record(&self, root: &Cid, key: impl AsRef<[u8]>, value: &Cid) -> Result<Cid, Error> {
        let mut tree = Tree::open(&self.nodes, root)?;
        tree.insert(key, value)?;
        self.save(tree)
    }

    /// Removes `key` from the tree of `root`, and returns the root of the resulting tree: `root`
    /// itself if it does not have the key.
    ///
    /// # Errors
    ///
    /// Those of [`Tree::open`] and [`Tree::remove`], and [`Error::Store`] if the block store fails
    /// to take the new nodes.
    pub fn del_record(&self, root: &Cid, key: impl AsRef<[u8]>) -> Result<Cid, Error> {
        let mut tree = Tree::open(&self.nodes, root)?;
        tree.remove(key)?;
        self.save(tree)
    }

    fn save(&self, mut tree: Tree<&NodeStore<S>>) -> Result<Cid, Error> {
        let changes = tree.flush();
        self.nodes.blocks().put_many(&changes.new)?;
        Ok(changes.root)
    }
}

impl<S> fmt::Debug for NodeWrangler<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeWrangler")
            .field("nodes", &self.nodes)
            .finish()
    }
}
