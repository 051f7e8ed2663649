//! Whether a node may stand where it does, and be as large as it is: what takes more than the
//! node itself to know.

use mst_node::Limits;

use crate::{Error, TreeFault, TreeNode};

/// Returns the height of `node` as the top of a tree.
pub(crate) fn top_height(node: &TreeNode) -> Result<u8, Error> {
    match node.key_height() {
        Some(height) => Ok(height),
        None if !node.has_subtrees() => Ok(0),
        None => Err(invalid(node, TreeFault::TopWithoutKeys)),
    }
}

/// Checks that `node`, below another, belongs on the level of height `expected`, and is there
/// for something.
pub(crate) fn check_level(node: &TreeNode, expected: u8) -> Result<(), Error> {
    match node.key_height() {
        Some(found) if found != expected => {
            Err(invalid(node, TreeFault::Height { expected, found }))
        }
        None if !node.has_subtrees() => Err(invalid(node, TreeFault::Empty)),
        _ => Ok(()),
    }
}

/// Checks that `node`, if it stands on the bottom, has no subtrees.
pub(crate) fn check_bottom(node: &TreeNode, height: u8) -> Result<(), Error> {
    if height == 0 && node.has_subtrees() {
        return Err(invalid(node, TreeFault::BelowBottom));
    }
    Ok(())
}

/// Checks what a store of trusted nodes has not: that all keys have one height.
pub(crate) fn check_heights(node: &TreeNode) -> Result<(), Error> {
    match node.height() {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::InvalidNode {
            cid: node.cid(),
            source: Box::new(error.into()),
        }),
    }
}

/// Checks that the keys of `node` lie between `left` and `right`, where there are such.
#[inline]
pub(crate) fn check_order(
    node: &TreeNode,
    left: Option<&[u8]>,
    right: Option<&[u8]>,
) -> Result<(), Error> {
    let (Some(first), Some(last)) = (node.key(0), node.key(node.len().wrapping_sub(1))) else {
        return Ok(());
    };
    if left.is_some_and(|left| first <= left) {
        return Err(invalid(node, TreeFault::KeyNotGreater));
    }
    if right.is_some_and(|right| last >= right) {
        return Err(invalid(node, TreeFault::KeyNotLess));
    }
    Ok(())
}

/// Checks that a node may have so many entries, with keys of so many bytes.
pub(crate) fn check_size(entries: usize, keys_len: usize, limits: &Limits) -> Result<(), Error> {
    // What decoding takes at most, whatever the limits say.
    const MAX_KEY_BYTES: usize = 1 << 30;
    if entries > limits.entries || keys_len > limits.key_bytes.min(MAX_KEY_BYTES) {
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
