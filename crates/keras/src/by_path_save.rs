//! Writing safetensors, npz and layers models of TensorFlow.js: every weight of `model.weights` under its path (see `layout::by_path`).

use std::collections::HashSet;
use std::path::Path;

use kw_formats::npy::NpzBuilder;
use kw_formats::safetensors::{PlannedTensor, SafetensorsBuilder};
use kw_formats::tfjs_layers::TfjsBuilder;
use kw_model::{Code, Result, WeightsError};

use crate::content::Content;
use crate::layout::by_path::stored_name;
use crate::layout::tfjs_names;
use crate::orders::Orders;
use crate::save::{SaveOptions, max_shard_bytes, safetensors_bytes};
use crate::several::{LayersModel, SafetensorsShards};
use crate::tree::ModelTree;

/// The weights that are saved, in Keras' order.
fn weights(tree: &ModelTree, options: &SaveOptions) -> Result<Vec<usize>> {
    let orders = Orders::new(tree);
    let mut skipped: HashSet<usize> = HashSet::new();
    for &node in &options.objects_to_skip {
        skipped.extend(orders.weights(node)?.iter());
    }
    Ok(orders.weights(tree.root)?.iter().copied().filter(|weight| !skipped.contains(weight)).collect())
}

/// Plans one safetensors file or several; the weights come in the order of the file, which is by dtype and name.
///
/// # Errors
/// [`Code::Name`] when two weights have one path, [`Code::DType`].
pub(crate) fn safetensors(tree: &ModelTree, target: &Path, options: &SaveOptions) -> Result<(Content, Vec<usize>)> {
    let mut builder = SafetensorsBuilder::new();
    if options.digests.unwrap_or(true) {
        builder.with_digests();
    }
    builder.metadata("format", "keras");
    for (name, text) in &options.metadata {
        builder.metadata(name, text);
    }
    let weights = weights(tree, options)?;
    for &weight in &weights {
        let variable = tree.variable(weight)?;
        builder.tensor(stored_name(&variable.path), variable.dtype, variable.shape.clone())?;
    }
    safetensors_content(builder, &weights, target, options)
}

/// The plan, and `numbers` in the order of the file.
pub(crate) fn safetensors_content(
    builder: SafetensorsBuilder,
    numbers: &[usize],
    target: &Path,
    options: &SaveOptions,
) -> Result<(Content, Vec<usize>)> {
    let number = |tensor: &PlannedTensor| {
        let internal = || WeightsError::new(Code::Internal, "a planned tensor is nobody's weight");
        numbers.get(tensor.index()).copied().ok_or_else(internal)
    };
    if let Some(bytes) = safetensors_bytes(target, options)? {
        let shards = SafetensorsShards(builder.plan_sharded(bytes)?);
        let order = shards.tensors().map(number).collect::<Result<_>>()?;
        return Ok((Content::Several(Box::new(shards)), order));
    }
    let plan = builder.plan()?;
    let order = plan.tensors().iter().map(number).collect::<Result<_>>()?;
    Ok((Content::Safetensors(plan), order))
}

/// Bytes of one file of a layers model unless said otherwise: browsers cache files up to this size.
const TFJS_SHARD: u64 = 4 << 20;

/// Plans a layers model, in the order of `model.weights`, under the names that TensorFlow.js gives.
///
/// # Errors
/// [`Code::Name`] when two weights would have one name, [`Code::DType`].
pub(crate) fn tfjs_layers(tree: &ModelTree, options: &SaveOptions) -> Result<(Content, Vec<usize>)> {
    let mut builder = TfjsBuilder::new();
    let weights = weights(tree, options)?;
    let names = tfjs_names::names(tree)?;
    for &weight in &weights {
        let variable = tree.variable(weight)?;
        let name = names.get(&weight).map_or_else(|| stored_name(&variable.path), String::as_str);
        builder.tensor(name, variable.dtype, variable.shape.clone())?;
    }
    Ok((tfjs_content(builder, options)?, weights))
}

/// The plan of a layers model.
pub(crate) fn tfjs_content(builder: TfjsBuilder, options: &SaveOptions) -> Result<Content> {
    let plan = builder.plan(max_shard_bytes(options)?.unwrap_or(TFJS_SHARD));
    let (topology, training) = (options.model_config.clone(), options.training_config.clone());
    Ok(Content::Several(Box::new(LayersModel { plan, topology, training })))
}

/// Plans an npz archive, in the order of `model.weights`.
///
/// # Errors
/// [`Code::Name`] when two weights have one path or a path cannot be a member's name, [`Code::DType`].
pub(crate) fn npz(tree: &ModelTree, options: &SaveOptions) -> Result<(Content, Vec<usize>)> {
    let mut builder = NpzBuilder::new();
    let weights = weights(tree, options)?;
    for &weight in &weights {
        let variable = tree.variable(weight)?;
        builder.tensor(stored_name(&variable.path), variable.dtype, variable.shape.clone())?;
    }
    Ok((Content::Npz(builder.plan()?), weights))
}
