//! One entry of a tree, as it is returned.

use std::fmt;
use std::sync::Arc;

use blockstore_core::Cid;

use crate::TreeNode;

/// An entry of a tree: a key and the CID that it maps to.
///
/// It keeps its node alive, and does not copy anything.
#[derive(Clone)]
pub struct EntryRef {
    node: Arc<TreeNode>,
    index: usize,
}

impl EntryRef {
    /// The entry `index` of `node`, which must have that many.
    pub(crate) fn new(node: Arc<TreeNode>, index: usize) -> Self {
        Self { node, index }
    }

    /// The node that holds it, and its index there.
    pub(crate) fn place(&self) -> (&Arc<TreeNode>, usize) {
        (&self.node, self.index)
    }

    /// Returns the key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.node
            .key(self.index)
            .expect("an entry's index is valid")
    }

    /// Returns the key as text.
    ///
    /// # Errors
    ///
    /// If the key is not UTF-8, as a key of a tree may be; a repository's never is.
    pub fn key_str(&self) -> Result<&str, std::str::Utf8Error> {
        str::from_utf8(self.key())
    }

    /// Returns the CID that the key maps to.
    #[inline]
    pub fn value(&self) -> Cid {
        let value = self.node.value(self.index);
        value.expect("an entry's index is valid")
    }

    /// Returns the CID that the key maps to, in the binary form that the node's block holds.
    #[inline]
    pub fn value_bytes(&self) -> &[u8] {
        let value = self.node.value_bytes(self.index);
        value.expect("an entry's index is valid")
    }
}

impl fmt::Debug for EntryRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryRef")
            .field("key", &String::from_utf8_lossy(self.key()))
            .field("value", &self.value())
            .finish()
    }
}
