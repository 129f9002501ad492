//! `_METADATA`: the tree of an item; `_strings.json`: its texts.

use std::collections::BTreeMap;

use kw_model::{Code, Limits, Result};
use serde::Deserialize;

use super::corrupt;
use super::folder::Folder;
use crate::buffers::read_range;

/// `_METADATA` as it stands in the file.
#[derive(Debug, Deserialize)]
pub(super) struct Tree {
    /// By the text that Python prints for a path, which is not to be parsed.
    pub(super) tree_metadata: BTreeMap<String, Leaf>,
    #[serde(default)]
    pub(super) use_ocdbt: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Leaf {
    key_metadata: Vec<Key>,
    value_metadata: LeafValue,
}

#[derive(Debug, Deserialize)]
struct Key {
    key: KeyText,
}

/// Positions in sequences are numbers in some versions.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum KeyText {
    Text(String),
    Number(u64),
}

#[derive(Debug, Deserialize)]
struct LeafValue {
    value_type: String,
    #[serde(default)]
    skip_deserialize: bool,
}

/// What a leaf of the tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeafKind {
    Array,
    Text,
    /// An empty dictionary or list, or `None`: no data stored.
    Nothing,
}

impl Leaf {
    /// Names on the way to the leaf.
    pub(super) fn path(&self) -> Vec<String> {
        let texts = self.key_metadata.iter().map(|key| match &key.key {
            KeyText::Text(text) => text.clone(),
            KeyText::Number(number) => number.to_string(),
        });
        texts.collect()
    }

    pub(super) fn kind(&self) -> LeafKind {
        match self.value_type() {
            "string" => LeafKind::Text,
            "None" | "Dict" | "List" | "Tuple" | "NamedTuple" => LeafKind::Nothing,
            _ if self.value_metadata.skip_deserialize => LeafKind::Nothing,
            _ => LeafKind::Array,
        }
    }

    /// Orbax' name of the Python type.
    pub(super) fn value_type(&self) -> &str {
        &self.value_metadata.value_type
    }
}

impl Tree {
    pub(super) fn read(folder: &dyn Folder, limits: &Limits) -> Result<Self> {
        let text = read_text(folder, "_METADATA", limits)?;
        serde_json::from_slice(&text)
            .map_err(|error| corrupt(format!("_METADATA of {} cannot be understood: {error}", folder.name())))
    }
}

fn read_text(folder: &dyn Folder, name: &str, limits: &Limits) -> Result<Vec<u8>> {
    let source = folder.open(name)?;
    Limits::check(name, source.len(), limits.max_header_bytes, "bytes")?;
    read_range(source.as_ref(), 0, source.len(), name)
}

/// The texts of an item, by dotted name: `config` in `model_config` is the model's architecture. Empty when the item
/// has none.
///
/// # Errors
/// [`Code::Corrupt`] when the file is no map of texts, [`Code::Limit`], whatever opening causes.
pub fn read_strings(folder: &dyn Folder, limits: &Limits) -> Result<BTreeMap<String, String>> {
    match read_text(folder, "_strings.json", limits) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|error| corrupt(format!("_strings.json of {} cannot be understood: {error}", folder.name()))),
        Err(error) if error.code() == Code::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}
