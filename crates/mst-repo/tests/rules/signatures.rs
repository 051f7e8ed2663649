//! Signatures. Source: <https://atproto.com/specs/cryptography>

use ipld_core::ipld::Ipld;
use mst_repo::{Curve, SigningKey, Tid};

use crate::draft::Draft;
use crate::table::{assert_enforced_by, rule};

#[test]
fn each_rule_about_signatures_is_enforced_for_its_own_sake() {
    let order = |curve| match curve {
        Curve::K256 => "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
        Curve::P256 => "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    };
    let order = move |curve| {
        data_encoding::HEXLOWER
            .decode(order(curve).as_bytes())
            .unwrap()
    };
    let rules = [
        rule(
            "by the account's key",
            "Invalid Signature Mismatch",
            |draft| {
                let other = SigningKey::from_bytes(draft.curve, &[8; 32]).unwrap();
                draft.commit.sign(&other).unwrap();
                draft.pack();
                true
            },
        ),
        rule(
            "over all fields, known or not",
            "Invalid Signature Mismatch",
            |draft| {
                draft.commit.extra.insert("later".into(), Ipld::Null);
                draft.pack();
                true
            },
        ),
        rule(
            "over this revision",
            "Invalid Signature Mismatch",
            |draft| {
                draft.commit.rev = Tid::now(1).after(draft.known.rev).unwrap();
                draft.event.rev = draft.commit.rev.into();
                draft.pack();
                true
            },
        ),
        rule("64 bytes", "Invalid Signature Len", |draft| {
            let len = draft.rng.below(64);
            draft.commit.sig.truncate(len);
            draft.pack();
            true
        }),
        rule("not in DER", "Invalid Signature Der", |draft| {
            let (r, s) = draft.commit.sig.split_at(32);
            let integer = |number: &[u8]| [&[2, 33, 0], number].concat();
            let both = [integer(r), integer(s)].concat();
            draft.commit.sig = [&[0x30, 70], both.as_slice()].concat();
            draft.pack();
            true
        }),
        rule("no zero", "Invalid Signature Zero", |draft| {
            let half = 32 * draft.rng.below(2);
            draft.commit.sig[half..half + 32].fill(0);
            draft.pack();
            true
        }),
        rule(
            "below the order",
            "Invalid Signature TooLarge",
            move |draft| {
                let half = 32 * draft.rng.below(2);
                draft.commit.sig[half..half + 32].copy_from_slice(&order(draft.curve));
                draft.pack();
                true
            },
        ),
        rule("the lower s", "Invalid Signature HighS", move |draft| {
            let mut borrow = 0;
            for at in (0..32).rev() {
                let s = &mut draft.commit.sig[32 + at];
                let difference = i16::from(order(draft.curve)[at]) - i16::from(*s) - borrow;
                borrow = i16::from(difference < 0);
                *s = u8::try_from(difference.rem_euclid(256)).unwrap();
            }
            draft.pack();
            true
        }),
    ];
    assert_enforced_by(&[Draft::check, Draft::check_sync], &rules);
}
