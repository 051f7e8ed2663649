//! Keeps a repository in SQLite: each run adds a record, and every commit is stored as a whole or
//! not at all.
//!
//! ```sh
//! cargo run -p atproto-mst --features k256,sqlite --example sqlite_repo -- /tmp/repository.sqlite "Hello"
//! ```

use std::error::Error;

use atproto_mst::{
    BlockStoreMut, Curve, Repository, SigningKey, SqliteBlockStore, Tid, Write, Writer,
    encode_record, ipld,
};

const DID: &str = "did:plc:z72i7hdynmk6r22z27h6tvur";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: sqlite_repo FILE TEXT")?;
    let text = arguments.next().unwrap_or_default();
    let blocks = SqliteBlockStore::open(path)?;

    // A server keeps its keys where nobody else can read them.
    let key = SigningKey::from_bytes(Curve::K256, &[1; 32])?;
    let record = encode_record(&ipld!({ "$type": "app.bsky.feed.post", "text": text }))?;
    let path = format!("app.bsky.feed.post/{}", Tid::now(0));

    // In one transaction, so that no other process makes a commit between the last one and this,
    // and that either both the blocks and the new head are stored, or neither.
    let commit = blocks.transaction(|tx| {
        let mut writer = match tx.head(DID)? {
            Some(last) => Writer::open(tx, &last)?,
            None => Writer::create(tx, DID, &key)?.0,
        };
        let new = writer.write(&[Write::create(path, record)], &key)?;
        tx.set_head(DID, &new.cid)?;
        // Nodes that are no longer used can be removed, as this store holds no other repository. Of
        // records, `new.replaced` says which may be unused; see the example `sweep`.
        tx.delete_many(&new.removed)?;
        // What is sent to the firehose is in `new`, too. A server would put it into a table of its
        // own here, so that it is not lost if the process ends before it is sent.
        Ok::<_, Box<dyn Error>>(new.cid)
    })?;

    let repository = Repository::open(&blocks, &commit)?;
    for record in repository.records()? {
        println!("{}", record?.path());
    }
    Ok(())
}
