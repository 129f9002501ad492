//! Object headers (IV.A.1.a, version 1) and the messages of groups and datasets.

use kw_model::{Code, Result, Shape, WeightsError};

use super::UNDEFINED;
use super::attribute::PlannedAttribute;
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
const ATTRIBUTE: u16 = 0x0c;
const SYMBOL_TABLE: u16 = 0x11;

/// Flag of messages that may not change once the object exists.
const CONSTANT: u8 = 1;

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

    /// The header of a dataset whose values stand in one piece at `address`.
    pub(super) fn of_contiguous(datatype: Datatype, shape: &Shape, address: u64, byte_len: u64) -> Result<Self> {
        let mut header = ObjectHeader::empty();
        header.message(DATASPACE, 0, &encode_dataspace(shape)?)?;
        header.message(DATATYPE, CONSTANT, &datatype.encode())?;
        // Version 2; space allocated late; written if set by the user; a default value of no bytes.
        header.message(FILL_VALUE, CONSTANT, &[2, 2, 2, 1, 0, 0, 0, 0])?;
        let mut layout = vec![3, 1];
        layout.u64(if byte_len == 0 { UNDEFINED } else { address });
        layout.u64(byte_len);
        header.message(LAYOUT, 0, &layout)?;
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
