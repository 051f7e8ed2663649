//! What is missing or wrong in a repository, as a line of text.

use std::fmt;

use atproto_mst::mst_ops;
use atproto_mst::{BlockStore, Cid, Error, NodeWalker, Place, SqliteError, StoreError};

use crate::failure::{Failure, chain};
use crate::quote::Quoted;

/// Something missing or wrong, and the keys affected.
///
/// As text it begins with its kind, one of `missing node`, `missing record`, `bad node`,
/// `bad record` and `bad key`; then come its CID, the keys, and what is wrong.
#[derive(Debug)]
pub(crate) struct Fault {
    cid: Option<Cid>,
    place: Place,
    what: What,
}

#[derive(Debug)]
enum What {
    Missing,
    /// The block of a node or a record.
    Bad(String),
    /// The key itself, not what it leads to.
    BadKey(String),
}

impl Fault {
    /// What is wrong with the record at `key`, which maps to `value`.
    pub(crate) fn of_record(key: &[u8], value: Cid, error: Error) -> Result<Self, Failure> {
        Self::new(record(key, value), error)
    }

    /// What is wrong with the top node.
    pub(crate) fn of_top(error: Error) -> Result<Self, Failure> {
        Self::new(Place::everything(), error)
    }

    /// What is wrong with a node whose place is not known.
    pub(crate) fn of_node(error: mst_ops::Error) -> Result<NodeFault, Failure> {
        Self::of_top(error.into()).map(NodeFault)
    }

    /// What is wrong with the subtree that `walker` stands before.
    pub(crate) fn at<S: BlockStore>(
        walker: &NodeWalker<'_, S>,
        error: mst_ops::Error,
    ) -> Result<Self, Failure> {
        Self::new(Place::of_subtree(walker), error.into())
    }

    /// A record whose block is present, but is not valid.
    pub(crate) fn bad_record(key: &[u8], cid: Cid, what: String) -> Self {
        Self {
            cid: Some(cid),
            place: record(key, cid),
            what: What::Bad(what),
        }
    }

    /// A key that cannot be shown as it is.
    pub(crate) fn bad_key(key: &[u8], cid: Cid, what: String) -> Self {
        Self {
            cid: Some(cid),
            place: record(key, cid),
            what: What::BadKey(what),
        }
    }

    /// Takes an error for a fault of the repository, unless it is about reading: if the file cannot
    /// be read, nothing is known about its contents.
    pub(crate) fn new(place: Place, error: Error) -> Result<Self, Failure> {
        // A damaged page of a database costs its contents, as a damaged block does.
        let is_damage = |error: &(dyn std::error::Error + 'static)| {
            matches!(SqliteError::find(error), Some(SqliteError::Corrupt(_)))
        };
        if matches!(&error, Error::Store(StoreError::Backend(cause)) if !is_damage(&**cause)) {
            return Err(error.into());
        }
        Ok(Self {
            cid: match place {
                Place::Record { .. } if matches!(error, Error::Ambiguous { .. }) => None,
                Place::Record { value, .. } => Some(value),
                Place::Subtree { .. } => error.cid(),
            },
            place,
            what: match &error {
                Error::MissingBlock(_) => What::Missing,
                // The line already names the key.
                Error::InvalidPath { source, .. } => {
                    What::BadKey(format!("not a repository path: {}", chain(source)))
                }
                Error::Ambiguous { .. } => What::BadKey(
                    "nodes that nothing links to have different values for it".to_owned(),
                ),
                error => What::Bad(what_is_wrong(error)),
            },
        })
    }

    /// The block that is missing or wrong, if it is about one.
    pub(crate) fn cid(&self) -> Option<Cid> {
        self.cid
    }

    /// Whether something is missing, rather than wrong.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self.what, What::Missing)
    }

    /// Whether it is about a node, rather than a record.
    pub(crate) fn is_node(&self) -> bool {
        matches!(self.place, Place::Subtree { .. })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, true)
    }
}

/// A [`Fault`] of a node, without the keys that it concerns.
#[derive(Debug)]
pub(crate) struct NodeFault(Fault);

impl fmt::Display for NodeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, false)
    }
}

impl Fault {
    fn write(&self, f: &mut fmt::Formatter<'_>, with_keys: bool) -> fmt::Result {
        f.write_str(match self.what {
            What::Missing => "missing ",
            What::Bad(_) | What::BadKey(_) => "bad ",
        })?;
        f.write_str(match (&self.what, &self.place) {
            (What::BadKey(_), _) => "key",
            (_, Place::Record { .. }) => "record",
            (_, Place::Subtree { .. }) => "node",
        })?;
        if let Some(cid) = &self.cid {
            write!(f, " {cid}")?;
        }
        if with_keys {
            write_keys(f, &self.place)?;
        }
        match &self.what {
            What::Missing => Ok(()),
            What::Bad(what) | What::BadKey(what) => write!(f, ": {what}"),
        }
    }
}

fn write_keys(f: &mut fmt::Formatter<'_>, place: &Place) -> fmt::Result {
    let (left, right) = match place {
        Place::Record { key, .. } => return write!(f, " (key {})", Quoted(key)),
        Place::Subtree { left, right } => (left, right),
    };
    match (left, right) {
        (None, None) => f.write_str(" (all keys)"),
        (Some(left), None) => write!(f, " (keys after {})", Quoted(left)),
        (None, Some(right)) => write!(f, " (keys before {})", Quoted(right)),
        (Some(left), Some(right)) => {
            let (left, right) = (Quoted(left), Quoted(right));
            write!(f, " (keys after {left} and before {right})")
        }
    }
}

fn record(key: &[u8], value: Cid) -> Place {
    Place::Record {
        key: key.to_vec(),
        value,
    }
}

/// What an error says, without the CID if the line already names it.
fn what_is_wrong(error: &Error) -> String {
    match error {
        Error::Store(StoreError::HashMismatch(_)) => "does not hash to its CID".to_owned(),
        Error::Store(StoreError::Unverifiable(_)) => {
            "cannot be verified: its hash is not sha2-256 with 32 bytes".to_owned()
        }
        Error::Tree(mst_ops::Error::InvalidNode { source, .. }) => chain(source),
        Error::Tree(mst_ops::Error::InvalidTree { fault, .. }) => fault.to_string(),
        error => chain(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic in a test is the report")]
mod tests {
    use atproto_mst::{InvalidNode, Node, TreeFault, raw_cid};

    use super::*;

    #[test]
    fn a_fault_names_its_cid_once_and_says_what_is_wrong() {
        let cid = raw_cid(b"");
        let line = |place, error| Fault::new(place, error).unwrap().to_string();
        let error = Error::Store(StoreError::Unverifiable(cid));
        assert_eq!(
            line(record(b"a", cid), error),
            format!(
                "bad record {cid} (key \"a\"): cannot be verified: \
                 its hash is not sha2-256 with 32 bytes"
            )
        );
        let key = "a".to_owned();
        assert_eq!(
            line(record(b"a", cid), Error::Ambiguous { key }),
            "bad key (key \"a\"): nodes that nothing links to have different values for it"
        );
        let fault = TreeFault::KeyNotLess;
        let source = InvalidNode::from(Node::decode(b"").unwrap_err());
        for (why, error) in [
            (
                fault.to_string(),
                mst_ops::Error::InvalidTree { cid, fault },
            ),
            (
                chain(&source),
                mst_ops::Error::InvalidNode {
                    cid,
                    source: source.into(),
                },
            ),
        ] {
            let error = Fault::of_node(error).unwrap();
            assert_eq!(error.to_string(), format!("bad node {cid}: {why}"));
            assert_eq!(
                error.0.to_string(),
                format!("bad node {cid} (all keys): {why}")
            );
        }
    }
}
