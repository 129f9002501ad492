//! An `.npz` archive: one array a member. Stored arrays can be mapped where they are aligned, deflated ones are inflated
//! as a stream into their final place.

use std::sync::Arc;

use kw_model::{
    ByteSource, Cancel, Catalogue, CatalogueBuilder, Code, Limits, Location, Result, WeightsError, WeightsReader,
};

use super::FORMAT;
use super::decode::{Decoder, piece_len};
use super::header::{self, Header, START_LEN};
use super::reader::{check_len, decode_range, entry, no_strings, read_header};
use crate::buffers;
use crate::zip::Archive;

/// An opened `.npz` archive.
#[derive(Debug)]
pub struct NpzReader {
    archive: Archive,
    catalogue: Catalogue,
    /// For each tensor of the catalogue.
    arrays: Vec<Array>,
}

#[derive(Debug)]
struct Array {
    member: usize,
    header: Header,
}

/// Opens an `.npz` archive: reads the directory and the header of each array. Members that hold no numbers
/// are left out with their reason.
///
/// # Errors
/// As [`Archive::open`]; [`Code::Corrupt`] or [`Code::Truncated`] for an array whose header contradicts its length.
pub fn open_npz(source: Arc<dyn ByteSource>, limits: &Limits) -> Result<NpzReader> {
    let name = source.name();
    open(source, limits).map_err(|error| error.file(name).format(FORMAT))
}

fn open(source: Arc<dyn ByteSource>, limits: &Limits) -> Result<NpzReader> {
    let archive = Archive::open(Arc::clone(&source), limits)?;
    let mut builder = CatalogueBuilder::new(vec![source], limits.clone());
    let mut arrays = Vec::new();
    for (member, file) in archive.members().iter().enumerate() {
        let path = file.name().strip_suffix(".npy").unwrap_or(file.name());
        let named = |error: WeightsError| error.weight(path);
        match member_header(&archive, member, limits) {
            Ok(header) => {
                let offset = file.offset().saturating_add(header.data_offset);
                let mut found = entry(path, &header, Location::Range { source: 0, offset }).map_err(named)?;
                if !file.is_stored() {
                    found.location = Location::Decoded;
                }
                builder.tensor(found).map_err(named)?;
                arrays.push(Array { member, header });
            }
            // Other files, texts and objects do not spoil the arrays beside them.
            Err(error) if matches!(error.code(), Code::Unsupported | Code::NotWeights) => {
                builder.refuse(path, named(error))?;
            }
            Err(error) => return Err(named(error)),
        }
    }
    Ok(NpzReader { catalogue: builder.finish(), archive, arrays })
}

fn member_header(archive: &Archive, member: usize, limits: &Limits) -> Result<Header> {
    let cancel = Cancel::default();
    if archive.members().get(member).is_some_and(crate::zip::Member::is_stored) {
        return read_header(archive.source(member, &cancel)?.as_ref(), limits);
    }
    let mut stream = archive.stream(member, &cancel)?;
    let len = stream.member().len();
    let mut bytes = buffers::zeroed(len.min(START_LEN as u64), "the start of a numpy array")?;
    stream.read_exact(&mut bytes)?;
    let end = header::end(&bytes, limits)?;
    if end > len {
        return Err(WeightsError::new(Code::Truncated, "a numpy array ends within its header").format(FORMAT));
    }
    let mut rest = buffers::zeroed(end.saturating_sub(bytes.len() as u64), "the header of a numpy array")?;
    stream.read_exact(&mut rest)?;
    bytes.extend_from_slice(&rest);
    let header = header::parse(&bytes)?;
    check_len(&header, len)?;
    Ok(header)
}

impl NpzReader {
    /// Compares the archive's CRC-32 with all bytes of an array; a deflated one is compared whenever it is read, too.
    ///
    /// # Errors
    /// [`Code::Digest`], [`Code::Corrupt`], [`Code::Aborted`].
    pub fn verify(&self, index: usize, cancel: &Cancel) -> Result<()> {
        let path = &self.catalogue.entry(index)?.path;
        self.archive.verify(self.array(index)?.member, cancel).map_err(|error| error.weight(path.as_str()))
    }

    fn array(&self, index: usize) -> Result<&Array> {
        self.arrays
            .get(index)
            .ok_or_else(|| WeightsError::new(Code::Internal, format!("array number {index} has no place")))
    }

    fn inflate(&self, array: &Array, out: &mut [u8], cancel: &Cancel) -> Result<()> {
        let mut stream = self.archive.stream(array.member, cancel)?;
        stream.read_exact(&mut buffers::zeroed(array.header.data_offset, "the header of a numpy array")?)?;
        let len = out.len();
        let piece = piece_len(array.header.descr.dtype.size()).min(len);
        let mut buffer = buffers::zeroed(piece as u64, "a piece of an array")?;
        let mut decoder = Decoder::new(&array.header, out);
        let mut done = 0;
        while done < len {
            let part = buffer.get_mut(..piece.min(len.saturating_sub(done))).unwrap_or_default();
            stream.read_exact(part)?;
            decoder.write(part)?;
            done = done.saturating_add(part.len());
        }
        stream.finish()
    }
}

impl WeightsReader for NpzReader {
    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn read_into(&self, index: usize, out: &mut [u8], cancel: &Cancel) -> Result<()> {
        let entry = self.catalogue.entry(index)?;
        let array = self.array(index)?;
        buffers::check_out_len(&entry.path, out, entry.byte_len)?;
        let named = |error: WeightsError| error.weight(entry.path.as_str()).format(FORMAT);
        if entry.location != Location::Decoded {
            return buffers::read_entry(&self.catalogue, entry, out, cancel).map_err(named);
        }
        if self.archive.members().get(array.member).is_some_and(crate::zip::Member::is_stored) {
            let source = self.archive.source(array.member, cancel)?;
            return decode_range(source.as_ref(), array.header.data_offset, &array.header, out, cancel).map_err(named);
        }
        self.inflate(array, out, cancel).map_err(named)
    }

    fn read_strings(&self, index: usize) -> Result<Vec<Vec<u8>>> {
        Err(no_strings(self.catalogue.entry(index)?))
    }

    fn verify_stored(&self, index: usize, cancel: &Cancel) -> Result<bool> {
        // Inflating compares the checksum itself.
        let array = self.array(index)?;
        if self.archive.members().get(array.member).is_some_and(crate::zip::Member::is_stored) {
            self.verify(index, cancel)?;
        }
        Ok(true)
    }

    fn format(&self) -> &'static str {
        FORMAT
    }
}
