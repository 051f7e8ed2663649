//! Private keys as text: a multikey, as tools of atproto store them.
//!
//! Sources: <https://atproto.com/specs/cryptography>, <https://www.w3.org/TR/cid-1.0/#Multikey>

use multibase::Base;
use zeroize::Zeroizing;

use super::did_key::{K256_CODEC as K256_PUBLIC_CODEC, P256_CODEC as P256_PUBLIC_CODEC};
use super::{Curve, InvalidSigningKey, SigningKey};

impl SigningKey {
    /// Reads a key in the form of a multikey: `z`, and in base58btc the codec of the curve and the
    /// 32 bytes of the key. The caller must wipe the text.
    ///
    /// # Errors
    ///
    /// [`InvalidSigningKey`], which reveals nothing of the text.
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_repo::{Curve, SigningKey};
    ///
    /// let key = SigningKey::from_bytes(Curve::K256, &[7; 32])?;
    /// let text = key.to_multikey();
    /// assert_eq!(SigningKey::from_multikey(&text)?.public_key(), key.public_key());
    /// # Ok::<(), mst_repo::InvalidSigningKey>(())
    /// ```
    pub fn from_multikey(text: &str) -> Result<Self, InvalidSigningKey> {
        let digits = text.strip_prefix(Base::Base58Btc.code());
        // Decoding takes quadratic time.
        let digits = digits.filter(|digits| digits.len() < MAX_LEN);
        let decoded = digits.and_then(|digits| Base::Base58Btc.decode(digits).ok());
        let decoded = Zeroizing::new(decoded.ok_or(InvalidSigningKey::NotMultikey)?);
        let (codec, secret) = decoded
            .split_first_chunk()
            .ok_or(InvalidSigningKey::NotMultikey)?;
        let curve = match *codec {
            K256_CODEC => Curve::K256,
            P256_CODEC => Curve::P256,
            K256_PUBLIC_CODEC | P256_PUBLIC_CODEC => return Err(InvalidSigningKey::Public),
            _ => return Err(InvalidSigningKey::Codec),
        };
        let len = secret.len();
        let secret = secret.try_into();
        Self::from_bytes(curve, secret.map_err(|_| InvalidSigningKey::Len { len })?)
    }

    /// Returns the key in the form of a multikey, as [`from_multikey`](Self::from_multikey) reads
    /// it. The caller must wipe it.
    pub fn to_multikey(&self) -> String {
        let secret = Zeroizing::new(self.to_bytes());
        let codec = match self.public_key().curve() {
            Curve::K256 => K256_CODEC,
            Curve::P256 => P256_CODEC,
        };
        let bytes = Zeroizing::new([codec.as_slice(), secret.as_slice()].concat());
        multibase::encode(Base::Base58Btc, &*bytes)
    }
}

/// A key has some 50 digits.
const MAX_LEN: usize = 128;
/// `secp256k1-priv` of multicodec, 0x1301, as a varint.
const K256_CODEC: [u8; 2] = [0x81, 0x26];
/// `p256-priv` of multicodec, 0x1306, as a varint.
const P256_CODEC: [u8; 2] = [0x86, 0x26];

#[cfg(all(test, feature = "k256", feature = "p256"))]
#[allow(clippy::unwrap_used, reason = "a panic in a test is the report")]
mod tests {
    use super::*;

    /// Source: the file `w3c_didkey_K256.json` of <https://github.com/bluesky-social/atproto-interop-tests>,
    /// whose private keys are in hexadecimal.
    #[test]
    fn what_is_written_is_read_and_gives_the_published_public_key() {
        for (curve, secret, expected) in [
            (
                Curve::K256,
                "9085d2bef69286a6cbb51623c8fa258629945cd55ca705cc4e66700396894e0c",
                "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
            ),
            (
                Curve::K256,
                "f0f4df55a2b3ff13051ea814a8f24ad00f2e469af73c363ac7e9fb999a9072ed",
                "did:key:zQ3shtxV1FrJfhqE1dvxYRcCknWNjHc3c5X1y3ZSoPDi2aur2",
            ),
        ] {
            let secret = data_encoding::HEXLOWER.decode(secret.as_bytes()).unwrap();
            let key = SigningKey::from_bytes(curve, secret.as_slice().try_into().unwrap());
            let text = key.unwrap().to_multikey();
            let read = SigningKey::from_multikey(&text).unwrap();
            assert_eq!(read.to_bytes(), secret.as_slice());
            assert_eq!(read.public_key().to_string(), expected);
        }
        let key = SigningKey::from_bytes(Curve::P256, &[7; 32]).unwrap();
        let read = SigningKey::from_multikey(&key.to_multikey()).unwrap();
        assert_eq!(read.public_key(), key.public_key());
    }

    #[test]
    fn what_is_no_key_is_refused_for_its_reason() {
        use InvalidSigningKey::{Codec, Len, NotMultikey, OutOfRange, Public};
        let multikey = |codec: [u8; 2], secret: &[u8]| {
            multibase::encode(Base::Base58Btc, [codec.as_slice(), secret].concat())
        };
        let (k256, p256) = (Curve::K256, Curve::P256);
        for (text, fault) in [
            (String::new(), NotMultikey),
            ("zI".to_owned(), NotMultikey),
            ("z".to_owned(), NotMultikey),
            ("7".repeat(64), NotMultikey),
            ("z".repeat(129), NotMultikey),
            (multikey(K256_CODEC, &[1; 31]), Len { len: 31 }),
            (multikey(P256_CODEC, &[1; 33]), Len { len: 33 }),
            (multikey(K256_CODEC, &[0; 32]), OutOfRange { curve: k256 }),
            (
                multikey(P256_CODEC, &[0xff; 32]),
                OutOfRange { curve: p256 },
            ),
            (multikey(K256_PUBLIC_CODEC, &[2; 33]), Public),
            (multikey(P256_PUBLIC_CODEC, &[2; 33]), Public),
            (multikey([0x80, 0x26], &[1; 32]), Codec),
        ] {
            let found = SigningKey::from_multikey(&text).map(drop);
            assert_eq!(found, Err(fault), "{text}");
        }
    }
}
