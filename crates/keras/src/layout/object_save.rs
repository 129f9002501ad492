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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value as Json;

    use super::places;
    use crate::tree::{Flavor, ModelTree};

    fn golden(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../__test__/fixtures/trees").join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Groups, names and variables in the order in which Keras' own savers made them for the live models.
    #[test]
    fn objects_are_visited_as_keras_visits_them() {
        let mut groups = 0;
        for (short, flavor) in [("k2", Flavor::Keras2), ("k3", Flavor::Keras3)] {
            let orders: Json = serde_json::from_str(&golden(&format!("orders.{short}.json"))).expect("JSON");
            for (model, recorded) in orders.as_object().expect("an object") {
                let tree = ModelTree::from_json(&golden(&format!("{model}.{short}.json"))).expect("a tree");
                let found: Vec<Json> = places(&tree, &[], true)
                    .expect("walks")
                    .into_iter()
                    .map(|place| {
                        let node = &tree.nodes[place.node];
                        match flavor {
                            Flavor::Keras2 => serde_json::json!([place.path, place.node]),
                            Flavor::Keras3 => {
                                let own = node.saved_variables();
                                serde_json::json!([place.path, node.name, own])
                            }
                        }
                    })
                    .collect();
                let expected = recorded["saved"].as_array().expect("a list");
                for (found, expected) in found.iter().zip(expected) {
                    assert_eq!((&found[0], &found[1]), (&expected[0], &expected[1]), "{model} {flavor:?}");
                    let list = |place: &Json| place[2].as_array().cloned().unwrap_or_default();
                    assert_eq!(list(found).len(), list(expected).len(), "{model} {flavor:?}");
                    for (found, expected) in list(found).iter().zip(&list(expected)) {
                        // -1: the object handed over a computed value, not a variable.
                        assert!(found == expected || expected == -1, "{model} {flavor:?} {found} {expected}");
                    }
                }
                assert_eq!(found.len(), expected.len(), "{model} {flavor:?}");
                groups += found.len();
            }
        }
        assert!(groups > 400, "compared {groups} groups");
    }
}
