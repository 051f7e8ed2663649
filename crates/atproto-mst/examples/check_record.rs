//! Checks a server's answer to `com.atproto.sync.getRecord`: a CAR with a commit and the nodes that
//! show which record is at a path, or that there is none.
//!
//! ```sh
//! curl "$PDS/xrpc/com.atproto.sync.getRecord?did=$DID&collection=$COLLECTION&rkey=$RKEY" |
//!     cargo run -p atproto-mst --features k256 --example check_record -- $DID did:key:$KEY $COLLECTION/$RKEY
//! ```

use std::error::Error;
use std::io::Read;

use atproto_mst::{EventCheck, PublicKey};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().ok_or("usage: check_record DID KEY PATH");
    let (did, key, path) = (argument()?, argument()?, argument()?);
    let mut answer = Vec::new();
    std::io::stdin().lock().read_to_end(&mut answer)?;

    let key: PublicKey = key.parse()?;
    // A missing block is an error, so what is found is the whole answer.
    match EventCheck::default()
        .with_key(&key)
        .record(&did, &path, answer)?
    {
        Some(record) => println!("{path} is {}, {} bytes", record.cid(), record.bytes().len()),
        None => println!("there is no {path}"),
    }
    Ok(())
}
