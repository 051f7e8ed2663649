//! The danger: a key that is not the one that was written, so that the wrong account's
//! signature is believed, or one point in two encodings, so that equal keys look different.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::HashSet;

use mst_repo::{Curve, InvalidPublicKey, PublicKey};
use multibase::Base;
use proptest::prelude::*;

const K256: &str = "did:key:zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc";
const P256: &str = "did:key:zDnaembgSGUhZULN2Caob4HLJPaxBh92N7rtH21TErzqf8HQo";
const K256_CODEC: [u8; 2] = [0xe7, 0x01];
const P256_CODEC: [u8; 2] = [0x80, 0x24];

// ---- Vectors.

/// Source: `crypto/` of <https://github.com/bluesky-social/atproto-interop-tests>
#[test]
fn the_published_did_keys_are_read_and_written() {
    for (text, curve) in [
        (K256, Curve::K256),
        (
            "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
            Curve::K256,
        ),
        (
            "did:key:zQ3shtxV1FrJfhqE1dvxYRcCknWNjHc3c5X1y3ZSoPDi2aur2",
            Curve::K256,
        ),
        (P256, Curve::P256),
        (
            "did:key:zDnaeTiq1PdzvZXUaMdezchcMJQpBdH2VN4pgrrEhMCCbmwSb",
            Curve::P256,
        ),
    ] {
        let key: PublicKey = text.parse().unwrap();
        let again = HashSet::from([key, text.parse().unwrap()]);
        assert_eq!(again.len(), 1);
        assert_eq!((key.curve(), key.to_string().as_str()), (curve, text));
        assert_eq!(format!("{key:?}"), format!("PublicKey({text})"));
        let multikey = key.to_multikey();
        assert_eq!(format!("did:key:{multikey}"), text);
        let read = PublicKey::from_verification_method("Multikey", &multikey);
        assert_eq!(read, Ok(key));
    }
}

/// Source: `crypto/signature-fixtures.json` of
/// <https://github.com/bluesky-social/atproto-interop-tests>
#[test]
fn the_published_keys_of_old_did_documents_are_the_same_keys() {
    for (did_key, kind, multibase) in [
        (
            K256,
            "EcdsaSecp256k1VerificationKey2019",
            "z25z9DTpsiYYJKGsWmSPJK2NFN8PcJtZig12K59UgW7q5t",
        ),
        (
            P256,
            "EcdsaSecp256r1VerificationKey2019",
            "zxdM8dSstjrpZaRUwBmDvjGXweKuEMVN95A9oJBFjkWMh",
        ),
    ] {
        let key: PublicKey = did_key.parse().unwrap();
        let old = PublicKey::from_verification_method(kind, multibase);
        assert_eq!(old, Ok(key));
        assert_eq!(multibase::encode(Base::Base58Btc, key.to_sec1()), multibase);
        let uncompressed = multibase::encode(Base::Base58Btc, key.to_sec1_uncompressed());
        let old = PublicKey::from_verification_method(kind, &uncompressed);
        assert_eq!(old, Ok(key));
    }
}

// ---- Text.

#[test]
fn what_is_no_did_key_is_refused() {
    for text in [
        "",
        "did:key",
        "zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc",
        "did:plc:z72i7hdynmk6r22z27h6tvur",
        "DID:KEY:zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc",
        " did:key:zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc",
    ] {
        assert_eq!(parse(text), Err(InvalidPublicKey::NotDidKey), "{text:?}");
    }
}

#[test]
fn another_multibase_is_refused() {
    let bytes = [K256_CODEC.as_slice(), &sec1(K256)].concat();
    for base in [Base::Base16Lower, Base::Base32Lower, Base::Base64Url] {
        let text = format!("did:key:{}", multibase::encode(base, &bytes));
        assert_eq!(parse(&text), Err(InvalidPublicKey::Multibase), "{text}");
    }
    let flickr = multibase::encode(Base::Base58Flickr, &bytes);
    let refused = parse(&format!("did:key:{flickr}"));
    assert_eq!(refused, Err(InvalidPublicKey::Multibase));
    for text in ["did:key:", "did:key:Q3shqwJ", "did:key:\u{1f511}"] {
        assert_eq!(parse(text), Err(InvalidPublicKey::Multibase), "{text}");
    }
}

#[test]
fn characters_outside_of_base58_are_refused() {
    for character in ["0", "O", "I", "l", " ", "\n", "+", "#", "é", "\0"] {
        for text in [
            K256.replace("wc", &format!("w{character}")),
            K256.replace("zQ", &format!("z{character}")),
            format!("{K256}{character}"),
        ] {
            assert_eq!(parse(&text), Err(InvalidPublicKey::Base58), "{text:?}");
        }
    }
}

#[test]
fn a_long_text_is_refused_before_it_is_decoded() {
    for len in [94, 1 << 20] {
        let text = format!("did:key:z{}", "2".repeat(len - 1));
        assert_eq!(parse(&text), Err(InvalidPublicKey::TooLong { len }));
    }
}

#[test]
fn other_verification_methods_are_refused() {
    for kind in ["", "multikey", "Ed25519VerificationKey2020", "JsonWebKey"] {
        let refused = PublicKey::from_verification_method(kind, &K256["did:key:".len()..]);
        let found = kind.to_owned();
        assert_eq!(refused, Err(InvalidPublicKey::VerificationMethod { found }));
    }
}

// ---- Codec and point.

#[test]
fn other_codecs_are_refused() {
    // An Ed25519 key; the codec of K-256 in more bytes than it takes, in one and turned round.
    let ed25519 = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
    let found = [0xed, 0x01];
    assert_eq!(parse(ed25519), Err(InvalidPublicKey::Codec { found }));
    for codec in [[0xe7, 0x81], [0xe7, 0x00], [0x12, 0x00], [0x00, 0x12]] {
        let refused = multikey(&[codec.as_slice(), &[0], &sec1(K256)].concat());
        assert_eq!(refused, Err(InvalidPublicKey::Codec { found: codec }));
    }
}

#[test]
fn a_multikey_holds_a_compressed_point_and_nothing_behind_it() {
    for (codec, key) in [(K256_CODEC, K256), (P256_CODEC, P256)] {
        let whole = [codec.as_slice(), &sec1(key)].concat();
        assert_eq!(multikey(&whole), parse(key));
        for len in 2..whole.len() {
            let wanted = "33";
            let expected = Err(InvalidPublicKey::Len {
                len: len - 2,
                wanted,
            });
            assert_eq!(multikey(&whole[..len]), expected);
        }
        for more in [1, 2, 25] {
            let (len, wanted) = (33 + more, "33");
            let longer = [whole.as_slice(), &vec![0; more]].concat();
            let expected = Err(InvalidPublicKey::Len { len, wanted });
            assert_eq!(multikey(&longer), expected);
        }
        let uncompressed = parse(key).unwrap().to_sec1_uncompressed();
        let refused = multikey(&[codec.as_slice(), &uncompressed].concat());
        let (len, wanted) = (65, "33");
        assert_eq!(refused, Err(InvalidPublicKey::Len { len, wanted }));
        let (len, wanted) = (0, "33");
        for short in [[].as_slice(), &codec[..1]] {
            let expected = Err(InvalidPublicKey::Len { len, wanted });
            assert_eq!(multikey(short), expected);
        }
    }
}

#[test]
fn points_that_are_none_are_refused() {
    for (curve, key) in [(Curve::K256, K256), (Curve::P256, P256)] {
        let compressed = sec1(key);
        let uncompressed = parse(key).unwrap().to_sec1_uncompressed();
        assert_eq!(PublicKey::from_sec1(curve, &compressed), parse(key));
        assert_eq!(PublicKey::from_sec1(curve, &uncompressed), parse(key));

        // The point at infinity, and forms that neither SEC 1 nor atproto has here.
        let (len, wanted) = (1, "33 or 65");
        let expected = Err(InvalidPublicKey::Len { len, wanted });
        assert_eq!(PublicKey::from_sec1(curve, &[0]), expected);
        for found in [0, 1, 4, 5, 6, 7, 255] {
            let mut other = compressed;
            other[0] = found;
            let refused = PublicKey::from_sec1(curve, &other);
            assert_eq!(refused, Err(InvalidPublicKey::Tag { found }));
        }
        for found in [0, 2, 3, 5, 6, 7] {
            let mut other = uncompressed;
            other[0] = found;
            let refused = PublicKey::from_sec1(curve, &other);
            assert_eq!(refused, Err(InvalidPublicKey::Tag { found }));
        }

        let not_on_curve = Err(InvalidPublicKey::NotOnCurve { curve });
        for at in 1..65 {
            let mut other = uncompressed;
            other[at] ^= 1;
            assert_eq!(PublicKey::from_sec1(curve, &other), not_on_curve);
        }
        // A coordinate must be less than the field's prime.
        let mut other = compressed;
        other[1..].fill(255);
        assert_eq!(PublicKey::from_sec1(curve, &other), not_on_curve);
        assert_eq!(PublicKey::from_sec1(curve, &[0; 32]).ok(), None);
    }
    // A point of one curve is not one of the other, except by chance.
    let not_on_curve = Err(InvalidPublicKey::NotOnCurve { curve: Curve::P256 });
    let uncompressed = parse(K256).unwrap().to_sec1_uncompressed();
    assert_eq!(
        PublicKey::from_sec1(Curve::P256, &uncompressed),
        not_on_curve
    );
}

#[test]
fn half_of_all_numbers_are_no_coordinate() {
    for (curve, codec) in [(Curve::K256, K256_CODEC), (Curve::P256, P256_CODEC)] {
        let keys = (0..64_u8).map(|n| multikey(&[codec.as_slice(), &[2], &[n; 32]].concat()));
        let refused = keys.filter(|key| *key == Err(InvalidPublicKey::NotOnCurve { curve }));
        assert!((16..48).contains(&refused.count()), "{curve}");
    }
}

#[test]
fn errors_say_what_they_found() {
    let ed25519 = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
    assert_eq!(
        parse(ed25519).unwrap_err().to_string(),
        "[ed, 01] are not the first bytes of a k256 or a p256 key"
    );
    let curve = Curve::P256;
    assert_eq!(
        InvalidPublicKey::CurveNotEnabled { curve }.to_string(),
        "keys of the curve p256 need the feature `p256`, which is off"
    );
}

// ---- Properties.

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn what_is_read_has_one_spelling(
        key in prop::sample::select(vec![K256, P256]),
        at in any::<prop::sample::Index>(),
        character in prop::char::range(' ', '~'),
    ) {
        let mut text: Vec<char> = key.chars().collect();
        let at = at.index(text.len());
        text[at] = character;
        let text: String = text.into_iter().collect();
        if let Ok(key) = parse(&text) {
            prop_assert_eq!(key.to_string(), text);
        }
    }
}

// ---- Keys in parts.

fn parse(text: &str) -> Result<PublicKey, InvalidPublicKey> {
    text.parse()
}

fn sec1(did_key: &str) -> [u8; 33] {
    parse(did_key).unwrap().to_sec1()
}

fn multikey(bytes: &[u8]) -> Result<PublicKey, InvalidPublicKey> {
    PublicKey::from_multikey(&multibase::encode(Base::Base58Btc, bytes))
}
