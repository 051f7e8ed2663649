//! A block store that reports how much of it has been read.

use std::rc::Rc;

use atproto_mst::{BlockStore, Bytes, Cid, StoreError};

use crate::progress::Progress;

/// Blocks, and the progress that counts those that are read.
pub(crate) struct Watched<S> {
    pub(crate) blocks: S,
    pub(crate) progress: Rc<Progress>,
}

impl<S: BlockStore> BlockStore for Watched<S> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        let block = self.blocks.get(cid)?;
        if block.is_some() {
            self.progress.tick();
        }
        Ok(block)
    }

    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        self.blocks.has(cid)
    }

    fn get_many(&self, cids: &[Cid]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let blocks = self.blocks.get_many(cids)?;
        for _ in blocks.iter().flatten() {
            self.progress.tick();
        }
        Ok(blocks)
    }

    fn will_get(&self, cids: &mut dyn Iterator<Item = Cid>) {
        self.blocks.will_get(cids);
    }
}
