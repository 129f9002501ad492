//! What a file holds, checked as a whole before anyone sees it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::{ByteSource, Code, DType, Limits, Result, Shape, WeightsError};

/// Where a tensor's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// Little-endian, C-order bytes in one piece of one source: can be mapped.
    Range {
        /// Index into [`Catalogue::sources`].
        source: usize,
        /// Bytes from the start of that source.
        offset: u64,
    },
    /// The reader has to decode it (chunks, filters, slices, another byte order).
    Decoded,
}

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorEntry {
    /// Path in the container, without a leading slash (`layers/dense/vars/0`).
    pub path: String,
    /// Element type.
    pub dtype: DType,
    /// Elements per axis.
    pub shape: Shape,
    /// Bytes of the dense tensor; for strings, of all elements together.
    pub byte_len: u64,
    /// Where the bytes are.
    pub location: Location,
    /// CRC32C of the dense little-endian bytes, where the file says it.
    pub digest: Option<u32>,
    /// Attributes of the tensor itself, by name.
    pub attributes: BTreeMap<String, AttributeValue>,
}

/// The value of an attribute, as far as weights files need it.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeValue {
    /// One string (UTF-8 whatever the file calls it).
    Text(String),
    /// A list of strings; a zero-length attribute of any type is an empty list.
    Texts(Vec<String>),
    /// One integer.
    Int(i64),
    /// One floating-point number.
    Float(f64),
    /// Something else; the text describes its type.
    Other(String),
}

/// A group of the container and its attributes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
    /// Attributes by name.
    pub attributes: BTreeMap<String, AttributeValue>,
}

/// Everything a file holds. When one exists, names are unique, ranges are inside
/// their sources, sizes agree with shape × dtype, and all is under [`Limits`].
pub struct Catalogue {
    entries: Vec<TensorEntry>,
    by_path: HashMap<String, usize>,
    groups: BTreeMap<String, Group>,
    refusals: BTreeMap<String, WeightsError>,
    sources: Vec<Arc<dyn ByteSource>>,
}

impl std::fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalogue")
            .field("entries", &self.entries)
            .field("groups", &self.groups)
            .field("refusals", &self.refusals)
            .finish_non_exhaustive()
    }
}

impl Catalogue {
    /// All tensors, in the order of the container.
    pub fn entries(&self) -> &[TensorEntry] {
        &self.entries
    }

    /// One tensor by index.
    ///
    /// # Errors
    /// [`Code::Missing`] when there is no such index.
    pub fn entry(&self, index: usize) -> Result<&TensorEntry> {
        self.entries.get(index).ok_or_else(|| {
            WeightsError::new(
                Code::Missing,
                format!("there is no tensor number {index}; the file has {}", self.entries.len()),
            )
        })
    }

    /// Index of a tensor by its exact path.
    pub fn find(&self, path: &str) -> Option<usize> {
        self.by_path.get(path).copied()
    }

    /// Index of a tensor that somebody needs, by its exact path.
    ///
    /// # Errors
    /// The reason why it was refused, if it or a group around it was; else [`Code::Missing`].
    pub fn require(&self, path: &str) -> Result<usize> {
        self.find(path).ok_or_else(|| match self.refusal(path) {
            Some(error) => error.clone(),
            None => WeightsError::new(Code::Missing, format!("the file holds no tensor {path}")).weight(path),
        })
    }

    /// Why the container's object at `path`, or a group around it, was left out of this catalogue
    /// (a link to elsewhere, a type that is no tensor, an unknown filter); `None` if nothing was.
    pub fn refusal(&self, path: &str) -> Option<&WeightsError> {
        if self.refusals.is_empty() {
            return None;
        }
        let parents = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
        std::iter::once(path).chain(parents).find_map(|path| self.refusals.get(path))
    }

    /// Everything that was left out, by path, each with its reason.
    pub fn refusals(&self) -> &BTreeMap<String, WeightsError> {
        &self.refusals
    }

    /// A group by its path, `""` for the root.
    pub fn group(&self, path: &str) -> Option<&Group> {
        self.groups.get(path)
    }

    /// All groups by path, sorted.
    pub fn groups(&self) -> &BTreeMap<String, Group> {
        &self.groups
    }

    /// The sources that [`Location::Range`] points into.
    pub fn sources(&self) -> &[Arc<dyn ByteSource>] {
        &self.sources
    }
}

/// Collects and checks; only [`CatalogueBuilder::finish`] makes a [`Catalogue`].
pub struct CatalogueBuilder {
    catalogue: Catalogue,
    limits: Limits,
    total: u64,
}

impl CatalogueBuilder {
    /// An empty catalogue over `sources`.
    pub fn new(sources: Vec<Arc<dyn ByteSource>>, limits: Limits) -> Self {
        let catalogue = Catalogue {
            entries: Vec::new(),
            by_path: HashMap::new(),
            groups: BTreeMap::new(),
            refusals: BTreeMap::new(),
            sources,
        };
        CatalogueBuilder { catalogue, limits, total: 0 }
    }

    /// Adds a group.
    pub fn group(&mut self, path: impl Into<String>, group: Group) {
        self.catalogue.groups.insert(path.into(), group);
    }

    /// Leaves out the object at `path` and everything below it, for the reason that whoever needs it will see.
    ///
    /// # Errors
    /// [`Code::Limit`]: what is left out counts like tensors.
    pub fn refuse(&mut self, path: impl Into<String>, reason: WeightsError) -> Result<()> {
        let count = self.catalogue.refusals.len() as u64;
        Limits::check("objects in the file", count.saturating_add(1), self.limits.max_tensors, "objects")?;
        self.catalogue.refusals.insert(path.into(), reason);
        Ok(())
    }

    /// Adds a tensor.
    ///
    /// # Errors
    /// [`Code::Corrupt`] for a second tensor of this path or a size that is not shape × dtype,
    /// [`Code::Truncated`] for a range outside its source, [`Code::Limit`].
    pub fn tensor(&mut self, entry: TensorEntry) -> Result<()> {
        let count = self.catalogue.entries.len() as u64;
        Limits::check("tensors in the file", count.saturating_add(1), self.limits.max_tensors, "tensors")?;
        if entry.dtype != DType::String {
            let wanted = entry.shape.byte_len(entry.dtype).map_err(|error| error.weight(&entry.path))?;
            if wanted != entry.byte_len {
                return Err(WeightsError::new(
                    Code::Corrupt,
                    format!(
                        "{} has {} bytes, but {} of shape {} needs {wanted}",
                        entry.path, entry.byte_len, entry.dtype, entry.shape
                    ),
                )
                .weight(entry.path)
                .expected(wanted)
                .found(entry.byte_len));
            }
        }
        Limits::check(&format!("the tensor {}", entry.path), entry.byte_len, self.limits.max_tensor_bytes, "bytes")?;
        self.total = self.total.saturating_add(entry.byte_len);
        Limits::check("all tensors together", self.total, self.limits.max_total_bytes, "bytes")?;
        if let Location::Range { source, offset } = entry.location {
            let source = self.catalogue.sources.get(source).ok_or_else(|| {
                WeightsError::new(
                    Code::Internal,
                    format!("{} lies in source {source}, which does not exist", entry.path),
                )
            })?;
            if offset.checked_add(entry.byte_len).is_none_or(|end| end > source.len()) {
                return Err(WeightsError::new(
                    Code::Truncated,
                    format!(
                        "{} needs {} bytes at offset {offset}, but {} has {} bytes: the file is incomplete",
                        entry.path,
                        entry.byte_len,
                        source.name(),
                        source.len()
                    ),
                )
                .file(source.name())
                .weight(entry.path)
                .offset(offset)
                .expected(offset.saturating_add(entry.byte_len))
                .found(source.len()));
            }
        }
        if self.catalogue.by_path.contains_key(&entry.path) {
            return Err(
                WeightsError::new(Code::Corrupt, format!("two tensors are called {}", entry.path)).weight(entry.path)
            );
        }
        self.catalogue.by_path.insert(entry.path.clone(), self.catalogue.entries.len());
        self.catalogue.entries.push(entry);
        Ok(())
    }

    /// The finished catalogue.
    pub fn finish(self) -> Catalogue {
        self.catalogue
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::{CatalogueBuilder, Location, TensorEntry};
    use crate::{Code, DType, Limits, MemorySource, Shape, WeightsError};

    fn entry(path: &str, byte_len: u64, offset: u64) -> TensorEntry {
        TensorEntry {
            path: path.into(),
            dtype: DType::Float32,
            shape: Shape::new([4]),
            byte_len,
            location: Location::Range { source: 0, offset },
            digest: None,
            attributes: BTreeMap::new(),
        }
    }

    #[test]
    fn what_was_left_out_answers_with_its_reason() {
        let mut builder = CatalogueBuilder::new(Vec::new(), Limits { max_tensors: 2, ..Limits::default() });
        let reason = |code| WeightsError::new(code, "a reason");
        builder.refuse("a/link", reason(Code::Unsupported)).expect("first");
        builder.refuse("b", reason(Code::Limit)).expect("second");
        assert_eq!(builder.refuse("c", reason(Code::Limit)).map_err(|e| e.code()), Err(Code::Limit));
        let catalogue = builder.finish();
        let code = |path: &str| catalogue.require(path).map_err(|error| error.code());
        assert_eq!(code("a/link"), Err(Code::Unsupported));
        assert_eq!(code("a/link/inner/x"), Err(Code::Unsupported));
        assert_eq!(code("a/linked"), Err(Code::Missing));
        assert_eq!(code("a"), Err(Code::Missing));
        assert_eq!(code("b/x"), Err(Code::Limit));
        assert_eq!(catalogue.refusals().len(), 2);
    }

    #[test]
    fn refuses_what_contradicts_itself() {
        let limits = Limits { max_tensors: 2, ..Limits::default() };
        let mut builder = CatalogueBuilder::new(vec![Arc::new(MemorySource::new(vec![0; 32], "m"))], limits);
        let code = |result: crate::Result<()>| result.map_err(|error| error.code());
        assert_eq!(code(builder.tensor(entry("a", 12, 0))), Err(Code::Corrupt));
        assert_eq!(code(builder.tensor(entry("a", 16, 17))), Err(Code::Truncated));
        assert_eq!(code(builder.tensor(entry("a", 16, u64::MAX))), Err(Code::Truncated));
        assert_eq!(code(builder.tensor(entry("a", 16, 16))), Ok(()));
        assert_eq!(code(builder.tensor(entry("a", 16, 0))), Err(Code::Corrupt));
        assert_eq!(code(builder.tensor(entry("b", 16, 0))), Ok(()));
        assert_eq!(code(builder.tensor(entry("c", 16, 0))), Err(Code::Limit));
        let catalogue = builder.finish();
        assert_eq!(catalogue.find("b"), Some(1));
        assert_eq!(catalogue.find("c"), None);
    }
}
