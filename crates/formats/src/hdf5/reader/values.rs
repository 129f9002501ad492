//! Reads a dataset's values into place, in pieces, from wherever they are.

use kw_model::{ByteSource, Cancel, Code, Limits, Result, WeightsError};

use super::chunks;
use super::dataset::{Layout, Stored};
use super::element_type::ElementType;
use super::file::File;
use super::storage::{SourceStorage, zeroed};
use super::strings::{reference_len, trimmed};

/// Bytes between two looks at the cancel token.
pub(super) const PIECE: usize = 4 << 20;

/// Fills `out` with the dataset's bytes, little-endian.
pub(super) fn read(
    storage: &SourceStorage,
    limits: &Limits,
    stored: &Stored,
    out: &mut [u8],
    cancel: &Cancel,
) -> Result<()> {
    match &stored.layout {
        Layout::Nothing => fill(&stored.fill, out, cancel)?,
        Layout::Run(offset) => read_run(storage.source().as_ref(), *offset, out, cancel)?,
        Layout::Header(bytes) if bytes.len() == out.len() => out.copy_from_slice(bytes),
        Layout::Header(_) => return Err(WeightsError::new(Code::Internal, "a compact dataset changed its size")),
        Layout::Chunks(found) => {
            let file = File::open(storage.view(0), limits)?;
            chunks::read(&file, storage.source().as_ref(), stored, found, out, cancel)?;
        }
    }
    if stored.swap > 1 {
        for piece in out.chunks_mut(PIECE) {
            cancel.check()?;
            piece.chunks_exact_mut(stored.swap).for_each(<[u8]>::reverse);
        }
    }
    Ok(())
}

/// Fills `out` with the bytes of one range of the source.
pub(super) fn read_run(source: &dyn ByteSource, offset: u64, out: &mut [u8], cancel: &Cancel) -> Result<()> {
    let mut at = offset;
    for piece in out.chunks_mut(PIECE) {
        cancel.check()?;
        source.read_exact_at(at, piece)?;
        at = at.saturating_add(piece.len() as u64);
    }
    Ok(())
}

/// Fills `out` with one element over and over; an empty element is zero.
pub(super) fn fill(element: &[u8], out: &mut [u8], cancel: &Cancel) -> Result<()> {
    // Pieces end between elements, whatever their size.
    let piece_len = PIECE.next_multiple_of(element.len().max(1));
    for piece in out.chunks_mut(piece_len) {
        cancel.check()?;
        if element.is_empty() {
            piece.fill(0);
        } else {
            piece.chunks_exact_mut(element.len()).for_each(|place| place.copy_from_slice(element));
        }
    }
    Ok(())
}

/// The strings of a dataset in C order.
pub(super) fn read_strings(
    storage: &SourceStorage,
    limits: &Limits,
    element: ElementType,
    stored: &Stored,
) -> Result<Vec<Vec<u8>>> {
    let len = usize::try_from(stored.byte_len)
        .map_err(|_| WeightsError::new(Code::Memory, format!("{} bytes of strings", stored.byte_len)))?;
    let mut bytes = zeroed(len)?;
    read(storage, limits, stored, &mut bytes, &Cancel::default())?;
    let elements = bytes.chunks_exact(stored.element_size.max(1));
    match element {
        ElementType::FixedString { padding, .. } => {
            Ok(elements.map(|element| trimmed(element, padding).to_vec()).collect())
        }
        ElementType::HeapString { .. } => {
            let file = File::open(storage.view(0), limits)?;
            // Many references can name the same bytes: what they say together is checked first.
            let total = elements.clone().fold(0_u64, |total, element| total.saturating_add(reference_len(element)));
            let inflated = storage.source().len().saturating_mul(limits.max_inflate_ratio);
            Limits::check("the strings of one dataset", total, limits.max_tensor_bytes.min(inflated), "bytes")?;
            let end = |bytes: Vec<u8>| trimmed(&bytes, hdf5_reader::StringPadding::NullTerminate).to_vec();
            elements.map(|element| file.heap_bytes(element).map(end)).collect()
        }
        ElementType::Number { .. } => Err(WeightsError::new(Code::DType, "the entry holds numbers, no strings")),
    }
}
