//! Trees that are never changed, but share what they have in common with those made from them.
//! The root is computed when asked for, in a task for each child that has changed.

use std::{borrow::Cow, sync::Arc, time::Instant};

use futures::FutureExt;
use iroh_car::{CarHeader, CarWriter};
use jacquard_repo::{BlockStore, MemoryBlockStore, Mst, Repository, car::parse_car_bytes};

use super::load;
use crate::{
    Result, car, check,
    input::{Input, Write},
    node::{cid_of, digest_of},
    outcome::Outcome,
};

/// `add`, since a batch would get each key before it adds it.
pub(super) async fn insert(input: &Input<'_>) -> Result<Outcome> {
    let pairs = input.read_shuffled_pairs(Ok)?;

    let start = Instant::now();
    let mut tree = Mst::new(Arc::new(MemoryBlockStore::new()));
    for (key, value) in &pairs {
        tree = tree.add(key, *value).await?;
    }
    let root = tree.get_pointer().await?;
    Ok(Outcome::of(
        start.elapsed(),
        pairs.len(),
        Some(root.to_string()),
    ))
}

/// There is no other way than to add one by one, and then to collect all blocks: sequentially,
/// which is faster on one thread.
pub(super) async fn bulk(input: &Input<'_>) -> Result<Outcome> {
    let pairs = input.read_pairs(Ok)?;

    let start = Instant::now();
    let mut tree = Mst::new(Arc::new(MemoryBlockStore::new()));
    for (key, value) in &pairs {
        tree = tree.add(key, *value).await?;
    }
    let (root, blocks) = tree.collect_blocks_sequential().await?;
    let elapsed = start.elapsed();

    check::tree(elapsed, &digest_of(&root), |digest| {
        let block = blocks.get(&cid_of(digest))?;
        Some(Cow::Borrowed(&**block))
    })
}

/// The tree is kept with all nodes decoded, after a list of all leaves. The blocks that the store
/// does not have are collected and put there; that is faster than
/// the difference to the tree before, which `Repository::create_commit` computes.
pub(super) async fn commit(input: &Input<'_>) -> Result<Outcome> {
    let writes = input.read_writes(Ok)?;
    let car = input.read_car()?;
    car::verify(&car)?;
    let (mut tree, _) = load(&car).await?;
    tree.leaves_sequential().await?;
    let store = Arc::clone(tree.storage());
    let mut roots = Vec::with_capacity(writes.len());

    let start = Instant::now();
    for write in &writes {
        tree = match write {
            Write::Create(key, value) | Write::Update(key, value) => tree.add(key, *value).await?,
            Write::Delete(key) => tree.delete(key).await?,
        };
        let (root, blocks) = tree.collect_blocks_sequential().await?;
        roots.push(digest_of(&root));
        store.put_many(blocks).await?;
    }
    let elapsed = start.elapsed();

    // The store in memory is never pending.
    check::commits(elapsed, &roots, |digest| {
        let block = store.get(&cid_of(digest)).now_or_never()?.ok()??;
        Some(Cow::Owned(block.to_vec()))
    })
}

/// To a vector instead of `Repository::export_car`'s file: the commit, all nodes, all records.
pub(super) async fn export(input: &Input<'_>) -> Result<Outcome> {
    let bytes = input.read_car()?;
    car::verify(&bytes)?;
    let parsed = parse_car_bytes(&bytes).await?;
    let store = Arc::new(MemoryBlockStore::new_from_blocks(parsed.blocks));

    let start = Instant::now();
    let head = parsed.root;
    let repository = Repository::<String, _>::from_commit(Arc::clone(&store), &head).await?;
    let mut writer = CarWriter::new(CarHeader::new_v1(vec![head]), Vec::new());
    let commit = store
        .get(&head)
        .await?
        .ok_or("the commit is not in the CAR")?;
    writer.write(head, commit).await?;
    repository.mst().write_blocks_to_car(&mut writer).await?;
    let output = writer.finish().await?;
    let elapsed = start.elapsed();

    check::export(elapsed, &output)
}
