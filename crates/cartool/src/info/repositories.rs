//! The output of `info` for a database that holds several repositories: a list of them.

use std::io::{self, Write};

use atproto_mst::{Cid, NodeStoreOptions, Repository, SqliteBlockStore};

use super::line;
use crate::database;
use crate::failure::Failure;
use crate::json::{JsonWriter, Layout};
use crate::output::Output;
use crate::quote::Harmless;
use crate::report::Report;

/// A repository in a database.
struct Listed<'h> {
    did: &'h str,
    commit: &'h Cid,
    /// `None` if the commit cannot be read.
    rev: Option<String>,
}

/// Writes the name of each repository, its commit and its revision.
pub(super) fn list(
    database: &SqliteBlockStore,
    heads: &[(String, Cid)],
    as_json: bool,
    out: &mut Output,
    report: &mut Report,
) -> Result<(), Failure> {
    let size = database::size(database)?;
    let mut repositories = Vec::with_capacity(heads.len());
    for (did, commit) in heads {
        let repository = Repository::open_with(database, commit, NodeStoreOptions::uncached());
        let rev = match repository.map_err(Failure::from) {
            Ok(repository) => Some(repository.commit().rev.to_string()),
            Err(Failure::Invalid(what)) => {
                report.fault(&format_args!("{did}: {what}"));
                None
            }
            Err(failure) => return Err(failure),
        };
        repositories.push(Listed { did, commit, rev });
    }
    let file = report.file();
    let written = if as_json {
        write_json(file, size, &repositories, out.writer())
    } else {
        write_text(file, size, &repositories, out.writer())
    };
    written.map_err(Failure::Output)
}

fn write_text(
    file: &str,
    size: u64,
    repositories: &[Listed<'_>],
    out: &mut impl Write,
) -> io::Result<()> {
    line(out, "File", Harmless(file))?;
    line(out, "Size", format_args!("{size} bytes"))?;
    line(out, "Repositories", repositories.len())?;
    for Listed { did, commit, rev } in repositories {
        let (did, rev) = (Harmless(did), rev.as_deref().unwrap_or("unknown"));
        writeln!(out, "  {did} {commit} {rev}")?;
    }
    Ok(())
}

fn write_json(
    file: &str,
    size: u64,
    repositories: &[Listed<'_>],
    out: &mut impl Write,
) -> io::Result<()> {
    let mut json = JsonWriter::new(&mut *out, Layout::Indented);
    json.open("{")?;
    json.text_field("file", file)?;
    json.number_field("size", size)?;
    json.key("repositories")?;
    json.open("[")?;
    for Listed { did, commit, rev } in repositories {
        json.open("{")?;
        json.text_field("did", did)?;
        json.text_field("commit", commit)?;
        json.optional_text_field("rev", rev.as_ref())?;
        json.close("}")?;
    }
    json.close("]")?;
    json.close("}")?;
    writeln!(out)
}
