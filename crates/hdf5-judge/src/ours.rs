//! The facts as our reader states them, and our writer fed with them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kw_formats::hdf5::writer::{DatasetOptions, H5Attribute, H5Builder};
use kw_model::{AttributeValue, Cancel, DType, FileSource, Limits, MemorySink, Result, Shape, WeightsReader, crc32c};

use crate::facts::{Attribute, Dataset, Facts, Values};

/// Reads everything.
pub fn read(path: &Path) -> Result<Facts> {
    let reader = kw_formats::hdf5::open(Arc::new(FileSource::open(path)?), &Limits::default())?;
    let catalogue = reader.catalogue();
    let mut facts = Facts { refused: catalogue.refusals().keys().cloned().collect(), ..Facts::default() };
    for (path, group) in catalogue.groups() {
        facts.groups.insert(path.clone(), attributes(&group.attributes));
    }
    for (index, entry) in catalogue.entries().iter().enumerate() {
        let values = if entry.dtype == DType::String {
            Values::Strings(reader.read_strings(index)?)
        } else {
            let mut bytes = vec![0; usize::try_from(entry.byte_len).expect("fixtures are small")];
            reader.read_into(index, &mut bytes, &Cancel::default())?;
            Values::Bytes(bytes)
        };
        let dtype = hdf5_name(entry.dtype);
        let shape = entry.shape.axes().to_vec();
        let attributes = attributes(&entry.attributes);
        facts.datasets.insert(entry.path.clone(), Dataset { shape, dtype, values, attributes });
    }
    Ok(facts)
}

/// HDF5 has no bfloat16: Keras stores it as opaque.
fn hdf5_name(dtype: DType) -> String {
    match dtype {
        DType::BFloat16 => "opaque2".to_owned(),
        DType::Opaque(size) => format!("opaque{size}"),
        other => other.name(),
    }
}

fn attributes(found: &BTreeMap<String, AttributeValue>) -> BTreeMap<String, Attribute> {
    found
        .iter()
        .map(|(name, value)| {
            let value = match value {
                AttributeValue::Text(text) => Attribute::Text(text.clone()),
                AttributeValue::Texts(texts) => Attribute::Texts(texts.clone()),
                AttributeValue::Int(int) => Attribute::Int(*int),
                AttributeValue::Float(float) => Attribute::Float(*float),
                AttributeValue::Other(_) => Attribute::Other,
            };
            (name.clone(), value)
        })
        .collect()
}

/// Writes the same groups, attributes and datasets with our writer, as far as it has a form for them, each dataset
/// with a digest. Returns the file's bytes and how many datasets and attributes had to be left out.
pub fn rewrite(path: &Path) -> Result<(Vec<u8>, usize)> {
    let reader = kw_formats::hdf5::open(Arc::new(FileSource::open(path)?), &Limits::default())?;
    let catalogue = reader.catalogue();
    let mut builder = H5Builder::new();
    let mut left_out = 0;
    let mut written = Vec::new();
    for path in catalogue.groups().keys() {
        builder.group(path)?;
    }
    for (index, entry) in catalogue.entries().iter().enumerate() {
        let options = DatasetOptions { digest: true };
        match builder.dataset(&entry.path, entry.dtype, Shape::new(entry.shape.axes().to_vec()), options) {
            Ok(_) => written.push(index),
            Err(_) => left_out += 1,
        }
    }
    let groups = catalogue.groups().iter().map(|(path, group)| (path, &group.attributes));
    let datasets =
        written.iter().map(|&index| &catalogue.entries()[index]).map(|entry| (&entry.path, &entry.attributes));
    for (path, attributes) in groups.chain(datasets) {
        for (name, value) in attributes {
            let value = match value {
                AttributeValue::Text(text) => H5Attribute::Utf8(text.clone()),
                AttributeValue::Texts(texts) if texts.len() % 2 == 0 => H5Attribute::FixedList(texts.clone()),
                AttributeValue::Texts(texts) => H5Attribute::TextList(texts.clone()),
                AttributeValue::Int(int) => H5Attribute::Int(*int),
                AttributeValue::Float(_) | AttributeValue::Other(_) => {
                    left_out += 1;
                    continue;
                }
            };
            // The writer sets these itself: dtype of a bfloat16 dataset, the digest.
            if builder.attribute(path, name, value).is_err() {
                left_out += 1;
            }
        }
    }

    let mut values = Vec::new();
    for &index in &written {
        let entry = &catalogue.entries()[index];
        let mut bytes = vec![0; usize::try_from(entry.byte_len).expect("fixtures are small")];
        reader.read_into(index, &mut bytes, &Cancel::default())?;
        values.push(bytes);
    }
    let digests: Vec<u32> = values.iter().map(|bytes| crc32c(bytes)).collect();
    let plan = builder.plan()?;
    let mut sink = MemorySink::new();
    let mut emitter = plan.emit(&mut sink, &digests)?;
    for bytes in &values {
        emitter.write(bytes)?;
    }
    emitter.finish()?;
    Ok((sink.into_bytes(), left_out))
}
