//! Signatures of commits: ECDSA over SHA-256, with keys of two curves.
//!
//! What a signature looks like is known without either curve; making and verifying one takes the
//! feature of its curve.

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

pub use curve::Curve;
#[cfg(any(feature = "k256", feature = "p256"))]
pub use public_key::{InvalidPublicKey, PublicKey};
#[cfg(any(feature = "k256", feature = "p256"))]
pub use signing_key::{InvalidSigningKey, SigningKey};

use crate::Commit;

impl Commit {
    /// Signs the commit, so that [`sig`](Self::sig) covers all its other fields, those in
    /// [`extra`](Self::extra) too.
    ///
    /// What `signer` gives is not taken on trust: if its public key is known, the signature must
    /// be by it, and if not, it must be in a form that some key could have given. That the key is
    /// the one that the account's DID document names is the caller's matter.
    ///
    /// # Errors
    ///
    /// [`SignError`]; the commit is then as it was.
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
    ///     "3jzfcijpj2z2a",
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
    /// Whether `key` is the account's is another question: the DID document of
    /// [`did`](Self::did) names it, as the verification method `#atproto`.
    ///
    /// Source: <https://atproto.com/specs/repository#commit-objects>
    ///
    /// # Errors
    ///
    /// [`SignatureError`]; for a commit that nobody has signed yet, [`SignatureError::Len`].
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

/// Whoever can sign: a `SigningKey` in memory, or a key that lives elsewhere, in a device or
/// behind a service.
///
/// A closure from the bytes to be signed to their signature is a signer whose key nobody knows. What is in
/// a `Box` or an `Arc` is lent as `&*key`.
///
/// # Examples
///
/// ```
/// use mst_repo::{PublicKey, SignError, Signer};
///
/// /// A key that some service holds.
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
    /// Returns the ECDSA signature over the SHA-256 of `message`: r and s, 32 bytes each, big
    /// end first, with the lower of the two values that s can have.
    ///
    /// Many services give DER, and the higher s as often as the lower; a `Signer` for one of
    /// these puts both right.
    ///
    /// # Errors
    ///
    /// [`SignError::Signer`] if there is none to be had.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError>;

    /// Returns the key that the signatures are by, so that each is verified before it is used.
    /// `None`, if it is not known, leaves that out.
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

/// Checks what can be said of a signature without a message: its length, and that r and s are
/// in range.
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

/// Why a signature is not one that proves anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// It is not 64 bytes long.
    #[error("a signature of {len} bytes, not 64")]
    Len {
        /// How long it is.
        len: usize,
    },
    /// It is in DER, where atproto takes r and s alone.
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
    /// s is the higher of the two values that it can have, of which atproto takes the lower,
    /// so that nobody can change a commit's CID without its key.
    #[error("s is more than half the order of the curve")]
    HighS,
    /// It has the right form, and is not by this key over this message.
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
    /// The signer gave what is no signature, or not one by its key.
    #[error("the signer gave a signature that is not valid")]
    Invalid(#[source] SignatureError),
}

impl SignError {
    /// Wraps the error of whatever holds the key.
    pub fn signer(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Signer(error.into())
    }
}
