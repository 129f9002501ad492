//! Orbax checkpoints: a tree of arrays, each in zarr chunks, the chunks in an OCDBT database or in plain files.
//!
//! Read only. Device shardings are ignored: chunks are put together wherever they came from.
//!
//! Formats: tensorstore's `kvstore/ocdbt/index.rst`, zarr's specifications of versions 2 and 3.

mod chunk;
mod compression;
mod cursor;
mod folder;
mod metadata;
mod ocdbt;
mod reader;
mod store;
mod zarr;

use kw_model::{Code, WeightsError};

pub use folder::{FilesystemFolder, Folder, latest_step};
pub use metadata::read_strings;
pub use reader::{OrbaxReader, open};

/// The format's name in reports and errors.
pub const FORMAT: &str = "orbax";

fn corrupt(message: impl Into<String>) -> WeightsError {
    WeightsError::new(Code::Corrupt, message).format(FORMAT)
}

fn unsupported(message: impl Into<String>) -> WeightsError {
    WeightsError::new(Code::Unsupported, message).format(FORMAT)
}
