//! The output of `info` for programs.

use std::io::{self, Write};

use atproto_mst::Commit;
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
    json.text_field("file", name)?;
    json.number_field("size", file.size)?;
    json.optional_number_field("sections", file.sections)?;
    json.optional_number_field("blocks", file.blocks)?;
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
    json.number_field("version", commit.version)?;
    json.text_field("did", &commit.did)?;
    json.text_field("rev", commit.rev)?;
    json.text_field("sig", BASE64URL.encode(&commit.sig))?;
    json.text_field("data", commit.data)?;
    json.optional_text_field("prev", commit.prev)?;
    json.close("}")
}

fn write_contents(contents: &Contents, json: &mut JsonWriter<impl Write>) -> io::Result<()> {
    json.optional_number_field("height", contents.height)?;
    json.number_field("nodes", contents.nodes)?;
    json.number_field("records", contents.records)?;
    json.optional_number_field("unreferenced", contents.unreferenced)?;
    json.number_field("missing_nodes", contents.missing_nodes)?;
    json.number_field("missing_records", contents.missing_records)?;
    json.number_field("bad_nodes", contents.bad_nodes)?;
    json.number_field("bad_keys", contents.bad_keys)?;
    json.key("collections")?;
    json.open("{")?;
    for (collection, count) in &contents.collections {
        json.number_field(collection, *count)?;
    }
    json.close("}")
}
