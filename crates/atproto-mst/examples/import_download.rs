//! Imports an untrusted repository in an asynchronous program: into a file, unless it is too long,
//! and from there into SQLite, all of it or nothing.
//!
//! So the order of its blocks does not matter, and a slow sender does not keep the database
//! waiting. What waits for a disk is on a thread that may block. The download here is a file too.
//!
//! ```sh
//! cargo run -p atproto-mst --features k256,sqlite --example import_download -- \
//!     /tmp/repos.sqlite $DID did:key:$KEY download.car
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};

use atproto_mst::{CarBlockStore, EventCheck, PublicKey, RepoState, Repository, SqliteBlockStore};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How long a repository may be, in bytes.
const MAX_LEN: u64 = 1 << 30;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: import_download DATABASE DID KEY CAR";
    let database = PathBuf::from(arguments.next().ok_or(usage)?);
    let did = arguments.next().ok_or(usage)?;
    // From the account's DID document.
    let key: PublicKey = arguments.next().ok_or(usage)?.parse()?;
    let download = File::open(arguments.next().ok_or(usage)?).await?;

    let file = database.with_extension(format!("{}.download", std::process::id()));
    // Used by nobody else: it must not exist yet.
    let new = File::create_new(&file).await?;
    let imported = take_in(download, new, file.clone(), database, (did, key)).await;
    let removed = tokio::fs::remove_file(&file).await;
    println!("{} records", imported?);
    Ok(removed?)
}

async fn take_in(
    download: impl AsyncRead + Unpin,
    new: File,
    file: PathBuf,
    database: PathBuf,
    account: (String, PublicKey),
) -> Result<u64> {
    save(download, new).await?;
    tokio::task::spawn_blocking(move || import(&file, &database, &account)).await?
}

async fn save(download: impl AsyncRead + Unpin, mut file: File) -> Result<()> {
    let len = tokio::io::copy(&mut download.take(MAX_LEN + 1), &mut file).await?;
    if len > MAX_LEN {
        return Err("the download is too long".into());
    }
    Ok(())
}

fn import(car: &Path, database: &Path, (did, key): &(String, PublicKey)) -> Result<u64> {
    let car = CarBlockStore::open(car)?;
    let commit = car.root()?;
    let repository = Repository::open(car, &commit)?;
    let blocks = SqliteBlockStore::open(database)?;
    blocks.transaction(|tx| {
        // What is known of the account; nothing older may replace it.
        let known = tx.head(did)?;
        let known = known
            .map(|known| Repository::open(tx, &known))
            .transpose()?;
        let state = known.map(|known| RepoState::of(known.commit()));
        let check = EventCheck::default()
            .with_key(key)
            .with_state(state.as_ref());
        check.repository(did, repository.commit())?;
        let summary = repository.copy_to(tx)?;
        tx.set_head(did, &commit)?;
        Ok(summary.records)
    })
}
