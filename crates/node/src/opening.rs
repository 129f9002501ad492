//! From a path or bytes to a reader, with the bytes that are read being counted.

use std::path::PathBuf;
use std::sync::Arc;

use kw_model::{ByteSource, CountingSource, Filesystem, Limits, LocalFilesystem, MemorySource, Result, WeightsReader};

/// Where weights come from.
pub enum Origin {
    /// A file.
    Path(PathBuf),
    /// Bytes that JavaScript had in memory: a copy of them.
    Bytes(Vec<u8>),
}

/// An opened container.
pub struct Opened {
    /// Its reader.
    pub reader: Arc<dyn WeightsReader>,
    /// Its format, as in reports.
    pub format: String,
    /// What messages call it.
    pub name: String,
    /// What should be known of it, such as a suffix that disagrees.
    pub note: Option<String>,
    /// The sources underneath.
    pub counted: Vec<Arc<CountingSource>>,
}

/// Opens what is there, by content.
///
/// # Errors
/// Whatever opening causes.
pub fn open(origin: Origin, limits: &Limits) -> Result<Opened> {
    let source: Arc<dyn ByteSource> = match origin {
        Origin::Path(path) => LocalFilesystem.open(&path)?,
        Origin::Bytes(bytes) => Arc::new(MemorySource::new(bytes, "the given bytes")),
    };
    let name = source.name();
    let counted = Arc::new(CountingSource::new(source));
    let reader = kw_formats::hdf5::open(counted.clone(), limits)?;
    Ok(Opened {
        format: reader.format().to_owned(),
        reader: Arc::new(reader),
        name,
        note: None,
        counted: vec![counted],
    })
}
