//! Opens the repository in a file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use atproto_mst::{
    BlockStore, Bytes, CarBlockStore, CarError, CarFault, CarOptions, Cid, MAX_PATH_LEN,
    NodeStoreOptions, SqliteBlockStore, StoreError, Verify, mst_repo,
};

use crate::cli::Source;
use crate::failure::Failure;
use crate::{database, redirected, slice};

/// A repository, and where it is stored.
pub(crate) type Repository = atproto_mst::Repository<Blocks>;

/// The blocks of a CAR or of a database.
pub(crate) enum Blocks {
    Car(CarBlockStore),
    Database(Box<SqliteBlockStore>),
}

impl Blocks {
    /// How many there are, if known; for a progress bar.
    pub(crate) fn count(&self) -> Option<usize> {
        match self {
            Self::Car(car) => Some(car.len()),
            Self::Database(_) => None,
        }
    }

    fn inner(&self) -> &dyn BlockStore {
        match self {
            Self::Car(car) => car,
            Self::Database(database) => database.as_ref(),
        }
    }
}

impl BlockStore for Blocks {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        self.inner().get(cid)
    }

    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        self.inner().has(cid)
    }

    fn get_many(&self, cids: &[Cid]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.inner().get_many(cids)
    }

    fn will_get(&self, cids: &mut dyn Iterator<Item = Cid>) {
        self.inner().will_get(cids);
    }
}

/// What a file was found to be.
pub(crate) struct Opened {
    pub(crate) blocks: Blocks,
    /// The CAR's first root, or the head of the repository in the database.
    pub(crate) commit: Option<Cid>,
    /// In bytes.
    pub(crate) size: u64,
    /// The first block of a CAR that does not match its CID, if all were checked.
    pub(crate) bad_block: Option<CarError>,
}

impl Opened {
    /// The CID of the commit, which is the first CID that the file names.
    pub(crate) fn commit(&self) -> Result<Cid, Failure> {
        self.commit.ok_or_else(no_root)
    }
}

pub(crate) fn no_root() -> Failure {
    Failure::Invalid("the CAR names no root, so no commit".to_owned())
}

/// Opens the repository that `source` names.
pub(crate) fn open(source: &Source) -> Result<Repository, Failure> {
    open_of(source, database::is_at(&source.file)?)
}

/// The same, if it is known whether it is in a database; see [`open_blocks_of`].
pub(crate) fn open_of(source: &Source, is_database: bool) -> Result<Repository, Failure> {
    let opened = open_blocks_of(source, is_database)?;
    let commit = opened.commit()?;
    Ok(open_at(opened.blocks, &commit)?)
}

/// Opens the CAR or the database that `source` names, or the CAR on standard input.
pub(crate) fn open_blocks(source: &Source) -> Result<Opened, Failure> {
    open_blocks_of(source, database::is_at(&source.file)?)
}

/// The same, and checks all blocks of a CAR, not only those that are read later.
pub(crate) fn open_and_check_blocks(source: &Source) -> Result<Opened, Failure> {
    open_blocks_with(source, database::is_at(&source.file)?, Check::All)
}

/// As [`open_blocks`], if it is known whether it is a database. Checking would cost the locks on
/// one that is open already.
pub(crate) fn open_blocks_of(source: &Source, is_database: bool) -> Result<Opened, Failure> {
    open_blocks_with(source, is_database, Check::OnRead)
}

/// Which blocks of a CAR are checked against their CIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    OnRead,
    All,
}

fn open_blocks_with(source: &Source, is_database: bool, check: Check) -> Result<Opened, Failure> {
    if is_database {
        let (database, head) = database::open_for_reading(source)?;
        let size = database::size(&database)?;
        return Ok(Opened {
            blocks: Blocks::Database(Box::new(database)),
            commit: Some(head),
            size,
            bad_block: None,
        });
    }
    refuse_choice(source)?;
    open_car(&source.file, check)
}

/// Reads the file at `path`, or standard input if that is `-`, to its end.
pub(crate) fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    if path != Path::new("-") {
        return fs::read(path);
    }
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Refuses it if more than one of `files`, which are `what`, is standard input.
pub(crate) fn check_one_dash(files: &[&Path], what: &str) -> Result<(), Failure> {
    let dashes = files.iter().filter(|file| **file == Path::new("-"));
    if dashes.count() > 1 {
        let why = format!("only one of {what} can be standard input");
        return Err(Failure::Usage(why));
    }
    Ok(())
}

pub(crate) fn refuse_choice(source: &Source) -> Result<(), Failure> {
    if source.repo.is_some() {
        let what = "--repo chooses from a database, but this is a CAR, with one repository";
        return Err(Failure::Usage(what.to_owned()));
    }
    Ok(())
}

/// Refuses to read the file at `path`, or standard input, if standard output goes to it too.
pub(crate) fn check_not_output(path: &Path) -> Result<(), Failure> {
    let is_output = if path == Path::new("-") {
        redirected::output_is_input()
    } else {
        redirected::standard_output_is(path)
    };
    if is_output {
        let what = "standard output is the file that is read, which would be overwritten";
        return Err(Failure::Usage(what.to_owned()));
    }
    Ok(())
}

fn open_car(path: &Path, check: Check) -> Result<Opened, Failure> {
    check_not_output(path)?;
    if path == Path::new("-") {
        return read_car(std::io::stdin().lock(), check);
    }
    let input = |error: std::io::Error| Failure::Input(error.into());
    let file = File::open(path).map_err(input)?;
    let metadata = file.metadata().map_err(input)?;
    if !metadata.is_file() {
        // A named pipe, for example, cannot be read at offsets. A directory fails by itself.
        return read_car(file, check);
    }
    let mut start = Vec::new();
    (&file)
        .take(START_LEN as u64)
        .read_to_end(&mut start)
        .map_err(input)?;
    let open = |options| CarBlockStore::from_file_with(file.try_clone()?, options);
    opened(open, check, &start, metadata.len())
}

fn read_car(mut input: impl Read, check: Check) -> Result<Opened, Failure> {
    let mut bytes = Vec::new();
    let read = input.read_to_end(&mut bytes);
    read.map_err(|error| Failure::Input(error.into()))?;
    let bytes = Bytes::from(bytes);
    let start = bytes.slice(..bytes.len().min(START_LEN));
    let open = |options| CarBlockStore::from_bytes_with(bytes.clone(), options);
    opened(open, check, &start, bytes.len() as u64)
}

/// Opens a CAR of `size` bytes, which begins with `start`.
fn opened(
    open: impl Fn(CarOptions) -> Result<CarBlockStore, CarError>,
    check: Check,
    start: &[u8],
    size: u64,
) -> Result<Opened, Failure> {
    let mut options = car_options();
    if check == Check::All {
        options.verify = Some(Verify::OnOpen);
    }
    let (car, bad_block) = match open(options) {
        // If they are checked as they are read, the others can be read.
        Err(error) if error.cid().is_some() => (open(car_options()), Some(error)),
        car => (car, None),
    };
    let car = car.map_err(|error| not_a_car(start, error))?;
    Ok(Opened {
        commit: car.roots().first().copied(),
        blocks: Blocks::Car(car),
        size,
        bad_block,
    })
}

/// Opens a CAR that is in memory.
pub(crate) fn car_of(bytes: Bytes) -> Result<CarBlockStore, Failure> {
    let start = bytes.slice(..bytes.len().min(START_LEN));
    let car = CarBlockStore::from_bytes_with(bytes, car_options());
    car.map_err(|error| not_a_car(&start, error))
}

/// How much of a file is read to recognise its type.
const START_LEN: usize = 64;

/// Explains why a file that begins with `start` cannot be opened as a CAR.
fn not_a_car(start: &[u8], error: CarError) -> Failure {
    let what = match start.trim_ascii_start() {
        _ if start.starts_with(database::MAGIC) => "an SQLite database, not a CAR",
        [b'{' | b'<', ..] => "text, such as a server's error message, not a CAR",
        [0x1f, 0x8b, ..] => "compressed with gzip; its contents may be a CAR",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "compressed with zstd; its contents may be a CAR",
        _ if slice::is_frame(start) => "a message of the firehose, for `cartool slice`, not a CAR",
        _ => return cut_off(error),
    };
    Failure::Invalid(what.to_owned())
}

/// Adds a hint about what to do if a CAR was cut off.
fn cut_off(error: CarError) -> Failure {
    match error {
        CarError::Invalid {
            fault: CarFault::CutOff { .. } | CarFault::LengthCutOff,
            ..
        } => Failure::Invalid(format!("{error}; `cartool salvage` saves what is left")),
        error => error.into(),
    }
}

/// How CARs are opened.
pub(crate) fn car_options() -> CarOptions {
    CarOptions {
        // One bad block must not hide the others.
        verify: Some(Verify::OnRead),
        ..CarOptions::default()
    }
}

/// How to read the nodes of an untrusted tree, each once, if only paths are asked for: a few bytes
/// can expand to long keys, and no path is longer than this.
pub(crate) fn nodes_of_paths() -> NodeStoreOptions {
    let mut options = NodeStoreOptions::uncached();
    options.limits.key_len = MAX_PATH_LEN;
    options
}

/// Opens the repository at the commit `root`.
pub(crate) fn open_at<S: BlockStore>(
    blocks: S,
    root: &Cid,
) -> Result<atproto_mst::Repository<S>, mst_repo::Error> {
    atproto_mst::Repository::open_with(blocks, root, node_options())
}

/// How to read the nodes of a repository.
pub(crate) fn node_options() -> NodeStoreOptions {
    NodeStoreOptions {
        // Every command goes through the tree once or twice. But if an untrusted tree has one large
        // node below many others, each time out of place, the cache makes it be decoded only once.
        cache_bytes: 16 << 20,
        ..NodeStoreOptions::default()
    }
}
