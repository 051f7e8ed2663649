//! The entries of a tree, or of a collection, with what cannot be read between them.

use atproto_mst::{Entries, EntryRef};

use crate::cli::Chosen;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::input::{self, Blocks, Repository};
use crate::progress::Progress;
use crate::report::Report;

/// What a walk finds.
pub(crate) enum Step {
    Entry(EntryRef),
    /// A subtree that cannot be read. The walk continues past it.
    Fault(Box<Fault>),
}

/// Passes each of the chosen entries to `visit`. What cannot be read is reported, and so are keys
/// that are not text.
pub(crate) fn each(
    chosen: &Chosen,
    report: &mut Report,
    mut visit: impl FnMut(&Repository, &EntryRef, &mut Report) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let repository = input::open(&chosen.source)?;
    report.show(Progress::of(repository.blocks().count()));
    let mut count = 0_u64;
    for step in Walk::new(&repository, chosen.collection.as_deref(), chosen.reverse)? {
        let entry = match step? {
            Step::Entry(entry) => entry,
            Step::Fault(fault) => {
                report.fault(&fault);
                continue;
            }
        };
        report.tick();
        count += 1;
        if let Err(error) = entry.key_str() {
            let (key, cid) = (entry.key(), entry.value());
            report.fault(&Fault::bad_key(key, cid, error.to_string()));
        }
        visit(&repository, &entry, report)?;
    }
    if let (0, Some(collection)) = (count, &chosen.collection) {
        report.note(&format_args!("note: no records of {collection}"));
    }
    Ok(())
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
