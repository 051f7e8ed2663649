//! Nodes made of parts of other nodes: all the changes of single nodes that editing a tree takes.

use cid::Cid;

use crate::link::{cid_len, push_cid};
use crate::span::{Row, Span, position, rows_len};
use crate::{BuildError, DIGEST_LEN, Limits, Node, check_key};

/// What [`Node::join`] puts between the entries of two nodes: a subtree or none, optionally
/// followed by a new entry with the subtree on its right.
#[derive(Debug, Clone, Copy)]
pub struct Joint<'j> {
    subtree: Option<&'j [u8; DIGEST_LEN]>,
    entry: Option<NewEntry<'j>>,
}

#[derive(Debug, Clone, Copy)]
struct NewEntry<'j> {
    key: &'j [u8],
    value: &'j Cid,
    right: Option<&'j [u8; DIGEST_LEN]>,
}

impl<'j> Joint<'j> {
    /// A joint without an entry: the digest of the subtree between the two parts, if any.
    pub fn subtree(subtree: Option<&'j [u8; DIGEST_LEN]>) -> Self {
        Self {
            subtree,
            entry: None,
        }
    }

    /// A joint with an entry: the digest of the subtree on its left, its key and value, and
    /// the digest of the subtree on its right.
    pub fn entry(
        left: Option<&'j [u8; DIGEST_LEN]>,
        key: &'j [u8],
        value: &'j Cid,
        right: Option<&'j [u8; DIGEST_LEN]>,
    ) -> Self {
        Self {
            subtree: left,
            entry: Some(NewEntry { key, value, right }),
        }
    }
}

impl Node {
    /// Makes a node of the first `left_len` entries of `left`, then `joint`, then the entries of
    /// `right` from `right_start` on.
    ///
    /// The entries come with the subtrees around them, except where the two parts meet: the joint
    /// replaces the subtree after the last entry of the left part and the one before the first
    /// entry of the right part. That is enough to insert or remove an entry, to split a node and to
    /// merge two. A `left_len` or `right_start` beyond the last entry counts as the number of
    /// entries.
    ///
    /// # Errors
    ///
    /// [`BuildError::InvalidKey`] and [`BuildError::KeyOrder`] for the new entry and the first of
    /// the right part, [`BuildError::TooLarge`] for a node of more than 4 GiB.
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_node::{Joint, Node};
    ///
    /// let value = Node::empty().cid();
    /// let none = Node::empty();
    /// let one = Node::join(&none, 0, Joint::entry(None, b"asdf", &value, None), &none, 0)?;
    /// let two = Node::join(&one, 1, Joint::entry(None, b"key", &value, None), &one, 1)?;
    /// assert_eq!((two.key(0), two.key(1)), (Some(b"asdf".as_slice()), Some(b"key".as_slice())));
    /// // Remove entry 1 again.
    /// assert_eq!(Node::join(&two, 1, Joint::subtree(None), &two, 2)?, one);
    /// # Ok::<(), mst_node::BuildError>(())
    /// ```
    pub fn join(
        left: &Self,
        left_len: usize,
        joint: Joint<'_>,
        right: &Self,
        right_start: usize,
    ) -> Result<Self, BuildError> {
        let (head, tail) = (Part::head(left, left_len), Part::tail(right, right_start));
        check_order(&head, &joint, &tail)?;

        let entry = joint.entry.as_ref();
        let value_len = entry.map_or(0, |entry| cid_len(entry.value));
        let key = entry.map_or(&[][..], |entry| entry.key);
        let new_right = entry.and_then(|entry| entry.right);
        // The digest of slot 0 is at the end of the data, the others are in order.
        let (leftmost, joint_right) = if head.rows.is_empty() {
            (joint.subtree, None)
        } else {
            (left.subtree_digest(0), joint.subtree)
        };

        let keys_len = head.keys.len() + key.len() + tail.keys.len();
        let values_len = head.values.len() + value_len + tail.values.len();
        let head_rights_len = head.rights.len() + digest_len(joint_right);
        let rights_len = head_rights_len + digest_len(new_right) + tail.rights.len();
        let count = head.rows.len() + usize::from(entry.is_some()) + tail.rows.len();
        let parts_len = keys_len + values_len + rights_len + digest_len(leftmost);
        let len = rows_len(count) + parts_len;
        if u32::try_from(len).is_err() {
            return Err(BuildError::TooLarge);
        }

        let mut data = Vec::with_capacity(len);
        let mut end = Span::new(0, position(keys_len), position(keys_len + values_len));
        head.push_rows(&mut data, &mut end);
        // The subtree on the right of the last one is now the joint's.
        end.right = position(keys_len + values_len + head_rights_len);
        if let Some(last) = data.last_chunk_mut() {
            *last = end.to_row();
        }
        if entry.is_some() {
            end.key += position(key.len());
            end.value += position(value_len);
            end.right += position(digest_len(new_right));
            data.extend_from_slice(&end.to_row());
        }
        tail.push_rows(&mut data, &mut end);
        data.extend_from_slice(head.keys);
        data.extend_from_slice(key);
        data.extend_from_slice(tail.keys);
        data.extend_from_slice(head.values);
        if let Some(entry) = entry {
            push_cid(&mut data, entry.value);
        }
        data.extend_from_slice(tail.values);
        data.extend_from_slice(head.rights);
        push_digest(&mut data, joint_right);
        push_digest(&mut data, new_right);
        data.extend_from_slice(tail.rights);
        push_digest(&mut data, leftmost);
        Ok(Self::from_data(data, count))
    }

    /// Replaces the value of entry `index`. Returns whether there is such an entry.
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_node::{Joint, Node};
    ///
    /// let (old, none) = (Node::empty().cid(), Node::empty());
    /// let mut node = Node::join(&none, 0, Joint::entry(None, b"asdf", &old, None), &none, 0)?;
    /// let new = node.cid();
    /// assert!(node.set_value(0, &new));
    /// assert_eq!(node.value(0), Some(new));
    /// assert!(!node.set_value(1, &new));
    /// # Ok::<(), mst_node::BuildError>(())
    /// ```
    pub fn set_value(&mut self, index: usize, value: &Cid) -> bool {
        let Some(end) = self.span(index) else {
            return false;
        };
        let mut bytes = Vec::with_capacity(cid_len(value));
        push_cid(&mut bytes, value);
        let place = self.place(self.span_before(index).value, end.value);
        let old_len = place.len();
        if bytes.len() == old_len {
            if let Some(place) = self.data.get_mut(place) {
                place.copy_from_slice(&bytes);
            }
            return true;
        }
        let (old_len, new_len) = (position(old_len), position(bytes.len()));
        self.data.splice(place, bytes);
        for (at, row) in self.rows_mut().iter_mut().enumerate() {
            let mut span = Span::from_row(row);
            if at >= index {
                span.value = span.value - old_len + new_len;
            }
            span.right = span.right - old_len + new_len;
            *row = span.to_row();
        }
        true
    }

    /// Replaces the digest of the subtree in slot `slot`. Returns whether there is one.
    pub fn set_subtree_digest(&mut self, slot: usize, digest: &[u8; DIGEST_LEN]) -> bool {
        let (start, end) = self.link_bounds(slot);
        let place = self.place(start, end);
        match self.data.get_mut(place) {
            Some(link) if link.len() == digest.len() => {
                link.copy_from_slice(digest);
                true
            }
            _ => false,
        }
    }
}

/// The first or the last entries of a node, without the subtree where they were cut off.
struct Part<'n> {
    keys: &'n [u8],
    values: &'n [u8],
    rights: &'n [u8],
    rows: &'n [Row],
    /// Where the parts of the first entry start.
    start: Span,
}

impl<'n> Part<'n> {
    fn head(node: &'n Node, len: usize) -> Self {
        let sections = node.sections();
        let (rows, _) = split_at_most(node.rows(), len);
        let end = rows.last().map_or(sections, Span::from_row);
        // The last entry comes without the subtree on its right.
        let before_last = rows.len().checked_sub(2).and_then(|at| rows.get(at));
        let rights_end = before_last.map_or(sections.right, |row| Span::from_row(row).right);
        let keys_end = if rows.is_empty() { 0 } else { end.key };
        Self {
            keys: node.part(0, keys_end),
            values: node.part(sections.value, end.value),
            rights: node.part(sections.right, rights_end),
            rows,
            start: sections,
        }
    }

    fn tail(node: &'n Node, start: usize) -> Self {
        let sections = node.sections();
        let (before, rows) = split_at_most(node.rows(), start);
        let start = before.last().map_or(sections, Span::from_row);
        let end = node.last_span().unwrap_or(sections);
        Self {
            keys: node.part(start.key, end.key),
            values: node.part(start.value, end.value),
            rights: node.part(start.right, end.right),
            rows,
            start,
        }
    }

    /// Appends the rows of the entries, which begin at `end`, and advances `end` past them.
    fn push_rows(&self, data: &mut Vec<u8>, end: &mut Span) {
        let base = *end;
        for row in self.rows {
            let span = Span::from_row(row);
            *end = Span::new(
                base.key + (span.key - self.start.key),
                base.value + (span.value - self.start.value),
                base.right + (span.right - self.start.right),
            );
            data.extend_from_slice(&end.to_row());
        }
    }

    fn first_key(&self) -> Option<&'n [u8]> {
        let len = Span::from_row(self.rows.first()?).key - self.start.key;
        self.keys.get(..len as usize)
    }

    fn last_key(&self) -> Option<&'n [u8]> {
        let (_, before) = self.rows.split_last()?;
        let last = before.last().map_or(self.start, Span::from_row);
        self.keys.get((last.key - self.start.key) as usize..)
    }
}

fn split_at_most(rows: &[Row], len: usize) -> (&[Row], &[Row]) {
    rows.split_at_checked(len).unwrap_or((rows, &[]))
}

fn check_order(head: &Part<'_>, joint: &Joint<'_>, tail: &Part<'_>) -> Result<(), BuildError> {
    let mut index = head.rows.len();
    let mut last = head.last_key();
    if let Some(entry) = &joint.entry {
        check_key(entry.key, &Limits::NONE)
            .map_err(|source| BuildError::InvalidKey { index, source })?;
        if last.is_some_and(|last| entry.key <= last) {
            return Err(BuildError::KeyOrder { index });
        }
        last = Some(entry.key);
        index += 1;
    }
    match (last, tail.first_key()) {
        (Some(last), Some(first)) if first <= last => Err(BuildError::KeyOrder { index }),
        _ => Ok(()),
    }
}

fn digest_len(digest: Option<&[u8; DIGEST_LEN]>) -> usize {
    digest.map_or(0, |digest| digest.len())
}

fn push_digest(data: &mut Vec<u8>, digest: Option<&[u8; DIGEST_LEN]>) {
    if let Some(digest) = digest {
        data.extend_from_slice(digest);
    }
}
