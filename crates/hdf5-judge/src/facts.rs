//! What a file holds, in terms that both readers can state.

use std::collections::{BTreeMap, BTreeSet};

/// Everything in one file.
#[derive(Debug, Default, PartialEq)]
pub struct Facts {
    /// Attributes of every group, by path; `""` is the root.
    pub groups: BTreeMap<String, BTreeMap<String, Attribute>>,
    /// Every dataset, by path.
    pub datasets: BTreeMap<String, Dataset>,
    /// Paths that the reader refuses and says so: it promises nothing about them.
    pub refused: BTreeSet<String>,
}

/// One dataset. What a reader cannot read compares equal to anything of the same shape.
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
    /// The library has no way to read them, such as a filter that was not built in.
    Unreadable,
}

impl PartialEq for Dataset {
    fn eq(&self, other: &Self) -> bool {
        let unreadable = [self, other].iter().any(|dataset| dataset.values == Values::Unreadable);
        self.shape == other.shape
            && self.attributes == other.attributes
            && (unreadable || (self.dtype == other.dtype && self.values == other.values))
    }
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
            Values::Strings(strings) => {
                f.debug_list().entries(strings.iter().map(|text| String::from_utf8_lossy(text))).finish()
            }
            Values::Unreadable => write!(f, "unreadable"),
        }
    }
}

impl Facts {
    /// The differences, one line each; empty when both say the same about what neither refuses.
    pub fn differences(&self, names: [&str; 2], other: &Facts) -> Vec<String> {
        let refused: BTreeSet<&str> = self.refused.iter().chain(&other.refused).map(String::as_str).collect();
        let mut lines = Vec::new();
        compare("group", names, &self.groups, &other.groups, &refused, &mut lines);
        compare("dataset", names, &self.datasets, &other.datasets, &refused, &mut lines);
        lines
    }
}

fn compare<T: PartialEq + std::fmt::Debug>(
    what: &str,
    [left, right]: [&str; 2],
    a: &BTreeMap<String, T>,
    b: &BTreeMap<String, T>,
    refused: &BTreeSet<&str>,
    lines: &mut Vec<String>,
) {
    // A refused group takes everything below with it.
    let promised =
        |path: &str| !path.match_indices('/').map(|(end, _)| &path[..end]).chain([path]).any(|p| refused.contains(p));
    for (path, value) in a.iter().filter(|(path, _)| promised(path)) {
        match b.get(path) {
            None => lines.push(format!("{what} '{path}': only {left} finds it")),
            Some(found) if found != value => {
                lines.push(format!("{what} '{path}':\n  {left}: {value:?}\n  {right}: {found:?}"));
            }
            Some(_) => {}
        }
    }
    for path in b.keys().filter(|path| promised(path) && !a.contains_key(*path)) {
        lines.push(format!("{what} '{path}': only {right} finds it"));
    }
}
