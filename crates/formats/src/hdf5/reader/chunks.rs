//! Reads chunked datasets: index, filters, and the way of every chunk's rows into the tensor.

use std::collections::HashSet;

use hdf5_reader::chunk_index::{self, ChunkEntry};
use hdf5_reader::messages::layout::ChunkIndexing;
use hdf5_reader::{btree_v1, btree_v1::BTreeV1Key, extensible_array, fixed_array};
use kw_model::{ByteSource, Cancel, Code, Limits, Result, WeightsError};

use super::dataset::{Chunks, Stored};
use super::failure::describe;
use super::file::File;
use super::storage::zeroed;
use super::values;

/// Fills `out` with the decoded chunks, fill values between them.
pub(super) fn read(
    file: &File,
    source: &dyn ByteSource,
    stored: &Stored,
    chunks: &Chunks,
    out: &mut [u8],
    cancel: &Cancel,
) -> Result<()> {
    let mut entries = entries(file, chunks, stored.element_size)?;
    entries.retain(|entry| !is_stale(chunks, entry));
    check(file, source, chunks, &entries)?;
    let grid: u64 = chunks
        .shape
        .iter()
        .zip(&chunks.chunk)
        .map(|(&axis, &chunk)| axis.div_ceil(u64::from(chunk)))
        .fold(1, u64::saturating_mul);
    if (entries.len() as u64) < grid {
        values::fill(&stored.fill, out, cancel)?;
    }
    let place = Placement::new(chunks, stored.element_size)?;
    let mut scratch = Vec::new();
    for entry in &entries {
        cancel.check()?;
        let offset = file.base().saturating_add(entry.address);
        let decoded = decode(source, chunks, stored.element_size, entry, offset, &mut scratch)
            .map_err(|error| error.at(format_args!("the chunk at {:?}", entry.offsets)).offset(offset))?;
        place.copy(&entry.offsets, decoded.as_deref().unwrap_or(&scratch), out).ok_or_else(|| {
            WeightsError::new(Code::Internal, format!("the chunk at {:?} does not fit", entry.offsets))
        })?;
    }
    Ok(())
}

/// All chunks that the index knows inside the shape.
fn entries(file: &File, chunks: &Chunks, element_size: usize) -> Result<Vec<ChunkEntry>> {
    let (storage, offset, length) = (file.storage(), file.widths().offset, file.widths().length);
    let (shape, chunk, rank) = (chunks.shape.as_slice(), chunks.chunk.as_slice(), chunks.shape.len());
    // Indexes that number chunks of a dataset with finite room number those of the whole room.
    // What is found outside the present shape is stale.
    let room = match &chunks.max_shape {
        Some(max) if max.len() == rank && !max.contains(&u64::MAX) => max.as_slice(),
        _ => shape,
    };
    let ndims = u32::try_from(rank).unwrap_or(u32::MAX);
    let found = match &chunks.indexing {
        None => {
            let leaves = btree_v1::collect_btree_v1_leaves_storage(
                storage,
                chunks.index,
                offset,
                length,
                Some(ndims),
                chunk,
                None,
            )
            .map_err(describe)?;
            return leaves.iter().map(|(key, address)| first_format_entry(key, *address, rank)).collect();
        }
        Some(ChunkIndexing::SingleChunk { filtered_size, filters }) => {
            Ok(vec![chunk_index::single_chunk_entry(chunks.index, *filtered_size, *filters, rank)])
        }
        Some(ChunkIndexing::Implicit) => {
            chunk_index::collect_implicit_chunk_entries(chunks.index, room, chunk, element_size, None, storage.len())
        }
        Some(ChunkIndexing::FixedArray { .. }) => fixed_array::collect_fixed_array_chunk_entries_storage(
            storage,
            chunks.index,
            offset,
            length,
            room,
            chunk,
            None,
        ),
        Some(ChunkIndexing::ExtensibleArray { .. }) => {
            extensible_array::collect_extensible_array_chunk_entries_storage(
                storage,
                chunks.index,
                offset,
                length,
                shape,
                chunks.max_shape.as_deref(),
                chunk,
                None,
            )
        }
        Some(ChunkIndexing::BTreeV2) => {
            chunk_index::collect_v2_chunk_entries_storage(storage, chunks.index, offset, length, ndims, chunk, None)
        }
    };
    found.map_err(describe)
}

/// A chunk from its key in the B-tree of the first file format.
fn first_format_entry(key: &BTreeV1Key, address: u64, rank: usize) -> Result<ChunkEntry> {
    match key {
        BTreeV1Key::RawData { chunk_size, filter_mask, offsets } if offsets.len() >= rank => Ok(ChunkEntry {
            address,
            size: u64::from(*chunk_size),
            filter_mask: *filter_mask,
            offsets: offsets.get(..rank).unwrap_or_default().to_vec(),
        }),
        _ => Err(WeightsError::new(Code::Corrupt, "the index of the chunks holds something else")),
    }
}

/// True for a chunk of the grid beyond the shape, but where the dataset may grow to: one that shrank may keep it.
fn is_stale(chunks: &Chunks, entry: &ChunkEntry) -> bool {
    let room = chunks.max_shape.as_ref().unwrap_or(&chunks.shape);
    is_on_grid(chunks, entry) && !is_inside(&entry.offsets, &chunks.shape) && is_inside(&entry.offsets, room)
}

fn is_inside(offsets: &[u64], shape: &[u64]) -> bool {
    offsets.iter().zip(shape).all(|(at, axis)| at < axis)
}

fn is_on_grid(chunks: &Chunks, entry: &ChunkEntry) -> bool {
    let mut axes = entry.offsets.iter().zip(&chunks.chunk);
    entry.offsets.len() == chunks.shape.len() && axes.all(|(&at, &chunk)| at.is_multiple_of(u64::from(chunk)))
}

/// Every chunk is on the grid, there once, inside the file and of a credible ratio.
fn check(file: &File, source: &dyn ByteSource, chunks: &Chunks, entries: &[ChunkEntry]) -> Result<()> {
    let mut seen = HashSet::new();
    for entry in entries {
        let offsets = &entry.offsets;
        let corrupt = |why: &str| WeightsError::new(Code::Corrupt, format!("the chunk at {offsets:?} {why}"));
        if !is_on_grid(chunks, entry) || !is_inside(offsets, &chunks.shape) {
            return Err(corrupt("is not one of the dataset's"));
        }
        if !seen.insert(offsets.as_slice()) {
            return Err(corrupt("is there twice"));
        }
        let stored = stored_size(chunks, entry);
        let start = file.base().checked_add(entry.address);
        if start.and_then(|start| start.checked_add(stored)).is_none_or(|end| end > source.len()) {
            return Err(corrupt("lies outside the file").offset(entry.address));
        }
        if !super::filters::any_ratio(&chunks.filters) {
            let allowed = stored.saturating_mul(file.limits().max_inflate_ratio);
            Limits::check(&format!("the chunk at {offsets:?}, inflated"), chunks.chunk_bytes, allowed, "bytes")?;
        }
    }
    Ok(())
}

fn stored_size(chunks: &Chunks, entry: &ChunkEntry) -> u64 {
    // Indexes of unfiltered chunks do not say their size.
    if chunks.filters.filters.is_empty() || entry.size == 0 { chunks.chunk_bytes } else { entry.size }
}

/// The decoded bytes of a chunk; `None` when they are in `scratch`.
fn decode(
    source: &dyn ByteSource,
    chunks: &Chunks,
    element_size: usize,
    entry: &ChunkEntry,
    offset: u64,
    scratch: &mut Vec<u8>,
) -> Result<Option<Vec<u8>>> {
    let too_big = |_| WeightsError::new(Code::Memory, format!("a chunk of {} bytes", chunks.chunk_bytes));
    let size = usize::try_from(stored_size(chunks, entry)).map_err(too_big)?;
    let expected = usize::try_from(chunks.chunk_bytes).map_err(too_big)?;
    if scratch.len() < size {
        *scratch = zeroed(size)?;
    }
    scratch.truncate(size);
    source.read_exact_at(offset, scratch)?;
    let filters = &chunks.filters.filters;
    let decoded = if filters.is_empty() {
        None
    } else {
        // One byte more than expected shows a chunk that is too long.
        let limit = Some(expected.saturating_add(1));
        let pipeline = hdf5_reader::filters::apply_pipeline_with_limit(
            scratch,
            filters,
            entry.filter_mask,
            element_size,
            None,
            limit,
        );
        Some(pipeline.map_err(describe)?)
    };
    let found = decoded.as_ref().map_or(scratch.len(), Vec::len);
    if found != expected {
        return Err(WeightsError::new(Code::Corrupt, format!("it decodes to {found} bytes instead of {expected}"))
            .expected(expected as u64)
            .found(found as u64));
    }
    Ok(decoded)
}

/// How chunks lie in the tensor: runs of bytes that are in one piece in both.
struct Placement {
    shape: Vec<usize>,
    chunk: Vec<usize>,
    element_size: usize,
}

impl Placement {
    fn new(chunks: &Chunks, element_size: usize) -> Result<Self> {
        let usize_axis = |axis: u64| {
            usize::try_from(axis).map_err(|_| WeightsError::new(Code::Memory, format!("an axis of {axis} elements")))
        };
        let shape = chunks.shape.iter().map(|&axis| usize_axis(axis)).collect::<Result<_>>()?;
        let chunk = chunks.chunk.iter().map(|&axis| usize_axis(u64::from(axis))).collect::<Result<_>>()?;
        Ok(Placement { shape, chunk, element_size })
    }

    /// Copies the part of a chunk that is inside the tensor; `None` when something does not fit.
    fn copy(&self, at: &[u64], chunk: &[u8], out: &mut [u8]) -> Option<()> {
        let at: Vec<usize> = at.iter().map(|&at| usize::try_from(at).ok()).collect::<Option<_>>()?;
        let axes = || at.iter().zip(&self.shape).zip(&self.chunk).map(|((&at, &axis), &chunk)| (at, axis, chunk));
        let part: Vec<usize> =
            axes().map(|(at, axis, chunk)| Some(chunk.min(axis.checked_sub(at)?))).collect::<Option<_>>()?;
        // The axes behind `outer` are whole in chunk and tensor: they and the part of axis `outer` are one run.
        let whole = axes().rev().take_while(|&(_, axis, chunk)| axis == chunk).count();
        let outer = part.len().saturating_sub(whole + 1);
        let run = part.get(outer..)?.iter().try_fold(self.element_size, |bytes, &axis| bytes.checked_mul(axis))?;
        let mut index = vec![0_usize; outer];
        loop {
            let (mut from, mut to) = (0_usize, 0_usize);
            for (position, (at, axis, chunk)) in axes().enumerate() {
                let within = index.get(position).copied().unwrap_or(0);
                from = from.checked_mul(chunk)?.checked_add(within)?;
                to = to.checked_mul(axis)?.checked_add(at.checked_add(within)?)?;
            }
            let (from, to) = (from.checked_mul(self.element_size)?, to.checked_mul(self.element_size)?);
            let run_of_chunk = chunk.get(from..from.checked_add(run)?)?;
            out.get_mut(to..to.checked_add(run)?)?.copy_from_slice(run_of_chunk);
            if !advance(&mut index, &part) {
                return Some(());
            }
        }
    }
}

/// The next position, last axis fastest; false behind the last one.
fn advance(index: &mut [usize], part: &[usize]) -> bool {
    for (position, &axis) in index.iter_mut().zip(part).rev() {
        *position += 1;
        if *position < axis {
            return true;
        }
        *position = 0;
    }
    false
}
