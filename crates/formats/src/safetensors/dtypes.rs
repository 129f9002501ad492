//! Names of dtypes in headers.

use kw_model::{Code, DType, Result, WeightsError};
use safetensors::Dtype;

const SAME: [(Dtype, DType); 16] = [
    (Dtype::BOOL, DType::Bool),
    (Dtype::U8, DType::UInt8),
    (Dtype::I8, DType::Int8),
    (Dtype::F8_E5M2, DType::Float8E5M2),
    (Dtype::F8_E4M3, DType::Float8E4M3),
    (Dtype::I16, DType::Int16),
    (Dtype::U16, DType::UInt16),
    (Dtype::F16, DType::Float16),
    (Dtype::BF16, DType::BFloat16),
    (Dtype::I32, DType::Int32),
    (Dtype::U32, DType::UInt32),
    (Dtype::F32, DType::Float32),
    (Dtype::C64, DType::Complex64),
    (Dtype::F64, DType::Float64),
    (Dtype::I64, DType::Int64),
    (Dtype::U64, DType::UInt64),
];

/// The dtype as it is read, and the format's name for it where that says more.
///
/// # Errors
/// [`Code::Unsupported`] for elements that are no whole bytes.
pub(super) fn from_stored(stored: Dtype) -> Result<(DType, Option<String>)> {
    if let Some((_, dtype)) = SAME.iter().find(|(known, _)| *known == stored) {
        return Ok((*dtype, None));
    }
    match stored.bitsize() {
        bits if bits % 8 == 0 => {
            let width = u32::try_from(bits / 8).unwrap_or(u32::MAX);
            Ok((DType::Opaque(width), Some(stored.to_string())))
        }
        bits => Err(WeightsError::new(
            Code::Unsupported,
            format!("the dtype {stored} has {bits} bits an element; only whole bytes are read"),
        )
        .format(super::FORMAT)),
    }
}

/// The format's dtype for one of ours.
///
/// # Errors
/// [`Code::DType`] for dtypes the format has no name for.
pub(super) fn to_stored(dtype: DType) -> Result<Dtype> {
    SAME.iter().find(|(_, known)| *known == dtype).map(|(stored, _)| *stored).ok_or_else(|| {
        WeightsError::new(Code::DType, format!("a safetensors file cannot hold {dtype}")).format(super::FORMAT)
    })
}

#[cfg(test)]
mod tests {
    use kw_model::{Code, DType};
    use safetensors::Dtype;

    use super::{from_stored, to_stored};

    #[test]
    fn every_dtype_but_complex128_has_a_name_of_its_own_width() {
        for dtype in DType::NUMERIC {
            match to_stored(dtype) {
                Ok(stored) => {
                    assert_eq!(from_stored(stored).expect("known"), (dtype, None));
                    assert_eq!(stored.bitsize(), dtype.size() * 8);
                }
                Err(error) => assert_eq!((dtype, error.code()), (DType::Complex128, Code::DType)),
            }
        }
        assert_eq!(from_stored(Dtype::F8_E8M0).expect("bytes"), (DType::Opaque(1), Some("F8_E8M0".to_owned())));
        assert_eq!(from_stored(Dtype::F4).map_err(|error| error.code()), Err(Code::Unsupported));
    }
}
