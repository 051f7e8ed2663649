//! Prints the texts of the posts in a repository.
//!
//! ```sh
//! cargo run -p atproto-mst --example decode_records -- crates/atproto-mst/examples/sample.car
//! ```

use std::error::Error;

use atproto_mst::{CarBlockStore, Repository};
use serde::Deserialize;

/// The fields of `app.bsky.feed.post` that are needed; others are ignored.
#[derive(Deserialize)]
struct Post {
    text: String,
    #[serde(default)]
    langs: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1);
    let car = CarBlockStore::open(path.ok_or("usage: decode_records FILE")?)?;
    let commit = car.root()?;

    let repository = Repository::open(car, &commit)?;
    for record in repository.collection("app.bsky.feed.post")? {
        let record = record?;
        match record.decode::<Post>() {
            Ok(post) => println!("[{}] {}", post.langs.join(", "), post.text),
            // Anybody can put anything into their own repository.
            Err(error) => eprintln!("{} is no post: {error}", record.path()),
        }
    }
    Ok(())
}
