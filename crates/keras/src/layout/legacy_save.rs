//! Writing the legacy HDF5 layout, at the root or inside a whole-model file.

use kw_formats::hdf5::writer::{DIGEST_ATTRIBUTE, H5Attribute};
use kw_model::Result;

use super::legacy_names;
use crate::layout::object_paths::join;
use crate::open::{OPTIMIZER_GROUP, texts_digest};
use crate::orders::Orders;
use crate::save::{SaveOptions, Writer};
use crate::tree::{Attribute, Flavor, ModelTree, NodeKind};

/// Plans the file. With a model config the weights go into the group `model_weights`.
pub(crate) fn write(tree: &ModelTree, options: &SaveOptions, writer: &mut Writer<'_>) -> Result<()> {
    let orders = Orders::new(tree);
    let root = tree.node(tree.root)?;
    let version = options.keras_version.as_deref().unwrap_or(match tree.flavor {
        Flavor::Keras2 => crate::save::KERAS2_VERSION,
        Flavor::Keras3 => crate::save::KERAS3_VERSION,
    });
    let backend = options.backend.as_deref().unwrap_or("tensorflow");
    let base = match &options.model_config {
        None => "",
        Some(config) => {
            writer.attribute("", "keras_version", H5Attribute::Utf8(version.to_owned()))?;
            writer.attribute("", "backend", H5Attribute::Utf8(backend.to_owned()))?;
            writer.attribute("", "model_config", H5Attribute::Ascii(config.clone()))?;
            if let Some(training) = &options.training_config {
                writer.attribute("", "training_config", H5Attribute::Ascii(training.clone()))?;
            }
            writer.group("model_weights")?;
            "model_weights"
        }
    };
    let layers = if root.kind.is_model() { root.layers.clone() } else { vec![tree.root] };
    let mut names = Vec::with_capacity(layers.len());
    for &layer in &layers {
        names.push(tree.node(layer)?.label().to_owned());
    }
    list(writer, base, "layer_names", &names)?;
    writer.attribute(base, "backend", H5Attribute::Ascii(backend.to_owned()))?;
    writer.attribute(base, "keras_version", H5Attribute::Ascii(version.to_owned()))?;
    for (layer, name) in layers.into_iter().zip(&names) {
        let group = join(base, name);
        weights(tree, writer, &group, &orders.legacy_weights(layer)?).map_err(|error| error.layer(name))?;
    }
    let own = if root.kind.is_model() { orders.top_level_weights(tree.root)? } else { Vec::new() };
    weights(tree, writer, &join(base, "top_level_model_weights"), &own)?;
    let Some(config) = &options.model_config else { return Ok(()) };
    let mut optimizer = None;
    if options.include_optimizer.unwrap_or(true)
        && let Some(Attribute::Node(index)) = root.attribute("optimizer")
        && tree.node(*index)?.kind == NodeKind::Optimizer
    {
        let variables = tree.node(*index)?.saved_variables();
        // Keras leaves the group out while the optimizer has no state.
        if !variables.is_empty() {
            weights(tree, writer, OPTIMIZER_GROUP, &variables)?;
            optimizer = Some(OPTIMIZER_GROUP);
        }
    }
    if options.digests.unwrap_or(true) {
        let digest = texts_digest([Some(version), Some(config), options.training_config.as_deref(), optimizer]);
        writer.attribute("", DIGEST_ATTRIBUTE, H5Attribute::UInt32(digest))?;
    }
    Ok(())
}

/// One group with `weight_names` and a dataset for each.
fn weights(tree: &ModelTree, writer: &mut Writer<'_>, group: &str, variables: &[usize]) -> Result<()> {
    writer.group(group)?;
    let mut names = Vec::with_capacity(variables.len());
    for &variable in variables {
        names.push(tree.variable(variable)?.path.clone());
    }
    list(writer, group, "weight_names", &names)?;
    for (&variable, name) in variables.iter().zip(&names) {
        writer.tensor(&join(group, name), variable)?;
    }
    Ok(())
}

/// A list of names, split as Keras splits it.
fn list(writer: &mut Writer<'_>, group: &str, name: &str, names: &[String]) -> Result<()> {
    let mut pieces = legacy_names::pieces(names, name)?;
    if pieces.len() == 1 {
        return writer.attribute(group, name, H5Attribute::TextList(pieces.pop().unwrap_or_default()));
    }
    for (index, piece) in pieces.into_iter().enumerate() {
        writer.attribute(group, &format!("{name}{index}"), H5Attribute::FixedList(piece))?;
    }
    Ok(())
}
