//! Reading one or several safetensors files: every tensor is a range that can be mapped.

use std::collections::BTreeMap;
use std::sync::Arc;

use kw_model::{
    AttributeValue, ByteSource, Cancel, Catalogue, CatalogueBuilder, Code, Group, Limits, Location, Result, Shape,
    TensorEntry, WeightsError, WeightsReader,
};
use safetensors::tensor::TensorInfo;

use super::dtypes;
use super::header::Header;
use crate::buffers;

/// An opened file, or an opened set of shards.
#[derive(Debug)]
pub struct SafetensorsReader {
    catalogue: Catalogue,
}

impl SafetensorsReader {
    pub(super) fn new(catalogue: Catalogue) -> Self {
        SafetensorsReader { catalogue }
    }
}

/// Opens a file: reads and checks its header, touches no tensor. Texts of the header are attributes of the root group;
/// tensors come in the order of their bytes.
///
/// # Errors
/// [`Code::NotWeights`], [`Code::Truncated`], [`Code::Corrupt`], [`Code::Limit`], [`Code::Io`].
pub fn open(source: Arc<dyn ByteSource>, limits: &Limits) -> Result<SafetensorsReader> {
    let name = source.name();
    let header = Header::read(source.as_ref(), limits);
    let header = header.map_err(|error| error.file(name.as_str()).format(super::FORMAT))?;
    let mut builder = CatalogueBuilder::new(vec![source], limits.clone());
    builder.group("", metadata_group(&header.metadata, limits)?);
    for (number, (path, info)) in header.tensors.iter().enumerate() {
        add(&mut builder, path, info, (0, header.data_offset), header.digest(number))
            .map_err(|error| error.file(name.as_str()).format(super::FORMAT))?;
    }
    Ok(SafetensorsReader::new(builder.finish()))
}

pub(super) fn metadata_group(metadata: &BTreeMap<String, String>, limits: &Limits) -> Result<Group> {
    let bytes = metadata.iter().map(|(name, text)| (name.len() + text.len()) as u64).sum();
    Limits::check("the metadata of the safetensors file", bytes, limits.max_attribute_bytes, "bytes")?;
    let attributes = metadata.iter().map(|(name, text)| (name.clone(), AttributeValue::Text(text.clone()))).collect();
    Ok(Group { attributes })
}

/// Adds one tensor; `data` is the number of its source and where the data of that begin.
pub(super) fn add(
    builder: &mut CatalogueBuilder,
    path: &str,
    info: &TensorInfo,
    (source, data_offset): (usize, u64),
    digest: Option<u32>,
) -> Result<()> {
    let (dtype, alias) = match dtypes::from_stored(info.dtype) {
        Ok(found) => found,
        Err(error) => return builder.refuse(path, error.weight(path)),
    };
    let (start, end) = info.data_offsets;
    builder.tensor(TensorEntry {
        path: path.to_owned(),
        dtype,
        shape: Shape::new(info.shape.iter().map(|axis| *axis as u64).collect::<Vec<_>>()),
        byte_len: end.saturating_sub(start) as u64,
        location: Location::Range { source, offset: data_offset.saturating_add(start as u64) },
        digest,
        attributes: alias.map(|name| ("dtype".to_owned(), AttributeValue::Text(name))).into_iter().collect(),
    })
}

impl WeightsReader for SafetensorsReader {
    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn read_into(&self, index: usize, out: &mut [u8], cancel: &Cancel) -> Result<()> {
        let entry = self.catalogue.entry(index)?;
        buffers::check_out_len(&entry.path, out, entry.byte_len)?;
        buffers::read_entry(&self.catalogue, entry, out, cancel)
    }

    fn read_strings(&self, index: usize) -> Result<Vec<Vec<u8>>> {
        let entry = self.catalogue.entry(index)?;
        Err(WeightsError::new(Code::DType, format!("{} holds {}, not strings", entry.path, entry.dtype))
            .format(super::FORMAT)
            .weight(entry.path.as_str()))
    }

    fn format(&self) -> &'static str {
        super::FORMAT
    }
}
