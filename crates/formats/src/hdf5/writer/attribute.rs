//! Attribute messages (IV.A.2.m, version 1).

use kw_model::{Code, Result, Shape, WeightsError};

use super::builder::H5Attribute;
use super::datatype::{Datatype, FloatLayout, encode_dataspace};
use super::encode::Encode;
use super::global_heap::{GlobalHeap, HeapReference};

/// An attribute whose strings have their place in the global heap.
#[derive(Debug)]
pub(super) struct PlannedAttribute {
    name: String,
    datatype: Datatype,
    shape: Shape,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Bytes(Vec<u8>),
    Strings(Vec<HeapReference>),
    /// The digest of the dataset that has the attribute, known when the file is written.
    Digest,
}

impl PlannedAttribute {
    /// Chooses type and shape; moves strings to the heap.
    pub(super) fn new(name: String, value: H5Attribute, heap: &mut GlobalHeap) -> Result<Self> {
        let (datatype, shape, data) = match value {
            H5Attribute::Utf8(text) => variable(vec![text], Shape::default(), true, heap)?,
            H5Attribute::Ascii(text) => {
                let utf8 = !text.is_ascii();
                variable(vec![text], Shape::default(), utf8, heap)?
            }
            H5Attribute::TextList(texts) | H5Attribute::FixedList(texts) if texts.is_empty() => {
                // What numpy, and so Keras, makes of an empty list.
                (Datatype::Float(FloatLayout::Double), Shape::new([0]), Data::Bytes(Vec::new()))
            }
            H5Attribute::TextList(texts) => {
                let utf8 = !texts.iter().all(|text| text.is_ascii());
                let shape = Shape::new([texts.len() as u64]);
                variable(texts, shape, utf8, heap)?
            }
            H5Attribute::FixedList(texts) => fixed(&texts)?,
            H5Attribute::Int(value) => (
                Datatype::Integer { size: 8, signed: true },
                Shape::default(),
                Data::Bytes(value.to_le_bytes().to_vec()),
            ),
            H5Attribute::UInt32(value) => (
                Datatype::Integer { size: 4, signed: false },
                Shape::default(),
                Data::Bytes(value.to_le_bytes().to_vec()),
            ),
        };
        Ok(PlannedAttribute { name, datatype, shape, data })
    }

    /// The attribute that takes a dataset's digest.
    pub(super) fn digest() -> Self {
        PlannedAttribute {
            name: super::DIGEST_ATTRIBUTE.to_owned(),
            datatype: Datatype::Integer { size: 4, signed: false },
            shape: Shape::default(),
            data: Data::Digest,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The message body. The sizes in its head are those without padding, although each part is padded.
    pub(super) fn encode(&self, heap: &GlobalHeap, digest: u32) -> Result<Vec<u8>> {
        let datatype = self.datatype.encode();
        let dataspace = encode_dataspace(&self.shape)?;
        let too_long = |_| {
            WeightsError::new(
                Code::Name,
                format!("an attribute name of {} bytes is too long for HDF5", self.name.len()),
            )
        };
        let mut out = vec![1, 0];
        out.u16(u16::try_from(self.name.len() + 1).map_err(too_long)?);
        out.u16(u16::try_from(datatype.len()).map_err(too_long)?);
        out.u16(u16::try_from(dataspace.len()).map_err(too_long)?);
        out.extend_from_slice(self.name.as_bytes());
        out.u8(0);
        out.pad8_from(0);
        for part in [datatype, dataspace] {
            out.extend(part);
            out.pad8_from(0);
        }
        match &self.data {
            Data::Bytes(bytes) => out.extend_from_slice(bytes),
            Data::Strings(references) => {
                for &reference in references {
                    heap.encode_reference(reference, &mut out);
                }
            }
            Data::Digest => out.u32(digest),
        }
        Ok(out)
    }
}

fn variable(texts: Vec<String>, shape: Shape, utf8: bool, heap: &mut GlobalHeap) -> Result<(Datatype, Shape, Data)> {
    let references = texts.into_iter().map(|text| heap.add(text)).collect::<Result<_>>()?;
    Ok((Datatype::VariableText { utf8 }, shape, Data::Strings(references)))
}

fn fixed(texts: &[String]) -> Result<(Datatype, Shape, Data)> {
    // HDF5 has no type of size 0.
    let size = texts.iter().map(String::len).max().unwrap_or(0).max(1);
    let total = size.checked_mul(texts.len()).filter(|&total| u32::try_from(total).is_ok()).ok_or_else(|| {
        WeightsError::new(
            Code::Unsupported,
            format!("{} texts of {size} bytes are too much for one attribute", texts.len()),
        )
    })?;
    let mut bytes = Vec::with_capacity(total);
    for text in texts {
        let start = bytes.len();
        bytes.extend_from_slice(text.as_bytes());
        bytes.fill_from(start, size);
    }
    let datatype = Datatype::FixedText {
        size: u32::try_from(size).unwrap_or(u32::MAX),
        utf8: !texts.iter().all(|text| text.is_ascii()),
    };
    Ok((datatype, Shape::new([texts.len() as u64]), Data::Bytes(bytes)))
}
