//! Keeps a copy of a repository in SQLite, fed with nothing but `#commit` messages.
//!
//! ```sh
//! cargo run -p atproto-mst --features k256,sqlite --example mirror -- /tmp/mirror.sqlite did:key:... /tmp/frames/*.frame
//! ```

use std::error::Error;

use atproto_mst::{
    EventCheck, EventError, Frame, OverlayBlockStore, PublicKey, RepoState, Repository,
    SqliteBlockStore,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: mirror DATABASE KEY FRAME...";
    let blocks = SqliteBlockStore::open(arguments.next().ok_or(usage)?)?;
    let key: PublicKey = arguments.next().ok_or(usage)?.parse()?;
    for path in arguments {
        let Frame::Commit(event) = Frame::decode(&std::fs::read(&path)?)? else {
            continue;
        };
        // What is known is the commit that the database names.
        let known = blocks.head(&event.repo)?;
        let known = known
            .map(|commit| Repository::open(&blocks, &commit))
            .transpose()?;
        let state = known
            .map(|known| RepoState::of(known.commit()))
            .transpose()?;
        let mut check = EventCheck::with_key(&key);
        check.state = state.as_ref();
        let checked = match check.commit(&event) {
            Ok(checked) => checked,
            // It came twice, or is from before what is known.
            Err(EventError::Stale { .. }) => continue,
            // Messages are missing: from here on it takes the whole repository from its server.
            Err(EventError::OutOfSync(how)) => return Err(format!("{path}: {how}").into()),
            Err(error) => return Err(error.into()),
        };
        // What is new in the message and the new head, or nothing.
        blocks.transaction(|tx| {
            let both = OverlayBlockStore::new(&checked.blocks, tx);
            let new = Repository::open(both, &checked.cid)?;
            match &state {
                Some(known) => new.copy_since_to(&known.data, tx)?,
                None => new.copy_to(tx)?,
            };
            tx.set_head(&event.repo, &checked.cid)?;
            Ok::<(), Box<dyn Error>>(())
        })?;
        let repository = Repository::open(&blocks, &checked.cid)?;
        println!("{path}: {} records", repository.verify()?.records);
    }
    Ok(())
}
