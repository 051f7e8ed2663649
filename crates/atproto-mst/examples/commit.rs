//! Makes signed commits, and writes the messages that announce them into a folder, each as the
//! frame that is sent over the WebSocket.
//!
//! ```sh
//! cargo run -p atproto-mst --features k256 --example commit -- /tmp/frames
//! ```

use std::error::Error;
use std::path::PathBuf;

use atproto_mst::{
    CommitEvent, Curve, Frame, MemoryBlockStore, NewCommit, SigningKey, Tid, Write, Writer,
    encode_record, ipld,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: commit FOLDER")?;
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder)?;

    // A server keeps its keys where nobody else can read them.
    let key = SigningKey::from_bytes(Curve::K256, &[1; 32])?;
    let announce = |seq: i64, new: &NewCommit| {
        let event = CommitEvent::new(new, seq, Tid::now(0).to_datetime());
        let frame = Frame::from(event).encode();
        std::fs::write(folder.join(format!("{seq}.frame")), frame)
    };

    let did = "did:plc:z72i7hdynmk6r22z27h6tvur";
    let (mut writer, first) = Writer::create(MemoryBlockStore::new(), did, &key)?;
    announce(1, &first)?;
    for seq in 2..5 {
        let path = format!("app.bsky.feed.post/{seq}");
        let record = encode_record(&ipld!({ "$type": "app.bsky.feed.post", "text": "Hello" }))?;
        let new = writer.write(&[Write::create(path, record)], &key)?;
        println!(
            "{}: {} bytes for the firehose",
            new.commit.rev,
            new.slice.len()
        );
        announce(seq, &new)?;
    }
    println!("signed by {}", key.public_key());
    Ok(())
}
