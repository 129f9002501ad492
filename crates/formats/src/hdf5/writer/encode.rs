//! Little-endian numbers and padding.

use kw_model::{Code, Result, WeightsError};

/// Appends numbers as HDF5 stores them.
pub(super) trait Encode {
    fn u8(&mut self, value: u8);
    fn u16(&mut self, value: u16);
    fn u32(&mut self, value: u32);
    fn u64(&mut self, value: u64);
    /// Zeros up to a multiple of 8 bytes from `start`, which is a position in this buffer.
    fn pad8_from(&mut self, start: usize);
    /// Zeros up to `len` bytes from `start`; nothing when there are more already.
    fn fill_from(&mut self, start: usize, len: usize);
}

impl Encode for Vec<u8> {
    fn u8(&mut self, value: u8) {
        self.push(value);
    }

    fn u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn pad8_from(&mut self, start: usize) {
        self.fill_from(start, (self.len() - start).next_multiple_of(8));
    }

    fn fill_from(&mut self, start: usize, len: usize) {
        let end = start + len;
        if end > self.len() {
            self.resize(end, 0);
        }
    }
}

/// Hands out consecutive addresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor(u64);

impl Cursor {
    pub(super) fn new(start: u64) -> Self {
        Cursor(start)
    }

    pub(super) fn position(self) -> u64 {
        self.0
    }

    /// The address of the next `len` bytes, and on to the first multiple of `alignment` at or after it.
    pub(super) fn take(&mut self, len: u64, alignment: u64) -> Result<u64> {
        let start = self.0.checked_next_multiple_of(alignment);
        // The last address of all is taken: it stands for "undefined".
        let end = start.and_then(|start| start.checked_add(len)).filter(|&end| end != super::UNDEFINED);
        let (Some(start), Some(end)) = (start, end) else {
            return Err(WeightsError::new(Code::Unsupported, "the file would have more bytes than HDF5 can count"));
        };
        self.0 = end;
        Ok(start)
    }
}
