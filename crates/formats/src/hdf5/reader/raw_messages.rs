//! Raw bytes of object header messages.
//!
//! The decoder forgets the bit layout of numbers (a bfloat16 and a float16 look alike to it) and the
//! flags of chunked layouts. What it forgets would give wrong values, so those messages are looked up again.
//! Rules: HDF5 File Format Specification, IV.A "Disk Format: Level 2A – Data Object Headers".

use hdf5_reader::Storage;
use hdf5_reader::io::Cursor;
use hdf5_reader::messages::shared::{self, SharedMessage};
use hdf5_reader::messages::{MSG_CONTINUATION, MSG_DATA_LAYOUT, MSG_DATATYPE, continuation};
use kw_model::{Code, Result, WeightsError};

use super::failure::describe;

/// Continuation blocks of one header; the decoder allows as many.
const MAX_CONTINUATIONS: usize = 1024;
/// Bit of a message's flags: the message is elsewhere, the bytes say where.
const SHARED: u8 = 0x02;

/// Widths of addresses and lengths in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Widths {
    /// Bytes of an address.
    pub(super) offset: u8,
    /// Bytes of a length.
    pub(super) length: u8,
}

/// The messages of one object that the decoder does not keep whole.
#[derive(Debug, Default)]
pub(super) struct RawMessages {
    /// The datatype message; empty when there is none.
    pub(super) datatype: Vec<u8>,
    /// The data layout message; empty when there is none.
    pub(super) layout: Vec<u8>,
}

/// Finds the raw messages of the object whose header, already decoded once, is at `address`.
pub(super) fn find(storage: &dyn Storage, address: u64, widths: Widths) -> Result<RawMessages> {
    let mut found = RawMessages::default();
    let mut moved = None;
    each_message(storage, address, widths, |kind, flags, bytes| {
        match kind {
            MSG_DATATYPE if flags & SHARED != 0 => moved = Some(bytes.to_vec()),
            MSG_DATATYPE => bytes.clone_into(&mut found.datatype),
            MSG_DATA_LAYOUT => bytes.clone_into(&mut found.layout),
            _ => {}
        }
        Ok(())
    })?;
    if let Some(reference) = moved {
        found.datatype = committed_datatype(storage, &reference, widths)?;
    }
    Ok(found)
}

/// The datatype message of a committed (named) datatype.
fn committed_datatype(storage: &dyn Storage, reference: &[u8], widths: Widths) -> Result<Vec<u8>> {
    let mut cursor = Cursor::new(reference);
    let target = shared::parse(&mut cursor, MSG_DATATYPE, widths.offset, widths.length, reference.len());
    let SharedMessage::SharedInOhdr { address, .. } = target.map_err(describe)? else {
        return Err(WeightsError::new(Code::Unsupported, "its datatype is in the file's table of shared messages"));
    };
    let mut datatype = Vec::new();
    each_message(storage, address, widths, |kind, flags, bytes| {
        if kind == MSG_DATATYPE && flags & SHARED == 0 {
            bytes.clone_into(&mut datatype);
        }
        Ok(())
    })?;
    Ok(datatype)
}

/// Calls `visit` with kind, flags and bytes of every message of a header.
fn each_message(
    storage: &dyn Storage,
    address: u64,
    widths: Widths,
    mut visit: impl FnMut(u16, u8, &[u8]) -> Result<()>,
) -> Result<()> {
    let header = Header::at(storage, address)?;
    let mut waiting = vec![(header.messages_at, header.messages_len)];
    let mut blocks = 0;
    while let Some((start, len)) = waiting.pop() {
        blocks += 1;
        if blocks > MAX_CONTINUATIONS {
            return Err(WeightsError::new(Code::Corrupt, "an object header goes on without end").offset(address));
        }
        let bytes = storage.read_range(start, len).map_err(describe)?;
        let mut cursor = Cursor::new(&bytes);
        while let Some((kind, flags, size)) = header.next_message(&mut cursor)? {
            let message = cursor.read_bytes(size).map_err(describe)?;
            if kind == MSG_CONTINUATION {
                let mut inner = Cursor::new(message);
                let more = continuation::parse(&mut inner, widths.offset, widths.length, size).map_err(describe)?;
                waiting.push(header.continued(more.offset, more.length)?);
            } else {
                visit(kind, flags, message)?;
            }
        }
    }
    Ok(())
}

/// How the messages of one header are enclosed.
struct Header {
    version: u8,
    /// Version 2: every message carries its creation order.
    ordered: bool,
    messages_at: u64,
    messages_len: usize,
}

impl Header {
    fn at(storage: &dyn Storage, address: u64) -> Result<Header> {
        // A small version 2 header may end before 16 bytes at the end of the file.
        let prefix_len = storage.len().saturating_sub(address).clamp(8, 16);
        let prefix = storage.read_range(address, to_usize(prefix_len)?).map_err(describe)?;
        let mut cursor = Cursor::new(&prefix);
        if !prefix.starts_with(b"OHDR") {
            cursor.skip(8).map_err(describe)?;
            let len = cursor.read_u32_le().map_err(describe)?;
            return Ok(Header {
                version: 1,
                ordered: false,
                messages_at: beyond(address, 16)?,
                messages_len: to_usize(u64::from(len))?,
            });
        }
        cursor.skip(5).map_err(describe)?;
        let flags = cursor.read_u8().map_err(describe)?;
        let times = if flags & 0x20 == 0 { 0 } else { 16 };
        let phase_change = if flags & 0x10 == 0 { 0 } else { 4 };
        let width = 1_usize << (flags & 0x03);
        let size_at = 6 + times + phase_change;
        let size = storage.read_range(beyond(address, size_at)?, width).map_err(describe)?;
        let len = Cursor::new(&size).read_uvar(width).map_err(describe)?;
        Ok(Header {
            version: 2,
            ordered: flags & 0x04 != 0,
            messages_at: beyond(address, size_at + width as u64)?,
            messages_len: to_usize(len)?,
        })
    }

    /// Where the messages of a continuation block are.
    fn continued(&self, offset: u64, length: u64) -> Result<(u64, usize)> {
        if self.version == 1 {
            return Ok((offset, to_usize(length)?));
        }
        // "OCHK" before the messages, a checksum behind them; the decoder has verified both.
        let inner = length.checked_sub(8).ok_or_else(|| {
            WeightsError::new(Code::Corrupt, "a continuation of an object header is too short").offset(offset)
        })?;
        Ok((beyond(offset, 4)?, to_usize(inner)?))
    }

    /// Kind, flags and size of the next message, the cursor at its bytes; `None` at the end.
    fn next_message(&self, cursor: &mut Cursor<'_>) -> Result<Option<(u16, u8, usize)>> {
        let envelope = match (self.version, self.ordered) {
            (1, _) => 8,
            (_, false) => 4,
            (_, true) => 6,
        };
        // Less than an envelope is a gap.
        if cursor.remaining() < envelope {
            return Ok(None);
        }
        let read = |cursor: &mut Cursor<'_>| -> hdf5_reader::error::Result<(u16, u8, usize)> {
            if self.version == 1 {
                let kind = cursor.read_u16_le()?;
                let size = cursor.read_u16_le()?;
                let flags = cursor.read_u8()?;
                cursor.skip(3)?;
                return Ok((kind, flags, usize::from(size)));
            }
            let kind = cursor.read_u8()?;
            let size = cursor.read_u16_le()?;
            let flags = cursor.read_u8()?;
            if self.ordered {
                cursor.skip(2)?;
            }
            Ok((u16::from(kind), flags, usize::from(size)))
        };
        read(cursor).map(Some).map_err(describe)
    }
}

fn beyond(address: u64, bytes: u64) -> Result<u64> {
    address
        .checked_add(bytes)
        .ok_or_else(|| WeightsError::new(Code::Corrupt, "an address is beyond all files").offset(address))
}

fn to_usize(len: u64) -> Result<usize> {
    usize::try_from(len).map_err(|_| WeightsError::new(Code::Corrupt, format!("an object header of {len} bytes")))
}
