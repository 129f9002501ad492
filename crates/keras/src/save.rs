//! Planning a save, then writing it once from front to back and putting it in place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kw_formats::hdf5::writer::{Compression, DatasetOptions, H5Attribute, H5Builder, H5Plan};
use kw_model::{Cancel, Code, DType, Filesystem, Result, WeightsError};
use serde::Deserialize;

use crate::by_path_save;
use crate::compressed::CompressedPlan;
use crate::content::{Asset, Content, KerasPlan};
use crate::format::{self, Format};
use crate::layout::object_paths::{Walk, vars};
use crate::layout::tf_save::{self, TfLayout};
use crate::layout::{legacy_save, object_save};
use crate::pump::Pump;
use crate::report::SaveReport;
use crate::sharded_save::Sharding;
use crate::tree::ModelTree;

/// The `keras_version` that files of Keras 2 models get: the release whose layout they follow.
pub const KERAS2_VERSION: &str = "2.21.0";
/// The same for Keras 3 models.
pub const KERAS3_VERSION: &str = "3.15.1";

/// How to save; names and defaults are Keras'.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SaveOptions {
    /// Whether an existing file may be replaced.
    pub overwrite: bool,
    /// Keras' `save_format`, or the name of one of our formats.
    pub save_format: Option<String>,
    /// Whether the optimizer's state goes into formats that have a place for it; default yes.
    pub include_optimizer: Option<bool>,
    /// Nodes of the tree that are left out with everything below them (object paths only).
    pub objects_to_skip: Vec<usize>,
    /// What legacy files give as their `keras_version`.
    pub keras_version: Option<String>,
    /// What legacy files give as their `backend`; default `tensorflow`.
    pub backend: Option<String>,
    /// Makes a legacy file a whole-model file: the JSON of its `model_config`.
    pub model_config: Option<String>,
    /// The JSON of a whole-model file's `training_config`.
    pub training_config: Option<String>,
    /// What `metadata.json` of a `.keras` archive gives as `date_saved` (`YYYY-MM-DD@HH:MM:SS`).
    pub date_saved: Option<String>,
    /// TensorFlow checkpoints: what the root is; default what the model's flavour needs.
    pub tf_layout: Option<TfLayout>,
    /// Sharded weights and checkpoints: the largest shard in GiB, Keras' unit.
    pub max_shard_size: Option<f64>,
    /// The same in bytes; counts when both are given.
    pub max_shard_bytes: Option<u64>,
    /// safetensors: texts for the file's metadata.
    pub metadata: BTreeMap<String, String>,
    /// Whether every tensor carries a CRC32C in an attribute that Keras ignores; default yes.
    pub digests: Option<bool>,
    /// HDF5: compress tensors of 8 KiB and more; default no.
    pub compression: Option<CompressionOptions>,
}

/// gzip as h5py calls it.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct CompressionOptions {
    /// From 1 (fast) to 9 (small).
    pub level: u8,
    /// Sorts the bytes of the elements by their place first.
    pub shuffle: bool,
}

impl Default for SaveOptions {
    fn default() -> Self {
        SaveOptions {
            overwrite: true,
            save_format: None,
            include_optimizer: None,
            objects_to_skip: Vec::new(),
            keras_version: None,
            backend: None,
            model_config: None,
            training_config: None,
            date_saved: None,
            tf_layout: None,
            max_shard_size: None,
            max_shard_bytes: None,
            metadata: BTreeMap::new(),
            digests: None,
            compression: None,
        }
    }
}

/// A file that is laid out to the last byte, but for its values.
pub struct SavePlan {
    format: Format,
    target: PathBuf,
    overwrite: bool,
    content: Content,
    variables: Vec<usize>,
}

impl SavePlan {
    /// A plan for what is no model's; `tensors` are numbers that the giver of the values understands.
    pub(crate) fn of_content(
        format: Format,
        target: &Path,
        options: &SaveOptions,
        content: Content,
        tensors: Vec<usize>,
    ) -> Self {
        let mut target = target.to_path_buf();
        if format == Format::Safetensors && matches!(content, Content::Several(_)) {
            target = safetensors_index(target);
        }
        SavePlan { format, target, overwrite: options.overwrite, content, variables: tensors }
    }

    /// The file that is written, or the index of several, or the prefix of a checkpoint.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The format it will have.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The variable of each tensor in the order of writing. A variable can occur twice.
    pub fn variables(&self) -> &[usize] {
        &self.variables
    }

    /// Bytes of one tensor; 0 for a number that is none.
    pub fn byte_len(&self, tensor: usize) -> u64 {
        self.content.byte_len(tensor)
    }

    /// Path of one tensor in the file.
    pub fn path(&self, tensor: usize) -> Option<&str> {
        self.content.path(tensor)
    }

    /// Bytes of the whole file; of sharded weights, of all shards.
    pub fn file_len(&self) -> u64 {
        self.content.file_len()
    }
}

/// Gives the values of a save, tensor after tensor.
pub trait ValueStream {
    /// Hands the little-endian bytes of tensor `tensor` (a number in the plan) to `out` in pieces of any size.
    ///
    /// # Errors
    /// [`Code::Changed`] when the values are not there any more, [`Code::Aborted`], and whatever `out` returns.
    fn pump(&mut self, tensor: usize, out: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;
}

/// Lays a file out.
///
/// # Errors
/// [`Code::Format`] for a name or `save_format` that cannot be written; [`Code::Unbuilt`] for a model without variables;
/// [`Code::Name`] when two weights would get one name or a name cannot be written; [`Code::Unsupported`] for a dtype
/// that HDF5 has no form for; [`Code::Argument`] for options of another format.
pub fn plan_save(tree: &ModelTree, target: &Path, options: &SaveOptions) -> Result<SavePlan> {
    plan_save_with(tree, target, options, Vec::new())
}

/// [`plan_save`] of a model whose layers have files of their own, which a `.keras` archive holds.
///
/// # Errors
/// As [`plan_save`]; [`Code::Argument`] for assets in another format.
pub fn plan_save_with(tree: &ModelTree, target: &Path, options: &SaveOptions, assets: Vec<Asset>) -> Result<SavePlan> {
    let format = format_of(tree, target, options)?;
    plan(tree, target, options, format, assets)
        .map_err(|error| error.file(target.display().to_string()).format(format.name()))
}

/// With a config, a `.keras` name means an archive in both Kerases.
pub(crate) fn format_of(tree: &ModelTree, target: &Path, options: &SaveOptions) -> Result<Format> {
    let plain = matches!(options.save_format.as_deref(), None | Some("keras"));
    let named = format::promised(&target.to_string_lossy()) == Some(Format::Keras);
    if plain && named && options.model_config.is_some() {
        return Ok(Format::Keras);
    }
    format::to_save(target, options.save_format.as_deref(), tree.flavor)
}

fn plan(
    tree: &ModelTree,
    target: &Path,
    options: &SaveOptions,
    format: Format,
    assets: Vec<Asset>,
) -> Result<SavePlan> {
    let root = tree.node(tree.root)?;
    if !root.built {
        return Err(WeightsError::new(
            Code::Unbuilt,
            format!(
                "{} has no weights to save yet because its input shape is unknown: add an input layer or call \
                 `build(inputShape)` first",
                root.label()
            ),
        )
        .layer(root.label()));
    }
    check_options(options, format, !assets.is_empty())?;
    let digest = options.digests.unwrap_or(true);
    let mut writer = Writer { tree, builder: H5Builder::new(), variables: Vec::new(), digest, sharding: None };
    let (content, variables) = match format {
        Format::LegacyH5 => {
            legacy_save::write(tree, options, &mut writer)?;
            let Writer { builder, variables, .. } = writer;
            (hdf5(builder, options)?, variables)
        }
        Format::Keras3H5 => {
            object_paths(tree, options, &mut writer)?;
            let Writer { builder, variables, .. } = writer;
            (hdf5(builder, options)?, variables)
        }
        Format::Keras => {
            object_paths(tree, options, &mut writer)?;
            let Writer { builder, variables, .. } = writer;
            (Content::Archive(keras_archive(tree, options, builder.plan()?, assets)?), variables)
        }
        Format::Sharded => {
            writer.sharding = Some(Sharding::new(shard_bytes(target, options)?));
            object_paths(tree, options, &mut writer)?;
            let Writer { builder, variables, sharding, .. } = writer;
            let sharding = sharding.unwrap_or_else(|| Sharding::new(0));
            (Content::Several(Box::new(sharding.finish(builder, variables.len())?)), variables)
        }
        Format::Safetensors => by_path_save::safetensors(tree, target, options)?,
        Format::Npz => by_path_save::npz(tree, options)?,
        Format::TfjsLayers => by_path_save::tfjs_layers(tree, options)?,
        Format::Orbax => return Err(WeightsError::new(Code::Format, "Orbax checkpoints are read, not written")),
        Format::TfCheckpoint => {
            let layout = options.tf_layout.unwrap_or_else(|| TfLayout::of(tree.flavor));
            let (bundle, variables) =
                tf_save::plan(tree, layout, max_shard_bytes(options)?, options.include_optimizer.unwrap_or(true))?;
            (Content::Checkpoint(bundle), variables)
        }
    };
    Ok(SavePlan::of_content(format, target, options, content, variables))
}

/// An HDF5 file, compressed if that is asked for.
fn hdf5(builder: H5Builder, options: &SaveOptions) -> Result<Content> {
    Ok(match options.compression {
        Some(CompressionOptions { level, shuffle }) => {
            if !(1..=9).contains(&level) {
                let message = format!("compression has the levels 1 to 9, not {level}");
                return Err(WeightsError::new(Code::Argument, message));
            }
            Content::Compressed(Box::new(CompressedPlan::new(builder, Compression { level, shuffle })?))
        }
        None => Content::Hdf5(builder.plan()?),
    })
}

/// Refuses options that this format has no meaning for, as Keras raises `ValueError`.
fn check_options(options: &SaveOptions, format: Format, assets: bool) -> Result<()> {
    let whole = matches!(format, Format::LegacyH5 | Format::Keras | Format::TfjsLayers);
    let objects =
        matches!(format, Format::Keras3H5 | Format::Sharded | Format::Safetensors | Format::Npz | Format::TfjsLayers);
    refuse_option(
        !objects && !options.objects_to_skip.is_empty(),
        "objectsToSkip",
        "files with object paths (.weights.h5)",
    )?;
    refuse_option(
        !whole && (options.model_config.is_some() || options.training_config.is_some()),
        "modelConfig",
        "whole models: legacy HDF5 files (.h5), .keras archives and model.json",
    )?;
    let shards = options.max_shard_size.is_some() || options.max_shard_bytes.is_some();
    let sharded = matches!(format, Format::Sharded | Format::TfCheckpoint | Format::Safetensors | Format::TfjsLayers);
    refuse_option(
        !sharded && shards,
        "maxShardSize",
        "sharded weights (.weights.json), TensorFlow checkpoints, safetensors and model.json",
    )?;
    refuse_option(format != Format::TfCheckpoint && options.tf_layout.is_some(), "tfLayout", "TensorFlow checkpoints")?;
    refuse_option(format != Format::Safetensors && !options.metadata.is_empty(), "metadata", "safetensors files")?;
    refuse_option(
        options.compression.is_some() && !matches!(format, Format::LegacyH5 | Format::Keras3H5),
        "compression",
        "HDF5 files (.h5, .weights.h5)",
    )?;
    refuse_option(format != Format::Keras && assets, "assets", ".keras archives")
}

/// Bytes of Keras' unit.
const GIB: f64 = 1_073_741_824.0;

pub(crate) fn shard_bytes(target: &Path, options: &SaveOptions) -> Result<u64> {
    if format::promised(&target.to_string_lossy()) != Some(Format::Sharded) {
        return Err(WeightsError::new(
            Code::Format,
            format!("{}: the name of sharded weights ends in .weights.json", target.display()),
        ));
    }
    max_shard_bytes(options)?.ok_or_else(|| {
        WeightsError::new(
            Code::Argument,
            "weights in a .weights.json are sharded: say how large a shard may be with maxShardSize",
        )
    })
}

/// The index of safetensors files that share a name.
fn safetensors_index(target: PathBuf) -> PathBuf {
    if format::is_safetensors_index(&target) {
        return target;
    }
    let mut name = target.into_os_string();
    name.push(".index.json");
    PathBuf::from(name)
}

/// Bytes of a shard of safetensors files, if there are to be several.
pub(crate) fn safetensors_bytes(target: &Path, options: &SaveOptions) -> Result<Option<u64>> {
    let bytes = max_shard_bytes(options)?;
    if bytes.is_none() && format::is_safetensors_index(target) {
        return Err(WeightsError::new(
            Code::Argument,
            "an index of safetensors files has shards: say how large one may be with maxShardSize",
        ));
    }
    Ok(bytes)
}

/// Bytes of a shard, if there is a limit.
pub(crate) fn max_shard_bytes(options: &SaveOptions) -> Result<Option<u64>> {
    let argument = |message: &str| WeightsError::new(Code::Argument, message);
    match (options.max_shard_bytes, options.max_shard_size) {
        (Some(0), _) => Err(argument("maxShardBytes is at least one byte")),
        (Some(bytes), _) => Ok(Some(bytes)),
        (None, Some(size)) if size.is_finite() && size > 0.0 =>
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive, and beyond 64 bits it is no limit"
            )]
            Ok(Some((size * GIB) as u64))
        }
        (None, Some(_)) => Err(argument("maxShardSize is a positive number of GiB")),
        (None, None) => Ok(None),
    }
}

fn keras_archive(tree: &ModelTree, options: &SaveOptions, weights: H5Plan, assets: Vec<Asset>) -> Result<KerasPlan> {
    let config = options.model_config.clone().ok_or_else(|| {
        WeightsError::new(Code::Argument, "a .keras archive holds a whole model: its config is missing (modelConfig)")
    })?;
    let version = options.keras_version.as_deref().unwrap_or(match tree.flavor {
        crate::tree::Flavor::Keras2 => KERAS2_VERSION,
        crate::tree::Flavor::Keras3 => KERAS3_VERSION,
    });
    let date = options.date_saved.as_deref().unwrap_or("1980-01-01@00:00:00");
    // As Python's json.dumps separates.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let metadata = format!("{{\"keras_version\": {}, \"date_saved\": {}}}", quoted(version), quoted(date));
    KerasPlan::new(metadata, config, weights, assets)
}

fn refuse_option(given: bool, option: &str, of: &str) -> Result<()> {
    if given { Err(WeightsError::new(Code::Argument, format!("{option} belongs to {of}"))) } else { Ok(()) }
}

/// Keras 3 notes the object's name at its `vars`; `tf_keras` notes nothing, and writes the group even when it stays empty.
fn object_paths(tree: &ModelTree, options: &SaveOptions, writer: &mut Writer<'_>) -> Result<()> {
    let walk = Walk::of(tree.flavor);
    for place in object_save::places(tree, &options.objects_to_skip, options.include_optimizer.unwrap_or(true))? {
        let node = tree.node(place.node)?;
        let group = vars(&place.path);
        match (&node.name, walk) {
            (Some(name), Walk::Keras3) => {
                writer.group(&group)?;
                writer.attribute(&group, "name", H5Attribute::Utf8(name.clone()))?;
            }
            (None, Walk::Keras3) => {}
            _ => writer.group(&group)?,
        }
        for (key, variable) in node.saved_variables().into_iter().enumerate() {
            writer.tensor(&format!("{group}/{key}"), variable).map_err(|error| error.layer(node.label()))?;
        }
    }
    Ok(())
}

/// Collects groups, attributes and tensors of one file.
pub(crate) struct Writer<'t> {
    tree: &'t ModelTree,
    builder: H5Builder,
    variables: Vec<usize>,
    digest: bool,
    /// Set when there is more than one file.
    sharding: Option<Sharding>,
}

impl Writer<'_> {
    pub(crate) fn group(&mut self, path: &str) -> Result<()> {
        self.builder.group(path)
    }

    pub(crate) fn attribute(&mut self, object: &str, name: &str, value: H5Attribute) -> Result<()> {
        self.builder.attribute(object, name, value)
    }

    pub(crate) fn tensor(&mut self, path: &str, variable: usize) -> Result<()> {
        let target = self.tree.variable(variable)?;
        if let Some(sharding) = &mut self.sharding {
            let byte_len = target.shape.byte_len(target.dtype)?;
            let full = sharding.add(path, &target.path, byte_len, self.variables.len())?;
            if full {
                sharding.close(std::mem::take(&mut self.builder), self.variables.len())?;
            }
        }
        let options = DatasetOptions { digest: self.digest };
        self.builder
            .dataset(path, target.dtype, target.shape.clone(), options)
            .map_err(|error| error.weight(&target.path))?;
        // HDF5 has no bfloat16; Keras 3 knows the bytes by this mark.
        if target.dtype == DType::BFloat16 {
            self.builder.attribute(path, "dtype", H5Attribute::Utf8("bfloat16".to_owned()))?;
        }
        self.variables.push(variable);
        Ok(())
    }
}

/// Writes the file beside its target, syncs it, and puts it in place; what stood there before stays until then.
///
/// `digests` are the CRC32C of the tensors in order. Values that no longer fit them end the save. `progress` is told
/// the tensor bytes written so far.
///
/// # Errors
/// [`Code::Changed`], [`Code::Aborted`], [`Code::Exists`] when the target may not be replaced, [`Code::NotFound`] when
/// its folder is missing, [`Code::Io`]; whatever `values` returns.
pub fn execute_save(
    plan: &SavePlan,
    fs: &dyn Filesystem,
    digests: &[u32],
    values: &mut dyn ValueStream,
    cancel: &Cancel,
    progress: &mut dyn FnMut(u64),
) -> Result<SaveReport> {
    let mut pump = Pump { values, digests, cancel, progress, written: 0 };
    plan.content
        .commit(&plan.target, plan.overwrite, fs, &mut pump)
        .map_err(|error| error.file(plan.target.display().to_string()).format(plan.format.name()))?;
    let written = pump.written;
    Ok(SaveReport {
        format: plan.format,
        path: plan.target.display().to_string(),
        tensors: plan.variables.len() as u64,
        tensor_bytes: written,
    })
}
