//! Private keys, each in a file of its own.
//!
//! The file holds one line: the key as a multikey, as other tools of atproto write it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use atproto_mst::SigningKey;
use zeroize::Zeroizing;

use crate::failure::{Failure, chain};
use crate::new_file::sync_folder_of;
use crate::report::Report;

/// Reads the key in the file at `path`, or on standard input if that is `-`.
pub(crate) fn read(path: &Path, report: &Report) -> Result<SigningKey, Failure> {
    let input = |error: io::Error| Failure::Input(error.into()).of(path);
    // Allocated in full, so that growing it leaves no copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * MAX_LEN));
    let most = MAX_LEN as u64 + 1;
    if path == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        let file = File::open(path).map_err(input)?;
        if is_open_to_others(&file).map_err(input)? {
            let name = path.display();
            report.note(&format_args!(
                "note: users other than its owner may read {name}"
            ));
        }
        file.take(most).read_to_end(&mut bytes)
    }
    .map_err(input)?;
    parse(&bytes).map_err(|why| Failure::Invalid(format!("not a private key: {why}")).of(path))
}

/// Creates the file at `path`, which must not exist, with `key` in it.
pub(crate) fn create(path: &Path, key: &SigningKey) -> Result<(), Failure> {
    let output = |error: io::Error| {
        let failure = match error.kind() {
            io::ErrorKind::AlreadyExists => {
                let what = "the file exists, and a key is never overwritten";
                Failure::Usage(what.to_owned())
            }
            _ => Failure::Output(error),
        };
        failure.of(path)
    };
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
        // We created it, and half a key is of no use.
        let _ = fs::remove_file(path);
    }
    written.map_err(output)?;
    sync_folder_of(path);
    Ok(())
}

fn line_of(key: &SigningKey) -> Zeroizing<String> {
    let multikey = Zeroizing::new(key.to_multikey());
    // Allocated in full, so that growing it leaves no copy behind.
    let mut line = Zeroizing::new(String::with_capacity(MAX_LEN));
    line.push_str(&multikey);
    line.push('\n');
    line
}

/// Parses the line of a key. Errors reveal none of it.
fn parse(bytes: &[u8]) -> Result<SigningKey, String> {
    if bytes.len() > MAX_LEN {
        return Err(format!("more than {MAX_LEN} bytes"));
    }
    let text = str::from_utf8(bytes).map_err(|_| "not text".to_owned())?;
    SigningKey::from_multikey(text.trim_end()).map_err(|error| chain(&error))
}

/// Whether others can read a file, unless it is something that only looks like a file.
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

/// The maximum length of a file with a key; a key has some 50 bytes.
const MAX_LEN: usize = 128;

#[cfg(test)]
mod tests {
    use atproto_mst::Curve;

    use super::*;

    #[test]
    fn a_line_is_read_and_what_is_none_is_refused_and_nothing_of_it_told() {
        for curve in [Curve::K256, Curve::P256] {
            let key = SigningKey::from_bytes(curve, &[7; 32]).unwrap();
            let line = line_of(&key);
            assert!(line.len() < MAX_LEN / 2);
            let read = parse(line.as_bytes()).unwrap();
            assert_eq!(read.to_bytes(), key.to_bytes());
            // One digit is missing.
            let text = line.trim_end().get(..line.len() - 3).unwrap();
            let error = parse(text.as_bytes()).map(drop).unwrap_err();
            assert!(!error.contains(&text[4..12]), "{error}");
        }
        for (text, why) in [
            ("z".repeat(129), "more than 128 bytes"),
            ("7".repeat(64), "not a multikey"),
        ] {
            let error = parse(text.as_bytes()).map(drop).unwrap_err();
            assert!(error.contains(why) && !error.contains(&text), "{error}");
        }
        assert_eq!(parse(b"\xff").map(drop).unwrap_err(), "not text");
    }
}
