//! Answers `com.atproto.sync.getRepo` in an asynchronous program: the body of a response, which is
//! made as the client reads it. It takes hardly any memory, whatever its length.
//!
//! The store waits for a disk, so the export is on a thread that may block; its pieces come through
//! a channel. An HTTP framework makes its body from such a stream.
//!
//! ```sh
//! cargo run -p atproto-mst --features sqlite --example serve_repo -- \
//!     /tmp/repos.sqlite did:plc:ewvi7nxzyoun6zhxrhs64oiz > repository.car
//! ```

use std::error::Error;
use std::io::{self, Write};

use atproto_mst::{Bytes, NodeStoreOptions, Repository, SqliteBlockStore};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: serve_repo DATABASE DID";
    let database = arguments.next().ok_or(usage)?;
    let did = arguments.next().ok_or(usage)?;

    let (mut body, export) = body(database, did);
    let mut client = io::stdout().lock();
    while let Some(piece) = body.recv().await {
        client.write_all(&piece?)?;
    }
    // The end may also mean that it panicked.
    Ok(export.await?)
}

/// The pieces of a CAR. An error aborts the response: what came before is not a whole repository.
fn body(database: String, did: String) -> (mpsc::Receiver<io::Result<Bytes>>, JoinHandle<()>) {
    let (pieces, body) = mpsc::channel(4);
    let export = tokio::task::spawn_blocking(move || {
        if let Err(error) = export(&database, &did, &pieces) {
            // It does not matter if the client has gone.
            let _ = pieces.blocking_send(Err(io::Error::other(error)));
        }
    });
    (body, export)
}

fn export(database: &str, did: &str, pieces: &mpsc::Sender<io::Result<Bytes>>) -> Result<()> {
    let blocks = SqliteBlockStore::open_read_only(database)?;
    // Everything read is of one moment, whatever is written meanwhile.
    blocks.snapshot(|blocks| {
        let commit = blocks.head(did)?.ok_or("no such repository")?;
        let repository = Repository::open_with(blocks, &commit, NodeStoreOptions::uncached())?;
        for piece in repository.into_car()? {
            // Waits until the client wants more. An error means that it has gone.
            pieces.blocking_send(Ok(piece?))?;
        }
        Ok(())
    })
}
