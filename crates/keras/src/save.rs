//! Planning a save, then writing it once from front to back and putting it in place.

use std::path::{Path, PathBuf};

use kw_formats::hdf5::writer::{DatasetOptions, H5Attribute, H5Builder, H5Plan};
use kw_model::{Cancel, Code, DType, Filesystem, Result, WeightsError, commit_file};
use serde::Deserialize;

use crate::format::{self, Format};
use crate::layout::object_paths::{Walk, vars};
use crate::layout::{legacy_save, object_save};
use crate::report::SaveReport;
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
    /// Whether every tensor carries a CRC32C in an attribute that Keras ignores; default yes.
    pub digests: Option<bool>,
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
            digests: None,
        }
    }
}

/// A file that is laid out to the last byte, but for its values.
pub struct SavePlan {
    format: Format,
    target: PathBuf,
    overwrite: bool,
    file: H5Plan,
    variables: Vec<usize>,
}

impl SavePlan {
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
        self.file.datasets().get(tensor).map_or(0, |dataset| dataset.byte_len)
    }

    /// Path of one tensor in the file.
    pub fn path(&self, tensor: usize) -> Option<&str> {
        self.file.datasets().get(tensor).map(|dataset| dataset.path.as_str())
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> u64 {
        self.file.file_len()
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
    let format = format::to_save(target, options.save_format.as_deref(), tree.flavor)?;
    plan(tree, target, options, format).map_err(|error| error.file(target.display().to_string()).format(format.name()))
}

fn plan(tree: &ModelTree, target: &Path, options: &SaveOptions, format: Format) -> Result<SavePlan> {
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
    let digest = options.digests.unwrap_or(true);
    let mut writer = Writer { tree, builder: H5Builder::new(), variables: Vec::new(), digest };
    match format {
        Format::LegacyH5 => {
            refuse_option(
                !options.objects_to_skip.is_empty(),
                "objectsToSkip",
                "files with object paths (.weights.h5)",
            )?;
            legacy_save::write(tree, options, &mut writer)?;
        }
        Format::Keras3H5 => {
            let whole = options.model_config.is_some() || options.training_config.is_some();
            refuse_option(whole, "modelConfig", "legacy HDF5 files (.h5)")?;
            object_paths(tree, options, &mut writer)?;
        }
        Format::Keras | Format::Sharded | Format::Safetensors | Format::Npz => {
            return Err(WeightsError::new(Code::Unsupported, format!("{} is not written yet", format.name())));
        }
    }
    let Writer { builder, variables, .. } = writer;
    Ok(SavePlan {
        format,
        target: target.to_path_buf(),
        overwrite: options.overwrite,
        file: builder.plan()?,
        variables,
    })
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
    let mut written = 0_u64;
    commit_file(fs, &plan.target, plan.overwrite, Some(plan.file.file_len()), &mut |sink| {
        written = 0;
        let mut emitter = plan.file.emit(sink, digests)?;
        for tensor in 0..plan.variables.len() {
            values.pump(tensor, &mut |bytes| {
                cancel.check()?;
                emitter.write(bytes)?;
                written = written.saturating_add(bytes.len() as u64);
                progress(written);
                Ok(())
            })?;
        }
        cancel.check()?;
        emitter.finish()
    })
    .map_err(|error| error.file(plan.target.display().to_string()).format(plan.format.name()))?;
    Ok(SaveReport {
        format: plan.format,
        path: plan.target.display().to_string(),
        tensors: plan.variables.len() as u64,
        tensor_bytes: written,
    })
}
