//! Removes from a database what none of its repositories needs any more: old nodes and commits, and
//! records that were deleted or replaced.
//!
//! ```sh
//! cargo run -p atproto-mst --features sqlite --example sweep -- /tmp/repositories.sqlite
//! ```

use std::error::Error;

use atproto_mst::{Cid, SqliteBlockStore, reachable};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: sweep DATABASE")?;
    let blocks = SqliteBlockStore::open(path)?;
    // In one transaction, so that nobody adds a commit between the question and the sweep. If
    // anything cannot be read, nothing is dropped.
    let dropped = blocks.transaction(|tx| {
        let heads: Vec<Cid> = tx.heads()?.into_iter().map(|(_, head)| head).collect();
        let used = reachable(tx, &heads)?;
        Ok::<_, Box<dyn Error>>(tx.retain(|cid| used.contains(cid))?)
    })?;
    println!("{dropped} blocks dropped, {} left", blocks.len()?);
    Ok(())
}
