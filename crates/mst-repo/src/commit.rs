//! The commit: the only signed object of a repository.

use std::collections::BTreeMap;

use blockstore_core::{Cid, dag_cbor_cid};
use ipld_core::ipld::Ipld;
use mst_node::node_digest;

use crate::brief::Quoted;
use crate::dag_cbor::{self, InvalidDagCbor};
use crate::data_model::{encode, holds_float};
use crate::fields::{Fields, FieldsFault, from_fields_fault};
use crate::{Tid, is_did};

/// A commit: the account, the revision, the tree, and the signature.
///
/// Fields that this version does not know are kept, as the signature covers them.
///
/// Source: <https://atproto.com/specs/repository#commit-objects>
///
/// # Examples
///
/// ```
/// use mst_node::Node;
/// use mst_repo::Commit;
///
/// let mut commit = Commit::unsigned(
///     "did:plc:z72i7hdynmk6r22z27h6tvur",
///     "3jzfcijpj2z2a".parse()?,
///     Node::empty().cid(),
/// );
/// let to_be_signed = commit.unsigned_bytes();
/// # let sign = |_: &[u8]| vec![0; 64];
/// commit.sig = sign(&to_be_signed);
/// assert_eq!(Commit::decode(&commit.encode())?, commit);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Commit {
    /// The DID of the account whose repository it is.
    pub did: String,
    /// The version of the format: 3, or 2 from [`decode_version_2_or_3`](Self::decode_version_2_or_3).
    pub version: u64,
    /// The CID of the tree's top node.
    pub data: Cid,
    /// The revision, a TID that only increases.
    pub rev: Tid,
    /// The previous commit; usually `None`, as version 3 no longer needs it.
    pub prev: Option<Cid>,
    /// The signature over [`unsigned_bytes`](Self::unsigned_bytes).
    pub sig: Vec<u8>,
    /// All other fields. A field that is listed above is not taken from here. In a decoded commit
    /// they are as they were in the block; if you add some, keep to the data model, which has no
    /// floating-point numbers and no integers of more than 64 bits.
    pub extra: BTreeMap<String, Ipld>,
}

impl Commit {
    /// Makes a commit of version 3, still unsigned.
    pub fn unsigned(did: impl Into<String>, rev: Tid, data: Cid) -> Self {
        Self {
            did: did.into(),
            version: 3,
            data,
            rev,
            prev: None,
            sig: Vec::new(),
            extra: BTreeMap::new(),
        }
    }

    /// Decodes a commit of version 3 from its block.
    ///
    /// The block must be canonical DAG-CBOR with all fields, including `prev`, each of its type;
    /// `data` and `prev` CIDv1, dag-cbor, sha2-256; `did` and `rev` of valid syntax. The signature
    /// is not checked.
    ///
    /// # Errors
    ///
    /// [`InvalidCommit`].
    pub fn decode(block: &[u8]) -> Result<Self, InvalidCommit> {
        let commit = Self::decode_version_2_or_3(block)?;
        match commit.version {
            3 => Ok(commit),
            found => Err(InvalidCommit::Version {
                found: found.into(),
            }),
        }
    }

    /// Decodes a commit of version 3 or of its predecessor, version 2, which has the same fields.
    ///
    /// # Errors
    ///
    /// As for [`decode`](Self::decode).
    pub fn decode_version_2_or_3(block: &[u8]) -> Result<Self, InvalidCommit> {
        dag_cbor::check(block, MAX_ITEMS).map_err(FieldsFault::from)?;
        Self::from_fields(Fields::decode(block)?)
    }

    fn from_fields(mut fields: Fields) -> Result<Self, InvalidCommit> {
        let version = match fields.number("version")? {
            2 => 2,
            3 => 3,
            found => return Err(InvalidCommit::Version { found }),
        };
        let did = fields.text("did")?;
        if !is_did(&did) {
            return Err(InvalidCommit::Did { found: did });
        }
        let rev = fields.text("rev")?;
        let Ok(rev) = rev.parse() else {
            return Err(InvalidCommit::Rev { found: rev });
        };
        let data = checked_link("data", fields.link("data")?)?;
        let prev = fields.link_or_null("prev")?;
        let prev = prev.map(|prev| checked_link("prev", prev)).transpose()?;
        let sig = fields.bytes("sig")?;
        let extra = fields.rest();
        match extra.iter().find(|(_, value)| holds_float(value)) {
            Some((field, _)) => Err(InvalidCommit::Float {
                field: field.clone(),
            }),
            None => Ok(Self {
                did,
                version,
                data,
                rev,
                prev,
                sig,
                extra,
            }),
        }
    }

    /// Returns the commit's block: canonical DAG-CBOR.
    ///
    /// # Panics
    ///
    /// If a number among the [`extra`](Self::extra) fields cannot be encoded as DAG-CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = self.unsigned_fields();
        fields.insert("sig".to_owned(), Ipld::Bytes(self.sig.clone()));
        encode(&Ipld::Map(fields))
    }

    /// Returns the bytes that are signed: the commit's encoding without the field `sig`.
    ///
    /// # Panics
    ///
    /// As for [`encode`](Self::encode).
    pub fn unsigned_bytes(&self) -> Vec<u8> {
        encode(&Ipld::Map(self.unsigned_fields()))
    }

    /// Returns the commit's CID, that of its block with the signature.
    ///
    /// # Panics
    ///
    /// As for [`encode`](Self::encode).
    pub fn cid(&self) -> Cid {
        dag_cbor_cid(&self.encode())
    }

    fn unsigned_fields(&self) -> BTreeMap<String, Ipld> {
        let prev = self.prev.map_or(Ipld::Null, Ipld::Link);
        let known = [
            ("did", Ipld::String(self.did.clone())),
            ("rev", Ipld::String(self.rev.to_string())),
            ("data", Ipld::Link(self.data)),
            ("prev", prev),
            ("version", Ipld::Integer(self.version.into())),
        ];
        let mut fields = self.extra.clone();
        fields.remove("sig");
        fields.extend(known.map(|(name, value)| (name.to_owned(), value)));
        fields
    }
}

/// The maximum number of items in a commit, in known fields and others.
const MAX_ITEMS: usize = 4_096;

/// Returns `cid`, if it has the form of all links to nodes and commits.
pub(crate) fn checked_link(field: &'static str, cid: Cid) -> Result<Cid, InvalidCommit> {
    match node_digest(&cid) {
        Some(_) => Ok(cid),
        None => Err(InvalidCommit::LinkForm { field, found: cid }),
    }
}

/// Why a block is not a commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCommit {
    /// The block is not strict DAG-CBOR.
    #[error("not DAG-CBOR")]
    NotDagCbor(#[source] InvalidDagCbor),
    /// The block cannot be decoded, for the reason in the text.
    #[error("it cannot be decoded: {0}")]
    Decode(String),
    /// The block holds far more than a commit does.
    #[error("more than {limit} items, where a commit has about 13")]
    TooManyItems {
        /// The maximum number of items that are decoded.
        limit: usize,
    },
    /// The block is not a map.
    #[error("not a map")]
    NotAMap,
    /// A field is missing.
    #[error("the field `{field}` is missing")]
    MissingField {
        /// Its name.
        field: &'static str,
    },
    /// A field has the wrong type.
    #[error("the field `{field}` is not {wanted}")]
    FieldType {
        /// Its name.
        field: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// A version of the format that cannot be read.
    #[error("repository format version {found}; only version 3 is supported")]
    Version {
        /// The version.
        found: i128,
    },
    /// The field `did` is not a DID.
    #[error("{} is not a DID", Quoted(found))]
    Did {
        /// What it is.
        found: String,
    },
    /// The field `rev` is not a TID.
    #[error("the revision {} is not a TID", Quoted(found))]
    Rev {
        /// What it is.
        found: String,
    },
    /// A link that is not CIDv1, dag-cbor, sha2-256.
    #[error("`{field}` links to {found}, which is not CIDv1, dag-cbor, sha2-256")]
    LinkForm {
        /// The field's name; `root` for the link to the commit itself.
        field: &'static str,
        /// Its CID.
        found: Cid,
    },
    /// A floating-point number, which the data model does not allow.
    #[error("a floating-point number in the field {field:?}")]
    Float {
        /// The field's name.
        field: String,
    },
}

from_fields_fault!(InvalidCommit);
