//! Loading TensorFlow checkpoints: from the root through the saved object graph, edge by edge.
//!
//! Names of layers and variables and the text of keys mean nothing; only the names of edges do. Checkpoints of
//! TensorFlow 1 have no graph: there the variable's name is the key.

use std::collections::{HashMap, HashSet, VecDeque};

use kw_formats::tf_checkpoint::{OBJECT_GRAPH_KEY, TrackableObjectGraph};
use kw_model::{Catalogue, Code, DType, Result, WeightsError};

use super::tf_object_graph::{LiveGraph, Names};
use super::tf_optimizer::{self, OPTIMIZER};
use crate::cast;
use crate::load::LoadOptions;
use crate::matching::{Binding, Matching};
use crate::open::OpenedFile;
use crate::orders::Orders;
use crate::recipe::Expression;
use crate::tree::{Flavor, ModelTree};

/// What hangs at a saved root beside the model's weights.
const NOT_THE_MODEL: [&str; 3] = [OPTIMIZER, "keras_api", "save_counter"];

/// Matches the objects of the checkpoint with those of the tree.
pub(crate) fn load(tree: &ModelTree, file: &OpenedFile, options: &LoadOptions, matching: &mut Matching) -> Result<()> {
    refuse_options(options)?;
    let catalogue = file.reader.catalogue();
    let Some(index) = catalogue.find(OBJECT_GRAPH_KEY) else { return by_names(tree, catalogue, options, matching) };
    matching.account([index]);
    let strings = file.reader.read_strings(index)?;
    let [text] = strings.as_slice() else {
        return Err(WeightsError::new(
            Code::Corrupt,
            format!("the object graph should be one string, not {}", strings.len()),
        ));
    };
    let saved = TrackableObjectGraph::decode(text)?;
    let matcher = Matcher { tree, saved: &saved, training: tf_optimizer::variables(tree), options };
    let mut found = matcher.find_root()?;
    if found.weights == 0
        && let Some(listed) = matcher.exported(catalogue)?
    {
        matching.account(
            catalogue
                .entries()
                .iter()
                .enumerate()
                .filter_map(|(index, entry)| entry.path.starts_with("_all_variables/").then_some(index)),
        );
        found = listed;
    }
    if found.weights == 0 && !Orders::new(tree).weights(tree.root)?.is_empty() {
        return Err(no_match(tree, &saved));
    }
    let value = |&(variable, object): &(usize, usize)| -> Result<Option<Binding>> {
        let Some(attributes) = saved.nodes.get(object).map(|node| &node.attributes) else { return Ok(None) };
        let value = attributes.iter().find(|attribute| attribute.name == "VARIABLE_VALUE");
        let Some(value) = value.or_else(|| attributes.first()) else { return Ok(None) };
        bind(tree, catalogue, variable, catalogue.require(&value.checkpoint_key)?, options.cast).map(Some)
    };
    let (training, weights): (Vec<_>, Vec<_>) =
        found.pairs.iter().partition(|(variable, _)| matcher.training.contains(variable));
    let mut bindings = Vec::with_capacity(weights.len());
    for pair in weights {
        bindings.extend(value(pair)?);
    }
    matching.bind(bindings);
    if matcher.wants_optimizer() {
        let state: Result<Vec<_>> = training.into_iter().filter_map(|pair| value(pair).transpose()).collect();
        tf_optimizer::bind(tree, &saved, found.start, state, matching);
    }
    matching.account(beside_the_model(&saved, found.start, catalogue));
    Ok(())
}

fn refuse_options(options: &LoadOptions) -> Result<()> {
    let refuse = |message: &str| Err(WeightsError::new(Code::Argument, message));
    if options.by_name {
        return refuse(
            "byName works with legacy HDF5 files only: a TensorFlow checkpoint is matched through its object graph",
        );
    }
    if options.skip_mismatch {
        return refuse("skipMismatch does not work with TensorFlow checkpoints: their values fit or are an error");
    }
    if !options.objects_to_skip.is_empty() {
        return refuse(
            "objectsToSkip works with object-path files (.weights.h5) only: this is a TensorFlow checkpoint",
        );
    }
    Ok(())
}

/// Which saved object became which variable.
struct Found {
    /// The saved object that is the model.
    start: usize,
    /// Variables of the model that found a counterpart.
    weights: usize,
    /// Variable and saved object, in the order of matching.
    pairs: Vec<(usize, usize)>,
}

struct Matcher<'a> {
    tree: &'a ModelTree,
    saved: &'a TrackableObjectGraph,
    /// Variables of optimizers.
    training: HashSet<usize>,
    options: &'a LoadOptions,
}

impl Matcher<'_> {
    fn wants_optimizer(&self) -> bool {
        self.options.include_optimizer.unwrap_or(true) && !self.training.is_empty()
    }

    /// The model is the saved root, or something the root leads to, as in `tf.train.Checkpoint(model=…)`.
    fn find_root(&self) -> Result<Found> {
        let own = LiveGraph::new(self.tree, Names::Own, self.wants_optimizer())?;
        let first = self.follow(&own, 0);
        if first.weights > 0 {
            return Ok(first);
        }
        let both = LiveGraph::new(self.tree, Names::Both, self.wants_optimizer())?;
        let mut starts: Vec<usize> = Vec::new();
        if let Some(root) = self.saved.nodes.first() {
            // The usual name first: on a tie it wins.
            let (usual, other): (Vec<_>, Vec<_>) = root.children.iter().partition(|child| child.local_name == "model");
            for child in usual.into_iter().chain(other) {
                let special = NOT_THE_MODEL.contains(&child.local_name.as_str());
                if child.node_id != 0 && !special && !starts.contains(&child.node_id) {
                    starts.push(child.node_id);
                }
            }
        }
        let mut best = first;
        for live in [&own, &both] {
            for &start in std::iter::once(&0).chain(&starts) {
                let found = self.follow(live, start);
                if found.weights > best.weights {
                    best = found;
                }
            }
            if best.weights > 0 {
                return Ok(best);
            }
        }
        self.find_below(&[&own, &both], best)
    }

    /// A model that an object of the user's own holds, somewhere below. There it must be found with all its weights:
    /// a part of another model can look like it.
    fn find_below(&self, graphs: &[&LiveGraph], nothing: Found) -> Result<Found> {
        let all = Orders::new(self.tree).weights(self.tree.root)?.len();
        for live in graphs {
            let edges: HashSet<&str> =
                live.objects.first().into_iter().flat_map(|root| &root.edges).map(|(name, _)| name.as_str()).collect();
            for (start, node) in self.saved.nodes.iter().enumerate().skip(1) {
                if all > 0 && node.children.iter().any(|child| edges.contains(child.local_name.as_str())) {
                    let found = self.follow(live, start);
                    if found.weights == all {
                        return Ok(found);
                    }
                }
            }
        }
        Ok(nothing)
    }

    /// What `model.export` writes: no model, only the list of its variables, seeds among them.
    fn exported(&self, catalogue: &Catalogue) -> Result<Option<Found>> {
        let child = |object: usize, name: &str| -> Option<usize> {
            let children = &self.saved.nodes.get(object)?.children;
            children.iter().find(|child| child.local_name == name).map(|child| child.node_id)
        };
        let Some(list) = child(0, "variables") else { return Ok(None) };
        let mut listed = Vec::new();
        while let Some(object) = child(list, &listed.len().to_string()) {
            listed.push(object);
        }
        listed.retain(|object| {
            let attributes = self.saved.nodes.get(*object).map(|node| node.attributes.as_slice()).unwrap_or_default();
            !attributes.is_empty() && !attributes.iter().any(|found| found.full_name.ends_with("seed_generator_state"))
        });
        let weights = Orders::new(self.tree).weights(self.tree.root)?;
        let pairs: Vec<(usize, usize)> = weights.iter().copied().zip(listed.iter().copied()).collect();
        for &(variable, object) in &pairs {
            let attribute = self.saved.nodes.get(object).and_then(|node| node.attributes.first());
            let stored = attribute.and_then(|attribute| catalogue.find(&attribute.checkpoint_key));
            let stored = stored.map(|index| catalogue.entry(index)).transpose()?;
            if stored.is_none_or(|stored| self.tree.variable(variable).is_ok_and(|wanted| wanted.shape != stored.shape))
            {
                return Ok(None);
            }
        }
        let whole = !weights.is_empty() && weights.len() == listed.len();
        Ok(whole.then(|| Found { start: 0, weights: weights.len(), pairs }))
    }

    /// Walks both graphs from a pair of objects that are taken to be the same. A saved object becomes one live object,
    /// the first that an edge leads to.
    fn follow(&self, live: &LiveGraph, start: usize) -> Found {
        let mut bound: HashMap<usize, usize> = HashMap::from([(start, 0)]);
        let mut queue = VecDeque::from([(start, 0_usize)]);
        let optimizer = tf_optimizer::saved(self.saved, start);
        let live_optimizer = live.objects.first().and_then(|root| root.child(OPTIMIZER));
        if let (Some(optimizer), Some(live)) = (optimizer, live_optimizer)
            && tf_optimizer::is_of(self.saved, optimizer, self.tree.flavor)
        {
            bound.insert(optimizer, live);
            queue.push_back((optimizer, live));
        }
        let mut pairs = Vec::new();
        while let Some((saved_object, live_object)) = queue.pop_front() {
            let (Some(node), Some(object)) = (self.saved.nodes.get(saved_object), live.objects.get(live_object)) else {
                continue;
            };
            if let Some(variable) = object.variable
                && !node.attributes.is_empty()
            {
                pairs.push((variable, saved_object));
            }
            let names: HashMap<&str, usize> = object.edges.iter().map(|(name, to)| (name.as_str(), *to)).collect();
            for child in &node.children {
                let Some(&to) = names.get(child.local_name.as_str()) else { continue };
                if Some(to) != live_optimizer && !bound.contains_key(&child.node_id) {
                    bound.insert(child.node_id, to);
                    queue.push_back((child.node_id, to));
                }
            }
        }
        if !self.options.skip_slot_variables {
            pairs.extend(tf_optimizer::slots(self.saved, live, &bound));
        }
        let weights: HashSet<usize> =
            pairs.iter().map(|(variable, _)| *variable).filter(|variable| !self.training.contains(variable)).collect();
        Found { start, weights: weights.len(), pairs }
    }
}

/// One value against one variable. TensorFlow converts nothing.
fn bind(tree: &ModelTree, catalogue: &Catalogue, variable: usize, entry: usize, may_cast: bool) -> Result<Binding> {
    let target = tree.variable(variable)?;
    let stored = catalogue.entry(entry)?;
    let casts = may_cast && stored.dtype != DType::String && cast::can_cast(stored.dtype, target.dtype);
    if stored.dtype != target.dtype && !casts {
        let hint = if may_cast { "" } else { "; `cast: true` converts it, which TensorFlow does not" };
        return Err(WeightsError::new(
            Code::DType,
            format!("the weight {} is {}, the checkpoint has {} for it{hint}", target.path, target.dtype, stored.dtype),
        )
        .weight(&target.path)
        .expected(target.dtype.name())
        .found(stored.dtype.name()));
    }
    if stored.shape != target.shape {
        return Err(WeightsError::new(
            Code::Shape,
            format!(
                "the weight {} has shape {}, the checkpoint has shape {} for it ({})",
                target.path, target.shape, stored.shape, stored.path
            ),
        )
        .weight(&target.path)
        .expected(target.shape.clone())
        .found(stored.shape.clone()));
    }
    Ok(Binding { variable, value: Expression::entry(entry, &stored.shape) })
}

fn no_match(tree: &ModelTree, saved: &TrackableObjectGraph) -> WeightsError {
    let names = |children: &mut dyn Iterator<Item = &str>| -> String {
        let mut list: Vec<&str> = children.take(9).collect();
        let more = list.len() > 8;
        list.truncate(8);
        format!("{}{}", list.join(", "), if more { ", …" } else { "" })
    };
    let root = saved.nodes.first();
    let saved_names =
        names(&mut root.into_iter().flat_map(|root| &root.children).map(|child| child.local_name.as_str()));
    let live = LiveGraph::new(tree, Names::Own, false).ok();
    let live_root = live.as_ref().and_then(|live| live.objects.first());
    let live_names = names(&mut live_root.into_iter().flat_map(|root| &root.edges).map(|(name, _)| name.as_str()));
    WeightsError::new(
        Code::NoMatch,
        format!(
            "nothing in the checkpoint matches the model, neither at the root of the checkpoint (as `save_weights` saves) \
             nor below it (as `tf.train.Checkpoint(model=…)` does): the checkpoint's root leads to {saved_names}; \
             the model to {live_names}"
        ),
    )
    .expected(live_names)
    .found(saved_names)
}

/// Tensors that belong to something else that was saved together with the model: an optimizer, other roots.
fn beside_the_model(saved: &TrackableObjectGraph, start: usize, catalogue: &Catalogue) -> Vec<usize> {
    let mut inside: HashSet<usize> = HashSet::from([start]);
    let mut queue = VecDeque::from([start]);
    while let Some(object) = queue.pop_front() {
        let Some(node) = saved.nodes.get(object) else { continue };
        for child in &node.children {
            let special = (object == start || object == 0) && NOT_THE_MODEL.contains(&child.local_name.as_str());
            if !special && inside.insert(child.node_id) {
                queue.push_back(child.node_id);
            }
        }
    }
    let mut outside = Vec::new();
    // An attribute may be stored in several tensors under longer keys, such as the two halves of a lookup table.
    let mut beginnings = Vec::new();
    for (object, node) in saved.nodes.iter().enumerate() {
        if inside.contains(&object) {
            continue;
        }
        for attribute in &node.attributes {
            match catalogue.find(&attribute.checkpoint_key) {
                Some(entry) => outside.push(entry),
                None => beginnings.push(attribute.checkpoint_key.as_str()),
            }
        }
    }
    if !beginnings.is_empty() {
        let longer = catalogue.entries().iter().enumerate();
        outside.extend(
            longer
                .filter(|(_, entry)| beginnings.iter().any(|begin| entry.path.starts_with(begin)))
                .map(|(index, _)| index),
        );
    }
    outside
}

/// TensorFlow 1: the variable's name is the key. As Keras, all weights of the model must be there.
fn by_names(tree: &ModelTree, catalogue: &Catalogue, options: &LoadOptions, matching: &mut Matching) -> Result<()> {
    let orders = Orders::new(tree);
    let weights = orders.weights(tree.root)?;
    let mut bindings = Vec::with_capacity(weights.len());
    let mut missing = Vec::new();
    for &variable in weights.iter() {
        let path = tree.variable(variable)?.path.as_str();
        let name = path.strip_suffix(":0").unwrap_or(path);
        // Keras 3 puts the model's name before those of its layers.
        let inner = if tree.flavor == Flavor::Keras3 { name.split_once('/').map(|(_, rest)| rest) } else { None };
        match catalogue.find(name).or_else(|| inner.and_then(|inner| catalogue.find(inner))) {
            Some(entry) => bindings.push(bind(tree, catalogue, variable, entry, options.cast)?),
            None => missing.push(name),
        }
    }
    if let Some(first) = missing.first() {
        let code = if bindings.is_empty() { Code::NoMatch } else { Code::Missing };
        return Err(WeightsError::new(
            code,
            format!(
                "the checkpoint has no object graph, so its tensors are matched by the names of the variables, and it has \
                 none for {} of {} weights; the first is {first}",
                missing.len(),
                weights.len()
            ),
        )
        .weight(*first));
    }
    matching.bind(bindings);
    Ok(())
}
