//! Reading tensors of an opened bundle.

use std::sync::Arc;

use kw_model::{
    ByteSource, Cancel, Catalogue, Code, Crc32c, DType, Location, Result, Shape, TensorEntry, WeightsError,
    WeightsReader,
};

use super::dtypes::Stored;
use super::entry::Header;
use super::object_graph::{OBJECT_GRAPH_KEY, TrackableObjectGraph};
use super::slices::Region;
use super::{corrupt, strings};
use crate::buffers::{self, PIECE};

/// Bytes of a tensor, or of one slice of it, in a data file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// Index into the catalogue's sources.
    pub(super) source: usize,
    pub(super) offset: u64,
    pub(super) size: u64,
    /// CRC32C of the bytes as they stand in the file.
    pub(super) crc: u32,
}

/// What the reader knows beyond the catalogue.
#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) stored: Stored,
    /// One piece without a region, or the slices.
    pub(super) pieces: Vec<(Option<Region>, Piece)>,
}

/// An opened checkpoint. Checksums of slices, strings and big-endian tensors are checked whenever they
/// are read; those of plain tensors are in the catalogue as digests.
#[derive(Debug)]
pub struct BundleReader {
    catalogue: Catalogue,
    tensors: Vec<Tensor>,
    header: Header,
}

impl BundleReader {
    pub(super) fn new(catalogue: Catalogue, tensors: Vec<Tensor>, header: Header) -> Self {
        BundleReader { catalogue, tensors, header }
    }

    /// The count in the names of the data files. Files that no tensor needs may be missing.
    pub fn num_shards(&self) -> u32 {
        self.header.num_shards
    }

    /// The object graph, when the checkpoint was saved from objects and not by variable names.
    ///
    /// # Errors
    /// [`Code::Corrupt`] for a graph that contradicts itself, and whatever reading causes.
    pub fn object_graph(&self) -> Result<Option<TrackableObjectGraph>> {
        let Some(index) = self.catalogue.find(OBJECT_GRAPH_KEY) else { return Ok(None) };
        let strings = self.read_strings(index)?;
        let [graph] = strings.as_slice() else {
            return Err(corrupt(format!("the object graph should be one string, not {}", strings.len())));
        };
        TrackableObjectGraph::decode(graph).map(Some)
    }

    fn tensor(&self, index: usize) -> Result<(&TensorEntry, &Tensor)> {
        let entry = self.catalogue.entry(index)?;
        let tensor = self
            .tensors
            .get(index)
            .ok_or_else(|| WeightsError::new(Code::Internal, format!("tensor number {index} has no place")))?;
        Ok((entry, tensor))
    }

    fn source(&self, piece: Piece) -> Result<&Arc<dyn ByteSource>> {
        self.catalogue
            .sources()
            .get(piece.source)
            .ok_or_else(|| WeightsError::new(Code::Internal, format!("there is no source number {}", piece.source)))
    }

    /// Hands the bytes of a piece on, little-endian, in order, and compares the checksum at the end.
    fn stream(
        &self,
        piece: Piece,
        swap_width: usize,
        cancel: &Cancel,
        out: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let source = self.source(piece)?;
        let mut buffer = buffers::zeroed(piece.size.min(PIECE as u64), "a piece of a tensor")?;
        let mut crc = Crc32c::default();
        let (mut position, mut left) = (piece.offset, piece.size);
        while left > 0 {
            cancel.check()?;
            let len = usize::try_from(left).unwrap_or(PIECE).min(buffer.len());
            let part = buffer.get_mut(..len).unwrap_or_default();
            source.read_exact_at(position, part)?;
            crc.update(part);
            buffers::swap_bytes(part, swap_width);
            out(part)?;
            position = position.saturating_add(len as u64);
            left = left.saturating_sub(len as u64);
        }
        check_crc(piece, crc.value(), source.as_ref())
    }

    fn swap_width(&self, stored: Stored) -> usize {
        if self.header.big_endian { stored.swap_width() } else { 1 }
    }

    fn read_piece_strings(&self, piece: Piece, count: u64) -> Result<Vec<Vec<u8>>> {
        let source = self.source(piece)?;
        let bytes = buffers::read_range(source.as_ref(), piece.offset, piece.size, "a string tensor")?;
        let (found, crc) = strings::decode(&bytes, count, self.header.big_endian)?;
        // TensorFlow writes no checksum for a tensor without strings that has no bytes either.
        if piece.size > 0 {
            check_crc(piece, crc, source.as_ref())?;
        }
        Ok(found)
    }
}

fn check_crc(piece: Piece, found: u32, source: &dyn ByteSource) -> Result<()> {
    if piece.crc == found {
        return Ok(());
    }
    Err(WeightsError::new(
        Code::Digest,
        format!(
            "{} bytes at offset {} of {} do not fit the checksum in the index: the data file is damaged, \
             or belongs to another index",
            piece.size,
            piece.offset,
            source.name()
        ),
    )
    .format(super::FORMAT)
    .file(source.name())
    .offset(piece.offset)
    .expected(format!("{:08x}", piece.crc))
    .found(format!("{found:08x}")))
}

/// Scatters one slice, which comes in pieces of any length, over the dense tensor.
struct Scatter<'a> {
    out: &'a mut [u8],
    runs: super::slices::Runs,
    width: u64,
    /// Where the next byte goes, and how many bytes of this run are left.
    position: u64,
    left: u64,
}

impl Scatter<'_> {
    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        let misfit = || WeightsError::new(Code::Internal, "a slice does not fit its tensor").format(super::FORMAT);
        while !bytes.is_empty() {
            if self.left == 0 {
                let start = self.runs.next().ok_or_else(misfit)?;
                self.position = start.saturating_mul(self.width);
                self.left = self.runs.run.saturating_mul(self.width);
            }
            let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at_checked(len).ok_or_else(misfit)?;
            let start = usize::try_from(self.position).map_err(|_| misfit())?;
            let target = start.checked_add(len).and_then(|end| self.out.get_mut(start..end)).ok_or_else(misfit)?;
            target.copy_from_slice(now);
            bytes = later;
            self.position = self.position.saturating_add(len as u64);
            self.left = self.left.saturating_sub(len as u64);
        }
        Ok(())
    }
}

impl WeightsReader for BundleReader {
    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn read_into(&self, index: usize, out: &mut [u8], cancel: &Cancel) -> Result<()> {
        let (entry, tensor) = self.tensor(index)?;
        if tensor.stored == Stored::Strings {
            return Err(WeightsError::new(Code::DType, format!("{} holds strings, not numbers", entry.path))
                .format(super::FORMAT)
                .weight(entry.path.as_str()));
        }
        buffers::check_out_len(&entry.path, out, entry.byte_len)?;
        let swap_width = self.swap_width(tensor.stored);
        for (region, piece) in &tensor.pieces {
            let named = |error: WeightsError| error.weight(entry.path.as_str()).format(super::FORMAT);
            match region {
                None if matches!(entry.location, Location::Range { .. }) => {
                    buffers::read_pieces(self.source(*piece)?.as_ref(), piece.offset, out, cancel).map_err(named)?;
                }
                None => {
                    let whole = Region { starts: vec![0], lens: vec![piece.size] };
                    let runs = whole.runs(&Shape::new([piece.size]));
                    let mut scatter = Scatter { out, runs, width: 1, position: 0, left: 0 };
                    return self.stream(*piece, swap_width, cancel, &mut |part| scatter.write(part)).map_err(named);
                }
                Some(region) => {
                    let width = entry.dtype.size() as u64;
                    let runs = region.runs(&entry.shape);
                    let mut scatter = Scatter { out: &mut *out, runs, width, position: 0, left: 0 };
                    self.stream(*piece, swap_width, cancel, &mut |part| scatter.write(part)).map_err(named)?;
                }
            }
        }
        Ok(())
    }

    fn read_strings(&self, index: usize) -> Result<Vec<Vec<u8>>> {
        let (entry, tensor) = self.tensor(index)?;
        if entry.dtype != DType::String {
            return Err(WeightsError::new(Code::DType, format!("{} holds {}, not strings", entry.path, entry.dtype))
                .format(super::FORMAT)
                .weight(entry.path.as_str()));
        }
        let named = |error: WeightsError| error.weight(entry.path.as_str());
        if let [(None, piece)] = tensor.pieces.as_slice() {
            return self.read_piece_strings(*piece, entry.shape.num_elements()?).map_err(named);
        }
        // Every element lies in exactly one slice, and each slice has a byte at least for each of its elements,
        // so there are no more elements than bytes.
        let count = usize::try_from(entry.shape.num_elements()?)
            .ok()
            .filter(|count| *count as u64 <= entry.byte_len)
            .ok_or_else(|| named(corrupt("a string tensor has fewer bytes than strings")))?;
        let mut out = vec![Vec::new(); count];
        for (region, piece) in &tensor.pieces {
            let Some(region) = region else { continue };
            let mut found = self.read_piece_strings(*piece, region.shape().num_elements()?).map_err(named)?.into_iter();
            let runs = region.runs(&entry.shape);
            let run = runs.run;
            for position in runs.flat_map(|start| start..start.saturating_add(run)) {
                let slot = usize::try_from(position).ok().and_then(|position| out.get_mut(position));
                if let (Some(slot), Some(text)) = (slot, found.next()) {
                    *slot = text;
                }
            }
        }
        Ok(out)
    }

    fn format(&self) -> &'static str {
        super::FORMAT
    }
}
