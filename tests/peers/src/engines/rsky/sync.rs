//! Two trees compared, and commits for the firehose and from it. No block is compared with its CID
//! here, so that is done for this crate, on the clock where a job asks for it. What it has to check
//! a commit needs the whole repository, and takes nothing back.

use std::{
    borrow::Cow,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use cid::Cid;
use rsky_repo::{
    block_map::BlockMap, data_diff::DataDiff, mst::MST,
    storage::memory_blockstore::MemoryBlockstore,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::RwLock;

use super::load;
use crate::{
    Result, car,
    check::{self, Change},
    input::{Input, Slice, nodes_in},
    node::{cid_of, digest_of},
    outcome::Outcome,
};

/// The trees keep the nodes that they have decoded, and have listed all leaves once before.
pub(super) async fn diff(input: &Input<'_>) -> Result<Outcome> {
    let bytes = input.read_car()?;
    let other = input.read_changed_car()?;
    car::verify(&bytes)?;
    car::verify(&other)?;
    let (mut old, blocks) = load(&bytes).await?;
    let root = *atproto_mst::CarBlockStore::from_bytes(other.clone())?
        .roots()
        .first()
        .ok_or("the CAR has no root")?;
    for (digest, block) in nodes_in(&other) {
        blocks.write().await.set(cid_of(digest), block.to_vec());
    }
    let mut new = MST::load(Arc::clone(&old.storage), root, None)?;
    old.clone().leaves().await?;
    new.clone().leaves().await?;

    let start = Instant::now();
    let diff = DataDiff::of(&mut new, Some(&mut old)).await?;
    let elapsed = start.elapsed();

    let mut changes: Vec<Change> = Vec::new();
    for add in diff.add_list() {
        changes.push((add.key, None, Some(digest_of(&add.cid))));
    }
    for update in diff.update_list() {
        changes.push((
            update.key,
            Some(digest_of(&update.prev)),
            Some(digest_of(&update.cid)),
        ));
    }
    for delete in diff.delete_list() {
        changes.push((delete.key, Some(digest_of(&delete.cid)), None));
    }
    Ok(check::changes(elapsed, &digest_of(&root), changes))
}

/// The tree is kept with all nodes decoded, after a list of all leaves.
pub(super) async fn prove(input: &Input<'_>) -> Result<Outcome> {
    let events = input.read_events()?;
    let bytes = input.read_car()?;
    car::verify(&bytes)?;
    let (mut tree, _) = load(&bytes).await?;
    tree.clone().leaves().await?;

    let mut elapsed = Duration::ZERO;
    let mut proofs = Vec::with_capacity(events.len());
    for event in &events {
        for op in &event.ops {
            tree = match (op.cid, op.prev) {
                (Some(value), None) => tree.add(&op.path, value, None).await?,
                (Some(value), Some(_)) => tree.update(&op.path, value).await?,
                (None, _) => tree.delete(&op.path).await?,
            };
        }
        tree.save_mst().await?;

        let start = Instant::now();
        let mut proof = BlockMap::new();
        for op in &event.ops {
            proof.add_map(tree.get_covering_proof(&op.path).await?)?;
        }
        elapsed += start.elapsed();

        proofs.push(proof);
    }

    let proofs = proofs.into_iter().map(|proof| {
        let blocks = proof.map.into_iter();
        let digest = |cid: String| digest_of(&Cid::from_str(&cid).expect("its key is a CID"));
        blocks
            .map(|(cid, block)| (digest(cid), Cow::Owned(block.0)))
            .collect()
    });
    check::proofs(elapsed, &bytes, &events, proofs)
}

/// Takes operations back one by one, the last first. What the tree has is compared before,
/// since the root does not depend on all of what they claim.
async fn take_back(slice: &Slice<'_>) -> Result<Cid> {
    let mut blocks = BlockMap::new();
    for (digest, block) in &slice.nodes {
        if Sha256::digest(block)[..] != digest[..] {
            return Err("a block does not hash to its CID".into());
        }
        blocks.set(cid_of(digest), block.to_vec());
    }
    let store = MemoryBlockstore {
        blocks: Arc::new(RwLock::new(blocks)),
        ..Default::default()
    };
    let mut tree = MST::load(Arc::new(RwLock::new(store)), slice.root, None)?;
    for op in slice.ops.iter().rev() {
        if tree.get(&op.path).await? != op.cid {
            return Err(format!("{} has another value", op.path).into());
        }
        tree = match (op.prev, op.cid) {
            (Some(prev), None) => tree.add(&op.path, prev, None).await?,
            (Some(prev), Some(_)) => tree.update(&op.path, prev).await?,
            (None, _) => tree.delete(&op.path).await?,
        };
    }
    Ok(tree.get_pointer().await?)
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
