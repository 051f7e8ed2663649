//! Trees that are never changed, but share what they have in common with those made from them.
//! The root is computed when asked for.

use std::{borrow::Cow, sync::Arc, time::Instant};

use futures::TryStreamExt;
use rsky_repo::{
    block_map::BlockMap, car::read_stream_car_with_root, data_diff::DataDiff, mst::MST,
    storage::memory_blockstore::MemoryBlockstore, sync::provider::get_full_repo,
};
use tokio::sync::RwLock;

use super::load;
use crate::{
    Result, car, check,
    input::{Input, Write},
    node::{Digest, cid_of, digest_of},
    outcome::Outcome,
};

pub(super) async fn insert(input: &Input<'_>) -> Result<Outcome> {
    let pairs = input.read_shuffled_pairs(Ok)?;

    let start = Instant::now();
    let tree = add_all(&pairs).await?;
    let root = tree.get_pointer().await?;
    Ok(Outcome::of(
        start.elapsed(),
        pairs.len(),
        Some(root.to_string()),
    ))
}

/// There is no other way than to add one by one. The blocks come from the difference to no tree,
/// which is faster than to save the tree to a store.
pub(super) async fn bulk(input: &Input<'_>) -> Result<Outcome> {
    let pairs = input.read_pairs(Ok)?;

    let start = Instant::now();
    let mut tree = add_all(&pairs).await?;
    let root = tree.get_pointer().await?;
    let blocks = DataDiff::of(&mut tree, None).await?.new_mst_blocks;
    let elapsed = start.elapsed();

    check::tree(elapsed, &digest_of(&root), |digest| get(&blocks, digest))
}

/// The tree is kept with all nodes decoded, after a list of all leaves; a `Repo` would forget them
/// with every commit. The blocks that the store does not have are put there by `save_mst`, which
/// is faster than the difference to the tree before, by which `Repo::format_commit` finds them.
pub(super) async fn commit(input: &Input<'_>) -> Result<Outcome> {
    let writes = input.read_writes(Ok)?;
    let car = input.read_car()?;
    car::verify(&car)?;
    let (mut tree, store) = load(&car).await?;
    tree.clone().leaves().await?;
    let mut roots = Vec::with_capacity(writes.len());

    let start = Instant::now();
    for write in &writes {
        tree = match write {
            Write::Create(key, value) => tree.add(key, *value, None).await?,
            Write::Update(key, value) => tree.update(key, *value).await?,
            Write::Delete(key) => tree.delete(key).await?,
        };
        roots.push(digest_of(&tree.save_mst().await?));
    }
    let elapsed = start.elapsed();

    let blocks = store.read().await;
    check::commits(elapsed, &roots, |digest| get(&blocks, digest))
}

/// The commit, the nodes level by level, the records by their CIDs; through a pipe, in pieces.
pub(super) async fn export(input: &Input<'_>) -> Result<Outcome> {
    let bytes = input.read_car()?;
    car::verify(&bytes)?;
    let parsed = read_stream_car_with_root(&*bytes).await?;
    let store = MemoryBlockstore {
        blocks: Arc::new(RwLock::new(parsed.blocks)),
        ..Default::default()
    };

    let start = Instant::now();
    let mut pieces = Box::pin(get_full_repo(Arc::new(RwLock::new(store)), parsed.root).await?);
    let mut output = Vec::new();
    while let Some(piece) = pieces.try_next().await? {
        output.extend_from_slice(&piece);
    }
    let elapsed = start.elapsed();

    check::export(elapsed, &output)
}

async fn add_all(pairs: &[(String, cid::Cid)]) -> Result<MST> {
    let store = Arc::new(RwLock::new(MemoryBlockstore::default()));
    let mut tree = MST::create(store, None, None).await?;
    for (key, value) in pairs {
        tree = tree.add(key, *value, None).await?;
    }
    Ok(tree)
}

fn get<'b>(blocks: &'b BlockMap, digest: &Digest) -> Option<Cow<'b, [u8]>> {
    blocks
        .get(cid_of(digest))
        .map(|block| Cow::Borrowed(&**block))
}
