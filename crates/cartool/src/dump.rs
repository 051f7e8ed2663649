//! `cartool dump`

use std::io::{self, Write};

use atproto_mst::EntryRef;

use crate::cli::DumpArgs;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::json::{JsonWriter, Layout};
use crate::output::Output;
use crate::quote::Quoted;
use crate::record::ReadableRecord;
use crate::report::Report;
use crate::{look_up, walk};

pub(crate) fn run(args: &DumpArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    walk::each(&args.chosen, report, |repository, entry, report| {
        match look_up::record(repository, entry.key(), &entry.value())? {
            Ok(block) => dump(entry, &block, args.jsonl, out, report)?,
            Err(fault) => report.fault(&fault),
        }
        Ok(())
    })
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
