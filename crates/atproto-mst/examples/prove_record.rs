//! Proves to someone who knows only the root that a record is, or is not, in a repository.
//!
//! ```sh
//! cargo run -p atproto-mst --example prove_record -- crates/atproto-mst/examples/sample.car app.bsky.actor.profile/self
//! ```

use std::error::Error;

use atproto_mst::{CarBlockStore, Claim, Proof, Prover, Repository};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: prove_record FILE PATH";
    let car = CarBlockStore::open(arguments.next().ok_or(usage)?)?;
    let path = arguments.next().ok_or(usage)?;
    let commit = car.root()?;
    let repository = Repository::open(car, &commit)?;
    let root = repository.commit().data;

    let mut prover = Prover::new(repository.nodes(), &root)?;
    prover.key(&path)?;
    let Proof { claims, blocks, .. } = prover.finish();
    let bytes: usize = blocks.iter().map(|(_, block)| block.len()).sum();
    println!("a proof of {} blocks, {bytes} bytes", blocks.len());

    // The other side: claims and blocks came from a stranger, the root from a signed commit.
    let proof = Proof {
        root,
        claims,
        blocks,
    };
    proof.verify(&root)?;
    for claim in &proof.claims {
        match claim {
            Claim::Key {
                value: Some(cid), ..
            } => println!("{path} is {cid}"),
            Claim::Key { value: None, .. } => println!("there is no {path}"),
            Claim::Range { entries, .. } => println!("{} entries", entries.len()),
        }
    }
    Ok(())
}
