//! numpy's files: `.npy` holds one array, `.npz` is a zip archive of them.
//!
//! Headers are Python literals and are parsed as such, never evaluated; pickled objects are refused. Values come out
//! little-endian in C order whatever the file has.
//!
//! Format: numpy's `lib/format.py`.

mod decode;
mod descr;
mod header;
mod literal;
mod npz;
mod reader;
mod writer;

use kw_model::{Code, WeightsError};

pub use npz::{NpzReader, open_npz};
pub use reader::{ARRAY_PATH, NpyReader, open_npy};
pub use writer::{NpzBuilder, NpzEmitter, NpzPlan, PlannedArray, npy_header};

/// The format's name in reports and errors.
pub const FORMAT: &str = "npz";

fn corrupt(message: impl Into<String>) -> WeightsError {
    WeightsError::new(Code::Corrupt, message).format(FORMAT)
}
