//! Reads a repository once, as it comes in, and counts its records by collection.
//!
//! ```sh
//! curl "$PDS/xrpc/com.atproto.sync.getRepo?did=$DID" | cargo run --example backfill
//! cargo run --example backfill < crates/atproto-mst/examples/sample.car
//! ```

use std::collections::BTreeMap;
use std::error::Error;

use atproto_mst::RepositoryStream;

fn main() -> Result<(), Box<dyn Error>> {
    let mut repository = RepositoryStream::open(std::io::stdin().lock())?;
    println!("{} at {}", repository.commit().did, repository.commit().rev);

    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for record in repository.records()? {
        *counts.entry(record?.collection().to_owned()).or_default() += 1;
    }
    for (collection, count) in counts {
        println!("{collection}: {count}");
    }
    Ok(())
}
