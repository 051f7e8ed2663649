//! Where the parts of a node's entries lie in its data.

/// Where the parts of one entry end. They begin where those of the previous entry end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) key: u32,
    pub(crate) value: u32,
    pub(crate) right: u32,
    /// The first bytes of the key after the prefix common to all keys of the node, as a number made
    /// by [`head`]. Keys whose heads differ are compared without reading the keys.
    pub(crate) head: u32,
}

/// A span as stored in a node's data, which begins with the rows of all entries.
pub(crate) type Row = [u8; 16];

/// How many bytes the rows of a node of `len` entries take.
pub(crate) fn rows_len(len: usize) -> usize {
    len * size_of::<Row>()
}

impl Span {
    /// The places where the parts of an entry end.
    pub(crate) fn new(key: u32, value: u32, right: u32) -> Self {
        Self {
            key,
            value,
            right,
            head: 0,
        }
    }

    /// The same span with its head set, for a key that goes on with `rest` after the common prefix.
    pub(crate) fn with_head(self, rest: &[u8]) -> Self {
        let head = head(rest);
        Self { head, ..self }
    }

    #[inline]
    pub(crate) fn from_row(row: &Row) -> Self {
        let [key, value, right, head] = numbers(row);
        Self {
            key,
            value,
            right,
            head,
        }
    }

    #[inline]
    pub(crate) fn to_row(self) -> Row {
        let parts = [self.key, self.value, self.right, self.head];
        let numbers = parts.iter().rev();
        let row = numbers.fold(0, |row, number| row << 32 | u128::from(*number));
        row.to_le_bytes()
    }
}

#[inline]
fn numbers(row: &Row) -> [u32; 4] {
    let row = u128::from_le_bytes(*row);
    [0, 32, 64, 96].map(|shift| (row >> shift & 0xffff_ffff) as u32)
}

/// [`Span::head`] of the span in `row`.
#[inline]
pub(crate) fn row_head(row: &Row) -> u32 {
    let [.., a, b, c, d] = *row;
    u32::from_le_bytes([a, b, c, d])
}

/// The first four bytes of `rest` as a number, padded with zeros. If it is less than that of other
/// bytes, `rest` is less than they are.
#[inline]
pub(crate) fn head(rest: &[u8]) -> u32 {
    if let Some(bytes) = rest.first_chunk() {
        return u32::from_be_bytes(*bytes);
    }
    let mut bytes = [0; 4];
    for (byte, place) in rest.iter().zip(&mut bytes) {
        *place = *byte;
    }
    u32::from_be_bytes(bytes)
}

/// A place in a node's data.
pub(crate) fn position(at: usize) -> u32 {
    u32::try_from(at).expect("a node's parts are limited to fewer than 4 GiB")
}
