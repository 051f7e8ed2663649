//! The bytes of a repository's CAR, piece by piece.

use std::fmt;
use std::iter::FusedIterator;
use std::mem;

use blockstore_car::CarWriter;
use blockstore_core::{BlockStore, Bytes, Cid};
use mst_ops::WalkerPosition;

use super::since::Difference;
use super::steps::Steps;
use super::{Export, ExportSince, State};
use crate::turn::Turn;
use crate::{Error, Repository};

/// How long a piece is at least, unless it is the last.
const PIECE_LEN: usize = 64 << 10;

impl<S: BlockStore> Repository<S> {
    /// Returns the CAR of this repository, as [`export`](Self::export) and
    /// [`write_car`](Export::write_car) write it, piece by piece: for the body of a response, which
    /// has to own what it is made from.
    ///
    /// # Errors
    ///
    /// Those of [`export`](Self::export).
    ///
    /// # Examples
    ///
    /// A response's body from a store in memory would be `futures::stream::iter(pieces)`. For a
    /// store that waits for a disk, see the example `serve_repo` of `atproto-mst`.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use mst_repo::Repository;
    /// # let sample = mst_testkit::SampleRepository::generate(7, 10);
    /// # let blocks = blockstore_core::MemoryBlockStore::new();
    /// # blockstore_core::BlockStoreMut::put_many(&blocks, &sample.blocks())?;
    /// # let commit = sample.commit.0;
    ///
    /// let blocks = Arc::new(blocks);
    /// let pieces = Repository::open(Arc::clone(&blocks), &commit)?.into_car()?;
    /// let body = std::thread::spawn(|| pieces.collect::<Result<Vec<_>, _>>());
    /// let body = body.join().expect("it does not panic")?;
    /// # assert_eq!(body.concat(), sample.car());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_car(self) -> Result<CarPieces<S>, Error> {
        let paused = Paused::of(self.export()?);
        Ok(CarPieces::new(self, paused, None))
    }

    /// Returns the CAR of what the tree of `old_root` does not have, as
    /// [`export_since`](Self::export_since) has it, piece by piece. The nodes of the old tree are
    /// read from this repository's store.
    ///
    /// # Errors
    ///
    /// Those of [`export_since`](Self::export_since).
    pub fn into_car_since(self, old_root: &Cid) -> Result<CarPieces<S>, Error> {
        let ExportSince { export, difference } = self.export_since(self.nodes(), old_root)?;
        let paused = Paused::of(export);
        Ok(CarPieces::new(self, paused, Some(difference)))
    }
}

/// An iterator over the bytes of a CAR, in pieces of 64 KiB and up to a record more, from
/// [`Repository::into_car`] or [`into_car_since`](Repository::into_car_since). It owns the
/// repository, and its blocks are read as it is asked for pieces.
///
/// Anything missing or wrong is an item, an error, and the last one: what came before is not a
/// whole CAR, so abort the response.
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct CarPieces<S> {
    repository: Repository<S>,
    car: CarWriter<Vec<u8>>,
    /// `None` at the end, and after an error.
    paused: Option<Paused>,
    /// If only that is wanted.
    difference: Option<Difference>,
}

/// An export without the repository that it is of.
struct Paused {
    state: State,
    position: (WalkerPosition, Turn),
}

impl Paused {
    fn of<S: BlockStore>(export: Export<'_, S>) -> Self {
        let Export { state, steps, .. } = export;
        let position = steps.into_position();
        Self { state, position }
    }

    fn resume<S: BlockStore>(self, repository: &Repository<S>) -> Export<'_, S> {
        let steps = Steps::at(repository.nodes(), self.position);
        Export {
            blocks: repository.blocks(),
            steps: steps.expect("it stood in this repository"),
            state: self.state,
        }
    }
}

const FITS: &str = "a vector takes every write";

impl<S: BlockStore> CarPieces<S> {
    fn new(repository: Repository<S>, paused: Paused, difference: Option<Difference>) -> Self {
        let car = CarWriter::new(Vec::new(), &[repository.commit_cid()]).expect(FITS);
        Self {
            repository,
            car,
            paused: Some(paused),
            difference,
        }
    }
}

impl<S: BlockStore> Iterator for CarPieces<S> {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut export = self.paused.take()?.resume(&self.repository);
        while self.car.get_mut().len() < PIECE_LEN {
            let block = match &mut self.difference {
                None => export.next(),
                Some(difference) => export.next_of(|export| difference.step(export)),
            };
            match block {
                Some(Ok((cid, block))) => self.car.write_block(&cid, &block).expect(FITS),
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    let last = mem::take(self.car.get_mut());
                    return (!last.is_empty()).then(|| Ok(last.into()));
                }
            }
        }
        self.paused = Some(Paused::of(export));
        Some(Ok(mem::take(self.car.get_mut()).into()))
    }
}

impl<S: BlockStore> FusedIterator for CarPieces<S> {}

impl<S> fmt::Debug for CarPieces<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CarPieces")
            .field("repository", &self.repository)
            .finish_non_exhaustive()
    }
}
