//! Sharded weights: an index (`.weights.json`) and HDF5 files with object paths beside it.
//!
//! The index maps groups (`/layers/dense/vars`) to the file, or the list of files, that their tensors are in; a tensor
//! keeps its number within the group wherever it is. Tensors that the index does not lead to do not exist for Keras.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use kw_model::{ByteSource, Code, Filesystem, Limits, Result, WeightsError, WeightsReader};
use serde::Deserialize;

use crate::archive::read_text;
use crate::composite::CompositeReader;
use crate::format::Format;
use crate::open::Between;

/// The index as it stands in the file.
#[derive(Debug, Deserialize)]
pub(crate) struct Index {
    weight_map: BTreeMap<String, Files>,
}

/// Keras writes a text for a group with one tensor, a list for others.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Files {
    One(String),
    Many(Vec<String>),
}

impl Files {
    fn names(&self) -> &[String] {
        match self {
            Files::One(name) => std::slice::from_ref(name),
            Files::Many(names) => names,
        }
    }
}

impl Index {
    /// Parses an index; `None` for JSON that is none.
    ///
    /// # Errors
    /// [`Code::Limit`], [`Code::Corrupt`] for an index that names files elsewhere.
    pub(crate) fn read(source: &dyn ByteSource, limits: &Limits) -> Result<Option<Self>> {
        Limits::check("the index of the weights", source.len(), limits.max_header_bytes, "bytes")?;
        let text = read_text(source, "the index")?;
        let Ok(index) = serde_json::from_str::<Index>(&text) else { return Ok(None) };
        for file in index.files() {
            if file.is_empty() || file == "." || file == ".." || file.contains(['/', '\\', ':', '\0']) {
                return Err(WeightsError::new(
                    Code::Corrupt,
                    format!("the index names the file {file:?}, which does not lie beside it"),
                )
                .file(source.name()));
            }
        }
        Ok(Some(index))
    }

    /// All files, sorted.
    pub(crate) fn files(&self) -> BTreeSet<&str> {
        self.weight_map.values().flat_map(Files::names).map(String::as_str).collect()
    }

    /// Whether this is the index of safetensors files, which maps tensors and not groups.
    pub(crate) fn is_of_safetensors(&self) -> bool {
        !self.weight_map.is_empty() && self.files().iter().all(|file| has_suffix(file, ".safetensors"))
    }
}

fn has_suffix(name: &str, suffix: &str) -> bool {
    name.ends_with(suffix)
}

/// Opens every shard that the index at `path` names.
///
/// A save that replaces these weights meanwhile removes the old shards after it has switched the index: then the index is
/// read once more.
///
/// # Errors
/// [`Code::NotFound`] with index and shard for a shard that is missing, [`Code::Corrupt`] when index and shards contradict
/// each other, what opening the shards causes.
pub(crate) fn open(
    path: &Path,
    index: &Index,
    fs: &dyn Filesystem,
    limits: &Limits,
    between: &Between,
) -> Result<Arc<dyn WeightsReader>> {
    match open_once(path, index, fs, limits, between) {
        Err(error) if error.code() == Code::NotFound => {
            let again = Index::read(fs.open(path)?.as_ref(), limits)?;
            match again.filter(|again| again.files() != index.files()) {
                Some(again) => open_once(path, &again, fs, limits, between),
                None => Err(error),
            }
        }
        opened => opened,
    }
}

fn open_once(
    path: &Path,
    index: &Index,
    fs: &dyn Filesystem,
    limits: &Limits,
    between: &Between,
) -> Result<Arc<dyn WeightsReader>> {
    let files: Vec<&str> = index.files().into_iter().collect();
    Limits::check("shards", files.len() as u64, limits.max_tensors, "files")?;
    let mut parts: Vec<Arc<dyn WeightsReader>> = Vec::with_capacity(files.len());
    for file in &files {
        let shard = path.with_file_name(file);
        let source = fs.open(&shard).map_err(|error| match error.code() {
            Code::NotFound => WeightsError::new(
                Code::NotFound,
                format!("the index {} names the shard {file}, which is not beside it", path.display()),
            )
            .file(shard.display().to_string()),
            _ => error,
        })?;
        let reader =
            kw_formats::hdf5::open(between(source), limits).map_err(|error| error.file(shard.display().to_string()))?;
        parts.push(Arc::new(reader));
    }
    for (group, named) in &index.weight_map {
        for name in named.names() {
            let part = files.binary_search(&name.as_str()).ok().and_then(|part| parts.get(part));
            let inside = |path: &str| path.rsplit_once('/').is_some_and(|(parent, _)| matches(group, parent));
            let paths = part.map(|part| part.catalogue());
            let found = paths.is_some_and(|catalogue| {
                let refused = catalogue.refusals().keys().map(String::as_str);
                catalogue.entries().iter().map(|entry| entry.path.as_str()).chain(refused).any(inside)
            });
            if !found {
                let message = format!("the index says that {name} holds tensors of {group}, but it does not");
                return Err(WeightsError::new(Code::Corrupt, message).weight(group));
            }
        }
    }
    let belongs = |part: usize, path: &str| {
        let group = path.rsplit_once('/').map_or("", |(group, _)| group);
        let file = files.get(part).copied().unwrap_or_default();
        let named = index.weight_map.get(&format!("/{group}")).map(Files::names).unwrap_or_default();
        if named.iter().any(|name| name == file) {
            return Ok(());
        }
        let message = format!("{path} lies in {file}, but the index does not name it");
        Err(WeightsError::new(Code::Corrupt, message).weight(path))
    };
    Ok(Arc::new(CompositeReader::join(parts, Format::Sharded.name(), limits, &belongs)?))
}

fn matches(group: &str, parent: &str) -> bool {
    group.strip_prefix('/') == Some(parent)
}
