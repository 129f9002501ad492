//! HDF5 datatypes as our dtypes, where the bytes mean exactly that dtype.
//!
//! Rules: HDF5 File Format Specification, IV.A.2.d "The Datatype Message". The decoder's datatype gives the
//! structure; the raw message gives the bit layout, which it forgets and which tells bfloat16 from float16.

use hdf5_reader::{ByteOrder, CompoundField, Datatype, EnumMember, StringPadding, StringSize, VarLenKind};
use kw_model::DType;

/// What one element of a dataset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ElementType {
    /// A number, or opaque bytes.
    Number {
        /// The dtype.
        dtype: DType,
        /// Bytes of each run that must be reversed to become little-endian; 1 for none.
        swap: usize,
    },
    /// A string in place.
    FixedString {
        /// Bytes of every element.
        size: usize,
        /// What follows a shorter string.
        padding: StringPadding,
    },
    /// A string in a heap of the file.
    HeapString {
        /// What ends or follows the string.
        padding: StringPadding,
    },
}

/// The element type, or why it is none that a weight can have.
pub(super) fn element_type(datatype: &Datatype, raw: &[u8]) -> Result<ElementType, String> {
    match datatype {
        Datatype::FixedPoint { size, signed, byte_order } => {
            let plain = IntegerLayout::of(raw).is_some_and(|layout| layout.is_plain());
            match integer(*size, *signed) {
                Some(dtype) if plain => Ok(number(dtype, *byte_order)),
                _ => Err(format!("integers of {size} bytes in an unusual bit layout")),
            }
        }
        Datatype::FloatingPoint { size, byte_order } => match FloatLayout::of(raw).and_then(FloatLayout::dtype) {
            Some(dtype) if dtype.size() == usize::from(*size) => Ok(number(dtype, *byte_order)),
            _ => Err(format!("floating-point numbers of {size} bytes in an unusual bit layout")),
        },
        Datatype::Enum { base, members } => {
            // Eight bytes of class, flags and size stand before the base type.
            match element_type(base, raw.get(8..).unwrap_or_default())? {
                ElementType::Number { dtype: DType::Int8 | DType::UInt8, .. } if is_bool(members) => {
                    Ok(number(DType::Bool, ByteOrder::LittleEndian))
                }
                other => Ok(other),
            }
        }
        // The decoder shows the time class as opaque bytes.
        Datatype::Opaque { size, .. } if class(raw) == Some(5) => {
            Ok(number(DType::Opaque(*size), ByteOrder::LittleEndian))
        }
        Datatype::Opaque { .. } => Err("times".to_owned()),
        Datatype::String { size: StringSize::Fixed(size), padding, .. } => match usize::try_from(*size) {
            Ok(size) => Ok(ElementType::FixedString { size, padding: *padding }),
            Err(_) => Err(format!("strings of {size} bytes")),
        },
        Datatype::String { size: StringSize::Variable, padding, .. } => {
            Ok(ElementType::HeapString { padding: *padding })
        }
        Datatype::VarLen { base, kind: VarLenKind::String, padding, .. } if base.is_vlen_string_base() => {
            Ok(ElementType::HeapString { padding: *padding })
        }
        Datatype::Compound { size, fields } => complex(*size, fields, raw).ok_or_else(|| describe(datatype)),
        other => Err(describe(other)),
    }
}

/// The kind of a datatype in words.
pub(super) fn describe(datatype: &Datatype) -> String {
    match datatype {
        Datatype::FixedPoint { size, signed, .. } => {
            format!("{}integers of {size} bytes", if *signed { "" } else { "unsigned " })
        }
        Datatype::FloatingPoint { size, .. } => format!("floating-point numbers of {size} bytes"),
        Datatype::String { .. } => "strings".to_owned(),
        Datatype::Compound { fields, .. } => format!("compounds of {} fields", fields.len()),
        Datatype::Array { dims, .. } => format!("arrays of {} axes in every element", dims.len()),
        Datatype::Enum { members, .. } => format!("an enumeration of {} names", members.len()),
        Datatype::VarLen { .. } => "sequences of varying length".to_owned(),
        Datatype::Opaque { size, .. } => format!("opaque elements of {size} bytes"),
        Datatype::Reference { .. } => "references to objects".to_owned(),
        Datatype::Bitfield { size, .. } => format!("bit fields of {size} bytes"),
    }
}

/// The integer dtype of a size and sign.
pub(super) fn integer(size: u8, signed: bool) -> Option<DType> {
    Some(match (size, signed) {
        (1, true) => DType::Int8,
        (1, false) => DType::UInt8,
        (2, true) => DType::Int16,
        (2, false) => DType::UInt16,
        (4, true) => DType::Int32,
        (4, false) => DType::UInt32,
        (8, true) => DType::Int64,
        (8, false) => DType::UInt64,
        _ => return None,
    })
}

fn number(dtype: DType, order: ByteOrder) -> ElementType {
    let unit = match dtype {
        DType::Complex64 | DType::Complex128 => dtype.size() / 2,
        _ => dtype.size(),
    };
    ElementType::Number { dtype, swap: if order == ByteOrder::BigEndian { unit } else { 1 } }
}

/// As h5py writes booleans: an enumeration of a one-byte integer.
fn is_bool(members: &[EnumMember]) -> bool {
    let value = |name: &str| members.iter().find(|member| member.name == name).map(|member| member.value.as_slice());
    members.len() == 2 && value("FALSE") == Some(&[0]) && value("TRUE") == Some(&[1])
}

/// As h5py writes complex numbers: a compound of the floats `r` and `i`.
fn complex(size: u32, fields: &[CompoundField], raw: &[u8]) -> Option<ElementType> {
    let [real, imaginary] = fields else { return None };
    let Datatype::FloatingPoint { size: part, byte_order } = &real.datatype else { return None };
    let half = u32::from(*part);
    let placed = real.byte_offset == 0 && imaginary.byte_offset == half && size == half.checked_mul(2)?;
    if real.name != "r" || imaginary.name != "i" || real.datatype != imaginary.datatype || !placed {
        return None;
    }
    let (dtype, standard) = match part {
        4 => (DType::Complex64, FloatLayout::FLOAT32),
        8 => (DType::Complex128, FloatLayout::FLOAT64),
        _ => return None,
    };
    // The two parts are described somewhere inside the message, each by twenty bytes.
    let described = raw.windows(20).filter(|window| FloatLayout::of(window) == Some(standard)).count();
    (described == 2).then(|| number(dtype, *byte_order))
}

fn class(raw: &[u8]) -> Option<u8> {
    raw.first().map(|byte| byte & 0x0f)
}

fn u16_at(raw: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(raw.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(raw: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(raw.get(at..at + 4)?.try_into().ok()?))
}

struct IntegerLayout {
    size: u32,
    bit_offset: u16,
    precision: u16,
}

impl IntegerLayout {
    fn of(raw: &[u8]) -> Option<Self> {
        if class(raw)? != 0 {
            return None;
        }
        Some(IntegerLayout { size: u32_at(raw, 4)?, bit_offset: u16_at(raw, 8)?, precision: u16_at(raw, 10)? })
    }

    /// Every bit of every byte counts.
    fn is_plain(&self) -> bool {
        self.bit_offset == 0 && self.size.checked_mul(8) == Some(u32::from(self.precision))
    }
}

/// Where sign, exponent and mantissa are; the byte order is no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FloatLayout {
    precision: u16,
    exponent_at: u8,
    exponent_bits: u8,
    mantissa_bits: u8,
    bias: u32,
}

impl FloatLayout {
    const FLOAT32: FloatLayout = FloatLayout::standard(8, 23, 127);
    const FLOAT64: FloatLayout = FloatLayout::standard(11, 52, 1023);

    /// Sign, exponent, mantissa from the highest bit down, as in IEEE 754.
    const fn standard(exponent_bits: u8, mantissa_bits: u8, bias: u32) -> FloatLayout {
        let precision = 1 + exponent_bits as u16 + mantissa_bits as u16;
        FloatLayout { precision, exponent_at: mantissa_bits, exponent_bits, mantissa_bits, bias }
    }

    fn of(raw: &[u8]) -> Option<Self> {
        let flags = u32_at(raw, 0)? >> 8;
        let layout = FloatLayout {
            precision: u16_at(raw, 10)?,
            exponent_at: *raw.get(12)?,
            exponent_bits: *raw.get(13)?,
            mantissa_bits: *raw.get(15)?,
            bias: u32_at(raw, 16)?,
        };
        let vax_order = flags & 0x40 != 0;
        let implied_leading_bit = flags >> 4 & 0x03 == 2;
        let sign_at = (flags >> 8) & 0xff;
        let plain = class(raw)? == 1
            && !vax_order
            && implied_leading_bit
            && u16_at(raw, 8)? == 0
            && *raw.get(14)? == 0
            && u32_at(raw, 4)?.checked_mul(8) == Some(u32::from(layout.precision))
            && sign_at + 1 == u32::from(layout.precision);
        plain.then_some(layout)
    }

    /// The dtype of exactly this layout. `float8_e4m3fn` is missing: the layout cannot say
    /// whether its highest exponent holds infinities.
    fn dtype(self) -> Option<DType> {
        let known = [
            (FloatLayout::standard(5, 10, 15), DType::Float16),
            (FloatLayout::standard(8, 7, 127), DType::BFloat16),
            (FloatLayout::FLOAT32, DType::Float32),
            (FloatLayout::FLOAT64, DType::Float64),
            (FloatLayout::standard(5, 2, 15), DType::Float8E5M2),
        ];
        known.into_iter().find(|(layout, _)| *layout == self).map(|(_, dtype)| dtype)
    }
}

#[cfg(test)]
mod tests {
    use hdf5_reader::io::Cursor;
    use hdf5_reader::messages::datatype::parse_datatype_description;
    use kw_model::DType;

    use super::{ElementType, element_type};

    /// Class word with flags, size, then the properties.
    fn message(class: u32, flags: u32, size: u32, properties: &[u8]) -> Vec<u8> {
        let mut raw = (class | 1 << 4 | flags << 8).to_le_bytes().to_vec();
        raw.extend_from_slice(&size.to_le_bytes());
        raw.extend_from_slice(properties);
        raw
    }

    fn float(flags: u32, size: u32, exponent: (u8, u8), mantissa: u8, bias: u32) -> Vec<u8> {
        let precision = u8::try_from(size * 8).expect("at most 64 bits");
        let mut properties = vec![0, 0, precision, 0, exponent.0, exponent.1, 0, mantissa];
        properties.extend_from_slice(&bias.to_le_bytes());
        message(1, flags | (size * 8 - 1) << 8, size, &properties)
    }

    fn integer(flags: u32, size: u32, offset: u8, precision: u8) -> Vec<u8> {
        message(0, flags, size, &[offset, 0, precision, 0])
    }

    fn read(raw: &[u8]) -> Result<ElementType, String> {
        let (datatype, _) = parse_datatype_description(&mut Cursor::new(raw)).expect("a datatype");
        element_type(&datatype, raw)
    }

    #[test]
    fn bit_layouts_decide_the_dtype() {
        let number = |dtype, swap| Ok(ElementType::Number { dtype, swap });
        assert_eq!(read(&float(0x20, 2, (10, 5), 10, 15)), number(DType::Float16, 1));
        assert_eq!(read(&float(0x20, 2, (7, 8), 7, 127)), number(DType::BFloat16, 1));
        assert_eq!(read(&float(0x20, 4, (23, 8), 23, 127)), number(DType::Float32, 1));
        assert_eq!(read(&float(0x21, 8, (52, 11), 52, 1023)), number(DType::Float64, 8));
        assert_eq!(read(&float(0x20, 1, (2, 5), 2, 15)), number(DType::Float8E5M2, 1));
        assert_eq!(read(&integer(0x08, 1, 0, 8)), number(DType::Int8, 1));
        assert_eq!(read(&integer(0x01, 2, 0, 16)), number(DType::UInt16, 2));
        assert_eq!(read(&message(5, 0, 2, &[])), number(DType::Opaque(2), 1));
    }

    #[test]
    fn unusual_bit_layouts_are_refused() {
        let refused = [
            float(0x20, 2, (10, 5), 10, 14),
            float(0x00, 4, (23, 8), 23, 127),
            float(0x61, 4, (23, 8), 23, 127),
            float(0x20, 4, (20, 8), 20, 127),
            float(0x20, 1, (3, 4), 3, 7),
            integer(0x08, 2, 0, 12),
            integer(0x08, 2, 4, 12),
            integer(0x08, 3, 0, 24),
            message(2, 0, 4, &[32, 0]),
            message(4, 0, 1, &[0, 0, 8, 0]),
            message(7, 0, 8, &[]),
        ];
        for raw in refused {
            read(&raw).expect_err("unusual");
        }
    }
}
