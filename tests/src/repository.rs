//! A repository like those that people have, and its CAR in any block order.

use std::collections::BTreeMap;

use blockstore_car::CarWriter;
use blockstore_core::{Bytes, Cid, dag_cbor_cid};
use mst_node::Node;
use serde::Serialize;

use crate::{Rng, SampleTree, build_tree};

/// A whole repository: a commit, a tree, records of the most frequent kinds in real
/// ones (posts, likes, reposts, follows, a profile).
///
/// The commit's signature is 64 zero bytes: nobody has signed it.
#[derive(Debug, Clone)]
pub struct SampleRepository {
    /// The commit's CID and block.
    pub commit: (Cid, Bytes),
    /// The tree of the records.
    pub tree: SampleTree,
    /// The CID of each record by its path.
    pub paths: BTreeMap<String, Cid>,
    /// The block of each record by its CID.
    pub records: BTreeMap<Cid, Bytes>,
}

impl SampleRepository {
    /// Makes the repository of `len` records for `seed`.
    pub fn generate(seed: u64, len: usize) -> Self {
        let mut maker = Maker {
            rng: Rng::new(seed),
            micros: 1_680_000_000_000_000,
        };
        let mut paths = BTreeMap::new();
        let mut records = BTreeMap::new();
        while paths.len() < len {
            let (path, record) = if paths.is_empty() {
                maker.profile()
            } else {
                maker.record()
            };
            let cid = dag_cbor_cid(&record);
            paths.insert(path, cid);
            records.insert(cid, Bytes::from(record));
        }
        Self::of(paths, records, &maker.tid())
    }

    /// Makes the repository of `records`, each under its CID, at `paths`.
    pub fn of(paths: BTreeMap<String, Cid>, records: BTreeMap<Cid, Bytes>, rev: &str) -> Self {
        let tree = build_tree(&paths);
        let commit = encode(&Commit {
            did: DID,
            rev,
            sig: serde_bytes::Bytes::new(&[0; 64]),
            data: tree.root,
            prev: None,
            version: 3,
        });
        Self {
            commit: (dag_cbor_cid(&commit), commit.into()),
            tree,
            paths,
            records,
        }
    }

    /// Returns all blocks in the order in which a reader wants them: the commit, then each
    /// node followed by, in the order of its slots, subtrees and records.
    ///
    /// Source: <https://atproto.com/specs/repository#car-file-serialization>, "Streamable
    /// CAR Block Ordering"
    pub fn blocks(&self) -> Vec<(Cid, Bytes)> {
        let nodes: BTreeMap<&Cid, &Bytes> = self.tree.nodes.iter().map(|(c, b)| (c, b)).collect();
        let mut blocks = vec![self.commit.clone()];
        // What is still to come, the next thing last.
        let mut stack = vec![self.tree.root];
        while let Some(cid) = stack.pop() {
            if let Some(record) = self.records.get(&cid) {
                blocks.push((cid, record.clone()));
                continue;
            }
            let block = nodes.get(&cid).expect("a tree holds all its nodes");
            blocks.push((cid, (*block).clone()));
            let node = Node::decode(block).expect("a tree's node is a node");
            for entry in node.entries().rev() {
                stack.extend(entry.right());
                stack.push(entry.value());
            }
            stack.extend(node.subtree(0));
        }
        blocks
    }

    /// Returns the repository as a CAR whose blocks are in the order of
    /// [`blocks`](Self::blocks).
    pub fn car(&self) -> Vec<u8> {
        self.car_of(&self.blocks())
    }

    /// Returns the repository as a CAR whose blocks are in the random order of `seed`.
    pub fn shuffled_car(&self, seed: u64) -> Vec<u8> {
        let mut blocks = self.blocks();
        Rng::new(seed).shuffle(&mut blocks);
        self.car_of(&blocks)
    }

    /// Returns a CAR of `blocks` with this repository's commit as its root.
    pub fn car_of(&self, blocks: &[(Cid, Bytes)]) -> Vec<u8> {
        let mut writer =
            CarWriter::new(Vec::new(), &[self.commit.0]).expect("a vector takes every write");
        for (cid, block) in blocks {
            let written = writer.write_block(cid, block);
            written.expect("a vector takes every write");
        }
        writer.finish().expect("a vector takes every write")
    }
}

const DID: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";

/// Words of the posts, to have text of many lengths.
const WORDS: [&str; 16] = [
    "the", "sky", "is", "blue", "today", "and", "trees", "grow", "by", "their", "hashes", "über",
    "naïve", "proofs", "🌳", "again",
];

struct Maker {
    rng: Rng,
    /// The time of the last record, in microseconds since 1970.
    micros: u64,
}

impl Maker {
    /// The path and the block of a record. About half of a repository are likes.
    fn record(&mut self) -> (String, Vec<u8>) {
        let rkey = self.tid();
        let created_at = self.now();
        match self.rng.below(20) {
            0..10 => {
                let record = Referring {
                    kind: "app.bsky.feed.like",
                    subject: self.subject(),
                    created_at,
                };
                (format!("app.bsky.feed.like/{rkey}"), encode(&record))
            }
            10..14 => {
                let record = Post {
                    text: self.text(),
                    kind: "app.bsky.feed.post",
                    langs: ["en"],
                    created_at,
                };
                (format!("app.bsky.feed.post/{rkey}"), encode(&record))
            }
            14..17 => {
                let record = Referring {
                    kind: "app.bsky.feed.repost",
                    subject: self.subject(),
                    created_at,
                };
                (format!("app.bsky.feed.repost/{rkey}"), encode(&record))
            }
            _ => {
                let record = Follow {
                    kind: "app.bsky.graph.follow",
                    subject: self.did(),
                    created_at,
                };
                (format!("app.bsky.graph.follow/{rkey}"), encode(&record))
            }
        }
    }

    fn profile(&mut self) -> (String, Vec<u8>) {
        let record = Profile {
            kind: "app.bsky.actor.profile",
            description: self.text(),
            display_name: "A made-up person",
        };
        ("app.bsky.actor.profile/self".to_owned(), encode(&record))
    }

    fn subject(&mut self) -> Subject {
        let (did, rkey) = (self.did(), self.tid());
        let uri = format!("at://{did}/app.bsky.feed.post/{rkey}");
        Subject {
            cid: dag_cbor_cid(uri.as_bytes()).to_string(),
            uri,
        }
    }

    fn text(&mut self) -> String {
        let count = 1 + self.rng.below(50);
        let words: Vec<&str> = (0..count)
            .map(|_| {
                *WORDS
                    .get(self.rng.below(WORDS.len()))
                    .expect("below its length")
            })
            .collect();
        words.join(" ")
    }

    fn did(&mut self) -> String {
        format!("did:plc:{}", self.base32(24, 5))
    }

    /// A timestamp identifier, later than all before it.
    fn tid(&mut self) -> String {
        self.micros += 1 + self.rng.next_u64() % 1_000_000_000;
        // The first of 13 characters of 5 bits holds only 4; the last two are a clock's id.
        let value = self.micros * 1_024 + 17;
        (0..13)
            .map(|index| base32_char(value >> (60 - 5 * index)))
            .collect()
    }

    fn base32(&mut self, len: u32, bits: u32) -> String {
        (0..len)
            .map(|_| base32_char(self.rng.next_u64() >> (64 - bits)))
            .collect()
    }

    /// The time of the last record, as a lexicon's `datetime`.
    fn now(&self) -> String {
        let day = self.micros / 86_400_000_000;
        let millis = self.micros / 1_000 % 86_400_000;
        // Only days that all months have.
        format!(
            "20{:02}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            day / 365 % 100,
            day / 28 % 12 + 1,
            day % 28 + 1,
            millis / 3_600_000,
            millis / 60_000 % 60,
            millis / 1_000 % 60,
            millis % 1_000,
        )
    }
}

fn base32_char(value: u64) -> char {
    const SORTABLE: &[u8; 32] = b"234567abcdefghijklmnopqrstuvwxyz";
    let index = (value % 32) as usize;
    char::from(*SORTABLE.get(index).expect("less than 32"))
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).expect("a vector takes every write")
}

#[derive(Serialize)]
struct Commit<'c> {
    did: &'c str,
    rev: &'c str,
    sig: &'c serde_bytes::Bytes,
    data: Cid,
    prev: Option<Cid>,
    version: u64,
}

#[derive(Serialize)]
struct Post {
    text: String,
    #[serde(rename = "$type")]
    kind: &'static str,
    langs: [&'static str; 1],
    #[serde(rename = "createdAt")]
    created_at: String,
}

#[derive(Serialize)]
struct Referring {
    #[serde(rename = "$type")]
    kind: &'static str,
    subject: Subject,
    #[serde(rename = "createdAt")]
    created_at: String,
}

#[derive(Serialize)]
struct Subject {
    cid: String,
    uri: String,
}

#[derive(Serialize)]
struct Follow {
    #[serde(rename = "$type")]
    kind: &'static str,
    subject: String,
    #[serde(rename = "createdAt")]
    created_at: String,
}

#[derive(Serialize)]
struct Profile {
    #[serde(rename = "$type")]
    kind: &'static str,
    description: String,
    #[serde(rename = "displayName")]
    display_name: &'static str,
}
