//! Where bytes go: a one-way stream that knows how far it is.

use crate::{Code, Result, WeightsError};

/// A stream that can only be appended to: a file that is being committed, a member
/// of an archive, an upload. Writers plan first, so they never need to go back.
pub trait ByteSink: Send {
    /// Appends all of `bytes`. After an error the sink is of no further use.
    ///
    /// # Errors
    /// [`Code::Io`] when the bytes cannot be stored, or what the sink itself refuses.
    fn write_all(&mut self, bytes: &[u8]) -> Result<()>;

    /// Bytes appended so far.
    fn position(&self) -> u64;
}

/// Collects the bytes in memory.
#[derive(Debug, Default, Clone)]
pub struct MemorySink {
    bytes: Vec<u8>,
}

impl MemorySink {
    /// An empty sink.
    pub fn new() -> Self {
        MemorySink::default()
    }

    /// What was written so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl ByteSink for MemorySink {
    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.try_reserve(bytes.len()).map_err(|_| {
            WeightsError::new(
                Code::Memory,
                format!("no memory for {} more bytes after {} bytes", bytes.len(), self.bytes.len()),
            )
        })?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn position(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Counts the bytes and forgets them; can refuse to take more than a given number.
#[derive(Debug, Clone)]
pub struct CountingSink {
    position: u64,
    limit: u64,
}

impl Default for CountingSink {
    fn default() -> Self {
        CountingSink::with_limit(u64::MAX)
    }
}

impl CountingSink {
    /// A sink that takes at most `limit` bytes.
    pub fn with_limit(limit: u64) -> Self {
        CountingSink { position: 0, limit }
    }
}

impl ByteSink for CountingSink {
    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.position.saturating_add(bytes.len() as u64);
        if end > self.limit {
            return Err(WeightsError::new(Code::Io, format!("the sink takes {} bytes, not {end}", self.limit))
                .expected(self.limit)
                .found(end));
        }
        self.position = end;
        Ok(())
    }

    fn position(&self) -> u64 {
        self.position
    }
}

#[cfg(test)]
mod tests {
    use super::{ByteSink, CountingSink, MemorySink};
    use crate::Code;

    #[test]
    fn memory_keeps_and_counts() {
        let mut sink = MemorySink::new();
        sink.write_all(b"ab").expect("memory");
        sink.write_all(b"").expect("memory");
        sink.write_all(b"cde").expect("memory");
        assert_eq!(sink.position(), 5);
        assert_eq!(sink.into_bytes(), b"abcde");
    }

    #[test]
    fn a_limit_refuses_the_whole_piece() {
        let mut sink = CountingSink::with_limit(5);
        sink.write_all(&[0; 3]).expect("3 of 5");
        let error = sink.write_all(&[0; 3]).expect_err("6 of 5");
        assert_eq!(error.code(), Code::Io);
        assert_eq!(sink.position(), 3);
        sink.write_all(&[0; 2]).expect("5 of 5");
    }
}
