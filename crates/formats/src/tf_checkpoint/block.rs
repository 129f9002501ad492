//! One block of a table: keys in rising order, each written as what differs from the key before.
//!
//! ```text
//! block  := entry* restart* restart_count        (restarts and their count: u32, little-endian)
//! entry  := shared non_shared value_len           (varints)  key_suffix value
//! stored := block type u8 masked_crc32c u32       (type 0 plain, 1 snappy; the checksum covers block and type)
//! ```
//! At each restart offset an entry stands with its whole key. LevelDB's `doc/table_format.md` has the rules.

use kw_model::Result;

use super::corrupt;
use crate::varint;

/// Longest key that we read: TensorFlow's own names stay under a thousand bytes.
const MAX_KEY_BYTES: usize = 1 << 16;

/// Sees each key and value.
pub(super) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'a;

/// Calls `visit` with every key and value of a decoded block, and checks the restart offsets on the way.
pub(super) fn for_each(block: &[u8], visit: &mut Visit<'_>) -> Result<()> {
    let malformed = || corrupt("a block of the checkpoint's index contradicts itself");
    let (entries, mut restarts) = split(block).ok_or_else(malformed)?;
    let mut rest = entries;
    let mut key = Vec::new();
    while !rest.is_empty() {
        let position = entries.len() - rest.len();
        let shared = varint::take_len(&mut rest).ok_or_else(malformed)?;
        let non_shared = varint::take_len(&mut rest).ok_or_else(malformed)?;
        let value_len = varint::take_len(&mut rest).ok_or_else(malformed)?;
        let (suffix, tail) = rest.split_at_checked(non_shared).ok_or_else(malformed)?;
        let (value, tail) = tail.split_at_checked(value_len).ok_or_else(malformed)?;
        rest = tail;
        if let Some((restart, others)) = restarts.split_first_chunk()
            && u32::from_le_bytes(*restart) as usize == position
        {
            if shared != 0 {
                return Err(malformed());
            }
            restarts = others;
        }
        if shared > key.len() || shared.saturating_add(non_shared) > MAX_KEY_BYTES {
            return Err(malformed());
        }
        key.truncate(shared);
        key.extend_from_slice(suffix);
        visit(&key, value)?;
    }
    // An empty block has one restart at 0, where no entry stands.
    if restarts.is_empty() || (entries.is_empty() && restarts == [0; 4]) { Ok(()) } else { Err(malformed()) }
}

fn split(block: &[u8]) -> Option<(&[u8], &[u8])> {
    let (body, count) = block.split_last_chunk()?;
    let restarts = (u32::from_le_bytes(*count) as usize).checked_mul(4).filter(|len| *len > 0)?;
    // Every block has a restart, which stands at 0 even when no entry does.
    body.split_at_checked(body.len().checked_sub(restarts)?)
}

/// Builds one block, entry by entry, exactly as LevelDB does.
pub(super) struct BlockBuilder {
    bytes: Vec<u8>,
    restarts: Vec<u32>,
    since_restart: usize,
    interval: usize,
    last_key: Vec<u8>,
}

impl BlockBuilder {
    /// A block that writes a whole key every `interval` entries.
    pub(super) fn new(interval: usize) -> Self {
        BlockBuilder { bytes: Vec::new(), restarts: vec![0], since_restart: 0, interval, last_key: Vec::new() }
    }

    /// True before the first entry.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of the finished block, were it finished now.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + 4 * self.restarts.len() + 4
    }

    /// Appends an entry; keys come in rising order.
    ///
    /// # Errors
    /// `Code::Limit` for a block above 4 GiB: restart offsets have 32 bits.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut shared = 0;
        if self.since_restart < self.interval {
            shared = common_prefix(key, &self.last_key);
        } else {
            let position = self.bytes.len() as u64;
            self.restarts.push(u32::try_from(position).map_err(|_| {
                kw_model::WeightsError::limit("a block of a checkpoint index", position, u64::from(u32::MAX), "bytes")
            })?);
            self.since_restart = 0;
        }
        let suffix = key.get(shared..).unwrap_or_default();
        varint::put(&mut self.bytes, shared as u64);
        varint::put(&mut self.bytes, suffix.len() as u64);
        varint::put(&mut self.bytes, value.len() as u64);
        self.bytes.extend_from_slice(suffix);
        self.bytes.extend_from_slice(value);
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.since_restart += 1;
        Ok(())
    }

    /// The finished block; the builder starts afresh.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let mut block = std::mem::take(&mut self.bytes);
        for restart in &self.restarts {
            block.extend_from_slice(&restart.to_le_bytes());
        }
        // `add` keeps the number of restarts below the number of bytes, which fits in 32 bits.
        block.extend_from_slice(&u32::try_from(self.restarts.len()).unwrap_or(u32::MAX).to_le_bytes());
        *self = BlockBuilder::new(self.interval);
        block
    }
}

/// Bytes at which two keys agree.
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

#[cfg(test)]
mod tests {
    use super::{BlockBuilder, for_each};

    fn read(block: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut entries = Vec::new();
        for_each(block, &mut |key, value| {
            entries.push((key.to_vec(), value.to_vec()));
            Ok(())
        })
        .ok()?;
        Some(entries)
    }

    #[test]
    fn an_empty_block_is_one_restart() {
        let block = BlockBuilder::new(16).finish();
        assert_eq!(block, [0, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(read(&block), Some(vec![]));
    }

    #[test]
    fn entries_read_back_across_restarts() {
        let entries: Vec<_> = (0..40).map(|i| (format!("layer-{i:03}").into_bytes(), vec![i; i.into()])).collect();
        for interval in [1, 2, 16, 100] {
            let mut builder = BlockBuilder::new(interval);
            for (key, value) in &entries {
                builder.add(key, value).expect("small");
            }
            let len = builder.len();
            let block = builder.finish();
            assert_eq!(block.len(), len);
            assert_eq!(read(&block).as_ref(), Some(&entries));
            for cut in 0..block.len() {
                assert!(read(&block[..cut]) != Some(entries.clone()), "cut at {cut}");
            }
        }
    }

    #[test]
    fn refuses_blocks_that_contradict_themselves() {
        let cases: [(&str, &[u8]); 7] = [
            ("no room for the count", &[1, 0, 0]),
            ("more restarts than bytes", &[0, 0, 0, 0, 2, 0, 0, 0]),
            ("first key shares bytes", &[1, 1, 0, b'a', 0, 0, 0, 0, 1, 0, 0, 0]),
            ("key beyond the block", &[0, 9, 0, b'a', 0, 0, 0, 0, 1, 0, 0, 0]),
            ("value beyond the block", &[0, 1, 9, b'a', 0, 0, 0, 0, 1, 0, 0, 0]),
            ("restart between entries", &[0, 1, 0, b'a', 1, 0, 0, 0, 1, 0, 0, 0]),
            ("restart past the end", &[0, 1, 0, b'a', 0, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0]),
        ];
        for (name, block) in cases {
            assert_eq!(read(block), None, "{name}");
        }
    }
}
