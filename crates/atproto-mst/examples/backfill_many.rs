//! Reads many repositories at once, as they arrive, and counts their records: an asynchronous
//! program with one thread for all.
//!
//! The files represent downloads, which are streams too. If the body of a response comes in pieces
//! instead, they go into a `RepositoryDecoder`.
//!
//! ```sh
//! cargo run -p atproto-mst --example backfill_many --features async -- crates/atproto-mst/examples/*.car
//! ```

use std::error::Error;

use atproto_mst::{AsyncRepositoryStream, StreamError};
use tokio::{fs::File, io::AsyncRead, task::JoinSet};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut downloads = JoinSet::new();
    for path in std::env::args().skip(1) {
        let car = File::open(&path).await?;
        downloads.spawn(async move { (count(car).await, path) });
    }
    while let Some(download) = downloads.join_next().await {
        match download? {
            (Ok((did, records)), _) => println!("{did}: {records} records"),
            (Err(error), path) => eprintln!("{path}: {error}"),
        }
    }
    Ok(())
}

async fn count(car: impl AsyncRead + Unpin) -> Result<(String, u64), StreamError> {
    let mut repository = AsyncRepositoryStream::open(car).await?;
    while let Some(record) = repository.next_record().await? {
        // Here it would be indexed.
        let _ = (record.path(), record.bytes());
    }
    Ok((
        repository.commit().did.clone(),
        repository.summary().records,
    ))
}
