//! Builds a tree from a million sorted keys in one pass, with memory for one node per level.
//!
//! ```sh
//! cargo run --release --example bulk_build
//! ```

use std::error::Error;

use atproto_mst::{TreeBuilder, dag_cbor_cid};

fn main() -> Result<(), Box<dyn Error>> {
    let (mut nodes, mut bytes) = (0_u64, 0);
    // Where the nodes go is up to you: into a store, a CAR, or just a count.
    let mut builder = TreeBuilder::new(|_cid, block| {
        nodes += 1;
        bytes += block.len();
        Ok(())
    });
    for n in 0..1_000_000_u32 {
        // Keys in order; any values, here those of the records 0, 1, 2, ...
        let key = format!("com.example.record/{n:07}");
        let record = [&[0x1a], n.to_be_bytes().as_slice()].concat();
        builder.push(key, &dag_cbor_cid(&record))?;
    }
    let root = builder.finish()?;
    println!("{root}: {nodes} nodes, {bytes} bytes");
    Ok(())
}
