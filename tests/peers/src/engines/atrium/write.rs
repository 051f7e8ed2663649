//! A tree that lives in its store: each change reads the nodes it needs, and writes all nodes up
//! to the new root, those that the next change replaces too.

use std::{borrow::Cow, hint::black_box, io::Cursor, time::Instant};

use atrium_repo::{
    Repository,
    blockstore::{
        AsyncBlockStoreRead, AsyncBlockStoreWrite, CarStore, DAG_CBOR, DiffBlockStore,
        MemoryBlockStore, SHA2_256,
    },
    mst::Tree,
};
use cid::Cid;
use futures::FutureExt;

use super::load;
use crate::{
    Result, car, check,
    input::{Input, Write},
    node::{Digest, cid_of, digest_of},
    outcome::Outcome,
};

/// The root is always at hand, after every insert.
pub(super) async fn insert(input: &Input<'_>) -> Result<Outcome> {
    let pairs = input.read_shuffled_pairs(Ok)?;

    let start = Instant::now();
    let mut tree = Tree::create(MemoryBlockStore::new()).await?;
    for (key, value) in &pairs {
        tree.add(key, *value).await?;
    }
    let root = tree.root();
    Ok(Outcome::of(
        start.elapsed(),
        pairs.len(),
        Some(root.to_string()),
    ))
}

/// There is no other way than to insert one by one. The store then also holds all nodes of the
/// trees between, which outnumber those of the last, and are not held against it.
pub(super) async fn bulk(input: &Input<'_>) -> Result<Outcome> {
    let pairs = input.read_pairs(Ok)?;

    let start = Instant::now();
    let mut store = MemoryBlockStore::new();
    let mut tree = Tree::create(&mut store).await?;
    for (key, value) in &pairs {
        tree.add(key, *value).await?;
    }
    let root = tree.root();
    let elapsed = start.elapsed();

    check::tree(elapsed, &digest_of(&root), |digest| {
        read(&mut store, digest)
    })
}

/// The store of differences tells which blocks a commit has written to the store beneath it; each
/// is read from there, into the same buffer. Opening a tree reads nothing.
pub(super) async fn commit(input: &Input<'_>) -> Result<Outcome> {
    let writes = input.read_writes(Ok)?;
    let (mut store, _, mut root) = fill(input).await?;
    let mut roots = Vec::with_capacity(writes.len());
    let mut block = Vec::new();

    let start = Instant::now();
    for write in &writes {
        let mut written = DiffBlockStore::wrap(&mut store);
        let mut tree = Tree::open(&mut written, root);
        match write {
            Write::Create(key, value) => tree.add(key, *value).await?,
            Write::Update(key, value) => tree.update(key, *value).await?,
            Write::Delete(key) => tree.delete(key).await?,
        }
        root = tree.root();
        roots.push(digest_of(&root));
        let new: Vec<Cid> = written.blocks().collect();
        for cid in new {
            store.read_block_into(cid, &mut block).await?;
            black_box(&block);
        }
    }
    let elapsed = start.elapsed();

    check::commits(elapsed, &roots, |digest| read(&mut store, digest))
}

/// `Repository::export_into` gives the blocks to a store in an order without any meaning; this
/// gives them in the order of the CIDs of `export`, which is that of a walk. They go to the store
/// of a CAR, which hashes each, and come from the map in memory, which is faster than such a store. The list of CIDs borrows the store that the blocks are in, so it is collected.
pub(super) async fn export(input: &Input<'_>) -> Result<Outcome> {
    let (mut store, head, _) = fill(input).await?;

    let start = Instant::now();
    let mut repository = Repository::open(&mut store, head).await?;
    let cids: Vec<Cid> = repository.export().await?.collect();
    let mut output = Cursor::new(Vec::new());
    let mut car = CarStore::create_with_roots(&mut output, [head]).await?;
    let mut block = Vec::new();
    for cid in cids {
        store.read_block_into(cid, &mut block).await?;
        car.write_block(cid.codec(), SHA2_256, &block).await?;
    }
    drop(car);
    let elapsed = start.elapsed();

    check::export(elapsed, output.get_ref())
}

/// Fills the store in memory, which takes blocks only by hashing them, and returns it with the
/// commit and the root of the tree.
pub(super) async fn fill(input: &Input<'_>) -> Result<(MemoryBlockStore, Cid, Cid)> {
    let car = input.read_car()?;
    let mut store = MemoryBlockStore::new();
    for (_, block) in car::Sections::new(&car).skip(1).filter_map(car::split) {
        store.write_block(DAG_CBOR, SHA2_256, block).await?;
    }
    let (mut car, head) = load(input).await?;
    let root = Repository::open(&mut car, head).await?.tree().root();
    Ok((store, head, root))
}

/// The store in memory is never pending.
fn read(store: &mut MemoryBlockStore, digest: &Digest) -> Option<Cow<'static, [u8]>> {
    let block = store.read_block(cid_of(digest)).now_or_never()?;
    block.ok().map(Cow::Owned)
}
