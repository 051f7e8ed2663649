//! The danger: a commit is believed that its account never signed. And also a signature that can
//! be written in two ways, so that anyone who passes a commit on can change its CID.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::sync::Arc;

use blockstore_core::MemoryBlockStore;
use data_encoding::{BASE64_NOPAD, HEXLOWER};
use ipld_core::ipld::Ipld;
use mst_repo::{
    Commit, Curve, InvalidSigningKey, PublicKey, Repository, SignError, SignatureError, Signer,
    SigningKey, Write, WriteError, Writer,
};
use proptest::prelude::*;

const DID: &str = "did:plc:z72i7hdynmk6r22z27h6tvur";
const CURVES: [Curve; 2] = [Curve::K256, Curve::P256];

// ---- Vectors.

/// Source: `crypto/signature-fixtures.json` of
/// <https://github.com/bluesky-social/atproto-interop-tests>
#[test]
fn the_published_signatures_are_judged_as_published() {
    let p256 = "did:key:zDnaembgSGUhZULN2Caob4HLJPaxBh92N7rtH21TErzqf8HQo";
    let k256 = "did:key:zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc";
    for (key, signature, expected) in [
        (
            p256,
            "2vZNsG3UKvvO/CDlrdvyZRISOFylinBh0Jupc6KcWoJWExHptCfduPleDbG3rko3YZnn9Lw0IjpixVmexJDegg",
            Ok(()),
        ),
        (
            k256,
            "5WpdIuEUUfVUYaozsi8G0B3cWO09cgZbIIwg1t2YKdUn/FEznOndsz/qgiYb89zwxYCbB71f7yQK5Lr7NasfoA",
            Ok(()),
        ),
        (
            p256,
            "2vZNsG3UKvvO/CDlrdvyZRISOFylinBh0Jupc6KcWoKp7O4VS9giSAah8k5IUbXIW00SuOrjfEqQ9HEkN9JGzw",
            Err(SignatureError::HighS),
        ),
        (
            k256,
            "5WpdIuEUUfVUYaozsi8G0B3cWO09cgZbIIwg1t2YKdXYA67MYxYiTMAVfdnkDCMN9S5B3vHosRe07aORmoshoQ",
            Err(SignatureError::HighS),
        ),
        (
            "did:key:zDnaeT6hL2RnTdUhAPLij1QBkhYZnmuKyM7puQLW1tkF4Zkt8",
            "MEQCIFxYelWJ9lNcAVt+jK0y/T+DC/X4ohFZ+m8f9SEItkY1AiACX7eXz5sgtaRrz/SdPR8kprnbHMQVde0T2R8yOTBweA",
            Err(SignatureError::Der),
        ),
        (
            "did:key:zQ3shnriYMXc8wvkbJqfNWh5GXn2bVAeqTC92YuNbek4npqGF",
            "MEUCIQCWumUqJqOCqInXF7AzhIRg2MhwRz2rWZcOEsOjPmNItgIgXJH7RnqfYY6M0eg33wU0sFYDlprwdOcpRn78Sz5ePgk",
            Err(SignatureError::Der),
        ),
    ] {
        let key: PublicKey = key.parse().unwrap();
        let signature = BASE64_NOPAD.decode(signature.as_bytes()).unwrap();
        let verified = key.verify(b"\xa1ehelloeworld", &signature);
        assert_eq!(verified, expected, "{key}");
    }
}

/// Source: RFC 6979, A.2.5, with SHA-256; the first in the lower of its two forms.
#[test]
fn p256_signs_as_rfc_6979_says() {
    let key = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
    let key = SigningKey::from_bytes(Curve::P256, &bytes(key)).unwrap();
    for (message, r, s, is_low) in [
        (
            "sample",
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
            "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
            false,
        ),
        (
            "test",
            "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367",
            "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
            true,
        ),
    ] {
        let published: [u8; 64] = bytes(&format!("{r}{s}"));
        let signature = key.sign(message.as_bytes()).unwrap();
        let other_s = twin(Curve::P256, &published);
        assert_eq!(signature, if is_low { published } else { other_s });
    }
}

/// Source: the vectors of RFC 6979 for secp256k1 that Bitcoin's libraries share,
/// <https://bitcointalk.org/index.php?topic=285142.msg3300992>
#[test]
fn k256_signs_as_rfc_6979_says() {
    let mut one = [0; 32];
    one[31] = 1;
    let key = SigningKey::from_bytes(Curve::K256, &one).unwrap();
    let published = bytes(
        "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8\
         2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5",
    );
    assert_eq!(key.sign(b"Satoshi Nakamoto").unwrap(), published);
}

/// Source: `crypto/w3c_didkey_K256.json` of
/// <https://github.com/bluesky-social/atproto-interop-tests>
#[test]
fn a_published_private_key_has_its_published_did_key() {
    let key = "9085d2bef69286a6cbb51623c8fa258629945cd55ca705cc4e66700396894e0c";
    let key = SigningKey::from_bytes(Curve::K256, &bytes(key)).unwrap();
    assert_eq!(
        key.public_key().to_string(),
        "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme"
    );
}

// ---- Forms of signatures.

#[test]
fn r_and_s_out_of_range_are_named() {
    for curve in CURVES {
        let key = key(curve, 7).public_key();
        let verify = |r: [u8; 32], s: [u8; 32]| key.verify(b"", &[r, s].concat());
        let (zero, order, half, mut one) = ([0; 32], order(curve), half_order(curve), [0; 32]);
        one[31] = 1;
        let less = added(order, -1);
        for (r, s, expected) in [
            (zero, one, SignatureError::Zero { scalar: "r" }),
            (one, zero, SignatureError::Zero { scalar: "s" }),
            (order, one, SignatureError::TooLarge { scalar: "r" }),
            (one, order, SignatureError::TooLarge { scalar: "s" }),
            ([255; 32], one, SignatureError::TooLarge { scalar: "r" }),
            (one, [255; 32], SignatureError::TooLarge { scalar: "s" }),
            (one, less, SignatureError::HighS),
            (one, added(half, 1), SignatureError::HighS),
            (one, half, SignatureError::Mismatch),
            (one, one, SignatureError::Mismatch),
            (less, one, SignatureError::Mismatch),
        ] {
            assert_eq!(verify(r, s), Err(expected), "{curve} {r:x?} {s:x?}");
        }
    }
}

#[test]
fn another_length_than_64_is_named() {
    for curve in CURVES {
        let key = key(curve, 7);
        let signature = key.sign(b"message").unwrap();
        let long = [signature.as_slice(), &[0]].concat();
        for other in [b"".as_slice(), &signature[..63], &signature[..32], &long] {
            let len = other.len();
            let refused = key.public_key().verify(b"message", other);
            assert_eq!(refused, Err(SignatureError::Len { len }));
        }
    }
}

#[test]
fn der_is_named_whatever_its_length() {
    for curve in CURVES {
        let key = key(curve, 7).public_key();
        for der in [
            b"\x30\x06\x02\x01\x01\x02\x01\x01".to_vec(),
            [b"\x30\x44\x02\x20".as_slice(), &[1; 66]].concat(),
            [b"\x30\x46\x02\x21".as_slice(), &[1; 68]].concat(),
        ] {
            assert_eq!(key.verify(b"", &der), Err(SignatureError::Der));
        }
    }
}

// ---- What a signature covers.

#[test]
fn each_bit_of_a_signature_counts() {
    for curve in CURVES {
        let key = key(curve, 3);
        let signature = key.sign(b"message").unwrap();
        for bit in 0..512 {
            let mut other = signature;
            other[bit / 8] ^= 1 << (bit % 8);
            let refused = key.public_key().verify(b"message", &other);
            assert!(refused.is_err(), "{curve}: bit {bit}");
        }
    }
}

#[test]
fn each_bit_of_a_commit_counts() {
    for curve in CURVES {
        let key = key(curve, 3);
        let mut commit = commit();
        commit.extra.insert("later".to_owned(), Ipld::Integer(7));
        commit.sign(&key).unwrap();
        let public_key = key.public_key();
        commit.verify_signature(&public_key).unwrap();
        let message = commit.unsigned_bytes();
        for bit in 0..message.len() * 8 {
            let mut other = message.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let refused = public_key.verify(&other, &commit.sig);
            assert_eq!(refused, Err(SignatureError::Mismatch), "{curve}: bit {bit}");
        }
    }
}

#[test]
fn a_signature_covers_the_unknown_fields() {
    let key = key(Curve::K256, 3);
    let mut signed = commit();
    signed.extra.insert("later".to_owned(), Ipld::Integer(7));
    signed.sign(&key).unwrap();

    // As it comes over the wire.
    let decoded = Commit::decode(&signed.encode()).unwrap();
    assert_eq!(decoded.verify_signature(&key.public_key()), Ok(()));

    for extra in [Some(Ipld::Integer(8)), Some(Ipld::Null), None] {
        let mut other = decoded.clone();
        match extra {
            Some(value) => other.extra.insert("later".to_owned(), value),
            None => other.extra.remove("later"),
        };
        let refused = other.verify_signature(&key.public_key());
        assert_eq!(refused, Err(SignatureError::Mismatch));
    }
    let mut other = decoded;
    other.extra.insert("more".to_owned(), Ipld::Null);
    let refused = other.verify_signature(&key.public_key());
    assert_eq!(refused, Err(SignatureError::Mismatch));
}

#[test]
fn a_commit_that_nobody_signed_is_refused() {
    let key = key(Curve::P256, 3).public_key();
    let mut commit = commit();
    let refused = commit.verify_signature(&key);
    assert_eq!(refused, Err(SignatureError::Len { len: 0 }));
    commit.sig = vec![0; 64];
    let refused = commit.verify_signature(&key);
    assert_eq!(refused, Err(SignatureError::Zero { scalar: "r" }));
}

#[test]
fn a_signature_by_another_key_is_refused() {
    for curve in CURVES {
        for other in CURVES {
            let signature = key(curve, 3).sign(b"message").unwrap();
            let refused = key(other, 4).public_key().verify(b"message", &signature);
            assert_eq!(refused, Err(SignatureError::Mismatch), "{curve} {other}");
        }
    }
}

// ---- Signers.

/// A signer that always returns the same, as a device with a wrong adapter would.
struct Fixed(Result<[u8; 64], &'static str>);

impl Signer for Fixed {
    fn sign(&self, _: &[u8]) -> Result<[u8; 64], SignError> {
        self.0.map_err(SignError::signer)
    }

    fn public_key(&self) -> Option<PublicKey> {
        Some(key(Curve::K256, 3).public_key())
    }
}

#[test]
fn a_signer_that_fails_leaves_the_commit_as_it_was() {
    let mut commit = commit();
    commit.sig = vec![7];
    let before = commit.clone();
    let signer: Box<dyn Signer> = Box::new(Fixed(Err("the device is off")));
    let Err(SignError::Signer(error)) = commit.sign(signer.as_ref()) else {
        panic!("it has no signature to give");
    };
    assert_eq!(error.to_string(), "the device is off");
    assert_eq!(commit, before);
}

/// The errors of a writer, and of a commit alone, for a signer whose signatures are not valid.
fn refusals(signer: &impl Signer) -> [SignatureError; 3] {
    let refusal = |error| match error {
        SignError::Invalid(refusal) => refusal,
        other => panic!("{other}"),
    };
    let mut unsigned = commit();
    let before = unsigned.clone();
    let alone = refusal(unsigned.sign(signer).unwrap_err());
    assert_eq!(unsigned, before);

    let store = MemoryBlockStore::new();
    let refused = |result| match result {
        Err(WriteError::Sign(error)) => refusal(error),
        other => panic!("{other:?}"),
    };
    let first = refused(Writer::create(&store, DID, signer).map(|(_, new)| new));
    assert!(store.is_empty(), "nothing was stored");
    let (mut writer, _) = Writer::create(&store, DID, &key(Curve::K256, 3)).unwrap();
    let (before, len) = (writer.commit_cid(), store.len());
    let next = refused(writer.write(&[hello()], signer));
    assert_eq!((writer.commit_cid(), store.len()), (before, len));
    [alone, first, next]
}

#[test]
fn a_signature_that_is_not_by_the_signers_key_gets_nowhere() {
    let message = commit().unsigned_bytes();
    let good = key(Curve::K256, 3).sign(&message).unwrap();
    let others = [key(Curve::K256, 4), key(Curve::P256, 3)];
    for other in others.map(|other| other.sign(&message).unwrap()) {
        let refusals = refusals(&Fixed(Ok(other)));
        assert_eq!(refusals, [const { SignatureError::Mismatch }; 3]);
    }
    let high = Fixed(Ok(twin(Curve::K256, &good)));
    assert_eq!(refusals(&high), [const { SignatureError::HighS }; 3]);

    let mut signed = commit();
    signed.sign(&Fixed(Ok(good))).unwrap();
    signed
        .verify_signature(&key(Curve::K256, 3).public_key())
        .unwrap();
}

#[test]
fn of_a_signer_whose_key_is_not_known_what_no_key_gives_is_refused() {
    let number = |first: [u8; 32], second: [u8; 32]| {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&first);
        signature[32..].copy_from_slice(&second);
        signature
    };
    let (zero, one) = ([0; 32], added([0; 32], 1));
    let (order, half) = (order(Curve::K256), half_order(Curve::K256));
    for (signature, expected) in [
        (number(zero, one), SignatureError::Zero { scalar: "r" }),
        (number(one, zero), SignatureError::Zero { scalar: "s" }),
        (number(order, one), SignatureError::TooLarge { scalar: "r" }),
        (number(one, order), SignatureError::TooLarge { scalar: "s" }),
        (number(one, added(half, 1)), SignatureError::HighS),
    ] {
        let signer = |_: &[u8]| Ok(signature);
        let all = [expected.clone(), expected.clone(), expected];
        assert_eq!(refusals(&signer), all);
    }
    // Whether it is by the right key cannot be checked.
    let signer = |_: &[u8]| Ok(number(added(order, -1), half));
    commit().sign(&signer).unwrap();
    Writer::create(MemoryBlockStore::new(), DID, &signer).unwrap();
}

#[test]
fn the_commits_of_a_writer_are_signed_by_its_key() {
    for curve in CURVES {
        let key = key(curve, 3);
        let elsewhere = |message: &[u8]| key.sign(message);
        let shared: Arc<dyn Signer> = Arc::new(self::key(curve, 3));
        let boxed: Box<dyn Signer + Send + Sync> = Box::new(self::key(curve, 3));
        for handle in [&shared as &dyn Signer, &boxed] {
            assert_eq!(handle.public_key(), Some(key.public_key()));
        }
        let signers: [&dyn Signer; 4] = [&key, &elsewhere, &shared, &boxed];
        for signer in signers {
            let blocks = MemoryBlockStore::new();
            let (mut writer, first) = Writer::create(&blocks, DID, signer).unwrap();
            let second = writer.write(&[hello()], signer).unwrap();
            for new in [first, second] {
                let stored = Repository::open(&blocks, &new.cid).unwrap();
                let verified = stored.commit().verify_signature(&key.public_key());
                assert_eq!(verified, Ok(()), "{curve}");
            }
        }
    }
}

fn hello() -> Write {
    Write::Create {
        path: "app.bsky.feed.post/3jzfcijpj2z2a".into(),
        record: b"\xa1\x64text\x65Hello".as_slice().into(),
    }
}

// ---- Private keys.

#[test]
fn private_keys_are_the_numbers_below_the_order() {
    for curve in CURVES {
        let out_of_range = InvalidSigningKey::OutOfRange { curve };
        for number in [[0; 32], order(curve), added(order(curve), 1), [255; 32]] {
            let refused = SigningKey::from_bytes(curve, &number).unwrap_err();
            assert_eq!(refused, out_of_range);
        }
        for number in [added([0; 32], 1), added(order(curve), -1)] {
            let key = SigningKey::from_bytes(curve, &number).unwrap();
            assert_eq!(key.to_bytes(), number);
        }
    }
}

#[test]
fn a_new_key_is_made_of_the_first_random_bytes_that_are_one() {
    for curve in CURVES {
        let mut draws = [[255; 32], [0; 32], [9; 32], [8; 32]].into_iter();
        let key = SigningKey::generate(curve, |bytes| {
            bytes.copy_from_slice(&draws.next().unwrap());
        });
        assert_eq!(key.unwrap().to_bytes(), [9; 32]);
        assert_eq!(draws.next(), Some([8; 32]));

        let stuck = SigningKey::generate(curve, |bytes| bytes.fill(0));
        let out_of_range = InvalidSigningKey::OutOfRange { curve };
        assert_eq!(stuck.unwrap_err(), out_of_range);
    }
}

#[test]
fn a_private_key_does_not_show_itself() {
    for curve in CURVES {
        assert_eq!(format!("{:?}", key(curve, 7)), "SigningKey { .. }");
    }
}

// ---- Properties.

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn what_a_key_signs_it_verifies_and_nothing_beside(
        curve in prop::sample::select(CURVES.to_vec()),
        secret in any::<[u8; 32]>(),
        message in prop::collection::vec(any::<u8>(), 0..300),
        bit in any::<prop::sample::Index>(),
    ) {
        prop_assume!(SigningKey::from_bytes(curve, &secret).is_ok());
        let key = SigningKey::from_bytes(curve, &secret).unwrap();
        let public_key = key.public_key();
        let signature = key.sign(&message).unwrap();
        prop_assert_eq!(public_key.verify(&message, &signature), Ok(()));
        prop_assert_eq!(key.sign(&message).unwrap(), signature);

        let high = twin(curve, &signature);
        prop_assert_eq!(public_key.verify(&message, &high), Err(SignatureError::HighS));

        let mut other = message.clone();
        let bit = bit.index(message.len() * 8 + 8);
        match other.get_mut(bit / 8) {
            Some(byte) => *byte ^= 1 << (bit % 8),
            None => other.push(0),
        }
        prop_assert_eq!(public_key.verify(&other, &signature), Err(SignatureError::Mismatch));

        let text = public_key.to_string();
        prop_assert_eq!(text.parse::<PublicKey>(), Ok(public_key));
    }

    #[test]
    fn no_bytes_are_a_signature_by_chance(
        curve in prop::sample::select(CURVES.to_vec()),
        bytes in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        prop_assert!(key(curve, 3).public_key().verify(b"message", &bytes).is_err());
    }
}

// ---- Keys and numbers.

fn key(curve: Curve, fill: u8) -> SigningKey {
    SigningKey::from_bytes(curve, &[fill; 32]).unwrap()
}

fn commit() -> Commit {
    let data = "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm";
    let data = data.parse().unwrap();
    Commit::unsigned(DID, "3jzfcijpj2z2a".parse().unwrap(), data)
}

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
}

/// Source: SEC 2, version 2.0, 2.4.1 and 2.4.2
fn order(curve: Curve) -> [u8; 32] {
    bytes(match curve {
        Curve::K256 => "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
        Curve::P256 => "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    })
}

fn half_order(curve: Curve) -> [u8; 32] {
    bytes(match curve {
        Curve::K256 => "7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0",
        Curve::P256 => "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8",
    })
}

/// The other signature over the same message by the same key: s taken from the order.
fn twin(curve: Curve, signature: &[u8; 64]) -> [u8; 64] {
    let mut twin = *signature;
    let mut borrow = 0;
    for at in (0..32).rev() {
        let difference = i16::from(order(curve)[at]) - i16::from(signature[32 + at]) - borrow;
        borrow = i16::from(difference < 0);
        twin[32 + at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    twin
}

/// `number` with a little more or less, where no carry is wanted.
fn added(mut number: [u8; 32], more: i8) -> [u8; 32] {
    number[31] = number[31].checked_add_signed(more).unwrap();
    number
}
