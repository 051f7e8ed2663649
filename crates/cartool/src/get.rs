//! `cartool get`

use crate::cli::GetArgs;
use crate::failure::Failure;
use crate::input;
use crate::json::{JsonWriter, Layout};
use crate::look_up;
use crate::output::Output;
use crate::quote::Quoted;
use crate::record::ReadableRecord;
use crate::report::Report;

pub(crate) fn run(args: &GetArgs, out: &mut Output, _: &mut Report) -> Result<(), Failure> {
    let repository = input::open(&args.source)?;
    let block = look_up::block(&repository, &args.path)?;
    if args.raw {
        return out.bytes(&block);
    }
    let record = ReadableRecord::new(&block).map_err(|unreadable| {
        Failure::Invalid(format!(
            "bad record (key {}): {unreadable}; --raw prints its bytes",
            Quoted(args.path.as_bytes())
        ))
    })?;
    let mut json = JsonWriter::new(out.writer(), Layout::Indented);
    record.write(&mut json).map_err(Failure::Output)?;
    out.bytes(b"\n")
}
