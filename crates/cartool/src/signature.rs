//! Checks whether a key has signed a commit.

use atproto_mst::{Commit, PublicKey};

use crate::failure::{Failure, chain};
use crate::output::Output;
use crate::report::Report;

/// Prints whether `key` has signed `commit`, and counts it as a fault if not.
pub(crate) fn tell(
    commit: &Commit,
    key: &PublicKey,
    out: &mut Output,
    report: &mut Report,
) -> Result<(), Failure> {
    let Some(fault) = fault(commit, key) else {
        return out.line(format_args!("ok: signed by {key}"));
    };
    report.count_fault();
    out.line(format_args!("bad signature: {fault}"))
}

/// Returns what is wrong with the signature of `commit`, if it is not one by `key`.
pub(crate) fn fault(commit: &Commit, key: &PublicKey) -> Option<String> {
    if commit.sig.is_empty() {
        return Some(format!("the commit is not signed by {key} or anyone else"));
    }
    let error = commit.verify_signature(key).err()?;
    Some(format!(
        "the commit is not signed by {key}: {}",
        chain(&error)
    ))
}
