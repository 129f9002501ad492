//! The index file: a LevelDB-style sorted table from keys to small values.
//!
//! ```text
//! file   := data_block* metaindex_block index_block footer
//! footer := metaindex_handle index_handle, zeros up to 40 bytes, magic u64
//! handle := offset size                            (varints; the size leaves out the 5 bytes of type and checksum)
//! ```
//! The index block maps a key that is not below any key of a data block to that block's handle.
//! TensorFlow writes plain blocks of 256 KiB and reads snappy ones, too; so do we.

use kw_model::{ByteSource, Code, Limits, Result, WeightsError};

use super::block::{self, BlockBuilder, Visit};
use super::{checksum, corrupt};
use crate::buffers::read_range;
use crate::varint;

pub(super) const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
const FOOTER_LEN: u64 = 48;
/// Type byte and checksum behind each block.
const TRAILER_LEN: u64 = 5;
/// TensorFlow's block size for checkpoint indexes.
pub(super) const BLOCK_SIZE: usize = 262_144;
const RESTART_INTERVAL: usize = 16;

#[derive(Debug, Clone, Copy)]
struct Handle {
    offset: u64,
    size: u64,
}

impl Handle {
    fn take(rest: &mut &[u8]) -> Option<Self> {
        Some(Handle { offset: varint::take(rest)?, size: varint::take(rest)? })
    }

    fn end(self) -> Option<u64> {
        self.offset.checked_add(self.size)?.checked_add(TRAILER_LEN)
    }
}

/// True when the source ends as a table does.
pub(super) fn has_magic(source: &dyn ByteSource) -> Result<bool> {
    let Some(offset) = source.len().checked_sub(8) else { return Ok(false) };
    let mut magic = [0; 8];
    source.read_exact_at(offset, &mut magic)?;
    Ok(u64::from_le_bytes(magic) == MAGIC)
}

/// Calls `visit` with every key and value, in strictly rising order of keys.
///
/// # Errors
/// [`Code::NotWeights`], [`Code::Truncated`], [`Code::Corrupt`], [`Code::Digest`] for a block that does not
/// fit its checksum, [`Code::Limit`], and whatever `visit` returns.
pub(super) fn for_each(source: &dyn ByteSource, limits: &Limits, visit: &mut Visit<'_>) -> Result<()> {
    Limits::check("the checkpoint's index", source.len(), limits.max_header_bytes, "bytes")?;
    let (metaindex, index) = footer(source)?;
    let blocks_end = source.len().saturating_sub(FOOTER_LEN);
    // Nothing in the metaindex concerns us, but damage there is damage.
    read_block(source, metaindex, blocks_end, limits)?;
    let index_block = read_block(source, index, blocks_end, limits)?;
    let mut reading = Reading { last_key: None, last_separator: None, position: 0, decoded: 0 };
    block::for_each(&index_block, &mut |separator, handle| {
        let mut rest = handle;
        let handle = Handle::take(&mut rest)
            .filter(|_| rest.is_empty())
            .ok_or_else(|| corrupt("the index block holds something that is no block handle"))?;
        // In rising order without overlap, all blocks together are no longer than the file.
        if handle.offset < reading.position {
            return Err(corrupt("the blocks of the index overlap").offset(handle.offset));
        }
        if reading.last_separator.as_deref().is_some_and(|last| last >= separator) {
            return Err(corrupt("the blocks of the index are not in rising order").offset(handle.offset));
        }
        reading.last_separator = Some(separator.to_vec());
        let data = read_block(source, handle, blocks_end, limits)?;
        reading.position = handle.end().unwrap_or(u64::MAX);
        block::for_each(&data, &mut |key, value| {
            reading.decoded = reading.decoded.saturating_add(key.len() as u64).saturating_add(value.len() as u64);
            Limits::check("the checkpoint's decoded index", reading.decoded, limits.max_header_bytes, "bytes")?;
            if reading.last_key.as_deref().is_some_and(|last| last >= key) || key > separator {
                return Err(corrupt("the keys of the index are not in rising order").offset(handle.offset));
            }
            let last = reading.last_key.get_or_insert_default();
            last.clear();
            last.extend_from_slice(key);
            visit(key, value)
        })
    })
}

struct Reading {
    last_key: Option<Vec<u8>>,
    last_separator: Option<Vec<u8>>,
    position: u64,
    decoded: u64,
}

/// The handles of the metaindex and of the index block.
fn footer(source: &dyn ByteSource) -> Result<(Handle, Handle)> {
    if source.len() < FOOTER_LEN || !has_magic(source)? {
        return Err(not_a_table(source));
    }
    let offset = source.len().saturating_sub(FOOTER_LEN);
    let bytes = read_range(source, offset, FOOTER_LEN, "the footer of the index")?;
    let mut rest = bytes.get(..40).unwrap_or_default();
    let handles = Handle::take(&mut rest).zip(Handle::take(&mut rest));
    // A handle has one encoding, and zeros fill the rest.
    let expected = handles.map(|(metaindex, index)| encode_footer(metaindex, index));
    handles
        .filter(|_| expected.as_ref() == Some(&bytes))
        .ok_or_else(|| corrupt("the footer of the index holds something besides two block handles").offset(offset))
}

/// Says whether the file begins as an index does, and so is cut off, or is something else.
fn not_a_table(source: &dyn ByteSource) -> WeightsError {
    let mut start = [0_u8; 4];
    let begins_right = source.len() >= 4
        && source.read_exact_at(0, &mut start).is_ok()
        // The first entry: the empty key, a value, and in it the field num_shards.
        && matches!(start, [0, 0, _, 0x08]);
    let (code, what) = if begins_right {
        (Code::Truncated, "begins as the index of a TensorFlow checkpoint, but its end is missing")
    } else {
        (Code::NotWeights, "is not the index of a TensorFlow checkpoint")
    };
    WeightsError::new(code, format!("{} ({} bytes) {what}", source.name(), source.len())).format(super::FORMAT)
}

fn read_block(source: &dyn ByteSource, handle: Handle, blocks_end: u64, limits: &Limits) -> Result<Vec<u8>> {
    if handle.end().is_none_or(|end| end > blocks_end) {
        return Err(corrupt(format!(
            "a block of {} bytes at offset {} reaches past the end of the index",
            handle.size, handle.offset
        ))
        .offset(handle.offset));
    }
    let stored_len = handle.size.saturating_add(TRAILER_LEN);
    let mut stored = read_range(source, handle.offset, stored_len, "a block of the index")?;
    let malformed = || corrupt("a block of the index is too short").offset(handle.offset);
    let (covered, checksum) = stored.split_last_chunk().ok_or_else(malformed)?;
    let (wanted, found) = (u32::from_le_bytes(*checksum), checksum::masked(covered));
    if wanted != found {
        return Err(WeightsError::new(Code::Digest, "a block of the checkpoint's index does not fit its checksum")
            .format(super::FORMAT)
            .offset(handle.offset)
            .expected(format!("{wanted:08x}"))
            .found(format!("{found:08x}")));
    }
    let (&kind, body) = covered.split_last().ok_or_else(malformed)?;
    match kind {
        0 => {
            stored.truncate(body.len());
            Ok(stored)
        }
        1 => decompress(body, limits).map_err(|error| error.offset(handle.offset)),
        other => Err(WeightsError::new(
            Code::Unsupported,
            format!(
                "a block of the checkpoint's index is compressed by method {other}; 0 (none) and 1 (snappy) are known"
            ),
        )
        .format(super::FORMAT)
        .offset(handle.offset)),
    }
}

fn decompress(body: &[u8], limits: &Limits) -> Result<Vec<u8>> {
    let malformed = |_| corrupt("a snappy block of the index cannot be decompressed");
    let len = snap::raw::decompress_len(body).map_err(malformed)? as u64;
    let allowed = (body.len() as u64).saturating_mul(limits.max_inflate_ratio).min(limits.max_header_bytes);
    Limits::check("a snappy block of the checkpoint's index", len, allowed, "bytes")?;
    let mut plain = crate::buffers::zeroed(len, "a snappy block")?;
    let written = snap::raw::Decoder::new().decompress(body, &mut plain).map_err(malformed)?;
    plain.truncate(written);
    Ok(plain)
}

/// Builds a table in memory, byte for byte as TensorFlow does: plain blocks, flushed by LevelDB's rule.
pub(super) struct TableBuilder {
    out: Vec<u8>,
    data: BlockBuilder,
    index: BlockBuilder,
    block_size: usize,
    /// The finished data block whose index entry waits for the next key.
    pending: Option<Handle>,
    last_key: Vec<u8>,
    entries: u64,
}

impl TableBuilder {
    /// An empty table.
    pub(super) fn new(block_size: usize) -> Self {
        TableBuilder {
            out: Vec::new(),
            data: BlockBuilder::new(RESTART_INTERVAL),
            index: BlockBuilder::new(1),
            block_size,
            pending: None,
            last_key: Vec::new(),
            entries: 0,
        }
    }

    /// Appends an entry; keys come in strictly rising order.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.entries > 0 {
            if key <= self.last_key.as_slice() {
                return Err(WeightsError::new(Code::Internal, "the keys of a table must rise").format(super::FORMAT));
            }
            // A very large entry gets a block of its own.
            if key.len() + value.len() >= 2 * self.block_size {
                self.flush();
            }
        }
        if let Some(handle) = self.pending.take() {
            self.index.add(&shortest_separator(&self.last_key, key), &encode(handle))?;
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.entries += 1;
        self.data.add(key, value)?;
        if self.data.len() >= self.block_size {
            self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) {
        if !self.data.is_empty() {
            let block = self.data.finish();
            self.pending = Some(self.append(block));
        }
    }

    fn append(&mut self, mut block: Vec<u8>) -> Handle {
        let handle = Handle { offset: self.out.len() as u64, size: block.len() as u64 };
        block.push(0);
        let checksum = checksum::masked(&block);
        self.out.extend_from_slice(&block);
        self.out.extend_from_slice(&checksum.to_le_bytes());
        handle
    }

    /// The whole file.
    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        self.flush();
        let metaindex = self.append(BlockBuilder::new(RESTART_INTERVAL).finish());
        if let Some(handle) = self.pending.take() {
            self.index.add(&shortest_successor(&self.last_key), &encode(handle))?;
        }
        let index = self.index.finish();
        let index = self.append(index);
        self.out.extend_from_slice(&encode_footer(metaindex, index));
        Ok(self.out)
    }
}

fn encode(handle: Handle) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint::put(&mut bytes, handle.offset);
    varint::put(&mut bytes, handle.size);
    bytes
}

fn encode_footer(metaindex: Handle, index: Handle) -> Vec<u8> {
    let mut footer = encode(metaindex);
    footer.extend_from_slice(&encode(index));
    footer.resize(40, 0);
    footer.extend_from_slice(&MAGIC.to_le_bytes());
    footer
}

/// A short key that is not below `last` and below `next`.
fn shortest_separator(last: &[u8], next: &[u8]) -> Vec<u8> {
    let shared = block::common_prefix(last, next);
    if let (Some(&low), Some(&high)) = (last.get(shared), next.get(shared))
        && low < 0xff
        && low + 1 < high
    {
        let mut key = last.get(..shared).unwrap_or_default().to_vec();
        key.push(low + 1);
        return key;
    }
    last.to_vec()
}

/// A short key that is not below `last`.
fn shortest_successor(last: &[u8]) -> Vec<u8> {
    let Some(position) = last.iter().position(|&byte| byte != 0xff) else { return last.to_vec() };
    let mut key = last.get(..=position).unwrap_or_default().to_vec();
    if let Some(byte) = key.last_mut() {
        *byte += 1;
    }
    key
}

#[cfg(test)]
mod tests {
    use kw_model::{Code, Limits, MemorySource};

    use super::{TableBuilder, for_each, shortest_separator, shortest_successor};

    type Entries = Vec<(Vec<u8>, Vec<u8>)>;

    fn read(file: &[u8]) -> Result<Entries, Code> {
        let mut entries = Vec::new();
        for_each(&MemorySource::new(file, "table"), &Limits::default(), &mut |key, value| {
            entries.push((key.to_vec(), value.to_vec()));
            Ok(())
        })
        .map_err(|error| error.code())?;
        Ok(entries)
    }

    fn write(entries: &Entries, block_size: usize) -> Vec<u8> {
        let mut builder = TableBuilder::new(block_size);
        for (key, value) in entries {
            builder.add(key, value).expect("rising");
        }
        builder.finish().expect("small")
    }

    fn entries() -> Entries {
        let mut entries: Entries =
            (0..300_u32).map(|i| (format!("model/layer-{i:04}").into_bytes(), vec![7; (i % 50) as usize])).collect();
        entries.insert(0, (Vec::new(), vec![8, 1]));
        entries.push((vec![0xff, 0xff], vec![]));
        entries
    }

    #[test]
    fn tables_of_any_block_size_read_back() {
        for block_size in [64, 128, 1000, super::BLOCK_SIZE] {
            assert_eq!(read(&write(&entries(), block_size)), Ok(entries()), "{block_size}");
        }
        assert_eq!(read(&write(&vec![], 64)), Ok(vec![]));
    }

    #[test]
    fn separators_and_successors_follow_leveldb() {
        for (last, next, wanted) in [
            (&b"abc"[..], &b"abz"[..], &b"abd"[..]),
            (b"abc", b"abd", b"abc"),
            (b"abc", b"abcd", b"abc"),
            (b"a\xffc", b"b", b"a\xffc"),
            (b"", b"a", b""),
        ] {
            assert_eq!(shortest_separator(last, next), wanted);
        }
        for (last, wanted) in [(&b"abc"[..], &b"b"[..]), (b"\xff\xffa", b"\xff\xffb"), (b"\xff", b"\xff"), (b"", b"")] {
            assert_eq!(shortest_successor(last), wanted);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let file = write(&entries(), 512);
        for position in 0..file.len() {
            let mut damaged = file.clone();
            damaged[position] ^= 0x10;
            assert!(read(&damaged).is_err(), "bit in byte {position} of {}", file.len());
        }
        for len in 0..file.len() {
            assert!(read(&file[..len]).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn snappy_blocks_are_read() {
        // One data block, compressed by hand: what TensorFlow would write with compression on.
        let plain = write(&entries(), super::BLOCK_SIZE);
        let mut footer = &plain[plain.len() - 48..];
        let metaindex = super::Handle::take(&mut footer).expect("handle");
        let body = &plain[..usize::try_from(metaindex.offset).expect("small") - 5];
        let mut out = snap::raw::Encoder::new().compress_vec(body).expect("compresses");
        let data = super::Handle { offset: 0, size: out.len() as u64 };
        out.push(1);
        let checksum = super::checksum::masked(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        let mut builder = TableBuilder::new(64);
        builder.out = out;
        builder.pending = Some(data);
        builder.last_key = vec![0xff, 0xff];
        let file = builder.finish().expect("small");
        assert!(file.len() < plain.len());
        assert_eq!(read(&file), Ok(entries()));
    }
}
