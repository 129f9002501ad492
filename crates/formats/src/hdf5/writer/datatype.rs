//! Datatype and dataspace messages (IV.A.2.b and d), byte for byte as h5py writes them.

use kw_model::{Code, DType, Result, Shape, WeightsError};

use super::encode::Encode;

/// The types that weights files need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Datatype {
    Integer {
        size: u8,
        signed: bool,
    },
    Float(FloatLayout),
    /// An enumeration over one signed byte, FALSE and TRUE: what h5py makes of numpy's bool.
    Bool,
    /// Bytes that HDF5 does not interpret: what h5py makes of bfloat16 and float8, which HDF5 lacks.
    Opaque {
        size: u32,
    },
    /// Strings of one length, shorter ones filled up with zeros.
    FixedText {
        size: u32,
        utf8: bool,
    },
    /// Strings of any length; the bytes stand in the global heap.
    VariableText {
        utf8: bool,
    },
}

/// The IEEE formats that HDF5 readers know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FloatLayout {
    Half,
    Single,
    Double,
}

/// Version 1 in the upper half of the first byte; the class stands in the lower half.
const VERSION_1: u8 = 0x10;

/// Bytes of one variable-length string in place: length, collection, index.
pub(super) const HEAP_REFERENCE_BYTES: u32 = 16;

impl Datatype {
    /// How a tensor of this dtype is stored.
    pub(super) fn of(dtype: DType) -> Result<Self> {
        let integer = |signed| Datatype::Integer { size: u8::try_from(dtype.size()).unwrap_or(u8::MAX), signed };
        Ok(match dtype {
            DType::Int8 | DType::Int16 | DType::Int32 | DType::Int64 => integer(true),
            DType::UInt8 | DType::UInt16 | DType::UInt32 | DType::UInt64 => integer(false),
            DType::Float16 => Datatype::Float(FloatLayout::Half),
            DType::Float32 => Datatype::Float(FloatLayout::Single),
            DType::Float64 => Datatype::Float(FloatLayout::Double),
            DType::Bool => Datatype::Bool,
            DType::BFloat16 => Datatype::Opaque { size: 2 },
            DType::Float8E4M3 | DType::Float8E5M2 => Datatype::Opaque { size: 1 },
            DType::Opaque(size) if size > 0 => Datatype::Opaque { size },
            _ => {
                return Err(WeightsError::new(
                    Code::Unsupported,
                    format!("{dtype} tensors are not written to HDF5 files: convert them first"),
                ));
            }
        })
    }

    /// The message body, without padding at its end.
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(40);
        match self {
            Datatype::Integer { size, signed } => encode_integer(&mut out, size, signed),
            Datatype::Float(layout) => encode_float(&mut out, layout),
            Datatype::Bool => {
                let members = [("FALSE", 0_u8), ("TRUE", 1)];
                out.extend([VERSION_1 | 8, 2, 0, 0]);
                out.u32(1);
                encode_integer(&mut out, 1, true);
                for (name, _) in members {
                    let start = out.len();
                    out.extend_from_slice(name.as_bytes());
                    out.u8(0);
                    out.pad8_from(start);
                }
                out.extend(members.map(|(_, value)| value));
            }
            Datatype::Opaque { size } => {
                // The second byte is the length of a tag; there is none.
                out.extend([VERSION_1 | 5, 0, 0, 0]);
                out.u32(size);
            }
            Datatype::FixedText { size, utf8 } => {
                // Lower half of the second byte: padded with zeros; upper half: character set.
                out.extend([VERSION_1 | 3, 1 | (u8::from(utf8) << 4), 0, 0]);
                out.u32(size);
            }
            Datatype::VariableText { utf8 } => {
                // A string rather than a sequence, ended by a zero in memory; character set.
                out.extend([VERSION_1 | 9, 1, u8::from(utf8), 0]);
                out.u32(HEAP_REFERENCE_BYTES);
                encode_integer(&mut out, 1, false);
            }
        }
        out
    }
}

fn encode_integer(out: &mut Vec<u8>, size: u8, signed: bool) {
    out.extend([VERSION_1, if signed { 8 } else { 0 }, 0, 0]);
    out.u32(size.into());
    out.u16(0); // offset of the first bit
    out.u16(u16::from(size) * 8);
}

fn encode_float(out: &mut Vec<u8>, layout: FloatLayout) {
    let (size, exponent_bits, mantissa_bits, bias) = match layout {
        FloatLayout::Half => (2_u8, 5, 10, 15),
        FloatLayout::Single => (4, 8, 23, 127),
        FloatLayout::Double => (8, 11, 52, 1023),
    };
    // Little-endian, mantissa with an implied first bit; position of the sign.
    out.extend([VERSION_1 | 1, 0x20, size * 8 - 1, 0]);
    out.u32(size.into());
    out.u16(0); // offset of the first bit
    out.u16(u16::from(size) * 8);
    out.extend([mantissa_bits, exponent_bits, 0, mantissa_bits]);
    out.u32(bias);
}

/// Axes that HDF5 readers accept (`H5S_MAX_RANK`).
const MAX_RANK: usize = 32;

/// A dataspace message body: no maximum dimensions, so readers report the shape itself.
pub(super) fn encode_dataspace(shape: &Shape) -> Result<Vec<u8>> {
    let rank = u8::try_from(shape.rank()).ok().filter(|&rank| usize::from(rank) <= MAX_RANK).ok_or_else(|| {
        WeightsError::new(
            Code::Unsupported,
            format!("the shape {shape} has {} axes; HDF5 allows {MAX_RANK}", shape.rank()),
        )
        .expected(MAX_RANK as u64)
        .found(shape.rank() as u64)
    })?;
    let mut out = vec![1, rank, 0, 0, 0, 0, 0, 0];
    for &axis in shape.axes() {
        out.u64(axis);
    }
    Ok(out)
}
