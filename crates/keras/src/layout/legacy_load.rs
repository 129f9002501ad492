//! Loading the legacy HDF5 layout: by order (weightless layers do not count, names do not matter) or by name.

use std::collections::HashMap;

use kw_model::{AttributeValue, Catalogue, Code, Group, Result, WeightsError};

use super::legacy_names::{self, join};
use crate::convert::{Converters, Piece};
use crate::load::LoadOptions;
use crate::matching::{Binding, Matching, count_error, fit};
use crate::open::OpenedFile;
use crate::orders::Orders;
use crate::recipe::Expression;
use crate::report::WarningCode;
use crate::tree::{Attribute, Flavor, ModelTree, NodeKind};

const TOP_LEVEL: &str = "top_level_model_weights";

/// The group that holds the weights: the root, or `model_weights` of a whole-model file.
pub(crate) fn weights_group(catalogue: &Catalogue) -> &'static str {
    let plain = catalogue.group("").is_some_and(|root| root.attributes.contains_key("layer_names"));
    if !plain && catalogue.group("model_weights").is_some() { "model_weights" } else { "" }
}

struct Legacy<'a> {
    tree: &'a ModelTree,
    orders: &'a Orders<'a>,
    catalogue: &'a Catalogue,
    base: &'static str,
    converters: Converters<'a>,
}

/// Matches; returns the group the weights are in.
pub(crate) fn load(
    tree: &ModelTree,
    orders: &Orders<'_>,
    file: &OpenedFile,
    options: &LoadOptions,
    matching: &mut Matching,
) -> Result<String> {
    let catalogue = file.reader.catalogue();
    let base = weights_group(catalogue);
    let group = require_group(catalogue, base)?;
    // "1" is what Keras takes for files of before it wrote its version.
    let keras1 = match group.attributes.get("keras_version") {
        None => true,
        Some(AttributeValue::Text(version)) => version == "1",
        Some(_) => false,
    };
    let converters = Converters { tree, orders, keras1 };
    let legacy = Legacy { tree, orders, catalogue, base, converters };
    let names = legacy_names::read(group, base, "layer_names")?;
    if options.by_name {
        legacy.by_name(&names, options, matching)?;
    } else {
        legacy.by_order(&names, options, matching)?;
    }
    if options.include_optimizer == Some(true) {
        legacy.optimizer(matching)?;
    }
    Ok(base.to_owned())
}

fn require_group<'c>(catalogue: &'c Catalogue, path: &str) -> Result<&'c Group> {
    catalogue.group(path).ok_or_else(|| match catalogue.refusal(path) {
        Some(error) => error.clone(),
        None => WeightsError::new(Code::Missing, format!("the file has no group {path:?}, which its own lists name")),
    })
}

impl Legacy<'_> {
    /// `model.layers`; a layer on its own counts as a model of one layer.
    fn layers(&self) -> Result<Vec<usize>> {
        let root = self.tree.node(self.tree.root)?;
        Ok(if root.kind.is_model() { root.layers.clone() } else { vec![self.tree.root] })
    }

    fn label(&self, layer: usize) -> Result<&str> {
        Ok(self.tree.node(layer)?.label())
    }

    fn values(&self, group: &str) -> Result<Vec<usize>> {
        let names = legacy_names::read(require_group(self.catalogue, group)?, group, "weight_names")?;
        names.iter().map(|name| self.catalogue.require(&join(group, name))).collect()
    }

    fn pieces(&self, entries: &[usize]) -> Result<Vec<Piece>> {
        entries
            .iter()
            .map(|&entry| Ok(Piece::Value(Expression::entry(entry, &self.catalogue.entry(entry)?.shape))))
            .collect()
    }

    /// The file's values of a layer in today's layout.
    fn converted(&self, layer: usize, entries: &[usize]) -> Result<Vec<Piece>> {
        let pieces = self.pieces(entries)?;
        match self.tree.flavor {
            Flavor::Keras2 => {
                let label = self.label(layer)?;
                self.converters.convert(layer, pieces).map_err(|error| error.layer(label))
            }
            Flavor::Keras3 => Ok(pieces),
        }
    }

    fn by_order(&self, names: &[String], options: &LoadOptions, matching: &mut Matching) -> Result<()> {
        let mut layers = Vec::new();
        for layer in self.layers()? {
            let weights = self.orders.legacy_weights(layer)?;
            if !weights.is_empty() {
                layers.push((layer, weights));
            }
        }
        let mut saved = Vec::new();
        for name in names {
            let group = join(self.base, name);
            let entries = self.values(&group)?;
            if !entries.is_empty() {
                saved.push((name, entries));
            }
        }
        if layers.len() != saved.len() {
            return Err(WeightsError::new(
                Code::LayerCount,
                format!(
                    "the model has {} layers with weights, the file has {}: a load by order needs the same layers{}",
                    layers.len(),
                    saved.len(),
                    if names.is_empty() { " (the file has no list of layers)" } else { "" }
                ),
            )
            .expected(layers.len() as u64)
            .found(saved.len() as u64));
        }
        // Keras 2 compares all counts before it looks at a shape.
        let mut first_shape_error = None;
        for ((layer, weights), (name, entries)) in layers.iter().zip(&saved) {
            let label = self.label(*layer)?;
            let pieces = self.converted(*layer, entries)?;
            if pieces.len() != weights.len() {
                let called =
                    if label == name.as_str() { String::new() } else { format!(" (it is called {name} there)") };
                return Err(count_error(label, weights.len(), pieces.len(), &called));
            }
            match fit(self.tree, self.catalogue, label, weights, pieces) {
                Ok(bindings) => matching.bind(bindings),
                Err(error) if options.skip_mismatch => {
                    matching.account(entries.iter().copied());
                    matching.skip(label, &error);
                }
                Err(error) if self.tree.flavor == Flavor::Keras2 => {
                    first_shape_error.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        self.top_level(options.skip_mismatch, false, matching)?;
        first_shape_error.map_or(Ok(()), Err)
    }

    fn by_name(&self, names: &[String], options: &LoadOptions, matching: &mut Matching) -> Result<()> {
        let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
        for layer in self.layers()? {
            if let Some(name) = self.tree.node(layer)?.name.as_deref().filter(|name| !name.is_empty()) {
                by_name.entry(name).or_default().push(layer);
            }
        }
        for name in names {
            let entries = self.values(&join(self.base, name))?;
            for &layer in by_name.get(name.as_str()).into_iter().flatten() {
                match self.layer_by_name(layer, &entries) {
                    Ok(bindings) => matching.bind(bindings),
                    Err(error) if options.skip_mismatch => {
                        matching.account(entries.iter().copied());
                        matching.skip(name, &error);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        self.top_level(options.skip_mismatch, true, matching)?;
        if matching.is_empty() {
            let listed: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
            return Err(WeightsError::new(
                Code::NoMatch,
                format!(
                    "no layer of the model has the name of a layer with weights in the file ({}{})",
                    listed.join(", "),
                    if names.len() > listed.len() { ", …" } else { "" }
                ),
            ));
        }
        Ok(())
    }

    fn layer_by_name(&self, layer: usize, entries: &[usize]) -> Result<Vec<Binding>> {
        let (label, weights) = (self.label(layer)?, self.orders.legacy_weights(layer)?);
        if entries.is_empty() && !weights.is_empty() {
            return Err(count_error(label, weights.len(), 0, ""));
        }
        let pieces = self.converted(layer, entries)?;
        if pieces.len() != weights.len() {
            return Err(count_error(label, weights.len(), pieces.len(), ""));
        }
        fit(self.tree, self.catalogue, label, &weights, pieces)
    }

    /// The model's own variables.
    fn top_level(&self, skip_mismatch: bool, by_name: bool, matching: &mut Matching) -> Result<()> {
        let group = join(self.base, TOP_LEVEL);
        if self.catalogue.group(&group).is_none() && self.catalogue.refusal(&group).is_none() {
            return Ok(());
        }
        let root = self.tree.node(self.tree.root)?;
        let weights = match (root.kind.is_model(), by_name) {
            (false, _) => Vec::new(),
            (true, true) => root.own_variables().collect(),
            (true, false) => self.orders.top_level_weights(self.tree.root)?,
        };
        let entries = self.values(&group)?;
        if entries.len() != weights.len() {
            let error = count_error(root.label(), weights.len(), entries.len(), " (weights of the model itself)");
            // Keras 3 raises this in a load by order whatever skip_mismatch says.
            if skip_mismatch && by_name {
                matching.account(entries);
                matching.skip(root.label(), &error);
                return Ok(());
            }
            return Err(error);
        }
        match fit(self.tree, self.catalogue, root.label(), &weights, self.pieces(&entries)?) {
            Ok(bindings) => matching.bind(bindings),
            Err(error) if skip_mismatch => {
                matching.account(entries);
                matching.skip(root.label(), &error);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The optimizer of a whole-model file, by order. What does not fit is a warning, as in Keras.
    fn optimizer(&self, matching: &mut Matching) -> Result<()> {
        const GROUP: &str = "optimizer_weights";
        let Some(Attribute::Node(index)) = self.tree.node(self.tree.root)?.attribute("optimizer") else {
            return Ok(());
        };
        let node = self.tree.node(*index)?;
        if self.catalogue.group(GROUP).is_none() || node.kind != NodeKind::Optimizer {
            return Ok(());
        }
        let entries = self.values(GROUP)?;
        let variables = node.variables_of_file(entries.len());
        let fitted = if entries.len() == variables.len() {
            fit(self.tree, self.catalogue, node.label(), &variables, self.pieces(&entries)?)
        } else {
            Err(count_error(node.label(), variables.len(), entries.len(), ""))
        };
        match fitted {
            Ok(bindings) => matching.bind(bindings),
            Err(error) => matching.warn(
                WarningCode::SkippedOptimizer,
                Some(node.label()),
                format!("the optimizer starts anew: {}", error.message()),
            ),
        }
        Ok(())
    }
}
