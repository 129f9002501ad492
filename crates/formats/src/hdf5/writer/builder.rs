//! Collects what a file is to hold, and refuses what HDF5 cannot.

use std::collections::{HashMap, HashSet};

use kw_model::{Code, DType, Result, Shape, WeightsError};

use super::datatype::{Datatype, encode_dataspace};
use super::{DIGEST_ATTRIBUTE, H5Plan, SpooledChunks};

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum H5Attribute {
    /// One string of variable length, character set UTF-8: h5py's form of a Python `str`.
    Utf8(String),
    /// One string of variable length, character set ASCII: h5py's form of Python `bytes`.
    /// Text beyond ASCII is marked as UTF-8 all the same, or readers show other letters.
    Ascii(String),
    /// A list of strings of variable length, ASCII or else UTF-8; an empty list is a float64
    /// array of shape `(0,)`, as numpy makes it.
    TextList(Vec<String>),
    /// A list of strings, all stored at the length of the longest; an empty list as above.
    FixedList(Vec<String>),
    /// One signed 64-bit integer.
    Int(i64),
    /// One unsigned 32-bit integer.
    UInt32(u32),
}

impl H5Attribute {
    fn texts(&self) -> &[String] {
        match self {
            H5Attribute::Utf8(text) | H5Attribute::Ascii(text) => std::slice::from_ref(text),
            H5Attribute::TextList(texts) | H5Attribute::FixedList(texts) => texts,
            H5Attribute::Int(_) | H5Attribute::UInt32(_) => &[],
        }
    }
}

/// How a dataset is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatasetOptions {
    /// Adds the attribute [`DIGEST_ATTRIBUTE`]; [`H5Plan::emit`] is given its value.
    pub digest: bool,
}

/// Collects groups, attributes and datasets. Objects appear in the file in the order in which
/// they were added, members under their group; the values of datasets follow in the order
/// in which the datasets were added.
#[derive(Debug, Clone)]
pub struct H5Builder {
    pub(super) objects: Vec<Object>,
    by_path: HashMap<String, usize>,
    /// Object and name of every attribute.
    attribute_names: HashSet<(usize, String)>,
    datasets: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) path: String,
    pub(super) attributes: Vec<(String, H5Attribute)>,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Group { members: Vec<usize> },
    Dataset { number: usize, dtype: DType, shape: Shape, options: DatasetOptions, chunks: Option<SpooledChunks> },
}

impl Object {
    /// The last part of the path.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

impl Default for H5Builder {
    fn default() -> Self {
        H5Builder::new()
    }
}

impl H5Builder {
    /// A file with nothing but the root group.
    pub fn new() -> Self {
        let root = Object { path: String::new(), attributes: Vec::new(), kind: Kind::Group { members: Vec::new() } };
        H5Builder {
            objects: vec![root],
            by_path: HashMap::from([(String::new(), 0)]),
            attribute_names: HashSet::new(),
            datasets: 0,
        }
    }

    /// Adds a group and the groups above it; does nothing for those that exist. `""` is the root.
    ///
    /// # Errors
    /// [`Code::Name`] when a part of the path is empty, `.` or holds a NUL, or is a dataset.
    pub fn group(&mut self, path: &str) -> Result<()> {
        self.group_number(path).map(|_| ())
    }

    /// Sets an attribute of a group or dataset that was added before. Readers that do not sort
    /// show attributes in the order in which they were set.
    ///
    /// # Errors
    /// [`Code::Missing`] when there is no such object; [`Code::Name`] for an attribute that is
    /// set already, for an empty name, for a NUL in a name or in a text (which HDF5 strings end at).
    pub fn attribute(&mut self, object: &str, name: &str, value: H5Attribute) -> Result<()> {
        let place = if object.is_empty() { "the file" } else { object };
        let found = self.by_path.get(object).and_then(|&number| Some((number, self.objects.get_mut(number)?)));
        let Some((number, found)) = found else {
            return Err(WeightsError::new(
                Code::Missing,
                format!("there is no group or dataset {object} for the attribute {name}"),
            )
            .weight(object));
        };
        let refuse = |why: String| Err(WeightsError::new(Code::Name, why).weight(object));
        if name.is_empty() || name.contains('\0') {
            return refuse(format!("'{}' cannot be the name of an attribute of {place}", name.escape_default()));
        }
        if value.texts().iter().any(|text| text.contains('\0')) {
            return refuse(format!("the attribute {name} of {place} holds a NUL character, which HDF5 strings end at"));
        }
        let takes_digest = matches!(&found.kind, Kind::Dataset { options, .. } if options.digest);
        let is_new = self.attribute_names.insert((number, name.to_owned()));
        if !is_new || (takes_digest && name == DIGEST_ATTRIBUTE) {
            return refuse(format!("{place} would have two attributes called {name}"));
        }
        found.attributes.push((name.to_owned(), value));
        Ok(())
    }

    /// Adds a dataset and the groups above it; says its number in the order of the data.
    ///
    /// # Errors
    /// [`Code::Name`] as [`H5Builder::group`], or when the path is taken;
    /// [`Code::Unsupported`] for dtypes that Keras and h5py have no HDF5 form for (complex, string)
    /// and for shapes of more than 32 axes.
    pub fn dataset(&mut self, path: &str, dtype: DType, shape: Shape, options: DatasetOptions) -> Result<usize> {
        self.add_dataset(path, dtype, shape, options, None)
    }

    /// Adds a dataset that was compressed before. Its values are not given to the emitter, which
    /// takes them from the spool; its digest is the one found when it was compressed.
    ///
    /// # Errors
    /// [`Code::Name`] as [`H5Builder::group`], or when the path is taken.
    pub fn chunked_dataset(&mut self, path: &str, chunks: SpooledChunks, options: DatasetOptions) -> Result<usize> {
        let (dtype, shape) = (chunks.chunks.dtype, chunks.chunks.shape.clone());
        self.add_dataset(path, dtype, shape, options, Some(chunks))
    }

    /// Says that a dataset that was added before was compressed meanwhile.
    ///
    /// # Errors
    /// [`Code::Missing`] when there is no dataset of this path, dtype and shape.
    pub fn compress(&mut self, path: &str, found: SpooledChunks) -> Result<()> {
        let object = self.by_path.get(path).and_then(|&number| self.objects.get_mut(number));
        match object.map(|object| &mut object.kind) {
            Some(Kind::Dataset { dtype, shape, chunks, .. })
                if *dtype == found.chunks.dtype && *shape == found.chunks.shape =>
            {
                *chunks = Some(found);
                Ok(())
            }
            _ => Err(WeightsError::new(Code::Missing, format!("there is no such dataset {path}")).weight(path)),
        }
    }

    fn add_dataset(
        &mut self,
        path: &str,
        dtype: DType,
        shape: Shape,
        options: DatasetOptions,
        chunks: Option<SpooledChunks>,
    ) -> Result<usize> {
        Datatype::of(dtype).map_err(|error| error.weight(path))?;
        encode_dataspace(&shape).map_err(|error| error.weight(path))?;
        shape.byte_len(dtype).map_err(|error| error.weight(path))?;
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        check_name(name, path)?;
        if self.by_path.contains_key(path) {
            return Err(
                WeightsError::new(Code::Name, format!("two objects of the file would be called '{path}'")).weight(path)
            );
        }
        let parent = self.group_number(parent)?;
        let number = self.datasets;
        self.add(parent, path, Kind::Dataset { number, dtype, shape, options, chunks });
        self.datasets += 1;
        Ok(number)
    }

    /// Lays the file out.
    ///
    /// # Errors
    /// [`Code::Unsupported`] when an attribute or the attributes of one object are larger than
    /// HDF5 allows (65,528 bytes, 65,535 messages).
    pub fn plan(self) -> Result<H5Plan> {
        H5Plan::new(self)
    }

    fn group_number(&mut self, path: &str) -> Result<usize> {
        if let Some(&number) = self.by_path.get(path) {
            return match self.objects.get(number) {
                Some(Object { kind: Kind::Group { .. }, .. }) => Ok(number),
                _ => Err(WeightsError::new(Code::Name, format!("'{path}' is a dataset and cannot be a group as well"))
                    .weight(path)),
            };
        }
        // Going down, not up, so that depth costs no stack.
        let mut parent = 0;
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let prefix = path.get(..end).unwrap_or_default();
            parent = match self.by_path.get(prefix).map(|&number| (number, self.objects.get(number))) {
                // An empty prefix is the root, but also an empty first part of a path.
                Some((number, Some(Object { kind: Kind::Group { .. }, .. }))) if end > 0 => number,
                Some((_, Some(Object { kind: Kind::Dataset { .. }, .. }))) => {
                    return Err(WeightsError::new(
                        Code::Name,
                        format!("'{prefix}' is a dataset, so there can be no '{path}'"),
                    )
                    .weight(path));
                }
                _ => {
                    check_name(prefix.rsplit('/').next().unwrap_or_default(), path)?;
                    self.add(parent, prefix, Kind::Group { members: Vec::new() })
                }
            };
        }
        Ok(parent)
    }

    fn add(&mut self, parent: usize, path: &str, kind: Kind) -> usize {
        let number = self.objects.len();
        self.objects.push(Object { path: path.to_owned(), attributes: Vec::new(), kind });
        self.by_path.insert(path.to_owned(), number);
        if let Some(Object { kind: Kind::Group { members }, .. }) = self.objects.get_mut(parent) {
            members.push(number);
        }
        number
    }
}

/// One part of a path.
fn check_name(name: &str, path: &str) -> Result<()> {
    if name.is_empty() || name == "." || name.contains('\0') || path.starts_with('/') {
        return Err(WeightsError::new(
            Code::Name,
            format!(
                "'{}' cannot be a path in an HDF5 file: no part may be empty, '.' or hold a NUL",
                path.escape_debug()
            ),
        )
        .weight(path));
    }
    Ok(())
}
