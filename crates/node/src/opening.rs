//! From a path or bytes to a reader, with the bytes that are read being counted.

use std::path::PathBuf;
use std::sync::Arc;

use kw_keras::{OpenedFile, open_source};
use kw_model::{ByteSource, CountingSource, Filesystem, Limits, LocalFilesystem, MemorySource, Result};

/// Where weights come from.
pub enum Origin {
    /// A file.
    Path(PathBuf),
    /// Bytes that JavaScript had in memory: a copy of them.
    Bytes(Vec<u8>),
}

/// An opened file.
pub struct Opened {
    /// Its reader, and what Keras' layout it has.
    pub file: OpenedFile,
    /// The bytes that were read.
    pub counted: Arc<CountingSource>,
}

/// Opens what is there, by content.
///
/// # Errors
/// As [`kw_keras::open`].
pub fn open(origin: Origin, limits: &Limits) -> Result<Opened> {
    let source: Arc<dyn ByteSource> = match origin {
        Origin::Path(path) => LocalFilesystem.open(&path)?,
        Origin::Bytes(bytes) => Arc::new(MemorySource::new(bytes, "the given bytes")),
    };
    let counted = Arc::new(CountingSource::new(source));
    let file = open_source(counted.clone(), limits)?;
    Ok(Opened { file, counted })
}
