//! Checks what a server answers to `com.atproto.sync.getRecord`: a CAR with a commit and the nodes
//! that show which record is at a path, or that none is.
//!
//! ```sh
//! curl "$PDS/xrpc/com.atproto.sync.getRecord?did=$DID&collection=$COLLECTION&rkey=$RKEY" |
//!     cargo run --example check_record -- $DID did:key:$KEY $COLLECTION/$RKEY
//! ```

use std::error::Error;
use std::io::Read;

use atproto_mst::{CarBlockStore, PublicKey, RepoPath, Repository};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().ok_or("usage: check_record DID KEY PATH");
    let (did, key, path) = (argument()?, argument()?, argument()?);
    // Nothing is at what cannot be a path, and that would be proven too.
    RepoPath::parse(path.as_bytes())?;
    let mut answer = Vec::new();
    std::io::stdin().lock().read_to_end(&mut answer)?;

    let car = CarBlockStore::from_bytes(answer)?;
    let commit = *car.roots().first().ok_or("the CAR names no root")?;
    let repository = Repository::open(car, &commit)?;
    if repository.commit().did != did {
        return Err("this is another account's repository".into());
    }
    let key: PublicKey = key.parse()?;
    repository.commit().verify_signature(&key)?;

    // A block that is missing is an error, so that what is found is all there is to it.
    match repository.get(&path)? {
        Some((cid, record)) => println!("{path} is {cid}, {} bytes", record.len()),
        None => println!("there is no {path}"),
    }
    Ok(())
}
