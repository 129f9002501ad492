//! A model as the graph of objects that TensorFlow saves: which object calls which other one by what name.
//!
//! Layers of a functional or Sequential model are called `layer_with_weights-0`, `layer-0`, …; everything else is
//! called by the name of the attribute that holds it. The model tree lists those names; counting is done here.

use std::collections::{HashMap, VecDeque};

use kw_model::Result;

use crate::orders::Orders;
use crate::tree::{Attribute, Flavor, ModelTree, Node, NodeKind, Trackable};

/// All objects below a root; number 0 is the root, and numbers follow the distance from it.
#[derive(Debug, Clone)]
pub(crate) struct LiveGraph {
    pub(crate) objects: Vec<LiveObject>,
}

/// One object.
#[derive(Debug, Clone, Default)]
pub(crate) struct LiveObject {
    /// What it calls other objects.
    pub(crate) edges: Vec<(String, usize)>,
    /// The variable of the tree that it is.
    pub(crate) variable: Option<usize>,
    /// Of an old optimizer: object of the model's variable, name, object of the slot's variable.
    pub(crate) slots: Vec<(usize, String, usize)>,
}

impl LiveObject {
    /// The object it calls by this name.
    pub(crate) fn child(&self, name: &str) -> Option<usize> {
        self.edges.iter().find(|(edge, _)| edge == name).map(|(_, object)| *object)
    }
}

/// Whose names a graph has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// The model's own flavour; models of Keras 3 have the names of both, since both may have to restore them.
    Own,
    /// Those of Keras 2 and of Keras 3 for any model.
    Both,
}

/// What stands behind an edge before it has a number.
enum Target<'t> {
    Node(usize),
    Variable(usize),
    Object(Vec<(String, Target<'t>)>),
    Listed(&'t [(String, Trackable)]),
    Attribute(&'t Attribute),
}

impl<'t> From<&'t Trackable> for Target<'t> {
    fn from(trackable: &'t Trackable) -> Self {
        match trackable {
            Trackable::Node(index) => Target::Node(*index),
            Trackable::Variable(index) => Target::Variable(*index),
            Trackable::Object(edges) => Target::Listed(edges),
        }
    }
}

impl<'t> From<&'t Attribute> for Target<'t> {
    fn from(attribute: &'t Attribute) -> Self {
        match attribute {
            Attribute::Node(index) => Target::Node(*index),
            Attribute::List(_) | Attribute::Dict(_) => Target::Attribute(attribute),
        }
    }
}

impl LiveGraph {
    /// The graph below the tree's root, with or without its optimizers.
    pub(crate) fn new(tree: &ModelTree, names: Names, optimizers: bool) -> Result<Self> {
        let orders = Orders::new(tree);
        let mut builder = Builder::new(tree, &orders, names, optimizers);
        let mut with_slots: Vec<(usize, &Node)> = Vec::new();
        builder.number(Target::Node(tree.root));
        while let Some((object, target)) = builder.queue.pop_front() {
            let edges = match target {
                Target::Node(node) => {
                    let node = tree.node(node)?;
                    if !node.slots.is_empty() {
                        with_slots.push((object, node));
                    }
                    builder.edges(node)?
                }
                Target::Variable(_) => Vec::new(),
                Target::Object(edges) => edges,
                Target::Listed(edges) => listed(edges),
                Target::Attribute(attribute) => elements(attribute),
            };
            let mut numbered: Vec<(String, usize)> = Vec::with_capacity(edges.len());
            for (name, target) in edges {
                let number = builder.number(target);
                numbered.push((name, number));
            }
            if let Some(object) = builder.objects.get_mut(object) {
                object.edges = numbered;
            }
        }
        for (object, node) in with_slots {
            builder.slots(object, node);
        }
        Ok(LiveGraph { objects: builder.objects })
    }
}

struct Builder<'t> {
    tree: &'t ModelTree,
    orders: &'t Orders<'t>,
    names: Names,
    optimizers: bool,
    objects: Vec<LiveObject>,
    nodes: HashMap<usize, usize>,
    variables: HashMap<usize, usize>,
    queue: VecDeque<(usize, Target<'t>)>,
}

impl<'t> Builder<'t> {
    fn new(tree: &'t ModelTree, orders: &'t Orders<'t>, names: Names, optimizers: bool) -> Self {
        Builder {
            tree,
            orders,
            names,
            optimizers,
            objects: Vec::new(),
            nodes: HashMap::new(),
            variables: HashMap::new(),
            queue: VecDeque::new(),
        }
    }

    /// The number of an object; a new one is put in line for its edges.
    fn number(&mut self, target: Target<'t>) -> usize {
        let next = self.objects.len();
        let known = match target {
            Target::Node(node) => *self.nodes.entry(node).or_insert(next),
            Target::Variable(variable) => *self.variables.entry(variable).or_insert(next),
            Target::Object(_) | Target::Listed(_) | Target::Attribute(_) => next,
        };
        if known == next {
            let variable = if let Target::Variable(variable) = target { Some(variable) } else { None };
            self.objects.push(LiveObject { variable, ..LiveObject::default() });
            self.queue.push_back((next, target));
        }
        known
    }

    /// Slot variables come after everything that edges lead to: slot after slot, in the order of the model's variables.
    fn slots(&mut self, object: usize, node: &'t Node) {
        let mut names: Vec<&str> = Vec::new();
        for (_, name, _) in &node.slots {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let mut slots = Vec::with_capacity(node.slots.len());
        for wanted in names {
            let of_name = node.slots.iter().filter(|(_, name, _)| name == wanted);
            let mut found: Vec<(usize, usize)> =
                of_name.filter_map(|(of, _, slot)| Some((*self.variables.get(of)?, *slot))).collect();
            found.sort_unstable();
            for (of, slot) in found {
                slots.push((of, wanted.to_owned(), self.number(Target::Variable(slot))));
            }
        }
        self.queue.clear();
        if let Some(object) = self.objects.get_mut(object) {
            object.slots = slots;
        }
    }

    fn edges(&self, node: &'t Node) -> Result<Vec<(String, Target<'t>)>> {
        let mut edges = Edges::default();
        if matches!(node.kind, NodeKind::Sequential | NodeKind::Functional) {
            let mut weighted = 0_usize;
            for (place, &layer) in node.layers.iter().enumerate() {
                if !self.orders.weights(layer)?.is_empty() {
                    edges.add(format!("layer_with_weights-{weighted}"), Target::Node(layer));
                    weighted = weighted.saturating_add(1);
                }
                edges.add(format!("layer-{place}"), Target::Node(layer));
            }
        }
        if let Some(trackables) = &node.trackables {
            for (name, trackable) in trackables {
                if !matches!(trackable, Trackable::Node(index) if self.is_left_out(*index)?) {
                    edges.add(name.clone(), trackable.into());
                }
            }
        } else {
            for (name, attribute) in &node.attributes {
                if !self.is_unnamed(attribute)? {
                    edges.add(name.clone(), attribute.into());
                }
            }
            for variable in node.own_variables() {
                edges.add(self.tree.variable(variable)?.name.clone(), Target::Variable(variable));
            }
        }
        if (self.tree.flavor == Flavor::Keras3 || self.names == Names::Both) && node.kind != NodeKind::Optimizer {
            self.keras3_names(node, &mut edges);
        }
        Ok(edges.list)
    }

    /// Optimizers and metrics keep their variables under names of their own: without those they are left out.
    fn is_unnamed(&self, attribute: &Attribute) -> Result<bool> {
        let Attribute::Node(index) = attribute else { return Ok(false) };
        let node = self.tree.node(*index)?;
        let training = matches!(node.kind, NodeKind::Optimizer | NodeKind::Metric | NodeKind::Loss);
        Ok((training && node.trackables.is_none()) || self.is_left_out(*index)?)
    }

    fn is_left_out(&self, node: usize) -> Result<bool> {
        Ok(!self.optimizers && self.tree.node(node)?.kind == NodeKind::Optimizer)
    }

    /// Keras 3 keeps some variables in private attributes (`_kernel`), and the layers of a model in `_operations`.
    fn keras3_names(&self, node: &Node, edges: &mut Edges<'t>) {
        let private: Vec<(String, usize)> = edges
            .list
            .iter()
            .filter_map(|(name, target)| match target {
                Target::Variable(variable) if !name.starts_with('_') => Some((format!("_{name}"), *variable)),
                _ => None,
            })
            .collect();
        for (name, variable) in private {
            edges.add(name, Target::Variable(variable));
        }
        // Models of Keras 3 list their operations themselves: some of them are no layers.
        if self.tree.flavor == Flavor::Keras3 {
            return;
        }
        // A Sequential model does not list its input layer, which is the first operation.
        let first = usize::from(node.kind == NodeKind::Sequential);
        let operations = || {
            let layers = node.layers.iter().enumerate();
            layers.map(|(place, &layer)| (place.saturating_add(first).to_string(), Target::Node(layer))).collect()
        };
        match node.kind {
            NodeKind::Functional => edges.add("_operations".to_owned(), Target::Object(operations())),
            NodeKind::Sequential => {
                let inner = vec![("_operations".to_owned(), Target::Object(operations()))];
                edges.add("_functional".to_owned(), Target::Object(inner));
            }
            _ => {}
        }
    }
}

/// Edges in order; the first of a name counts.
#[derive(Default)]
struct Edges<'t> {
    list: Vec<(String, Target<'t>)>,
    names: std::collections::HashSet<String>,
}

impl<'t> Edges<'t> {
    fn add(&mut self, name: String, target: Target<'t>) {
        if self.names.insert(name.clone()) {
            self.list.push((name, target));
        }
    }
}

fn listed(edges: &[(String, Trackable)]) -> Vec<(String, Target<'_>)> {
    let mut all = Edges::default();
    for (name, trackable) in edges {
        all.add(name.clone(), trackable.into());
    }
    all.list
}

fn elements(attribute: &Attribute) -> Vec<(String, Target<'_>)> {
    match attribute {
        Attribute::Node(_) => Vec::new(),
        Attribute::List(items) => {
            items.iter().enumerate().map(|(place, item)| (place.to_string(), item.into())).collect()
        }
        Attribute::Dict(items) => items.iter().map(|(key, item)| (key.clone(), item.into())).collect(),
    }
}
