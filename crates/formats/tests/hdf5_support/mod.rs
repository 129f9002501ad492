//! An HDF5 file as lines of text, to compare with what h5py says of it.
#![allow(dead_code, reason = "each test binary uses some of it")]
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test ends where it fails")]

use std::path::Path;
use std::sync::Arc;

use kw_formats::hdf5::{self, Hdf5Reader};
use kw_model::{AttributeValue, Cancel, DType, FileSource, Limits, TensorEntry, WeightsReader};

use crate::support::sha256;

pub(crate) fn json(path: &Path) -> serde_json::Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

pub(crate) fn open(path: &Path) -> kw_model::Result<Hdf5Reader> {
    hdf5::open(Arc::new(FileSource::open(path)?), &Limits::default())
}

/// The little-endian bytes of a tensor; strings with their lengths before them.
pub(crate) fn bytes_of(reader: &dyn WeightsReader, index: usize) -> kw_model::Result<Vec<u8>> {
    let entry = reader.catalogue().entry(index)?;
    if entry.dtype == DType::String {
        let mut bytes = Vec::new();
        for text in reader.read_strings(index)? {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(&text);
        }
        return Ok(bytes);
    }
    let mut bytes = vec![0xa5; usize::try_from(entry.byte_len).expect("a small file")];
    reader.read_into(index, &mut bytes, &Cancel::default())?;
    Ok(bytes)
}

/// The file as `__test__/fixtures/generate/hdf5_tree.py` describes it.
pub(crate) fn lines(reader: &dyn WeightsReader) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, group) in reader.catalogue().groups() {
        lines.push(format!("G {path}"));
        for (name, value) in &group.attributes {
            lines.push(attribute_line(path, name, value));
        }
    }
    for (index, entry) in reader.catalogue().entries().iter().enumerate() {
        let TensorEntry { path, dtype, shape, attributes, .. } = entry;
        for (name, value) in attributes {
            lines.push(attribute_line(path, name, value));
        }
        let axes: Vec<String> = shape.axes().iter().map(u64::to_string).collect();
        let bytes = bytes_of(reader, index).unwrap_or_else(|error| panic!("{path}: {error}"));
        let hash = sha256(&bytes);
        lines.push(format!("D {path} {dtype} ({}) {}", axes.join(","), &hash[..16]));
    }
    lines.sort();
    lines
}

fn attribute_line(path: &str, name: &str, value: &AttributeValue) -> String {
    let json = |value: &dyn Fn() -> serde_json::Result<String>| value().expect("JSON");
    let value = match value {
        AttributeValue::Text(text) => format!("text:{}", json(&|| serde_json::to_string(text))),
        AttributeValue::Texts(texts) => format!("texts:{}", json(&|| serde_json::to_string(texts))),
        AttributeValue::Int(value) => format!("int:{value}"),
        AttributeValue::Float(value) => format!("float:{:016x}", value.to_bits()),
        AttributeValue::Other(_) => "other".to_owned(),
    };
    let value = if value.len() > 2000 { format!("sha256:{}", sha256(value.as_bytes())) } else { value };
    format!("A {path} {} {value}", json(&|| serde_json::to_string(name)))
}
