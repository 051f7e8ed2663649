//! A valid message, in parts that can be changed and put together again.

use std::collections::BTreeMap;
use std::sync::Arc;

use blockstore_car::{CarBlockStore, CarWriter};
use blockstore_core::{BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, dag_cbor_cid};
use ipld_core::ipld::Ipld;
use mst_node::{Node, height_of};
use mst_ops::{NodeStore, Tree};
use mst_repo::{
    Action, Commit, CommitEvent, Curve, EventCheck, EventError, Frame, PublicKey, RepoState,
    SigningKey, SyncEvent, Tid, Write, Writer,
};
use mst_testkit::{Change, History, Rng};

const DID: &str = "did:plc:z72i7hdynmk6r22z27h6tvur";
const TIME: &str = "2026-11-21T00:00:00Z";

/// A message and everything that it was made from.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) rng: Rng,
    pub(crate) curve: Curve,
    /// All blocks of the previous repository.
    pub(crate) store: Arc<MemoryBlockStore>,
    /// The previous root.
    pub(crate) before: Cid,
    pub(crate) commit: Commit,
    /// The nodes and records that go with it.
    pub(crate) blocks: Vec<(Cid, Bytes)>,
    pub(crate) event: CommitEvent,
    pub(crate) known: RepoState,
    /// Whether what is known is withheld from the check.
    pub(crate) stateless: bool,
    /// What is known when the commit comes in a `#sync` message.
    pub(crate) known_by_sync: Option<RepoState>,
    pub(crate) now: Tid,
}

pub(crate) fn key(curve: Curve) -> SigningKey {
    SigningKey::from_bytes(curve, &[7; 32]).unwrap()
}

pub(crate) fn write(change: &Change) -> Write {
    let path = change.path.clone();
    match (&change.before, change.after.clone()) {
        (None, Some(record)) => Write::Create { path, record },
        (Some(_), Some(record)) => Write::Update { path, record },
        (_, None) => Write::Delete { path },
    }
}

impl Draft {
    /// The commit after this many of a random history, none of them without operations.
    pub(crate) fn new(seed: u64, commits: usize, curve: Curve) -> Self {
        let key = key(curve);
        let store = Arc::new(MemoryBlockStore::new());
        let (mut writer, _) = Writer::create(store.clone(), DID, &key).unwrap();
        let mut history = History::new(seed);
        let mut step = || loop {
            let changes = history.step();
            if !changes.is_empty() {
                break changes.iter().map(write).collect::<Vec<_>>();
            }
        };
        for _ in 0..commits {
            writer.write(&step(), &key).unwrap();
        }
        let known = RepoState::of(writer.commit());
        let new = writer.write(&step(), &key).unwrap();
        let mut draft = Self {
            rng: Rng::new(seed),
            curve,
            store,
            before: known.data,
            event: CommitEvent::new(&new, 1, TIME),
            commit: new.commit,
            blocks: Vec::new(),
            known,
            stateless: false,
            known_by_sync: None,
            now: Tid::now(0),
        };
        draft.remake();
        draft
    }

    pub(crate) fn check(&self) -> Result<(), EventError> {
        let key = key(self.curve).public_key();
        let check = EventCheck::default()
            .with_key(&key)
            .with_state((!self.stateless).then_some(&self.known))
            .with_now(self.now)
            .with_cover(true);
        // As it would come over the wire.
        let frame = Frame::from(self.event.clone()).encode();
        let Frame::Commit(event) = Frame::decode(&frame).unwrap() else {
            panic!("it was a commit");
        };
        check.commit(&event).map(drop)
    }

    /// A check with what is known before a `#sync`, or before a repository is fetched.
    fn event_check<'c>(&'c self, key: &'c PublicKey) -> EventCheck<'c> {
        EventCheck::default()
            .with_key(key)
            .with_state(self.known_by_sync.as_ref())
            .with_now(self.now)
    }

    /// Checks the commit as that of a repository that was fetched.
    pub(crate) fn check_repository(&self) -> Result<(), EventError> {
        let key = key(self.curve).public_key();
        let check = self.event_check(&key);
        let state = check.repository(&self.event.repo, &self.commit)?;
        assert_eq!(state, RepoState::of(&self.commit));
        Ok(())
    }

    /// Checks the message as a `#sync`, with its commit alone.
    pub(crate) fn check_sync(&self) -> Result<(), EventError> {
        let key = key(self.curve).public_key();
        let check = self.event_check(&key);
        let CommitEvent { repo, rev, .. } = &self.event;
        let car = CarBlockStore::from_bytes(self.event.blocks.clone()).unwrap();
        let mut blocks = CarWriter::new(Vec::new(), car.roots()).unwrap();
        for root in car.roots() {
            if let Some(block) = car.get(root).unwrap() {
                blocks.write_block(root, &block).unwrap();
            }
        }
        let event = SyncEvent::from_parts(repo, rev, blocks.finish().unwrap());
        let Frame::Sync(event) = Frame::decode(&Frame::Sync(event).encode()).unwrap() else {
            panic!("it was a sync");
        };
        check.sync(&event).map(drop)
    }

    /// Rebuilds the tree that the operations lead to, and everything that depends on it.
    pub(crate) fn remake(&mut self) {
        let mut tree = Tree::open(NodeStore::new(&*self.store), &self.before).unwrap();
        for op in &self.event.ops {
            match &op.cid {
                Some(value) => tree.insert(op.path.as_bytes(), value).unwrap(),
                None => tree.remove(op.path.as_bytes()).unwrap(),
            };
        }
        let changes = tree.flush();
        let keys = self.event.ops.iter().map(|op| op.path.as_bytes());
        let mut blocks: BTreeMap<Cid, Bytes> = tree.cover(keys).unwrap().into_iter().collect();
        blocks.extend(changes.new);
        for value in self.event.ops.iter().filter_map(|op| op.cid) {
            blocks.insert(value, self.store.get(&value).unwrap().unwrap());
        }
        self.blocks = blocks.into_iter().collect();
        self.commit.data = changes.root;
        self.seal();
    }

    /// Gives the message a record that the repository did not have.
    pub(crate) fn put_record(&mut self, value: &Cid, record: Bytes) {
        self.store.put(value, record).unwrap();
    }

    /// Signs the commit, and packs it.
    pub(crate) fn seal(&mut self) {
        self.commit.sign(&key(self.curve)).unwrap();
        self.pack();
    }

    /// Packs the commit as it is.
    pub(crate) fn pack(&mut self) {
        self.pack_block(&self.commit.encode());
    }

    /// Packs `block` instead of the commit.
    pub(crate) fn pack_block(&mut self, block: &[u8]) {
        self.pack_block_as(dag_cbor_cid(block), block);
    }

    /// Packs `block` instead of the commit, under any name.
    pub(crate) fn pack_block_as(&mut self, commit: Cid, block: &[u8]) {
        let mut car = CarWriter::new(Vec::new(), &[commit]).unwrap();
        car.write_block(&commit, block).unwrap();
        for (cid, block) in &self.blocks {
            car.write_block(cid, block).unwrap();
        }
        self.event.commit = commit;
        self.event.blocks = car.finish().unwrap().into();
    }

    /// The bytes of the CAR, changed.
    pub(crate) fn alter_car(&mut self, alter: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut car = self.event.blocks.to_vec();
        alter(&mut car);
        self.event.blocks = car.into();
        true
    }

    /// The fields of the commit, changed; the signature no longer fits.
    pub(crate) fn alter_commit(&mut self, alter: impl FnOnce(&mut BTreeMap<String, Ipld>)) -> bool {
        let Ipld::Map(mut fields) = decode(&self.commit.encode()) else {
            panic!("a commit is a map");
        };
        alter(&mut fields);
        self.pack_block(&encode(&Ipld::Map(fields)));
        true
    }

    /// Another block instead of the top node, with a signed commit that names it.
    pub(crate) fn replace_top(&mut self, block: Vec<u8>) -> bool {
        let cid = dag_cbor_cid(&block);
        self.blocks.push((cid, block.into()));
        self.commit.data = cid;
        self.seal();
        true
    }

    /// The height of the top node, if it has keys.
    pub(crate) fn top_height(&self) -> Option<u8> {
        let top = Node::decode(&self.top()).unwrap();
        top.entries().next().map(|entry| height_of(entry.key()))
    }

    pub(crate) fn top(&self) -> Bytes {
        let top = self.commit.data;
        let block = self.blocks.iter().find(|(cid, _)| *cid == top);
        block.unwrap().1.clone()
    }

    /// The top node's left link and entries, changed.
    pub(crate) fn alter_top(
        &mut self,
        alter: impl FnOnce(&mut Ipld, &mut Vec<BTreeMap<String, Ipld>>) -> bool,
    ) -> bool {
        let Ipld::Map(mut fields) = decode(&self.top()) else {
            panic!("a node is a map");
        };
        let Some(Ipld::List(entries)) = fields.remove("e") else {
            panic!("a node has entries");
        };
        let entries = entries.into_iter().map(|entry| match entry {
            Ipld::Map(entry) => entry,
            _ => panic!("an entry is a map"),
        });
        let mut entries: Vec<_> = entries.collect();
        let altered = alter(fields.get_mut("l").unwrap(), &mut entries);
        let entries = entries.into_iter().map(Ipld::Map).collect();
        fields.insert("e".into(), Ipld::List(entries));
        altered && self.replace_top(encode(&Ipld::Map(fields)))
    }

    /// Any operation of this kind.
    pub(crate) fn op(&mut self, action: Action) -> Option<usize> {
        let ops = self.event.ops.iter().enumerate();
        let those = ops.filter(|(_, op)| op.action == action);
        let those: Vec<usize> = those.map(|(at, _)| at).collect();
        (!those.is_empty()).then(|| those[self.rng.below(those.len())])
    }

    /// Any operation that leaves a record.
    pub(crate) fn put(&mut self) -> Option<usize> {
        self.op(Action::Create).or_else(|| self.op(Action::Update))
    }

    /// Any operation with a record before it.
    pub(crate) fn over(&mut self) -> Option<usize> {
        self.op(Action::Delete).or_else(|| self.op(Action::Update))
    }
}

pub(crate) fn decode(block: &[u8]) -> Ipld {
    serde_ipld_dagcbor::from_slice(block).unwrap()
}

pub(crate) fn encode(value: &Ipld) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).unwrap()
}

/// Whether `link` is one to any of `blocks`.
pub(crate) fn is_among(link: &Ipld, blocks: &[Cid]) -> bool {
    matches!(link, Ipld::Link(cid) if blocks.contains(cid))
}
