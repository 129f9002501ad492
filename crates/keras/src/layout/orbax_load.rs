//! Loading Orbax checkpoints: a weight is stored under `variable.path` below `trainable_variables` or
//! `non_trainable_variables`, whichever it was when it was saved; the optimizer below `optimizer_variables`.
//!
//! Nothing in the file says an order or a layer's class, so names are all there is. Keras skips what has no counterpart
//! without a word; here the report names it.

use std::collections::HashMap;

use kw_model::{Catalogue, Code, Result, WeightsError};

use super::by_path::{assign, stored_name};
use crate::convert::Piece;
use crate::load::LoadOptions;
use crate::matching::{Matching, fit};
use crate::open::OpenedFile;
use crate::orders::Orders;
use crate::recipe::Expression;
use crate::report::WarningCode;
use crate::tree::{Attribute, ModelTree, NodeKind};

const WEIGHTS: [&str; 2] = ["trainable_variables", "non_trainable_variables"];
const OPTIMIZER: &str = "optimizer_variables";

/// Matches every weight of the root, and its optimizer.
pub(crate) fn load(
    tree: &ModelTree,
    orders: &Orders<'_>,
    file: &OpenedFile,
    options: &LoadOptions,
    matching: &mut Matching,
) -> Result<()> {
    if options.by_name {
        return Err(WeightsError::new(
            Code::Argument,
            "byName works with legacy HDF5 files only: an Orbax checkpoint is matched by the paths of the variables",
        ));
    }
    let catalogue = file.reader.catalogue();
    let weights = orders.weights(tree.root)?;
    let found = find(tree, &weights, catalogue)?;
    if found.is_empty() && !weights.is_empty() {
        return Err(no_match(tree, &weights, catalogue)?);
    }
    assign(tree, catalogue, &weights, &found, options, true, matching)?;
    if options.include_optimizer.unwrap_or(true) { optimizer(tree, catalogue, matching) } else { Ok(()) }
}

/// Makes another path of a weight's path, if that can be done.
type Renaming<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The entry of each weight. Keras has the model's name in paths of models that were built as a whole, and only there:
/// when no weight is found under its own path, the name is left out, or the one that all paths begin with is put in front.
fn find(tree: &ModelTree, weights: &[usize], catalogue: &Catalogue) -> Result<HashMap<usize, usize>> {
    let model = tree.node(tree.root)?.name.as_deref();
    let without = |path: &str| -> Option<String> { Some(path.strip_prefix(model?)?.strip_prefix('/')?.to_owned()) };
    let saved = saved_model(catalogue);
    let with = |path: &str| saved.map(|saved| format!("{saved}/{path}"));
    let renamed = |path: &str| with(&without(path)?);
    let ways: [&Renaming<'_>; 4] = [&|path| Some(path.to_owned()), &without, &with, &renamed];
    for change in ways {
        let mut found = HashMap::new();
        for &variable in weights {
            let Some(path) = change(stored_name(&tree.variable(variable)?.path)) else { continue };
            let entry = WEIGHTS.iter().find_map(|group| catalogue.find(&format!("{group}/{path}")));
            if let Some(entry) = entry {
                found.insert(variable, entry);
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(HashMap::new())
}

/// The name that the paths of all trained weights begin with.
fn saved_model(catalogue: &Catalogue) -> Option<&str> {
    let [trained, _] = WEIGHTS;
    let mut firsts = catalogue
        .entries()
        .iter()
        .filter_map(|entry| entry.path.strip_prefix(trained)?.strip_prefix('/'))
        .map(|path| path.split_once('/').map(|(first, _)| first));
    let first = firsts.next()??;
    firsts.all(|other| other == Some(first)).then_some(first)
}

/// The optimizer's variables by path. What does not fit is a warning, as for other files.
fn optimizer(tree: &ModelTree, catalogue: &Catalogue, matching: &mut Matching) -> Result<()> {
    let Some(Attribute::Node(index)) = tree.node(tree.root)?.attribute("optimizer") else { return Ok(()) };
    let node = tree.node(*index)?;
    let prefix = format!("{OPTIMIZER}/");
    if node.kind != NodeKind::Optimizer || !catalogue.entries().iter().any(|entry| entry.path.starts_with(&prefix)) {
        return Ok(());
    }
    let (mut variables, mut pieces) = (Vec::new(), Vec::new());
    for variable in node.saved_variables() {
        let path = format!("{prefix}{}", stored_name(&tree.variable(variable)?.path));
        if let Some(entry) = catalogue.find(&path) {
            variables.push(variable);
            pieces.push(Piece::Value(Expression::entry(entry, &catalogue.entry(entry)?.shape)));
        }
    }
    let fitted = if variables.is_empty() {
        let message = format!("the checkpoint has no state under the names of the optimizer {}", node.label());
        Err(WeightsError::new(Code::Missing, message))
    } else {
        fit(tree, catalogue, node.label(), &variables, pieces)
    };
    match fitted {
        Ok(bindings) => matching.bind(bindings),
        Err(error) => {
            let message = format!("the optimizer starts anew: {}", error.message());
            matching.warn(WarningCode::SkippedOptimizer, Some(node.label()), message);
        }
    }
    Ok(())
}

fn no_match(tree: &ModelTree, weights: &[usize], catalogue: &Catalogue) -> Result<WeightsError> {
    let first = weights.first().map(|first| tree.variable(*first)).transpose()?;
    let wanted = first.map_or("", |variable| stored_name(&variable.path));
    let all = || catalogue.entries().iter().map(|entry| entry.path.as_str());
    let mut names: Vec<&str> = all().filter(|path| WEIGHTS.iter().any(|group| path.starts_with(group))).collect();
    if names.is_empty() {
        names = all().collect();
    }
    let more = if names.len() > 5 { ", …" } else { "" };
    names.truncate(5);
    Ok(WeightsError::new(
        Code::NoMatch,
        format!(
            "no array of the checkpoint has the path of a weight of the model (the model wants {wanted}, the checkpoint \
             has {}{more})",
            names.join(", ")
        ),
    ))
}
