//! Two trees compared, and commits for the firehose and from it.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use atproto_mst::{
    BlockStoreMut, Bytes, CarBlockStore, Cid, CommitEvent, Diff, EventCheck, MemoryBlockStore,
    NodeStore, NodeStoreOptions, Operation, Prover, RepoState, Tree,
};

use super::{fill_cache, open, read_once};
use crate::{
    Result,
    check::{self, Change},
    input::{Input, nodes_in, nodes_of, root_of},
    node::{Digest, cid_of, digest_of},
    outcome::Outcome,
};

/// Through a node store that has read no node yet, or with `warm` through one whose cache has all
/// nodes of both trees.
pub(super) fn diff(input: &Input, options: NodeStoreOptions, warm: bool) -> Result<Outcome> {
    let car = input.read_car()?;
    let other = input.read_changed_car()?;
    let store = MemoryBlockStore::new();
    let nodes = nodes_in(&car).chain(nodes_in(&other));
    let nodes: Vec<_> = nodes.map(owned).collect();
    store.put_many(&nodes)?;
    let (_, old) = open(input)?;
    let new = *CarBlockStore::from_bytes(other)?
        .roots()
        .first()
        .ok_or("the CAR has no root")?;
    let nodes = NodeStore::with_options(&store, options);
    if warm {
        for root in [old, new] {
            fill_cache(&nodes, &root)?;
        }
    }

    let start = Instant::now();
    let diff = Diff::new(&nodes, &old, &nodes, &new)?;
    let operations: Vec<Operation> = diff.collect();
    let elapsed = start.elapsed();

    let changes: Result<Vec<Change>> = operations
        .into_iter()
        .map(|operation| {
            let digest = |cid: Option<Cid>| cid.map(|cid| digest_of(&cid));
            let key = String::from_utf8(operation.key)?;
            Ok((key, digest(operation.old), digest(operation.new)))
        })
        .collect();
    Ok(check::changes(elapsed, &digest_of(&new), changes?))
}

/// Through a node store over all blocks. Its cache has the tree before all commits; the nodes that
/// a commit makes are read when they are needed.
pub(super) fn prove(input: &Input) -> Result<Outcome> {
    let events = input.read_events()?;
    let car = input.read_car()?;
    let store = MemoryBlockStore::new();
    let all = events.iter().flat_map(nodes_of).chain(nodes_in(&car));
    let all: Vec<_> = all.map(owned).collect();
    store.put_many(&all)?;
    let (_, root) = open(input)?;
    let nodes = NodeStore::new(&store);
    fill_cache(&nodes, &root)?;
    let roots: Vec<Cid> = events
        .iter()
        .map(|event| Ok(cid_of(&root_of(event)?)))
        .collect::<Result<_>>()?;

    let start = Instant::now();
    let mut proofs = Vec::with_capacity(events.len());
    for (event, root) in events.iter().zip(&roots) {
        let mut prover = Prover::new(&nodes, root)?;
        for op in &event.ops {
            prover.cover(op.path.as_bytes())?;
        }
        proofs.push(prover.finish().blocks);
    }
    let elapsed = start.elapsed();

    check_proofs(elapsed, &car, &events, proofs)
}

/// Through a tree in memory in which the commits are made. The new nodes were encoded to be hashed,
/// and are all in the proof, together with the others that cover the changes.
pub(super) fn prove_in_tree(input: &Input) -> Result<Outcome> {
    let events = input.read_events()?;
    let bytes = input.read_car()?;
    let (car, root) = open(input)?;
    let nodes = NodeStore::with_options(&car, read_once());
    let mut tree = Tree::open(&nodes, &root)?;
    tree.verify()?;

    let mut elapsed = Duration::ZERO;
    let mut proofs = Vec::with_capacity(events.len());
    for event in &events {
        for op in &event.ops {
            match &op.cid {
                Some(value) => tree.insert(op.path.as_bytes(), value)?,
                None => tree.remove(op.path.as_bytes())?,
            };
        }
        let changes = tree.flush();

        let start = Instant::now();
        let keys = event.ops.iter().map(|op| op.path.as_bytes());
        let mut proof = tree.cover_beside(&changes.new, keys)?;
        proof.extend(changes.new);
        elapsed += start.elapsed();

        proofs.push(proof);
    }

    check_proofs(elapsed, &bytes, &events, proofs)
}

fn check_proofs(
    elapsed: Duration,
    car: &[u8],
    events: &[CommitEvent],
    proofs: Vec<Vec<(Cid, Bytes)>>,
) -> Result<Outcome> {
    let proofs = proofs.into_iter().map(|proof| {
        let blocks = proof.into_iter();
        blocks
            .map(|(cid, block)| (digest_of(&cid), Cow::Owned(block.into())))
            .collect()
    });
    check::proofs(elapsed, car, events, proofs)
}

/// What is known of one commit.
struct Slice {
    root: Cid,
    nodes: Vec<(Cid, Bytes)>,
    operations: Vec<Operation>,
}

impl Slice {
    fn of(event: &CommitEvent) -> Result<Self> {
        Ok(Self {
            root: cid_of(&root_of(event)?),
            nodes: nodes_of(event).map(owned).collect(),
            operations: event.ops.iter().map(Operation::from).collect(),
        })
    }

    /// The store hashes each block as it comes in.
    fn invert(&self) -> Result<Cid> {
        let blocks = MemoryBlockStore::new();
        blocks.put_many(&self.nodes)?;
        let nodes = NodeStore::with_options(blocks, read_once());
        Ok(Tree::open(&nodes, &self.root)?.invert(&self.operations)?)
    }
}

pub(super) fn invert(input: &Input) -> Result<Outcome> {
    let events = input.read_events()?;
    let slices: Vec<Slice> = events.iter().map(Slice::of).collect::<Result<_>>()?;

    let start = Instant::now();
    let mut roots = Vec::with_capacity(slices.len());
    for slice in &slices {
        roots.push(digest_of(&slice.invert()?));
    }
    let elapsed = start.elapsed();

    check::refused(&input.read_refused()?, |event| {
        let found = Slice::of(event).and_then(|slice| slice.invert());
        found.is_ok_and(|root| Some(root) == event.prev_data)
    })?;
    check::roots(elapsed, &roots)
}

/// Each message is held to the state that the one before has left.
pub(super) fn verify(input: &Input, signed: bool) -> Result<Outcome> {
    let events = input.read_events()?;
    let key = input.read_key()?.parse()?;
    let mut check = EventCheck::default();
    check.key = signed.then_some(&key);
    let first = events.first().ok_or("there is no message")?;
    let before = RepoState {
        rev: first
            .since
            .as_deref()
            .ok_or("it follows nothing")?
            .parse()?,
        data: first.prev_data.ok_or("it follows nothing")?,
    };

    let start = Instant::now();
    let mut roots = Vec::with_capacity(events.len());
    let mut state = before;
    for event in &events {
        let checked = check.with_state(&state).commit(event)?;
        roots.push(digest_of(&checked.commit.data));
        state = checked.state;
    }
    let elapsed = start.elapsed();

    check.state = Some(&before);
    let wrong = if signed {
        input.read_forged()
    } else {
        input.read_refused()
    };
    check::refused(&wrong?, |event| check.commit(event).is_ok())?;
    check::roots(elapsed, &roots)
}

/// The form in which the stores take blocks.
fn owned((digest, block): (&Digest, &[u8])) -> (Cid, Bytes) {
    (cid_of(digest), Bytes::copy_from_slice(block))
}
