//! Takes in a repository that a stranger sends, in an asynchronous program: into a file, as long as
//! it is not too long, and from there into SQLite, all of it or nothing.
//!
//! So the order of its blocks does not matter, and the database is not kept waiting by a slow
//! sender. What waits for a disk is on a thread that may. The download here is a file too.
//!
//! ```sh
//! cargo run --features sqlite --example import_download -- \
//!     /tmp/repos.sqlite did:plc:ewvi7nxzyoun6zhxrhs64oiz crates/atproto-mst/examples/sample.car
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};

use atproto_mst::{CarBlockStore, EventCheck, Repository, SqliteBlockStore};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How long a repository may be, in bytes.
const MAX_LEN: u64 = 1 << 30;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: import_download DATABASE DID CAR";
    let database = PathBuf::from(arguments.next().ok_or(usage)?);
    let did = arguments.next().ok_or(usage)?;
    let download = File::open(arguments.next().ok_or(usage)?).await?;

    let file = database.with_extension("download");
    let imported = take_in(download, file.clone(), database, did).await;
    tokio::fs::remove_file(&file).await?;
    println!("{} records", imported?);
    Ok(())
}

async fn take_in(
    download: impl AsyncRead + Unpin,
    file: PathBuf,
    database: PathBuf,
    did: String,
) -> Result<u64> {
    save(download, &file).await?;
    tokio::task::spawn_blocking(move || import(&file, &database, &did)).await?
}

async fn save(download: impl AsyncRead + Unpin, path: &Path) -> Result<()> {
    let mut file = File::create(path).await?;
    let len = tokio::io::copy(&mut download.take(MAX_LEN + 1), &mut file).await?;
    if len > MAX_LEN {
        return Err("the download is too long".into());
    }
    Ok(())
}

fn import(car: &Path, database: &Path, did: &str) -> Result<u64> {
    let blocks = SqliteBlockStore::open(database)?;
    let car = CarBlockStore::open(car)?;
    let commit = *car.roots().first().ok_or("the CAR names no root")?;
    let repository = Repository::open(car, &commit)?;
    // Set `key` to the account's, from its DID document, and `state` to what is known of it.
    let check = EventCheck::default();
    check.repository(did, repository.commit())?;
    blocks.transaction(|tx| {
        let summary = repository.copy_to(tx)?;
        tx.set_head(did, &commit)?;
        Ok(summary.records)
    })
}
