//! The optimizer in the object graph of a TensorFlow checkpoint.
//!
//! Optimizers since Keras 2.11 keep their variables in a list (`_variables/0`, …); older ones hang theirs at the model's
//! variables, as slots. State that does not fit leaves the optimizer as it is, with a warning: weights are loaded into
//! models that are to be trained in another way.

use std::collections::{HashMap, HashSet};

use kw_formats::tf_checkpoint::TrackableObjectGraph;
use kw_model::Result;

use super::tf_object_graph::LiveGraph;
use crate::matching::{Binding, Matching};
use crate::report::WarningCode;
use crate::tree::{Flavor, ModelTree, NodeKind, Trackable};

/// What a model calls its optimizer, and people call one that they save beside a model.
pub(crate) const OPTIMIZER: &str = "optimizer";

/// All variables of the tree that belong to optimizers.
pub(crate) fn variables(tree: &ModelTree) -> HashSet<usize> {
    let mut found = HashSet::new();
    for node in tree.nodes.iter().filter(|node| node.kind == NodeKind::Optimizer) {
        found.extend(node.saved_variables());
        found.extend(node.slots.iter().map(|(_, _, slot)| *slot));
        for (_, trackable) in node.trackables.iter().flatten() {
            collect(trackable, &mut found);
        }
    }
    found
}

fn collect(trackable: &Trackable, found: &mut HashSet<usize>) {
    match trackable {
        Trackable::Variable(variable) => {
            found.insert(*variable);
        }
        Trackable::Object(edges) => edges.iter().for_each(|(_, edge)| collect(edge, found)),
        Trackable::Node(_) => {}
    }
}

/// The saved optimizer of a saved model: the model's own, or the one that was saved beside it.
pub(crate) fn saved(saved: &TrackableObjectGraph, model: usize) -> Option<usize> {
    let child = |object: usize| {
        let children = saved.nodes.get(object).map(|node| &node.children)?;
        children.iter().find(|child| child.local_name == OPTIMIZER).map(|child| child.node_id)
    };
    child(model).or_else(|| child(0))
}

/// Whether a saved optimizer is one of this Keras. Their lists begin differently, so that values would end up elsewhere.
pub(crate) fn is_of(saved: &TrackableObjectGraph, optimizer: usize, flavor: Flavor) -> bool {
    let keras3 = saved
        .nodes
        .get(optimizer)
        .is_some_and(|node| node.children.iter().any(|child| child.local_name == "_trainable_variables"));
    keras3 == (flavor == Flavor::Keras3)
}

/// Slot variables of optimizers whose objects are `bound` (saved to live): variable and saved object.
pub(crate) fn slots(
    saved: &TrackableObjectGraph,
    live: &LiveGraph,
    bound: &HashMap<usize, usize>,
) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for (optimizer, node) in saved.nodes.iter().enumerate() {
        let object = bound.get(&optimizer).and_then(|object| live.objects.get(*object));
        let Some(object) = object.filter(|object| !object.slots.is_empty()) else { continue };
        let known: HashMap<(usize, &str), usize> =
            object.slots.iter().map(|(of, name, slot)| ((*of, name.as_str()), *slot)).collect();
        for slot in &node.slot_variables {
            let of = bound.get(&slot.original_variable_node_id);
            let found = of.and_then(|of| known.get(&(*of, slot.slot_name.as_str())));
            let variable = found.and_then(|object| live.objects.get(*object)).and_then(|object| object.variable);
            pairs.extend(variable.map(|variable| (variable, slot.slot_variable_node_id)));
        }
    }
    pairs
}

/// Takes the state over, or says why not.
pub(crate) fn bind(
    tree: &ModelTree,
    graph: &TrackableObjectGraph,
    model: usize,
    state: Result<Vec<Binding>>,
    matching: &mut Matching,
) {
    let label = tree.nodes.iter().find(|node| node.kind == NodeKind::Optimizer).map_or(OPTIMIZER, |node| node.label());
    let mut warn = |message: String| matching.warn(WarningCode::SkippedOptimizer, Some(label), message);
    match state {
        Err(error) => warn(format!("the optimizer starts anew: {}", error.message())),
        Ok(bindings) if bindings.is_empty() => {
            let held = saved(graph, model).and_then(|optimizer| graph.nodes.get(optimizer));
            if held.is_some_and(|node| !node.children.is_empty()) {
                warn(format!(
                    "the optimizer starts anew: the checkpoint has the state of one of another Keras, which {label} cannot take"
                ));
            }
        }
        Ok(bindings) => matching.bind(bindings),
    }
}
