//! Every ceiling of the project, with unit and reason.

use crate::{Result, WeightsError};

/// What a stranger's file may make us do. No number read from a file sizes an
/// allocation before it was checked against these and against the length of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all tensors that one call decodes or copies.
    pub max_total_bytes: u64,
    /// Bytes of one tensor.
    pub max_tensor_bytes: u64,
    /// Tensors in one file; a large language model has some ten thousand.
    pub max_tensors: u64,
    /// Bytes of all attributes of one object; Keras' `model_config` of a big model has some MB.
    pub max_attribute_bytes: u64,
    /// Groups within groups; nested Keras models reach about 30.
    pub max_depth: u32,
    /// Bytes of metadata that must be held to open a file (headers, indexes, graphs).
    pub max_header_bytes: u64,
    /// Decoded bytes per stored byte of a compressed part; deflate itself cannot exceed 1,032.
    pub max_inflate_ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_total_bytes: 1 << 44,
            max_tensor_bytes: 1 << 42,
            max_tensors: 4_000_000,
            max_attribute_bytes: 256 << 20,
            max_depth: 128,
            max_header_bytes: 1 << 30,
            max_inflate_ratio: 1_100,
        }
    }
}

impl Limits {
    /// Fails when `wanted` is above `allowed`.
    ///
    /// # Errors
    /// [`crate::Code::Limit`] with wanted, allowed and unit.
    pub fn check(what: &str, wanted: u64, allowed: u64, unit: &str) -> Result<()> {
        if wanted > allowed { Err(WeightsError::limit(what, wanted, allowed, unit)) } else { Ok(()) }
    }
}
