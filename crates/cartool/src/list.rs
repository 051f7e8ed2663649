//! `cartool list`

use crate::cli::ListArgs;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::input;
use crate::output::Output;
use crate::progress::Progress;
use crate::quote::Quoted;
use crate::report::Report;
use crate::walk::{Step, Walk};

pub(crate) fn run(args: &ListArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    let repository = input::open(&args.source)?;
    report.show(Progress::of(repository.blocks().count()));
    let mut count = 0_u64;
    for step in Walk::new(&repository, args.collection.as_deref(), args.reverse)? {
        let entry = match step? {
            Step::Entry(entry) => entry,
            Step::Fault(fault) => {
                report.fault(&fault);
                continue;
            }
        };
        report.tick();
        count += 1;
        if let Err(error) = entry.key_str() {
            let (key, cid) = (entry.key(), entry.value());
            report.fault(&Fault::bad_key(key, cid, error.to_string()));
        }
        out.line(format_args!("{} -> {}", Quoted(entry.key()), entry.value()))?;
    }
    if let (0, Some(collection)) = (count, &args.collection) {
        report.note(&format_args!("note: no records of {collection}"));
    }
    Ok(())
}
