//! Public keys: a point of either curve.

use std::hash::{Hash, Hasher};

use super::{Curve, SignatureError, check_form};

/// A public key, to verify signatures with: a point that is on its curve.
///
/// Its text form is a `did:key`, which [`parse`](str::parse) reads and
/// [`to_string`](ToString::to_string) writes.
///
/// Source: <https://atproto.com/specs/cryptography>
///
/// # Examples
///
/// ```
/// use mst_repo::{Curve, PublicKey};
///
/// let text = "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme";
/// let key: PublicKey = text.parse()?;
/// assert_eq!(key.curve(), Curve::K256);
/// assert_eq!(key.to_string(), text);
/// # Ok::<(), mst_repo::InvalidPublicKey>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(Point);

/// A point of a curve whose feature is on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    #[cfg(feature = "k256")]
    K256(k256::ecdsa::VerifyingKey),
    #[cfg(feature = "p256")]
    P256(p256::ecdsa::VerifyingKey),
}

impl PublicKey {
    /// Reads a point in SEC 1 form: 33 bytes compressed, or 65 uncompressed.
    ///
    /// # Errors
    ///
    /// [`InvalidPublicKey::Len`], [`Tag`](InvalidPublicKey::Tag) or
    /// [`NotOnCurve`](InvalidPublicKey::NotOnCurve) if they are not a point, or the point at
    /// infinity; [`CurveNotEnabled`](InvalidPublicKey::CurveNotEnabled).
    pub fn from_sec1(curve: Curve, bytes: &[u8]) -> Result<Self, InvalidPublicKey> {
        match (bytes.len(), bytes.first()) {
            (33, Some(2 | 3)) | (65, Some(4)) => {}
            (33 | 65, Some(&found)) => return Err(InvalidPublicKey::Tag { found }),
            (len, _) => {
                let wanted = "33 or 65";
                return Err(InvalidPublicKey::Len { len, wanted });
            }
        }
        let point = match curve {
            #[cfg(feature = "k256")]
            Curve::K256 => k256::ecdsa::VerifyingKey::from_sec1_bytes(bytes).map(Point::K256),
            #[cfg(feature = "p256")]
            Curve::P256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes).map(Point::P256),
            #[cfg(not(all(feature = "k256", feature = "p256")))]
            curve => return Err(InvalidPublicKey::CurveNotEnabled { curve }),
        };
        match point {
            Ok(point) => Ok(Self(point)),
            Err(_) => Err(InvalidPublicKey::NotOnCurve { curve }),
        }
    }

    /// Returns the point in compressed SEC 1 form.
    pub fn to_sec1(&self) -> [u8; 33] {
        match &self.0 {
            #[cfg(feature = "k256")]
            Point::K256(point) => k256::CompressedPoint::from(point).into(),
            #[cfg(feature = "p256")]
            Point::P256(point) => p256::CompressedPoint::from(point).into(),
        }
    }

    /// Returns the point in uncompressed SEC 1 form.
    pub fn to_sec1_uncompressed(&self) -> [u8; 65] {
        let bytes = match &self.0 {
            #[cfg(feature = "k256")]
            Point::K256(point) => point.to_sec1_point(false).as_bytes().try_into(),
            #[cfg(feature = "p256")]
            Point::P256(point) => point.to_sec1_point(false).as_bytes().try_into(),
        };
        bytes.expect("a tag and two coordinates of 32 bytes are 65")
    }

    /// Returns the curve of the key.
    pub fn curve(&self) -> Curve {
        match &self.0 {
            #[cfg(feature = "k256")]
            Point::K256(_) => Curve::K256,
            #[cfg(feature = "p256")]
            Point::P256(_) => Curve::P256,
        }
    }

    /// Checks that `signature` is one by this key over `message`, in the only form that atproto
    /// accepts: 64 bytes, r and s, big-endian, with s the lower of its two values.
    ///
    /// It is ECDSA over the SHA-256 of `message`, which is computed here.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Mismatch`] for a signature by another key or over another message; the
    /// other variants for a wrong form.
    ///
    /// # Examples
    ///
    /// ```
    /// use data_encoding::BASE64_NOPAD;
    /// use mst_repo::{PublicKey, SignatureError};
    ///
    /// let key = "did:key:zDnaembgSGUhZULN2Caob4HLJPaxBh92N7rtH21TErzqf8HQo";
    /// let key: PublicKey = key.parse()?;
    /// let signature = b"2vZNsG3UKvvO/CDlrdvyZRISOFylinBh0Jupc6KcWoJW\
    ///                   ExHptCfduPleDbG3rko3YZnn9Lw0IjpixVmexJDegg";
    /// let signature = BASE64_NOPAD.decode(signature)?;
    ///
    /// key.verify(b"\xa1ehelloeworld", &signature)?;
    /// let mismatch = key.verify(b"\xa1ehelloeearth", &signature);
    /// assert_eq!(mismatch, Err(SignatureError::Mismatch));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        check_form(self.curve(), signature)?;
        let verified = match &self.0 {
            #[cfg(feature = "k256")]
            Point::K256(point) => {
                use k256::ecdsa::{Signature, signature::Verifier};
                Signature::from_slice(signature)
                    .and_then(|signature| point.verify(message, &signature))
            }
            #[cfg(feature = "p256")]
            Point::P256(point) => {
                use p256::ecdsa::{Signature, signature::Verifier};
                Signature::from_slice(signature)
                    .and_then(|signature| point.verify(message, &signature))
            }
        };
        verified.map_err(|_| SignatureError::Mismatch)
    }
}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_sec1().hash(state);
    }
}

impl From<Point> for PublicKey {
    fn from(point: Point) -> Self {
        Self(point)
    }
}

/// Why some text or bytes are not a public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPublicKey {
    /// The text does not begin with `did:key:`.
    #[error("not a `did:key`")]
    NotDidKey,
    /// A verification method whose type does not hold a key of ours.
    #[error("a verification method of the type {found:?}")]
    VerificationMethod {
        /// The type.
        found: String,
    },
    /// The text is longer than any key.
    #[error("{len} bytes of text, more than any key has")]
    TooLong {
        /// How long it is, without `did:key:`.
        len: usize,
    },
    /// The text does not begin with `z`, as base58btc does in multibase.
    #[error("multibase other than base58btc")]
    Multibase,
    /// A character is not in base58btc.
    #[error("not base58btc")]
    Base58,
    /// The key is of a kind that atproto does not use.
    #[error("{found:02x?} are not the first bytes of a k256 or a p256 key")]
    Codec {
        /// The first bytes of the key, which are not the codec of one of the two.
        found: [u8; 2],
    },
    /// The point does not have the length of one.
    #[error("a point of {len} bytes, not {wanted}")]
    Len {
        /// How long it is.
        len: usize,
        /// The valid lengths.
        wanted: &'static str,
    },
    /// The first byte of the point does not mark it as compressed or uncompressed, or does not
    /// match its length.
    #[error("a point that begins with {found:#04x}")]
    Tag {
        /// The first byte.
        found: u8,
    },
    /// The bytes are not those of a point of the curve.
    #[error("not a point of the curve {curve}")]
    NotOnCurve {
        /// The curve.
        curve: Curve,
    },
    /// The key's curve belongs to a feature that is off, so it was not checked.
    #[error("keys of the curve {curve} need the feature `{curve}`, which is off")]
    CurveNotEnabled {
        /// The curve.
        curve: Curve,
    },
}
