//! Converting a file into another format, tensor after tensor, in constant memory.
//!
//! Without a model the names are kept: object paths stay object paths, a flat container takes any names. From and to the
//! legacy layout, whose names are those of layers and weights, a model says what belongs where.

use std::collections::BTreeMap;
use std::path::Path;

use kw_formats::hdf5::writer::{DIGEST_ATTRIBUTE, DatasetOptions, H5Attribute, H5Builder};
use kw_formats::npy::NpzBuilder;
use kw_formats::safetensors::SafetensorsBuilder;
use kw_model::{
    AttributeValue, Cancel, Catalogue, Code, Crc32c, DType, Filesystem, Location, Result, TensorEntry, WeightsError,
    WeightsReader, crc32c,
};
use serde::Serialize;

use crate::cast;
use crate::content::Content;
use crate::format::{self, Format};
use crate::load::{LoadOptions, Value, plan_load};
use crate::open::OpenedFile;
use crate::save::{SaveOptions, SavePlan, ValueStream, execute_save, plan_save, shard_bytes};
use crate::sharded_save::Sharding;
use crate::tree::{Flavor, ModelTree};

/// Bytes read at once; a multiple of every element's size.
const PIECE: usize = 1 << 20;

/// What a conversion wrote, and what it could not keep.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConvertReport {
    /// Format of the new file.
    pub format: Format,
    /// Format of the old file.
    pub from: Format,
    /// The new file.
    pub path: String,
    /// Tensors in it.
    pub tensors: u64,
    /// Bytes of all of them.
    pub tensor_bytes: u64,
    /// Tensors that the new format cannot hold, by path, each with the reason.
    pub left_out: BTreeMap<String, String>,
    /// Attributes of groups and tensors that the new format has no place for, as `path@name`.
    pub dropped: Vec<String>,
    /// Tensors in which finite values became infinite, with how many.
    pub overflowed: BTreeMap<String, u64>,
}

/// Converts without a model. `dtype` makes all floating-point tensors (float16, bfloat16, float32, float64) that one.
///
/// # Errors
/// [`Code::Format`] when the names cannot be kept in the format that `target` asks for; [`Code::Argument`] for a `dtype`
/// that is no floating-point type; as [`execute_save`].
pub fn convert(
    file: &OpenedFile,
    target: &Path,
    dtype: Option<DType>,
    options: &SaveOptions,
    fs: &dyn Filesystem,
    cancel: &Cancel,
    progress: &mut dyn FnMut(u64),
) -> Result<ConvertReport> {
    if dtype.is_some_and(|dtype| !is_float(dtype)) {
        return Err(WeightsError::new(Code::Argument, "values are converted to float16, bfloat16, float32 or float64"));
    }
    let format = format::to_save(target, options.save_format.as_deref(), Flavor::Keras3)?;
    let catalogue = file.reader.catalogue();
    let mut kept = Kept::default();
    let content = lay_out(file, format, target, dtype, options, &mut kept)
        .map_err(|error| error.file(target.display().to_string()).format(format.name()))?;
    let plan = SavePlan::of_content(format, target, options.overwrite, content, kept.entries);
    let mut values =
        Converting { reader: file.reader.as_ref(), plan: &plan, dtype, cancel, overflowed: BTreeMap::new(), read: 0 };
    let located = |error: WeightsError| error.file(&file.source_name).format(file.format.name());
    let mut digests = Vec::with_capacity(plan.variables().len());
    for tensor in 0..plan.variables().len() {
        let mut crc = Crc32c::default();
        values
            .pump(tensor, &mut |bytes| {
                cancel.check()?;
                crc.update(bytes);
                Ok(())
            })
            .map_err(located)?;
        let entry = catalogue.entry(plan.variables().get(tensor).copied().unwrap_or(usize::MAX))?;
        check_digest(file.reader.as_ref(), entry, plan.variables().get(tensor).copied(), values.read, cancel)
            .map_err(located)?;
        digests.push(crc.value());
    }
    let overflowed = std::mem::take(&mut values.overflowed);
    let saved = execute_save(&plan, fs, &digests, &mut values, cancel, progress)?;
    let mut left_out = kept.left_out;
    left_out.extend(catalogue.refusals().iter().map(|(path, reason)| (path.clone(), reason.message().to_owned())));
    Ok(ConvertReport {
        format,
        from: file.format,
        path: saved.path,
        tensors: saved.tensors,
        tensor_bytes: saved.tensor_bytes,
        left_out,
        dropped: kept.dropped,
        overflowed,
    })
}

/// What of the file goes into the new one.
#[derive(Default)]
struct Kept {
    /// The entry of each tensor, in the order of writing.
    entries: Vec<usize>,
    left_out: BTreeMap<String, String>,
    dropped: Vec<String>,
}

fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::Float16 | DType::BFloat16 | DType::Float32 | DType::Float64)
}

/// The dtype of an entry in the new file.
fn becomes(entry: &TensorEntry, dtype: Option<DType>) -> DType {
    dtype.filter(|_| is_float(entry.dtype)).unwrap_or(entry.dtype)
}

fn lay_out(
    file: &OpenedFile,
    format: Format,
    target: &Path,
    dtype: Option<DType>,
    options: &SaveOptions,
    kept: &mut Kept,
) -> Result<Content> {
    let catalogue = file.reader.catalogue();
    let refuse = |what: &str| {
        Err(WeightsError::new(Code::Format, format!("{what}: give the model's config, which says what belongs where")))
    };
    match format {
        Format::Safetensors | Format::Npz => {
            drop_attributes(catalogue, kept);
            flat(catalogue, format, dtype, options, kept)
        }
        Format::Keras3H5 | Format::Sharded => {
            if let Some(entry) = catalogue.entries().iter().find(|entry| !is_object_path(&entry.path)) {
                return refuse(&format!("{} is no object path, which {} needs", entry.path, format.name()));
            }
            let sharding = match format {
                Format::Sharded => Some(Sharding::new(shard_bytes(target, options)?)),
                _ => None,
            };
            hdf5(catalogue, dtype, options, sharding, kept)
        }
        Format::LegacyH5 if file.format == Format::LegacyH5 => hdf5(catalogue, dtype, options, None, kept),
        _ => refuse(&format!("names of {} cannot be kept in {}", file.format.name(), format.name())),
    }
}

/// `layers/dense/vars/0`
fn is_object_path(path: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(group, key)| {
        (group == "vars" || group.ends_with("/vars"))
            && !key.is_empty()
            && key.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn drop_attributes(catalogue: &Catalogue, kept: &mut Kept) {
    for (path, group) in catalogue.groups() {
        let names = group.attributes.keys().filter(|name| *name != DIGEST_ATTRIBUTE);
        kept.dropped.extend(names.map(|name| format!("{path}@{name}")));
    }
}

fn flat(
    catalogue: &Catalogue,
    format: Format,
    dtype: Option<DType>,
    options: &SaveOptions,
    kept: &mut Kept,
) -> Result<Content> {
    let (mut safetensors, mut npz) = (SafetensorsBuilder::new(), NpzBuilder::new());
    if options.digests.unwrap_or(true) {
        safetensors.with_digests();
    }
    for (name, text) in &options.metadata {
        safetensors.metadata(name, text);
    }
    let mut entries = Vec::new();
    for (index, entry) in catalogue.entries().iter().enumerate() {
        let to = becomes(entry, dtype);
        let added = match format {
            Format::Npz => npz.tensor(&entry.path, to, entry.shape.clone()),
            _ => safetensors.tensor(&entry.path, to, entry.shape.clone()),
        };
        match added {
            Ok(_) => entries.push(index),
            Err(error) if matches!(error.code(), Code::DType | Code::Unsupported) => {
                kept.left_out.insert(entry.path.clone(), error.message().to_owned());
            }
            Err(error) => return Err(error),
        }
    }
    if format == Format::Npz {
        kept.entries = entries;
        return Ok(Content::Npz(npz.plan()?));
    }
    let plan = safetensors.plan()?;
    kept.entries = plan.tensors().iter().filter_map(|tensor| entries.get(tensor.index()).copied()).collect();
    Ok(Content::Safetensors(plan))
}

fn hdf5(
    catalogue: &Catalogue,
    dtype: Option<DType>,
    options: &SaveOptions,
    mut sharding: Option<Sharding>,
    kept: &mut Kept,
) -> Result<Content> {
    let mut builder = H5Builder::new();
    let digest = options.digests.unwrap_or(true);
    for (path, group) in catalogue.groups() {
        builder.group(path)?;
        // A digest of texts and of what stands beside them says nothing of another file.
        for (name, value) in group.attributes.iter().filter(|(name, _)| *name != DIGEST_ATTRIBUTE) {
            match attribute(value) {
                Some(value) => builder.attribute(path, name, value)?,
                None => kept.dropped.push(format!("{path}@{name}")),
            }
        }
    }
    for (index, entry) in catalogue.entries().iter().enumerate() {
        let to = becomes(entry, dtype);
        if entry.dtype == DType::String {
            kept.left_out.insert(entry.path.clone(), "texts are not copied".to_owned());
            continue;
        }
        if let Some(sharding) = &mut sharding {
            let byte_len = entry.shape.byte_len(to)?;
            if sharding.add(&entry.path, &entry.path, byte_len, kept.entries.len())? {
                sharding.close(std::mem::take(&mut builder), kept.entries.len())?;
            }
        }
        builder.dataset(&entry.path, to, entry.shape.clone(), DatasetOptions { digest })?;
        if to == DType::BFloat16 {
            builder.attribute(&entry.path, "dtype", H5Attribute::Utf8("bfloat16".to_owned()))?;
        }
        kept.entries.push(index);
    }
    Ok(match sharding {
        Some(sharding) => Content::Sharded(sharding.finish(builder, kept.entries.len())?),
        None => Content::Hdf5(builder.plan()?),
    })
}

fn attribute(value: &AttributeValue) -> Option<H5Attribute> {
    Some(match value {
        AttributeValue::Text(text) => H5Attribute::Utf8(text.clone()),
        AttributeValue::Texts(texts) => H5Attribute::TextList(texts.clone()),
        AttributeValue::Int(int) => H5Attribute::Int(*int),
        AttributeValue::Float(_) | AttributeValue::Other(_) => return None,
    })
}

/// Reads one tensor after the other.
struct Converting<'a> {
    reader: &'a dyn WeightsReader,
    plan: &'a SavePlan,
    dtype: Option<DType>,
    cancel: &'a Cancel,
    overflowed: BTreeMap<String, u64>,
    /// CRC32C of what was read for the last tensor.
    read: u32,
}

impl ValueStream for Converting<'_> {
    fn pump(&mut self, tensor: usize, out: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let index = self.plan.variables().get(tensor).copied().unwrap_or(usize::MAX);
        let entry = self.reader.catalogue().entry(index)?;
        let to = becomes(entry, self.dtype);
        let mut count = 0_u64;
        let mut read = Crc32c::default();
        let mut converted = Vec::new();
        let mut take = |bytes: &[u8]| {
            read.update(bytes);
            if to == entry.dtype {
                return out(bytes);
            }
            converted.resize(bytes.len() / entry.dtype.size() * to.size(), 0);
            cast::cast(bytes, entry.dtype, to, &mut converted)?;
            count = count.saturating_add(overflows(bytes, entry.dtype, &converted, to));
            out(&converted)
        };
        match (&entry.location, self.reader.catalogue().sources()) {
            (Location::Range { source, offset }, sources) => {
                let source = sources.get(*source).ok_or_else(|| {
                    WeightsError::new(Code::Internal, "a tensor lies in a source that does not exist")
                })?;
                let mut piece = vec![0; PIECE];
                let mut done = 0_u64;
                while done < entry.byte_len {
                    self.cancel.check()?;
                    let len = usize::try_from(entry.byte_len.saturating_sub(done)).unwrap_or(PIECE).min(PIECE);
                    let Some(piece) = piece.get_mut(..len) else { break };
                    source.read_exact_at(offset.saturating_add(done), piece)?;
                    take(piece)?;
                    done = done.saturating_add(len as u64);
                }
            }
            (Location::Decoded, _) => take(&whole(self.reader, index, entry.byte_len, self.cancel)?)?,
        }
        self.read = read.value();
        if count > 0 {
            self.overflowed.insert(entry.path.clone(), count);
        }
        Ok(())
    }
}

/// A conversion would hide damage under new digests.
fn check_digest(
    reader: &dyn WeightsReader,
    entry: &TensorEntry,
    index: Option<usize>,
    found: u32,
    cancel: &Cancel,
) -> Result<()> {
    match entry.digest {
        Some(expected) if expected != found => Err(WeightsError::new(
            Code::Digest,
            format!("the bytes of {} do not fit the digest stored with them: the file is damaged", entry.path),
        )
        .weight(&entry.path)
        .expected(format!("{expected:08x}"))
        .found(format!("{found:08x}"))),
        Some(_) => Ok(()),
        None => reader.verify_stored(index.unwrap_or(usize::MAX), cancel).map(|_| ()),
    }
}

fn whole(reader: &dyn WeightsReader, index: usize, byte_len: u64, cancel: &Cancel) -> Result<Vec<u8>> {
    let memory = || WeightsError::new(Code::Memory, format!("no memory for the {byte_len} bytes of a tensor"));
    let len = usize::try_from(byte_len).map_err(|_| memory())?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| memory())?;
    bytes.resize(len, 0);
    reader.read_into(index, &mut bytes, cancel)?;
    Ok(bytes)
}

/// How many finite elements became infinite.
fn overflows(from: &[u8], from_dtype: DType, to: &[u8], to_dtype: DType) -> u64 {
    let elements = from.chunks_exact(from_dtype.size()).zip(to.chunks_exact(to_dtype.size()));
    elements.filter(|(from, to)| is_finite(from, from_dtype) && !is_finite(to, to_dtype)).count() as u64
}

/// Whether the exponent is not all ones.
fn is_finite(bytes: &[u8], dtype: DType) -> bool {
    let (Some(&high), Some(&next)) = (bytes.last(), bytes.len().checked_sub(2).and_then(|at| bytes.get(at))) else {
        return true;
    };
    let top = u16::from_be_bytes([high, next]);
    let exponent = match dtype {
        DType::Float16 => 0x7c00,
        DType::Float64 => 0x7ff0,
        _ => 0x7f80,
    };
    top & exponent != exponent
}

/// Converts through a model: everything the model has is loaded by the rules of the old format and saved by those of the new.
///
/// # Errors
/// As [`plan_load`], [`plan_save`] and [`execute_save`]; [`Code::Missing`] when the file lacks weights of the model.
pub fn convert_model(
    tree: &ModelTree,
    file: &OpenedFile,
    target: &Path,
    options: &SaveOptions,
    fs: &dyn Filesystem,
    cancel: &Cancel,
    progress: &mut dyn FnMut(u64),
) -> Result<ConvertReport> {
    let load = plan_load(tree, file, &LoadOptions::default())?;
    let values: BTreeMap<usize, Value> = load.assignments.into_iter().map(|to| (to.variable, to.value)).collect();
    let plan = plan_save(tree, target, options)?;
    let mut stream = Through { tree, file, plan: &plan, values, cancel };
    let mut digests = Vec::with_capacity(plan.variables().len());
    for tensor in 0..plan.variables().len() {
        let mut crc = Crc32c::default();
        stream.pump(tensor, &mut |bytes| {
            cancel.check()?;
            crc.update(bytes);
            Ok(())
        })?;
        digests.push(crc.value());
    }
    let saved = execute_save(&plan, fs, &digests, &mut stream, cancel, progress)?;
    let unused = |path: String| (path, "no weight of the model takes it".to_owned());
    Ok(ConvertReport {
        format: saved.format,
        from: file.format,
        path: saved.path,
        tensors: saved.tensors,
        tensor_bytes: saved.tensor_bytes,
        left_out: load.report.unexpected.into_iter().map(unused).collect(),
        dropped: Vec::new(),
        overflowed: BTreeMap::new(),
    })
}

struct Through<'a> {
    tree: &'a ModelTree,
    file: &'a OpenedFile,
    plan: &'a SavePlan,
    values: BTreeMap<usize, Value>,
    cancel: &'a Cancel,
}

impl ValueStream for Through<'_> {
    fn pump(&mut self, tensor: usize, out: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let number = self.plan.variables().get(tensor).copied().unwrap_or(usize::MAX);
        let variable = self.tree.variable(number)?;
        let reader = self.file.reader.as_ref();
        let value = self.values.get(&number).or_else(|| self.values.get(&variable.stands_for?));
        match value {
            None => Err(WeightsError::new(
                Code::Missing,
                format!("{} has no value for {}, which the new file needs", self.file.source_name, variable.path),
            )
            .weight(&variable.path)),
            Some(Value::Computed(recipe)) => out(&recipe.evaluate(reader, self.cancel)?),
            Some(Value::Tensor { entry, cast, reinterpret }) => {
                let stored = reader.catalogue().entry(*entry)?;
                let bytes = whole(reader, *entry, stored.byte_len, self.cancel)?;
                check_digest(reader, stored, Some(*entry), crc32c(&bytes), self.cancel)?;
                let Some(to) = cast else { return out(&bytes) };
                let from = reinterpret.unwrap_or(stored.dtype);
                let mut converted = vec![0; bytes.len() / from.size() * to.size()];
                cast::cast(&bytes, from, *to, &mut converted)?;
                out(&converted)
            }
        }
    }
}
