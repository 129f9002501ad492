//! What a file holds, in terms that both readers can state.

use std::collections::BTreeMap;

/// Everything in one file.
#[derive(Debug, Default, PartialEq)]
pub struct Facts {
    /// Attributes of every group, by path; `""` is the root.
    pub groups: BTreeMap<String, BTreeMap<String, Attribute>>,
    /// Every dataset, by path.
    pub datasets: BTreeMap<String, Dataset>,
}

/// One dataset.
#[derive(PartialEq)]
pub struct Dataset {
    /// Elements per axis.
    pub shape: Vec<u64>,
    /// HDF5's view of the element type: `float32`, `int64`, `bool`, `opaque2`, `string`.
    pub dtype: String,
    /// Little-endian values in C order, or one string per element.
    pub values: Values,
    /// Attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
}

/// The values of a dataset.
#[derive(PartialEq)]
pub enum Values {
    /// Numbers, as bytes.
    Bytes(Vec<u8>),
    /// Strings, in C order.
    Strings(Vec<Vec<u8>>),
}

/// An attribute's value. What a reader has no word for is `Other` and compares equal to anything.
#[derive(Debug)]
pub enum Attribute {
    /// One string.
    Text(String),
    /// A list of strings; also any attribute without elements.
    Texts(Vec<String>),
    /// One integer.
    Int(i64),
    /// One number.
    Float(f64),
    /// Anything else.
    Other,
}

impl PartialEq for Attribute {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Attribute::Text(a), Attribute::Text(b)) => a == b,
            (Attribute::Texts(a), Attribute::Texts(b)) => a == b,
            (Attribute::Int(a), Attribute::Int(b)) => a == b,
            (Attribute::Float(a), Attribute::Float(b)) => a.to_bits() == b.to_bits(),
            (Attribute::Other, _) | (_, Attribute::Other) => true,
            _ => false,
        }
    }
}

// Tensors are long: a failed comparison shows what they are and not every value.
impl std::fmt::Debug for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {:?} {:?}", self.dtype, self.shape, self.values, self.attributes)
    }
}

impl std::fmt::Debug for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Values::Bytes(bytes) => write!(f, "{} bytes, crc32c {:08x}", bytes.len(), kw_model::crc32c(bytes)),
            Values::Strings(strings) => write!(f, "{} strings", strings.len()),
        }
    }
}

impl Facts {
    /// The differences, one line each; empty when both say the same.
    pub fn differences(&self, names: [&str; 2], other: &Facts) -> Vec<String> {
        let mut lines = Vec::new();
        compare("group", names, &self.groups, &other.groups, &mut lines);
        compare("dataset", names, &self.datasets, &other.datasets, &mut lines);
        lines
    }
}

fn compare<T: PartialEq + std::fmt::Debug>(
    what: &str,
    [left, right]: [&str; 2],
    a: &BTreeMap<String, T>,
    b: &BTreeMap<String, T>,
    lines: &mut Vec<String>,
) {
    for (path, value) in a {
        match b.get(path) {
            None => lines.push(format!("{what} '{path}': only {left} finds it")),
            Some(found) if found != value => {
                lines.push(format!("{what} '{path}':\n  {left}: {value:?}\n  {right}: {found:?}"));
            }
            Some(_) => {}
        }
    }
    for path in b.keys().filter(|path| !a.contains_key(*path)) {
        lines.push(format!("{what} '{path}': only {right} finds it"));
    }
}
