//! The words that every part of keras-weights shares.
//!
//! Nothing here knows a file format, Keras or Node. A container reader
//! (crate `kw-formats`) turns bytes of a [`ByteSource`] into a [`Catalogue`];
//! crate `kw-keras` says what the names mean; crate `kw-node` hands arrays to JavaScript.
#![forbid(unsafe_code)]

mod byte_sink;
mod byte_source;
mod cancel;
mod catalogue;
mod commit;
mod digest;
mod dtype;
mod error;
#[cfg(feature = "testing")]
pub mod faults;
mod file_sink;
mod filesystem;
mod limits;
mod local_filesystem;
mod shape;
mod weights_reader;

pub use byte_sink::{ByteSink, CountingSink, MemorySink};
pub use byte_source::{ByteSource, CountingSource, FileSource, MemorySource, SliceSource};
pub use cancel::Cancel;
pub use catalogue::{AttributeValue, Catalogue, CatalogueBuilder, Group, Location, TensorEntry};
pub use commit::commit_file;
pub use digest::{Crc32, Crc32c, crc32, crc32c};
pub use dtype::DType;
pub use error::{Code, Context, Detail, Result, WeightsError};
pub use file_sink::FileSink;
pub use filesystem::{FileInfo, FileKind, Filesystem, ScratchFile, WritableFile, storage_error};
pub use limits::Limits;
pub use local_filesystem::LocalFilesystem;
pub use shape::Shape;
pub use weights_reader::WeightsReader;
