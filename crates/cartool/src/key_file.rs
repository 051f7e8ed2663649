//! Private keys, each in a file of its own.
//!
//! The file holds one line: in base58btc, the multicodec prefix of the curve and the 32 bytes of
//! the key, as other tools of atproto write it too.
//!
//! Sources: <https://atproto.com/specs/cryptography>, <https://www.w3.org/TR/cid-1.0/#Multikey>

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use atproto_mst::{Curve, SigningKey};
use multibase::Base;
use zeroize::Zeroizing;

use crate::failure::{Failure, chain};
use crate::report::Report;

/// Reads the key in the file at `path`, or on standard input if that is `-`.
pub(crate) fn read(path: &Path, report: &Report) -> Result<SigningKey, Failure> {
    let input = |error: io::Error| Failure::Input(error.into()).of(path);
    // All that it may grow to at once, so that no copy stays behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * MAX_LEN));
    let most = MAX_LEN as u64 + 1;
    if path == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        let file = File::open(path).map_err(input)?;
        if is_open_to_others(&file).map_err(input)? {
            let name = path.display();
            report.note(&format_args!("note: others than its owner may read {name}"));
        }
        file.take(most).read_to_end(&mut bytes)
    }
    .map_err(input)?;
    parse(&bytes).map_err(|why| Failure::Invalid(format!("not a private key: {why}")).of(path))
}

/// Makes the file at `path`, which must not be there, with `key` in it.
pub(crate) fn create(path: &Path, key: &SigningKey) -> Result<(), Failure> {
    let output = |error: io::Error| Failure::Output(error).of(path);
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path).map_err(output)?;
    let line = line_of(key);
    let written = file
        .write_all(line.as_bytes())
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // It is this one's own, and half a key is of no use.
        let _ = fs::remove_file(path);
    }
    written.map_err(output)
}

fn line_of(key: &SigningKey) -> Zeroizing<String> {
    let secret = Zeroizing::new(key.to_bytes());
    let codec = match key.public_key().curve() {
        Curve::K256 => K256_CODEC,
        Curve::P256 => P256_CODEC,
    };
    let bytes = Zeroizing::new([codec.as_slice(), secret.as_slice()].concat());
    let mut line = Zeroizing::new(String::with_capacity(MAX_LEN));
    line.push_str(&Zeroizing::new(multibase::encode(Base::Base58Btc, &*bytes)));
    line.push('\n');
    line
}

/// Reads the line of a key. What is wrong is told without any of it.
fn parse(bytes: &[u8]) -> Result<SigningKey, String> {
    if bytes.len() > MAX_LEN {
        return Err(format!("more than {MAX_LEN} bytes"));
    }
    let text = str::from_utf8(bytes).map_err(|_| "not text".to_owned())?;
    let Some(digits) = text.trim_end().strip_prefix(Base::Base58Btc.code()) else {
        return Err("not a multikey in base58btc, which begins with z".to_owned());
    };
    let decoded = Base::Base58Btc.decode(digits);
    let decoded = Zeroizing::new(decoded.map_err(|_| "not in base58btc".to_owned())?);
    let (codec, secret) = decoded.split_first_chunk().ok_or("too short")?;
    let curve = match *codec {
        K256_CODEC => Curve::K256,
        P256_CODEC => Curve::P256,
        K256_PUBLIC_CODEC | P256_PUBLIC_CODEC => return Err("it is a public one".to_owned()),
        _ => return Err("neither of the curve k256 nor of p256".to_owned()),
    };
    let Ok(secret) = secret.try_into() else {
        return Err(format!("{} bytes, not 32", secret.len()));
    };
    SigningKey::from_bytes(curve, secret).map_err(|error| chain(&error))
}

/// Whether a file, if it is none of the things that only look like one, can be read by others.
fn is_open_to_others(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        Ok(metadata.is_file() && metadata.permissions().mode() & 0o077 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        Ok(false)
    }
}

/// The most bytes that a file with a key has; a key has some 50.
const MAX_LEN: usize = 128;
/// `secp256k1-priv` of multicodec, 0x1301, as a varint.
const K256_CODEC: [u8; 2] = [0x81, 0x26];
/// `p256-priv` of multicodec, 0x1306, as a varint.
const P256_CODEC: [u8; 2] = [0x86, 0x26];
/// `secp256k1-pub` of multicodec, 0xe7, as a varint.
const K256_PUBLIC_CODEC: [u8; 2] = [0xe7, 0x01];
/// `p256-pub` of multicodec, 0x1200, as a varint.
const P256_PUBLIC_CODEC: [u8; 2] = [0x80, 0x24];

#[cfg(test)]
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
            let line = line_of(&key.unwrap());
            assert!(line.len() < MAX_LEN / 2);
            let read = parse(line.as_bytes()).unwrap();
            assert_eq!(read.to_bytes(), secret.as_slice());
            assert_eq!(read.public_key().to_string(), expected);
        }
        let key = SigningKey::from_bytes(Curve::P256, &[7; 32]).unwrap();
        let read = parse(line_of(&key).as_bytes()).unwrap();
        assert_eq!(read.public_key(), key.public_key());
    }

    #[test]
    fn what_is_no_key_is_refused_and_none_of_it_told() {
        let multikey = |codec: [u8; 2], secret: &[u8]| {
            multibase::encode(Base::Base58Btc, [codec.as_slice(), secret].concat())
        };
        for (text, why) in [
            (String::new(), "not a multikey"),
            ("zI".to_owned(), "not in base58btc"),
            ("z".to_owned(), "too short"),
            ("7".repeat(64), "not a multikey"),
            ("z".repeat(129), "more than 128 bytes"),
            (multikey(K256_CODEC, &[1; 31]), "31 bytes, not 32"),
            (multikey(P256_CODEC, &[1; 33]), "33 bytes, not 32"),
            (multikey(K256_CODEC, &[0; 32]), "0, or not less"),
            (multikey(P256_CODEC, &[0xff; 32]), "0, or not less"),
            (multikey(K256_PUBLIC_CODEC, &[2; 33]), "a public one"),
            (multikey([0x80, 0x26], &[1; 32]), "neither of the curve"),
        ] {
            let error = parse(text.as_bytes()).map(drop).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
            assert!(text.len() < 5 || !error.contains(&text));
        }
        assert_eq!(parse(b"\xff").map(drop).unwrap_err(), "not text");
    }
}
