//! From a path or bytes to a reader, with the bytes that are read being counted.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use kw_keras::{OpenedFile, open_counted, open_source};
use kw_model::{ByteSource, CountingSource, Limits, LocalFilesystem, MemorySource, Result};

use crate::pool::lock;

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
    /// Its files, each with the bytes that were read.
    counted: Vec<Arc<CountingSource>>,
}

impl Opened {
    /// Bytes read so far, of all files.
    pub fn bytes_read(&self) -> u64 {
        self.counted.iter().map(|source| source.bytes_read()).sum()
    }
}

/// Opens what is there, by content.
///
/// # Errors
/// As [`kw_keras::open`]; [`kw_model::Code::Changed`] when somebody wrote to a file meanwhile.
pub fn open(origin: Origin, limits: &Limits) -> Result<Opened> {
    let sources = Mutex::new(Vec::new());
    let count = |source: Arc<dyn ByteSource>| -> Arc<dyn ByteSource> {
        let counting = Arc::new(CountingSource::new(source));
        lock(&sources).push(Arc::clone(&counting));
        counting
    };
    let file = match origin {
        Origin::Path(path) => open_counted(&path, &LocalFilesystem, limits, &count),
        Origin::Bytes(bytes) => open_source(count(Arc::new(MemorySource::new(bytes, "the given bytes"))), limits),
    };
    let counted = std::mem::take(&mut *lock(&sources));
    // A file that somebody is writing to may look like anything: that it is being written to says more.
    counted.iter().try_for_each(|source| source.check_unchanged())?;
    Ok(Opened { file: file?, counted })
}
