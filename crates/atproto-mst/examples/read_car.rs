//! Reads a repository CAR: the account, the revision, and each record with its size.
//!
//! ```sh
//! cargo run -p atproto-mst --example read_car -- crates/atproto-mst/examples/sample.car
//! ```

use std::error::Error;

use atproto_mst::{CarBlockStore, Repository};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: read_car FILE")?;
    let car = CarBlockStore::from_bytes(std::fs::read(path)?)?;
    let commit = car.root()?;

    let repository = Repository::open(car, &commit)?;
    println!("{} at {}", repository.commit().did, repository.commit().rev);
    for record in repository.records()? {
        let record = record?;
        println!("{}: {} bytes", record.path(), record.bytes().len());
    }
    Ok(())
}
