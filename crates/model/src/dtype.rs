//! Element types, under the names Keras and TensorFlow give them.

/// The element type of a tensor. All values are little-endian once read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DType {
    /// IEEE half precision.
    Float16,
    /// Upper half of a float32.
    BFloat16,
    /// IEEE single precision.
    Float32,
    /// IEEE double precision.
    Float64,
    /// 8-bit float, 4 exponent bits, finite only (`float8_e4m3fn`).
    Float8E4M3,
    /// 8-bit float, 5 exponent bits.
    Float8E5M2,
    /// Signed 8-bit integer.
    Int8,
    /// Signed 16-bit integer.
    Int16,
    /// Signed 32-bit integer.
    Int32,
    /// Signed 64-bit integer.
    Int64,
    /// Unsigned 8-bit integer.
    UInt8,
    /// Unsigned 16-bit integer.
    UInt16,
    /// Unsigned 32-bit integer.
    UInt32,
    /// Unsigned 64-bit integer.
    UInt64,
    /// One byte, 0 or 1.
    Bool,
    /// Two float32: real, imaginary.
    Complex64,
    /// Two float64: real, imaginary.
    Complex128,
    /// Bytes of any length per element; only some containers hold it and it is never mapped.
    String,
    /// Opaque bytes of the given size, when a file does not say more
    /// (legacy HDF5 stores bfloat16 as `Opaque(2)`).
    Opaque(u32),
}

impl DType {
    /// Every dtype a weight can have, in a fixed order.
    pub const NUMERIC: [DType; 17] = [
        DType::Float16,
        DType::BFloat16,
        DType::Float32,
        DType::Float64,
        DType::Float8E4M3,
        DType::Float8E5M2,
        DType::Int8,
        DType::Int16,
        DType::Int32,
        DType::Int64,
        DType::UInt8,
        DType::UInt16,
        DType::UInt32,
        DType::UInt64,
        DType::Bool,
        DType::Complex64,
        DType::Complex128,
    ];

    /// Bytes of one element; 0 for [`DType::String`], whose elements differ.
    pub const fn size(self) -> usize {
        match self {
            DType::Float8E4M3 | DType::Float8E5M2 | DType::Int8 | DType::UInt8 | DType::Bool => 1,
            DType::Float16 | DType::BFloat16 | DType::Int16 | DType::UInt16 => 2,
            DType::Float32 | DType::Int32 | DType::UInt32 => 4,
            DType::Float64 | DType::Int64 | DType::UInt64 | DType::Complex64 => 8,
            DType::Complex128 => 16,
            DType::String => 0,
            DType::Opaque(size) => size as usize,
        }
    }

    /// Bytes to which a typed array over this dtype must be aligned.
    pub const fn alignment(self) -> usize {
        match self {
            DType::Complex64 => 4,
            DType::Complex128 => 8,
            DType::String | DType::Opaque(_) => 1,
            _ => self.size(),
        }
    }

    /// The name in Keras (`keras.backend.standardize_dtype`), as users see it.
    pub fn name(self) -> String {
        match self {
            DType::Float16 => "float16",
            DType::BFloat16 => "bfloat16",
            DType::Float32 => "float32",
            DType::Float64 => "float64",
            DType::Float8E4M3 => "float8_e4m3fn",
            DType::Float8E5M2 => "float8_e5m2",
            DType::Int8 => "int8",
            DType::Int16 => "int16",
            DType::Int32 => "int32",
            DType::Int64 => "int64",
            DType::UInt8 => "uint8",
            DType::UInt16 => "uint16",
            DType::UInt32 => "uint32",
            DType::UInt64 => "uint64",
            DType::Bool => "bool",
            DType::Complex64 => "complex64",
            DType::Complex128 => "complex128",
            DType::String => "string",
            DType::Opaque(size) => return format!("opaque{size}"),
        }
        .to_owned()
    }

    /// The inverse of [`DType::name`].
    ///
    /// ```
    /// use kw_model::DType;
    /// assert_eq!(DType::from_name("bfloat16"), Some(DType::BFloat16));
    /// assert_eq!(DType::from_name("opaque2"), Some(DType::Opaque(2)));
    /// assert_eq!(DType::from_name("float31"), None);
    /// ```
    pub fn from_name(name: &str) -> Option<DType> {
        if let Some(size) = name.strip_prefix("opaque") {
            return size.parse().ok().map(DType::Opaque);
        }
        if name == "string" {
            return Some(DType::String);
        }
        Self::NUMERIC.into_iter().find(|dtype| dtype.name() == name)
    }

    /// True for the dtypes Keras calls floating (`float8` included).
    pub const fn is_float(self) -> bool {
        matches!(
            self,
            DType::Float16 | DType::BFloat16 | DType::Float32 | DType::Float64 | DType::Float8E4M3 | DType::Float8E5M2
        )
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::DType;

    #[test]
    fn every_name_reads_back() {
        for dtype in DType::NUMERIC {
            assert_eq!(DType::from_name(&dtype.name()), Some(dtype));
            assert!(dtype.size() > 0 && dtype.size().is_multiple_of(dtype.alignment()));
        }
    }
}
