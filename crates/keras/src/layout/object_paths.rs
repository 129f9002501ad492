//! The order in which Keras walks from an object to the objects below it, and the names it gives them on the way.
//!
//! Three walks exist. Keras 3 goes through `layers` first and then through the attributes by name, private ones last;
//! `tf_keras` goes through the attributes in reverse, skipping what it has seen before it counts; Keras 2.11 and 2.12 go
//! through them in plain order and list weighted layers of functional models twice.

use std::collections::HashMap;

use kw_model::Result;

use crate::naming::snake_case;
use crate::orders::Orders;
use crate::tree::{Attribute, Flavor, ModelTree, Node, NodeKind};

/// Where Keras 2.11 and 2.12 keep the layers of functional models.
pub(crate) const KERAS_2_12_LAYERS: &str = "_layer_checkpoint_dependencies";

/// Whose walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walk {
    Keras3,
    /// `tf_keras` and Keras 2.13 and later.
    TfKeras,
    Keras212,
}

impl Walk {
    /// The walk of the Keras that a model belongs to.
    pub(crate) const fn of(flavor: Flavor) -> Self {
        match flavor {
            Flavor::Keras3 => Walk::Keras3,
            Flavor::Keras2 => Walk::TfKeras,
        }
    }

    /// Keras 3 walks lists within lists.
    pub(crate) const fn nests(self) -> bool {
        matches!(self, Walk::Keras3)
    }

    /// `tf_keras` gives no name to an element it has been at.
    pub(crate) const fn skips_visited_names(self) -> bool {
        matches!(self, Walk::TfKeras)
    }

    pub(crate) const fn flavor(self) -> Flavor {
        match self {
            Walk::Keras3 => Flavor::Keras3,
            Walk::TfKeras | Walk::Keras212 => Flavor::Keras2,
        }
    }

    /// Whether this Keras stores anything for an object of its own, be it an empty group.
    pub(crate) const fn stores(self, kind: NodeKind) -> bool {
        match kind {
            NodeKind::Layer | NodeKind::Sequential | NodeKind::Functional | NodeKind::Model | NodeKind::Optimizer => {
                true
            }
            // In Keras 2 a metric is a layer.
            NodeKind::Metric => !matches!(self, Walk::Keras3),
            NodeKind::Loss | NodeKind::Saveable => false,
        }
    }
}

/// What an attribute leads to.
#[derive(Debug, Clone)]
pub(crate) enum Edge<'t> {
    Object(usize),
    Container(Vec<Item<'t>>),
}

/// An element of a list or dictionary.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Item<'t> {
    Object(usize),
    Container(&'t Attribute),
}

/// The elements of a list, or the values of a dictionary.
pub(crate) fn items(container: &Attribute) -> Vec<Item<'_>> {
    fn item(attribute: &Attribute) -> Item<'_> {
        match attribute {
            Attribute::Node(index) => Item::Object(*index),
            container => Item::Container(container),
        }
    }
    match container {
        Attribute::Node(index) => vec![Item::Object(*index)],
        Attribute::List(values) => values.iter().map(item).collect(),
        Attribute::Dict(values) => values.iter().map(|(_, value)| item(value)).collect(),
    }
}

/// The edges of one object, in the order of the walk.
pub(crate) fn edges<'t>(
    tree: &'t ModelTree,
    orders: &Orders<'_>,
    node: &'t Node,
    walk: Walk,
) -> Result<Vec<(&'t str, Edge<'t>)>> {
    let mut edges: Vec<(&str, Edge)> = node
        .attributes
        .iter()
        .map(|(name, value)| {
            let edge = match value {
                Attribute::Node(index) => Edge::Object(*index),
                container => Edge::Container(items(container)),
            };
            (name.as_str(), edge)
        })
        .collect();
    let layers = |of: &[usize]| Edge::Container(of.iter().map(|&layer| Item::Object(layer)).collect());
    let functional = matches!(node.kind, NodeKind::Sequential | NodeKind::Functional);
    let first = functional && walk == Walk::Keras3;
    if node.kind.is_model() && !first {
        edges.push(("layers", layers(&node.layers)));
    }
    if functional && walk == Walk::Keras212 {
        edges.push((KERAS_2_12_LAYERS, layers(&checkpoint_dependencies(tree, orders, node)?)));
    }
    match walk {
        // As sorted by a name in which "~", the last of ASCII, stands before a leading underscore.
        Walk::Keras3 => edges.sort_by(|(a, _), (b, _)| (a.starts_with('_'), *a).cmp(&(b.starts_with('_'), *b))),
        Walk::TfKeras => edges.sort_by(|(a, _), (b, _)| b.cmp(a)),
        Walk::Keras212 => edges.sort_by_key(|(name, _)| *name),
    }
    if first {
        edges.insert(0, ("layers", layers(&node.layers)));
    }
    Ok(edges)
}

/// Weighted layers stand in this dictionary once as `layer_with_weights-N` and once as `layer-N`.
fn checkpoint_dependencies(tree: &ModelTree, orders: &Orders<'_>, node: &Node) -> Result<Vec<usize>> {
    let mut listed = Vec::with_capacity(node.layers.len().saturating_mul(2));
    for &layer in &node.layers {
        if tree.node(layer)?.built && !orders.weights(layer)?.is_empty() {
            listed.push(layer);
        }
        listed.push(layer);
    }
    Ok(listed)
}

/// Names within one list: the class in snake case, then `_1`, `_2`, ….
#[derive(Default)]
pub(crate) struct Names(HashMap<String, u64>);

impl Names {
    /// The name of the next object of this class.
    pub(crate) fn object(&mut self, class: &str, walk: Walk) -> String {
        self.unique(snake_case(class, walk.flavor()))
    }

    /// The name of the next list within the list.
    pub(crate) fn container(&mut self) -> String {
        self.unique("container".to_owned())
    }

    fn unique(&mut self, name: String) -> String {
        if let Some(count) = self.0.get_mut(&name) {
            *count = count.saturating_add(1);
            return format!("{name}_{count}");
        }
        self.0.insert(name.clone(), 0);
        name
    }
}

/// `base/name`.
pub(crate) fn join(base: &str, name: &str) -> String {
    if base.is_empty() { name.to_owned() } else { format!("{base}/{name}") }
}

/// The group of an object's own variables.
pub(crate) fn vars(path: &str) -> String {
    join(path, "vars")
}
