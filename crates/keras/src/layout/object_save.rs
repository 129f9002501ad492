//! The groups of an object-path file in the order in which Keras writes them.

use std::collections::HashSet;

use kw_model::{Result, WeightsError};

use super::object_paths::{Edge, Item, Names, Walk, edges, items, join};
use crate::orders::{MAX_DEPTH, Orders};
use crate::tree::{ModelTree, NodeKind};

/// One object's place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Path of the object; its variables are in `<path>/vars`.
    pub(crate) path: String,
    /// The object.
    pub(crate) node: usize,
}

/// Every object that is saved, at the first path that reaches it.
pub(crate) fn places(tree: &ModelTree, skip: &[usize], include_optimizer: bool) -> Result<Vec<Place>> {
    let orders = Orders::new(tree);
    let mut walker = Walker {
        tree,
        orders: &orders,
        walk: Walk::of(tree.flavor),
        include_optimizer,
        visited: skip.iter().copied().collect(),
        places: Vec::new(),
    };
    walker.object(tree.root, "", 0)?;
    Ok(walker.places)
}

struct Walker<'a> {
    tree: &'a ModelTree,
    orders: &'a Orders<'a>,
    walk: Walk,
    include_optimizer: bool,
    visited: HashSet<usize>,
    places: Vec<Place>,
}

impl Walker<'_> {
    fn object(&mut self, index: usize, path: &str, depth: u32) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(WeightsError::limit("nested layers", depth.into(), MAX_DEPTH.into(), "levels"));
        }
        let node = self.tree.node(index)?;
        if (node.kind == NodeKind::Optimizer && !self.include_optimizer) || !self.visited.insert(index) {
            return Ok(());
        }
        if self.walk.stores(node.kind) {
            self.places.push(Place { path: path.to_owned(), node: index });
        }
        let deeper = depth.saturating_add(1);
        for (name, edge) in edges(self.tree, self.orders, node, self.walk)? {
            let below = join(path, name);
            match edge {
                Edge::Object(child) => self.object(child, &below, deeper)?,
                Edge::Container(items) => self.container(items, &below, deeper)?,
            }
        }
        Ok(())
    }

    fn container(&mut self, elements: Vec<Item<'_>>, path: &str, depth: u32) -> Result<()> {
        let mut names = Names::default();
        for element in elements {
            match element {
                Item::Object(child) => {
                    if self.walk.skips_visited_names() && self.visited.contains(&child) {
                        continue;
                    }
                    let name = names.object(&self.tree.node(child)?.class, self.walk);
                    self.object(child, &join(path, &name), depth)?;
                }
                Item::Container(inner) if self.walk.nests() => {
                    let below = join(path, &names.container());
                    self.container(items(inner), &below, depth.saturating_add(1))?;
                }
                Item::Container(_) => {}
            }
        }
        Ok(())
    }
}
