//! Commits for the firehose and from it. There is nothing that compares two trees.

use std::{borrow::Cow, time::Instant};

use atrium_repo::{
    blockstore::{AsyncBlockStoreRead, AsyncBlockStoreWrite, DAG_CBOR, MemoryBlockStore, SHA2_256},
    mst::Tree,
};
use cid::Cid;

use super::write::fill;
use crate::{
    Result, check,
    input::{Input, Slice, nodes_of, root_of},
    node::{cid_of, digest_of},
    outcome::Outcome,
};

/// The nodes on the way to each key, in the tree before and in the one after, with the value, which
/// is left out. The tree keeps no nodes, so those of all trees are in the store, and opening a tree
/// reads nothing.
pub(super) async fn prove(input: &Input<'_>) -> Result<Outcome> {
    let events = input.read_events()?;
    let (mut store, ..) = fill(input).await?;
    for (_, block) in events.iter().flat_map(nodes_of) {
        store.write_block(DAG_CBOR, SHA2_256, block).await?;
    }
    let roots: Vec<[Cid; 2]> = events
        .iter()
        .map(|event| {
            let before = event.prev_data.ok_or("a commit follows nothing")?;
            Ok([before, cid_of(&root_of(event)?)])
        })
        .collect::<Result<_>>()?;

    let start = Instant::now();
    let mut proofs = Vec::with_capacity(events.len());
    for (event, roots) in events.iter().zip(&roots) {
        let mut cids = Vec::new();
        for root in roots {
            let mut tree = Tree::open(&mut store, *root);
            for op in &event.ops {
                let path = tree.extract_path(&op.path).await?;
                cids.extend(path.filter(|cid| ![op.cid, op.prev].contains(&Some(*cid))));
            }
        }
        cids.sort_unstable();
        cids.dedup();
        let mut proof = Vec::with_capacity(cids.len());
        for cid in cids {
            proof.push((cid, store.read_block(cid).await?));
        }
        proofs.push(proof);
    }
    let elapsed = start.elapsed();

    let proofs = proofs.into_iter().map(|proof| {
        let blocks = proof.into_iter();
        blocks
            .map(|(cid, block)| (digest_of(&cid), Cow::Owned(block)))
            .collect()
    });
    check::proofs(elapsed, &input.read_car()?, &events, proofs)
}

/// Takes operations back one by one, the last first. What the tree has is compared before,
/// since the root does not depend on all of what they claim. The store hashes each block as
/// it comes in, and names it by that.
async fn take_back(slice: &Slice<'_>) -> Result<Cid> {
    let mut store = MemoryBlockStore::new();
    for (_, block) in &slice.nodes {
        store.write_block(DAG_CBOR, SHA2_256, block).await?;
    }
    let mut tree = Tree::open(store, slice.root);
    for op in slice.ops.iter().rev() {
        if tree.get(&op.path).await? != op.cid {
            return Err(format!("{} has another value", op.path).into());
        }
        match (op.prev, op.cid) {
            (Some(prev), None) => tree.add(&op.path, prev).await?,
            (Some(prev), Some(_)) => tree.update(&op.path, prev).await?,
            (None, _) => tree.delete(&op.path).await?,
        }
    }
    Ok(tree.root())
}

pub(super) async fn invert(input: &Input<'_>) -> Result<Outcome> {
    let events = input.read_events()?;
    let slices: Vec<Slice<'_>> = events.iter().map(Slice::of).collect::<Result<_>>()?;

    let start = Instant::now();
    let mut roots = Vec::with_capacity(slices.len());
    for slice in &slices {
        roots.push(digest_of(&take_back(slice).await?));
    }
    let elapsed = start.elapsed();

    for event in input.read_refused()? {
        let found = take_back(&Slice::of(&event)?).await;
        let accepted = found.is_ok_and(|root| Some(root) == event.prev_data);
        check::refused(&[event], |_| accepted)?;
    }
    check::roots(elapsed, &roots)
}
