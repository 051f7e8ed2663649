//! Lists the collections of a repository, or the records of one, newest first.
//!
//! ```sh
//! cargo run -p atproto-mst --example list_collection -- FILE app.bsky.feed.post
//! ```

use std::error::Error;

use atproto_mst::{CarBlockStore, Repository};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or("usage: list_collection FILE [COLLECTION]")?;
    let car = CarBlockStore::open(path)?;
    let commit = car.root()?;

    let repository = Repository::open(car, &commit)?;
    let Some(collection) = arguments.next() else {
        for name in repository.collections()? {
            println!("{}", name?);
        }
        return Ok(());
    };
    for record in repository.collection(&collection)?.rev() {
        let record = record?;
        println!("{} -> {}", record.record_key(), record.cid());
    }
    Ok(())
}
