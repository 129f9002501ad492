//! Layers models of TensorFlow.js: a `model.json` whose `weightsManifest` names every weight, and binary files beside it that
//! hold the values one after the other.
//!
//! A group of the manifest is the bytes of its files put together; a weight may begin in one file and end in the next. What
//! weights mean to a model is the matter of crate `kw-keras`.

mod manifest;
mod reader;
mod values;
mod writer;

use kw_model::{Code, WeightsError};

pub use manifest::Manifest;
pub use reader::{OpenSibling, TfjsReader, open};
pub use writer::{PlannedTensor, TfjsBuilder, TfjsPlan, holds};

/// The format's name in reports and errors.
pub const FORMAT: &str = "tfjs_layers";

fn corrupt(message: impl Into<String>) -> WeightsError {
    WeightsError::new(Code::Corrupt, message).format(FORMAT)
}
