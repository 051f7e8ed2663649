//! A CAR written block by block.

use std::fmt;
use std::io::Write;

use blockstore_core::{Cid, CidBytes};

use crate::{CarError, header, varint};

/// Writes a CAR v1 to a stream, block by block.
///
/// Blocks are written as they come, duplicates too; the bytes are not checked against
/// their CIDs. Each block takes two writes to the stream, so wrap a file in a
/// [`BufWriter`](std::io::BufWriter).
///
/// # Examples
///
/// ```
/// use blockstore_car::CarWriter;
/// use blockstore_core::dag_cbor_cid;
///
/// let cid = dag_cbor_cid(b"\xa0");
/// let mut writer = CarWriter::new(Vec::new(), &[cid])?;
/// writer.write_block(&cid, b"\xa0")?;
/// assert_eq!(writer.finish()?.len(), 97);
/// # Ok::<(), blockstore_car::CarError>(())
/// ```
pub struct CarWriter<W> {
    output: W,
    /// Whether all blocks so far were written to their ends.
    whole: bool,
    /// The bytes before a block, put together here to go out in one write.
    start: Vec<u8>,
}

impl<W> fmt::Debug for CarWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CarWriter").finish_non_exhaustive()
    }
}

impl<W: Write> CarWriter<W> {
    /// Writes the header of a CAR, with the CIDs that it names as its roots; for a repository that
    /// is one, the commit's. Readers accept as many as
    /// [`CarOptions::header_len`](crate::CarOptions::header_len) allows, some 25,000 by default.
    ///
    /// # Errors
    ///
    /// [`CarError::Io`] if `output` fails.
    pub fn new(mut output: W, roots: &[Cid]) -> Result<Self, CarError> {
        output.write_all(&header_section(roots))?;
        Ok(Self {
            output,
            whole: true,
            start: Vec::new(),
        })
    }

    /// Writes one block. The caller vouches that `cid` is its CID: readers check it.
    ///
    /// # Errors
    ///
    /// [`CarError::Io`] if the stream fails; it then does not hold a whole CAR.
    /// [`CarError::AfterError`] after such an error.
    pub fn write_block(&mut self, cid: &Cid, block: &[u8]) -> Result<(), CarError> {
        self.check_whole()?;
        start_section(&mut self.start, cid, block.len());
        self.whole = false;
        self.output.write_all(&self.start)?;
        self.output.write_all(block)?;
        self.whole = true;
        Ok(())
    }

    /// Returns the output, for example to take what has been written so far out of a vector.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.output
    }

    fn check_whole(&self) -> Result<(), CarError> {
        if self.whole {
            Ok(())
        } else {
            Err(CarError::AfterError)
        }
    }

    /// Flushes the stream and gives it back.
    ///
    /// # Errors
    ///
    /// As for [`write_block`](Self::write_block).
    pub fn finish(mut self) -> Result<W, CarError> {
        self.check_whole()?;
        self.output.flush()?;
        Ok(self.output)
    }
}

/// What a CAR begins with: the length of its header, and the header.
pub(crate) fn header_section(roots: &[Cid]) -> Vec<u8> {
    let header = header::encode(roots);
    let mut section = Vec::with_capacity(varint::MAX_LEN + header.len());
    varint::encode(header.len() as u64, &mut section);
    section.extend_from_slice(&header);
    section
}

/// Fills `start` with what precedes a block of `len` bytes: the length of the section, the CID.
pub(crate) fn start_section(start: &mut Vec<u8>, cid: &Cid, len: usize) {
    let cid = CidBytes::from(cid);
    let cid = cid.as_ref();
    start.clear();
    varint::encode((cid.len() + len) as u64, start);
    start.extend_from_slice(cid);
}

#[cfg(test)]
mod tests {
    use std::io;

    use blockstore_core::dag_cbor_cid;

    use super::*;

    /// Accepts so many bytes, then fails once, then works again.
    struct FailsOnce {
        left: Option<usize>,
        written: Vec<u8>,
    }

    impl Write for FailsOnce {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = match self.left.take() {
                Some(0) => return Err(io::ErrorKind::WouldBlock.into()),
                Some(left) => {
                    let len = bytes.len().min(left);
                    self.left = Some(left - len);
                    len
                }
                None => bytes.len(),
            };
            self.written
                .extend_from_slice(bytes.get(..len).unwrap_or_default());
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_buffer_holds_back_is_written_at_the_end() {
        let (cid, block) = (dag_cbor_cid(b"\xa0"), b"\xa0");
        let mut written = Vec::new();
        let buffered = io::BufWriter::new(&mut written);
        let mut writer = CarWriter::new(buffered, &[cid]).expect("a vector takes it");
        writer.write_block(&cid, block).expect("a vector takes it");
        // Bytes that are still buffered are lost with it.
        let _ = writer.finish().expect("a vector takes it").into_parts();
        assert_eq!(written.len(), header_section(&[cid]).len() + 1 + 36 + 1);
    }

    #[test]
    fn nothing_is_written_behind_half_a_block() {
        let (cid, block) = (dag_cbor_cid(b"\xa0"), b"\xa0");
        let header_len = header_section(&[cid]).len();
        let output = FailsOnce {
            left: Some(header_len + 10),
            written: Vec::new(),
        };
        let mut writer = CarWriter::new(output, &[cid]).unwrap();
        let failed = writer.write_block(&cid, block);
        assert!(matches!(failed, Err(CarError::Io(_))));
        let after = writer.write_block(&cid, block);
        assert!(matches!(after, Err(CarError::AfterError)));
        assert!(matches!(writer.finish(), Err(CarError::AfterError)));
    }
}
