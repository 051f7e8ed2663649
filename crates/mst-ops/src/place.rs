//! Checks whether a node may be where it is, and be as large as it is: the checks that take more
//! than the node itself.

use mst_node::{DIGEST_LEN, Limits, node_cid};

use crate::{Error, TreeFault, TreeNode};

/// Returns the height of `node` as the top of a tree, if it may be one.
pub(crate) fn top_height(node: &TreeNode) -> Result<u8, Error> {
    match node.key_height() {
        Some(height) => Ok(height),
        None if !node.has_subtrees() => Ok(0),
        None => Err(invalid(node, TreeFault::TopWithoutKeys)),
    }
}

fn level_fault(key_height: Option<u8>, has_subtrees: bool, expected: u8) -> Option<TreeFault> {
    match key_height {
        Some(found) if found != expected => Some(TreeFault::Height { expected, found }),
        None if !has_subtrees => Some(TreeFault::Empty),
        _ => None,
    }
}

/// Checks that `node`, if it is on the bottom level, has no subtrees.
pub(crate) fn check_bottom(node: &TreeNode, height: u8) -> Result<(), Error> {
    if height == 0 && node.has_subtrees() {
        return Err(invalid(node, TreeFault::BelowBottom));
    }
    Ok(())
}

/// Checks that the keys of `node` lie between `left` and `right`, if there are any such bounds.
#[inline]
fn check_order(node: &TreeNode, left: Option<&[u8]>, right: Option<&[u8]>) -> Result<(), Error> {
    if left.is_none() && right.is_none() {
        return Ok(());
    }
    let Some((first, last)) = outer_keys(node) else {
        return Ok(());
    };
    match order_fault(first, last, left, right) {
        Some(fault) => Err(invalid(node, fault)),
        None => Ok(()),
    }
}

#[inline]
fn outer_keys(node: &TreeNode) -> Option<(&[u8], &[u8])> {
    Some((node.key(0)?, node.key(node.len().wrapping_sub(1))?))
}

#[inline]
fn order_fault(
    first: &[u8],
    last: &[u8],
    left: Option<&[u8]>,
    right: Option<&[u8]>,
) -> Option<TreeFault> {
    if left.is_some_and(|left| first <= left) {
        return Some(TreeFault::KeyNotGreater);
    }
    let is_after = right.is_some_and(|right| last >= right);
    is_after.then_some(TreeFault::KeyNotLess)
}

/// A place below another node.
pub(crate) struct Site<'w> {
    pub(crate) height: u8,
    /// The keys that enclose it, if any.
    pub(crate) left: Option<&'w [u8]>,
    pub(crate) right: Option<&'w [u8]>,
}

/// The properties of a node with keys that decide where it may be.
#[derive(Debug)]
pub(crate) struct Stature {
    height: u8,
    has_subtrees: bool,
    first: Box<[u8]>,
    last: Box<[u8]>,
}

impl Stature {
    /// The length of its keys in bytes.
    pub(crate) fn keys_len(&self) -> usize {
        self.first.len() + self.last.len()
    }

    /// `None` for a node without keys.
    pub(crate) fn of(node: &TreeNode) -> Option<Self> {
        let (first, last) = outer_keys(node)?;
        Some(Self {
            height: node.key_height()?,
            has_subtrees: node.has_subtrees(),
            first: first.into(),
            last: last.into(),
        })
    }

    /// Checks that the node of `digest`, which has these properties, may be at `site`.
    pub(crate) fn check(&self, digest: &[u8; DIGEST_LEN], site: &Site<'_>) -> Result<(), Error> {
        let outer_keys = Some((&*self.first, &*self.last));
        let fault = site_fault(Some(self.height), self.has_subtrees, outer_keys, site);
        let cid = node_cid(digest);
        fault.map_or(Ok(()), |fault| Err(Error::InvalidTree { cid, fault }))
    }
}

/// Checks that `node` may be at `site`.
pub(crate) fn check_site(node: &TreeNode, site: &Site<'_>) -> Result<(), Error> {
    let fault = site_fault(
        node.key_height(),
        node.has_subtrees(),
        outer_keys(node),
        site,
    );
    fault.map_or(Ok(()), |fault| Err(invalid(node, fault)))
}

/// Checks that `node`, which a link of `parent` leads to, may be in slot `slot` there, between the
/// keys that enclose `parent`. `parent` must have keys.
///
/// The link was made when the node was found to be in its place. What that depends on in the parent
/// stays true; what depends on the nodes above has to be checked again.
#[inline]
pub(crate) fn check_linked<'k>(
    node: &TreeNode,
    parent: &TreeNode,
    slot: usize,
    left: impl FnOnce() -> Option<&'k [u8]>,
    right: impl FnOnce() -> Option<&'k [u8]>,
) -> Result<(), Error> {
    let left = if slot == 0 { left() } else { None };
    let right = if slot == parent.len() { right() } else { None };
    check_order(node, left, right)
}

#[inline]
fn site_fault(
    key_height: Option<u8>,
    has_subtrees: bool,
    outer_keys: Option<(&[u8], &[u8])>,
    site: &Site<'_>,
) -> Option<TreeFault> {
    if let Some(fault) = level_fault(key_height, has_subtrees, site.height) {
        return Some(fault);
    }
    if site.height == 0 && has_subtrees {
        return Some(TreeFault::BelowBottom);
    }
    let (first, last) = outer_keys?;
    order_fault(first, last, site.left, site.right)
}

/// Checks that a node may have `entries` entries, with keys of `keys_len` bytes.
pub(crate) fn check_size(entries: usize, keys_len: usize, limits: &Limits) -> Result<(), Error> {
    if entries > limits.entries || keys_len > limits.key_bytes.min(Limits::MAX_KEY_BYTES) {
        return Err(Error::NodeTooLarge { entries, keys_len });
    }
    Ok(())
}

#[cold]
pub(crate) fn invalid(node: &TreeNode, fault: TreeFault) -> Error {
    Error::InvalidTree {
        cid: node.cid(),
        fault,
    }
}
