//! Keeps a repository in SQLite: each run adds a record, and every commit is there whole or not
//! at all.
//!
//! ```sh
//! cargo run --features k256,sqlite --example sqlite_repo -- /tmp/repository.sqlite "Hello"
//! ```

use std::error::Error;

use atproto_mst::{
    BlockStoreMut, Curve, NewCommit, Repository, SigningKey, SqliteBlockStore, StoreError, Tid,
    Write, Writer,
};

const DID: &str = "did:plc:z72i7hdynmk6r22z27h6tvur";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: sqlite_repo FILE TEXT")?;
    let text = arguments.next().unwrap_or_default();
    let blocks = SqliteBlockStore::open(path)?;

    // The commit and the note which commit is the last: both, or neither, if no other process has
    // made one meanwhile. What it no longer uses can go, as this store holds no other repository.
    let store = |blocks: &&SqliteBlockStore, new: &NewCommit| {
        blocks.transaction(|tx| {
            if tx.head(DID)? != new.previous {
                return Err(StoreError::backend(
                    "the repository has another last commit",
                ));
            }
            tx.put_many(&new.new_blocks)?;
            tx.delete_many(&new.removed)?;
            tx.set_head(DID, &new.cid)
        })
    };
    // A server keeps its keys where nobody else can read them.
    let key = SigningKey::from_bytes(Curve::K256, &[1; 32])?;
    let mut writer = match blocks.head(DID)? {
        Some(commit) => Writer::open(&blocks, &commit)?,
        None => Writer::create_with(&blocks, DID, &key, store)?.0,
    };

    // {"text": ...}, for a text of up to 255 bytes.
    let head = match u8::try_from(text.len())? {
        len @ 0..24 => vec![0x60 + len],
        len => vec![0x78, len],
    };
    let record = [b"\xa1\x64text".as_slice(), &head, text.as_bytes()].concat();
    let path = format!("app.bsky.feed.post/{}", Tid::now(0));
    let record = record.into();
    writer.write_with(&[Write::Create { path, record }], &key, store)?;

    let repository = Repository::open(&blocks, &writer.commit_cid())?;
    for record in repository.records()? {
        println!("{}", record?.path());
    }
    Ok(())
}
