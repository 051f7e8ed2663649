//! `atproto-interop-tests/crypto`: signatures, and keys as text.

use atproto_mst::{Curve, PublicKey, SignatureError, SigningKey};
use data_encoding::{BASE64_NOPAD, HEXLOWER};
use multibase::Base;
use serde::Deserialize;

use super::{Report, Suite};
use crate::Result;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignatureCase {
    comment: String,
    message_base64: String,
    did_doc_suite: String,
    public_key_did: String,
    public_key_multibase: String,
    signature_base64: String,
    valid_signature: bool,
    tags: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DidKeyCase {
    private_key_bytes_hex: Option<String>,
    private_key_bytes_base58: Option<String>,
    public_did_key: String,
}

pub(super) fn run(suite: &Suite, report: &mut Report) -> Result<()> {
    let file = "crypto/signature-fixtures.json";
    let before = report.cases;
    for case in suite.json::<Vec<SignatureCase>>(file)? {
        let checked = check_signature(&case);
        report.case(checked.is_ok(), || {
            format!("{file}: {}: {checked:?}", case.comment)
        });
    }
    report.part("signatures", before);

    for (name, curve) in [("K256", Curve::K256), ("P256", Curve::P256)] {
        let file = format!("crypto/w3c_didkey_{name}.json");
        let before = report.cases;
        for case in suite.json::<Vec<DidKeyCase>>(&file)? {
            let checked = check_did_key(curve, &case);
            report.case(checked.is_ok(), || {
                format!("{file}: {}: {checked:?}", case.public_did_key)
            });
        }
        report.part(&format!("did:key {name}"), before);
    }
    Ok(())
}

/// Both forms of the key are the same key, and it judges the signature as the case does, for
/// the reason that the case names.
fn check_signature(case: &SignatureCase) -> Result<()> {
    let key: PublicKey = case.public_key_did.parse()?;
    same(&key.to_string(), &case.public_key_did)?;
    let kind = &case.did_doc_suite;
    let in_document = PublicKey::from_verification_method(kind, &case.public_key_multibase)?;
    same(&in_document, &key)?;
    let multibase = multibase::encode(Base::Base58Btc, key.to_sec1());
    same(&multibase, &case.public_key_multibase)?;

    let message = BASE64_NOPAD.decode(case.message_base64.as_bytes())?;
    let signature = BASE64_NOPAD.decode(case.signature_base64.as_bytes())?;
    let tags: Vec<&str> = case.tags.iter().map(String::as_str).collect();
    let expected = match (case.valid_signature, tags.as_slice()) {
        (true, []) => Ok(()),
        (false, ["high-s"]) => Err(SignatureError::HighS),
        (false, ["der-encoded"]) => Err(SignatureError::Der),
        (false, []) => Err(SignatureError::Mismatch),
        _ => return Err(format!("unknown tags {tags:?}").into()),
    };
    same(&key.verify(&message, &signature), &expected)
}

fn check_did_key(curve: Curve, case: &DidKeyCase) -> Result<()> {
    let key = match (&case.private_key_bytes_hex, &case.private_key_bytes_base58) {
        (Some(hex), None) => HEXLOWER.decode(hex.as_bytes())?,
        (None, Some(base58)) => {
            let decoded = Base::Base58Btc.decode(base58);
            decoded.map_err(|error| error.to_string())?
        }
        _ => return Err("no private key, or two".into()),
    };
    let key = key.try_into().map_err(|_| "a private key has 32 bytes")?;
    let key = SigningKey::from_bytes(curve, &key)?.public_key();
    same(&key.to_string(), &case.public_did_key)?;
    same(&case.public_did_key.parse()?, &key)
}

fn same<T: PartialEq + std::fmt::Debug>(found: &T, expected: &T) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{found:?}, not {expected:?}").into())
    }
}
