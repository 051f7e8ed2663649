//! Saves what is left of a damaged CAR, one that was cut off, or has wrong bytes somewhere, as a
//! complete repository. If anything was lost, its commit is a new one, which is not signed: only
//! the account's key can do that. Prints what is wrong, and how much was saved.
//!
//! ```sh
//! head -c 6000 crates/atproto-mst/examples/sample.car |
//!     cargo run -p atproto-mst --example salvage saved.car
//! ```

use std::error::Error;
use std::fs::File;
use std::io::Read;

use atproto_mst::{
    BlockStoreMut, CarBlockStore, Commit, MemoryBlockStore, Repository, Salvaged, Tid, Tree,
    latest_commit,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut damaged = Vec::new();
    std::io::stdin().lock().read_to_end(&mut damaged)?;
    let (car, faults) = CarBlockStore::from_damaged_bytes(damaged);
    for fault in faults {
        eprintln!("{fault}");
    }
    let cids = car.cids().collect::<Result<Vec<_>, _>>()?;
    let named = car.root().ok();
    let commit = match named.filter(|root| Repository::open(&car, root).is_ok()) {
        Some(root) => root,
        // The header is damaged, or the commit that it names.
        None => latest_commit(&car, &cids)?.ok_or("no commit is left")?.0,
    };

    let (saved, mut tree) = (MemoryBlockStore::new(), Tree::new());
    let repository = Repository::open(car, &commit)?;
    for item in repository.salvage_among(&cids)? {
        match item {
            Salvaged::Record(record) => {
                saved.put(&record.cid(), record.bytes().clone())?;
                tree.insert(record.path(), &record.cid())?;
            }
            Salvaged::Fault(fault) => eprintln!("{fault:#}"),
        }
    }
    let changes = tree.flush();
    saved.put_many(&changes.new)?;
    let mut commit = repository.commit().clone();
    if changes.root != commit.data {
        let rev = Tid::now(Tid::random_clock()).after(commit.rev);
        commit = Commit::unsigned(commit.did, rev.ok_or("no later revision")?, changes.root);
    }
    saved.put(&commit.cid(), commit.encode().into())?;

    let saved = Repository::open(saved, &commit.cid())?;
    if let Some(path) = std::env::args_os().nth(1) {
        saved.export()?.write_car(File::create(path)?)?;
    }
    println!("saved {} records", saved.verify()?.records);
    Ok(())
}
