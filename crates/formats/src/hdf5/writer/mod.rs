//! A planned HDF5 writer: every address is known before the first byte is written.
//!
//! [`H5Builder`] collects groups, attributes and the shapes of datasets; [`H5Builder::plan`]
//! lays the file out; [`H5Plan::emit`] writes it once from front to back, and the
//! [`H5Emitter`] then takes the values of the datasets in order, in pieces of any size.
//! Nothing seeks, so a file, a member of an archive and an upload are written alike.
//!
//! Datasets are stored in one piece each, unless they are compressed: a [`ChunkWriter`] does that
//! beforehand, into a spool, and the file is planned with the sizes that it found.
//!
//! The structures are the oldest that HDF5 has (superblock 0, symbol tables, version 1
//! object headers), as h5py writes them by default: every reader knows them, none of them
//! carries a checksum, and the size of each follows from counts and lengths of names.
//! All metadata comes first, then the values, each dataset aligned to [`DATA_ALIGNMENT`].
//! The same input gives the same bytes: no timestamps, nothing random.
//!
//! Section names in these modules are those of the HDF5 File Format Specification, version 3.

mod attribute;
mod builder;
mod chunk_grid;
mod chunk_writer;
mod datatype;
mod emit;
mod encode;
mod global_heap;
mod object_header;
mod plan;
mod symbol_table;

pub use builder::{DatasetOptions, H5Attribute, H5Builder};
pub use chunk_writer::{ChunkWriter, Chunks, Compression, SpooledChunks};
pub use emit::H5Emitter;
pub use plan::{DATA_ALIGNMENT, H5Plan, PlannedDataset};

/// Attribute under which a dataset keeps the CRC32C of its values. Keras does not look at it.
pub const DIGEST_ATTRIBUTE: &str = "kw_crc32c";

/// "Undefined address" of the specification.
const UNDEFINED: u64 = u64::MAX;
