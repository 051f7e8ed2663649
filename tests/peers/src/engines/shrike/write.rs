//! The detached tree, changed without I/O: it gives its root only with all changed blocks, by
//! `flush`.

use std::{borrow::Cow, cell::RefCell, collections::HashMap, time::Instant};

use shrike::{
    car::{BlockRef, Writer},
    cbor::{Cid, Codec},
    mst::{BlockSource, DetachedTree, MstError, NoBlocks},
    repo::Commit,
};

use super::{Blocks, load};
use crate::{
    Result, check,
    input::{Input, Write},
    node::Digest,
    outcome::Outcome,
};

/// Each key is moved into the tree, which takes strings by value.
pub(super) fn insert(input: &Input) -> Result<Outcome> {
    let pairs = input.read_shuffled_pairs(cid_from)?;
    let count = pairs.len();

    let start = Instant::now();
    let mut tree = DetachedTree::new();
    for (key, value) in pairs {
        tree.insert(&NoBlocks, key, value)?;
    }
    let written = tree.flush()?;
    let elapsed = start.elapsed();

    Ok(Outcome::of(elapsed, count, Some(written.root.to_string())))
}

/// There is no other way than to insert one by one and then flush once.
pub(super) fn bulk(input: &Input) -> Result<Outcome> {
    let pairs = input.read_pairs(cid_from)?;

    let start = Instant::now();
    let mut tree = DetachedTree::new();
    for (key, value) in pairs {
        tree.insert(&NoBlocks, key, value)?;
    }
    let written = tree.flush()?;
    let elapsed = start.elapsed();

    let blocks: HashMap<Cid, Vec<u8>> = written.new_blocks.into_iter().collect();
    check::tree(elapsed, written.root.hash(), |digest| {
        borrow(blocks.get(&cid_of(digest)))
    })
}

/// The tree is kept with all nodes decoded, after a walk, so that a commit reads no block. The new
/// blocks are appended to a vector, since nothing needs to find them again.
pub(super) fn commit(input: &Input) -> Result<Outcome> {
    let writes = input.read_writes(cid_from)?;
    let car = input.read_car()?;
    let (blocks, root) = load(&car)?;
    let mut tree = DetachedTree::load(root);
    tree.walk(&blocks, |_, _| Ok(()))?;
    let mut kept = Vec::new();
    let mut roots = Vec::with_capacity(writes.len());

    let start = Instant::now();
    for write in writes {
        match write {
            Write::Create(key, value) | Write::Update(key, value) => {
                tree.insert(&NoBlocks, key, value)?;
            }
            Write::Delete(key) => {
                tree.remove(&NoBlocks, &key)?;
            }
        }
        let written = tree.flush()?;
        roots.push(*written.root.hash());
        kept.extend(written.new_blocks);
    }
    let elapsed = start.elapsed();

    let kept: HashMap<Cid, Vec<u8>> = kept.into_iter().collect();
    check::commits(elapsed, &roots, |digest| {
        let cid = cid_of(digest);
        let before = || blocks.get(&cid).map(|block| Cow::Borrowed(*block));
        borrow(kept.get(&cid)).or_else(before)
    })
}

/// As `Repo::export_car` does, whose order is that of a walk: each node as it is read, each record
/// behind its entry. But that copies all blocks twice before it writes any, and this writes each
/// as it comes.
pub(super) fn export(input: &Input) -> Result<Outcome> {
    let car = input.read_car()?;
    let (blocks, head) = super::split(&car)?;

    let start = Instant::now();
    let commit = blocks.get(&head).ok_or("the commit is not in the CAR")?;
    let mut writer = Writer::new(Vec::new(), &[head])?;
    writer.write_block_ref(BlockRef {
        cid: head,
        data: commit,
    })?;
    let source = Writing {
        blocks: &blocks,
        writer: RefCell::new(writer),
    };
    let root = Commit::from_cbor(commit)?.data;
    DetachedTree::load(root).walk(&source, |_, value| source.write(&value).map(drop))?;
    let output = source.writer.into_inner().finish();
    let elapsed = start.elapsed();

    check::export(elapsed, &output)
}

/// Writes each block that is read.
struct Writing<'a> {
    blocks: &'a Blocks<'a>,
    writer: RefCell<Writer<Vec<u8>>>,
}

impl<'a> Writing<'a> {
    fn write(&self, cid: &Cid) -> std::result::Result<&'a [u8], MstError> {
        let missing = || MstError::BlockNotFound(cid.to_string());
        let data = *self.blocks.get(cid).ok_or_else(missing)?;
        let block = BlockRef { cid: *cid, data };
        let written = self.writer.borrow_mut().write_block_ref(block);
        written.map_err(|error| MstError::Storage(error.into()))?;
        Ok(data)
    }
}

impl BlockSource for Writing<'_> {
    fn read_block(&self, cid: &Cid) -> std::result::Result<Option<Cow<'_, [u8]>>, MstError> {
        self.write(cid).map(|block| Some(Cow::Borrowed(block)))
    }
}

pub(super) fn cid_from(cid: cid::Cid) -> Result<Cid> {
    Ok(Cid::from_bytes(&cid.to_bytes())?)
}

/// The crate makes CIDs from blocks or from bytes only.
pub(super) fn cid_of(digest: &Digest) -> Cid {
    let mut bytes = Cid::compute(Codec::Drisl, &[]).to_bytes();
    let at = bytes.len() - digest.len();
    bytes[at..].copy_from_slice(digest);
    Cid::from_bytes(&bytes).expect("a CID with another digest is a CID")
}

fn borrow(block: Option<&Vec<u8>>) -> Option<Cow<'_, [u8]>> {
    block.map(|block| Cow::Borrowed(&**block))
}
