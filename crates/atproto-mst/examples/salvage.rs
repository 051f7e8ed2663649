//! Saves what is left of a damaged CAR: one that was cut off, or has blocks that do not hash to
//! their CIDs. Prints each record that can still be reached, and what is lost.
//!
//! ```sh
//! head -c 6000 crates/atproto-mst/examples/sample.car | cargo run -p atproto-mst --example salvage
//! ```

use std::error::Error;

use atproto_mst::{
    BlockStoreMut, CarOptions, CarReader, MemoryBlockStore, Repository, Salvaged, Verify,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = CarOptions::default();
    // The store checks blocks as it takes them, and a bad one is no reason to stop.
    options.verify = Some(Verify::Never);
    let car = CarReader::with_options(std::io::stdin().lock(), options)?;
    let commit = *car.root()?;
    let blocks = MemoryBlockStore::new();
    for block in car {
        let block = match block {
            Ok(block) => block,
            Err(error) => {
                eprintln!("{error}");
                break;
            }
        };
        if let Err(error) = blocks.put(&block.cid, block.bytes) {
            eprintln!("{error}");
        }
    }

    let repository = Repository::open(blocks, &commit)?;
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
