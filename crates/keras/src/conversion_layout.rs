//! The file that a conversion without a model writes: the tensors of the old one under their names.

use std::collections::BTreeMap;
use std::path::Path;

use kw_formats::hdf5::writer::{DIGEST_ATTRIBUTE, DatasetOptions, H5Attribute, H5Builder};
use kw_formats::npy::NpzBuilder;
use kw_formats::safetensors::SafetensorsBuilder;
use kw_formats::tf_checkpoint::BundleBuilder;
use kw_formats::tfjs_layers::{self, TfjsBuilder};
use kw_model::{AttributeValue, Catalogue, Code, DType, Result, TensorEntry, WeightsError};

use crate::by_path_save::{safetensors_content, tfjs_content};
use crate::content::Content;
use crate::format::Format;
use crate::open::OpenedFile;
use crate::save::{SaveOptions, max_shard_bytes, shard_bytes};
use crate::sharded_save::Sharding;

/// What of the file goes into the new one.
#[derive(Default)]
pub(crate) struct Kept {
    /// The entry of each tensor, in the order of writing.
    pub(crate) entries: Vec<usize>,
    pub(crate) left_out: BTreeMap<String, String>,
    pub(crate) dropped: Vec<String>,
}

pub(crate) fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::Float16 | DType::BFloat16 | DType::Float32 | DType::Float64)
}

/// The dtype of values in the new file: the one asked for, and what holds it there without any change.
pub(crate) fn becomes(stored: DType, asked: Option<DType>, format: Format) -> DType {
    let dtype = asked.filter(|_| is_float(stored)).unwrap_or(stored);
    match format {
        Format::TfjsLayers => tfjs_layers::holds(dtype).unwrap_or(dtype),
        _ => dtype,
    }
}

pub(crate) fn lay_out(
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
        Format::Safetensors | Format::Npz | Format::TfCheckpoint | Format::TfjsLayers => {
            drop_attributes(catalogue, format, kept);
            flat(file, format, target, dtype, options, kept)
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

/// Texts of the root are metadata of safetensors files; other attributes have no place in flat containers.
fn drop_attributes(catalogue: &Catalogue, format: Format, kept: &mut Kept) {
    for (path, group) in catalogue.groups() {
        for (name, value) in others(&group.attributes) {
            let metadata = format == Format::Safetensors && path.is_empty() && matches!(value, AttributeValue::Text(_));
            if !metadata {
                kept.dropped.push(format!("{path}@{name}"));
            }
        }
    }
    for entry in catalogue.entries() {
        kept.dropped.extend(own_attributes(entry).map(|(name, _)| format!("{}@{name}", entry.path)));
    }
}

/// Attributes but for digests, which say nothing of another file.
fn others(attributes: &BTreeMap<String, AttributeValue>) -> impl Iterator<Item = (&String, &AttributeValue)> {
    attributes.iter().filter(|(name, _)| *name != DIGEST_ATTRIBUTE)
}

/// A tensor's attributes, but for the mark of bfloat16, which is made anew.
fn own_attributes(entry: &TensorEntry) -> impl Iterator<Item = (&String, &AttributeValue)> {
    others(&entry.attributes).filter(|(name, _)| *name != "dtype")
}

/// A container that takes any names.
enum Flat {
    Npz(NpzBuilder),
    Safetensors(SafetensorsBuilder),
    Checkpoint(BundleBuilder),
    LayersModel(TfjsBuilder),
}

impl Flat {
    fn new(format: Format, catalogue: &Catalogue, options: &SaveOptions) -> Result<Self> {
        Ok(match format {
            Format::Npz => Flat::Npz(NpzBuilder::new()),
            Format::TfjsLayers => Flat::LayersModel(TfjsBuilder::new()),
            Format::TfCheckpoint => {
                let mut builder = BundleBuilder::new();
                if let Some(bytes) = max_shard_bytes(options)? {
                    builder.max_shard_bytes(bytes);
                }
                Flat::Checkpoint(builder)
            }
            _ => {
                let mut builder = SafetensorsBuilder::new();
                if options.digests.unwrap_or(true) {
                    builder.with_digests();
                }
                for (name, value) in catalogue.group("").iter().flat_map(|root| &root.attributes) {
                    if let AttributeValue::Text(text) = value {
                        builder.metadata(name, text);
                    }
                }
                for (name, text) in &options.metadata {
                    builder.metadata(name, text);
                }
                Flat::Safetensors(builder)
            }
        })
    }

    fn add(&mut self, file: &OpenedFile, index: usize, entry: &TensorEntry, dtype: DType) -> Result<()> {
        let (path, shape) = (entry.path.as_str(), entry.shape.clone());
        match self {
            // Names, as of the object graph, and texts alike.
            Flat::Checkpoint(builder) if dtype == DType::String => {
                builder.strings(path, shape, &file.reader.read_strings(index)?).map(|_| ())
            }
            Flat::Checkpoint(builder) => builder.tensor(path, dtype, shape).map(|_| ()),
            Flat::Npz(builder) => builder.tensor(path, dtype, shape).map(|_| ()),
            Flat::Safetensors(builder) => builder.tensor(path, dtype, shape).map(|_| ()),
            Flat::LayersModel(builder) => builder.tensor(path, dtype, shape),
        }
    }
}

fn flat(
    file: &OpenedFile,
    format: Format,
    target: &Path,
    dtype: Option<DType>,
    options: &SaveOptions,
    kept: &mut Kept,
) -> Result<Content> {
    let catalogue = file.reader.catalogue();
    let mut builder = Flat::new(format, catalogue, options)?;
    let mut entries = Vec::new();
    for (index, entry) in catalogue.entries().iter().enumerate() {
        match builder.add(file, index, entry, becomes(entry.dtype, dtype, format)) {
            Ok(()) => entries.push(index),
            Err(error) if matches!(error.code(), Code::DType | Code::Unsupported) => {
                kept.left_out.insert(entry.path.clone(), error.message().to_owned());
            }
            Err(error) => return Err(error),
        }
    }
    let content = match builder {
        Flat::Npz(builder) => Content::Npz(builder.plan()?),
        Flat::Checkpoint(builder) => Content::Checkpoint(builder.plan()?),
        Flat::LayersModel(builder) => tfjs_content(builder, options)?,
        Flat::Safetensors(builder) => {
            let (content, order) = safetensors_content(builder, &entries, target, options)?;
            entries = order;
            content
        }
    };
    kept.entries = entries;
    Ok(content)
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
        attributes(&mut builder, path, others(&group.attributes), kept)?;
    }
    for (index, entry) in catalogue.entries().iter().enumerate() {
        let to = becomes(entry.dtype, dtype, Format::Keras3H5);
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
        attributes(&mut builder, &entry.path, own_attributes(entry), kept)?;
        if to == DType::BFloat16 {
            builder.attribute(&entry.path, "dtype", H5Attribute::Utf8("bfloat16".to_owned()))?;
        }
        kept.entries.push(index);
    }
    Ok(match sharding {
        Some(sharding) => Content::Several(Box::new(sharding.finish(builder, kept.entries.len())?)),
        None => Content::Hdf5(builder.plan()?),
    })
}

fn attributes<'a>(
    builder: &mut H5Builder,
    path: &str,
    attributes: impl Iterator<Item = (&'a String, &'a AttributeValue)>,
    kept: &mut Kept,
) -> Result<()> {
    for (name, value) in attributes {
        let value = match value {
            AttributeValue::Text(text) => H5Attribute::Utf8(text.clone()),
            AttributeValue::Texts(texts) => H5Attribute::TextList(texts.clone()),
            AttributeValue::Int(int) => H5Attribute::Int(*int),
            AttributeValue::Float(_) | AttributeValue::Other(_) => {
                kept.dropped.push(format!("{path}@{name}"));
                continue;
            }
        };
        builder.attribute(path, name, value)?;
    }
    Ok(())
}
