//! Our [`ByteSource`] as the decoder's storage: blocks of metadata are kept, large pieces are not.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hdf5_reader::{Storage, StorageBuffer};
use kw_model::{ByteSource, Code, Result, WeightsError};

use super::failure::carry;

/// Bytes of one cached block: about what HDF5 packs around one small group, so that opening
/// a file of few, big tensors reads kilobytes.
const BLOCK: usize = 4 << 10;
/// Blocks read at once when block after block is asked for.
const MAX_READ_AHEAD: usize = 16;
/// Blocks kept (8 MiB); the oldest go first.
const MAX_BLOCKS: usize = 2048;
/// Reads longer than this are big heaps and chunks, read once: they go past the cache.
const MAX_CACHED_READ: usize = 16 * BLOCK;

/// One view of a source for the decoder: reads past `base` only, and no more than its budget.
///
/// Everything an operation makes the decoder read counts against the budget, also what the cache
/// already has, so that structures which send it round and round end.
pub(super) struct SourceStorage {
    shared: Arc<Shared>,
    base: u64,
    budget: u64,
    used: AtomicU64,
}

struct Shared {
    source: Arc<dyn ByteSource>,
    blocks: Mutex<Blocks>,
    /// The source is as long as its superblock says: addresses beyond its end are wrong, not cut off.
    complete: AtomicBool,
}

impl SourceStorage {
    /// The whole of `source`, for at most `budget` bytes.
    pub(super) fn new(source: Arc<dyn ByteSource>, budget: u64) -> Self {
        let shared = Shared { source, blocks: Mutex::default(), complete: AtomicBool::new(false) };
        SourceStorage { shared: Arc::new(shared), base: 0, budget, used: AtomicU64::new(0) }
    }

    /// The same source and cache from `base` on, with a fresh budget.
    pub(super) fn view(&self, base: u64) -> Self {
        SourceStorage { shared: Arc::clone(&self.shared), base, budget: self.budget, used: AtomicU64::new(0) }
    }

    /// Says that the source is as long as its superblock wants.
    pub(super) fn set_complete(&self) {
        self.shared.complete.store(true, Ordering::Relaxed);
    }

    /// The source behind this view.
    pub(super) fn source(&self) -> &Arc<dyn ByteSource> {
        &self.shared.source
    }

    fn charge(&self, len: usize) -> Result<()> {
        let used = self.used.fetch_add(len as u64, Ordering::Relaxed).saturating_add(len as u64);
        if used > self.budget {
            return Err(WeightsError::limit("metadata read from the file", used, self.budget, "bytes"));
        }
        Ok(())
    }

    fn locate(&self, offset: u64, len: usize) -> Result<u64> {
        let start = self.base.checked_add(offset);
        let end = start.and_then(|start| start.checked_add(len as u64));
        match (start, end) {
            (Some(start), Some(end)) if end <= self.shared.source.len() => Ok(start),
            _ => Err(self.shared.outside(start.unwrap_or(u64::MAX), len)),
        }
    }

    fn read(&self, offset: u64, len: usize) -> Result<StorageBuffer> {
        let start = self.locate(offset, len)?;
        self.charge(len)?;
        if len == 0 {
            return Ok(StorageBuffer::from_vec(Vec::new()));
        }
        if self.shared.source.bytes().is_some() {
            let start = usize::try_from(start).map_err(|_| self.shared.outside(start, len))?;
            let owner = Arc::new(InMemory(Arc::clone(&self.shared.source)));
            return StorageBuffer::from_shared_owner(owner, start, len)
                .map_err(|_| self.shared.outside(start as u64, len));
        }
        if len > MAX_CACHED_READ {
            let mut bytes = zeroed(len)?;
            self.shared.source.read_exact_at(start, &mut bytes)?;
            return Ok(StorageBuffer::from_vec(bytes));
        }
        let mut blocks = self.shared.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.read(self.shared.source.as_ref(), start, len)
    }
}

impl Shared {
    fn outside(&self, offset: u64, len: usize) -> WeightsError {
        let (name, total) = (self.source.name(), self.source.len());
        let (code, why) = if self.complete.load(Ordering::Relaxed) {
            (Code::Corrupt, "an address in it points outside")
        } else {
            (Code::Truncated, "the file is incomplete")
        };
        WeightsError::new(
            code,
            format!("{name} has {total} bytes, but {len} bytes at offset {offset} are needed: {why}"),
        )
        .offset(offset)
        .expected(offset.saturating_add(len as u64))
        .found(total)
    }
}

impl Storage for SourceStorage {
    fn len(&self) -> u64 {
        self.shared.source.len().saturating_sub(self.base)
    }

    fn read_range(&self, offset: u64, len: usize) -> hdf5_reader::error::Result<StorageBuffer> {
        self.read(offset, len).map_err(carry)
    }
}

/// Lends the bytes of a source that is in memory.
struct InMemory(Arc<dyn ByteSource>);

impl AsRef<[u8]> for InMemory {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes().unwrap_or_default()
    }
}

/// `len` zero bytes, or an error instead of an abort.
pub(super) fn zeroed(len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(len)
        .map_err(|_| WeightsError::new(Code::Memory, format!("could not get {len} bytes of memory")))?;
    bytes.resize(len, 0);
    Ok(bytes)
}

/// The cached blocks by number.
#[derive(Default)]
struct Blocks {
    by_number: HashMap<u64, Arc<[u8]>>,
    oldest_first: VecDeque<u64>,
    /// The block behind the last one that was loaded.
    next: u64,
    /// Blocks the last load took; doubles while loads follow each other.
    window: usize,
}

impl Blocks {
    fn read(&mut self, source: &dyn ByteSource, start: u64, len: usize) -> Result<StorageBuffer> {
        let first = start / BLOCK as u64;
        let within = usize::try_from(start % BLOCK as u64).unwrap_or(0);
        if within + len <= BLOCK {
            let block = self.block(source, first, first)?;
            return StorageBuffer::from_shared(block, within, len)
                .map_err(|error| WeightsError::new(Code::Internal, format!("a cached block is short: {error}")));
        }
        let last = (start + len as u64 - 1) / BLOCK as u64;
        let mut bytes = Vec::with_capacity(len);
        for number in first..=last {
            let block = self.block(source, number, last)?;
            let from = if number == first { within } else { 0 };
            let rest = len - bytes.len();
            let piece = block.get(from..).unwrap_or_default();
            bytes.extend_from_slice(piece.get(..rest).unwrap_or(piece));
        }
        Ok(StorageBuffer::from_vec(bytes))
    }

    /// One block; loads it, and at least up to `last`, when it is not there.
    fn block(&mut self, source: &dyn ByteSource, number: u64, last: u64) -> Result<Arc<[u8]>> {
        if let Some(block) = self.by_number.get(&number) {
            return Ok(Arc::clone(block));
        }
        self.load(source, number, last)?;
        match self.by_number.get(&number) {
            Some(block) => Ok(Arc::clone(block)),
            None => Err(WeightsError::new(Code::Internal, format!("block {number} was not loaded"))),
        }
    }

    fn load(&mut self, source: &dyn ByteSource, first: u64, last: u64) -> Result<()> {
        self.window = if first == self.next { (self.window * 2).clamp(1, MAX_READ_AHEAD) } else { 1 };
        let end_of_source = source.len().div_ceil(BLOCK as u64);
        let wanted = last.max(first.saturating_add(self.window as u64 - 1));
        let mut end = first + 1;
        while end <= wanted && end < end_of_source && !self.by_number.contains_key(&end) {
            end += 1;
        }
        let start = first * BLOCK as u64;
        let len = (end * BLOCK as u64).min(source.len()).saturating_sub(start);
        let mut bytes = zeroed(usize::try_from(len).unwrap_or(usize::MAX))?;
        source.read_exact_at(start, &mut bytes)?;
        for (number, block) in (first..end).zip(bytes.chunks(BLOCK)) {
            self.by_number.insert(number, Arc::from(block));
            self.oldest_first.push_back(number);
        }
        // The newest block stays even if a read-ahead alone would fill the cache.
        while self.oldest_first.len() > MAX_BLOCKS {
            if let Some(oldest) = self.oldest_first.pop_front() {
                self.by_number.remove(&oldest);
            }
        }
        self.next = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hdf5_reader::Storage;
    use kw_model::{ByteSource, Code, CountingSource, MemorySource};

    use super::super::failure::describe;
    use super::{BLOCK, SourceStorage};

    fn source(len: usize) -> Arc<CountingSource> {
        let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i / 7 % 251).expect("a byte")).collect();
        Arc::new(CountingSource::new(Arc::new(MemorySource::new(bytes, "m"))))
    }

    #[test]
    fn every_range_equals_the_source() {
        let counted = source(20 * BLOCK + 17);
        let storage = SourceStorage::new(Arc::clone(&counted) as Arc<dyn ByteSource>, u64::MAX);
        let total = counted.len();
        for base in [0, 512] {
            let view = storage.view(base);
            for offset in [0, 1, 4095, 4096, 5000, 8191, 70_000, total - base - 1] {
                for len in [0, 1, 5, 4096, 9000, 66_000] {
                    let found = view.read_range(offset, len);
                    if base + offset + len as u64 > total {
                        assert_eq!(describe(found.map(|_| ()).expect_err("outside")).code(), Code::Truncated);
                        continue;
                    }
                    let mut expected = vec![0; len];
                    counted.read_exact_at(base + offset, &mut expected).expect("inside");
                    assert_eq!(&*found.expect("inside"), expected.as_slice(), "{base} {offset} {len}");
                }
            }
        }
    }

    #[test]
    fn single_blocks_are_read_once_and_sequences_in_growing_pieces() {
        let counted = source(200 * BLOCK);
        let storage = SourceStorage::new(Arc::clone(&counted) as Arc<dyn ByteSource>, u64::MAX);
        for _ in 0..10 {
            storage.read_range(100 * BLOCK as u64 + 10, 100).expect("inside");
        }
        assert_eq!(counted.bytes_read(), BLOCK as u64);
        storage.read_range(150 * BLOCK as u64, 10).expect("inside");
        assert_eq!(counted.bytes_read(), 2 * BLOCK as u64);
        storage.read_range(151 * BLOCK as u64, 10).expect("inside");
        assert_eq!(counted.bytes_read(), 4 * BLOCK as u64);
        storage.read_range(152 * BLOCK as u64, 10).expect("inside");
        assert_eq!(counted.bytes_read(), 4 * BLOCK as u64);
    }

    #[test]
    fn the_budget_counts_what_the_cache_has_too() {
        let storage = SourceStorage::new(source(BLOCK) as Arc<dyn ByteSource>, 250);
        storage.read_range(0, 100).expect("within");
        storage.read_range(0, 100).expect("within");
        let error = describe(storage.read_range(0, 100).map(|_| ()).expect_err("above"));
        assert_eq!(error.code(), Code::Limit);
        storage.view(0).read_range(0, 200).expect("a fresh budget");
    }

    #[test]
    fn an_address_outside_a_complete_file_is_corrupt() {
        let storage = SourceStorage::new(source(100) as Arc<dyn ByteSource>, 1000);
        storage.set_complete();
        for (offset, len) in [(u64::MAX, 1), (99, 2), (100, usize::MAX)] {
            let error = describe(storage.read_range(offset, len).map(|_| ()).expect_err("outside"));
            assert_eq!(error.code(), Code::Corrupt, "{offset} {len}");
        }
    }
}
