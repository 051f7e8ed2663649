//! The command line.

use std::borrow::Cow;
use std::path::PathBuf;

use atproto_mst::mst_repo::check_nsid;
use clap::{Args, Parser, Subcommand};

/// Look into atproto repository CARs.
///
/// A repository CAR is the file in which an atproto account's records travel: what
/// `com.atproto.sync.getRepo` gives, or a slice of it. cartool reads such files; it changes
/// nothing and asks nobody on the network.
#[derive(Debug, Parser)]
#[command(
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "FILE may be `-` for standard input. Exit codes and more: cartool --help",
    after_long_help = MORE
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Never show a progress bar
    ///
    /// Without this there is one on a terminal when the work takes longer than a second.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

const MORE: &str = "\
FILE is the path of a CAR file, which is read in place, or `-` for standard input, which is \
read into memory whole.

Standard output is data and nothing else; progress and errors go to standard error. Every \
block is checked against its CID when it is read. A damaged or missing block does not hide \
the rest: it is reported with the keys that it concerns, and the work goes on beside it.

Examples:
  cartool info repo.car
  cartool list repo.car --collection app.bsky.feed.post --reverse | head
  cartool dump repo.car --jsonl | jq -r .value.text
  cartool get repo.car app.bsky.actor.profile/self
  curl -s \"https://$PDS/xrpc/com.atproto.sync.getRepo?did=$DID\" | cartool verify -

Exit codes:
  0  all is well (a closed pipe, as with `| head`, is no error)
  1  the CAR or the repository in it is damaged, invalid or incomplete
  2  wrong usage
  3  cannot read the file, or cannot write the output
  4  there is no such record";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Info(InfoArgs),
    List(ListArgs),
    Dump(DumpArgs),
    Get(GetArgs),
    Verify(VerifyArgs),
}

impl Command {
    /// The file that it is all about.
    pub(crate) fn file(&self) -> Cow<'_, str> {
        let file = match self {
            Self::Info(args) => &args.file,
            Self::List(args) => &args.file,
            Self::Dump(args) => &args.file,
            Self::Get(args) => &args.file,
            Self::Verify(args) => &args.file,
        };
        // Only to name it in messages.
        file.to_string_lossy()
    }
}

/// Tell what a CAR holds: whose repository, which revision, how many records of which kinds
///
/// Counts what is there. The tree's nodes are read and checked; records are only looked up,
/// not read (`verify` reads all). The numbers beside the collections are those of their
/// paths, whether or not the record is there. That blocks are missing, as they are from
/// every slice, or that keys are not repository paths, is told and is no error here.
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// The CAR, or `-` for standard input
    pub(crate) file: PathBuf,

    /// Print one JSON object instead
    #[arg(long)]
    pub(crate) json: bool,
}

/// List the paths of all records with their CIDs
///
/// One line a record, `"path" -> cid`, in the order of the paths. Records are not read. A
/// key that is not UTF-8 is shown with U+FFFD for what is not, and reported.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The CAR, or `-` for standard input
    pub(crate) file: PathBuf,

    /// Only the records of this collection, such as app.bsky.feed.post
    #[arg(short, long, value_name = "NSID", value_parser = parse_nsid)]
    pub(crate) collection: Option<String>,

    /// The last path first; in most collections that is the newest record
    #[arg(short, long)]
    pub(crate) reverse: bool,
}

/// Print all records as JSON
///
/// Each as `"path" -> {...}`, indented, with all but ASCII escaped; or with --jsonl as one
/// object a line, {"path":..., "cid":..., "value":...}, in plain UTF-8. A link is
/// {"$link": "cid"}, bytes are {"$bytes": "base64"}, fields have the order of the block.
///
/// A record that is not strict DAG-CBOR, or that the atproto data model does not have
/// (floating-point numbers, for one), is reported and left out; `get --raw` gives its bytes.
#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    /// The CAR, or `-` for standard input
    pub(crate) file: PathBuf,

    /// Only the records of this collection, such as app.bsky.feed.post
    #[arg(short, long, value_name = "NSID", value_parser = parse_nsid)]
    pub(crate) collection: Option<String>,

    /// One line a record, for tools like jq
    #[arg(long)]
    pub(crate) jsonl: bool,
}

/// Print one record, as JSON or as the bytes that it is
///
/// That there is no such record (exit code 4) is said only if the CAR proves it. Where a
/// block is missing that the answer depends on, the error names it (exit code 1).
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The CAR, or `-` for standard input
    pub(crate) file: PathBuf,

    /// The record's path, such as app.bsky.actor.profile/self
    pub(crate) path: String,

    /// Write the record's block, DAG-CBOR, as it is
    #[arg(long)]
    pub(crate) raw: bool,
}

/// Check a whole repository: everything there, nothing wrong
///
/// Checks the CAR's framing, the commit, that the tree is complete and canonical, that
/// every key is a repository path, that every record is there, and that all these blocks
/// hash to their CIDs. Prints one line if so. If not, prints a line for each fault: what is
/// missing or wrong, its CID, the keys that it concerns; then the counts.
///
/// Not checked in this version: the commit's signature; what the records contain (`dump`
/// does that); blocks that nothing refers to.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The CAR, or `-` for standard input
    pub(crate) file: PathBuf,
}

fn parse_nsid(text: &str) -> Result<String, String> {
    match check_nsid(text.as_bytes()) {
        Ok(nsid) => Ok(nsid.to_owned()),
        Err(error) => Err(format!("not an NSID: {error}")),
    }
}
