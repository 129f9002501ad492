//! An item of a checkpoint as a catalogue: arrays by their path in the tree, joined with `/`.

use std::sync::Arc;

use kw_model::{
    AttributeValue, Cancel, Catalogue, CatalogueBuilder, Code, DType, Limits, Location, Result, Shape, TensorEntry,
    WeightsError, WeightsReader,
};

use super::folder::Folder;
use super::metadata::{Leaf, LeafKind, Tree, read_strings};
use super::store::Store;
use super::zarr::Array;
use super::{FORMAT, chunk, corrupt};
use crate::buffers;

/// Bytes of a chunk beyond its values: index, frame headers.
const CHUNK_OVERHEAD: u64 = 1 << 20;

/// An opened item.
pub struct OrbaxReader {
    catalogue: Catalogue,
    store: Store,
    values: Vec<Value>,
    limits: Limits,
}

impl std::fmt::Debug for OrbaxReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OrbaxReader").field("catalogue", &self.catalogue).finish_non_exhaustive()
    }
}

enum Value {
    Array { name: String, array: Array },
    Text(String),
}

/// Opens an item (`<root>/<step>/pytree`): reads the tree, the database's keys and each array's description. The attribute
/// `value_type` of an entry is Orbax' name of the Python type.
///
/// # Errors
/// [`Code::NotFound`] without `_METADATA`, [`Code::Corrupt`] for a tree that refers to what is not there,
/// [`Code::Digest`] for a damaged database, [`Code::Limit`].
pub fn open(folder: &Arc<dyn Folder>, limits: &Limits) -> Result<OrbaxReader> {
    open_item(folder, limits).map_err(|error| error.file(folder.name()).format(FORMAT))
}

fn open_item(folder: &Arc<dyn Folder>, limits: &Limits) -> Result<OrbaxReader> {
    let tree = Tree::read(folder.as_ref(), limits)?;
    let texts = read_strings(folder.as_ref(), limits)?;
    let store = Store::open(folder, tree.use_ocdbt, limits)?;
    let mut builder = CatalogueBuilder::new(store.sources(), limits.clone());
    let mut values = Vec::new();
    for leaf in tree.tree_metadata.values() {
        let path = leaf.path();
        // The name in the store; from there, the path could not be told.
        let name = path.join(".");
        let path = path.join("/");
        let named = |error: WeightsError| error.weight(path.as_str());
        let (entry, value) = match leaf.kind() {
            LeafKind::Nothing => continue,
            LeafKind::Text => {
                let text = texts.get(&name).ok_or_else(|| named(corrupt(format!("the text {name} is missing"))))?;
                (described(leaf, &path, DType::String, Shape::default(), text.len() as u64), Value::Text(text.clone()))
            }
            LeafKind::Array => match array(&store, &name, limits) {
                Ok(array) => {
                    let byte_len = array.shape.byte_len(array.dtype).map_err(named)?;
                    let mut entry = described(leaf, &path, array.dtype, array.shape.clone(), byte_len);
                    if let Some(alias) = &array.alias {
                        entry.attributes.insert("dtype".to_owned(), AttributeValue::Text(alias.clone()));
                    }
                    (entry, Value::Array { name, array })
                }
                Err(error) if error.code() == Code::Unsupported => {
                    builder.refuse(path.as_str(), named(error))?;
                    continue;
                }
                Err(error) => return Err(named(error)),
            },
        };
        builder.tensor(entry).map_err(named)?;
        values.push(value);
    }
    Ok(OrbaxReader { catalogue: builder.finish(), store, values, limits: limits.clone() })
}

fn described(leaf: &Leaf, path: &str, dtype: DType, shape: Shape, byte_len: u64) -> TensorEntry {
    let kind = AttributeValue::Text(leaf.value_type().to_owned());
    TensorEntry {
        path: path.to_owned(),
        dtype,
        shape,
        byte_len,
        location: Location::Decoded,
        digest: None,
        attributes: [("value_type".to_owned(), kind)].into_iter().collect(),
    }
}

/// Reads the description of an array and makes sure that all its chunks are there.
fn array(store: &Store, name: &str, limits: &Limits) -> Result<Array> {
    let what = "the description of an array";
    let most = limits.max_header_bytes.min(1 << 24);
    let array = if let Some(text) = store.get(&format!("{name}/zarr.json"), most, what)? {
        Array::version3(&text)?
    } else if let Some(text) = store.get(&format!("{name}/.zarray"), most, what)? {
        Array::version2(&text)?
    } else {
        return Err(corrupt(format!("the array {name} is missing from the store")));
    };
    Limits::check(name, array.shape.byte_len(array.dtype)?, limits.max_tensor_bytes, "bytes")?;
    let grid = array.grid();
    Limits::check("chunks of an array", grid.num_elements()?, limits.max_tensors, "chunks")?;
    // A chunk that is missing ends this, so the work is bounded by what is stored.
    for index in chunk::indices(&grid) {
        if store.len(&format!("{name}/{}", array.chunk_key(&index)))?.is_none() {
            return Err(chunk::missing());
        }
    }
    Ok(array)
}

impl OrbaxReader {
    fn value(&self, index: usize) -> Result<(&TensorEntry, &Value)> {
        let entry = self.catalogue.entry(index)?;
        let value = self.values.get(index);
        Ok((entry, value.ok_or_else(|| WeightsError::new(Code::Internal, format!("tensor {index} has no place")))?))
    }

    fn read_array(&self, name: &str, array: &Array, out: &mut [u8], cancel: &Cancel) -> Result<()> {
        let width = array.dtype.size() as u64;
        let chunk_len = array.chunk.num_elements()?.saturating_mul(width);
        for index in chunk::indices(&array.grid()) {
            cancel.check()?;
            let key = format!("{name}/{}", array.chunk_key(&index));
            let most = chunk_len.saturating_mul(2).saturating_add(CHUNK_OVERHEAD);
            let stored = self.store.get(&key, most, "a chunk of an array")?.ok_or_else(chunk::missing)?;
            let dense = chunk::decode(stored, &array.codecs, &array.chunk, width, &self.limits)?;
            chunk::place(&dense, &array.chunk, &index, out, &array.shape, width)?;
        }
        Ok(())
    }
}

impl WeightsReader for OrbaxReader {
    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn read_into(&self, index: usize, out: &mut [u8], cancel: &Cancel) -> Result<()> {
        let (entry, value) = self.value(index)?;
        let Value::Array { name, array } = value else {
            return Err(WeightsError::new(Code::DType, format!("{} holds a text, not numbers", entry.path))
                .format(FORMAT)
                .weight(entry.path.as_str()));
        };
        buffers::check_out_len(&entry.path, out, entry.byte_len)?;
        self.read_array(name, array, out, cancel).map_err(|error| error.weight(entry.path.as_str()).format(FORMAT))
    }

    fn read_strings(&self, index: usize) -> Result<Vec<Vec<u8>>> {
        match self.value(index)? {
            (_, Value::Text(text)) => Ok(vec![text.clone().into_bytes()]),
            (entry, Value::Array { .. }) => {
                Err(WeightsError::new(Code::DType, format!("{} holds {}, not strings", entry.path, entry.dtype))
                    .format(FORMAT)
                    .weight(entry.path.as_str()))
            }
        }
    }

    fn format(&self) -> &'static str {
        FORMAT
    }
}
