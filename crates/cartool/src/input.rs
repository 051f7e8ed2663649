//! From the name of a file to the repository in it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use atproto_mst::{
    BlockStore, CarBlockStore, CarOptions, Cid, NodeStoreOptions, Repository, Verify, mst_repo,
};

use crate::failure::Failure;

/// A repository in a CAR.
pub(crate) type CarRepository = Repository<CarBlockStore>;

/// Opens the CAR `file`, or the one on standard input if that is `-`; and tells its size in
/// bytes.
pub(crate) fn open_car(file: &Path) -> Result<(CarBlockStore, u64), Failure> {
    let mut options = CarOptions::default();
    // One bad block must not hide the others.
    options.verify = Some(Verify::OnRead);

    if file == Path::new("-") {
        return read_car(std::io::stdin().lock(), options);
    }
    let input = |error: std::io::Error| Failure::Input(error.into());
    let file = File::open(file).map_err(input)?;
    let metadata = file.metadata().map_err(input)?;
    if !metadata.is_file() {
        // A named pipe, say, has no places to read at. A directory says so itself.
        return read_car(file, options);
    }
    Ok((CarBlockStore::from_file(file, options)?, metadata.len()))
}

fn read_car(mut input: impl Read, options: CarOptions) -> Result<(CarBlockStore, u64), Failure> {
    let mut bytes = Vec::new();
    let read = input.read_to_end(&mut bytes);
    read.map_err(|error| Failure::Input(error.into()))?;
    let size = bytes.len() as u64;
    Ok((CarBlockStore::from_bytes_with(bytes, options)?, size))
}

/// Opens the repository in the CAR `file`.
pub(crate) fn open(file: &Path) -> Result<CarRepository, Failure> {
    let (car, _) = open_car(file)?;
    let root = root_of(&car)?;
    Ok(open_at(car, &root)?)
}

/// The root of a CAR that names the commit.
pub(crate) fn root_of(car: &CarBlockStore) -> Result<Cid, Failure> {
    let root = car.roots().first().copied();
    root.ok_or_else(|| Failure::Invalid("the CAR names no root, so no commit".to_owned()))
}

/// Opens the repository at the commit `root`.
pub(crate) fn open_at<S: BlockStore>(car: S, root: &Cid) -> Result<Repository<S>, mst_repo::Error> {
    let mut options = NodeStoreOptions::default();
    // Every command goes through the tree once.
    options.cache_bytes = 0;
    Repository::open_with(car, root, options)
}
