//! The output of `info` for people.

use std::fmt::Display;
use std::io::{self, Write};

use atproto_mst::Commit;
use data_encoding::BASE64URL;

use super::contents::Contents;
use super::{FileFacts, Info};
use crate::quote::{Counted, Harmless};

pub(super) fn write(info: &Info, out: &mut impl Write) -> io::Result<()> {
    write_file(&info.name, &info.file, out)?;
    if let Some((commit, contents)) = &info.repository {
        writeln!(out)?;
        write_commit(commit, out)?;
        writeln!(out)?;
        write_contents(contents, out)?;
    }
    Ok(())
}

fn write_file(name: &str, file: &FileFacts, out: &mut impl Write) -> io::Result<()> {
    line(out, "File", Harmless(name))?;
    line(out, "Size", format_args!("{} bytes", file.size))?;
    if let Some(sections) = file.sections {
        line(out, "Sections", sections)?;
    }
    if let Some(blocks) = file.blocks {
        line(out, "Blocks", blocks)?;
    }
    for root in &file.roots {
        line(out, "Root CID", root)?;
    }
    Ok(())
}

/// Writes the fields of a commit, each as a line.
pub(crate) fn write_commit(commit: &Commit, out: &mut impl Write) -> io::Result<()> {
    line(out, "Version", commit.version)?;
    line(out, "Repo", &commit.did)?;
    line(out, "Rev", commit.rev)?;
    match &*commit.sig {
        [] => line(out, "Sig", "none: the commit is not signed")?,
        sig => line(out, "Sig", BASE64URL.encode(sig))?,
    }
    line(out, "MST root", commit.data)
}

fn write_contents(contents: &Contents, out: &mut impl Write) -> io::Result<()> {
    match contents.height {
        Some(height) => line(out, "MST height", height)?,
        None => line(out, "MST height", "unknown")?,
    }
    line(out, "Nodes", contents.nodes)?;
    line(out, "Records", contents.records)?;
    if let Some(unreferenced) = contents.unreferenced {
        line(out, "Unreferenced", unreferenced)?;
    }
    let (nodes, records) = (contents.missing_nodes, contents.missing_records);
    if nodes + records > 0 {
        let (records, nodes) = (Counted(records, "record"), Counted(nodes, "node"));
        line(out, "Missing", format_args!("{records}, {nodes}"))?;
    }
    let (nodes, keys) = (contents.bad_nodes, contents.bad_keys);
    if nodes + keys > 0 {
        let (nodes, keys) = (Counted(nodes, "node"), Counted(keys, "key"));
        line(out, "Bad", format_args!("{nodes}, {keys}"))?;
    }
    line(out, "Collections", contents.collections.len())?;
    let counts = contents.collections.values();
    let width = counts.max().map_or(0, |most| most.to_string().len());
    for (collection, count) in &contents.collections {
        writeln!(out, "  {count:>width$} {collection}")?;
    }
    Ok(())
}

/// Writes a name and its value as a line.
pub(crate) fn line(out: &mut impl Write, name: &str, value: impl Display) -> io::Result<()> {
    writeln!(out, "{:<14}{value}", format_args!("{name}:").to_string())
}
