//! What a valid message of the firehose changes.

use blockstore_car::CarBlockStore;
use blockstore_core::{BlockStore, Bytes, Cid};
use mst_ops::Operation;

use crate::{Action, Commit, RepoPath, RepoState};

/// A commit that was found valid.
#[derive(Debug)]
#[non_exhaustive]
pub struct CheckedCommit {
    /// The commit.
    pub commit: Commit,
    /// Its CID.
    pub cid: Cid,
    /// The state to remember from now on.
    pub state: RepoState,
    /// The operations, in the order of the message; [`changes`](Self::changes) has them with their
    /// records.
    pub operations: Vec<Operation>,
    /// The blocks of the message: all new nodes and records, and perhaps others. Each was hashed,
    /// except for those whose CIDs have a hash function other than SHA-256, which may be included
    /// too: no operation leads to one.
    ///
    /// A repository over these and a store with those before, an
    /// [`OverlayBlockStore`](blockstore_core::OverlayBlockStore), puts the new ones into the store:
    /// [`Repository::copy_since_to`](crate::Repository::copy_since_to).
    pub blocks: CarBlockStore,
}

impl CheckedCommit {
    /// Returns the records that were created, updated and deleted, in the order of the message.
    ///
    /// # Panics
    ///
    /// If [`operations`](Self::operations) was changed, and a key is not a path any more.
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_core::MemoryBlockStore;
    /// use mst_repo::{
    ///     Action, CommitEvent, EventCheck, Tid, Write, Writer, decode_record, encode_record,
    ///     ipld,
    /// };
    /// # let key = mst_repo::SigningKey::from_bytes(mst_repo::Curve::K256, &[7; 32])?;
    /// # let did = "did:plc:z72i7hdynmk6r22z27h6tvur";
    ///
    /// # let (mut writer, _) = Writer::create(MemoryBlockStore::new(), did, &key)?;
    /// # let post = encode_record(&ipld!({ "$type": "app.bsky.feed.post", "text": "Hello" }))?;
    /// # let new = writer.write(&[Write::create("app.bsky.feed.post/1", post)], &key)?;
    /// # let event = CommitEvent::new(&new, 2, Tid::now(0).to_datetime());
    /// #[derive(serde::Deserialize)]
    /// struct Post<'r> {
    ///     text: &'r str,
    /// }
    ///
    /// let checked = EventCheck::default().commit(&event)?;
    /// for change in checked.changes() {
    ///     if change.path.collection() != "app.bsky.feed.post" {
    ///         continue;
    ///     }
    ///     match &change.record {
    ///         Some(record) => {
    ///             println!("{}: {}", change.path, decode_record::<Post>(record)?.text);
    ///         }
    ///         None => println!("{}: deleted", change.path),
    ///     }
    /// #     assert_eq!(change.action, Action::Create);
    /// #     assert_eq!(decode_record::<Post>(change.record.as_ref().unwrap())?.text, "Hello");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn changes(&self) -> impl ExactSizeIterator<Item = RecordChange<'_>> {
        self.operations.iter().map(|operation| RecordChange {
            action: Action::from(operation),
            path: RepoPath::parse(&operation.key).expect("the paths of operations were checked"),
            old: operation.old,
            new: operation.new,
            record: operation.new.and_then(|cid| self.record(&cid)),
        })
    }

    /// The block of a record, whose presence was checked.
    fn record(&self, cid: &Cid) -> Option<Bytes> {
        self.blocks.get(cid).ok().flatten()
    }
}

/// A change of one record, from [`CheckedCommit::changes`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordChange<'c> {
    /// What was done.
    pub action: Action,
    /// The record's path.
    pub path: RepoPath<'c>,
    /// The CID of the record before; `None` if it was created.
    pub old: Option<Cid>,
    /// The CID of the record now; `None` if it was deleted.
    pub new: Option<Cid>,
    /// The block of the record now, which [`decode_record`](crate::decode_record) decodes; `None`
    /// if it was deleted. It should be DAG-CBOR, which was not checked.
    pub record: Option<Bytes>,
}
