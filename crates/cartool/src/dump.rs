//! `cartool dump`

use std::io::{self, Write};

use atproto_mst::EntryRef;

use crate::cli::DumpArgs;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::json::{JsonWriter, Layout};
use crate::output::Output;
use crate::progress::Progress;
use crate::quote::Quoted;
use crate::record::ReadableRecord;
use crate::report::Report;
use crate::walk::{Step, Walk};
use crate::{input, look_up};

pub(crate) fn run(args: &DumpArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    let repository = input::open(&args.source)?;
    report.show(Progress::of(repository.blocks().count()));
    for step in Walk::new(&repository, args.collection.as_deref(), false)? {
        let entry = match step? {
            Step::Entry(entry) => entry,
            Step::Fault(fault) => {
                report.fault(&fault);
                continue;
            }
        };
        report.tick();
        if let Err(error) = entry.key_str() {
            let (key, cid) = (entry.key(), entry.value());
            report.fault(&Fault::bad_key(key, cid, error.to_string()));
        }
        match look_up::record(&repository, entry.key(), &entry.value())? {
            Ok(block) => dump(&entry, &block, args.jsonl, out, report)?,
            Err(fault) => report.fault(&fault),
        }
    }
    Ok(())
}

fn dump(
    entry: &EntryRef,
    block: &[u8],
    jsonl: bool,
    out: &mut Output,
    report: &mut Report,
) -> Result<(), Failure> {
    let (key, cid) = (entry.key(), entry.value());
    let record = match ReadableRecord::new(block) {
        Ok(record) => record,
        Err(unreadable) => {
            report.fault(&Fault::bad_record(key, cid, unreadable.to_string()));
            return Ok(());
        }
    };
    let write = if jsonl { write_line } else { write_indented };
    write(entry, &record, out.writer()).map_err(Failure::Output)
}

fn write_indented(
    entry: &EntryRef,
    record: &ReadableRecord<'_>,
    mut out: &mut dyn Write,
) -> io::Result<()> {
    write!(out, "{} -> ", Quoted(entry.key()))?;
    record.write(&mut JsonWriter::new(&mut out, Layout::Indented))?;
    writeln!(out)
}

fn write_line(
    entry: &EntryRef,
    record: &ReadableRecord<'_>,
    mut out: &mut dyn Write,
) -> io::Result<()> {
    let mut json = JsonWriter::new(&mut out, Layout::Line);
    json.open("{")?;
    json.text_field("path", String::from_utf8_lossy(entry.key()))?;
    json.text_field("cid", entry.value())?;
    json.key("value")?;
    record.write(&mut json)?;
    json.close("}")?;
    writeln!(out)
}
