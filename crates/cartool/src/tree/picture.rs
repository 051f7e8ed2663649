//! A tree for drawing: small enough to look at, and in memory as a whole.

use std::collections::BTreeMap;

use atproto_mst::Cid;

use super::outline::{Outline, Part};
use crate::failure::Failure;
use crate::input::Repository;
use crate::quote::Harmless;
use crate::report::Report;

/// What is drawn.
pub(super) struct Picture {
    /// The DID and the revision.
    pub(super) name: String,
    pub(super) commit: Cid,
    /// The top first, and each before those below it.
    pub(super) shapes: Vec<Shape>,
    pub(super) keys: u64,
    /// The collections of the keys, those with the most keys first.
    pub(super) collections: Vec<String>,
}

/// A node, or what is drawn in place of one.
pub(super) struct Shape {
    pub(super) kind: Kind,
    pub(super) cid: Option<Cid>,
    pub(super) height: u8,
    /// From left to right; empty unless it is a node.
    pub(super) items: Vec<Item>,
}

pub(super) enum Kind {
    Node,
    /// Not visited.
    Closed,
    /// Missing, with an explanation.
    Missing(String),
    /// Wrong, with the reason.
    Bad(String),
}

pub(super) enum Item {
    Key(Key),
    /// The shape with this index, below.
    Below(usize),
}

pub(super) struct Key {
    /// Invalid UTF-8 is replaced.
    pub(super) text: String,
    pub(super) value: Cid,
    pub(super) is_there: bool,
}

impl Picture {
    pub(super) fn title(&self) -> String {
        format!("{}, commit {}", self.name, self.commit)
    }

    /// Reads a tree, unless it is too large for a picture.
    pub(super) fn new(
        repository: &Repository,
        outline: Outline<'_>,
        report: &mut Report,
    ) -> Result<Self, Failure> {
        let commit = repository.commit();
        let mut picture = Self {
            name: format!("{}, rev {}", commit.did, commit.rev),
            commit: repository.commit_cid(),
            shapes: Vec::new(),
            keys: 0,
            collections: Vec::new(),
        };
        let mut counts = BTreeMap::new();
        // The nodes from the top down to the one that the parts belong to.
        let mut way = Vec::new();
        for part in outline {
            let height = way.last().map(|parent| picture.height_below(*parent));
            match part? {
                Part::Node { cid, height } => {
                    let place = picture.add(&way, Kind::Node, Some(cid), height);
                    way.push(place);
                }
                Part::Entry {
                    key,
                    value,
                    is_there,
                } => {
                    let key = Key {
                        text: String::from_utf8_lossy(&key).into_owned(),
                        value,
                        is_there,
                    };
                    if let Some(collection) = key.collection() {
                        *counts.entry(collection.to_owned()).or_insert(0_u64) += 1;
                    }
                    picture.keys += 1;
                    picture.put(&way, Item::Key(key));
                }
                Part::Closed { cid } => {
                    picture.add(&way, Kind::Closed, Some(cid), height.unwrap_or(0));
                }
                Part::Fault { cid, fault } => {
                    let kind = if fault.is_missing() {
                        Kind::Missing(fault.to_string())
                    } else {
                        report.fault(&fault);
                        Kind::Bad(fault.to_string())
                    };
                    picture.add(&way, kind, cid, height.unwrap_or(0));
                }
                Part::End => {
                    way.pop();
                }
            }
            if picture.shapes.len() > MAX_SHAPES || picture.keys > MAX_KEYS {
                return Err(Failure::Usage(format!(
                    "too much for one picture, which has at most {MAX_SHAPES} nodes \
                     and {MAX_KEYS} keys; choose a part of the tree with --depth or --prefix"
                )));
            }
        }
        let mut collections: Vec<_> = counts.into_iter().collect();
        collections.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        picture.collections = collections.into_iter().map(|(name, _)| name).collect();
        Ok(picture)
    }

    fn add(&mut self, way: &[usize], kind: Kind, cid: Option<Cid>, height: u8) -> usize {
        let place = self.shapes.len();
        self.shapes.push(Shape {
            kind,
            cid,
            height,
            items: Vec::new(),
        });
        self.put(way, Item::Below(place));
        place
    }

    fn put(&mut self, way: &[usize], item: Item) {
        let parent = way.last().and_then(|place| self.shapes.get_mut(*place));
        if let Some(parent) = parent {
            parent.items.push(item);
        }
    }

    fn height_below(&self, place: usize) -> u8 {
        let height = self.shapes.get(place).map_or(0, |shape| shape.height);
        height.saturating_sub(1)
    }
}

impl Shape {
    /// Whether anything is drawn below it.
    pub(super) fn has_below(&self) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Below(_)))
    }

    /// Its name in a picture.
    pub(super) fn name(&self) -> String {
        let what = match self.kind {
            Kind::Node | Kind::Closed => "",
            Kind::Missing(_) => "missing ",
            Kind::Bad(_) => "bad ",
        };
        let cid = self.cid.as_ref().map(short).unwrap_or_default();
        format!("{what}{cid}")
    }
}

impl Key {
    /// The part before the slash.
    pub(super) fn collection(&self) -> Option<&str> {
        self.text.split_once('/').map(|(collection, _)| collection)
    }

    /// The part after the slash, or everything, cut down to the last `most` characters.
    pub(super) fn label(&self, most: usize) -> String {
        let label = match self.text.split_once('/') {
            Some((_, record_key)) => record_key,
            None => &self.text,
        };
        // Replace characters first, as the replacements are what takes up space.
        tail(&Harmless(label).to_string(), most)
    }
}

/// A CID by its end, as all begin alike.
pub(super) fn short(cid: &Cid) -> String {
    tail(&cid.to_string(), 8)
}

/// The end of a text, of at most `most` characters, including the ellipsis.
pub(super) fn tail(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let end = text.chars().skip(count - most.saturating_sub(1));
    std::iter::once('…').chain(end).collect()
}

/// Nobody looks at more than this.
const MAX_SHAPES: usize = 2_000;
const MAX_KEYS: u64 = 10_000;
