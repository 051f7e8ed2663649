//! Private keys in memory.

use std::fmt;

use zeroize::Zeroizing;

use super::public_key::Point;
use super::{Curve, PublicKey, SignError, Signer};

/// A private key in memory, which is wiped when it is dropped.
///
/// The same key always makes the same signature of a message (RFC 6979), so signing needs no
/// randomness.
///
/// # Examples
///
/// ```
/// use mst_repo::{Curve, Signer, SigningKey};
///
/// let key = SigningKey::from_bytes(Curve::P256, &[7; 32])?;
/// let signature = key.sign(b"a message")?;
/// key.public_key().verify(b"a message", &signature)?;
/// assert_eq!(format!("{key:?}"), "SigningKey { .. }");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SigningKey(Scalar);

/// A scalar of a curve whose feature is on. Both types wipe it when they are dropped.
enum Scalar {
    #[cfg(feature = "k256")]
    K256(k256::ecdsa::SigningKey),
    #[cfg(feature = "p256")]
    P256(p256::ecdsa::SigningKey),
}

impl SigningKey {
    /// Makes a new key with `random`, which must fill in bytes fit for secrets: from the system, as
    /// the crate `getrandom` does, or from a `CryptoRng`.
    ///
    /// # Errors
    ///
    /// [`InvalidSigningKey::CurveNotEnabled`]. [`InvalidSigningKey::OutOfRange`] if the bytes are
    /// not a key four times in a row, which does not happen with random ones: on P-256 it is one
    /// time in 2^32 that they are not, and on K-256 even less.
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_repo::{Curve, SigningKey};
    ///
    /// # mod getrandom {
    /// #     pub fn fill(bytes: &mut [u8]) -> Result<(), std::io::Error> {
    /// #         bytes.fill(7);
    /// #         Ok(())
    /// #     }
    /// # }
    /// let key = SigningKey::generate(Curve::K256, |bytes| {
    ///     getrandom::fill(bytes).expect("the system has randomness")
    /// })?;
    /// # Ok::<(), mst_repo::InvalidSigningKey>(())
    /// ```
    pub fn generate(
        curve: Curve,
        mut random: impl FnMut(&mut [u8]),
    ) -> Result<Self, InvalidSigningKey> {
        const TRIES: usize = 4;
        let mut bytes = Zeroizing::new([0; 32]);
        let mut made = Err(InvalidSigningKey::OutOfRange { curve });
        for _ in 0..TRIES {
            random(bytes.as_mut_slice());
            made = Self::from_bytes(curve, &bytes);
            if !matches!(made, Err(InvalidSigningKey::OutOfRange { .. })) {
                break;
            }
        }
        made
    }

    /// Takes the key with the secret number `bytes`, big-endian. The caller must wipe them.
    ///
    /// # Errors
    ///
    /// [`InvalidSigningKey::OutOfRange`] or [`InvalidSigningKey::CurveNotEnabled`].
    pub fn from_bytes(curve: Curve, bytes: &[u8; 32]) -> Result<Self, InvalidSigningKey> {
        let scalar = match curve {
            #[cfg(feature = "k256")]
            Curve::K256 => k256::ecdsa::SigningKey::from_slice(bytes).map(Scalar::K256),
            #[cfg(feature = "p256")]
            Curve::P256 => p256::ecdsa::SigningKey::from_slice(bytes).map(Scalar::P256),
            #[cfg(not(all(feature = "k256", feature = "p256")))]
            curve => return Err(InvalidSigningKey::CurveNotEnabled { curve }),
        };
        match scalar {
            Ok(scalar) => Ok(Self(scalar)),
            Err(_) => Err(InvalidSigningKey::OutOfRange { curve }),
        }
    }

    /// Returns the key to verify the signatures with.
    pub fn public_key(&self) -> PublicKey {
        match &self.0 {
            #[cfg(feature = "k256")]
            Scalar::K256(scalar) => Point::K256(*scalar.verifying_key()).into(),
            #[cfg(feature = "p256")]
            Scalar::P256(scalar) => Point::P256(*scalar.verifying_key()).into(),
        }
    }

    /// Returns the secret number, big-endian, for storage. The caller must wipe it.
    pub fn to_bytes(&self) -> [u8; 32] {
        match &self.0 {
            #[cfg(feature = "k256")]
            Scalar::K256(scalar) => scalar.to_bytes().into(),
            #[cfg(feature = "p256")]
            Scalar::P256(scalar) => scalar.to_bytes().into(),
        }
    }
}

impl Signer for SigningKey {
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let signature = match &self.0 {
            #[cfg(feature = "k256")]
            Scalar::K256(scalar) => {
                use k256::ecdsa::{Signature, signature::Signer};
                let signature = scalar.try_sign(message);
                signature.map(|signature: Signature| signature.normalize_s().to_bytes().into())
            }
            #[cfg(feature = "p256")]
            Scalar::P256(scalar) => {
                use p256::ecdsa::{Signature, signature::Signer};
                let signature = scalar.try_sign(message);
                signature.map(|signature: Signature| signature.normalize_s().to_bytes().into())
            }
        };
        signature.map_err(SignError::signer)
    }

    fn public_key(&self) -> Option<PublicKey> {
        Some(self.public_key())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

/// Why some bytes, or a text, are not a private key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSigningKey {
    /// The number is 0, or not less than the order of the curve.
    #[error("it is 0, or not less than the order of the curve {curve}")]
    OutOfRange {
        /// The curve.
        curve: Curve,
    },
    /// It is not a multikey in base58btc.
    #[error("not a multikey in base58btc, which is z and about 50 digits")]
    NotMultikey,
    /// It is the multikey of a public key.
    #[error("it is a public key")]
    Public,
    /// It is the multikey of something other than a key of one of the two curves.
    #[error("not of the curve k256 or p256")]
    Codec,
    /// A key of another length than 32 bytes.
    #[error("{len} bytes, not 32")]
    Len {
        /// Its length.
        len: usize,
    },
    /// The curve's feature is off.
    #[error("keys of the curve {curve} need the feature `{curve}`, which is off")]
    CurveNotEnabled {
        /// The curve.
        curve: Curve,
    },
}
