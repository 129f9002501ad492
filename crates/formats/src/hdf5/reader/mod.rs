//! Reads HDF5 files as a checked catalogue of tensors.
//!
//! The decoder crate `hdf5-reader` parses headers, heaps, trees and filters; it is used in this folder only.
//! Listing, types and values are ours, so that nothing it would guess or follow gets through:
//! links to elsewhere, external storage and virtual datasets are never followed, and what is valid but
//! not readable is left out with a reason ([`Catalogue::refusal`]) instead of making the file unreadable.

mod attributes;
mod chunks;
mod dataset;
mod element_type;
mod failure;
mod file;
mod filters;
mod global_heap;
mod links;
mod raw_messages;
mod storage;
mod strings;
mod values;
mod walk;

use std::sync::Arc;

use kw_model::{ByteSource, Cancel, Catalogue, Code, DType, Limits, Result, WeightsError, WeightsReader};

use failure::guarded;
use file::File;
use storage::SourceStorage;
use walk::Values;

/// Name of the format in reports and errors.
const FORMAT: &str = "hdf5";

/// An opened HDF5 file.
pub struct Hdf5Reader {
    catalogue: Catalogue,
    /// One for each entry of the catalogue.
    values: Vec<Values>,
    storage: SourceStorage,
    limits: Limits,
    name: String,
}

impl std::fmt::Debug for Hdf5Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hdf5Reader")
            .field("name", &self.name)
            .field("catalogue", &self.catalogue)
            .finish_non_exhaustive()
    }
}

/// Opens an HDF5 file: reads and checks all its metadata, but no tensor bytes.
///
/// Entries and groups keep their HDF5 paths without the leading slash (`""` is the root), members sorted
/// by name. Contiguous little-endian data become [`kw_model::Location::Range`]; opaque data of two bytes with an
/// attribute `dtype` = `bfloat16` are bfloat16, as Keras 3 writes them; the attribute `kw_crc32c` is the digest.
/// `byte_len` of a string entry counts what the dataset itself stores (for strings in a heap: references).
///
/// # Errors
/// [`Code::NotWeights`] when there is no HDF5 signature, [`Code::Truncated`] when the file is shorter than its
/// superblock says, [`Code::Corrupt`], [`Code::Limit`], [`Code::Unsupported`] when even the root cannot be read,
/// [`Code::Io`].
pub fn open(source: Arc<dyn ByteSource>, limits: &Limits) -> Result<Hdf5Reader> {
    let name = source.name();
    let storage = SourceStorage::new(Arc::clone(&source), limits.max_header_bytes);
    let listed = guarded(|| {
        let file = File::open(storage.view(0), limits)?;
        walk::list(&file, source)
    });
    match listed {
        Ok((catalogue, values)) => Ok(Hdf5Reader { catalogue, values, storage, limits: limits.clone(), name }),
        Err(error) => Err(error.file(name).format(FORMAT)),
    }
}

impl Hdf5Reader {
    /// Runs `work` on the stored values of an entry, errors with the entry's path.
    fn with_values<T>(&self, index: usize, work: impl FnOnce(&Values) -> Result<T>) -> Result<T> {
        let entry = self.catalogue.entry(index)?;
        let told = |error: WeightsError| {
            error.at(&entry.path).weight(entry.path.as_str()).file(self.name.as_str()).format(FORMAT)
        };
        let values = self
            .values
            .get(index)
            .ok_or_else(|| told(WeightsError::new(Code::Internal, "an entry without stored values")))?;
        guarded(|| work(values)).map_err(told)
    }
}

impl WeightsReader for Hdf5Reader {
    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn read_into(&self, index: usize, out: &mut [u8], cancel: &Cancel) -> Result<()> {
        let entry = self.catalogue.entry(index)?;
        self.with_values(index, |values| {
            if entry.dtype == DType::String {
                return Err(WeightsError::new(Code::DType, "it holds strings; read them as strings"));
            }
            if out.len() as u64 != entry.byte_len {
                let message = format!("{} bytes of room for {} bytes", out.len(), entry.byte_len);
                return Err(WeightsError::new(Code::Argument, message)
                    .expected(entry.byte_len)
                    .found(out.len() as u64));
            }
            values::read(&self.storage, &self.limits, &values.stored, out, cancel)
        })
    }

    fn read_strings(&self, index: usize) -> Result<Vec<Vec<u8>>> {
        self.with_values(index, |values| {
            values::read_strings(&self.storage, &self.limits, values.element, &values.stored)
        })
    }

    fn format(&self) -> &'static str {
        FORMAT
    }
}
