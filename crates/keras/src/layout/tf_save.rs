//! Laying out a TensorFlow checkpoint: the object graph, the keys that follow from it, and the order of the tensors.

use std::collections::VecDeque;

use kw_formats::tf_checkpoint::{
    BundleBuilder, BundlePlan, GraphAttribute, GraphChild, GraphNode, OBJECT_GRAPH_KEY, SlotVariable,
    TrackableObjectGraph,
};
use kw_model::{Result, Shape};
use serde::Deserialize;

use super::tf_object_graph::{LiveGraph, LiveObject, Names};
use crate::tree::{Flavor, ModelTree};

/// What a checkpoint's root is, and so who can restore it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TfLayout {
    /// The model is the root, as with `save_weights` of Keras 2 and `tf.train.Checkpoint(model)`.
    SaveWeights,
    /// The root leads to the model, as with `tf.train.Checkpoint(model=model)`.
    Checkpoint,
    /// Both, for whoever will restore it.
    Universal,
}

impl TfLayout {
    /// The layout for models of a flavour when none is asked for.
    pub(crate) fn of(flavor: Flavor) -> Self {
        match flavor {
            Flavor::Keras2 => TfLayout::SaveWeights,
            Flavor::Keras3 => TfLayout::Universal,
        }
    }
}

/// The planned data and index, and the variable of each tensor but the last, which is the graph.
pub(crate) fn plan(
    tree: &ModelTree,
    layout: TfLayout,
    max_shard_bytes: Option<u64>,
    optimizers: bool,
) -> Result<(BundlePlan, Vec<usize>)> {
    let objects = with_root(LiveGraph::new(tree, Names::Own, optimizers)?.objects, layout);
    let keys = keys(&objects);
    let holds_values = holding_values(&objects);
    let mut builder = BundleBuilder::new();
    if let Some(bytes) = max_shard_bytes {
        builder.max_shard_bytes(bytes);
    }
    let mut variables = Vec::new();
    let mut graph = TrackableObjectGraph { nodes: Vec::with_capacity(objects.len()) };
    for ((object, key), holds) in objects.into_iter().zip(keys).zip(holds_values) {
        let mut node = GraphNode { has_checkpoint_values: Some(holds), ..GraphNode::default() };
        for (local_name, node_id) in object.edges {
            node.children.push(GraphChild { node_id, local_name });
        }
        for (original_variable_node_id, slot_name, slot_variable_node_id) in object.slots {
            node.slot_variables.push(SlotVariable { original_variable_node_id, slot_name, slot_variable_node_id });
        }
        if let Some(variable) = object.variable {
            let described = tree.variable(variable)?;
            let full_name = described.path.strip_suffix(":0").unwrap_or(&described.path).to_owned();
            let checkpoint_key = format!("{key}/.ATTRIBUTES/VARIABLE_VALUE");
            builder
                .tensor(&checkpoint_key, described.dtype, described.shape.clone())
                .map_err(|error| error.weight(&described.path))?;
            variables.push(variable);
            node.attributes.push(GraphAttribute { name: "VARIABLE_VALUE".to_owned(), full_name, checkpoint_key });
        }
        graph.nodes.push(node);
    }
    builder.strings(OBJECT_GRAPH_KEY, Shape::new([]), &[graph.encode()])?;
    Ok((builder.plan()?, variables))
}

/// Puts the root that a layout wants before the model's objects.
fn with_root(mut objects: Vec<LiveObject>, layout: TfLayout) -> Vec<LiveObject> {
    if layout == TfLayout::SaveWeights {
        if let Some(root) = objects.first_mut() {
            // `save_weights` saves a `Checkpoint(root=model)`, which keeps this edge.
            root.edges.push(("root".to_owned(), 0));
        }
        return objects;
    }
    for object in &mut objects {
        for (_, to) in &mut object.edges {
            *to = to.saturating_add(1);
        }
        for (of, _, slot) in &mut object.slots {
            *of = of.saturating_add(1);
            *slot = slot.saturating_add(1);
        }
    }
    // An edge from the model back to itself would bind the model to the wrong object, so it appears twice.
    let mut root = match layout {
        TfLayout::Universal => objects.first().cloned().unwrap_or_default(),
        TfLayout::SaveWeights | TfLayout::Checkpoint => LiveObject::default(),
    };
    if root.child("model").is_none() {
        root.edges.push(("model".to_owned(), 1));
    }
    objects.insert(0, root);
    objects
}

/// The path by which each object is first reached.
fn keys(objects: &[LiveObject]) -> Vec<String> {
    let mut keys: Vec<Option<String>> = vec![None; objects.len()];
    if let Some(root) = keys.first_mut() {
        *root = Some(String::new());
    }
    let mut queue = VecDeque::from([0_usize]);
    while let Some(object) = queue.pop_front() {
        let path = keys.get(object).cloned().flatten().unwrap_or_default();
        for (name, to) in objects.get(object).into_iter().flat_map(|object| &object.edges) {
            if let Some(key @ None) = keys.get_mut(*to) {
                let name = escaped(name);
                *key = Some(if path.is_empty() { name } else { format!("{path}/{name}") });
                queue.push_back(*to);
            }
        }
    }
    let path = |keys: &[Option<String>], object: usize| keys.get(object).cloned().flatten().unwrap_or_default();
    for (optimizer, object) in objects.iter().enumerate() {
        for (of, name, slot) in &object.slots {
            let found = format!("{}/.OPTIMIZER_SLOT/{}/{}", path(&keys, *of), path(&keys, optimizer), escaped(name));
            if let Some(key @ None) = keys.get_mut(*slot) {
                *key = Some(found);
            }
        }
    }
    keys.into_iter().map(Option::unwrap_or_default).collect()
}

/// A name as a part of a key.
fn escaped(name: &str) -> String {
    name.replace('.', "..").replace('/', ".S")
}

/// Whether a value can be reached from each object.
fn holding_values(objects: &[LiveObject]) -> Vec<bool> {
    let mut parents: Vec<Vec<usize>> = vec![Vec::new(); objects.len()];
    for (number, object) in objects.iter().enumerate() {
        let slots = object.slots.iter().map(|(_, _, slot)| slot);
        for to in object.edges.iter().map(|(_, to)| to).chain(slots) {
            if let Some(of) = parents.get_mut(*to) {
                of.push(number);
            }
        }
    }
    let mut holds = vec![false; objects.len()];
    let mut queue: VecDeque<usize> =
        objects.iter().enumerate().filter(|(_, object)| object.variable.is_some()).map(|(number, _)| number).collect();
    while let Some(number) = queue.pop_front() {
        if let Some(flag @ false) = holds.get_mut(number) {
            *flag = true;
            queue.extend(parents.get(number).into_iter().flatten());
        }
    }
    holds
}
