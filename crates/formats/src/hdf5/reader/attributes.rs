//! Attributes of groups and datasets.
//!
//! Keras keeps its lists in every encoding HDF5 has: variable-length strings (h5py 3), null-padded fixed
//! strings (older h5py and split lists), and `float64` of shape `(0,)` for an empty list.

use std::collections::BTreeMap;

use hdf5_reader::btree_v2::BTreeV2Record;
use hdf5_reader::fractal_heap::{FractalHeap, FractalHeapDirectBlockCache};
use hdf5_reader::io::Cursor;
use hdf5_reader::messages::HdfMessage;
use hdf5_reader::messages::attribute::{self, AttributeMessage};
use hdf5_reader::messages::attribute_info::AttributeInfoMessage;
use hdf5_reader::messages::dataspace::DataspaceType;
use hdf5_reader::{ByteOrder, Datatype, StringPadding, StringSize, VarLenKind};
use kw_model::{AttributeValue, Code, Limits, Result, WeightsError};

use super::element_type;
use super::failure::describe;
use super::file::File;
use super::strings::{reference_len, trimmed};

/// All attributes of an object by name.
pub(super) fn read(file: &File, messages: &[HdfMessage]) -> Result<BTreeMap<String, AttributeValue>> {
    let mut found = BTreeMap::new();
    let mut budget = Budget { used: 0, allowed: file.limits().max_attribute_bytes };
    for message in messages {
        match message {
            HdfMessage::Attribute(message) => add(file, message, &mut budget, &mut found)?,
            HdfMessage::AttributeInfo(info) => {
                each_dense(file, info, |message| add(file, message, &mut budget, &mut found))?;
            }
            _ => {}
        }
    }
    Ok(found)
}

fn add(
    file: &File,
    message: &AttributeMessage,
    budget: &mut Budget,
    found: &mut BTreeMap<String, AttributeValue>,
) -> Result<()> {
    budget.spend(message.name.len() as u64 + message.raw_data.len() as u64)?;
    let value = value(file, message, budget).map_err(|error| error.at(format_args!("attribute {}", message.name)))?;
    if found.insert(message.name.clone(), value).is_some() {
        return Err(WeightsError::new(Code::Corrupt, format!("two attributes are called {}", message.name)));
    }
    Ok(())
}

/// Bytes of all attributes of one object.
struct Budget {
    used: u64,
    allowed: u64,
}

impl Budget {
    fn spend(&mut self, bytes: u64) -> Result<()> {
        self.used = self.used.saturating_add(bytes);
        Limits::check("attributes of one object", self.used, self.allowed, "bytes")
    }
}

/// Attributes that are too many or too large for the object header.
fn each_dense(
    file: &File,
    info: &AttributeInfoMessage,
    mut visit: impl FnMut(&AttributeMessage) -> Result<()>,
) -> Result<()> {
    let (storage, widths) = (file.storage(), file.widths());
    if Cursor::is_undefined_offset(info.fractal_heap_address, widths.offset) {
        return Ok(());
    }
    let heap = FractalHeap::parse_at_storage(storage, info.fractal_heap_address, widths.offset, widths.length)
        .map_err(describe)?;
    let records = file.records(info.btree_name_index_address)?;
    let mut blocks = FractalHeapDirectBlockCache::default();
    for record in records {
        let (BTreeV2Record::AttributeNameHash { heap_id, .. } | BTreeV2Record::AttributeCreationOrder { heap_id, .. }) =
            record
        else {
            continue;
        };
        let bytes = heap
            .get_object_storage_cached(&heap_id, storage, widths.offset, widths.length, &mut blocks)
            .map_err(describe)?;
        let message = attribute::parse(&mut Cursor::new(&bytes), widths.offset, widths.length, bytes.len());
        visit(&message.map_err(describe)?)?;
    }
    Ok(())
}

fn value(file: &File, message: &AttributeMessage, budget: &mut Budget) -> Result<AttributeValue> {
    let scalar = message.dataspace.dataspace_type == DataspaceType::Scalar;
    let count = message.dataspace.num_elements().map_err(|error| describe(error.into()))?;
    if count == 0 {
        return Ok(AttributeValue::Texts(Vec::new()));
    }
    if let Some(kind) = TextKind::of(file, &message.datatype) {
        return Ok(match texts(file, &kind, &message.raw_data, budget)? {
            // Bytes that are no UTF-8 are no text; h5py gives them back as bytes.
            None => AttributeValue::Other("strings that are not UTF-8".to_owned()),
            Some(mut texts) if scalar => AttributeValue::Text(texts.pop().unwrap_or_default()),
            Some(texts) => AttributeValue::Texts(texts),
        });
    }
    let number = if scalar { number(&message.datatype, &message.raw_data) } else { None };
    Ok(number.unwrap_or_else(|| {
        let axes: Vec<String> = message.dataspace.dims.iter().map(u64::to_string).collect();
        AttributeValue::Other(format!("{} of shape ({})", element_type::describe(&message.datatype), axes.join(", ")))
    }))
}

/// How the strings of an attribute are stored.
struct TextKind {
    /// Bytes of one element: of the string in place, or of the reference into a heap.
    size: usize,
    padding: StringPadding,
    in_heap: bool,
}

impl TextKind {
    fn of(file: &File, datatype: &Datatype) -> Option<Self> {
        let in_heap = TextKind { size: file.reference_size(), padding: StringPadding::NullTerminate, in_heap: true };
        match datatype {
            Datatype::String { size: StringSize::Fixed(size), padding, .. } => {
                Some(TextKind { size: usize::try_from(*size).ok()?, padding: *padding, in_heap: false })
            }
            Datatype::String { size: StringSize::Variable, .. } => Some(in_heap),
            Datatype::VarLen { base, kind: VarLenKind::String, .. } if base.is_vlen_string_base() => Some(in_heap),
            _ => None,
        }
    }
}

/// The strings of an attribute, or `None` when one of them is not UTF-8.
fn texts(file: &File, kind: &TextKind, stored: &[u8], budget: &mut Budget) -> Result<Option<Vec<String>>> {
    let mut texts = Vec::new();
    for element in stored.chunks_exact(kind.size.max(1)) {
        let fetched;
        let bytes = if kind.in_heap {
            // A few bytes of reference can name megabytes, and many references the same ones.
            budget.spend(reference_len(element))?;
            fetched = file.heap_bytes(element)?;
            fetched.as_slice()
        } else {
            element
        };
        match std::str::from_utf8(trimmed(bytes, kind.padding)) {
            Ok(text) => texts.push(text.to_owned()),
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(texts))
}

/// One integer or floating-point number.
fn number(datatype: &Datatype, bytes: &[u8]) -> Option<AttributeValue> {
    match datatype {
        Datatype::Enum { base, .. } => number(base, bytes),
        Datatype::FixedPoint { size, signed, byte_order } => {
            element_type::integer(*size, *signed)?;
            let bytes = little_endian::<8>(bytes, *size, *byte_order)?;
            let unused = 64 - u32::from(*size) * 8;
            let value = u64::from_le_bytes(bytes);
            if *signed {
                // Shifting up and back down repeats the sign.
                return Some(AttributeValue::Int((value << unused).cast_signed() >> unused));
            }
            i64::try_from(value).ok().map(AttributeValue::Int)
        }
        Datatype::FloatingPoint { size, byte_order } => match size {
            4 => Some(AttributeValue::Float(f64::from(f32::from_le_bytes(little_endian(bytes, 4, *byte_order)?)))),
            8 => Some(AttributeValue::Float(f64::from_le_bytes(little_endian(bytes, 8, *byte_order)?))),
            _ => None,
        },
        _ => None,
    }
}

/// The first `size` bytes, low byte first, zeros above.
fn little_endian<const N: usize>(bytes: &[u8], size: u8, order: ByteOrder) -> Option<[u8; N]> {
    let bytes = bytes.get(..usize::from(size))?;
    let mut out = [0; N];
    let out_part = out.get_mut(..bytes.len())?;
    out_part.copy_from_slice(bytes);
    if order == ByteOrder::BigEndian {
        out_part.reverse();
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use hdf5_reader::{ByteOrder, Datatype};
    use kw_model::AttributeValue;

    use super::number;

    #[test]
    fn numbers_of_every_width() {
        let integer = |size, signed, byte_order| Datatype::FixedPoint { size, signed, byte_order };
        let (little, big) = (ByteOrder::LittleEndian, ByteOrder::BigEndian);
        let cases: [(Datatype, &[u8], Option<AttributeValue>); 9] = [
            (integer(1, true, little), &[0xff], Some(AttributeValue::Int(-1))),
            (integer(1, false, little), &[0xff], Some(AttributeValue::Int(255))),
            (integer(2, true, big), &[0x80, 0x01], Some(AttributeValue::Int(-32_767))),
            (integer(4, false, little), &[1, 2, 3, 0x84], Some(AttributeValue::Int(0x8403_0201))),
            (integer(8, true, little), &[0xfe, 255, 255, 255, 255, 255, 255, 255], Some(AttributeValue::Int(-2))),
            (integer(8, false, little), &[0xff; 8], None),
            (integer(4, true, little), &[1, 2], None),
            (
                Datatype::FloatingPoint { size: 4, byte_order: big },
                &[0x3f, 0x80, 0, 0],
                Some(AttributeValue::Float(1.0)),
            ),
            (Datatype::FloatingPoint { size: 2, byte_order: little }, &[0, 0x3c], None),
        ];
        for (datatype, bytes, expected) in cases {
            assert_eq!(number(&datatype, bytes), expected, "{datatype:?}");
        }
    }
}
