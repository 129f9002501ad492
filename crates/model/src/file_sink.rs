//! A file as a byte sink: small pieces are gathered, large ones go straight through.

use std::io;

use crate::{ByteSink, Result, WritableFile, storage_error};

/// Gathered bytes. Headers come in pieces of some hundred bytes, tensors in megabytes:
/// only the former gain from gathering, so more than this would only cost memory.
const BUFFER_BYTES: usize = 256 << 10;

/// Appends to a [`WritableFile`]. [`FileSink::flush`] must be called at the end.
pub struct FileSink<'f> {
    file: &'f mut dyn WritableFile,
    /// What to call the file in messages: the name the user gave, not a temporary one.
    name: std::path::PathBuf,
    buffer: Vec<u8>,
    position: u64,
}

impl<'f> FileSink<'f> {
    /// A sink over `file`, called `name` in messages.
    pub fn new(file: &'f mut dyn WritableFile, name: impl Into<std::path::PathBuf>) -> Self {
        FileSink { file, name: name.into(), buffer: Vec::with_capacity(BUFFER_BYTES), position: 0 }
    }

    /// Hands the gathered bytes to the operating system. Says nothing of durability.
    ///
    /// # Errors
    /// [`crate::Code::Io`].
    pub fn flush(&mut self) -> Result<()> {
        let written = write_fully(self.file, &self.buffer);
        self.buffer.clear();
        written.map_err(|error| storage_error("write", &self.name, &error))
    }
}

impl ByteSink for FileSink<'_> {
    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() >= BUFFER_BYTES {
            write_fully(self.file, bytes).map_err(|error| storage_error("write", &self.name, &error))?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn position(&self) -> u64 {
        self.position
    }
}

/// Writes on after short writes and interruptions, as `write(2)` asks its callers to.
fn write_fully(file: &mut dyn WritableFile, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
