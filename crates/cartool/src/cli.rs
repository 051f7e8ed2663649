//! The command line.

use std::path::{Path, PathBuf};

use atproto_mst::mst_repo::{check_nsid, is_did};
use atproto_mst::{Cid, PublicKey, RepoPath};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::failure::chain;

/// Inspect and change atproto repository CARs.
///
/// A repository CAR is the file in which an atproto account's records are exchanged: what
/// `com.atproto.sync.getRepo` returns, or a slice of it. cartool reads such files, writes changed
/// ones, signs them with a given key, and keeps repositories in an SQLite database. It never uses
/// the network.
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
    /// Otherwise one is shown on a terminal if the work takes longer than a second.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

const MORE: &str = "\
FILE is the path of a CAR file, which is read in place, or `-` for standard input, which is \
read into memory as a whole; or the path of an SQLite database that `import` has filled. If that \
holds several repositories, --repo DID says which, and `info` lists them. A command that writes \
to a database to which another process writes waits for up to a minute.

OUT is the path of a file, or `-` for standard output. A file is replaced in one step when all \
of it is on the disk; until then, and if anything goes wrong, the old file stays as it is. So \
OUT may be FILE itself, if that is a CAR and OUT is the whole repository of it; nothing that is \
damaged, and nothing else that OUT is made from, is ever overwritten.

Standard output has data only; progress and errors go to standard error. Every block is checked \
against its CID when it is read. A damaged or missing block does not hide the rest: it is \
reported with the keys affected, and the work continues after it.

Examples:
  cartool info repo.car
  cartool list repo.car --collection app.bsky.feed.post --reverse | head
  cartool dump repo.car --jsonl | jq -r .value.text
  cartool get repo.car app.bsky.actor.profile/self
  cartool put repo.car com.example.note/1 note.json -o changed.car
  cartool diff monday.car tuesday.car
  cartool tree repo.car --format svg --depth 2 > tree.svg
  cartool proof make repo.car app.bsky.actor.profile/self -o proof.car
  cartool proof check proof.car app.bsky.actor.profile/self --commit $CID
  cartool keygen my.key
  cartool init $DID --key-file my.key -o new.car
  cartool sign changed.car --key-file my.key -o signed.car
  cartool import repo.car repos.sqlite
  cartool commit repos.sqlite writes.jsonl --key-file my.key --slice slice.car
  curl -s \"https://$PDS/xrpc/com.atproto.sync.getRepo?did=$DID\" | cartool verify -

Exit codes:
  0  success; also if the output is a pipe that is closed early, as by `| head`: then verify,
     slice, diff and proof check go on without it, and others end, with what was not read
     unchecked. A slice that is lost in this way is an error (3)
  1  the CAR, the repository, or what is to be written to it, is damaged, invalid or incomplete;
     commit: a record to be created exists; import: the database has a later revision, or may
     have one; salvage: a fault was found, even if it cost no record; verify, proof check, slice:
     the signature is not by the given key
  2  wrong usage
  3  cannot read the file or the database, or cannot write the output
  4  there is no such record, or no such repository in the database; commit: no record to update
     or delete; proof check: all is proven, and some paths are absent
  5  diff: the two differ
  6  proof check, verify --partial --ops: a block is missing, so something is neither proven nor
     refuted
  7  another process has written to the database for a minute, or while it was read without a
     lock, as there was no permission or no space for one: try again";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Info(InfoArgs),
    List(ListArgs),
    Dump(DumpArgs),
    Get(GetArgs),
    Verify(VerifyArgs),
    Slice(SliceArgs),
    Tree(TreeArgs),
    Diff(DiffArgs),
    /// Prove to others which records there are, or check such a proof
    ///
    /// A proof is a CAR with the commit and the nodes of the tree that show what it says about some
    /// keys. Nothing else is needed if you have the commit from a source that you trust.
    Proof {
        #[command(subcommand)]
        command: ProofCommand,
    },
    Put(PutArgs),
    Rm(RmArgs),
    Keygen(KeygenArgs),
    Init(InitArgs),
    Sign(SignArgs),
    Commit(CommitArgs),
    Salvage(SalvageArgs),
    Compact(CompactArgs),
    Import(ImportArgs),
    Export(ExportArgs),
}

impl Command {
    /// The file that the command is about.
    pub(crate) fn file(&self) -> &Path {
        match self {
            Self::Info(args) => &args.source.file,
            Self::List(args) => &args.chosen.source.file,
            Self::Dump(args) => &args.chosen.source.file,
            Self::Get(args) => &args.source.file,
            Self::Verify(args) => &args.source.file,
            Self::Slice(args) => &args.file,
            Self::Tree(args) => &args.source.file,
            Self::Diff(args) => &args.old,
            Self::Proof { command } => match command {
                ProofCommand::Make(args) => &args.source.file,
                ProofCommand::Check(args) => &args.proof,
            },
            Self::Put(args) => &args.source.file,
            Self::Rm(args) => &args.source.file,
            Self::Keygen(args) => &args.file,
            Self::Init(args) => &args.output,
            Self::Sign(args) => &args.source.file,
            Self::Commit(args) => &args.source.file,
            Self::Salvage(args) => &args.source.file,
            Self::Compact(args) => &args.file,
            Self::Import(args) => &args.source.file,
            Self::Export(args) => &args.file,
        }
    }
}

/// Where to find a repository.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// The CAR, or `-` for standard input; or the database
    pub(crate) file: PathBuf,

    /// Which repository, if a database holds several
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

/// Show what a CAR holds: the account, the revision, the number of records of each kind
///
/// Counts what is present. The nodes of the tree are read and checked; records are only looked up,
/// not read (`verify` reads everything). The numbers beside the collections count paths, whether or
/// not the record is present. Missing blocks, as in every slice, and keys that are not repository
/// paths are reported, but are not an error here.
///
/// For a database that holds several repositories, without --repo: lists them, each with its commit
/// and revision.
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
/// One line per record, `"path" -> cid`, in path order. Records are not read. A key that is not
/// UTF-8 is shown with U+FFFD for the invalid bytes, and reported.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) chosen: Chosen,
}

/// Print all records as JSON
///
/// Each as `"path" -> {...}`, indented, with everything but ASCII escaped; or with --jsonl as one
/// object per line, {"path":..., "cid":..., "value":...}, in plain UTF-8. A link is {"$link":
/// "cid"}, bytes are {"$bytes": "base64"}, fields are in the order of the block.
///
/// A record that is not strict DAG-CBOR, or that contains something that the atproto data model
/// does not allow (such as floating-point numbers), is reported and left out; `get --raw` prints
/// its bytes.
#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    #[command(flatten)]
    pub(crate) chosen: Chosen,

    /// One line per record, for tools like jq
    #[arg(long)]
    pub(crate) jsonl: bool,
}

/// The records of a repository, or some of them, in an order.
#[derive(Debug, Args)]
pub(crate) struct Chosen {
    #[command(flatten)]
    pub(crate) source: Source,

    /// Only the records of this collection, such as app.bsky.feed.post
    #[arg(short, long, value_name = "NSID", value_parser = parse_nsid)]
    pub(crate) collection: Option<String>,

    /// The last path first; in most collections that is the newest record
    #[arg(short, long)]
    pub(crate) reverse: bool,
}

/// Print one record, as JSON or as its raw bytes
///
/// Exit code 4 (there is no such record) is given only if the CAR proves it. If the answer depends
/// on a block that is missing, the error names it (exit code 1).
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) source: Source,

    /// The record's path, such as app.bsky.actor.profile/self
    pub(crate) path: String,

    /// Write the record's block, DAG-CBOR, unchanged
    #[arg(long)]
    pub(crate) raw: bool,
}

/// Check a whole repository: that it is complete and valid
///
/// Checks the CAR's framing, the commit, that the tree is complete and canonical, that every key is
/// a repository path, that every record is present, and that all blocks hash to their CIDs, also
/// those of a CAR that nothing refers to.
/// Prints one line if so. If not, prints a line for each fault: what is missing or wrong, its CID,
/// the keys affected; then the counts.
///
/// With --partial, for a slice or a proof, something missing is not a fault. What is present is
/// checked by the same rules; each missing part of the tree is listed with its keys, and missing
/// records are counted.
///
/// With --all, checks each repository of a database, one after the other, and that it belongs to
/// the DID that it is stored under: prints a line for each fault and one with the counts, each
/// after the DID.
///
/// With --ops, also checks that the operations, one per line as `diff --jsonl` prints them, are in
/// this tree, and inverts them: prints the root of the tree before. With --since-root, it is a
/// fault if that is another root. This needs only what a commit of the firehose contains; if a node
/// is missing for it, the exit code is 6 with --partial.
///
/// With --key, also checks the commit's signature, which must be by this key. The account's key is
/// the verification method `#atproto` in its DID document, which is not fetched.
///
/// Not checked: without --key, the signature; what the records contain (`dump` checks that); what
/// blocks that nothing refers to are for.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) source: Source,

    /// Treat it as a part of a repository, of which the rest may be missing
    #[arg(long)]
    pub(crate) partial: bool,

    /// Check all repositories of a database
    #[arg(long, conflicts_with_all = ["repo", "ops", "key"])]
    pub(crate) all: bool,

    /// Operations that led to this tree, JSON lines {"path":..., "old":..., "new":...}
    #[arg(long, value_name = "FILE")]
    pub(crate) ops: Option<PathBuf>,

    /// The tree's root before the operations
    #[arg(long, value_name = "CID", requires = "ops", value_parser = parse_cid)]
    pub(crate) since_root: Option<Cid>,

    /// The account's public key, which must have signed the commit: a `did:key`, or the
    /// `publicKeyMultibase` of a DID document
    #[arg(long, value_name = "DID:KEY", value_parser = parse_key)]
    pub(crate) key: Option<PublicKey>,
}

/// Inspect what the firehose sends for a commit: a slice, or the message around it
///
/// FILE is a slice, which is a CAR, or a message of `com.atproto.sync.subscribeRepos`, as in one
/// WebSocket frame. For a message, its fields are printed, and the operations as `diff` prints
/// them. Then come the commit; a line for each block, in the order of the CAR: its kind (`commit`,
/// `node`, `record`, `other`), its CID, its length, and its height or path; and what is missing of
/// the tree, which for a slice is most of it, and not a fault.
///
/// A message is then checked as its receiver should: limits, fields, blocks, and that the
/// operations, inverted, lead to the tree that it names. If it lacks nodes that would show that no
/// old key is on the wrong side of a new one, a note says so. The last line says `ok`, or what is
/// `invalid` or `out of sync` (exit code 1). Whether it follows the previous message is not
/// checked. Messages other than `#commit` and `#sync` are only shown. To check the operations of a
/// bare slice, use `verify --partial --ops`. Without --key the signature is NOT CHECKED.
#[derive(Debug, Args)]
pub(crate) struct SliceArgs {
    /// The slice or the message, or `-` for standard input; read into memory as a whole
    pub(crate) file: PathBuf,

    /// The account's public key, which must have signed the commit: a `did:key`, or the
    /// `publicKeyMultibase` of a DID document
    #[arg(long, value_name = "DID:KEY", value_parser = parse_key)]
    pub(crate) key: Option<PublicKey>,
}

/// Show the tree: its layers, keys and subtrees, and what is missing
///
/// As text, each node is a line with its height and CID; below it, indented, are its keys with the
/// end of the records' CIDs, and between them its subtrees. Text has no limits; a picture has at
/// most 2,000 nodes and 10,000 keys; use --depth or --prefix to choose a part.
///
/// SVG is for a browser, where each part shows more on hover; DOT is for Graphviz. Missing parts
/// are shown, and are not an error here.
#[derive(Debug, Args)]
pub(crate) struct TreeArgs {
    #[command(flatten)]
    pub(crate) source: Source,

    /// Text, or a picture
    #[arg(short, long, default_value = "text")]
    pub(crate) format: TreeFormat,

    /// How many layers below the top to go down
    #[arg(short, long, value_name = "N")]
    pub(crate) depth: Option<usize>,

    /// Go down only where there may be keys that begin with this
    #[arg(short, long, default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
}

/// How `tree` shows the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TreeFormat {
    Text,
    Dot,
    Svg,
}

/// Compare two repositories, or two revisions of one
///
/// One line per record that differs, in path order: `+ "path" CID` for one that only NEW has,
/// `- "path" CID` for one that only OLD has, and `~ "path" CID CID` for one that both have, with
/// the CID in OLD and then the one in NEW.
///
/// Exit code 0 if there are none, 5 if there are. Only nodes that are not in both are read, and no
/// records, so NEW may be a slice if it has everything new. If a node that the comparison needs is
/// missing, it stops there with exit code 1.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The CAR, `-` or database to compare from
    pub(crate) old: PathBuf,

    /// The CAR, `-` or database to compare to
    pub(crate) new: PathBuf,

    /// Which repository, if a database holds several
    #[arg(long, value_name = "DID")]
    pub(crate) repo: Option<String>,

    /// Also print the nodes that only one of them has, `- node CID` and `+ node CID`
    #[arg(long)]
    pub(crate) nodes: bool,

    /// Print JSON lines, {"path":..., "old":..., "new":...}, with null for a missing value
    #[arg(long)]
    pub(crate) jsonl: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProofCommand {
    Make(ProofMakeArgs),
    Check(Box<ProofCheckArgs>),
}

/// Prove what a repository says about some paths
///
/// OUT is a CAR with the original commit; the nodes that show for each PATH that it exists, with
/// which CID, or that it does not; and the records that exist. A path that does not exist is not an
/// error. With --prefix, the nodes that show all paths with this prefix, and that there are no
/// others.
#[derive(Debug, Args)]
pub(crate) struct ProofMakeArgs {
    #[command(flatten)]
    pub(crate) source: Source,

    /// Paths, such as app.bsky.actor.profile/self
    #[arg(value_name = "PATH", required_unless_present = "prefix")]
    pub(crate) paths: Vec<String>,

    /// All paths that begin with this, such as app.bsky.feed.post/
    #[arg(short, long, value_name = "PREFIX")]
    pub(crate) prefix: Vec<String>,

    /// Add the nodes that lead to the neighbours of each PATH, which are needed to insert or remove
    /// it (see `verify --ops`)
    #[arg(long)]
    pub(crate) cover: bool,

    /// Also add the records of the paths below --prefix
    #[arg(long, requires = "prefix")]
    pub(crate) records: bool,

    /// The CAR to write, or `-` for standard output
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
}

/// Check a proof, and print what it proves
///
/// One line for each PATH: `present "path" CID`, `absent "path"`, or `unproven "path": ` and what
/// is missing. A missing block proves nothing. For each --prefix, lines `present`, then
/// `complete "prefix" N keys`, or `incomplete` after lines `unproven`.
///
/// A proof proves what is in the tree of its commit. To know that this is the account's commit,
/// pass its CID with --commit, or the tree's root with --root, from a source that you trust; or
/// pass the account's public key with --key. Without --key the signature is NOT CHECKED. Even with
/// it, there may be a later commit.
///
/// Exit code 0 if all paths are present; 4 if everything is proven, but some path is absent; 6 if
/// something is unproven; 1 if the proof is bad, about another commit, or not signed by --key.
#[derive(Debug, Args)]
pub(crate) struct ProofCheckArgs {
    /// The proof, a CAR, or `-` for standard input
    pub(crate) proof: PathBuf,

    /// Paths, such as app.bsky.actor.profile/self
    #[arg(value_name = "PATH", required_unless_present = "prefix")]
    pub(crate) paths: Vec<String>,

    /// All paths that begin with this, such as app.bsky.feed.post/
    #[arg(short, long, value_name = "PREFIX")]
    pub(crate) prefix: Vec<String>,

    /// The commit that it must be about
    #[arg(long, value_name = "CID", value_parser = parse_cid)]
    pub(crate) commit: Option<Cid>,

    /// The root of the tree that it must be about, whatever the commit
    #[arg(long, value_name = "CID", conflicts_with = "commit", value_parser = parse_cid)]
    pub(crate) root: Option<Cid>,

    /// The account's public key, which must have signed the commit: a `did:key`, or the
    /// `publicKeyMultibase` of a DID document
    #[arg(long, value_name = "DID:KEY", conflicts_with = "root", value_parser = parse_key)]
    pub(crate) key: Option<PublicKey>,
}

/// Put a record into a copy of a repository
///
/// The record is JSON in the form in which `get` and `dump --jsonl` print it, or DAG-CBOR; what
/// they print is read back to the same CID, unless it contains something that the data model does
/// not allow. In JSON, a link is {"$link": "cid"}, bytes are {"$bytes": "base64"}, numbers are
/// signed 64-bit integers; fields may have any order, but no key may occur twice, and nothing may
/// be nested more than 127 levels deep. DAG-CBOR must be strict, but may have larger integers and
/// more levels.
///
/// OUT is the whole repository, in streamable order, with a new commit: the same DID, a later
/// revision, and NO SIGNATURE, as that takes the account's key. If the identical record was there
/// already, the commit is unchanged. Reports on standard error what it did. Refuses a repository of
/// which anything is missing.
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
/// OUT is as for `put`: complete, in streamable order, with a new commit that is NOT SIGNED. If
/// there is no such record, the exit code is 4, and nothing is written.
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

/// Make a private key, and print its public key
///
/// FILE must not exist. It is readable by its owner alone, and the private key is written nowhere
/// else: one line, the key as a multikey, in base58btc with the prefix of its curve. The public
/// key, a `did:key`, goes to standard output.
#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    /// The file to create
    pub(crate) file: PathBuf,

    /// The curve of the key
    #[arg(long, default_value = "k256")]
    pub(crate) curve: KeyCurve,

    /// Make no key: print the public key of the one in FILE
    #[arg(long, conflicts_with = "curve")]
    pub(crate) public: bool,
}

/// The curves that atproto knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyCurve {
    /// secp256k1
    K256,
    /// secp256r1
    P256,
}

/// Start a repository, without records
///
/// OUT has the first commit, signed, and an empty tree. `commit` makes the next one in a copy, and
/// `import` copies it into a database, for commits there. OUT must not exist.
///
/// Whether the key is the account's is not checked: see its DID document.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The account that the repository belongs to
    #[arg(value_parser = parse_did)]
    pub(crate) did: String,

    /// The private key, as `keygen` makes it, or `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) key_file: PathBuf,

    /// The CAR to write, or `-` for standard output
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
}

/// Sign the commit of a repository, in a copy
///
/// OUT is the whole repository, as for `put`, with the same commit except for its signature; so its
/// CID changes, and its revision does not. An existing signature is replaced. Use this on what
/// `put`, `rm` and `salvage` write.
///
/// Whether the key is the account's is not checked: see its DID document.
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    #[command(flatten)]
    pub(crate) source: Source,

    /// The private key, as `keygen` makes it, or `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) key_file: PathBuf,

    /// The CAR to write, or `-` for standard output
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
}

/// Make one signed commit of several writes
///
/// WRITES has one write per line, each to another path, as JSON:
/// {"action":"create","path":"...","value":{...}}, the same with "update", or
/// {"action":"delete","path":"..."}, with values as for `put`. Either all of them are made or none:
/// if a record to be created exists, or one to be updated or deleted does not, nothing is written.
/// An update that changes nothing is no operation; the commit is made all the same. The limits are
/// those of the network: 200 writes, records of 1,000,000 bytes, 2,000,000 bytes in all.
///
/// With -o, OUT is a whole repository, as for `put`, with the new commit. Without it FILE must be a
/// database, and the commit is made there, in one transaction; blocks that only the previous commit
/// needed stay until `compact`.
///
/// The commit is checked by inverting it before it is published. Whether the key is the account's
/// is not checked.
#[derive(Debug, Args)]
pub(crate) struct CommitArgs {
    #[command(flatten)]
    pub(crate) source: Source,

    /// The file with the writes, or `-` for standard input
    pub(crate) writes: PathBuf,

    /// The private key, as `keygen` makes it, or `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) key_file: PathBuf,

    /// The CAR to write, or `-` for standard output; for a database it may be left out
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,

    /// Write what the firehose sends for the commit, a CAR: the commit, the new records, the nodes
    /// that show what was done
    ///
    /// A file is written before the commit is made, and gets its name afterwards; a pipe or standard
    /// output gets the slice only then. If that last step fails, it is an error (exit code 3), but
    /// the commit has been made.
    #[arg(long, value_name = "FILE")]
    pub(crate) slice: Option<PathBuf>,
}

/// Make a complete repository of what is left of a damaged one
///
/// OUT has every record that can be reached from the commit, in a new tree, in streamable order,
/// with a new commit as for `put`: the same DID, a later revision, and NO SIGNATURE. Each fault is
/// reported with the keys that are lost through it, and the exit code is 1. If nothing is lost, the
/// commit is unchanged.
///
/// Of a CAR that was cut off, or contains wrong bytes, the intact parts are used: one wrong byte
/// costs at most one block, and in a length or a CID nothing. If the commit that the header names is
/// lost, the last one that is present is used; if there is none, see --did. Records under keys that
/// are not repository paths are lost.
///
/// A node that is missing or wrong costs everything below it, unless --unreachable is given: with
/// a CAR in any order that was cut off, nearly all.
#[derive(Debug, Args)]
pub(crate) struct SalvageArgs {
    #[command(flatten)]
    pub(crate) source: Source,

    /// Where a node is missing, take records from the nodes of a CAR that nothing links to; if it
    /// holds blocks of earlier revisions, some that were deleted or changed since may come back
    #[arg(long)]
    pub(crate) unreachable: bool,

    /// The account's DID, for a CAR in which no commit is left: all records that any of its nodes
    /// leads to are taken, as with --unreachable
    #[arg(long, value_parser = parse_did)]
    pub(crate) did: Option<String>,

    /// The CAR to write, or `-` for standard output
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
}

/// Copy a CAR without unreferenced blocks, or remove them from a database
///
/// OUT has the original commit, including the signature, its tree and its records, in streamable
/// order: it can be read in one pass. Refuses a repository of which anything is missing. A record
/// with several paths is repeated for each, so that whoever reads it in one pass need not keep any.
///
/// A database is compacted in place: what older revisions have left behind is dropped, and the file
/// shrinks. With --drop, a repository is dropped too, except for blocks that others share with it.
#[derive(Debug, Args)]
pub(crate) struct CompactArgs {
    /// The CAR, or `-` for standard input; or the database
    pub(crate) file: PathBuf,

    /// The CAR to write, or `-` for standard output; not for a database
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,

    /// Drop the repository of this account from the database
    #[arg(long, value_name = "DID", conflicts_with = "output")]
    pub(crate) drop: Option<String>,
}

/// Copy a repository into an SQLite database
///
/// The repository is verified first, as by `verify`, and then copied in one transaction: all of it,
/// or nothing. Unreferenced blocks are left out. The database is created if it does not exist,
/// holds any number of repositories, and can be the FILE of every command that reads a repository.
///
/// A later revision of a repository replaces the earlier one; `compact` removes from the database
/// what only the earlier one needed.
///
/// With --update, FILE may be what `export --since` writes, or a server sends for `since`:
/// everything that is new since the revision in the database. This checks that all of it is
/// present, and the nodes, paths and records that are new; what is old is assumed to be complete.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    pub(crate) source: Source,

    /// The database
    pub(crate) database: PathBuf,

    /// Continue from the revision in the database: FILE may leave out what the database has
    #[arg(long)]
    pub(crate) update: bool,

    /// Even if the database has a later revision, or another commit with the same one, or (but not
    /// with --update) one that is damaged
    #[arg(long)]
    pub(crate) force: bool,
}

/// Copy a repository out of an SQLite database into a CAR, or a part of any repository
///
/// OUT has the commit, its tree and its records, in streamable order. The repository is
/// verified first.
///
/// With --collection, the commit, the records of one collection, and the nodes that show that these
/// are all of them: `list --collection` lists all of that collection from it, and reports nothing
/// as missing. With --since, the commit, and the nodes and records that an older tree does not
/// have: together with the old repository, the new one is complete. Only these are read then, once
/// to check that they are present, once to write them; what is missing is reported, and nothing is
/// written.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The database; for a part, a CAR or `-` as well
    pub(crate) file: PathBuf,

    /// Which repository, if a database holds several
    #[arg(long, value_name = "DID")]
    pub(crate) repo: Option<String>,

    /// Only this collection, such as app.bsky.feed.post, with its proof
    #[arg(short, long, value_name = "NSID", value_parser = parse_nsid)]
    pub(crate) collection: Option<String>,

    /// Only what this older repository does not have: a CAR or a database, or, if there is no file
    /// of that name, the CID of a commit or of a tree's root that is in FILE
    #[arg(long, value_name = "OLD", conflicts_with = "collection")]
    pub(crate) since: Option<PathBuf>,

    /// The CAR to write, or `-` for standard output
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
}

fn parse_path(text: &str) -> Result<String, String> {
    match RepoPath::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("not a repository path: {}", chain(&error))),
    }
}

pub(crate) fn parse_cid(text: &str) -> Result<Cid, String> {
    /// Longer than any, in whatever base. Decoding some takes quadratic time.
    const TOO_LONG: usize = 1_000;
    if text.len() > TOO_LONG {
        return Err("not a CID: too long".to_owned());
    }
    Cid::try_from(text).map_err(|error| format!("not a CID: {}", chain(&error)))
}

fn parse_key(text: &str) -> Result<PublicKey, String> {
    // As in a DID document, or as a `did:key`.
    let parsed = if text.starts_with('z') {
        PublicKey::from_multikey(text)
    } else {
        text.parse()
    };
    parsed.map_err(|error| format!("not a public key: {}", chain(&error)))
}

fn parse_did(text: &str) -> Result<String, String> {
    if is_did(text) {
        return Ok(text.to_owned());
    }
    Err("not a DID, such as did:plc:z72i7hdynmk6r22z27h6tvur or did:web:example.com".to_owned())
}

fn parse_nsid(text: &str) -> Result<String, String> {
    match check_nsid(text.as_bytes()) {
        Ok(nsid) => Ok(nsid.to_owned()),
        Err(error) => Err(format!("not an NSID: {error}")),
    }
}
