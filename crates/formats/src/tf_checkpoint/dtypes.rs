//! TensorFlow's `DataType` numbers.

use kw_model::{Code, DType, Result, WeightsError};

/// What an entry of some type holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// Elements of a fixed width.
    Fixed {
        /// The dtype it is read as.
        dtype: DType,
        /// TensorFlow's name where `dtype` does not say everything.
        alias: Option<&'static str>,
    },
    /// Strings of any length.
    Strings,
    /// Serialized `VariantTensorDataProto`s, handed out as raw bytes.
    Variant,
}

impl Stored {
    /// Bytes that turn round together in a file of the other byte order.
    pub(super) fn swap_width(self) -> usize {
        match self {
            Stored::Fixed { dtype: DType::Complex64, .. } => 4,
            Stored::Fixed { dtype: DType::Complex128, .. } => 8,
            Stored::Fixed { dtype, .. } => dtype.size(),
            Stored::Strings | Stored::Variant => 1,
        }
    }
}

/// The meaning of a `DataType` number.
///
/// # Errors
/// [`Code::Unsupported`] for numbers that no checkpoint holds or that are newer than this table.
pub(super) fn from_code(code: u64) -> Result<Stored> {
    let plain = |dtype| Stored::Fixed { dtype, alias: None };
    let alias = |dtype, name| Stored::Fixed { dtype, alias: Some(name) };
    Ok(match code {
        1 => plain(DType::Float32),
        2 => plain(DType::Float64),
        3 => plain(DType::Int32),
        4 => plain(DType::UInt8),
        5 => plain(DType::Int16),
        6 => plain(DType::Int8),
        7 => Stored::Strings,
        8 => plain(DType::Complex64),
        9 => plain(DType::Int64),
        10 => plain(DType::Bool),
        // Quantized integers are integers; the scale is not in the checkpoint.
        11 => alias(DType::Int8, "qint8"),
        12 => alias(DType::UInt8, "quint8"),
        13 => alias(DType::Int32, "qint32"),
        14 => plain(DType::BFloat16),
        15 => alias(DType::Int16, "qint16"),
        16 => alias(DType::UInt16, "quint16"),
        17 => plain(DType::UInt16),
        18 => plain(DType::Complex128),
        19 => plain(DType::Float16),
        21 => Stored::Variant,
        22 => plain(DType::UInt32),
        23 => plain(DType::UInt64),
        24 => plain(DType::Float8E5M2),
        25 => plain(DType::Float8E4M3),
        26 => alias(DType::Opaque(1), "float8_e4m3fnuz"),
        27 => alias(DType::Opaque(1), "float8_e4m3b11fnuz"),
        28 => alias(DType::Opaque(1), "float8_e5m2fnuz"),
        // Small types take a whole byte an element.
        29 => alias(DType::Opaque(1), "int4"),
        30 => alias(DType::Opaque(1), "uint4"),
        31 => alias(DType::Opaque(1), "int2"),
        32 => alias(DType::Opaque(1), "uint2"),
        33 => alias(DType::Opaque(1), "float4_e2m1fn"),
        other => {
            return Err(WeightsError::new(
                Code::Unsupported,
                format!("TensorFlow's DataType {other} is not one that checkpoints hold"),
            )
            .format(super::FORMAT));
        }
    })
}

/// The number of a dtype that can be written.
///
/// # Errors
/// [`Code::DType`] for opaque bytes, which TensorFlow has no name for.
pub(super) fn to_code(dtype: DType) -> Result<u32> {
    // Strings are 7; small and quantized types are never ours to write.
    (1..=25)
        .filter(|code| !matches!(code, 11..=13 | 15 | 16))
        .find(|code| match from_code(u64::from(*code)) {
            Ok(Stored::Fixed { dtype: found, .. }) => found == dtype,
            Ok(Stored::Strings) => dtype == DType::String,
            _ => false,
        })
        .ok_or_else(|| {
            WeightsError::new(Code::DType, format!("a TensorFlow checkpoint cannot hold {dtype}")).format(super::FORMAT)
        })
}

#[cfg(test)]
mod tests {
    use kw_model::{Code, DType};

    use super::{Stored, from_code, to_code};

    #[test]
    fn every_numeric_dtype_has_its_number() {
        for dtype in DType::NUMERIC {
            let code = to_code(dtype).expect("known");
            assert_eq!(from_code(code.into()).expect("known"), Stored::Fixed { dtype, alias: None });
        }
        assert_eq!(to_code(DType::String).expect("known"), 7);
        assert_eq!(to_code(DType::Opaque(2)).map_err(|error| error.code()), Err(Code::DType));
    }

    #[test]
    fn references_resources_and_unknown_numbers_are_refused() {
        for code in [0, 20, 34, 101, u64::MAX] {
            assert_eq!(from_code(code).map_err(|error| error.code()), Err(Code::Unsupported), "{code}");
        }
    }
}
