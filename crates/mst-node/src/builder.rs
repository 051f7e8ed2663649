//! A node from its parts.

use cid::Cid;
use smallvec::SmallVec;

use crate::link::{cid_len, node_digest, push_cid};
use crate::span::{Span, position, rows_len};
use crate::{BuildError, DIGEST_LEN, Limits, Node, check_key};

/// Makes a [`Node`] from its parts, left to right.
///
/// Keys must be valid (see [`check_key`]) and strictly ascending. How long they may be is not
/// checked here, but when the node is read. Neither are heights; see [`Node::key_height`].
///
/// # Examples
///
/// The tree of one key is one node; this is the root that `atproto-interop-tests` and the
/// Go implementation give for it.
///
/// ```
/// use mst_node::{Cid, Node, NodeBuilder};
///
/// let value: Cid = "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454".parse()?;
/// let mut builder = NodeBuilder::new(None)?;
/// builder.push(b"com.example.record/3jqfcqzm3fo2j", &value, None)?;
/// let node = builder.finish();
/// assert_eq!(
///     node.cid().to_string(),
///     "bafyreibj4lsc3aqnrvphp5xmrnfoorvru4wynt6lwidqbm2623a6tatzdu",
/// );
/// assert_eq!(Node::decode(&node.encode())?, node);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct NodeBuilder {
    left: Option<[u8; DIGEST_LEN]>,
    keys: Vec<u8>,
    values: Vec<u8>,
    /// The digests of the subtrees.
    rights: Vec<u8>,
    /// Where the parts of each entry end in the vectors above.
    spans: SmallVec<[Span; 4]>,
}

impl NodeBuilder {
    /// Starts a node, with or without a subtree left of all its keys. `NodeBuilder::default()` is
    /// the same as `new(None)`.
    ///
    /// # Errors
    ///
    /// [`BuildError::SubtreeCid`] if `left` is not CIDv1, dag-cbor, sha2-256.
    pub fn new(left: Option<&Cid>) -> Result<Self, BuildError> {
        let left = left.map(|cid| subtree_digest(0, cid)).transpose()?;
        Ok(Self {
            left: left.copied(),
            ..Self::default()
        })
    }

    /// Appends an entry: a key, the CID it maps to, and the subtree between it and the
    /// next key, if there is one.
    ///
    /// # Errors
    ///
    /// A [`BuildError`]; the builder is then unchanged.
    pub fn push(&mut self, key: &[u8], value: &Cid, right: Option<&Cid>) -> Result<(), BuildError> {
        let index = self.spans.len();
        check_key(key, &Limits::NONE).map_err(|source| BuildError::InvalidKey { index, source })?;
        if self.last_key().is_some_and(|last| key <= last) {
            return Err(BuildError::KeyOrder { index });
        }
        let right = right
            .map(|cid| subtree_digest(index + 1, cid))
            .transpose()?;
        let parts_len = self.keys.len() + self.values.len() + self.rights.len();
        let room = MAX_LEN - rows_len(index) - parts_len;
        if rows_len(1) + key.len() + cid_len(value) + DIGEST_LEN > room {
            return Err(BuildError::TooLarge);
        }
        self.keys.extend_from_slice(key);
        push_cid(&mut self.values, value);
        self.rights.extend(right.into_iter().flatten());
        self.spans.push(Span::new(
            position(self.keys.len()),
            position(self.values.len()),
            position(self.rights.len()),
        ));
        Ok(())
    }

    /// Returns the node.
    pub fn finish(self) -> Node {
        let values_start = position(self.keys.len());
        let rights_start = values_start + position(self.values.len());
        let left_len = self.left.map_or(0, |left| left.len());
        let parts_len = rights_start as usize + self.rights.len() + left_len;
        let mut data = Vec::with_capacity(rows_len(self.spans.len()) + parts_len);
        for span in &self.spans {
            let (value, right) = (values_start + span.value, rights_start + span.right);
            data.extend_from_slice(&Span::new(span.key, value, right).to_row());
        }
        data.extend(&self.keys);
        data.extend(&self.values);
        data.extend(&self.rights);
        data.extend(self.left.iter().flatten());
        Node::from_data(data, self.spans.len())
    }

    fn last_key(&self) -> Option<&[u8]> {
        let (last, before) = self.spans.split_last()?;
        let start = before.last().map_or(0, |span| span.key);
        self.keys.get(start as usize..last.key as usize)
    }
}

/// How long the parts of a node may be together, so that 32 bits hold any place in it.
const MAX_LEN: usize = u32::MAX as usize - DIGEST_LEN;

fn subtree_digest(slot: usize, cid: &Cid) -> Result<&[u8; DIGEST_LEN], BuildError> {
    node_digest(cid).ok_or(BuildError::SubtreeCid { slot })
}
