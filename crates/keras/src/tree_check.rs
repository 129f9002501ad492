//! A tree is believed only after every index in it was checked.

use kw_model::{Code, Result, WeightsError};

use crate::tree::{Attribute, ModelTree, Node, TREE_VERSION, Trackable, Tracked};

/// Checks version, indices, sizes and the nesting of lists.
pub(crate) fn check(tree: &ModelTree) -> Result<()> {
    if tree.version != TREE_VERSION {
        return Err(wrong(format!(
            "the model tree has version {}, this build reads version {TREE_VERSION}",
            tree.version
        )));
    }
    let bounds = Bounds { nodes: tree.nodes.len(), variables: tree.variables.len() };
    bounds.node(tree.root, "root")?;
    for variable in &tree.variables {
        variable
            .shape
            .byte_len(variable.dtype)
            .map_err(|error| wrong(format!("{}: {}", variable.path, error.message())))?;
    }
    for variable in &tree.variables {
        let Some(real) = variable.stands_for else { continue };
        bounds.variable(real, "standsFor")?;
        let same = tree.variables.get(real).is_some_and(|real| real.shape == variable.shape && !real.is_virtual);
        if !same || !variable.is_virtual {
            return Err(wrong(format!(
                "{}: standsFor belongs to a virtual variable and names one like it",
                variable.path
            )));
        }
    }
    for node in &tree.nodes {
        bounds.check(node).map_err(|error| wrong(format!("node {:?}: {}", node.label(), error.message())))?;
    }
    Ok(())
}

fn wrong(message: String) -> WeightsError {
    WeightsError::new(Code::Argument, message)
}

struct Bounds {
    nodes: usize,
    variables: usize,
}

impl Bounds {
    fn node(&self, index: usize, what: &str) -> Result<()> {
        if index < self.nodes {
            return Ok(());
        }
        Err(wrong(format!("{what} points at node {index}, but there are {}", self.nodes)))
    }

    fn variable(&self, index: usize, what: &str) -> Result<()> {
        if index < self.variables {
            return Ok(());
        }
        Err(wrong(format!("{what} points at variable {index}, but there are {}", self.variables)))
    }

    fn check(&self, node: &Node) -> Result<()> {
        for &variable in &node.trainable_variables {
            self.variable(variable, "trainableVariables")?;
        }
        for &variable in &node.non_trainable_variables {
            self.variable(variable, "nonTrainableVariables")?;
        }
        for &variable in node.saved.iter().flatten() {
            self.variable(variable, "saved")?;
        }
        for &layer in &node.layers {
            self.node(layer, "layers")?;
        }
        if !node.layers.is_empty() && !node.kind.is_model() {
            return Err(wrong("only models have layers".to_owned()));
        }
        for tracked in &node.sublayers {
            self.tracked(tracked)?;
        }
        for (name, attribute) in &node.attributes {
            if name.is_empty() || name.contains('/') {
                return Err(wrong(format!("{name:?} cannot be the name of an attribute")));
            }
            self.attribute(attribute)?;
        }
        for (_, trackable) in node.trackables.iter().flatten() {
            self.trackable(trackable)?;
        }
        for &(of, _, slot) in &node.slots {
            self.variable(of, "slots")?;
            self.variable(slot, "slots")?;
        }
        Ok(())
    }

    // The nesting of these is bounded by the JSON parser.
    fn tracked(&self, tracked: &Tracked) -> Result<()> {
        match tracked {
            Tracked::Node(index) => self.node(*index, "sublayers"),
            Tracked::Variable { variable } => self.variable(*variable, "sublayers"),
            Tracked::List(items) => items.iter().try_for_each(|item| self.tracked(item)),
        }
    }

    fn trackable(&self, trackable: &Trackable) -> Result<()> {
        match trackable {
            Trackable::Node(index) => self.node(*index, "trackables"),
            Trackable::Variable(index) => self.variable(*index, "trackables"),
            Trackable::Object(edges) => edges.iter().try_for_each(|(_, edge)| self.trackable(edge)),
        }
    }

    fn attribute(&self, attribute: &Attribute) -> Result<()> {
        match attribute {
            Attribute::Node(index) => self.node(*index, "attributes"),
            Attribute::List(items) => items.iter().try_for_each(|item| self.attribute(item)),
            Attribute::Dict(items) => items.iter().try_for_each(|(_, item)| self.attribute(item)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::tree::ModelTree;

    #[test]
    fn indices_outside_the_tree_are_refused() {
        let tree = |root: usize, rest: &str| {
            format!(
                r#"{{"version":1,"flavor":"keras3","root":{root},"variables":[
                    {{"name":"kernel","path":"dense/kernel","dtype":"float32","shape":[2,3],"trainable":true}}],
                    "nodes":[{{"class":"Dense","name":"dense","kind":"layer","trainableVariables":[0]{rest}}}]}}"#
            )
        };
        let message = |text: String| ModelTree::from_json(&text).map_err(|error| error.message().to_owned()).err();
        assert_eq!(message(tree(0, "")), None);
        assert_eq!(message(tree(0, r#","attributes":[["me",{"node":0}]]"#)), None, "cycles are allowed");
        let cases = [
            (tree(1, ""), "root points at node 1, but there are 1"),
            (tree(0, r#","saved":[1]"#), "node \"dense\": saved points at variable 1, but there are 1"),
            (tree(0, r#","layers":[0]"#), "node \"dense\": only models have layers"),
            (tree(0, r#","sublayers":[[7]]"#), "node \"dense\": sublayers points at node 7, but there are 1"),
            (
                tree(0, r#","attributes":[["a",{"list":[{"dict":[["k",{"node":3}]]}]}]]"#),
                "node \"dense\": attributes points at node 3, but there are 1",
            ),
            (
                tree(0, r#","attributes":[["a/b",{"node":0}]]"#),
                "node \"dense\": \"a/b\" cannot be the name of an attribute",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(message(text).as_deref(), Some(expected));
        }
        let other = tree(0, "").replace("\"version\":1", "\"version\":2");
        assert_eq!(message(other).as_deref(), Some("the model tree has version 2, this build reads version 1"));
    }
}
