//! How Keras lays weights out in a container: one module a layout, reading apart from writing.

pub(crate) mod by_path;
pub(crate) mod legacy_load;
pub(crate) mod legacy_names;
pub(crate) mod legacy_save;
pub(crate) mod object_load;
pub(crate) mod object_paths;
pub(crate) mod object_save;
pub(crate) mod orbax_load;
pub(crate) mod tf_load;
pub(crate) mod tf_object_graph;
pub(crate) mod tf_optimizer;
pub(crate) mod tf_save;
pub(crate) mod tfjs_names;
