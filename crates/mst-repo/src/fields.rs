//! The fields of an object, decoded from DAG-CBOR and taken one by one.

use std::collections::BTreeMap;

use blockstore_core::Cid;
use ipld_core::ipld::Ipld;

use crate::dag_cbor::{InvalidDagCbor, Refusal};
use crate::dag_cbor_error::decode_fault;

/// The fields of an object that have not been taken yet.
pub(crate) struct Fields(BTreeMap<String, Ipld>);

/// Why an object is not what it should be.
pub(crate) enum FieldsFault {
    NotDagCbor(InvalidDagCbor),
    TooManyItems {
        limit: usize,
    },
    Decode(String),
    NotAMap,
    MissingField {
        field: &'static str,
    },
    FieldType {
        field: &'static str,
        wanted: &'static str,
    },
}

impl From<Refusal> for FieldsFault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooManyItems { limit } => Self::TooManyItems { limit },
            Refusal::Invalid(invalid) => Self::NotDagCbor(invalid),
        }
    }
}

impl Fields {
    /// Decodes an object that was found to be DAG-CBOR.
    pub(crate) fn decode(object: &[u8]) -> Result<Self, FieldsFault> {
        let value = serde_ipld_dagcbor::from_slice(object)
            .map_err(|error| FieldsFault::Decode(decode_fault(&error)))?;
        Self::of(value).ok_or(FieldsFault::NotAMap)
    }

    /// The fields of `object`; `None` if it is not a map.
    pub(crate) fn of(object: Ipld) -> Option<Self> {
        match object {
            Ipld::Map(fields) => Some(Self(fields)),
            _ => None,
        }
    }

    /// The fields that were not taken.
    pub(crate) fn rest(self) -> BTreeMap<String, Ipld> {
        self.0
    }

    /// A field that may be missing or null.
    pub(crate) fn optional<T>(
        &mut self,
        field: &'static str,
        take: impl FnOnce(&mut Self, &'static str) -> Result<T, FieldsFault>,
    ) -> Result<Option<T>, FieldsFault> {
        match self.0.get(field) {
            None | Some(Ipld::Null) => Ok(None),
            Some(_) => take(self, field).map(Some),
        }
    }

    /// A link or null, which must be there.
    pub(crate) fn link_or_null(&mut self, field: &'static str) -> Result<Option<Cid>, FieldsFault> {
        self.take(field, "a link or null")
    }

    pub(crate) fn link(&mut self, field: &'static str) -> Result<Cid, FieldsFault> {
        self.take(field, "a link")
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Result<String, FieldsFault> {
        self.take(field, "text")
    }

    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<Vec<u8>, FieldsFault> {
        self.take(field, "a byte string")
    }

    pub(crate) fn boolean(&mut self, field: &'static str) -> Result<bool, FieldsFault> {
        self.take(field, "true or false")
    }

    /// A number from -2^64 to 2^64 - 1: DAG-CBOR has no others.
    pub(crate) fn number(&mut self, field: &'static str) -> Result<i128, FieldsFault> {
        self.take(field, "a number")
    }

    pub(crate) fn integer(&mut self, field: &'static str) -> Result<i64, FieldsFault> {
        self.take(field, "a 64-bit integer")
    }

    /// A list of maps.
    pub(crate) fn maps(&mut self, field: &'static str) -> Result<Vec<Self>, FieldsFault> {
        let wanted = "a list of maps";
        let items: Vec<Ipld> = self.take(field, wanted)?;
        let maps: Option<_> = items.into_iter().map(Self::of).collect();
        maps.ok_or(FieldsFault::FieldType { field, wanted })
    }

    /// Takes a field that must be there, and be what is `wanted`, a `T`.
    fn take<T: TryFrom<Ipld>>(
        &mut self,
        field: &'static str,
        wanted: &'static str,
    ) -> Result<T, FieldsFault> {
        let value = self.0.remove(field);
        let value = value.ok_or(FieldsFault::MissingField { field })?;
        let value = T::try_from(value);
        value.map_err(|_| FieldsFault::FieldType { field, wanted })
    }
}

/// Makes an error type of its own out of a [`FieldsFault`], variant by variant.
macro_rules! from_fields_fault {
    ($error:ty) => {
        impl From<$crate::fields::FieldsFault> for $error {
            fn from(fault: $crate::fields::FieldsFault) -> Self {
                use $crate::fields::FieldsFault;
                match fault {
                    FieldsFault::NotDagCbor(invalid) => Self::NotDagCbor(invalid),
                    FieldsFault::TooManyItems { limit } => Self::TooManyItems { limit },
                    FieldsFault::Decode(why) => Self::Decode(why),
                    FieldsFault::NotAMap => Self::NotAMap,
                    FieldsFault::MissingField { field } => Self::MissingField { field },
                    FieldsFault::FieldType { field, wanted } => Self::FieldType { field, wanted },
                }
            }
        }
    };
}

pub(crate) use from_fields_fault;
