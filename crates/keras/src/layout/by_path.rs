//! Containers that hold arrays by name and nothing of Keras: safetensors and npz.
//!
//! Every weight of `model.weights` is stored under its path: in Keras 3 `variable.path` (`sequential/dense/kernel`), in
//! Keras 2 the variable's name without `:0` (`dense/kernel`). Files from elsewhere also load when all weights are
//! found under the name with `:0`, with or without the model's own name before it, or when the arrays are numbered (`arr_0`, `arr_1`, … as `numpy.savez` numbers the list
//! that `get_weights()` gave, `w0000`, `weight_0`, or bare numbers): then they are taken in the order of `get_weights()`.

use std::collections::{BTreeMap, HashMap, HashSet};

use kw_model::{Catalogue, Code, DType, Result, WeightsError};

use super::tfjs_names;
use crate::convert::Piece;
use crate::format::Format;
use crate::load::LoadOptions;
use crate::matching::{Binding, Matching, count_error, fit};
use crate::open::OpenedFile;
use crate::orders::Orders;
use crate::recipe::Expression;
use crate::tree::ModelTree;

/// The name under which a weight is stored.
pub(crate) fn stored_name(path: &str) -> &str {
    path.strip_suffix(":0").unwrap_or(path)
}

/// Matches every weight of the root.
pub(crate) fn load(
    tree: &ModelTree,
    orders: &Orders<'_>,
    file: &OpenedFile,
    options: &LoadOptions,
    matching: &mut Matching,
) -> Result<()> {
    let catalogue = file.reader.catalogue();
    let weights = orders.weights(tree.root)?;
    let mut found = match file.format {
        Format::TfjsLayers => tfjs_names::find(tree, catalogue)?,
        _ => by_names(tree, &weights, catalogue, &str::to_owned)?,
    };
    // Keras 3 puts the model's name before the path when the model was built as a whole, and leaves it out otherwise.
    if found.is_empty()
        && let Some(model) = tree.node(tree.root)?.name.as_deref()
    {
        let inside =
            |name: &str| name.strip_prefix(model).and_then(|name| name.strip_prefix('/')).unwrap_or(name).to_owned();
        found = by_names(tree, &weights, catalogue, &inside)?;
    }
    if found.is_empty()
        && let Some(model) = common_prefix(catalogue)
    {
        found = by_names(tree, &weights, catalogue, &|name| format!("{model}/{name}"))?;
    }
    if found.is_empty() && !weights.is_empty() {
        let numbered = numbered(catalogue);
        if numbered.is_empty() {
            return Err(no_match(tree, &weights, catalogue)?);
        }
        if numbered.len() != weights.len() {
            let root = tree.node(tree.root)?.label();
            return Err(count_error(root, weights.len(), numbered.len(), ", where they are numbered"));
        }
        found.extend(weights.iter().copied().zip(numbered));
    }
    assign(tree, catalogue, &weights, &found, options, options.by_name, matching)
}

/// Binds weights to the entries found for them, layer by layer, because a layer that does not fit is left out as a whole.
/// A weight without an entry is an error unless `lenient`; then it keeps its value.
pub(crate) fn assign(
    tree: &ModelTree,
    catalogue: &Catalogue,
    weights: &[usize],
    found: &HashMap<usize, usize>,
    options: &LoadOptions,
    lenient: bool,
    matching: &mut Matching,
) -> Result<()> {
    let orders = Orders::new(tree);
    let mut left_alone: HashSet<usize> = HashSet::new();
    for &node in &options.objects_to_skip {
        left_alone.extend(orders.weights(node)?.iter());
    }
    let mut layers: Vec<(usize, Vec<usize>)> = Vec::new();
    for &variable in weights {
        if left_alone.contains(&variable) {
            matching.account(found.get(&variable).copied());
            continue;
        }
        let owner = owner(tree, variable);
        match layers.iter_mut().find(|(layer, _)| *layer == owner) {
            Some((_, variables)) => variables.push(variable),
            None => layers.push((owner, vec![variable])),
        }
    }
    for (owner, variables) in layers {
        let label = tree.node(owner)?.label();
        match layer(tree, catalogue, label, &variables, found, lenient) {
            Ok(bindings) => matching.bind(bindings),
            Err(error) if options.skip_mismatch => {
                matching.account(variables.iter().filter_map(|variable| found.get(variable)).copied());
                matching.skip(label, &error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The arrays that are called like the weights, under names that `change` makes of theirs.
fn by_names(
    tree: &ModelTree,
    weights: &[usize],
    catalogue: &Catalogue,
    change: &dyn Fn(&str) -> String,
) -> Result<HashMap<usize, usize>> {
    let mut found = HashMap::new();
    for &variable in weights {
        let name = change(stored_name(&tree.variable(variable)?.path));
        if let Some(entry) = catalogue.find(&name).or_else(|| catalogue.find(&format!("{name}:0"))) {
            found.insert(variable, entry);
        }
    }
    Ok(found)
}

/// The first part of the names, if it is the same in all.
fn common_prefix(catalogue: &Catalogue) -> Option<&str> {
    let mut firsts = catalogue.entries().iter().map(|entry| entry.path.split_once('/').map(|(first, _)| first));
    let first = firsts.next()??;
    firsts.all(|other| other == Some(first)).then_some(first)
}

fn layer(
    tree: &ModelTree,
    catalogue: &Catalogue,
    label: &str,
    variables: &[usize],
    found: &HashMap<usize, usize>,
    lenient: bool,
) -> Result<Vec<Binding>> {
    let mut bindings = Vec::with_capacity(variables.len());
    for &variable in variables {
        let target = tree.variable(variable)?;
        let Some(&entry) = found.get(&variable) else {
            if lenient {
                continue;
            }
            let name = stored_name(&target.path);
            let error = catalogue.require(name).err().unwrap_or_else(|| WeightsError::new(Code::Missing, name));
            return Err(error.layer(label).weight(&target.path));
        };
        let stored = catalogue.entry(entry)?;
        // numpy has no bfloat16, so its bits are often kept as integers, which would silently become numbers.
        let bits = DType::UInt16 == stored.dtype && matches!(target.dtype, DType::BFloat16 | DType::Float16);
        if bits && stored.shape == target.shape {
            return Err(WeightsError::new(
                Code::DType,
                format!(
                    "{} holds uint16 for the {} weight {}: whether these are numbers or the bits of floats cannot be known",
                    stored.path, target.dtype, target.path
                ),
            )
            .layer(label)
            .weight(&target.path)
            .expected(target.dtype.name())
            .found(stored.dtype.name()));
        }
        let piece = Piece::Value(Expression::entry(entry, &stored.shape));
        bindings.extend(fit(tree, catalogue, label, &[variable], vec![piece])?);
    }
    Ok(bindings)
}

/// The object that made the variable, which is what a mismatch leaves out.
fn owner(tree: &ModelTree, variable: usize) -> usize {
    tree.nodes.iter().position(|node| node.own_variables().any(|own| own == variable)).unwrap_or(tree.root)
}

/// The arrays of the one numbered run in the file, in order.
fn numbered(catalogue: &Catalogue) -> Vec<usize> {
    for prefix in ["arr_", "w", "weight_", ""] {
        let mut run: BTreeMap<u64, usize> = BTreeMap::new();
        for (index, entry) in catalogue.entries().iter().enumerate() {
            let digits = entry.path.strip_prefix(prefix).unwrap_or_default();
            if !digits.is_empty()
                && digits.bytes().all(|byte| byte.is_ascii_digit())
                && let Ok(number) = digits.parse()
            {
                run.insert(number, index);
            }
        }
        let whole = run.keys().copied().eq(0..run.len() as u64);
        if whole && !run.is_empty() {
            return run.into_values().collect();
        }
    }
    Vec::new()
}

fn no_match(tree: &ModelTree, weights: &[usize], catalogue: &Catalogue) -> Result<WeightsError> {
    let names: Vec<&str> = catalogue.entries().iter().take(5).map(|entry| entry.path.as_str()).collect();
    let first = weights.first().map(|first| tree.variable(*first)).transpose()?;
    let wanted = first.map_or("", |variable| stored_name(&variable.path));
    Ok(WeightsError::new(
        Code::NoMatch,
        format!(
            "no array of the file has the path of a weight of the model (the model wants {wanted}, the file has {}{})",
            names.join(", "),
            if catalogue.entries().len() > names.len() { ", …" } else { "" }
        ),
    ))
}
