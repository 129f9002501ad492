//! `TrackableObjectGraph`: which objects a checkpoint was saved from, how they hang together, and under which
//! key each of their values lies. Only the data structure; what edges mean is the matter of crate `kw-keras`.

use kw_model::Result;

use super::corrupt;
use super::wire::{Fields, Value, put_message, put_text, put_varint, text};

/// The key of the graph in a checkpoint: a scalar string.
pub const OBJECT_GRAPH_KEY: &str = "_CHECKPOINTABLE_OBJECT_GRAPH";

/// All objects; number 0 is the root that was saved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrackableObjectGraph {
    /// The objects, in the order of their numbers.
    pub nodes: Vec<GraphNode>,
}

/// One object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GraphNode {
    /// Named edges to other objects, in the order of saving.
    pub children: Vec<GraphChild>,
    /// Values of the object itself.
    pub attributes: Vec<GraphAttribute>,
    /// Variables that an optimizer keeps for other variables.
    pub slot_variables: Vec<SlotVariable>,
    /// A saver that a user registered for the object.
    pub registered_saver: Option<RegisteredSaver>,
    /// Whether the object or anything below it has values; absent in older files.
    pub has_checkpoint_values: Option<bool>,
}

/// An edge of the graph.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GraphChild {
    /// Number of the object it leads to.
    pub node_id: usize,
    /// What the object calls it.
    pub local_name: String,
}

/// A value of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GraphAttribute {
    /// `VARIABLE_VALUE` for a variable.
    pub name: String,
    /// The variable's own name, which loading by graph does not use.
    pub full_name: String,
    /// The key of the value, or where a custom saver begins its keys.
    pub checkpoint_key: String,
}

/// A variable that an optimizer keeps for another one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotVariable {
    /// Number of the variable it belongs to.
    pub original_variable_node_id: usize,
    /// What the optimizer calls it (`m`, `momentum`).
    pub slot_name: String,
    /// Number of the slot variable.
    pub slot_variable_node_id: usize,
}

/// A saver registered by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegisteredSaver {
    /// Name of the saver.
    pub name: String,
    /// Unique name of the object.
    pub object_name: String,
}

impl TrackableObjectGraph {
    /// Parses the string under [`OBJECT_GRAPH_KEY`] and checks that every number names an object.
    ///
    /// # Errors
    /// [`kw_model::Code::Corrupt`] for anything else, an empty graph included.
    pub fn decode(message: &[u8]) -> Result<Self> {
        let mut graph = TrackableObjectGraph::default();
        let mut fields = Fields::new(message, "the object graph");
        while let Some(field) = fields.next()? {
            if let (1, Value::Bytes(node)) = field {
                graph.nodes.push(GraphNode::decode(node)?);
            }
        }
        if graph.nodes.is_empty() {
            return Err(corrupt("the object graph is empty"));
        }
        let count = graph.nodes.len();
        for (number, node) in graph.nodes.iter().enumerate() {
            let children = node.children.iter().map(|child| child.node_id);
            let slots = node.slot_variables.iter();
            let slots = slots.flat_map(|slot| [slot.original_variable_node_id, slot.slot_variable_node_id]);
            if let Some(wrong) = children.chain(slots).find(|id| *id >= count) {
                return Err(corrupt(format!(
                    "object {number} of the object graph leads to object {wrong}, but there are {count}"
                )));
            }
        }
        Ok(graph)
    }

    /// The message as TensorFlow writes it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for node in &self.nodes {
            put_message(&mut out, 1, &node.encode());
        }
        out
    }
}

impl GraphNode {
    fn decode(message: &[u8]) -> Result<Self> {
        let mut node = GraphNode::default();
        let mut fields = Fields::new(message, "an object of the object graph");
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Bytes(child)) => {
                    let [local_name] = texts(child, [2])?;
                    let [node_id] = ids(child, [1])?;
                    node.children.push(GraphChild { node_id, local_name });
                }
                (2, Value::Bytes(attribute)) => {
                    let [name, full_name, checkpoint_key] = texts(attribute, [1, 2, 3])?;
                    node.attributes.push(GraphAttribute { name, full_name, checkpoint_key });
                }
                (3, Value::Bytes(slot)) => {
                    let [slot_name] = texts(slot, [2])?;
                    let [original_variable_node_id, slot_variable_node_id] = ids(slot, [1, 3])?;
                    node.slot_variables.push(SlotVariable {
                        original_variable_node_id,
                        slot_name,
                        slot_variable_node_id,
                    });
                }
                (4, Value::Bytes(saver)) => {
                    let [name, object_name] = texts(saver, [1, 2])?;
                    node.registered_saver = Some(RegisteredSaver { name, object_name });
                }
                (5, Value::Bytes(flag)) => {
                    let [flag] = ids(flag, [1])?;
                    node.has_checkpoint_values = Some(flag != 0);
                }
                (1..=5, _) => return Err(corrupt("a field of the object graph has the wrong wire type")),
                _ => {}
            }
        }
        Ok(node)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for child in &self.children {
            let mut message = Vec::new();
            put_varint(&mut message, 1, child.node_id as u64);
            put_text(&mut message, 2, &child.local_name);
            put_message(&mut out, 1, &message);
        }
        for attribute in &self.attributes {
            let mut message = Vec::new();
            put_text(&mut message, 1, &attribute.name);
            put_text(&mut message, 2, &attribute.full_name);
            put_text(&mut message, 3, &attribute.checkpoint_key);
            put_message(&mut out, 2, &message);
        }
        for slot in &self.slot_variables {
            let mut message = Vec::new();
            put_varint(&mut message, 1, slot.original_variable_node_id as u64);
            put_text(&mut message, 2, &slot.slot_name);
            put_varint(&mut message, 3, slot.slot_variable_node_id as u64);
            put_message(&mut out, 3, &message);
        }
        if let Some(saver) = &self.registered_saver {
            let mut message = Vec::new();
            put_text(&mut message, 1, &saver.name);
            put_text(&mut message, 2, &saver.object_name);
            put_message(&mut out, 4, &message);
        }
        if let Some(flag) = self.has_checkpoint_values {
            let mut message = Vec::new();
            put_varint(&mut message, 1, u64::from(flag));
            put_message(&mut out, 5, &message);
        }
        out
    }
}

/// The string fields with these numbers; missing ones are empty.
fn texts<const N: usize>(message: &[u8], numbers: [u64; N]) -> Result<[String; N]> {
    let mut found = [const { String::new() }; N];
    let mut fields = Fields::new(message, "a part of the object graph");
    while let Some((number, value)) = fields.next()? {
        if let Some((_, slot)) = numbers.iter().zip(&mut found).find(|(wanted, _)| **wanted == number) {
            let Value::Bytes(bytes) = value else {
                return Err(corrupt("a name in the object graph has the wrong wire type"));
            };
            *slot = text(bytes, "a name in the object graph")?;
        }
    }
    Ok(found)
}

/// The integer fields with these numbers; missing ones are 0. A negative number, which Python would
/// take for the last object, is larger than any number of objects.
fn ids<const N: usize>(message: &[u8], numbers: [u64; N]) -> Result<[usize; N]> {
    let mut found = [0; N];
    let mut fields = Fields::new(message, "a part of the object graph");
    while let Some((number, value)) = fields.next()? {
        if let Some((_, slot)) = numbers.iter().zip(&mut found).find(|(wanted, _)| **wanted == number) {
            let Value::Varint(value) = value else {
                return Err(corrupt("a number in the object graph has the wrong wire type"));
            };
            *slot = usize::try_from(value).unwrap_or(usize::MAX);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use kw_model::Code;

    use super::{GraphAttribute, GraphChild, GraphNode, RegisteredSaver, SlotVariable, TrackableObjectGraph};

    #[test]
    fn graphs_read_back() {
        let graph = TrackableObjectGraph {
            nodes: vec![
                GraphNode {
                    children: vec![
                        GraphChild { node_id: 1, local_name: "layer-0".into() },
                        GraphChild { node_id: 0, local_name: "root".into() },
                    ],
                    has_checkpoint_values: Some(true),
                    ..GraphNode::default()
                },
                GraphNode {
                    attributes: vec![GraphAttribute {
                        name: "VARIABLE_VALUE".into(),
                        full_name: "dense/kernel".into(),
                        checkpoint_key: "layer-0/kernel/.ATTRIBUTES/VARIABLE_VALUE".into(),
                    }],
                    slot_variables: vec![SlotVariable {
                        original_variable_node_id: 0,
                        slot_name: "m".into(),
                        slot_variable_node_id: 1,
                    }],
                    registered_saver: Some(RegisteredSaver { name: "a".into(), object_name: "b".into() }),
                    has_checkpoint_values: Some(false),
                    ..GraphNode::default()
                },
                GraphNode::default(),
            ],
        };
        assert_eq!(TrackableObjectGraph::decode(&graph.encode()).expect("ours"), graph);
        // A node with `has_checkpoint_values` false is an empty BoolValue; node number 0 is left out.
        let small = TrackableObjectGraph {
            nodes: vec![GraphNode {
                children: vec![GraphChild { node_id: 0, local_name: "root".into() }],
                has_checkpoint_values: Some(false),
                ..GraphNode::default()
            }],
        };
        assert_eq!(small.encode(), b"\x0a\x0a\x0a\x06\x12\x04root\x2a\x00");
    }

    #[test]
    fn hostile_graphs_are_refused() {
        let cases: [(&str, &[u8]); 7] = [
            ("empty", b""),
            ("child out of range", b"\x0a\x04\x0a\x02\x08\x01"),
            ("child -1", b"\x0a\x0d\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            ("slot out of range", b"\x0a\x04\x1a\x02\x18\x01"),
            ("name is no text", b"\x0a\x06\x0a\x04\x12\x02\xff\xfe"),
            ("name is a number", b"\x0a\x04\x0a\x02\x10\x00"),
            ("cut off", b"\x0a\x09\x0a"),
        ];
        for (name, bytes) in cases {
            assert_eq!(TrackableObjectGraph::decode(bytes).map_err(|error| error.code()), Err(Code::Corrupt), "{name}");
        }
    }
}
