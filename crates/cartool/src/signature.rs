//! Whether a key has signed a commit.

use atproto_mst::{Commit, PublicKey};

use crate::failure::chain;

/// Returns what is wrong with the signature of `commit`, if it is not one by `key`.
pub(crate) fn fault(commit: &Commit, key: &PublicKey) -> Option<String> {
    if commit.sig.is_empty() {
        return Some(format!("the commit is not signed, by {key} or anyone"));
    }
    let error = commit.verify_signature(key).err()?;
    Some(format!(
        "the commit is not signed by {key}: {}",
        chain(&error)
    ))
}
