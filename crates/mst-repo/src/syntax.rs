//! The syntax of identifiers in a commit.

use crate::Tid;

/// Returns whether `text` has the syntax of a DID: `did:method:identifier`, at most 2,048
/// characters.
///
/// Source: <https://atproto.com/specs/did>
///
/// # Examples
///
/// ```
/// assert!(mst_repo::is_did("did:plc:z72i7hdynmk6r22z27h6tvur"));
/// assert!(!mst_repo::is_did("did:PLC:z72i7hdynmk6r22z27h6tvur"));
/// ```
pub fn is_did(text: &str) -> bool {
    const MAX_LEN: usize = 2_048;
    let Some((method, identifier)) = text
        .strip_prefix("did:")
        .and_then(|rest| rest.split_once(':'))
    else {
        return false;
    };
    let in_identifier = |b: u8| b.is_ascii_alphanumeric() || b"._:%-".contains(&b);
    text.len() <= MAX_LEN
        && !method.is_empty()
        && method.bytes().all(|b| b.is_ascii_lowercase())
        && !identifier.is_empty()
        && identifier.bytes().all(in_identifier)
        && !identifier.ends_with([':', '%'])
}

/// Returns whether `text` has the syntax of a TID, a timestamp identifier: 13 characters of a
/// sortable base 32.
///
/// Source: <https://atproto.com/specs/tid>
///
/// # Examples
///
/// ```
/// assert!(mst_repo::is_tid("3jzfcijpj2z2a"));
/// assert!(!mst_repo::is_tid("zzzzzzzzzzzzz"));
/// ```
pub fn is_tid(text: &str) -> bool {
    text.parse::<Tid>().is_ok()
}
