//! safetensors: eight bytes of length, a JSON header, then all tensors without a gap.
//!
//! The official crate has the names and widths of dtypes and the rules for offsets. It wants the whole file in one slice and keeps
//! the last of two tensors of one name, so the header is read and walked here.

mod dtypes;
mod header;
mod index;
mod reader;
mod writer;

use kw_model::{Code, WeightsError};

pub use index::{OpenSibling, open_sharded};
pub use reader::{SafetensorsReader, open};
pub use writer::{PlannedTensor, SafetensorsBuilder, SafetensorsEmitter, SafetensorsPlan, ShardedPlan};

/// The format's name in reports and errors.
pub const FORMAT: &str = "safetensors";

/// The text of the header in which we keep the CRC-32C of every tensor: eight hexadecimal digits each, in the order of their
/// bytes. Other readers hand it on or ignore it.
pub const DIGEST_KEY: &str = "kw_crc32c";
/// Of one digest.
const DIGEST_DIGITS: usize = 8;

fn corrupt(message: impl Into<String>) -> WeightsError {
    WeightsError::new(Code::Corrupt, message).format(FORMAT)
}
