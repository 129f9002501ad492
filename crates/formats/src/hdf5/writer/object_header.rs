//! Object headers (IV.A.1.a, version 1) and the messages of groups and datasets.

use kw_model::{Code, Result, Shape, WeightsError};

use super::UNDEFINED;
use super::attribute::PlannedAttribute;
use super::chunk_grid::ChunkGrid;
use super::chunk_writer::Compression;
use super::datatype::{Datatype, encode_dataspace};
use super::encode::Encode;
use super::global_heap::GlobalHeap;

/// Bytes before the first message.
pub(super) const PREFIX_BYTES: usize = 16;

/// The size of a message is a 16-bit number and a multiple of 8.
const MAX_MESSAGE_BYTES: usize = 65_528;

const DATASPACE: u16 = 0x01;
const DATATYPE: u16 = 0x03;
const FILL_VALUE: u16 = 0x05;
const LAYOUT: u16 = 0x08;
const FILTERS: u16 = 0x0b;
const ATTRIBUTE: u16 = 0x0c;
const SYMBOL_TABLE: u16 = 0x11;

/// Flag of messages that may not change once the object exists.
const CONSTANT: u8 = 1;

/// Where the values of a dataset are.
pub(super) enum Layout<'p> {
    /// In one piece.
    Contiguous { address: u64, byte_len: u64 },
    /// In compressed chunks, found by a tree.
    Chunked { tree: u64, grid: &'p ChunkGrid, compression: Compression },
}

/// Collects messages; all of them stand in the first and only block of the header.
pub(super) struct ObjectHeader {
    bytes: Vec<u8>,
    messages: usize,
}

impl ObjectHeader {
    /// The header of a group.
    pub(super) fn of_group(tree: u64, heap: u64) -> Result<Self> {
        let mut header = ObjectHeader::empty();
        let mut body = Vec::with_capacity(16);
        body.u64(tree);
        body.u64(heap);
        header.message(SYMBOL_TABLE, 0, &body)?;
        Ok(header)
    }

    /// The header of a dataset.
    pub(super) fn of_dataset(datatype: Datatype, shape: &Shape, layout: &Layout<'_>) -> Result<Self> {
        let mut header = ObjectHeader::empty();
        header.message(DATASPACE, 0, &encode_dataspace(shape)?)?;
        header.message(DATATYPE, CONSTANT, &datatype.encode())?;
        // Version 2; space allocated late or chunk by chunk; written if set by the user; a default value of no bytes.
        let allocation = if matches!(layout, Layout::Contiguous { .. }) { 2 } else { 3 };
        header.message(FILL_VALUE, CONSTANT, &[2, allocation, 2, 1, 0, 0, 0, 0])?;
        match *layout {
            Layout::Contiguous { address, byte_len } => {
                let mut body = vec![3, 1];
                body.u64(if byte_len == 0 { UNDEFINED } else { address });
                body.u64(byte_len);
                header.message(LAYOUT, 0, &body)?;
            }
            Layout::Chunked { tree, grid, compression } => {
                header.message(FILTERS, CONSTANT, &encode_filters(grid, compression))?;
                let sizes = grid.chunk().iter().copied().chain([grid.element_bytes()]);
                let mut body = vec![3, 2, u8::try_from(sizes.clone().count()).unwrap_or(u8::MAX)];
                body.u64(tree);
                // A chunk has a mebibyte at most, so no axis of it has more elements.
                sizes.for_each(|size| body.u32(u32::try_from(size).unwrap_or(u32::MAX)));
                header.message(LAYOUT, 0, &body)?;
            }
        }
        Ok(header)
    }

    fn empty() -> Self {
        ObjectHeader { bytes: vec![0; PREFIX_BYTES], messages: 0 }
    }

    /// Adds attributes; `digest` is the value of a digest attribute among them.
    pub(super) fn attributes(&mut self, attributes: &[PlannedAttribute], heap: &GlobalHeap, digest: u32) -> Result<()> {
        for attribute in attributes {
            let body = attribute.encode(heap, digest)?;
            if body.len() > MAX_MESSAGE_BYTES {
                return Err(WeightsError::new(
                    Code::Unsupported,
                    format!(
                        "the attribute {} needs {} bytes, but HDF5 allows {MAX_MESSAGE_BYTES}: \
                         split it, or store its texts in variable length",
                        attribute.name(),
                        body.len()
                    ),
                )
                .expected(MAX_MESSAGE_BYTES as u64)
                .found(body.len() as u64));
            }
            self.message(ATTRIBUTE, 0, &body)?;
        }
        Ok(())
    }

    fn message(&mut self, kind: u16, flags: u8, body: &[u8]) -> Result<()> {
        let size = u16::try_from(body.len().next_multiple_of(8)).map_err(|_| {
            WeightsError::new(Code::Unsupported, format!("a header message of {} bytes is too large", body.len()))
        })?;
        self.bytes.u16(kind);
        self.bytes.u16(size);
        self.bytes.extend([flags, 0, 0, 0]);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(body);
        self.bytes.pad8_from(start);
        self.messages += 1;
        Ok(())
    }

    /// The whole header.
    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        let too_many = |_| {
            WeightsError::new(
                Code::Unsupported,
                format!("{} attributes on one object are more than HDF5 allows", self.messages),
            )
        };
        let messages = u16::try_from(self.messages).map_err(too_many)?;
        let len = u32::try_from(self.bytes.len() - PREFIX_BYTES).map_err(too_many)?;
        let mut prefix = Vec::with_capacity(PREFIX_BYTES);
        prefix.extend([1, 0]);
        prefix.u16(messages);
        prefix.u32(1); // reference count
        prefix.u32(len);
        prefix.fill_from(0, PREFIX_BYTES); // messages begin at a multiple of 8
        self.bytes.splice(..PREFIX_BYTES, prefix);
        Ok(self.bytes)
    }
}

/// The filter pipeline (IV.A.2.l, version 1), in the order in which values were put through it.
fn encode_filters(grid: &ChunkGrid, compression: Compression) -> Vec<u8> {
    const DEFLATE: u16 = 1;
    const SHUFFLE: u16 = 2;
    let shuffle = (SHUFFLE, b"shuffle\0", u32::try_from(grid.element_bytes()).unwrap_or(u32::MAX));
    let deflate = (DEFLATE, b"deflate\0", u32::from(compression.level));
    let filters = if compression.shuffles(grid.element_bytes()) { vec![shuffle, deflate] } else { vec![deflate] };
    let mut out = vec![1, u8::try_from(filters.len()).unwrap_or(u8::MAX)];
    out.pad8_from(0);
    for (number, name, value) in filters {
        out.u16(number);
        out.u16(8); // length of the name
        out.u16(1); // optional: a writer may leave it out
        out.u16(1); // one value
        out.extend_from_slice(name);
        out.u32(value);
        out.pad8_from(0);
    }
    out
}
