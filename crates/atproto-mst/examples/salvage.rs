//! Saves what is left of a damaged CAR: one that was cut off, or has wrong bytes somewhere.
//! Prints each record that is left, and what is lost.
//!
//! ```sh
//! head -c 6000 crates/atproto-mst/examples/sample.car |
//!     cargo run -p atproto-mst --example salvage
//! ```

use std::error::Error;
use std::io::Read;

use atproto_mst::{CarBlockStore, Repository, Salvaged, latest_commit};

fn main() -> Result<(), Box<dyn Error>> {
    let mut damaged = Vec::new();
    std::io::stdin().lock().read_to_end(&mut damaged)?;
    let (car, faults) = CarBlockStore::from_damaged_bytes(damaged);
    for fault in faults {
        eprintln!("{fault}");
    }
    // The header may be damaged, or the commit that it names.
    let cids = car.cids().collect::<Result<Vec<_>, _>>()?;
    let (commit, _) = latest_commit(&car, &cids)?.ok_or("no commit is left")?;

    let repository = Repository::open(car, &commit)?;
    for item in repository.salvage_among(&cids)? {
        match item {
            Salvaged::Record(record) => {
                println!("{}: {} bytes", record.path(), record.bytes().len());
            }
            Salvaged::Fault(fault) => eprintln!("{fault}"),
        }
    }
    Ok(())
}
