//! The model as data: everything Rust is told of a model.
//!
//! TypeScript (or any other front) describes layers, variables and the edges between them;
//! `docs/model-tree.schema.json` is the schema. Class knowledge is the describer's,
//! walking, naming, counting and ordering are ours.

use kw_model::{Code, DType, Result, Shape, WeightsError};
use serde::{Deserialize, Serialize};

/// The version of the tree that this crate understands.
pub const TREE_VERSION: u32 = 1;

/// Whose rules order and name the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavor {
    /// Keras 2 (`tf_keras`).
    Keras2,
    /// Keras 3.
    Keras3,
}

/// A model, or any layer taken on its own, with all that hangs below it.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelTree {
    /// [`TREE_VERSION`].
    pub version: u32,
    /// Whose rules hold.
    pub flavor: Flavor,
    /// The node whose weights are meant.
    pub root: usize,
    /// All variables; nodes point at them by index.
    pub variables: Vec<Variable>,
    /// All objects. An object that is reachable twice is one node, and cycles are allowed.
    pub nodes: Vec<Node>,
}

/// One weight.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// Short name, such as `kernel`.
    pub name: String,
    /// Keras 3: `variable.path`. Keras 2: the TensorFlow name (`dense/kernel:0`).
    /// Legacy HDF5 stores the weight under it.
    pub path: String,
    /// Keras' name of the element type.
    #[serde(with = "dtype_name")]
    pub dtype: DType,
    /// Elements per axis.
    #[serde(with = "shape_axes")]
    pub shape: Shape,
    /// The variable's own flag as it stands now.
    pub trainable: bool,
    /// True when no model holds it: a value that exists only for a file, such as a kernel with low-rank updates merged in.
    #[serde(rename = "virtual", default, skip_serializing_if = "is_false")]
    pub is_virtual: bool,
    /// For a virtual variable: the variable that takes the file's value when it is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands_for: Option<usize>,
}

/// What kind of object a node is; the walks differ by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// A layer that is no model.
    Layer,
    /// A `Sequential` model.
    Sequential,
    /// A functional model, subclassed or not.
    Functional,
    /// A subclassed model that is not functional.
    Model,
    /// An optimizer.
    Optimizer,
    /// A metric.
    Metric,
    /// A loss.
    Loss,
    /// Any other object that Keras saves.
    Saveable,
}

impl NodeKind {
    /// True for objects with a `layers` property.
    pub const fn is_model(self) -> bool {
        matches!(self, NodeKind::Sequential | NodeKind::Functional | NodeKind::Model)
    }
}

/// One object of the model.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Python class name, without module.
    pub class: String,
    /// Keras' object name, where it has one.
    #[serde(default)]
    pub name: Option<String>,
    /// Kind of object.
    pub kind: NodeKind,
    /// Whether its variables exist yet.
    #[serde(default = "yes")]
    pub built: bool,
    /// `layer.trainable` as it stands now.
    #[serde(default = "yes")]
    pub trainable: bool,
    /// Own variables created as trainable, in order of creation; freezing does not move them.
    #[serde(default)]
    pub trainable_variables: Vec<usize>,
    /// Own variables created as non-trainable, in order of creation.
    #[serde(default)]
    pub non_trainable_variables: Vec<usize>,
    /// Models only: what `model.layers` returns in this flavour.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<usize>,
    /// Everything tracked below this object, in tracking order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sublayers: Vec<Tracked>,
    /// What Keras' attribute walk can reach, in any order. Attributes of the base class that the walk skips are left
    /// out, and so is `layers`, which every model has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<(String, Attribute)>,
    /// What the object writes as `0`, `1`, …, when that is not its trainable and then its non-trainable variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<Vec<usize>>,
    /// Configuration that conversions of old files need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converter: Option<Converter>,
    /// Edges of TensorFlow's object graph, in TensorFlow's order. Absent: the attributes, then the own variables by
    /// their names. The edges `layer-0`, `layer_with_weights-0`, … of models come before them and are not listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trackables: Option<Vec<(String, Trackable)>>,
    /// Optimizers of Keras before 2.11: variables that TensorFlow hangs at variables of the model, as the model's
    /// variable, the slot's name, the slot's variable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<(usize, String, usize)>,
}

/// A tracked object: Keras 3 tracks the elements of lists one by one, Keras 2 tracks the list,
/// and such a list counts as one object when a Keras 2 model gathers its weights.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Tracked {
    /// A node.
    Node(usize),
    /// A list, or a dictionary's values in Keras 2's order.
    List(Vec<Tracked>),
    /// A bare variable inside a list.
    Variable {
        /// Index of the variable.
        variable: usize,
    },
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Attribute {
    /// An object that Keras saves.
    Node(usize),
    /// A list or tuple, without the elements that Keras ignores.
    List(Vec<Attribute>),
    /// A dictionary in insertion order.
    Dict(Vec<(String, Attribute)>),
}

/// An edge of TensorFlow's object graph.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trackable {
    /// To an object.
    Node(usize),
    /// To a variable.
    Variable(usize),
    /// To an object that is no layer, such as a tracked list (names `0`, `1`, …) or dictionary.
    Object(Vec<(String, Trackable)>),
}

/// Configuration of a layer as far as old weight layouts depend on it. Which conversion runs follows from the class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Converter {
    /// `channels_first` or `channels_last`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_format: Option<String>,
    /// Output filters of a convolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<u64>,
    /// Kernel size of a convolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_size: Option<Vec<u64>>,
    /// GRU: whether the reset gate is applied after the matrix product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_after: Option<bool>,
}

impl ModelTree {
    /// Reads and validates a tree.
    ///
    /// # Errors
    /// [`Code::Argument`] when the text is not a tree of version 1 or points outside itself.
    pub fn from_json(text: &str) -> Result<Self> {
        let tree: ModelTree = serde_json::from_str(text).map_err(|error| {
            WeightsError::new(Code::Argument, format!("the model tree is not in the form of version 1: {error}"))
        })?;
        crate::tree_check::check(&tree)?;
        Ok(tree)
    }

    /// One node.
    ///
    /// # Errors
    /// [`Code::Internal`] for an index that a validated tree cannot hold.
    pub fn node(&self, index: usize) -> Result<&Node> {
        self.nodes.get(index).ok_or_else(|| {
            WeightsError::new(
                Code::Internal,
                format!("the tree has {} nodes, not one numbered {index}", self.nodes.len()),
            )
        })
    }

    /// One variable.
    ///
    /// # Errors
    /// [`Code::Internal`] for an index that a validated tree cannot hold.
    pub fn variable(&self, index: usize) -> Result<&Variable> {
        self.variables.get(index).ok_or_else(|| {
            WeightsError::new(
                Code::Internal,
                format!("the tree has {} variables, not one numbered {index}", self.variables.len()),
            )
        })
    }
}

impl Node {
    /// The name in messages: Keras' name, or the class.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.class)
    }

    /// Own variables in Keras' order: trainable, then non-trainable (lists of creation).
    pub fn own_variables(&self) -> impl Iterator<Item = usize> + '_ {
        self.trainable_variables.iter().chain(&self.non_trainable_variables).copied()
    }

    /// The variables behind `vars/0`, `vars/1`, ….
    pub fn saved_variables(&self) -> Vec<usize> {
        self.saved.clone().unwrap_or_else(|| self.own_variables().collect())
    }

    /// [`Node::saved_variables`], or the own ones alone for an optimizer whose file has no more: nothing was trained yet.
    pub(crate) fn variables_of_file(&self, found: usize) -> Vec<usize> {
        let own: Vec<usize> = self.own_variables().collect();
        if self.kind == NodeKind::Optimizer && own.len() == found { own } else { self.saved_variables() }
    }

    /// The attribute of this name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference to skip_serializing_if")]
const fn is_false(value: &bool) -> bool {
    !*value
}

mod dtype_name {
    use kw_model::DType;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
    pub(super) fn serialize<S: Serializer>(dtype: &DType, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&dtype.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DType, D::Error> {
        let name = String::deserialize(deserializer)?;
        DType::from_name(&name).ok_or_else(|| serde::de::Error::custom(format!("unknown dtype {name:?}")))
    }
}

mod shape_axes {
    use kw_model::Shape;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(shape: &Shape, serializer: S) -> Result<S::Ok, S::Error> {
        shape.axes().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Shape, D::Error> {
        Vec::<u64>::deserialize(deserializer).map(Shape::new)
    }
}
