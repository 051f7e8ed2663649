//! Keeps a copy of a repository in SQLite, fed with `#commit` messages; at first, and if some of
//! them are missing, with the whole repository, which here is a file.
//!
//! ```sh
//! cargo run -p atproto-mst --features k256,sqlite --example mirror -- \
//!     /tmp/mirror.sqlite did:key:$KEY repository.car /tmp/frames/*.frame
//! ```

use std::error::Error;

use atproto_mst::{
    CarBlockStore, CommitEvent, EventCheck, EventError, Frame, OverlayBlockStore, PublicKey,
    RepoState, Repository, SqliteBlockStore,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: mirror DATABASE KEY CAR FRAME...";
    let blocks = SqliteBlockStore::open(arguments.next().ok_or(usage)?)?;
    let key: PublicKey = arguments.next().ok_or(usage)?.parse()?;
    let car = arguments.next().ok_or(usage)?;
    for path in arguments {
        let Frame::Commit(event) = Frame::decode(&std::fs::read(&path)?)? else {
            continue;
        };
        if let Some(gap) = follow(&blocks, &key, &event)? {
            println!("{path}: {gap}; taking the whole repository");
            resync(&blocks, &key, &event.repo, &car)?;
            // What was fetched may be older than the message.
            if let Some(gap) = follow(&blocks, &key, &event)? {
                return Err(format!("{path}: {gap}, still").into());
            }
        }
        let head = blocks.head(&event.repo)?.ok_or("it was just set")?;
        let repository = Repository::open(&blocks, &head)?;
        println!("{path}: {} records", repository.verify()?.records);
    }
    Ok(())
}

/// Stores what is new in a message. If an earlier one is missing, says so.
fn follow(
    blocks: &SqliteBlockStore,
    key: &PublicKey,
    event: &CommitEvent,
) -> Result<Option<String>> {
    let state = known(blocks, &event.repo)?;
    if state.is_none() && !event.is_first() {
        return Ok(Some("nothing is there of the repository".to_owned()));
    }
    let check = EventCheck::default()
        .with_key(key)
        .with_state(state.as_ref());
    let checked = match check.commit(event) {
        Ok(checked) => checked,
        // It came twice, or is older than what is known.
        Err(EventError::Stale { .. }) => return Ok(None),
        Err(EventError::OutOfSync(gap)) => return Ok(Some(gap.to_string())),
        Err(error) => return Err(error.into()),
    };
    // What is new in the message and the new head, or nothing.
    blocks
        .transaction(|tx| {
            let both = OverlayBlockStore::new(&checked.blocks, tx);
            let new = Repository::open(both, &checked.cid)?;
            match &state {
                Some(known) => new.copy_since_to(&known.data, tx)?,
                None => new.copy_to(tx)?,
            };
            Ok(tx.set_head(&event.repo, &checked.cid)?)
        })
        .map(|()| None)
}

/// Stores the whole repository, as its server returns it.
fn resync(blocks: &SqliteBlockStore, key: &PublicKey, did: &str, car: &str) -> Result<()> {
    let state = known(blocks, did)?;
    let check = EventCheck::default()
        .with_key(key)
        .with_state(state.as_ref());
    let car = CarBlockStore::open(car)?;
    let commit = car.root()?;
    let repository = Repository::open(car, &commit)?;
    check.repository(did, repository.commit())?;
    blocks.transaction(|tx| {
        repository.copy_to(tx)?;
        Ok(tx.set_head(did, &commit)?)
    })
}

/// The commit that the database names, which later messages must follow.
fn known(blocks: &SqliteBlockStore, did: &str) -> Result<Option<RepoState>> {
    let Some(head) = blocks.head(did)? else {
        return Ok(None);
    };
    let commit = Repository::open(blocks, &head)?.commit().clone();
    Ok(Some(RepoState::of(&commit)))
}
