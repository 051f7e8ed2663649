//! `cartool keygen`

use std::path::Path;

use atproto_mst::{Curve, SigningKey};

use crate::cli::{KeyCurve, KeygenArgs};
use crate::failure::{Failure, chain};
use crate::output::Output;
use crate::report::Report;
use crate::{database, key_file};

pub(crate) fn run(args: &KeygenArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    let key = if args.public {
        key_file::read(&args.file, report)?
    } else {
        // Standard output is for the public key, and may be a log.
        if args.file == Path::new("-") {
            let what = "a private key goes into a file, not to standard output";
            return Err(Failure::Usage(what.to_owned()));
        }
        database::check_none_at(&args.file)?;
        let key = new_key(args.curve)?;
        key_file::create(&args.file, &key)?;
        key
    };
    out.line(format_args!("{}", key.public_key()))
}

fn new_key(curve: KeyCurve) -> Result<SigningKey, Failure> {
    let curve = match curve {
        KeyCurve::K256 => Curve::K256,
        KeyCurve::P256 => Curve::P256,
    };
    let mut random = Ok(());
    let key = SigningKey::generate(curve, |bytes| random = random.and(getrandom::fill(bytes)));
    let no_key = |why: String| Failure::Input(format!("no key could be made: {why}").into());
    random.map_err(|error| no_key(error.to_string()))?;
    key.map_err(|error| no_key(chain(&error)))
}
