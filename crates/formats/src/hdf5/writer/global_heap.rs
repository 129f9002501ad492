//! The global heap (III.E): where strings of any length stand.

use kw_model::{Code, Result, WeightsError};

use super::encode::{Cursor, Encode};

/// Smallest collection that libhdf5 accepts. Also the size we pack to: some readers parse a
/// whole collection for each string they take out of it, so large ones cost quadratic time.
const COLLECTION_BYTES: u64 = 4096;

/// Bytes before the first object of a collection, and before the bytes of each object.
const HEADER_BYTES: u64 = 16;

/// All strings of a file. Each belongs to one attribute only: a reader that overwrites an
/// attribute in place frees its strings.
#[derive(Debug, Default)]
pub(super) struct GlobalHeap {
    collections: Vec<Collection>,
    /// The collection that may still have room.
    open: Option<usize>,
}

#[derive(Debug, Default)]
struct Collection {
    strings: Vec<String>,
    used: u64,
    address: u64,
}

/// Where a string is: what stands in its place in an attribute.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeapReference {
    len: u32,
    collection: usize,
    index: u32,
}

impl GlobalHeap {
    /// Takes a string in.
    pub(super) fn add(&mut self, text: String) -> Result<HeapReference> {
        let len = u32::try_from(text.len()).map_err(|_| {
            WeightsError::new(
                Code::Unsupported,
                format!("an attribute text of {} bytes is longer than HDF5 can count", text.len()),
            )
            .expected(u64::from(u32::MAX))
            .found(text.len() as u64)
        })?;
        let needed = HEADER_BYTES + u64::from(len).next_multiple_of(8);
        let with_room =
            self.open.filter(|&open| self.collections.get(open).is_some_and(|c| c.used + needed <= COLLECTION_BYTES));
        let number = with_room.unwrap_or_else(|| {
            self.collections.push(Collection { used: HEADER_BYTES, ..Collection::default() });
            let number = self.collections.len() - 1;
            // A string that fills a collection leaves the open one open.
            if HEADER_BYTES + needed <= COLLECTION_BYTES {
                self.open = Some(number);
            }
            number
        });
        let Some(collection) = self.collections.get_mut(number) else {
            return Err(WeightsError::new(Code::Internal, "a collection of strings went missing"));
        };
        collection.strings.push(text);
        collection.used += needed;
        // At most 4096 / 16 objects in a collection: 16 bits hold the index.
        let index = u32::try_from(collection.strings.len()).unwrap_or(u32::MAX);
        Ok(HeapReference { len, collection: number, index })
    }

    /// Gives every collection its address.
    pub(super) fn place(&mut self, cursor: &mut Cursor) -> Result<()> {
        for collection in &mut self.collections {
            collection.address = cursor.take(collection.size(), 8)?;
        }
        Ok(())
    }

    /// Appends what stands in an attribute for a string.
    pub(super) fn encode_reference(&self, reference: HeapReference, out: &mut Vec<u8>) {
        out.u32(reference.len);
        out.u64(self.collections.get(reference.collection).map_or(0, |collection| collection.address));
        out.u32(reference.index);
    }

    /// The collections: address and bytes.
    pub(super) fn encoded(&self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        self.collections.iter().map(|collection| (collection.address, collection.encode()))
    }
}

impl Collection {
    fn size(&self) -> u64 {
        self.used.max(COLLECTION_BYTES)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(b"GCOL\x01\0\0\0");
        out.u64(self.size());
        for (index, text) in (1_u16..).zip(&self.strings) {
            out.u16(index);
            out.u16(0); // reference count, unused by libhdf5
            out.u32(0);
            out.u64(text.len() as u64);
            let start = out.len();
            out.extend_from_slice(text.as_bytes());
            out.pad8_from(start);
        }
        let rest = self.size() - self.used;
        if rest >= HEADER_BYTES {
            out.u64(0); // object 0: free space, its own header included
            out.u64(rest);
        }
        let size = usize::try_from(self.size()).unwrap_or(usize::MAX);
        out.fill_from(0, size);
        out
    }
}
