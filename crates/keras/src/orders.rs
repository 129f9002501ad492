//! The orders in which Keras lists the weights of an object.
//!
//! Keras 3 lists own variables first and then child after child; an own list never changes once created, so freezing
//! changes no order of `weights`. Keras 2 layers list every trainable weight of the whole layer before the others, judged
//! by the flags as they stand; Keras 2 models list tracked object after tracked object and their own variables last.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use kw_model::{Result, WeightsError};

use crate::tree::{Flavor, ModelTree, Node, NodeKind, Tracked};

/// Objects within objects; deeper trees are refused before they could exhaust the stack.
pub(crate) const MAX_DEPTH: u32 = 500;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Which {
    All,
    Trainable,
    NonTrainable,
}

type Known = HashMap<(usize, Which), Rc<[usize]>>;

/// Answers for one tree. Answers are kept, so asking for each layer of a large model stays linear.
pub struct Orders<'t> {
    tree: &'t ModelTree,
    known: RefCell<Known>,
    running: RefCell<HashSet<(usize, Which)>>,
}

impl<'t> Orders<'t> {
    /// For a validated tree whose flags do not change meanwhile.
    pub fn new(tree: &'t ModelTree) -> Self {
        Orders { tree, known: RefCell::default(), running: RefCell::default() }
    }

    /// `object.weights`, the order of `get_weights` and `set_weights`.
    ///
    /// # Errors
    /// [`kw_model::Code::Limit`] for objects nested deeper than 500.
    pub fn weights(&self, node: usize) -> Result<Rc<[usize]>> {
        self.ask(node, Which::All, 0)
    }

    /// `object.trainable_weights`.
    ///
    /// # Errors
    /// As [`Orders::weights`].
    pub fn trainable_weights(&self, node: usize) -> Result<Rc<[usize]>> {
        self.ask(node, Which::Trainable, 0)
    }

    /// `object.non_trainable_weights`.
    ///
    /// # Errors
    /// As [`Orders::weights`].
    pub fn non_trainable_weights(&self, node: usize) -> Result<Rc<[usize]>> {
        self.ask(node, Which::NonTrainable, 0)
    }

    /// The order inside a layer's group of a legacy HDF5 file: trainable, then non-trainable, by the flags as they stand.
    ///
    /// # Errors
    /// As [`Orders::weights`].
    pub fn legacy_weights(&self, node: usize) -> Result<Vec<usize>> {
        let mut weights = self.trainable_weights(node)?.to_vec();
        weights.extend_from_slice(&self.non_trainable_weights(node)?);
        Ok(weights)
    }

    /// What a legacy file keeps in `top_level_model_weights`: the model's own variables.
    ///
    /// # Errors
    /// As [`Orders::weights`].
    pub fn top_level_weights(&self, node: usize) -> Result<Vec<usize>> {
        let own: Vec<usize> = self.tree.node(node)?.own_variables().collect();
        Ok(match self.tree.flavor {
            Flavor::Keras2 => own,
            Flavor::Keras3 => {
                let weights: HashSet<usize> = self.weights(node)?.iter().copied().collect();
                own.into_iter().filter(|variable| weights.contains(variable)).collect()
            }
        })
    }

    fn ask(&self, index: usize, which: Which, depth: u32) -> Result<Rc<[usize]>> {
        if depth > MAX_DEPTH {
            return Err(WeightsError::limit("nested layers", u64::from(depth), u64::from(MAX_DEPTH), "levels"));
        }
        let key = (index, which);
        if let Some(known) = self.known.borrow().get(&key) {
            return Ok(Rc::clone(known));
        }
        // A layer that contains itself adds nothing the second time.
        if !self.running.borrow_mut().insert(key) {
            return Ok(Rc::from([]));
        }
        let node = self.tree.node(index)?;
        let answer = match (self.tree.flavor, node.kind.is_model()) {
            (Flavor::Keras3, _) => self.keras3(index, node, which, depth),
            (Flavor::Keras2, false) => self.keras2_layer(node, which, depth),
            (Flavor::Keras2, true) => self.keras2_model(node, which, depth),
        };
        self.running.borrow_mut().remove(&key);
        let answer: Rc<[usize]> = without_repeats(answer?).into();
        self.known.borrow_mut().insert(key, Rc::clone(&answer));
        Ok(answer)
    }

    fn keras3(&self, index: usize, node: &Node, which: Which, depth: u32) -> Result<Vec<usize>> {
        if which != Which::All {
            let weights = self.ask(index, Which::All, depth)?;
            return match (which, node.trainable) {
                (Which::Trainable, false) => Ok(Vec::new()),
                (Which::NonTrainable, false) => Ok(weights.to_vec()),
                _ => {
                    let wanted = which == Which::Trainable;
                    let mut kept = Vec::with_capacity(weights.len());
                    for &variable in weights.iter() {
                        if self.tree.variable(variable)?.trainable == wanted {
                            kept.push(variable);
                        }
                    }
                    Ok(kept)
                }
            };
        }
        let mut weights: Vec<usize> = node.own_variables().collect();
        for child in flat(&node.sublayers) {
            if let Tracked::Node(child) = child {
                weights.extend_from_slice(&self.ask(*child, Which::All, depth.saturating_add(1))?);
            }
        }
        Ok(weights)
    }

    fn keras2_layer(&self, node: &Node, which: Which, depth: u32) -> Result<Vec<usize>> {
        let children = |which| -> Result<Vec<usize>> {
            let mut weights = Vec::new();
            for child in flat(&node.sublayers) {
                // Keras 2 looks through lists here, and does not count metrics as part of a layer.
                if let Tracked::Node(child) = child
                    && self.tree.node(*child)?.kind != NodeKind::Metric
                {
                    weights.extend_from_slice(&self.ask(*child, which, depth.saturating_add(1))?);
                }
            }
            Ok(weights)
        };
        let mut weights = Vec::new();
        if node.trainable {
            if which != Which::NonTrainable {
                weights.extend_from_slice(&node.trainable_variables);
                weights.extend(children(Which::Trainable)?);
            }
            if which != Which::Trainable {
                weights.extend_from_slice(&node.non_trainable_variables);
                weights.extend(children(Which::NonTrainable)?);
            }
        } else if which != Which::Trainable {
            weights.extend(node.own_variables());
            weights.extend(children(Which::All)?);
        }
        Ok(weights)
    }

    fn keras2_model(&self, node: &Node, which: Which, depth: u32) -> Result<Vec<usize>> {
        let children = |which| -> Result<Vec<usize>> {
            let mut weights = Vec::new();
            for child in &node.sublayers {
                self.keras2_tracked(child, which, depth.saturating_add(1), &mut weights)?;
            }
            Ok(weights)
        };
        let mut weights = Vec::new();
        match which {
            Which::All => {
                weights.extend(children(Which::All)?);
                weights.extend(node.own_variables());
            }
            Which::Trainable if node.trainable => {
                weights.extend(children(Which::Trainable)?);
                weights.extend_from_slice(&node.trainable_variables);
            }
            Which::Trainable => {}
            Which::NonTrainable => {
                if !node.trainable {
                    weights.extend(children(Which::Trainable)?);
                    weights.extend_from_slice(&node.trainable_variables);
                }
                weights.extend(children(Which::NonTrainable)?);
                weights.extend_from_slice(&node.non_trainable_variables);
            }
        }
        Ok(weights)
    }

    /// A tracked list is one object to a Keras 2 model: all trainable weights in it come before the others.
    fn keras2_tracked(&self, tracked: &Tracked, which: Which, depth: u32, into: &mut Vec<usize>) -> Result<()> {
        match tracked {
            Tracked::Node(index) => into.extend_from_slice(&self.ask(*index, which, depth)?),
            Tracked::Variable { variable } => {
                let trainable = self.tree.variable(*variable)?.trainable;
                if which == Which::All || (which == Which::Trainable) == trainable {
                    into.push(*variable);
                }
            }
            Tracked::List(items) => {
                let passes: &[Which] = match which {
                    Which::All => &[Which::Trainable, Which::NonTrainable],
                    Which::Trainable => &[Which::Trainable],
                    Which::NonTrainable => &[Which::NonTrainable],
                };
                for &pass in passes {
                    // Bare variables of a list come after its objects.
                    let (bare, objects): (Vec<_>, Vec<_>) =
                        items.iter().partition(|item| matches!(item, Tracked::Variable { .. }));
                    for item in objects.into_iter().chain(bare) {
                        self.keras2_tracked(item, pass, depth.saturating_add(1), into)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn flat(tracked: &[Tracked]) -> Vec<&Tracked> {
    let mut found = Vec::with_capacity(tracked.len());
    for item in tracked {
        match item {
            Tracked::List(items) => found.extend(flat(items)),
            other => found.push(other),
        }
    }
    found
}

fn without_repeats(variables: Vec<usize>) -> Vec<usize> {
    let mut seen = HashSet::with_capacity(variables.len());
    variables.into_iter().filter(|variable| seen.insert(*variable)).collect()
}

/// The three orders of a tree's root, as `model.weights` and its two parts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WeightOrders {
    /// `weights`.
    pub weights: Vec<usize>,
    /// `trainable_weights`.
    pub trainable: Vec<usize>,
    /// `non_trainable_weights`.
    pub non_trainable: Vec<usize>,
}

/// The orders of the root.
///
/// # Errors
/// [`kw_model::Code::Limit`] for objects nested deeper than 500.
pub fn weight_orders(tree: &ModelTree) -> Result<WeightOrders> {
    let orders = Orders::new(tree);
    Ok(WeightOrders {
        weights: orders.weights(tree.root)?.to_vec(),
        trainable: orders.trainable_weights(tree.root)?.to_vec(),
        non_trainable: orders.non_trainable_weights(tree.root)?.to_vec(),
    })
}
