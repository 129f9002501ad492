//! One chunk: undo its filters, take shards apart, put it into the array.

use kw_model::{Code, Limits, Result, Shape, WeightsError, crc32c};

use super::zarr::{Codecs, Filter, Layout, Sharding};
use super::{compression, corrupt};
use crate::buffers;

/// Decodes a chunk to its dense bytes.
pub(super) fn decode(stored: Vec<u8>, codecs: &Codecs, shape: &Shape, width: u64, limits: &Limits) -> Result<Vec<u8>> {
    let len = shape.num_elements()?.saturating_mul(width);
    Limits::check("a chunk of an array", len, limits.max_tensor_bytes, "bytes")?;
    let mut bytes = stored;
    let plain = matches!(codecs.layout, Layout::Bytes);
    for filter in codecs.filters.iter().rev() {
        bytes = match filter {
            Filter::Crc32c => checked(bytes)?,
            // Around shards, compression leaves their length open; it is no longer than the chunk and its index.
            Filter::Zstd => {
                let most = if plain { len } else { len.saturating_mul(2).saturating_add(1 << 20) };
                compression::check_ratio(bytes.len(), if plain { len } else { 0 }, limits)?;
                compression::decompress(&bytes, most)?
            }
        };
    }
    match &codecs.layout {
        Layout::Bytes if bytes.len() as u64 == len => Ok(bytes),
        Layout::Bytes => {
            Err(corrupt(format!("a chunk of shape {shape} should have {len} bytes and has {}", bytes.len()))
                .expected(len)
                .found(bytes.len() as u64))
        }
        Layout::Sharded(sharding) => {
            let mut out = Vec::new();
            take_apart(&bytes, sharding, shape, width, limits, &mut out)?;
            Ok(out)
        }
    }
}

fn checked(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    let (body, checksum) = bytes.split_last_chunk().ok_or_else(|| corrupt("a chunk is shorter than its checksum"))?;
    let (wanted, found) = (u32::from_le_bytes(*checksum), crc32c(body));
    if wanted != found {
        return Err(WeightsError::new(Code::Digest, "a part of an array does not fit its checksum")
            .format(super::FORMAT)
            .expected(format!("{wanted:08x}"))
            .found(format!("{found:08x}")));
    }
    let len = body.len();
    bytes.truncate(len);
    Ok(bytes)
}

/// Decodes the smaller chunks of a shard.
fn take_apart(
    bytes: &[u8],
    sharding: &Sharding,
    shape: &Shape,
    width: u64,
    limits: &Limits,
    out: &mut Vec<u8>,
) -> Result<()> {
    let grid: Vec<u64> =
        shape.axes().iter().zip(sharding.chunk.axes()).map(|(outer, inner)| outer / (*inner).max(1)).collect();
    let grid = Shape::new(grid);
    let malformed = || corrupt("the index of a sharded array does not fit in its bytes");
    let index_len = grid
        .num_elements()?
        .checked_mul(16)
        .and_then(|len| len.checked_add(if sharding.index_checksum { 4 } else { 0 }));
    let index_len = index_len.and_then(|len| usize::try_from(len).ok()).ok_or_else(malformed)?;
    let index = if sharding.index_at_end {
        bytes.len().checked_sub(index_len).and_then(|start| bytes.get(start..))
    } else {
        bytes.get(..index_len)
    };
    let mut index = index.ok_or_else(malformed)?.to_vec();
    if sharding.index_checksum {
        index = checked(index)?;
    }
    // The chunks are in the index and the index is in the file, but how long they come out only they say.
    let len = shape.num_elements()?.saturating_mul(width);
    compression::check_ratio(bytes.len(), len, limits)?;
    *out = buffers::zeroed(len, "a chunk of an array")?;
    let (pairs, _) = index.as_chunks::<16>();
    for (position, pair) in indices(&grid).zip(pairs) {
        let (offset, len) = pair.split_first_chunk::<8>().ok_or_else(malformed)?;
        let offset = u64::from_le_bytes(*offset);
        let len = u64::from_le_bytes(*len.first_chunk().ok_or_else(malformed)?);
        if offset == u64::MAX && len == u64::MAX {
            return Err(missing());
        }
        let end = offset.checked_add(len).and_then(|end| usize::try_from(end).ok());
        let part = usize::try_from(offset).ok().zip(end).and_then(|(start, end)| bytes.get(start..end));
        let part = part.ok_or_else(malformed)?;
        let part = decode(part.to_vec(), &sharding.codecs, &sharding.chunk, width, limits)?;
        place(&part, &sharding.chunk, &position, out, shape, width)?;
    }
    Ok(())
}

/// A part that was not stored because it equals the fill value. Orbax always stores all, so something is lost.
pub(super) fn missing() -> WeightsError {
    corrupt("a chunk of an array is missing")
}

/// All positions in a grid, the last axis turning fastest.
pub(super) fn indices(grid: &Shape) -> impl Iterator<Item = Vec<u64>> + use<> {
    let axes = grid.axes().to_vec();
    let first = (!axes.contains(&0)).then(|| vec![0; axes.len()]);
    std::iter::successors(first, move |last| {
        let mut next = last.clone();
        for (counter, axis) in next.iter_mut().zip(&axes).rev() {
            *counter += 1;
            if *counter < *axis {
                return Some(next);
            }
            *counter = 0;
        }
        None
    })
}

/// Copies the chunk at `position` of the grid into the array, without what hangs over its edge.
pub(super) fn place(
    chunk: &[u8],
    chunk_shape: &Shape,
    position: &[u64],
    out: &mut [u8],
    shape: &Shape,
    width: u64,
) -> Result<()> {
    let misfit = || WeightsError::new(Code::Internal, "a chunk does not fit its array").format(super::FORMAT);
    let axes = || position.iter().zip(chunk_shape.axes()).zip(shape.axes());
    let starts: Vec<u64> = axes().map(|((index, chunk), _)| index.saturating_mul(*chunk)).collect();
    let lens: Vec<u64> =
        starts.iter().zip(axes()).map(|(start, ((_, chunk), axis))| axis.saturating_sub(*start).min(*chunk)).collect();
    let run = lens.last().copied().unwrap_or(1).saturating_mul(width);
    let rows = Shape::new(lens.split_last().map(|(_, rows)| rows.to_vec()).unwrap_or_default());
    // Offset of a row: all axes but the last, which begins at `last`.
    let offset = |row: &[u64], origin: &[u64], shape: &[u64], last: u64| {
        let mut offset = 0_u64;
        for (index, axis) in shape.iter().enumerate() {
            let inside = row.get(index).copied().unwrap_or(last);
            let start = origin.get(index).copied().unwrap_or(0);
            offset = offset.saturating_mul(*axis).saturating_add(inside.saturating_add(start));
        }
        offset.saturating_mul(width)
    };
    let no_origin = vec![0; position.len()];
    for row in indices(&rows) {
        let range = |start: u64| -> Option<std::ops::Range<usize>> {
            Some(usize::try_from(start).ok()?..usize::try_from(start.checked_add(run)?).ok()?)
        };
        let from = range(offset(&row, &no_origin, chunk_shape.axes(), 0)).and_then(|range| chunk.get(range));
        let to = range(offset(&row, &starts, shape.axes(), 0)).and_then(|range| out.get_mut(range));
        let (Some(from), Some(to)) = (from, to) else { return Err(misfit()) };
        to.copy_from_slice(from);
    }
    Ok(())
}
