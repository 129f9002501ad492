//! A single `.npy` file.

use std::collections::BTreeMap;
use std::sync::Arc;

use kw_model::{
    ByteSource, Cancel, Catalogue, CatalogueBuilder, Code, Limits, Location, Result, TensorEntry, WeightsError,
    WeightsReader,
};

use super::FORMAT;
use super::decode::{Decoder, is_plain, piece_len};
use super::header::{self, Header, START_LEN};
use crate::buffers::{self, read_range};

/// The path of the one array of an `.npy` file: what numpy calls an array that got no name.
pub const ARRAY_PATH: &str = "arr_0";

/// An opened `.npy` file.
#[derive(Debug)]
pub struct NpyReader {
    catalogue: Catalogue,
    header: Header,
}

/// Opens a `.npy` file: reads its header, touches no value.
///
/// # Errors
/// [`Code::NotWeights`], [`Code::Unsupported`] for arrays that hold no numbers, [`Code::Truncated`], [`Code::Corrupt`],
/// [`Code::Limit`].
pub fn open_npy(source: Arc<dyn ByteSource>, limits: &Limits) -> Result<NpyReader> {
    let name = source.name();
    read_header(source.as_ref(), limits)
        .and_then(|header| {
            let mut builder = CatalogueBuilder::new(vec![source], limits.clone());
            let location = Location::Range { source: 0, offset: header.data_offset };
            builder.tensor(entry(ARRAY_PATH, &header, location)?)?;
            Ok(NpyReader { catalogue: builder.finish(), header })
        })
        .map_err(|error| error.file(name).format(FORMAT))
}

/// Reads the header of an array that fills `source`.
pub(super) fn read_header(source: &dyn ByteSource, limits: &Limits) -> Result<Header> {
    let start = read_range(source, 0, source.len().min(START_LEN as u64), "the start of a numpy array")?;
    let end = header::end(&start, limits)?;
    let header = header::parse(&read_range(source, 0, end, "the header of a numpy array")?)?;
    check_len(&header, source.len())?;
    Ok(header)
}

/// Compares what the header promises with how many bytes there are, header included.
pub(super) fn check_len(header: &Header, len: u64) -> Result<()> {
    let wanted = header.shape.byte_len(header.descr.dtype)?.saturating_add(header.data_offset);
    if wanted == len {
        return Ok(());
    }
    let (code, what) =
        if wanted > len { (Code::Truncated, "it is incomplete") } else { (Code::Corrupt, "bytes are left over") };
    Err(WeightsError::new(code, format!("a numpy array speaks of {wanted} bytes, but there are {len}: {what}"))
        .format(FORMAT)
        .expected(wanted)
        .found(len))
}

/// A catalogue entry; `location` only counts when the bytes need no decoding.
pub(super) fn entry(path: &str, header: &Header, location: Location) -> Result<TensorEntry> {
    Ok(TensorEntry {
        path: path.to_owned(),
        dtype: header.descr.dtype,
        byte_len: header.shape.byte_len(header.descr.dtype)?,
        shape: header.shape.clone(),
        location: if is_plain(header) { location } else { Location::Decoded },
        digest: None,
        attributes: BTreeMap::new(),
    })
}

/// Decodes an array that lies in one piece of a source.
pub(super) fn decode_range(
    source: &dyn ByteSource,
    offset: u64,
    header: &Header,
    out: &mut [u8],
    cancel: &Cancel,
) -> Result<()> {
    let len = out.len();
    let piece = piece_len(header.descr.dtype.size()).min(len);
    let mut buffer = buffers::zeroed(piece as u64, "a piece of an array")?;
    let mut decoder = Decoder::new(header, out);
    let mut done = 0;
    while done < len {
        cancel.check()?;
        let part = buffer.get_mut(..piece.min(len.saturating_sub(done))).unwrap_or_default();
        source.read_exact_at(offset.saturating_add(done as u64), part)?;
        decoder.write(part)?;
        done = done.saturating_add(part.len());
    }
    Ok(())
}

pub(super) fn no_strings(entry: &TensorEntry) -> WeightsError {
    WeightsError::new(Code::DType, format!("{} holds {}, not strings", entry.path, entry.dtype))
        .format(FORMAT)
        .weight(entry.path.as_str())
}

impl WeightsReader for NpyReader {
    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn read_into(&self, index: usize, out: &mut [u8], cancel: &Cancel) -> Result<()> {
        let entry = self.catalogue.entry(index)?;
        buffers::check_out_len(&entry.path, out, entry.byte_len)?;
        match self.catalogue.sources().first() {
            Some(source) if entry.location == Location::Decoded => {
                decode_range(source.as_ref(), self.header.data_offset, &self.header, out, cancel)
            }
            _ => buffers::read_entry(&self.catalogue, entry, out, cancel),
        }
    }

    fn read_strings(&self, index: usize) -> Result<Vec<Vec<u8>>> {
        Err(no_strings(self.catalogue.entry(index)?))
    }

    fn format(&self) -> &'static str {
        "npy"
    }
}
