//! Two trees compared, and commits for the firehose and from it. No block is compared with its CID
//! here, so that is done for this crate, on the clock where a job asks for it.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use atproto_mst::{Action, CommitEvent, RepoOp as Op};
use bytes::Bytes;
use cid::Cid;
use jacquard_api::com_atproto::sync::subscribe_repos::RepoOpAction;
use jacquard_common::types::{
    cid::CidLink,
    crypto::PublicKey,
    string::{Datetime, Did, Tid},
};
use jacquard_repo::{
    BlockStore, MemoryBlockStore, Mst,
    car::parse_car_bytes,
    commit::{
        Commit,
        firehose::{FirehoseCommit, RepoOp, to_invertible_op, validate_v1_1},
    },
    mst::VerifiedWriteOp,
};
use sha2::{Digest as _, Sha256};

use super::load;
use crate::{
    Result, car,
    check::{self, Change},
    input::{Input, nodes_of, root_of},
    node::{Digest, cid_of, digest_of},
    outcome::Outcome,
};

/// The trees keep the nodes that they have decoded, and have listed all leaves once before.
pub(super) async fn diff(input: &Input<'_>) -> Result<Outcome> {
    let bytes = input.read_car()?;
    let other = input.read_changed_car()?;
    car::verify(&bytes)?;
    car::verify(&other)?;
    let (old, _) = load(&bytes).await?;
    let parsed = parse_car_bytes(&other).await?;
    old.storage().put_many(parsed.blocks).await?;
    let new = Mst::load(Arc::clone(old.storage()), parsed.root, None);
    old.leaves_sequential().await?;
    new.leaves_sequential().await?;

    let start = Instant::now();
    let diff = old.diff(&new).await?;
    let elapsed = start.elapsed();

    let mut changes: Vec<Change> = Vec::new();
    for (key, new) in &diff.creates {
        changes.push((key.to_string(), None, Some(digest_of(new))));
    }
    for (key, new, old) in &diff.updates {
        changes.push((key.to_string(), Some(digest_of(old)), Some(digest_of(new))));
    }
    for (key, old) in &diff.deletes {
        changes.push((key.to_string(), Some(digest_of(old)), None));
    }
    Ok(check::changes(elapsed, &digest_of(&parsed.root), changes))
}

/// `Repository::create_commit` takes the nodes on the way to each key, in the tree before and in the
/// one after, beside all new nodes. The trees are kept with all nodes decoded.
pub(super) async fn prove(input: &Input<'_>) -> Result<Outcome> {
    let events = input.read_events()?;
    let bytes = input.read_car()?;
    car::verify(&bytes)?;
    let (mut tree, _) = load(&bytes).await?;
    tree.leaves_sequential().await?;

    let mut elapsed = Duration::ZERO;
    let mut proofs = Vec::with_capacity(events.len());
    for event in &events {
        let before = tree.clone();
        for op in &event.ops {
            tree = match op.cid {
                Some(value) => tree.add(&op.path, value).await?,
                None => tree.delete(&op.path).await?,
            };
        }
        tree.get_pointer().await?;

        let start = Instant::now();
        let mut proof: BTreeMap<Cid, Bytes> = BTreeMap::new();
        for op in &event.ops {
            tree.blocks_for_path(&op.path, &mut proof).await?;
            before.blocks_for_path(&op.path, &mut proof).await?;
        }
        elapsed += start.elapsed();

        proofs.push(proof);
    }

    let proofs = proofs.into_iter().map(|proof| {
        let blocks = proof.into_iter();
        blocks
            .map(|(cid, block)| (digest_of(&cid), Cow::Owned(block.into())))
            .collect()
    });
    check::proofs(elapsed, &bytes, &events, proofs)
}

/// What is known of one commit.
struct Slice {
    root: Cid,
    nodes: Vec<(Cid, Bytes)>,
    ops: Vec<VerifiedWriteOp>,
}

impl Slice {
    fn of(event: &CommitEvent) -> Result<Self> {
        let owned =
            |(digest, block): (&Digest, &[u8])| (cid_of(digest), Bytes::copy_from_slice(block));
        let ops = event
            .ops
            .iter()
            .map(|op| Ok(to_invertible_op(&repo_op(op))?));
        Ok(Self {
            root: cid_of(&root_of(event)?),
            nodes: nodes_of(event).map(owned).collect(),
            ops: ops.collect::<Result<_>>()?,
        })
    }

    async fn invert(self) -> Result<Cid> {
        for (cid, block) in &self.nodes {
            if Sha256::digest(block)[..] != *cid.hash().digest() {
                return Err(format!("block {cid} does not hash to its CID").into());
            }
        }
        let blocks = self.nodes.into_iter().collect();
        let store = Arc::new(MemoryBlockStore::new_from_blocks(blocks));
        invert(store, self.root, self.ops).await
    }
}

/// As `validate_v1_1` does it.
async fn invert(store: Arc<MemoryBlockStore>, root: Cid, ops: Vec<VerifiedWriteOp>) -> Result<Cid> {
    let mut tree = Mst::load(store, root, None);
    for op in ops {
        if !tree.invert_op(op).await? {
            return Err("an operation cannot be taken back".into());
        }
    }
    Ok(tree.get_pointer().await?)
}

pub(super) async fn invert_all(input: &Input<'_>) -> Result<Outcome> {
    let events = input.read_events()?;
    let slices: Vec<Slice> = events.iter().map(Slice::of).collect::<Result<_>>()?;

    let start = Instant::now();
    let mut roots = Vec::with_capacity(slices.len());
    for slice in slices {
        roots.push(digest_of(&slice.invert().await?));
    }
    let elapsed = start.elapsed();

    for event in input.read_refused()? {
        let found = match Slice::of(&event) {
            Ok(slice) => slice.invert().await,
            Err(error) => Err(error),
        };
        let accepted = found.is_ok_and(|root| Some(root) == event.prev_data);
        check::refused(&[event], |_| accepted)?;
    }
    check::roots(elapsed, &roots)
}

/// With a signature it is all `validate_v1_1`; without one the same steps. The hashes are verified
/// before each, on the clock.
pub(super) async fn verify(input: &Input<'_>, signed: bool) -> Result<Outcome> {
    let events = input.read_events()?;
    let messages: Vec<FirehoseCommit> = events.iter().map(message).collect::<Result<_>>()?;
    let key = input.read_key()?;
    let key = key
        .strip_prefix("did:key:")
        .ok_or("the key is no did:key")?;
    let key = PublicKey::decode(key)?;
    let key = signed.then_some(&key);

    let start = Instant::now();
    let mut roots = Vec::with_capacity(messages.len());
    for message in &messages {
        roots.push(digest_of(&verify_one(message, key).await?));
    }
    let elapsed = start.elapsed();

    let wrong = if signed {
        input.read_forged()
    } else {
        input.read_refused()
    };
    for event in wrong? {
        let accepted = match message(&event) {
            Ok(message) => verify_one(&message, key).await.is_ok(),
            Err(_) => false,
        };
        check::refused(&[event], |_| accepted)?;
    }
    check::roots(elapsed, &roots)
}

async fn verify_one(message: &FirehoseCommit, key: Option<&PublicKey<'_>>) -> Result<Cid> {
    car::verify(&message.blocks)?;
    if let Some(key) = key {
        return Ok(validate_v1_1(message, key).await?);
    }
    let parsed = parse_car_bytes(&message.blocks).await?;
    let store = Arc::new(MemoryBlockStore::new_from_blocks(parsed.blocks));
    let head = message.commit.to_ipld()?;
    let block = store
        .get(&head)
        .await?
        .ok_or("the commit is not in the CAR")?;
    let commit = Commit::<String>::from_cbor(&block)?;
    if commit.did().as_ref() != message.repo.as_ref() {
        return Err("the message is about another repository".into());
    }
    let root = *commit.data();
    let ops = message.ops.iter().map(|op| Ok(to_invertible_op(op)?));
    let before = invert(store, root, ops.collect::<Result<_>>()?).await?;
    let claimed = message
        .prev_data
        .as_ref()
        .ok_or("the message names no tree before")?;
    if claimed.to_ipld()? != before {
        return Err("the commit follows another tree".into());
    }
    Ok(root)
}

fn message(event: &CommitEvent) -> Result<FirehoseCommit> {
    Ok(FirehoseCommit {
        blobs: Vec::new(),
        blocks: event.blocks.clone(),
        commit: CidLink::from(event.commit),
        ops: event.ops.iter().map(repo_op).collect(),
        prev_data: event.prev_data.map(CidLink::from),
        rebase: false,
        repo: Did::new_owned(&event.repo)?,
        rev: event.rev.parse::<Tid>()?,
        seq: event.seq,
        since: event.since.as_deref().map(str::parse).transpose()?,
        time: event.time.parse::<Datetime>()?,
        too_big: false,
        extra_data: None,
    })
}

fn repo_op(op: &Op) -> RepoOp {
    RepoOp {
        action: match op.action {
            Action::Create => RepoOpAction::Create,
            Action::Update => RepoOpAction::Update,
            Action::Delete => RepoOpAction::Delete,
        },
        cid: op.cid.map(CidLink::from),
        path: op.path.as_str().into(),
        prev: op.prev.map(CidLink::from),
        extra_data: None,
    }
}
