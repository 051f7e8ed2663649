//! Signatures of commits: ECDSA over SHA-256, with keys of two curves.
//!
//! The form of a signature can be checked without either curve; making or verifying one requires
//! the feature of its curve.

mod curve;
#[cfg(any(feature = "k256", feature = "p256"))]
mod did_key;
#[cfg(any(feature = "k256", feature = "p256"))]
mod private_multikey;
#[cfg(any(feature = "k256", feature = "p256"))]
mod public_key;
#[cfg(any(feature = "k256", feature = "p256"))]
mod signing_key;

use std::error::Error;
use std::sync::Arc;

pub use curve::Curve;
#[cfg(any(feature = "k256", feature = "p256"))]
pub use public_key::{InvalidPublicKey, PublicKey};
#[cfg(any(feature = "k256", feature = "p256"))]
pub use signing_key::{InvalidSigningKey, SigningKey};

use crate::Commit;

impl Commit {
    /// Signs the commit, so that [`sig`](Self::sig) covers all its other fields, including those in
    /// [`extra`](Self::extra).
    ///
    /// What `signer` returns is not trusted: if its public key is known, the signature must be by
    /// it, and if not, it must at least have the form of one. Whether the key is the one in the
    /// account's DID document is for the caller to check.
    ///
    /// # Errors
    ///
    /// [`SignError`]; the commit is then unchanged.
    ///
    /// # Panics
    ///
    /// As for [`encode`](Self::encode).
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_node::Node;
    /// use mst_repo::{Commit, Curve, SigningKey};
    ///
    /// let key = SigningKey::from_bytes(Curve::K256, &[7; 32])?;
    /// let mut commit = Commit::unsigned(
    ///     "did:plc:z72i7hdynmk6r22z27h6tvur",
    ///     "3jzfcijpj2z2a".parse()?,
    ///     Node::empty().cid(),
    /// );
    /// commit.sign(&key)?;
    /// commit.verify_signature(&key.public_key())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sign(&mut self, signer: &(impl Signer + ?Sized)) -> Result<(), SignError> {
        let message = self.unsigned_bytes();
        let signature = signer.sign(&message)?;
        check_signed(signer, &message, &signature).map_err(SignError::Invalid)?;
        self.sig = signature.to_vec();
        Ok(())
    }

    /// Checks that [`sig`](Self::sig) is a signature by `key` over all the other fields.
    ///
    /// Whether `key` is the account's is not checked: the DID document of [`did`](Self::did) names
    /// it, as the verification method `#atproto`.
    ///
    /// Source: <https://atproto.com/specs/repository#commit-objects>
    ///
    /// # Errors
    ///
    /// [`SignatureError`]; for a commit that has not been signed yet, [`SignatureError::Len`].
    #[cfg(any(feature = "k256", feature = "p256"))]
    pub fn verify_signature(&self, key: &PublicKey) -> Result<(), SignatureError> {
        key.verify(&self.unsigned_bytes(), &self.sig)
    }
}

#[cfg(any(feature = "k256", feature = "p256"))]
fn check_signed(
    signer: &(impl Signer + ?Sized),
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    match signer.public_key() {
        Some(key) => key.verify(message, signature),
        None => check_form(Curve::WIDER, signature),
    }
}

#[cfg(not(any(feature = "k256", feature = "p256")))]
fn check_signed(
    _: &(impl Signer + ?Sized),
    _: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    check_form(Curve::WIDER, signature)
}

/// Anything that can sign: a `SigningKey` in memory, or a key that is somewhere else, in a device
/// or behind a service.
///
/// A closure from the bytes to be signed to their signature is a signer with an unknown key. An
/// `Arc` of a signer and a boxed `dyn Signer` are signers too; of any other handle, pass `&*key`.
///
/// # Examples
///
/// ```
/// use mst_repo::{PublicKey, SignError, Signer};
///
/// /// A key held by some service.
/// struct RemoteKey {
///     public_key: PublicKey,
/// }
///
/// impl Signer for RemoteKey {
///     fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
///         # fn ask_the_service(_: &[u8]) -> std::io::Result<[u8; 64]> {
///         #     Err(std::io::ErrorKind::TimedOut.into())
///         # }
///         ask_the_service(message).map_err(SignError::signer)
///     }
///
///     fn public_key(&self) -> Option<PublicKey> {
///         Some(self.public_key)
///     }
/// }
/// # let public_key = "did:key:zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc".parse()?;
/// # let signer: Box<dyn Signer> = Box::new(RemoteKey { public_key });
/// # assert!(matches!(signer.sign(b""), Err(SignError::Signer(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Signer {
    /// Returns the ECDSA signature over the SHA-256 of `message`: r and s, 32 bytes each,
    /// big-endian, with the lower of the two values that s can have.
    ///
    /// Many services return DER, and the higher s as often as the lower; a `Signer` for one of
    /// these has to convert both.
    ///
    /// # Errors
    ///
    /// [`SignError::Signer`] if no signature can be obtained.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError>;

    /// Returns the public key of the signatures, so that each is verified before it is used. If it
    /// is not known, `None` skips that.
    #[cfg(any(feature = "k256", feature = "p256"))]
    fn public_key(&self) -> Option<PublicKey> {
        None
    }
}

impl<F: Fn(&[u8]) -> Result<[u8; 64], SignError>> Signer for F {
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        self(message)
    }
}

macro_rules! forward_to_target {
    ($($handle:ty $(: $target:ident)?),*) => {$(
        impl$(<$target: Signer + ?Sized>)? Signer for $handle {
            fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
                (**self).sign(message)
            }

            #[cfg(any(feature = "k256", feature = "p256"))]
            fn public_key(&self) -> Option<PublicKey> {
                (**self).public_key()
            }
        }
    )*};
}

// Not for all references and boxes: these may be closures.
forward_to_target!(
    Arc<T>: T,
    Box<dyn Signer>,
    Box<dyn Signer + Send>,
    Box<dyn Signer + Send + Sync>
);

/// Checks what can be checked of a signature without a message: its length, and that r and s are in
/// range.
fn check_form(curve: Curve, signature: &[u8]) -> Result<(), SignatureError> {
    let ([r_high, r_low, s_high, s_low], []) = signature.as_chunks() else {
        return Err(match signature {
            [0x30, len, 0x02, ..] if usize::from(*len) + 2 == signature.len() => {
                SignatureError::Der
            }
            _ => SignatureError::Len {
                len: signature.len(),
            },
        });
    };
    let number = |high, low| (u128::from_be_bytes(high), u128::from_be_bytes(low));
    let s = number(*s_high, *s_low);
    for (scalar, value) in [("r", number(*r_high, *r_low)), ("s", s)] {
        if value == (0, 0) {
            return Err(SignatureError::Zero { scalar });
        }
        if value >= curve.order() {
            return Err(SignatureError::TooLarge { scalar });
        }
    }
    if s > curve.half_order() {
        return Err(SignatureError::HighS);
    }
    Ok(())
}

/// Why a signature is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// It is not 64 bytes long.
    #[error("a signature of {len} bytes, not 64")]
    Len {
        /// How long it is.
        len: usize,
    },
    /// It is in DER, where atproto accepts only r and s.
    #[error("a signature in DER, not of 64 bytes")]
    Der,
    /// r or s is 0.
    #[error("{scalar} is 0")]
    Zero {
        /// Which of the two.
        scalar: &'static str,
    },
    /// r or s is not less than the order of the curve.
    #[error("{scalar} is not less than the order of the curve")]
    TooLarge {
        /// Which of the two.
        scalar: &'static str,
    },
    /// s is the higher of the two values that it can have. Atproto requires the lower, so that
    /// nobody can change a commit's CID without its key.
    #[error("s is more than half the order of the curve")]
    HighS,
    /// It has the right form, but is not by this key over this message.
    #[error("the signature is not by this key over this message")]
    Mismatch,
}

/// Why a commit was not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The signer failed; trying again may help.
    #[error("the signer failed")]
    Signer(#[source] Box<dyn Error + Send + Sync>),
    /// What the signer returned is not a signature, or not one by its key.
    #[error("the signer returned a signature that is not valid")]
    Invalid(#[source] SignatureError),
}

impl SignError {
    /// Wraps the error of a signer.
    pub fn signer(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Signer(error.into())
    }
}
