//! HDF5 with compressed tensors: their sizes stand in the file before them, so they are compressed before it is planned.
//!
//! All values come once, in order, into a scratch file; the file is laid out when their sizes are known, and copied.

use std::path::Path;
use std::sync::Arc;

use kw_formats::hdf5::writer::{ChunkWriter, Chunks, Compression, H5Builder, H5Plan};
use kw_model::{
    ByteSink, ByteSource, FileSink, Filesystem, Result, ScratchFile, WritableFile, commit_file, storage_error,
};

use crate::pump::Pump;

/// Bytes that are copied at once.
const PIECE: usize = 256 << 10;

/// A file that is planned but for the sizes of its compressed tensors.
pub(crate) struct CompressedPlan {
    builder: H5Builder,
    /// The same file without compression: names and sizes.
    pub(crate) plain: H5Plan,
    compression: Compression,
}

/// Where a tensor waits in the scratch file.
enum Spooled {
    Plain(u64),
    Chunks(Chunks),
}

impl CompressedPlan {
    pub(crate) fn new(builder: H5Builder, compression: Compression) -> Result<Self> {
        Ok(CompressedPlan { plain: builder.clone().plan()?, builder, compression })
    }

    /// Compresses, lays out, writes and puts in place.
    ///
    /// # Errors
    /// As [`commit_file`]; whatever the values cause.
    pub(crate) fn commit(
        &self,
        target: &Path,
        overwrite: bool,
        fs: &dyn Filesystem,
        pump: &mut Pump<'_>,
    ) -> Result<()> {
        let failed = |error| storage_error("write", target, &error);
        let mut scratch: Box<dyn ScratchFile> = fs.create_scratch(target).map_err(failed)?;
        let spooled = self.spool(scratch.as_mut(), target, pump)?;
        let source = scratch.into_source().map_err(failed)?;
        let mut builder = self.builder.clone();
        let mut waiting = Vec::new();
        for (dataset, spooled) in self.plain.datasets().iter().zip(spooled) {
            match spooled {
                Spooled::Plain(offset) => waiting.push((offset, dataset.byte_len)),
                Spooled::Chunks(chunks) => builder.compress(&dataset.path, chunks.read_from(Arc::clone(&source)))?,
            }
        }
        let plan = builder.plan()?;
        commit_file(fs, target, overwrite, Some(plan.file_len()), &mut |sink| {
            let mut emitter = plan.emit(sink, pump.digests)?;
            let mut buffer = vec![0; PIECE];
            for &(offset, byte_len) in &waiting {
                copy(source.as_ref(), offset, byte_len, &mut buffer, &mut |bytes| {
                    pump.cancel.check()?;
                    emitter.write(bytes)
                })?;
            }
            emitter.finish()
        })
    }

    fn spool(&self, scratch: &mut dyn ScratchFile, target: &Path, pump: &mut Pump<'_>) -> Result<Vec<Spooled>> {
        let file: &mut dyn WritableFile = scratch;
        let mut sink = FileSink::new(file, target);
        let mut spooled = Vec::with_capacity(self.plain.datasets().len());
        for (number, dataset) in self.plain.datasets().iter().enumerate() {
            if self.compression.applies_to(dataset.dtype, &dataset.shape) {
                let mut writer = ChunkWriter::new(&mut sink, dataset.dtype, &dataset.shape, self.compression)?;
                pump.tensor(number, true, &mut |bytes| writer.write(bytes))?;
                spooled.push(Spooled::Chunks(writer.finish()?));
            } else {
                spooled.push(Spooled::Plain(sink.position()));
                pump.tensor(number, true, &mut |bytes| sink.write_all(bytes))?;
            }
        }
        sink.flush()?;
        Ok(spooled)
    }
}

fn copy(
    source: &dyn ByteSource,
    mut offset: u64,
    mut left: u64,
    buffer: &mut [u8],
    out: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    while left > 0 {
        let len = usize::try_from(left).unwrap_or(PIECE).min(buffer.len());
        let Some(piece) = buffer.get_mut(..len) else { break };
        source.read_exact_at(offset, piece)?;
        out(piece)?;
        offset = offset.saturating_add(len as u64);
        left = left.saturating_sub(len as u64);
    }
    Ok(())
}
