//! What Keras means by the names in a weights file.
//!
//! A model arrives as a [`ModelTree`]; a file as an [`OpenedFile`]. [`plan_load`] matches the two and says what every
//! variable will get before anything changes; [`plan_save`] lays a file out and [`execute_save`] writes it. The rules
//! are those of Keras 2 (`tf_keras`) and Keras 3; where we differ on purpose, `docs/compatibility.md` has a row.
#![forbid(unsafe_code)]

mod archive;
mod by_path_save;
pub mod cast;
mod checkpoint_path;
mod composite;
mod compressed;
mod content;
mod conversion;
mod conversion_layout;
mod conversion_values;
mod convert;
mod detect;
mod format;
mod layout;
mod load;
mod matching;
mod naming;
mod open;
mod orbax;
mod orders;
mod pump;
mod recipe;
mod report;
mod save;
mod saves;
mod several;
mod shard_commit;
mod sharded;
mod sharded_save;
mod tf_commit;
mod tf_state;
mod tree;
mod tree_check;

pub use archive::KerasArchive;
pub use content::Asset;
pub use conversion::{ConvertReport, convert, convert_model};
pub use detect::{Content, detect};
pub use format::{Format, to_save};
pub use layout::tf_save::TfLayout;
pub use load::{Assignment, LoadOptions, LoadPlan, Value, plan_load};
pub use naming::snake_case;
pub use open::{
    Between, OpenedFile, WholeModel, check_texts, open, open_bytes, open_counted, open_source, whole_model,
};
pub use orders::{Orders, WeightOrders, weight_orders};
pub use recipe::{Expression, Order, Recipe};
pub use report::{Cast, LoadReport, SaveReport, Skipped, Warning, WarningCode};
pub use save::{
    CompressionOptions, KERAS2_VERSION, KERAS3_VERSION, SaveOptions, SavePlan, ValueStream, execute_save, plan_save,
    plan_save_with,
};
pub use tf_state::latest_checkpoint;
pub use tree::{Attribute, Converter, Flavor, ModelTree, Node, NodeKind, TREE_VERSION, Trackable, Tracked, Variable};
