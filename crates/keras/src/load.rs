//! Planning a load: everything is checked before a single value changes.

use kw_model::{Code, DType, Result, WeightsError};
use serde::Deserialize;

use crate::format::Format;
use crate::layout::{by_path, legacy_load, object_load, orbax_load, tf_load};
use crate::matching::Matching;
use crate::open::OpenedFile;
use crate::orders::Orders;
use crate::recipe::Recipe;
use crate::report::{LoadReport, Warning};
use crate::tree::{Flavor, ModelTree};

/// How to load; names and defaults are Keras'.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_excessive_bools, reason = "options of a call, each on its own")]
pub struct LoadOptions {
    /// Leave out layers that do not fit, with a warning each.
    pub skip_mismatch: bool,
    /// Legacy files: match layers by name instead of by order.
    pub by_name: bool,
    /// Nodes of the tree that keep their values, with everything below them.
    pub objects_to_skip: Vec<usize>,
    /// Restore the optimizer where file and tree both have one; default yes.
    pub include_optimizer: Option<bool>,
    /// Read the file as this format whatever it looks like.
    pub format: Option<Format>,
    /// TensorFlow checkpoints: convert values of another dtype, which TensorFlow itself refuses.
    pub cast: bool,
    /// TensorFlow checkpoints: leave slot variables of optimizers of before Keras 2.11 as they are.
    pub skip_slot_variables: bool,
}

/// A load that will succeed as far as the file's structure can tell.
#[derive(Debug)]
pub struct LoadPlan {
    /// What each variable gets; every variable at most once.
    pub assignments: Vec<Assignment>,
    /// What the caller is told.
    pub report: LoadReport,
    /// What the caller is warned of, in order.
    pub warnings: Vec<Warning>,
}

/// One variable and its new value.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// Index of the variable in the tree.
    pub variable: usize,
    /// Where the value comes from. Its shape is the variable's.
    pub value: Value,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A tensor of the file.
    Tensor {
        /// Index in the catalogue.
        entry: usize,
        /// The variable's dtype, when the values have another one ([`crate::cast::cast`] converts them).
        cast: Option<DType>,
        /// The dtype the bytes really have, when the file calls them opaque.
        reinterpret: Option<DType>,
    },
    /// A value to compute.
    Computed(Recipe),
}

/// Matches a file with a model and plans the load of its root.
///
/// # Errors
/// - [`Code::Unbuilt`] when the root has no variables yet because its input shape is unknown;
/// - [`Code::LayerCount`], [`Code::WeightCount`], [`Code::Shape`], [`Code::DType`], [`Code::Missing`] where file and
///   model differ, with layer, weight and both sides;
/// - [`Code::NoMatch`] when a load by name finds no layer of the file in the model;
/// - [`Code::Argument`] for options that the format does not have, as Keras raises `ValueError`.
pub fn plan_load(tree: &ModelTree, file: &OpenedFile, options: &LoadOptions) -> Result<LoadPlan> {
    let format = options.format.unwrap_or(file.format);
    plan(tree, file, options, format).map_err(|error| error.file(&file.source_name).format(format.name()))
}

fn plan(tree: &ModelTree, file: &OpenedFile, options: &LoadOptions, format: Format) -> Result<LoadPlan> {
    let root = tree.node(tree.root)?;
    if !root.built {
        return Err(WeightsError::new(
            Code::Unbuilt,
            format!(
                "{} has no weights yet because its input shape is unknown: add an input layer or call `build(inputShape)` \
                 before loading",
                root.label()
            ),
        )
        .layer(root.label()));
    }
    for &index in &options.objects_to_skip {
        tree.node(index).map_err(|_| {
            WeightsError::new(Code::Argument, format!("objectsToSkip names node {index}, which is not in the tree"))
        })?;
    }
    let orders = Orders::new(tree);
    let mut matching = Matching::default();
    let scope = match format {
        Format::LegacyH5 => {
            if !options.objects_to_skip.is_empty() {
                return Err(WeightsError::new(
                    Code::Argument,
                    "objectsToSkip works with object-path files (.weights.h5) only: this is a legacy HDF5 file",
                ));
            }
            if options.skip_mismatch && !options.by_name && tree.flavor == Flavor::Keras2 {
                return Err(WeightsError::new(
                    Code::Argument,
                    "a keras2 model takes skipMismatch for legacy files only together with byName, as Keras 2 does",
                ));
            }
            legacy_load::load(tree, &orders, file, options, &mut matching)?
        }
        Format::Keras3H5 | Format::Keras | Format::Sharded => {
            if format == Format::Keras && !options.objects_to_skip.is_empty() {
                return Err(WeightsError::new(
                    Code::Argument,
                    "objectsToSkip works with .weights.h5 and .weights.json files only, as in Keras: this is a .keras archive",
                ));
            }
            if options.by_name && tree.flavor == Flavor::Keras3 {
                return Err(WeightsError::new(
                    Code::Argument,
                    "byName works with legacy HDF5 files only: this file has object paths, which do not hold layer names",
                ));
            }
            object_load::load(tree, file, options, &mut matching)?;
            String::new()
        }
        Format::Safetensors | Format::Npz | Format::TfjsLayers => {
            by_path::load(tree, &orders, file, options, &mut matching)?;
            String::new()
        }
        Format::Orbax => {
            orbax_load::load(tree, &orders, file, options, &mut matching)?;
            String::new()
        }
        Format::TfCheckpoint => {
            tf_load::load(tree, file, options, &mut matching)?;
            String::new()
        }
    };
    matching.finish(tree, &orders, file, format, &scope)
}
