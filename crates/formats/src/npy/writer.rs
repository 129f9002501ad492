//! Writing `.npz` archives, and the header of a single `.npy` file.

use kw_model::{ByteSink, DType, Result, Shape};

use super::header;
use crate::zip::{ArchiveBuilder, ArchiveEmitter, ArchivePlan};

/// The header of an `.npy` file of an array in C order; its bytes follow. The length is a multiple of 64.
///
/// numpy has no name for bfloat16 and float8: they are stored as bytes (`V2`, `V1`).
///
/// # Errors
/// [`kw_model::Code::DType`] for strings.
pub fn npy_header(dtype: DType, shape: &Shape) -> Result<Vec<u8>> {
    header::encode(dtype, shape)
}

/// Collects the arrays of an `.npz` archive.
#[derive(Debug, Default)]
pub struct NpzBuilder {
    archive: ArchiveBuilder,
    arrays: Vec<PlannedArray>,
}

/// One array of a plan.
#[derive(Debug, Clone)]
pub struct PlannedArray {
    name: String,
    dtype: DType,
    shape: Shape,
    header: Vec<u8>,
    byte_len: u64,
}

impl PlannedArray {
    /// Its name, without `.npy`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Elements per axis.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Bytes of its values.
    pub fn byte_len(&self) -> u64 {
        self.byte_len
    }
}

impl NpzBuilder {
    /// An empty archive.
    pub fn new() -> Self {
        NpzBuilder::default()
    }

    /// Adds an array; returns its number, which is its place in the archive.
    ///
    /// # Errors
    /// [`kw_model::Code::Name`] for a name that is taken or leads out of an archive, [`kw_model::Code::DType`] for strings,
    /// [`kw_model::Code::Corrupt`] for a shape beyond 64 bits.
    pub fn tensor(&mut self, name: &str, dtype: DType, shape: Shape) -> Result<usize> {
        let header = header::encode(dtype, &shape).map_err(|error| error.weight(name))?;
        let byte_len = shape.byte_len(dtype).map_err(|error| error.weight(name))?;
        let len = byte_len.saturating_add(header.len() as u64);
        let index = self.archive.member(&format!("{name}.npy"), len, None)?;
        self.arrays.push(PlannedArray { name: name.to_owned(), dtype, shape, header, byte_len });
        Ok(index)
    }

    /// Gives every array its place.
    ///
    /// # Errors
    /// [`kw_model::Code::Limit`] for an archive beyond what 63 bits count.
    pub fn plan(self) -> Result<NpzPlan> {
        Ok(NpzPlan { archive: self.archive.plan()?, arrays: self.arrays })
    }
}

/// Every array in its place.
#[derive(Debug)]
pub struct NpzPlan {
    archive: ArchivePlan,
    arrays: Vec<PlannedArray>,
}

impl NpzPlan {
    /// The arrays in the order of the archive.
    pub fn tensors(&self) -> &[PlannedArray] {
        &self.arrays
    }

    /// Bytes of the whole archive.
    pub fn file_len(&self) -> u64 {
        self.archive.file_len()
    }

    /// Begins to write.
    ///
    /// # Errors
    /// What the sink refuses.
    pub fn emit<'a>(&'a self, sink: &'a mut dyn ByteSink) -> Result<NpzEmitter<'a>> {
        let mut emitter = NpzEmitter { archive: self.archive.emit(sink)?, arrays: &self.arrays, left: 0 };
        emitter.begin()?;
        Ok(emitter)
    }
}

/// Writes an archive. Give it the bytes of the arrays in order, in pieces of any size.
pub struct NpzEmitter<'a> {
    archive: ArchiveEmitter<'a>,
    /// Those that have not begun.
    arrays: &'a [PlannedArray],
    /// Bytes that the current array lacks.
    left: u64,
}

impl NpzEmitter<'_> {
    fn begin(&mut self) -> Result<()> {
        while self.left == 0 {
            let Some((array, rest)) = self.arrays.split_first() else { return Ok(()) };
            self.archive.write(&array.header)?;
            self.left = array.byte_len;
            self.arrays = rest;
        }
        Ok(())
    }

    /// Appends bytes of the arrays.
    ///
    /// # Errors
    /// [`kw_model::Code::Argument`] for more bytes than planned; what the sink refuses.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            if len == 0 {
                // Behind the last array; the archive says so.
                return self.archive.write(bytes);
            }
            let (now, later) = bytes.split_at_checked(len).unwrap_or_default();
            self.archive.write(now)?;
            self.left = self.left.saturating_sub(len as u64);
            bytes = later;
            self.begin()?;
        }
        Ok(())
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// [`kw_model::Code::Argument`] when bytes are missing; what the sink refuses.
    pub fn finish(self) -> Result<()> {
        self.archive.finish()
    }
}
