//! Writing safetensors and npz: every weight of `model.weights` under its path (see `layout::by_path`).

use std::collections::HashSet;

use kw_formats::npy::NpzBuilder;
use kw_formats::safetensors::SafetensorsBuilder;
use kw_model::{Code, Result, WeightsError};

use crate::content::Content;
use crate::layout::by_path::stored_name;
use crate::orders::Orders;
use crate::save::SaveOptions;
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

/// Plans a safetensors file; the weights come in the order of the file, which is by dtype and name.
///
/// # Errors
/// [`Code::Name`] when two weights have one path, [`Code::DType`].
pub(crate) fn safetensors(tree: &ModelTree, options: &SaveOptions) -> Result<(Content, Vec<usize>)> {
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
    let plan = builder.plan()?;
    let order = plan
        .tensors()
        .iter()
        .map(|tensor| {
            weights
                .get(tensor.index())
                .copied()
                .ok_or_else(|| WeightsError::new(Code::Internal, "a planned tensor is nobody's weight"))
        })
        .collect::<Result<_>>()?;
    Ok((Content::Safetensors(plan), order))
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
