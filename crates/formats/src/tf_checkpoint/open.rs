//! From the name of a checkpoint to a reader: index first, then the data files that it refers to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use kw_model::{
    AttributeValue, ByteSource, CatalogueBuilder, Code, DType, Filesystem, Limits, Location, Result, TensorEntry,
    WeightsError,
};

use super::dtypes::{self, Stored};
use super::entry::{Entry, Header};
use super::reader::{BundleReader, Piece, Tensor};
use super::slice_key::slice_key;
use super::slices::{self, Region};
use super::{checksum, corrupt, data_file_name, index_file_name, table};

/// Opens one file of a checkpoint by its full name, prefix included.
pub type OpenSource<'a> = dyn Fn(&str) -> Result<Arc<dyn ByteSource>> + 'a;

/// Opens the checkpoint at `prefix` on a file system.
///
/// # Errors
/// As [`open`]; [`Code::Argument`] for a path that is not UTF-8.
pub fn open_path(files: &dyn Filesystem, prefix: &Path, limits: &Limits) -> Result<BundleReader> {
    let text = prefix.to_str().ok_or_else(|| {
        WeightsError::new(Code::Argument, format!("the checkpoint prefix {} is not valid UTF-8", prefix.display()))
    })?;
    open(text, &|name| files.open(Path::new(name)), limits)
}

/// Opens the checkpoint at `prefix`: reads and checks the whole index, touches no tensor.
///
/// A data file that is gone is looked for once more through a fresh index, since another process
/// may just have committed a new generation of this checkpoint.
///
/// # Errors
/// [`Code::NotFound`] without an index or data file; [`Code::Unsupported`] for a V1 checkpoint or a newer format
/// version; [`Code::NotWeights`], [`Code::Truncated`], [`Code::Corrupt`],
/// [`Code::Digest`] or [`Code::Limit`] for an index that cannot be trusted.
pub fn open(prefix: &str, open_source: &OpenSource<'_>, limits: &Limits) -> Result<BundleReader> {
    let index_name = index_file_name(prefix);
    let attempt = || {
        let index = open_source(&index_name).map_err(|error| without_index(prefix, open_source, error))?;
        let listing = Listing::read(index.as_ref(), limits)
            .map_err(|error| error.file(index_name.as_str()).format(super::FORMAT))?;
        let sources = listing.open_shards(prefix, open_source)?;
        listing.into_reader(sources, limits).map_err(|error| error.file(prefix).format(super::FORMAT))
    };
    match attempt() {
        Err(error) if error.code() == Code::NotFound && error.context().file.as_deref() != Some(&index_name) => {
            attempt()
        }
        result => result,
    }
}

/// Without an index, says whether the prefix itself is a file of the first, older format.
fn without_index(prefix: &str, open_source: &OpenSource<'_>, error: WeightsError) -> WeightsError {
    if error.code() != Code::NotFound {
        return error;
    }
    match open_source(prefix).and_then(|source| table::has_magic(source.as_ref())) {
        Ok(true) => WeightsError::new(
            Code::Unsupported,
            format!(
                "{prefix} is a TensorFlow V1 checkpoint (one file, before 2017), which is not read; \
                 rewrite it with TensorFlow: tf.compat.v1.train.Saver(write_version=tf.compat.v1.train.SaverDef.V2)"
            ),
        )
        .format("tf_checkpoint_v1")
        .file(prefix),
        _ => error.file(index_file_name(prefix)).format(super::FORMAT),
    }
}

/// The parsed index.
struct Listing {
    header: Header,
    /// By key, as the table sorts them.
    entries: Vec<(Vec<u8>, Entry)>,
}

impl Listing {
    fn read(index: &dyn ByteSource, limits: &Limits) -> Result<Self> {
        let mut header = None;
        let mut entries = Vec::new();
        table::for_each(index, limits, &mut |key, value| {
            let Some(Header { num_shards, .. }) = header else {
                if !key.is_empty() {
                    return Err(corrupt("the checkpoint's index has no header"));
                }
                header = Some(Header::decode(value)?);
                return Ok(());
            };
            let entry = Entry::decode(value).map_err(|error| error.weight(readable(key)))?;
            if entry.slices.is_empty() && entry.shard >= num_shards {
                return Err(corrupt(format!(
                    "{} lies in data file {} of {num_shards}, which does not exist",
                    readable(key),
                    entry.shard
                ))
                .weight(readable(key)));
            }
            let count = entries.len() as u64;
            Limits::check("entries of the checkpoint", count.saturating_add(1), limits.max_tensors, "entries")?;
            entries.push((key.to_vec(), entry));
            Ok(())
        })?;
        let header = header.ok_or_else(|| corrupt("the checkpoint's index is empty"))?;
        Ok(Listing { header, entries })
    }

    /// Opens the data files that some entry needs; others need not exist.
    fn open_shards(&self, prefix: &str, open_source: &OpenSource<'_>) -> Result<BTreeMap<u32, Arc<dyn ByteSource>>> {
        let needed: BTreeSet<u32> =
            self.entries.iter().filter(|(_, entry)| entry.slices.is_empty()).map(|(_, entry)| entry.shard).collect();
        needed
            .into_iter()
            .map(|shard| {
                let name = data_file_name(prefix, shard, self.header.num_shards);
                let source = open_source(&name).map_err(|error| {
                    if error.code() == Code::NotFound {
                        WeightsError::new(
                            Code::NotFound,
                            format!("{name} is missing: a checkpoint is its .index and all its .data files together"),
                        )
                        .file(name.as_str())
                        .format(super::FORMAT)
                    } else {
                        error.file(name.as_str()).format(super::FORMAT)
                    }
                })?;
                Ok((shard, source))
            })
            .collect()
    }

    fn into_reader(self, shards: BTreeMap<u32, Arc<dyn ByteSource>>, limits: &Limits) -> Result<BundleReader> {
        let numbers: BTreeMap<u32, usize> = shards.keys().enumerate().map(|(index, shard)| (*shard, index)).collect();
        let sources: Vec<Arc<dyn ByteSource>> = shards.into_values().collect();
        let mut builder = CatalogueBuilder::new(sources.clone(), limits.clone());
        let place = Place { sources: &sources, numbers: &numbers };
        let mut tensors = Vec::new();
        // Keys that begin with a zero byte belong to slices; each must be called for by its tensor.
        let first_name = self.entries.partition_point(|(key, _)| key.first() == Some(&0));
        let (slice_entries, named) = self.entries.split_at_checked(first_name).unwrap_or_default();
        let mut called_for = 0_usize;
        for (key, entry) in named {
            let path = String::from_utf8(key.clone())
                .map_err(|_| corrupt(format!("the name {} is not valid UTF-8", readable(key))))?;
            let found = if entry.slices.is_empty() {
                place.whole(entry, self.header.big_endian)
            } else {
                called_for = called_for.saturating_add(entry.slices.len());
                place.sliced(key, entry, slice_entries)
            };
            let (found, tensor) = match found.map_err(|error| error.weight(path.as_str())) {
                Ok(found) => found,
                // One tensor of a type that is no data does not spoil the others.
                Err(error) if error.code() == Code::Unsupported => {
                    builder.refuse(path, error)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            builder.tensor(TensorEntry { path, ..found })?;
            tensors.push(tensor);
        }
        if called_for != slice_entries.len() {
            return Err(corrupt(format!(
                "the index holds {} slices, but its tensors are made of {called_for}",
                slice_entries.len()
            )));
        }
        Ok(BundleReader::new(builder.finish(), tensors, self.header))
    }
}

/// Turns entries into catalogue entries once the data files are open.
struct Place<'a> {
    sources: &'a [Arc<dyn ByteSource>],
    numbers: &'a BTreeMap<u32, usize>,
}

impl Place<'_> {
    fn piece(&self, entry: &Entry) -> Result<Piece> {
        let index = self.numbers.get(&entry.shard).copied();
        let source = index.and_then(|index| self.sources.get(index));
        let (Some(index), Some(source)) = (index, source) else {
            return Err(corrupt(format!("there is no data file number {}", entry.shard)));
        };
        if entry.offset.checked_add(entry.size).is_none_or(|end| end > source.len()) {
            return Err(WeightsError::new(
                Code::Truncated,
                format!(
                    "{} bytes at offset {} are needed, but {} has {} bytes: the file is incomplete",
                    entry.size,
                    entry.offset,
                    source.name(),
                    source.len()
                ),
            )
            .format(super::FORMAT)
            .file(source.name())
            .offset(entry.offset)
            .expected(entry.offset.saturating_add(entry.size))
            .found(source.len()));
        }
        Ok(Piece { source: index, offset: entry.offset, size: entry.size, crc: checksum::unmask(entry.crc) })
    }

    fn whole(&self, entry: &Entry, big_endian: bool) -> Result<(TensorEntry, Tensor)> {
        let piece = self.piece(entry)?;
        let stored = dtypes::from_code(entry.dtype)?;
        let mut found = described(stored, entry.shape.clone(), entry.size);
        match stored {
            Stored::Fixed { .. } if big_endian && stored.swap_width() > 1 => {}
            Stored::Fixed { .. } => {
                found.location = Location::Range { source: piece.source, offset: piece.offset };
                found.digest = Some(piece.crc);
            }
            // The stored checksum covers the lengths in another form, so it is no digest of the bytes.
            Stored::Strings => {}
            Stored::Variant => {
                found.attributes.insert("shape".into(), AttributeValue::Text(entry.shape.to_string()));
                found.shape = kw_model::Shape::new([entry.size]);
                found.location = Location::Range { source: piece.source, offset: piece.offset };
            }
        }
        Ok((found, Tensor { stored, pieces: vec![(None, piece)] }))
    }

    fn sliced(&self, key: &[u8], entry: &Entry, slices: &[(Vec<u8>, Entry)]) -> Result<(TensorEntry, Tensor)> {
        let stored = dtypes::from_code(entry.dtype)?;
        if stored == Stored::Variant {
            return Err(corrupt("a variant tensor cannot lie in slices"));
        }
        let mut pieces = Vec::new();
        let mut regions = Vec::new();
        let mut stored_bytes = 0_u64;
        for extents in &entry.slices {
            let region = Region::new(extents, &entry.shape)?;
            let wanted = slice_key(key, extents);
            let (_, slice) = slices
                .binary_search_by(|(key, _)| key.cmp(&wanted))
                .ok()
                .and_then(|index| slices.get(index))
                .ok_or_else(|| corrupt("one of its slices is missing from the index"))?;
            if slice.dtype != entry.dtype || slice.shape != region.shape() || !slice.slices.is_empty() {
                return Err(corrupt(format!(
                    "one of its slices should have shape {} and has shape {}, or has another dtype",
                    region.shape(),
                    slice.shape
                )));
            }
            if let Stored::Fixed { dtype, .. } = stored
                && slice.shape.byte_len(dtype)? != slice.size
            {
                return Err(corrupt(format!("a slice of shape {} cannot have {} bytes", slice.shape, slice.size)));
            }
            stored_bytes = stored_bytes.saturating_add(slice.size);
            pieces.push((Some(region.clone()), self.piece(slice)?));
            regions.push(region);
        }
        slices::check_tiling(&entry.shape, &regions)?;
        let byte_len = match stored {
            Stored::Fixed { dtype, .. } => entry.shape.byte_len(dtype)?,
            Stored::Strings | Stored::Variant => stored_bytes,
        };
        Ok((described(stored, entry.shape.clone(), byte_len), Tensor { stored, pieces }))
    }
}

/// A catalogue entry without name and place.
fn described(stored: Stored, shape: kw_model::Shape, byte_len: u64) -> TensorEntry {
    let (dtype, alias) = match stored {
        Stored::Fixed { dtype, alias } => (dtype, alias),
        Stored::Strings => (DType::String, None),
        Stored::Variant => (DType::Opaque(1), Some("variant")),
    };
    let attributes =
        alias.map(|name| ("dtype".to_owned(), AttributeValue::Text(name.to_owned()))).into_iter().collect();
    TensorEntry { path: String::new(), dtype, shape, byte_len, location: Location::Decoded, digest: None, attributes }
}

fn readable(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}
