//! Public keys as text: `did:key`, and the forms in DID documents.

use std::fmt;
use std::str::FromStr;

use multibase::Base;

use super::{Curve, InvalidPublicKey, PublicKey};

impl PublicKey {
    /// Reads the key of a verification method of a DID document: its `type`, here `kind`, and
    /// its `publicKeyMultibase`.
    ///
    /// `Multikey` is the current form. The older `EcdsaSecp256k1VerificationKey2019` and
    /// `EcdsaSecp256r1VerificationKey2019` name the curve in the type, and hold only the point,
    /// compressed or not.
    ///
    /// Source: <https://atproto.com/specs/cryptography>
    ///
    /// # Errors
    ///
    /// [`InvalidPublicKey::VerificationMethod`] for any other `kind`; the other variants for an
    /// invalid key.
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_repo::PublicKey;
    ///
    /// let old = PublicKey::from_verification_method(
    ///     "EcdsaSecp256k1VerificationKey2019",
    ///     "z25z9DTpsiYYJKGsWmSPJK2NFN8PcJtZig12K59UgW7q5t",
    /// )?;
    /// let new = PublicKey::from_verification_method(
    ///     "Multikey",
    ///     "zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc",
    /// )?;
    /// assert_eq!(old, new);
    /// # Ok::<(), mst_repo::InvalidPublicKey>(())
    /// ```
    pub fn from_verification_method(
        kind: &str,
        public_key_multibase: &str,
    ) -> Result<Self, InvalidPublicKey> {
        let curve = match kind {
            "Multikey" => return Self::from_multikey(public_key_multibase),
            "EcdsaSecp256k1VerificationKey2019" => Curve::K256,
            "EcdsaSecp256r1VerificationKey2019" => Curve::P256,
            found => {
                let found = found.to_owned();
                return Err(InvalidPublicKey::VerificationMethod { found });
            }
        };
        Self::from_sec1(curve, &from_base58btc(public_key_multibase)?)
    }

    /// Reads a multikey, the part of a `did:key` after `did:key:`: in base58btc, the codec of
    /// the curve and a compressed point.
    ///
    /// # Errors
    ///
    /// [`InvalidPublicKey`]; each key has only one spelling, and no other is accepted.
    pub fn from_multikey(text: &str) -> Result<Self, InvalidPublicKey> {
        let bytes = from_base58btc(text)?;
        let wanted = "33";
        let Some((codec, point)) = bytes.split_first_chunk() else {
            return Err(InvalidPublicKey::Len { len: 0, wanted });
        };
        let curve = match *codec {
            K256_CODEC => Curve::K256,
            P256_CODEC => Curve::P256,
            found => return Err(InvalidPublicKey::Codec { found }),
        };
        match point.len() {
            33 => Self::from_sec1(curve, point),
            len => Err(InvalidPublicKey::Len { len, wanted }),
        }
    }

    /// Returns the key as a multikey, the form of `publicKeyMultibase` in a DID document.
    pub fn to_multikey(&self) -> String {
        let codec = match self.curve() {
            Curve::K256 => K256_CODEC,
            Curve::P256 => P256_CODEC,
        };
        let bytes = [codec.as_slice(), &self.to_sec1()].concat();
        multibase::encode(Base::Base58Btc, bytes)
    }
}

/// Reads a `did:key`.
impl FromStr for PublicKey {
    type Err = InvalidPublicKey;

    fn from_str(text: &str) -> Result<Self, InvalidPublicKey> {
        match text.strip_prefix(DID_KEY) {
            Some(multikey) => Self::from_multikey(multikey),
            None => Err(InvalidPublicKey::NotDidKey),
        }
    }
}

/// Writes a `did:key`.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DID_KEY}{}", self.to_multikey())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

fn from_base58btc(text: &str) -> Result<Vec<u8>, InvalidPublicKey> {
    // Decoding takes quadratic time.
    if text.len() > MAX_LEN {
        return Err(InvalidPublicKey::TooLong { len: text.len() });
    }
    let Some(digits) = text.strip_prefix(Base::Base58Btc.code()) else {
        return Err(InvalidPublicKey::Multibase);
    };
    let decoded = Base::Base58Btc.decode(digits);
    decoded.map_err(|_| InvalidPublicKey::Base58)
}

const DID_KEY: &str = "did:key:";
/// `secp256k1-pub` of multicodec, 0xe7, as a varint.
pub(super) const K256_CODEC: [u8; 2] = [0xe7, 0x01];
/// `p256-pub` of multicodec, 0x1200, as a varint.
pub(super) const P256_CODEC: [u8; 2] = [0x80, 0x24];
/// The `z`, and the digits of a codec and an uncompressed point: the longest mistake for which
/// there is a specific error.
const MAX_LEN: usize = 93;
