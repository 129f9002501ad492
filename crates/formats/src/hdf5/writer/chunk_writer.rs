//! Compresses the values of one dataset before the file is planned.
//!
//! Sizes of chunks stand in the file before the chunks, so they have to be known first. The
//! compressed chunks wait in a spool (a scratch file, or memory) until the file is written.

use std::io::Write;
use std::sync::Arc;

use flate2::write::ZlibEncoder;
use kw_model::{ByteSink, ByteSource, Code, Crc32c, DType, Result, Shape, WeightsError};

use super::chunk_grid::ChunkGrid;
use super::datatype::Datatype;

/// gzip as h5py calls it: the deflate filter of HDF5, in chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// From 1 (fast) to 9 (small); h5py's default is 4.
    pub level: u8,
    /// Sorts the bytes of the elements by their place first, which helps with floating-point numbers.
    pub shuffle: bool,
}

impl Default for Compression {
    fn default() -> Self {
        Compression { level: 4, shuffle: true }
    }
}

impl Compression {
    /// Whether a tensor of this kind is compressed at all: scalars cannot be, small ones
    /// (under 8 KiB) would not get smaller. Others go through [`super::H5Builder::dataset`].
    pub fn applies_to(self, dtype: DType, shape: &Shape) -> bool {
        Datatype::of(dtype).is_ok() && ChunkGrid::new(dtype, shape).is_ok_and(|grid| grid.is_some())
    }

    /// Whether elements of this size are shuffled; there is nothing to sort in single bytes.
    pub(super) fn shuffles(self, element_bytes: u64) -> bool {
        self.shuffle && element_bytes > 1
    }
}

/// Takes the values of one dataset, in pieces of any size, and appends compressed chunks to a spool.
pub struct ChunkWriter<'s> {
    spool: &'s mut dyn ByteSink,
    shuffled: Vec<u8>,
    /// The values of the chunk that is being collected.
    collected: Vec<u8>,
    crc: Crc32c,
    byte_len: u64,
    chunks: Chunks,
}

/// Compressed chunks in a spool, for [`super::H5Builder::chunked_dataset`].
#[derive(Clone)]
pub struct SpooledChunks {
    pub(super) chunks: Chunks,
    pub(super) spool: Arc<dyn ByteSource>,
}

/// What is known of compressed chunks, wherever they are.
#[derive(Debug, Clone)]
pub struct Chunks {
    pub(super) dtype: DType,
    pub(super) shape: Shape,
    pub(super) grid: ChunkGrid,
    pub(super) compression: Compression,
    /// Where the first chunk begins in the spool; the others follow.
    pub(super) start: u64,
    /// Bytes of each chunk.
    pub(super) sizes: Vec<u32>,
    digest: u32,
}

impl Chunks {
    /// CRC32C of the values as they were before compression.
    pub fn digest(&self) -> u32 {
        self.digest
    }

    /// Bytes of all chunks.
    pub fn stored_len(&self) -> u64 {
        self.sizes.iter().map(|&size| u64::from(size)).sum()
    }

    /// Says where the spool can be read, once everything has been written to it.
    pub fn read_from(self, spool: Arc<dyn ByteSource>) -> SpooledChunks {
        SpooledChunks { chunks: self, spool }
    }
}

impl std::fmt::Debug for SpooledChunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpooledChunks").field("chunks", &self.chunks).finish_non_exhaustive()
    }
}

impl<'s> ChunkWriter<'s> {
    /// Begins a dataset at the present end of the spool. One spool can take many datasets, one after the other.
    ///
    /// # Errors
    /// [`Code::Argument`] for a level that there is not, and for a tensor that compression does not
    /// apply to ([`Compression::applies_to`]).
    pub fn new(spool: &'s mut dyn ByteSink, dtype: DType, shape: &Shape, compression: Compression) -> Result<Self> {
        if !(1..=9).contains(&compression.level) {
            return Err(WeightsError::new(
                Code::Argument,
                format!("compression has the levels 1 to 9, not {}", compression.level),
            ));
        }
        Datatype::of(dtype)?;
        let grid = ChunkGrid::new(dtype, shape)?.ok_or_else(|| {
            WeightsError::new(Code::Argument, format!("a {dtype} tensor of shape {shape} is not worth compressing"))
        })?;
        let chunks = Chunks {
            dtype,
            shape: shape.clone(),
            grid,
            compression,
            start: spool.position(),
            sizes: Vec::new(),
            digest: 0,
        };
        let byte_len = shape.byte_len(dtype)?;
        Ok(ChunkWriter { spool, shuffled: Vec::new(), collected: Vec::new(), crc: Crc32c::default(), byte_len, chunks })
    }

    /// Appends bytes of the values.
    ///
    /// # Errors
    /// [`Code::Changed`] when there are more than the shape says; what the spool fails with.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.crc.update(bytes);
        while !bytes.is_empty() {
            let number = self.chunks.sizes.len() as u64;
            if number == self.chunks.grid.len() {
                return Err(self.wrong_amount(bytes.len() as u64));
            }
            let wanted = usize::try_from(self.chunks.grid.value_bytes(number)).unwrap_or(usize::MAX);
            let missing = wanted.saturating_sub(self.collected.len()).min(bytes.len());
            let (piece, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
            self.collected.extend_from_slice(piece);
            bytes = rest;
            if self.collected.len() == wanted {
                self.end_chunk()?;
            }
        }
        Ok(())
    }

    /// Ends the dataset.
    ///
    /// # Errors
    /// [`Code::Changed`] when there were fewer values than the shape says.
    pub fn finish(mut self) -> Result<Chunks> {
        if self.chunks.sizes.len() as u64 != self.chunks.grid.len() {
            return Err(self.wrong_amount(0));
        }
        self.chunks.digest = self.crc.value();
        Ok(self.chunks)
    }

    fn end_chunk(&mut self) -> Result<()> {
        let whole = usize::try_from(self.chunks.grid.chunk_bytes()).unwrap_or(usize::MAX);
        // Chunks at the edge are stored whole as well.
        self.collected.resize(whole, 0);
        let element_bytes = usize::try_from(self.chunks.grid.element_bytes()).unwrap_or(1);
        let filtered = if self.chunks.compression.shuffles(self.chunks.grid.element_bytes()) {
            shuffle(&self.collected, element_bytes, &mut self.shuffled);
            &self.shuffled
        } else {
            &self.collected
        };
        let packed = deflate(filtered, self.chunks.compression.level)?;
        self.spool.write_all(&packed)?;
        // A chunk has a mebibyte at most, and deflate adds next to nothing.
        self.chunks.sizes.push(u32::try_from(packed.len()).unwrap_or(u32::MAX));
        self.collected.clear();
        Ok(())
    }

    fn wrong_amount(&self, more: u64) -> WeightsError {
        let done = self.chunks.sizes.len() as u64;
        let values: u64 = (0..done).map(|chunk| self.chunks.grid.value_bytes(chunk)).sum();
        let found = values + self.collected.len() as u64 + more;
        WeightsError::new(
            Code::Changed,
            format!(
                "a {} tensor of shape {} has {} bytes, but {found} were given",
                self.chunks.dtype, self.chunks.shape, self.byte_len
            ),
        )
        .expected(self.byte_len)
        .found(found)
    }
}

/// The shuffle filter: the first bytes of all elements, then the second bytes, and so on.
fn shuffle(values: &[u8], element_bytes: usize, out: &mut Vec<u8>) {
    out.clear();
    out.reserve(values.len());
    for place in 0..element_bytes {
        out.extend(values.iter().skip(place).step_by(element_bytes));
    }
}

/// The deflate filter: one zlib stream.
fn deflate(bytes: &[u8], level: u8) -> Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(bytes.len() / 2), flate2::Compression::new(level.into()));
    encoder.write_all(bytes).and_then(|()| encoder.finish()).map_err(|error| {
        WeightsError::new(Code::Internal, format!("{} bytes could not be compressed: {error}", bytes.len()))
    })
}
