//! A node from its parts.

use cid::Cid;

use crate::link::node_digest;
use crate::node::{Span, Spans};
use crate::{BuildError, DIGEST_LEN, Limits, Node, check_key};

/// Makes a [`Node`] from its parts, left to right.
///
/// It holds keys to the rules of one node: each valid by itself (see [`check_key`], within
/// the default limits) and greater than the one before.
/// Heights are not checked here; see [`Node::height`].
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
    data: Vec<u8>,
    spans: Spans,
}

impl NodeBuilder {
    /// Starts a node with the subtree left of all its keys, if there is one.
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
    /// A [`BuildError`] that names the entry; the builder is then as it was.
    pub fn push(&mut self, key: &[u8], value: &Cid, right: Option<&Cid>) -> Result<(), BuildError> {
        let index = self.spans.len();
        check_key(key, &Limits::default())
            .map_err(|source| BuildError::InvalidKey { index, source })?;
        if self.last_key().is_some_and(|last| key <= last) {
            return Err(BuildError::KeyOrder { index });
        }
        let start = self.data.len();
        let pushed = self.push_entry(key, value, right);
        if pushed.is_err() {
            self.data.truncate(start);
        }
        pushed
    }

    /// Returns the node.
    pub fn finish(mut self) -> Node {
        if let Some(left) = self.left {
            self.data.extend_from_slice(&left);
        }
        Node {
            data: self.data,
            spans: self.spans,
        }
    }

    fn push_entry(
        &mut self,
        key: &[u8],
        value: &Cid,
        right: Option<&Cid>,
    ) -> Result<(), BuildError> {
        let start = self.position()?;
        self.data.extend_from_slice(key);
        let value_start = self.position()?;
        value
            .write_bytes(&mut self.data)
            .expect("writing to a vector does not fail");
        let right_start = self.position()?;
        if let Some(cid) = right {
            let digest = subtree_digest(self.spans.len() + 1, cid)?;
            self.data.extend_from_slice(digest);
        }
        let end = self.position()?;
        self.spans.push(Span {
            key: start,
            value: value_start,
            right: right_start,
            end,
        });
        Ok(())
    }

    fn last_key(&self) -> Option<&[u8]> {
        let span = self.spans.last()?;
        self.data.get(span.key as usize..span.value as usize)
    }

    fn position(&self) -> Result<u32, BuildError> {
        u32::try_from(self.data.len()).map_err(|_| BuildError::TooLarge)
    }
}

fn subtree_digest(slot: usize, cid: &Cid) -> Result<&[u8; DIGEST_LEN], BuildError> {
    node_digest(cid).ok_or(BuildError::SubtreeCid { slot })
}
