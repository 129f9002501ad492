//! numpy's type strings: byte order, kind, bytes (`<f4`).

use kw_model::{Code, DType, Result, WeightsError};

/// A type string as it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descr {
    pub(super) dtype: DType,
    /// Whether numbers have their highest byte first.
    pub(super) big_endian: bool,
}

impl Descr {
    /// Bytes that turn round together in a big-endian file; 1 otherwise.
    pub(super) fn swap_width(self) -> usize {
        match self.dtype {
            _ if !self.big_endian => 1,
            DType::Complex64 => 4,
            DType::Complex128 => 8,
            DType::Opaque(_) => 1,
            dtype => dtype.size(),
        }
    }
}

/// The meaning of a type string.
///
/// # Errors
/// [`Code::Unsupported`] for objects, texts, dates and whatever else is no number.
pub(super) fn parse(descr: &str) -> Result<Descr> {
    let unsupported = |what: &str| {
        WeightsError::new(Code::Unsupported, format!("an array of numpy type {descr:?} is not read: {what}"))
            .format(super::FORMAT)
    };
    let (order, code) = match descr.split_at_checked(1) {
        Some((order @ ("<" | ">" | "=" | "|"), code)) => (order, code),
        _ => ("|", descr),
    };
    let dtype = match code {
        "b1" | "?" => DType::Bool,
        "i1" => DType::Int8,
        "i2" => DType::Int16,
        "i4" => DType::Int32,
        "i8" => DType::Int64,
        "u1" => DType::UInt8,
        "u2" => DType::UInt16,
        "u4" => DType::UInt32,
        "u8" => DType::UInt64,
        // numpy's own types begin at two bytes; the package ml_dtypes writes float8_e5m2 like this.
        "f1" => DType::Float8E5M2,
        "f2" => DType::Float16,
        "f4" => DType::Float32,
        "f8" => DType::Float64,
        "c8" => DType::Complex64,
        "c16" => DType::Complex128,
        "O" => return Err(unsupported("it holds pickled Python objects, which could run code")),
        _ => match code.strip_prefix('V').and_then(|size| size.parse::<u16>().ok()) {
            // Bytes that numpy has no name for, such as bfloat16.
            Some(size @ 1..) => DType::Opaque(u32::from(size)),
            _ => return Err(unsupported("only numbers are")),
        },
    };
    Ok(Descr { dtype, big_endian: order == ">" && dtype.size() > 1 })
}

/// The type string under which numpy stores a dtype.
///
/// # Errors
/// [`Code::DType`] for strings.
pub(super) fn format(dtype: DType) -> Result<String> {
    Ok(match dtype {
        DType::Bool => "|b1".to_owned(),
        DType::Int8 => "|i1".to_owned(),
        DType::UInt8 => "|u1".to_owned(),
        DType::Int16 => "<i2".to_owned(),
        DType::Int32 => "<i4".to_owned(),
        DType::Int64 => "<i8".to_owned(),
        DType::UInt16 => "<u2".to_owned(),
        DType::UInt32 => "<u4".to_owned(),
        DType::UInt64 => "<u8".to_owned(),
        DType::Float16 => "<f2".to_owned(),
        DType::Float32 => "<f4".to_owned(),
        DType::Float64 => "<f8".to_owned(),
        DType::Complex64 => "<c8".to_owned(),
        DType::Complex128 => "<c16".to_owned(),
        DType::BFloat16 => "|V2".to_owned(),
        DType::Float8E4M3 | DType::Float8E5M2 => "|V1".to_owned(),
        DType::Opaque(size) => format!("|V{size}"),
        other => {
            return Err(WeightsError::new(Code::DType, format!("a numpy file of ours cannot hold {other}"))
                .format(super::FORMAT));
        }
    })
}

#[cfg(test)]
mod tests {
    use kw_model::{Code, DType};

    use super::{Descr, format, parse};

    #[test]
    fn every_dtype_is_written_so_that_it_reads_back() {
        for dtype in DType::NUMERIC.into_iter().chain([DType::Opaque(7)]) {
            let wanted = match dtype {
                DType::BFloat16 => DType::Opaque(2),
                DType::Float8E4M3 | DType::Float8E5M2 => DType::Opaque(1),
                same => same,
            };
            let text = format(dtype).expect("known");
            assert_eq!(parse(&text).expect("ours"), Descr { dtype: wanted, big_endian: false });
        }
        assert_eq!(format(DType::String).map_err(|error| error.code()), Err(Code::DType));
    }

    #[test]
    fn byte_orders() {
        for (text, width) in
            [(">f4", 4), ("<f4", 1), ("=f4", 1), (">c16", 8), (">c8", 4), (">i1", 1), ("|b1", 1), (">V4", 1)]
        {
            assert_eq!(parse(text).expect("known").swap_width(), width, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["|O", "<U2", "|S2", "<M8[D]", "<m8", "<f16", "<f3", "V0", "V99999", "", "<", "é4", "|V-1"] {
            assert_eq!(parse(text).map_err(|error| error.code()), Err(Code::Unsupported), "{text}");
        }
    }
}
