//! `model.safetensors.index.json`: which tensor lies in which file beside it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use kw_model::{ByteSource, CatalogueBuilder, Code, Limits, Result, WeightsError};
use serde::{Deserialize, Serialize};

use super::header::Header;
use super::reader::{SafetensorsReader, add, metadata_group};
use super::{FORMAT, corrupt};
use crate::buffers::read_range;

/// Opens a file beside the index by its plain name.
pub type OpenSibling<'a> = dyn Fn(&str) -> Result<Arc<dyn ByteSource>> + 'a;

/// The index as it stands in the file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Index {
    #[serde(default)]
    pub(super) metadata: serde_json::Map<String, serde_json::Value>,
    pub(super) weight_map: BTreeMap<String, String>,
}

/// Opens all files that an index names, as one catalogue: file by file in the order of their names.
/// The metadata texts of all files together are attributes of the root group; the first file's win.
///
/// # Errors
/// [`Code::Corrupt`] for an index that names files elsewhere or tensors that are not there; as [`super::open`]
/// for each file; whatever `open_sibling` returns.
pub fn open_sharded(
    index: &dyn ByteSource,
    open_sibling: &OpenSibling<'_>,
    limits: &Limits,
) -> Result<SafetensorsReader> {
    let named = |error: WeightsError| error.file(index.name()).format(FORMAT);
    Limits::check("the index of the safetensors files", index.len(), limits.max_header_bytes, "bytes")?;
    let text = read_range(index, 0, index.len(), "the index")?;
    let parsed: Index = serde_json::from_slice(&text)
        .map_err(|error| named(corrupt(format!("the index cannot be understood: {error}"))))?;
    let files: BTreeSet<&str> = parsed.weight_map.values().map(String::as_str).collect();
    for file in &files {
        check_name(file).map_err(named)?;
    }
    let mut sources = Vec::new();
    let mut headers = Vec::new();
    for file in &files {
        let source = open_sibling(file)?;
        let header = Header::read(source.as_ref(), limits).map_err(|error| error.file(source.name()).format(FORMAT))?;
        sources.push(source);
        headers.push(header);
    }
    let mut builder = CatalogueBuilder::new(sources, limits.clone());
    let mut metadata = BTreeMap::new();
    let mut found = HashSet::new();
    for (number, (file, header)) in files.iter().zip(&headers).enumerate() {
        for (name, text) in &header.metadata {
            metadata.entry(name.clone()).or_insert_with(|| text.clone());
        }
        for (tensor, (path, info)) in header.tensors.iter().enumerate() {
            match parsed.weight_map.get(path) {
                Some(wanted) if wanted == file => {
                    found.insert(path.as_str());
                    add(&mut builder, path, info, (number, header.data_offset), header.digest(tensor))
                        .map_err(named)?;
                }
                // The index says where it really is; this copy does not count.
                Some(_) => {}
                None => {
                    let reason = corrupt(format!("{path} lies in {file}, but the index does not name it"));
                    builder.refuse(path.as_str(), reason.weight(path.as_str()))?;
                }
            }
        }
    }
    if let Some((path, file)) = parsed.weight_map.iter().find(|(path, _)| !found.contains(path.as_str())) {
        let message = format!("the index says that {path} lies in {file}, but it does not");
        return Err(named(corrupt(message).weight(path.as_str())));
    }
    builder.group("", metadata_group(&metadata, limits)?);
    Ok(SafetensorsReader::new(builder.finish()))
}

/// Only files beside the index may be named.
fn check_name(name: &str) -> Result<()> {
    if !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', ':', '\0']) {
        return Ok(());
    }
    Err(WeightsError::new(Code::Corrupt, format!("the index names the file {name:?}, which does not lie beside it"))
        .format(FORMAT))
}
