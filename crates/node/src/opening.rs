//! From a path or bytes to a reader, with the bytes that are read being counted.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use kw_keras::{Between, OpenedFile, open_counted, open_source};
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
    /// The bytes that were read of its files.
    read: Arc<AtomicU64>,
}

impl Opened {
    /// Bytes read so far, of all files.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

/// Opens what is there, by content.
///
/// # Errors
/// As [`kw_keras::open`]; [`kw_model::Code::Changed`] when somebody wrote to a file meanwhile.
pub fn open(origin: Origin, limits: &Limits) -> Result<Opened> {
    let read = Arc::new(AtomicU64::new(0));
    // Collected only while opening: what is opened later, such as the chunks of an array, must not stay open for this.
    let opening = Arc::new(Mutex::new(Some(Vec::<Arc<dyn ByteSource>>::new())));
    let (counter, opened) = (Arc::clone(&read), Arc::clone(&opening));
    let count: Between = Arc::new(move |source| {
        if let Some(sources) = lock(&opened).as_mut() {
            sources.push(Arc::clone(&source));
        }
        Arc::new(CountingSource::with(source, Arc::clone(&counter))) as Arc<dyn ByteSource>
    });
    let file = match origin {
        Origin::Path(path) => open_counted(&path, &LocalFilesystem, limits, &count),
        Origin::Bytes(bytes) => open_source(count(Arc::new(MemorySource::new(bytes, "the given bytes"))), limits),
    };
    let sources = lock(&opening).take().unwrap_or_default();
    // A file that somebody is writing to may look like anything: that it is being written to says more.
    sources.iter().try_for_each(|source| source.check_unchanged())?;
    Ok(Opened { file: file?, read })
}
