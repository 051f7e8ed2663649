//! Puts a record into a repository, and prints which blocks a store has to add and remove.
//!
//! The CAR stays as it is: what is new is kept in memory.
//!
//! ```sh
//! cargo run -p atproto-mst --example put_record -- crates/atproto-mst/examples/sample.car
//! ```

use std::error::Error;

use atproto_mst::{
    BlockStoreMut, CarBlockStore, MemoryBlockStore, OverlayBlockStore, Repository, Tree,
    dag_cbor_cid, encode_record, ipld,
};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: put_record FILE")?;
    let car = CarBlockStore::open(path)?;
    let commit = car.root()?;
    let blocks = OverlayBlockStore::new(MemoryBlockStore::new(), car);
    let repository = Repository::open(blocks, &commit)?;

    let record = encode_record(&ipld!({ "$type": "app.bsky.feed.post", "text": "Hello" }))?;
    let cid = dag_cbor_cid(&record);
    let mut tree = Tree::open(repository.nodes(), &repository.commit().data)?;
    let previous = tree.insert(b"app.bsky.feed.post/3jzfcijpj2z2a", &cid)?;
    let changes = tree.flush();

    repository.blocks().put(&cid, record)?;
    repository.blocks().put_many(&changes.new)?;
    println!("previous record: {previous:?}");
    println!("root: {} -> {}", repository.commit().data, changes.root);
    for (cid, block) in &changes.new {
        println!("new node {cid}, {} bytes", block.len());
    }
    for cid in &changes.removed {
        println!("no longer used: {cid}");
    }
    Ok(())
}
