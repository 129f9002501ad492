//! TensorFlow V2 checkpoints ("tensor bundles"): `<prefix>.index` maps names to entries,
//! `<prefix>.data-00000-of-00001` and its siblings hold the bytes.
//!
//! This module knows tensors by key, the shape of the object graph and the `checkpoint` state file.
//! Which key belongs to which weight of a model is the matter of crate `kw-keras`.
//!
//! The format is TensorFlow's `core/util/tensor_bundle`; `docs/formats/tf-checkpoint.md` describes it.

mod block;
mod checksum;
mod data_files;
mod dtypes;
mod entry;
#[cfg(test)]
mod hostile_tests;
mod object_graph;
mod open;
mod reader;
mod slice_key;
mod slices;
mod state_file;
mod strings;
mod table;
mod wire;
mod writer;

use kw_model::{Code, WeightsError};

pub use data_files::{ShardSlots, data_file_name, index_file_name, is_data_file_of};
pub use object_graph::{
    GraphAttribute, GraphChild, GraphNode, OBJECT_GRAPH_KEY, RegisteredSaver, SlotVariable, TrackableObjectGraph,
};
pub use open::{OpenSource, open, open_path};
pub use reader::BundleReader;
pub use slices::Extent;
pub use state_file::CheckpointState;
pub use writer::{BundleBuilder, BundlePlan, PlannedTensor, ShardEmitter};

/// The format's name in reports and errors.
pub const FORMAT: &str = "tf_checkpoint";

/// Whether a file is a table, as the index of a checkpoint is, and a whole checkpoint of the first format.
///
/// # Errors
/// What reading causes.
pub fn is_table(source: &dyn kw_model::ByteSource) -> kw_model::Result<bool> {
    table::has_magic(source)
}

fn corrupt(message: impl Into<String>) -> WeightsError {
    WeightsError::new(Code::Corrupt, message).format(FORMAT)
}
