//! How TensorFlow.js calls the weights of a layers model: `<layer>/<weight>`, where the layer is the one in its model's `layers`.
//!
//! Inner layers leave no trace in a name (`lstm/kernel`, where Keras has `lstm/lstm_cell/kernel`), but for the directions of a
//! `Bidirectional`. TensorFlow.js' own loader also takes Keras' names with one inner layer, which its converter writes, and
//! `<layer>/<number>`, which follows Keras 3.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use kw_model::{AttributeValue, Catalogue, Result};
use serde_json::Value;

use super::by_path::stored_name;
use crate::orders::{MAX_DEPTH, Orders};
use crate::tree::ModelTree;

/// The name of every weight that is in a layer.
pub(crate) fn names(tree: &ModelTree) -> Result<HashMap<usize, String>> {
    let orders = Orders::new(tree);
    let mut names = HashMap::new();
    for layer in layers(tree)? {
        let node = tree.node(layer)?;
        let label = node.label();
        let weights = orders.weights(layer)?;
        let mut short: Vec<(usize, String, String)> = Vec::new();
        for &weight in weights.iter() {
            let path = stored_name(&tree.variable(weight)?.path);
            let inside = path.split('/').collect::<Vec<_>>();
            let start = inside
                .iter()
                .rposition(|part| *part == label)
                .map_or(inside.len().saturating_sub(1), |at| at.saturating_add(1));
            let tail = inside.get(start..).unwrap_or_default();
            let mut last = tail.last().copied().unwrap_or(path);
            // Keras 3 calls it `kernel`, Keras 2 and TensorFlow.js do not.
            if node.class.starts_with("DepthwiseConv") && last == "kernel" {
                last = "depthwise_kernel";
            }
            let direction = tail.first().filter(|_| node.class == "Bidirectional" && tail.len() > 1);
            let name = direction.map_or_else(|| format!("{label}/{last}"), |inner| format!("{label}/{inner}/{last}"));
            short.push((weight, name, format!("{label}/{}", tail.join("/"))));
        }
        let different: HashSet<&str> = short.iter().map(|(_, name, _)| name.as_str()).collect();
        let unique = different.len() == short.len();
        for (weight, name, long) in short {
            names.entry(weight).or_insert(if unique { name } else { long });
        }
    }
    Ok(names)
}

/// The tensors of a file that belong to weights.
pub(crate) fn find(tree: &ModelTree, catalogue: &Catalogue) -> Result<HashMap<usize, usize>> {
    let names = names(tree)?;
    let mut shorter: HashMap<String, Option<usize>> = HashMap::new();
    for (index, entry) in catalogue.entries().iter().enumerate() {
        // Two tensors that would be called the same are no one's.
        shorter.entry(shortened(&entry.path)).and_modify(|found| *found = None).or_insert(Some(index));
    }
    let mut found: HashMap<usize, usize> = HashMap::new();
    for (&weight, name) in &names {
        let entry = catalogue.find(name).or_else(|| shorter.get(name).copied().flatten());
        found.extend(entry.map(|entry| (weight, entry)));
    }
    let orders = Orders::new(tree);
    if found.is_empty() {
        for layer in layers(tree)? {
            let label = tree.node(layer)?.label();
            for (number, &weight) in orders.weights(layer)?.iter().enumerate() {
                found.extend(catalogue.find(&format!("{label}/{number}")).map(|entry| (weight, entry)));
            }
        }
    }
    if found.is_empty() {
        found = by_topology(tree, &orders, catalogue)?;
    }
    Ok(found)
}

/// `lstm/lstm_cell/kernel` as `lstm/kernel`.
fn shortened(name: &str) -> String {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        [start @ .., _, last] if !start.is_empty() => format!("{}/{last}", start.join("/")),
        _ => name.to_owned(),
    }
}

/// Layer by layer in the order of the topology, when names of layers differ (`dense_Dense1`); empty when the layers differ.
fn by_topology(tree: &ModelTree, orders: &Orders<'_>, catalogue: &Catalogue) -> Result<HashMap<usize, usize>> {
    let nothing = Ok(HashMap::new());
    let text = catalogue.group("").and_then(|root| root.attributes.get("modelTopology"));
    let Some(AttributeValue::Text(text)) = text else { return nothing };
    let Ok(topology) = serde_json::from_str::<Value>(text) else { return nothing };
    let mut named = Vec::new();
    layer_names(topology.get("model_config").unwrap_or(&topology), 0, &mut named);
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, entry) in catalogue.entries().iter().enumerate() {
        // What TensorFlow.js saves of its optimizer is called like the weights: `dense/kernel/m`.
        let optimizer =
            matches!(entry.attributes.get("group"), Some(AttributeValue::Text(group)) if group == "optimizer");
        if let Some((layer, _)) = entry.path.split_once('/').filter(|_| !optimizer) {
            groups.entry(layer).or_default().push(index);
        }
    }
    let theirs: Vec<&Vec<usize>> = named.iter().filter_map(|name| groups.get(name.as_str())).collect();
    let mut ours = Vec::new();
    for layer in layers(tree)? {
        let weights = orders.weights(layer)?;
        if !weights.is_empty() {
            ours.push(weights);
        }
    }
    let mut found = HashMap::new();
    for (weights, entries) in ours.iter().zip(&theirs) {
        if weights.len() != entries.len() || ours.len() != theirs.len() {
            return nothing;
        }
        found.extend(weights.iter().copied().zip(entries.iter().copied()));
    }
    Ok(found)
}

/// Names of the layers of a config, those of models inside in their place.
fn layer_names(entry: &Value, depth: u32, names: &mut Vec<String>) {
    let config = entry.get("config").unwrap_or(&Value::Null);
    let inside = config.as_array().or_else(|| config.get("layers").and_then(Value::as_array));
    match inside.filter(|_| depth < MAX_DEPTH) {
        Some(layers) => layers.iter().for_each(|layer| layer_names(layer, depth.saturating_add(1), names)),
        None => names.extend(config.get("name").and_then(Value::as_str).map(str::to_owned)),
    }
}

/// The layers of the root that are no models, those of models inside in their place, each once.
fn layers(tree: &ModelTree) -> Result<Vec<usize>> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    let mut waiting = vec![tree.root];
    while let Some(index) = waiting.pop() {
        let node = tree.node(index)?;
        if !seen.insert(index) {
            continue;
        }
        if node.kind.is_model() {
            waiting.extend(node.layers.iter().rev());
        } else {
            found.push(index);
        }
    }
    Ok(found)
}
