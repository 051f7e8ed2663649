//! The CIDs of a store, page by page.

use std::iter::FusedIterator;
use std::vec;

use blockstore_core::{Cid, StoreError};

use crate::database::{Database, Page};
use crate::shared::Shared;

/// The CIDs of all blocks, in the order of their binary form.
///
/// Made by [`SqliteBlockStore::cids`](crate::SqliteBlockStore::cids) and
/// [`SqliteSnapshot::cids`](crate::SqliteSnapshot::cids). They are read 1,000 at a time, and no
/// block is loaded. Blocks that are put or deleted in the meantime may or may not be included; in a
/// snapshot, none of that shows.
///
/// A key that is not a CID is an error, [`SqliteError::InvalidCid`], after which the iteration goes
/// on. Any other error ends it.
///
/// [`SqliteError::InvalidCid`]: crate::SqliteError::InvalidCid
#[derive(Debug)]
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct Cids<'s> {
    source: Source<'s>,
    page: vec::IntoIter<Result<Cid, StoreError>>,
    /// The key after which the next page begins; `None` if there is none.
    after: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'s> {
    Store(&'s Shared),
    Held(&'s Database),
}

impl<'s> Cids<'s> {
    pub(crate) fn new(source: Source<'s>) -> Self {
        Self {
            source,
            page: Vec::new().into_iter(),
            after: Some(Page::START.to_vec()),
        }
    }
}

impl Iterator for Cids<'_> {
    type Item = Result<Cid, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(cid) = self.page.next() {
                return Some(cid);
            }
            let after = self.after.take()?;
            let page = match self.source {
                Source::Store(shared) => shared.with(|database| database.page(&after)),
                Source::Held(database) => database.page(&after),
            };
            match page {
                Ok(page) => {
                    self.page = page.cids.into_iter();
                    self.after = page.last;
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl FusedIterator for Cids<'_> {}
