//! Loading object-path files: the walk over the model drives everything, what it does not ask for is not read.
//!
//! Keras 3 goes on after a failure and tries an object again wherever another attribute leads to it, which is how
//! files of other releases load (`query_dense` and `_query_dense`); `tf_keras` takes the first path and stops at the
//! first failure.

use std::collections::{HashMap, HashSet};

use kw_model::{Catalogue, Code, Result, WeightsError};

use super::object_paths::{Edge, Item, KERAS_2_12_LAYERS, Names, Walk, edges, items, join, vars};
use crate::convert::Piece;
use crate::load::LoadOptions;
use crate::matching::{Binding, Matching, count_error, fit};
use crate::open::OpenedFile;
use crate::orders::{MAX_DEPTH, Orders};
use crate::recipe::Expression;
use crate::report::WarningCode;
use crate::tree::{Flavor, ModelTree, Node, NodeKind};

/// Matches every object below the root.
pub(crate) fn load(tree: &ModelTree, file: &OpenedFile, options: &LoadOptions, matching: &mut Matching) -> Result<()> {
    let catalogue = file.reader.catalogue();
    let index = Index::new(catalogue);
    let orders = Orders::new(tree);
    if options.by_name {
        matching.warn(
            WarningCode::IgnoredOption,
            None,
            "byName has no meaning for a file with object paths: the weights were matched by their paths".to_owned(),
        );
    }
    let walk = if index.has(KERAS_2_12_LAYERS) { Walk::Keras212 } else { Walk::of(tree.flavor) };
    let walked = Loader::run(tree, &orders, &index, options, walk)?;
    // Subclassed models get other names from Keras 3 and from Keras 2.12, which leave no mark of their own in the file.
    // Another walk is believed only if it explains the file to the last tensor.
    if walk == Walk::TfKeras && !walked.failures.is_empty() {
        for other in [Walk::Keras3, Walk::Keras212] {
            let again = Loader::run(tree, &orders, &index, options, other)?;
            if again.failures.is_empty() && index.all_of_the_model(&again.attempted) {
                return again.report(options.skip_mismatch, matching);
            }
        }
    }
    walked.report(options.skip_mismatch, matching)
}

/// The file by group, so that a group's keys can be counted.
struct Index<'c> {
    catalogue: &'c Catalogue,
    keys: HashMap<&'c str, HashSet<&'c str>>,
}

impl<'c> Index<'c> {
    fn new(catalogue: &'c Catalogue) -> Self {
        let mut keys: HashMap<&str, HashSet<&str>> = HashMap::new();
        let tensors = catalogue.entries().iter().map(|entry| entry.path.as_str());
        let groups = catalogue.groups().keys().map(String::as_str);
        let refused = catalogue.refusals().keys().map(String::as_str);
        for path in tensors.chain(groups).chain(refused) {
            let (group, key) = path.rsplit_once('/').unwrap_or(("", path));
            if !key.is_empty() {
                keys.entry(group).or_default().insert(key);
            }
        }
        Index { catalogue, keys }
    }

    fn has(&self, path: &str) -> bool {
        self.catalogue.group(path).is_some() || self.catalogue.find(path).is_some()
    }

    fn len(&self, group: &str) -> usize {
        self.keys.get(group).map_or(0, HashSet::len)
    }

    /// Whether these are all tensors but for those of optimizer and metrics.
    fn all_of_the_model(&self, tensors: &HashSet<usize>) -> bool {
        let beside = |path: &str| path.starts_with("optimizer/") || path.starts_with("metrics/");
        self.catalogue
            .entries()
            .iter()
            .enumerate()
            .all(|(index, entry)| tensors.contains(&index) || beside(&entry.path))
    }

    /// The tensor under a key, or why there is none.
    fn tensor(&self, group: &str, key: usize) -> Result<usize> {
        self.catalogue.require(&format!("{group}/{key}"))
    }
}

struct Loader<'a> {
    tree: &'a ModelTree,
    orders: &'a Orders<'a>,
    index: &'a Index<'a>,
    walk: Walk,
    include_optimizer: bool,
    visited: HashSet<usize>,
    running: HashSet<usize>,
    visits_left: usize,
    bindings: Vec<Binding>,
    attempted: HashSet<usize>,
    failures: Failures,
    warnings: Vec<(WarningCode, Option<usize>, String)>,
}

/// Objects that could not be loaded, in the order of their first failure.
#[derive(Default)]
struct Failures {
    order: Vec<usize>,
    errors: HashMap<usize, WeightsError>,
}

impl Failures {
    fn insert(&mut self, node: usize, error: WeightsError) {
        if self.errors.insert(node, error).is_none() {
            self.order.push(node);
        }
    }

    fn remove(&mut self, node: usize) {
        if self.errors.remove(&node).is_some() {
            self.order.retain(|failed| *failed != node);
        }
    }

    fn len(&self) -> usize {
        self.order.len()
    }

    fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

struct Walked<'a> {
    tree: &'a ModelTree,
    bindings: Vec<Binding>,
    failures: Failures,
    attempted: HashSet<usize>,
    warnings: Vec<(WarningCode, Option<usize>, String)>,
}

impl<'a> Loader<'a> {
    fn run(
        tree: &'a ModelTree,
        orders: &'a Orders<'a>,
        index: &'a Index<'a>,
        options: &LoadOptions,
        walk: Walk,
    ) -> Result<Walked<'a>> {
        let mut loader = Loader {
            tree,
            orders,
            index,
            walk,
            include_optimizer: options.include_optimizer.unwrap_or(true),
            visited: options.objects_to_skip.iter().copied().collect(),
            running: HashSet::new(),
            // Aliases are few; a tree that leads to the same failing object in endless ways is cut off.
            visits_left: tree.nodes.len().saturating_mul(32).saturating_add(10_000),
            bindings: Vec::new(),
            attempted: HashSet::new(),
            failures: Failures::default(),
            warnings: Vec::new(),
        };
        let mut failures = Failures::default();
        loader.object(tree.root, "", 0, &mut failures)?;
        loader.failures = failures;
        let Loader { bindings, failures, attempted, warnings, .. } = loader;
        Ok(Walked { tree, bindings, failures, attempted, warnings })
    }

    fn object(&mut self, index: usize, path: &str, depth: u32, failures: &mut Failures) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(WeightsError::limit("nested layers", depth.into(), MAX_DEPTH.into(), "levels"));
        }
        let node = self.tree.node(index)?;
        let left_out = node.kind == NodeKind::Optimizer && !self.include_optimizer;
        if left_out || self.visited.contains(&index) || self.visits_left == 0 || !self.running.insert(index) {
            return Ok(());
        }
        self.visits_left = self.visits_left.saturating_sub(1);
        let own = if self.walk.stores(node.kind) { self.own(index, node, path) } else { Ok(Vec::new()) };
        let failed = match own {
            Ok(bindings) => {
                self.bindings.extend(bindings);
                false
            }
            Err(error) => {
                failures.insert(index, error);
                true
            }
        };
        // tf_keras counts an object as seen whatever became of it.
        if self.walk == Walk::TfKeras {
            self.visited.insert(index);
        }
        let failed_before = failures.len();
        let deeper = depth.saturating_add(1);
        for (name, edge) in edges(self.tree, self.orders, node, self.walk)? {
            let below = join(path, name);
            match edge {
                Edge::Object(child) => self.object(child, &below, deeper, failures)?,
                Edge::Container(items) => self.container(items, &below, deeper, failures)?,
            }
        }
        if !failed {
            if failures.len() <= failed_before {
                self.visited.insert(index);
            }
            failures.remove(index);
        }
        self.running.remove(&index);
        Ok(())
    }

    fn container(&mut self, elements: Vec<Item<'_>>, path: &str, depth: u32, failures: &mut Failures) -> Result<()> {
        let mut names = Names::default();
        for element in elements {
            match element {
                Item::Object(child) => {
                    if self.walk.skips_visited_names() && self.visited.contains(&child) {
                        continue;
                    }
                    let name = names.object(&self.tree.node(child)?.class, self.walk);
                    self.object(child, &join(path, &name), depth, failures)?;
                }
                Item::Container(inner) if self.walk.nests() => {
                    let below = join(path, &names.container());
                    let deeper = depth.saturating_add(1);
                    if self.index.has(&below) {
                        self.container(items(inner), &below, deeper, failures)?;
                        continue;
                    }
                    // Keras before 3.13 or so wrote nothing for lists within lists; that is a warning only.
                    let mut inside = Failures::default();
                    self.container(items(inner), &below, deeper, &mut inside)?;
                    if !inside.is_empty() {
                        let message = format!(
                            "the file has nothing for the nested list {below}, as files of older releases of Keras do not: \
                             the layers in it keep their values"
                        );
                        self.warnings.push((WarningCode::NestedContainer, None, message));
                    }
                }
                Item::Container(_) => {}
            }
        }
        Ok(())
    }

    /// An object's own variables under one path.
    fn own(&mut self, index: usize, node: &Node, path: &str) -> Result<Vec<Binding>> {
        let group = vars(path);
        if path.is_empty() && self.walk == Walk::TfKeras && !self.index.has(&group) {
            return Err(WeightsError::new(
                Code::Missing,
                "the file has no group \"vars\" at its root, which tf_keras writes",
            ));
        }
        let found = self.index.len(&group);
        let variables = node.variables_of_file(found);
        let label = node.label();
        // Keras 2's old optimizers have no variables before they train.
        if node.kind == NodeKind::Optimizer && found == 0 {
            return Ok(Vec::new());
        }
        if node.kind == NodeKind::Optimizer && found != variables.len() {
            let message = format!(
                "the state of the optimizer {label} was not restored: it has {} variables, the file has {found}",
                variables.len()
            );
            self.warnings.push((WarningCode::SkippedOptimizer, Some(index), message));
            return Ok(Vec::new());
        }
        // With LoRA enabled Keras 3 reads what it needs and counts nothing.
        let mut merged = false;
        let mut targets = Vec::with_capacity(variables.len());
        for &variable in &variables {
            let described = self.tree.variable(variable)?;
            merged |= described.is_virtual;
            targets.push(described.stands_for.unwrap_or(variable));
        }
        if found != variables.len() && !(merged && found > variables.len()) {
            if variables.is_empty() && !node.built {
                return Err(WeightsError::new(
                    Code::Unbuilt,
                    format!("the layer {label} was never built, but the file has {found} weights for it"),
                )
                .layer(label)
                .expected(0_u64)
                .found(found as u64));
            }
            return Err(count_error(label, variables.len(), found, ""));
        }
        let catalogue = self.index.catalogue;
        let mut pieces = Vec::with_capacity(variables.len());
        for key in 0..variables.len() {
            let entry = self.index.tensor(&group, key).map_err(|error| error.layer(label))?;
            self.attempted.insert(entry);
            pieces.push(Piece::Value(Expression::entry(entry, &catalogue.entry(entry)?.shape)));
        }
        fit(self.tree, catalogue, label, &targets, pieces)
    }
}

impl Walked<'_> {
    fn report(mut self, skip_mismatch: bool, matching: &mut Matching) -> Result<()> {
        let count = self.failures.len();
        if let Some(first) = self.failures.order.first().copied()
            && let Some(error) = self.failures.errors.remove(&first)
        {
            if !skip_mismatch {
                return Err(self.refuse(error, count));
            }
            matching.skip(self.tree.node(first)?.label(), &error);
            for &node in self.failures.order.iter().skip(1) {
                if let Some(error) = self.failures.errors.get(&node) {
                    matching.skip(self.tree.node(node)?.label(), error);
                }
            }
            matching.account(self.attempted);
        }
        for (code, node, message) in self.warnings {
            let layer = node.map(|node| self.tree.node(node)).transpose()?.map(Node::label);
            matching.warn(code, layer, message);
        }
        matching.bind(self.bindings);
        Ok(())
    }

    /// Keras 3 names everything that failed; `tf_keras` only ever sees the first.
    fn refuse(&self, error: WeightsError, count: usize) -> WeightsError {
        if count <= 1 || self.tree.flavor == Flavor::Keras2 {
            return error;
        }
        let mut names: Vec<&str> = Vec::new();
        for &node in self.failures.order.iter().take(20) {
            if let Ok(node) = self.tree.node(node) {
                names.push(node.label());
            }
        }
        let more = if count > names.len() { ", …" } else { "" };
        error.with_note(&format!("; {count} objects could not be loaded: {}{more}", names.join(", ")))
    }
}
