//! Saves what is left of a damaged CAR, one that was cut off, or has wrong bytes somewhere, as a
//! complete repository. Its commit is not signed: only the account's key can do that. Prints what
//! is lost, and how much was saved.
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
    // The header may be damaged, or the commit that it names.
    let cids = car.cids().collect::<Result<Vec<_>, _>>()?;
    let (commit, _) = latest_commit(&car, &cids)?.ok_or("no commit is left")?;

    let (saved, mut tree) = (MemoryBlockStore::new(), Tree::new());
    let repository = Repository::open(car, &commit)?;
    for item in repository.salvage_among(&cids)? {
        match item {
            Salvaged::Record(record) => {
                saved.put(&record.cid(), record.bytes().clone())?;
                tree.insert(record.path(), &record.cid())?;
            }
            Salvaged::Fault(fault) => eprintln!("{fault}"),
        }
    }
    let changes = tree.flush();
    saved.put_many(&changes.new)?;
    let old = repository.commit();
    let rev = Tid::now(Tid::random_clock()).after(old.rev);
    let commit = Commit::unsigned(&*old.did, rev.ok_or("no later revision")?, changes.root);
    saved.put(&commit.cid(), commit.encode().into())?;

    let saved = Repository::open(saved, &commit.cid())?;
    if let Some(path) = std::env::args_os().nth(1) {
        saved.export()?.write_car(File::create(path)?)?;
    }
    println!("saved {} records", saved.verify()?.records);
    Ok(())
}
