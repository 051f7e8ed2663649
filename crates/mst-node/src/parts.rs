//! Encodes a node assembled from parts of other nodes.

use std::ops::Range;

use cid::Cid;

use crate::encode::{MAX_ENTRY_LEN, MAX_FRAME_LEN, write};
use crate::{DIGEST_LEN, Node};

/// Encodes a node that is assembled, from left to right, from entries of other nodes, without
/// making a [`Node`] of them.
///
/// As with [`NodeEncoder`](crate::NodeEncoder), which copies what it is given, it is up to the
/// caller to ensure that keys ascend.
///
/// # Examples
///
/// ```
/// use mst_node::{Node, NodeBuilder, NodeParts};
///
/// let value = Node::empty().cid();
/// let mut builder = NodeBuilder::new(None)?;
/// for key in [b"a/1", b"a/2", b"a/4"] {
///     builder.push(key, &value, None)?;
/// }
/// let node = builder.finish();
///
/// // The same with one more key.
/// let mut parts = NodeParts::default();
/// parts.push_entries(&node, 0..2);
/// parts.push(b"a/3", &value);
/// parts.push_entries(&node, 2..3);
/// let mut block = Vec::new();
/// parts.finish_into(&mut block);
/// assert_eq!(Node::decode(&block)?.find(b"a/3"), Ok(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct NodeParts<'n> {
    left: Option<[u8; DIGEST_LEN]>,
    parts: Vec<Part<'n>>,
    /// How many entries all parts have.
    len: usize,
    /// An upper bound on their encoded length.
    max_len: usize,
}

#[derive(Debug, Clone)]
struct Part<'n> {
    entries: Entries<'n>,
    /// The subtree after the last entry.
    right: Option<[u8; DIGEST_LEN]>,
}

#[derive(Debug, Clone)]
enum Entries<'n> {
    Of(&'n Node, Range<usize>),
    One { key: &'n [u8], value: Vec<u8> },
}

impl<'n> NodeParts<'n> {
    /// Sets the subtree in the last slot so far.
    pub fn set_subtree(&mut self, digest: [u8; DIGEST_LEN]) {
        match self.parts.last_mut() {
            Some(last) => last.right = Some(digest),
            None => self.left = Some(digest),
        }
    }

    /// Appends an entry, with an empty slot on its right.
    pub fn push(&mut self, key: &'n [u8], value: &Cid) {
        let value = value.to_bytes();
        self.max_len += MAX_ENTRY_LEN + key.len() + value.len() + DIGEST_LEN;
        self.push_part(1, Entries::One { key, value });
    }

    /// Appends entries of `node` with the subtrees between them, and with an empty slot on the
    /// right of the last. Does nothing for an empty range.
    ///
    /// # Panics
    ///
    /// If `entries` go beyond the end of `node`.
    pub fn push_entries(&mut self, node: &'n Node, entries: Range<usize>) {
        assert!(
            entries.end <= node.len(),
            "entries {entries:?} of {}",
            node.len()
        );
        if !entries.is_empty() {
            self.max_len += node.max_entries_len(&entries);
            self.push_part(entries.len(), Entries::Of(node, entries));
        }
    }

    fn push_part(&mut self, len: usize, entries: Entries<'n>) {
        self.len += len;
        let right = None;
        self.parts.push(Part { entries, right });
    }

    /// Appends the block to `block`, and starts the next node.
    pub fn finish_into(&mut self, block: &mut Vec<u8>) {
        write(block, MAX_FRAME_LEN + self.max_len, |room| {
            room.put_node_start(self.len);
            let mut previous: &[u8] = &[];
            for part in &self.parts {
                let right = part.right.as_ref();
                match &part.entries {
                    Entries::Of(node, entries) => {
                        let end = entries.end;
                        let link = |slot, own| if slot == end { right } else { own };
                        node.put_entries(room, entries.clone(), &mut previous, link);
                    }
                    Entries::One { key, value } => {
                        room.put_entry(previous, key, 0, right, value);
                        previous = key;
                    }
                }
            }
            room.put_node_end(self.left.as_ref());
        });
        self.left = None;
        self.parts.clear();
        self.len = 0;
        self.max_len = 0;
    }
}
