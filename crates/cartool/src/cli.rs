//! The command line.

use std::path::{Path, PathBuf};

use atproto_mst::RepoPath;
use atproto_mst::mst_repo::check_nsid;
use clap::{Args, Parser, Subcommand};

use crate::failure::chain;

/// Look into atproto repository CARs, and change them.
///
/// A repository CAR is the file in which an atproto account's records travel: what
/// `com.atproto.sync.getRepo` gives, or a slice of it. cartool reads such files, writes
/// changed ones, and keeps repositories in an SQLite database. It asks nobody on the network,
/// and it signs nothing.
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
read into memory whole; or the path of an SQLite database that `import` has filled. Where that \
holds several repositories, --repo DID says which.

OUT is the path of a file, or `-` for standard output. A file is replaced in one step when all \
of it is on the disk; until then, and if anything goes wrong, the old one stays as it is. So \
OUT may be FILE itself.

Standard output is data and nothing else; progress and errors go to standard error. Every \
block is checked against its CID when it is read. A damaged or missing block does not hide \
the rest: it is reported with the keys that it concerns, and the work goes on beside it.

Examples:
  cartool info repo.car
  cartool list repo.car --collection app.bsky.feed.post --reverse | head
  cartool dump repo.car --jsonl | jq -r .value.text
  cartool get repo.car app.bsky.actor.profile/self
  cartool put repo.car com.example.note/1 note.json -o changed.car
  cartool import repo.car repos.sqlite
  curl -s \"https://$PDS/xrpc/com.atproto.sync.getRepo?did=$DID\" | cartool verify -

Exit codes:
  0  all is well (a closed pipe, as with `| head`, is no error)
  1  the CAR, or the repository or record in it or for it, is damaged, invalid or incomplete
  2  wrong usage
  3  cannot read the file or the database, or cannot write the output
  4  there is no such record, or no such repository in the database";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Info(InfoArgs),
    List(ListArgs),
    Dump(DumpArgs),
    Get(GetArgs),
    Verify(VerifyArgs),
    Put(PutArgs),
    Rm(RmArgs),
    Compact(CompactArgs),
    Import(ImportArgs),
    Export(ExportArgs),
}

impl Command {
    /// The file that it is all about.
    pub(crate) fn file(&self) -> &Path {
        match self {
            Self::Info(args) => &args.source.file,
            Self::List(args) => &args.source.file,
            Self::Dump(args) => &args.source.file,
            Self::Get(args) => &args.source.file,
            Self::Verify(args) => &args.source.file,
            Self::Put(args) => &args.source.file,
            Self::Rm(args) => &args.source.file,
            Self::Compact(args) => &args.file,
            Self::Import(args) => &args.source.file,
            Self::Export(args) => &args.database,
        }
    }
}

/// Where a repository is.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// The CAR, or `-` for standard input; or the database
    pub(crate) file: PathBuf,

    /// Which repository, of a database that holds several
    #[arg(long, value_name = "DID")]
    pub(crate) repo: Option<String>,
}

impl Source {
    /// The file at `path`, and the only repository in it.
    pub(crate) fn of(path: &Path) -> Self {
        Self {
            file: path.to_owned(),
            repo: None,
        }
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
    #[command(flatten)]
    pub(crate) source: Source,

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
    #[command(flatten)]
    pub(crate) source: Source,

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
    #[command(flatten)]
    pub(crate) source: Source,

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
    #[command(flatten)]
    pub(crate) source: Source,

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
    #[command(flatten)]
    pub(crate) source: Source,
}

/// Put a record into a copy of a repository
///
/// The record is JSON in the form in which `get` and `dump --jsonl` print it, or DAG-CBOR;
/// what is printed comes back to the same CID. In JSON, a link is {"$link": "cid"}, bytes are
/// {"$bytes": "base64"}, numbers are integers; fields may have any order, but no key may come
/// twice. DAG-CBOR must be in its one strict form.
///
/// OUT is the whole repository, in streamable order, with a new commit: the same DID, a later
/// revision, and NO SIGNATURE, for that takes the account's key. If the very record was there
/// already, the commit stays as it was. Says on standard error what it did. Refuses a
/// repository of which anything is missing.
#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    #[command(flatten)]
    pub(crate) source: Source,

    /// The record's path, such as app.bsky.actor.profile/self
    #[arg(value_parser = parse_path)]
    pub(crate) path: String,

    /// The file with the record, or `-` for standard input
    pub(crate) record: PathBuf,

    /// The record is DAG-CBOR, as `get --raw` prints it
    #[arg(long)]
    pub(crate) cbor: bool,

    /// The CAR to write, or `-` for standard output
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
}

/// Remove a record from a copy of a repository
///
/// OUT is as for `put`: whole, in streamable order, with a new commit that is NOT SIGNED. If
/// there is no such record, exit code 4, nothing is written.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    #[command(flatten)]
    pub(crate) source: Source,

    /// The record's path, such as app.bsky.actor.profile/self
    pub(crate) path: String,

    /// The CAR to write, or `-` for standard output
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
}

/// Copy a CAR without what nothing refers to, or rid a database of it
///
/// OUT has the commit as it is, signature and all, its tree and its records, in streamable
/// order: a reader can take it in one pass. Refuses a repository of which anything is missing.
/// A record with several paths comes as often, for such a reader keeps nothing.
///
/// A database is compacted in its place: what older revisions have left behind is dropped, and
/// the file gets shorter.
#[derive(Debug, Args)]
pub(crate) struct CompactArgs {
    /// The CAR, or `-` for standard input; or the database
    pub(crate) file: PathBuf,

    /// The CAR to write, or `-` for standard output; not for a database
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,
}

/// Copy a repository into an SQLite database
///
/// The repository is verified first, as `verify` does, and then goes in in one transaction:
/// all of it, or nothing. Blocks that nothing refers to stay out. The database is made if it
/// is not there, holds any number of repositories, and is a FILE for all commands.
///
/// A later revision of a repository takes the place of the earlier; `compact` rids the
/// database of what only the earlier needed.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    pub(crate) source: Source,

    /// The database
    pub(crate) database: PathBuf,

    /// Even if the database has a later revision, or another commit of the same
    #[arg(long)]
    pub(crate) force: bool,
}

/// Copy a repository out of an SQLite database into a CAR
///
/// OUT has the commit, its tree and its records, in streamable order. The repository is
/// verified first.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The database
    pub(crate) database: PathBuf,

    /// Which repository; may be left out if there is just one
    #[arg(value_name = "DID")]
    pub(crate) repo: Option<String>,

    /// The CAR to write, or `-` for standard output
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
}

fn parse_path(text: &str) -> Result<String, String> {
    match RepoPath::parse(text.as_bytes()) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("not a repository path: {}", chain(&error))),
    }
}

fn parse_nsid(text: &str) -> Result<String, String> {
    match check_nsid(text.as_bytes()) {
        Ok(nsid) => Ok(nsid.to_owned()),
        Err(error) => Err(format!("not an NSID: {error}")),
    }
}
