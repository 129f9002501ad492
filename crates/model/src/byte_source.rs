//! Where bytes come from: a length and positional reads, no cursor.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::{Code, Result, WeightsError};

/// A fixed run of bytes that can be read anywhere, from any thread.
pub trait ByteSource: Send + Sync {
    /// Bytes in all.
    fn len(&self) -> u64;

    /// True when there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `out` with the bytes at `offset`, wholly or not at all.
    ///
    /// # Errors
    /// [`Code::Truncated`] when the range is not inside the source, [`Code::Io`] when reading fails.
    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> Result<()>;

    /// The local regular file behind a range of this source, if there is one:
    /// the open file and the offset of this source's first byte in it. Only such sources can be mapped.
    fn file(&self) -> Option<(Arc<File>, u64)> {
        None
    }

    /// Fails when the bytes may be others than when this source was opened.
    ///
    /// # Errors
    /// [`Code::Truncated`] when they are fewer, [`Code::Changed`] when the file was written to.
    fn check_unchanged(&self) -> Result<()> {
        Ok(())
    }

    /// The bytes themselves, if they are already in memory.
    fn bytes(&self) -> Option<&[u8]> {
        None
    }

    /// What to call this source in messages: a path, or a description.
    fn name(&self) -> String;
}

fn out_of_range(name: String, offset: u64, wanted: usize, len: u64) -> WeightsError {
    WeightsError::new(
        Code::Truncated,
        format!("{name} has {len} bytes, but {wanted} bytes at offset {offset} are needed: the file is incomplete"),
    )
    .file(name)
    .offset(offset)
    .expected(offset.saturating_add(wanted as u64))
    .found(len)
}

fn check_range(source: &dyn ByteSource, offset: u64, wanted: usize) -> Result<()> {
    let end = offset.checked_add(wanted as u64);
    if end.is_none_or(|end| end > source.len()) {
        return Err(out_of_range(source.name(), offset, wanted, source.len()));
    }
    Ok(())
}

/// A local file. The length is taken once, when opened.
pub struct FileSource {
    file: Arc<File>,
    path: PathBuf,
    len: u64,
    /// When it was last written to; `None` where the system does not say.
    modified: Option<SystemTime>,
}

impl FileSource {
    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::Io`], or [`Code::NotWeights`] for a folder or device.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| WeightsError::io("open", path, &error))?;
        FileSource::new(file, path)
    }

    /// A regular file that is open already, called `path` in messages.
    ///
    /// # Errors
    /// [`Code::Io`], or [`Code::NotWeights`] for a folder or device.
    pub fn new(file: File, path: &Path) -> Result<Self> {
        let metadata = file.metadata().map_err(|error| WeightsError::io("inspect", path, &error))?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() { "a folder" } else { "not a regular file" };
            return Err(WeightsError::new(Code::NotWeights, format!("{} is {what}", path.display()))
                .file(path.display().to_string()));
        }
        Ok(FileSource {
            file: Arc::new(file),
            path: path.to_path_buf(),
            len: metadata.len(),
            modified: metadata.modified().ok(),
        })
    }
}

impl ByteSource for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        check_range(self, offset, out.len())?;
        read_file_at(&self.file, offset, out).map_err(|error| {
            if error.kind() == std::io::ErrorKind::UnexpectedEof {
                // The file was longer when it was opened.
                out_of_range(self.name(), offset, out.len(), self.len)
            } else {
                WeightsError::io("read", &self.path, &error).offset(offset)
            }
        })
    }

    fn file(&self) -> Option<(Arc<File>, u64)> {
        Some((Arc::clone(&self.file), 0))
    }

    fn check_unchanged(&self) -> Result<()> {
        let metadata = self.file.metadata().map_err(|error| WeightsError::io("inspect", &self.path, &error))?;
        if metadata.len() < self.len {
            return Err(out_of_range(self.name(), 0, usize::try_from(self.len).unwrap_or(usize::MAX), metadata.len()));
        }
        if metadata.len() != self.len || metadata.modified().ok() != self.modified {
            return Err(WeightsError::new(
                Code::Changed,
                format!("{} was written to by another program while it was open: open it again", self.path.display()),
            )
            .file(self.name()));
        }
        Ok(())
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

#[cfg(unix)]
fn read_file_at(file: &File, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
fn read_file_at(file: &File, mut offset: u64, mut out: &mut [u8]) -> std::io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, offset) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                let rest = out;
                out = rest.get_mut(read..).unwrap_or_default();
                offset = offset.saturating_add(read as u64);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Bytes in memory.
pub struct MemorySource {
    bytes: Arc<[u8]>,
    name: String,
}

impl MemorySource {
    /// A source over `bytes`, called `name` in messages.
    pub fn new(bytes: impl Into<Arc<[u8]>>, name: impl Into<String>) -> Self {
        MemorySource { bytes: bytes.into(), name: name.into() }
    }
}

impl ByteSource for MemorySource {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        check_range(self, offset, out.len())?;
        let piece = usize::try_from(offset)
            .ok()
            .and_then(|start| self.bytes.get(start..start.checked_add(out.len())?))
            .ok_or_else(|| out_of_range(self.name(), offset, out.len(), self.len()))?;
        out.copy_from_slice(piece);
        Ok(())
    }

    fn bytes(&self) -> Option<&[u8]> {
        Some(&self.bytes)
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// A range of another source, such as a stored member of an archive.
pub struct SliceSource {
    inner: Arc<dyn ByteSource>,
    start: u64,
    len: u64,
    name: String,
}

impl SliceSource {
    /// The `len` bytes of `inner` that begin at `start`.
    ///
    /// # Errors
    /// [`Code::Truncated`] when the range is not inside `inner`.
    pub fn new(inner: Arc<dyn ByteSource>, start: u64, len: u64, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        if start.checked_add(len).is_none_or(|end| end > inner.len()) {
            return Err(out_of_range(name, start, usize::try_from(len).unwrap_or(usize::MAX), inner.len()));
        }
        Ok(SliceSource { inner, start, len, name })
    }
}

impl ByteSource for SliceSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        check_range(self, offset, out.len())?;
        self.inner.read_exact_at(self.start.saturating_add(offset), out)
    }

    fn file(&self) -> Option<(Arc<File>, u64)> {
        let (file, base) = self.inner.file()?;
        Some((file, base.checked_add(self.start)?))
    }

    fn check_unchanged(&self) -> Result<()> {
        self.inner.check_unchanged()
    }

    fn bytes(&self) -> Option<&[u8]> {
        let start = usize::try_from(self.start).ok()?;
        let len = usize::try_from(self.len).ok()?;
        self.inner.bytes()?.get(start..start.checked_add(len)?)
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// Counts the bytes read through it, so that "reads no tensor bytes" can be asserted.
pub struct CountingSource {
    inner: Arc<dyn ByteSource>,
    read: Arc<AtomicU64>,
}

impl CountingSource {
    /// Counts reads of `inner`.
    pub fn new(inner: Arc<dyn ByteSource>) -> Self {
        CountingSource::with(inner, Arc::default())
    }

    /// Counts reads of `inner` into a counter that others may share.
    pub fn with(inner: Arc<dyn ByteSource>, read: Arc<AtomicU64>) -> Self {
        CountingSource { inner, read }
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

impl ByteSource for CountingSource {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.inner.read_exact_at(offset, out)?;
        self.read.fetch_add(out.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn file(&self) -> Option<(Arc<File>, u64)> {
        self.inner.file()
    }

    fn check_unchanged(&self) -> Result<()> {
        self.inner.check_unchanged()
    }

    fn name(&self) -> String {
        self.inner.name()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{ByteSource, CountingSource, MemorySource, SliceSource};
    use crate::Code;

    #[test]
    fn a_slice_reads_its_own_range_and_nothing_else() {
        let whole: Arc<dyn ByteSource> = Arc::new(MemorySource::new(*b"0123456789", "digits"));
        let slice = SliceSource::new(Arc::clone(&whole), 3, 4, "middle").expect("inside");
        let mut out = [0; 4];
        slice.read_exact_at(0, &mut out).expect("inside");
        assert_eq!(&out, b"3456");
        let error = slice.read_exact_at(1, &mut out).expect_err("one byte too far");
        assert_eq!(error.code(), Code::Truncated);
        assert_eq!(SliceSource::new(whole, u64::MAX, 2, "far").err().map(|e| e.code()), Some(Code::Truncated));
    }

    #[test]
    fn counting_counts_only_what_was_read() {
        let counted = CountingSource::new(Arc::new(MemorySource::new(vec![7; 100], "sevens")));
        let mut out = [0; 30];
        counted.read_exact_at(10, &mut out).expect("inside");
        counted.read_exact_at(90, &mut out).expect_err("outside");
        assert_eq!(counted.bytes_read(), 30);
    }
}
