//! Writes a planned file from front to back.

use kw_model::{ByteSink, Code, Crc32c, Result, WeightsError};

use super::encode::Encode;
use super::plan::{H5Plan, PlannedChunks, PlannedDataset, PlannedKind};
use super::symbol_table::{INTERNAL_K, LEAF_K, encode_entry};
use super::{Chunks, SpooledChunks, UNDEFINED};

/// Bytes copied from a spool at once.
const COPY_BYTES: usize = 256 << 10;

/// Takes the values of the datasets, in the order of [`H5Plan::datasets`], but for compressed ones,
/// which it has already. A piece may end anywhere, also behind the end of one dataset and within the next.
/// After an error the file is of no use, and the emitter neither.
pub struct H5Emitter<'s> {
    plan: &'s H5Plan,
    output: Output<'s>,
    digests: Vec<u32>,
    /// The dataset being written and how many of its bytes are.
    current: usize,
    written: u64,
    crc: Crc32c,
}

impl<'s> H5Emitter<'s> {
    pub(super) fn new(plan: &'s H5Plan, sink: &'s mut dyn ByteSink, digests: &[u32]) -> Result<Self> {
        let needs_digest = |dataset: &PlannedDataset| dataset.digest && !dataset.is_chunked;
        let none_needed = digests.is_empty() && !plan.datasets.iter().any(needs_digest);
        if digests.len() != plan.datasets.len() && !none_needed {
            return Err(WeightsError::new(
                Code::Argument,
                format!("{} digests were given for {} datasets", digests.len(), plan.datasets.len()),
            )
            .expected(plan.datasets.len() as u64)
            .found(digests.len() as u64));
        }
        let mut output = Output { sink, position: 0 };
        write_metadata(plan, &mut output, digests)?;
        let mut emitter =
            H5Emitter { plan, output, digests: digests.to_vec(), current: 0, written: 0, crc: Crc32c::default() };
        emitter.next_dataset()?;
        Ok(emitter)
    }

    /// Appends bytes of the values.
    ///
    /// # Errors
    /// [`Code::Changed`] when the values of a dataset do not fit its digest, or when there are
    /// more than planned: they were changed since they were planned. What the sink fails with.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let Some(dataset) = self.plan.datasets.get(self.current) else {
                return Err(WeightsError::new(
                    Code::Changed,
                    format!("{} bytes were given beyond the last dataset", bytes.len()),
                ));
            };
            let rest = dataset.byte_len - self.written;
            let len = usize::try_from(rest).map_or(bytes.len(), |rest| rest.min(bytes.len()));
            let (piece, after) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
            if dataset.digest {
                self.crc.update(piece);
            }
            self.output.write(piece)?;
            self.written += piece.len() as u64;
            bytes = after;
            if self.written == dataset.byte_len {
                self.end_dataset(dataset)?;
                self.next_dataset()?;
            }
        }
        Ok(())
    }

    /// Checks that everything was written.
    ///
    /// # Errors
    /// [`Code::Changed`] when there were fewer values than planned.
    pub fn finish(self) -> Result<()> {
        if let Some(dataset) = self.plan.datasets.get(self.current) {
            return Err(WeightsError::new(
                Code::Changed,
                format!("{} has {} bytes, but only {} were given", dataset.path, dataset.byte_len, self.written),
            )
            .weight(&dataset.path)
            .expected(dataset.byte_len)
            .found(self.written));
        }
        if self.output.position != self.plan.file_len() {
            return Err(misplaced(self.plan.file_len(), self.output.position));
        }
        Ok(())
    }

    /// Goes to the next dataset whose values have to be given; copies those that wait in a spool.
    fn next_dataset(&mut self) -> Result<()> {
        while let Some(dataset) = self.plan.datasets.get(self.current) {
            if dataset.stored_len > 0 {
                self.output.pad_to(dataset.offset)?;
            }
            if let Some(chunks) = self.plan.chunks(self.current) {
                self.output.copy(&chunks.spooled)?;
                self.current += 1;
            } else if dataset.byte_len > 0 {
                return Ok(());
            } else {
                self.end_dataset(dataset)?;
            }
        }
        Ok(())
    }

    fn end_dataset(&mut self, dataset: &PlannedDataset) -> Result<()> {
        let found = std::mem::take(&mut self.crc).value();
        let expected = self.digests.get(self.current).copied().unwrap_or_default();
        if dataset.digest && found != expected {
            return Err(WeightsError::new(
                Code::Changed,
                format!("the values of {} changed while they were being saved", dataset.path),
            )
            .weight(&dataset.path)
            .expected(format!("{expected:08x}"))
            .found(format!("{found:08x}")));
        }
        self.current += 1;
        self.written = 0;
        Ok(())
    }
}

/// Everything that stands before the values.
fn write_metadata(plan: &H5Plan, output: &mut Output<'_>, digests: &[u32]) -> Result<()> {
    output.write(&superblock(plan))?;
    for object in plan.order.iter().filter_map(|&number| plan.objects.get(number)) {
        output.pad_to(object.header)?;
        output.write(&object.encode_header(plan, digests)?)?;
        match &object.kind {
            PlannedKind::Group(table) => {
                output.pad_to(table.addresses().0)?;
                table
                    .encode(|member| plan.name(member), |member| plan.link(member), &mut |bytes| output.write(bytes))?;
            }
            PlannedKind::Dataset(number) => {
                if let (Some(PlannedChunks { spooled, tree }), Some(dataset)) =
                    (plan.chunks(*number), plan.datasets.get(*number))
                {
                    output.pad_to(*tree)?;
                    let Chunks { grid, sizes, .. } = &spooled.chunks;
                    grid.encode_tree(*tree, dataset.offset, sizes, &mut |bytes| output.write(bytes))?;
                }
            }
        }
    }
    for (address, bytes) in plan.heap.encoded() {
        output.pad_to(address)?;
        output.write(&bytes)?;
    }
    Ok(())
}

/// The superblock (II.A, version 0).
fn superblock(plan: &H5Plan) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    out.extend(b"\x89HDF\r\n\x1a\n");
    // Versions of superblock, free space, root entry, shared messages; sizes of addresses and lengths.
    out.extend([0, 0, 0, 0, 0, 8, 8, 0]);
    out.u16(LEAF_K);
    out.u16(INTERNAL_K);
    out.u32(0); // flags
    out.u64(0); // base address
    out.u64(UNDEFINED); // free space
    out.u64(plan.file_len());
    out.u64(UNDEFINED); // driver information
    encode_entry(0, plan.link(0), &mut out);
    out
}

/// The sink, with positions from the beginning of the file.
struct Output<'s> {
    sink: &'s mut dyn ByteSink,
    position: u64,
}

impl Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Copies chunks out of their spool.
    fn copy(&mut self, spooled: &SpooledChunks) -> Result<()> {
        let mut buffer = vec![0; COPY_BYTES];
        let (mut offset, mut rest) = (spooled.chunks.start, spooled.chunks.stored_len());
        while rest > 0 {
            let len = usize::try_from(rest).map_or(COPY_BYTES, |rest| rest.min(COPY_BYTES));
            let piece = buffer.get_mut(..len).unwrap_or_default();
            spooled.spool.read_exact_at(offset, piece)?;
            self.write(piece)?;
            offset += len as u64;
            rest -= len as u64;
        }
        Ok(())
    }

    /// Zeros up to an address.
    fn pad_to(&mut self, address: u64) -> Result<()> {
        const ZEROS: [u8; 64] = [0; 64];
        match address.checked_sub(self.position).and_then(|gap| ZEROS.get(..usize::try_from(gap).ok()?)) {
            Some(zeros) => self.write(zeros),
            // No gap is as large as the largest alignment.
            None => Err(misplaced(address, self.position)),
        }
    }
}

fn misplaced(planned: u64, found: u64) -> WeightsError {
    WeightsError::new(Code::Internal, format!("the file was planned to be at byte {planned}, but is at {found}"))
        .expected(planned)
        .found(found)
}
