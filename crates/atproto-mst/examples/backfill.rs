//! Reads a repository once, as it arrives, and counts its records by collection.
//!
//! A CAR in streamable order takes hardly any memory. One in another order that needs more than
//! `StreamOptions::memory_bytes` is an error that says so; `read_car` reads it from a file.
//!
//! ```sh
//! curl "$PDS/xrpc/com.atproto.sync.getRepo?did=$DID" | cargo run -p atproto-mst --example backfill
//! cargo run -p atproto-mst --example backfill < crates/atproto-mst/examples/sample.car
//! ```

use std::collections::BTreeMap;
use std::error::Error;

use atproto_mst::RepositoryStream;

fn main() -> Result<(), Box<dyn Error>> {
    let mut repository = RepositoryStream::open(std::io::stdin().lock())?;
    println!("{} at {}", repository.commit().did, repository.commit().rev);

    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for record in repository.records() {
        *counts.entry(record?.collection().to_owned()).or_default() += 1;
    }
    for (collection, count) in counts {
        println!("{collection}: {count}");
    }
    Ok(())
}
