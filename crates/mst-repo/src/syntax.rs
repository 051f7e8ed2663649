//! The syntax of identifiers in a commit.

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
