//! Buffers whose size a file may ask for, and reads that can be cancelled.

use kw_model::{ByteSource, Cancel, Catalogue, Code, Location, Result, TensorEntry, WeightsError};

/// Bytes between two looks at the cancel flag.
pub(crate) const PIECE: usize = 4 << 20;

/// `len` zero bytes, or [`Code::Memory`]: the process never ends because a file asked for too much.
/// The caller has checked `len` against the source and the limits.
pub(crate) fn zeroed(len: u64, what: &str) -> Result<Vec<u8>> {
    let refused = || WeightsError::new(Code::Memory, format!("{len} bytes of memory for {what} could not be had"));
    let len = usize::try_from(len).map_err(|_| refused())?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| refused())?;
    bytes.resize(len, 0);
    Ok(bytes)
}

/// Reads a range into memory. The range is compared with the source before anything is allocated.
pub(crate) fn read_range(source: &dyn ByteSource, offset: u64, len: u64, what: &str) -> Result<Vec<u8>> {
    if offset.checked_add(len).is_none_or(|end| end > source.len()) {
        return Err(WeightsError::new(
            Code::Truncated,
            format!(
                "{what} needs {len} bytes at offset {offset}, but {} has {} bytes: the file is incomplete",
                source.name(),
                source.len()
            ),
        )
        .file(source.name())
        .offset(offset)
        .expected(offset.saturating_add(len))
        .found(source.len()));
    }
    let mut bytes = zeroed(len, what)?;
    source.read_exact_at(offset, &mut bytes)?;
    Ok(bytes)
}

/// Fills `out` from `offset`, looking at `cancel` between pieces.
pub(crate) fn read_pieces(source: &dyn ByteSource, offset: u64, out: &mut [u8], cancel: &Cancel) -> Result<()> {
    let mut position = offset;
    for piece in out.chunks_mut(PIECE) {
        cancel.check()?;
        source.read_exact_at(position, piece)?;
        position = position.saturating_add(piece.len() as u64);
    }
    Ok(())
}

/// Fills `out` with a tensor that lies in one piece.
pub(crate) fn read_entry(catalogue: &Catalogue, entry: &TensorEntry, out: &mut [u8], cancel: &Cancel) -> Result<()> {
    let place = match entry.location {
        Location::Range { source, offset } => catalogue.sources().get(source).zip(Some(offset)),
        Location::Decoded => None,
    };
    let (source, offset) =
        place.ok_or_else(|| WeightsError::new(Code::Internal, format!("{} has no place", entry.path)))?;
    read_pieces(source.as_ref(), offset, out, cancel).map_err(|error| error.weight(entry.path.as_str()))
}

/// Fails unless the buffer has exactly the tensor's size.
pub(crate) fn check_out_len(path: &str, out: &[u8], byte_len: u64) -> Result<()> {
    if out.len() as u64 == byte_len {
        return Ok(());
    }
    Err(WeightsError::new(
        Code::Argument,
        format!("{path} has {byte_len} bytes, but the buffer for it has {} bytes", out.len()),
    )
    .weight(path)
    .expected(byte_len)
    .found(out.len() as u64))
}

/// Turns every group of `width` bytes round: big-endian values become little-endian ones.
pub(crate) fn swap_bytes(bytes: &mut [u8], width: usize) {
    if width > 1 {
        for element in bytes.chunks_exact_mut(width) {
            element.reverse();
        }
    }
}
