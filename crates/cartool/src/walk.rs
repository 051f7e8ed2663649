//! The entries of a tree, or of a collection, with what cannot be read between them.

use atproto_mst::{Entries, EntryRef};

use crate::failure::Failure;
use crate::fault::Fault;
use crate::input::{Blocks, Repository};

/// What a walk finds.
pub(crate) enum Step {
    Entry(EntryRef),
    /// A subtree that cannot be read. The walk continues past it.
    Fault(Box<Fault>),
}

/// An iterator over the entries of a repository's tree.
pub(crate) struct Walk<'r> {
    entries: Option<Entries<'r, Blocks>>,
    backward: bool,
    /// Set if the top node cannot be read, so that there is nothing to walk through.
    no_top: Option<Fault>,
}

impl<'r> Walk<'r> {
    /// Starts before the first entry, or after the last if `backward`, of `collection` or of
    /// everything.
    pub(crate) fn new(
        repository: &'r Repository,
        collection: Option<&str>,
        backward: bool,
    ) -> Result<Self, Failure> {
        let prefix = collection.map_or_else(String::new, |name| format!("{name}/"));
        Ok(Self {
            backward,
            ..Self::below(repository, prefix.as_bytes())?
        })
    }

    /// Starts before the first entry whose key begins with `prefix`.
    pub(crate) fn below(repository: &'r Repository, prefix: &[u8]) -> Result<Self, Failure> {
        let (entries, no_top) = match repository.walker() {
            Ok(walker) if prefix.is_empty() => (Some(walker.entries()), None),
            Ok(walker) => (Some(walker.prefix(prefix)), None),
            Err(error) => (None, Some(Fault::of_top(error)?)),
        };
        Ok(Self {
            entries,
            backward: false,
            no_top,
        })
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Step, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(entries) = &mut self.entries else {
            return self
                .no_top
                .take()
                .map(|fault| Ok(Step::Fault(Box::new(fault))));
        };
        let entry = if self.backward {
            entries.next_back()
        } else {
            entries.next()
        };
        Some(match entry? {
            Ok(entry) => Ok(Step::Entry(entry)),
            Err(error) => {
                Fault::at(entries.walker(), error).map(|fault| Step::Fault(Box::new(fault)))
            }
        })
    }
}
