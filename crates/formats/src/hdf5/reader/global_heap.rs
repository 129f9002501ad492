//! Global heaps: where strings of varying length are.
//!
//! The decoder has a parser, but it copies every object, drops their sizes, and misplaces them in files
//! of 4-byte lengths. Rules: HDF5 File Format Specification, III.E "Disk Format: Level 1E – Global Heap".

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use hdf5_reader::io::Cursor;
use hdf5_reader::{Storage, StorageBuffer};
use kw_model::{Code, Result, WeightsError};

use super::failure::describe;
use super::raw_messages::Widths;

/// Bytes of collections that are kept; beyond them all are dropped and read again when needed.
const MAX_KEPT: usize = 64 << 20;
/// Objects and collection headers begin at multiples of this.
const ALIGNMENT: usize = 8;

/// The collections that were read, by address.
#[derive(Default)]
pub(super) struct GlobalHeaps(RefCell<Kept>);

#[derive(Default)]
struct Kept {
    collections: HashMap<u64, Rc<Collection>>,
    bytes: usize,
}

impl GlobalHeaps {
    /// The bytes that a reference (length, address of a collection, number of an object) names.
    pub(super) fn bytes(&self, storage: &dyn Storage, widths: Widths, reference: &[u8]) -> Result<Vec<u8>> {
        let mut cursor = Cursor::new(reference);
        let len = cursor.read_u32_le().map_err(describe)?;
        let address = cursor.read_offset(widths.offset).map_err(describe)?;
        let number = cursor.read_u32_le().map_err(describe)?;
        // Strings that nobody wrote refer to nothing.
        if number == 0 || address == 0 || Cursor::is_undefined_offset(address, widths.offset) {
            return Ok(Vec::new());
        }
        let collection = self.collection(storage, widths, address)?;
        let corrupt = |why: String| {
            let what = format!("object {number} of the heap at {address} {why}");
            WeightsError::new(Code::Corrupt, what).offset(address)
        };
        let found = u16::try_from(number).ok().and_then(|number| collection.object(number));
        match found {
            None => Err(corrupt("does not exist".to_owned())),
            Some(bytes) if bytes.len() as u64 != u64::from(len) => {
                Err(corrupt(format!("has {} bytes instead of {len}", bytes.len())))
            }
            Some(bytes) => Ok(bytes.to_vec()),
        }
    }

    fn collection(&self, storage: &dyn Storage, widths: Widths, address: u64) -> Result<Rc<Collection>> {
        let mut kept = self.0.borrow_mut();
        if let Some(found) = kept.collections.get(&address) {
            return Ok(Rc::clone(found));
        }
        let read = Rc::new(Collection::read(storage, widths, address)?);
        if kept.bytes.saturating_add(read.bytes.len()) > MAX_KEPT {
            *kept = Kept::default();
        }
        kept.bytes = kept.bytes.saturating_add(read.bytes.len());
        kept.collections.insert(address, Rc::clone(&read));
        Ok(read)
    }
}

/// One collection: its bytes, and where its objects are in them.
struct Collection {
    bytes: StorageBuffer,
    objects: HashMap<u16, std::ops::Range<usize>>,
}

impl Collection {
    fn read(storage: &dyn Storage, widths: Widths, address: u64) -> Result<Collection> {
        let corrupt = |why: &str| WeightsError::new(Code::Corrupt, format!("a global heap {why}")).offset(address);
        let header_len = (8 + usize::from(widths.length)).next_multiple_of(ALIGNMENT);
        let header = storage.read_range(address, header_len).map_err(describe)?;
        if !header.starts_with(b"GCOL\x01") {
            return Err(corrupt("has another signature"));
        }
        let mut cursor = Cursor::new(&header);
        cursor.skip(8).map_err(describe)?;
        let len = cursor.read_length(widths.length).map_err(describe)?;
        let len = usize::try_from(len).map_err(|_| corrupt("is larger than memory"))?;
        let bytes = storage.read_range(address, len).map_err(describe)?;
        let mut objects = HashMap::new();
        let mut at = header_len;
        // What is too short for an object's header is free.
        while let Some(header) = bytes.get(at..at.saturating_add(header_len)) {
            let mut cursor = Cursor::new(header);
            let number = cursor.read_u16_le().map_err(describe)?;
            // Object 0 is the free space, always the last.
            if number == 0 {
                break;
            }
            cursor.skip(6).map_err(describe)?;
            let size = cursor.read_length(widths.length).map_err(describe)?;
            let start = at + header_len;
            let end = usize::try_from(size).ok().and_then(|size| start.checked_add(size));
            let end = end.filter(|&end| end <= bytes.len()).ok_or_else(|| corrupt("has an object beyond its end"))?;
            if objects.insert(number, start..end).is_some() {
                return Err(corrupt("has two objects of one number"));
            }
            at = end.next_multiple_of(ALIGNMENT);
        }
        Ok(Collection { bytes, objects })
    }

    fn object(&self, number: u16) -> Option<&[u8]> {
        self.bytes.get(self.objects.get(&number)?.clone())
    }
}
