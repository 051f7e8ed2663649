//! The output of `info` for programs.

use std::io::{self, Write};

use atproto_mst::{Cid, Commit};
use data_encoding::BASE64URL;

use super::contents::Contents;
use super::{FileFacts, Info};
use crate::json::{JsonWriter, Layout};

pub(super) fn write(info: &Info, out: &mut impl Write) -> io::Result<()> {
    let mut json = JsonWriter::new(&mut *out, Layout::Indented);
    json.open("{")?;
    write_file(&info.name, &info.file, &mut json)?;
    if let Some((commit, contents)) = &info.repository {
        write_commit(commit, &mut json)?;
        write_contents(contents, &mut json)?;
    } else {
        json.key("commit")?;
        json.literal("null")?;
    }
    json.close("}")?;
    writeln!(out)
}

fn write_file(name: &str, file: &FileFacts, json: &mut JsonWriter<impl Write>) -> io::Result<()> {
    json.key("file")?;
    json.text(name)?;
    number(json, "size", file.size)?;
    count(json, "sections", file.sections)?;
    count(json, "blocks", file.blocks)?;
    json.key("roots")?;
    json.open("[")?;
    for root in &file.roots {
        json.text(&root.to_string())?;
    }
    json.close("]")
}

fn write_commit(commit: &Commit, json: &mut JsonWriter<impl Write>) -> io::Result<()> {
    json.key("commit")?;
    json.open("{")?;
    number(json, "version", commit.version)?;
    text(json, "did", &commit.did)?;
    text(json, "rev", &commit.rev.to_string())?;
    text(json, "sig", &BASE64URL.encode(&commit.sig))?;
    text(json, "data", &commit.data.to_string())?;
    json.key("prev")?;
    match commit.prev.as_ref().map(Cid::to_string) {
        Some(prev) => json.text(&prev)?,
        None => json.literal("null")?,
    }
    json.close("}")
}

fn write_contents(contents: &Contents, json: &mut JsonWriter<impl Write>) -> io::Result<()> {
    json.key("height")?;
    match contents.height {
        Some(height) => json.literal(height)?,
        None => json.literal("null")?,
    }
    number(json, "nodes", contents.nodes)?;
    number(json, "records", contents.records)?;
    count(json, "unreferenced", contents.unreferenced)?;
    number(json, "missing_nodes", contents.missing_nodes)?;
    number(json, "missing_records", contents.missing_records)?;
    number(json, "bad_nodes", contents.bad_nodes)?;
    number(json, "bad_keys", contents.bad_keys)?;
    json.key("collections")?;
    json.open("{")?;
    for (collection, count) in &contents.collections {
        number(json, collection, *count)?;
    }
    json.close("}")
}

fn number(json: &mut JsonWriter<impl Write>, key: &str, value: u64) -> io::Result<()> {
    json.key(key)?;
    json.literal(value)
}

fn count(json: &mut JsonWriter<impl Write>, key: &str, count: Option<usize>) -> io::Result<()> {
    json.key(key)?;
    match count {
        Some(count) => json.literal(count),
        None => json.literal("null"),
    }
}

fn text(json: &mut JsonWriter<impl Write>, key: &str, value: &str) -> io::Result<()> {
    json.key(key)?;
    json.text(value)
}
