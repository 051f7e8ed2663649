//! Saves what is left of a damaged CAR: one that was cut off, or has wrong bytes somewhere.
//! Prints each record that can still be reached, and what is lost.
//!
//! ```sh
//! head -c 6000 crates/atproto-mst/examples/sample.car |
//!     cargo run -p atproto-mst --example salvage
//! ```

use std::error::Error;
use std::io::Read;

use atproto_mst::{CarBlockStore, Repository, Salvaged};

fn main() -> Result<(), Box<dyn Error>> {
    let mut damaged = Vec::new();
    std::io::stdin().lock().read_to_end(&mut damaged)?;
    let (car, faults) = CarBlockStore::from_damaged_bytes(damaged);
    for fault in faults {
        eprintln!("{fault}");
    }
    let commit = *car.root()?;

    let repository = Repository::open(car, &commit)?;
    for item in repository.salvage() {
        match item {
            Salvaged::Record(record) => {
                println!("{}: {} bytes", record.path(), record.bytes().len());
            }
            Salvaged::Fault(fault) => eprintln!("{fault}"),
        }
    }
    Ok(())
}
