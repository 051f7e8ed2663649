//! Checks `#commit` messages one after the other: signature, blocks, operations, and that each
//! follows the previous one. Prints what they change.
//!
//! ```sh
//! cargo run -p atproto-mst --features k256 --example verify_firehose -- did:key:... /tmp/frames/*.frame
//! ```

use std::error::Error;

use atproto_mst::{EventCheck, EventError, Frame, PublicKey, RepoState, Tid};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let key: PublicKey = arguments
        .next()
        .ok_or("usage: verify_firehose KEY FRAME...")?
        .parse()?;
    // For one account; a relay keeps this and the key for each, by `event.repo`.
    let mut state: Option<RepoState> = None;
    for path in arguments {
        let Frame::Commit(event) = Frame::decode(&std::fs::read(&path)?)? else {
            continue;
        };
        let check = EventCheck::default()
            .with_key(&key)
            .with_state(state.as_ref())
            .with_now(Tid::now(0))
            // Without a tree to compare with, only this shows that new keys are in their place.
            .with_cover(true);
        match check.commit(&event) {
            Ok(checked) => {
                println!("{path}: rev {}", checked.commit.rev);
                for change in checked.changes() {
                    let len = change.record.map_or(0, |record| record.len());
                    println!("  {} {}, {len} bytes", change.action.as_str(), change.path);
                }
                state = Some(checked.state);
            }
            Err(EventError::Stale { .. }) => println!("{path}: came before"),
            Err(EventError::OutOfSync(gap)) => println!("{path}: {gap}; fetch the repository"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
