//! The decoder's view of one file during one operation.

use std::sync::Arc;

use hdf5_reader::btree_v2::{self, BTreeV2Header, BTreeV2Record};
use hdf5_reader::error::Error;
use hdf5_reader::messages::HdfMessage;
use hdf5_reader::object_header::ObjectHeader;
use hdf5_reader::{Hdf5File, OpenOptions, Storage};
use kw_model::{ByteSource, Code, Limits, Result, WeightsError};

use super::failure::describe;
use super::global_heap::GlobalHeaps;
use super::raw_messages::Widths;
use super::storage::SourceStorage;

/// Bytes of header that come on top of the attributes in it: shapes, types, links.
const HEADER_ROOM: u64 = 1 << 20;

/// An opened file. Caches of the decoder live as long as this does, so it is made anew for every operation.
pub(super) struct File {
    decoder: Hdf5File,
    root_address: u64,
    heaps: GlobalHeaps,
    widths: Widths,
    base: u64,
    limits: Limits,
}

impl File {
    /// Reads the superblock and checks that the file is as long as it says.
    pub(super) fn open(storage: SourceStorage, limits: &Limits) -> Result<File> {
        let storage = Arc::new(storage);
        let header_bytes = limits.max_attribute_bytes.saturating_add(HEADER_ROOM).min(limits.max_header_bytes);
        let max = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        // No resolver is set: external links and external storage cannot be followed. No cache of chunks:
        // whole tensors are read, each chunk once.
        let options = OpenOptions::default()
            .with_chunk_cache_bytes(0)
            .with_max_read_bytes(max(limits.max_header_bytes))
            .with_max_chunk_bytes(max(limits.max_tensor_bytes))
            .with_max_object_header_bytes(max(header_bytes));
        let opened = Hdf5File::from_storage_with_options(Arc::clone(&storage) as Arc<dyn Storage>, options);
        let decoder = opened.map_err(|error| match error {
            // The superblock is taken up to the end of a short file, so it is the file that ends.
            Error::UnexpectedEof { offset, .. } => {
                let message = format!("{} ends within its superblock: the file is incomplete", storage.source().name());
                WeightsError::new(Code::Truncated, message).offset(offset).found(storage.source().len())
            }
            other => describe(other),
        })?;
        let superblock = decoder.superblock();
        let source = storage.source();
        if superblock.eof_address > source.len() {
            return Err(truncated(source.as_ref(), superblock.eof_address));
        }
        storage.set_complete();
        let widths = Widths { offset: superblock.offset_size, length: superblock.length_size };
        let base = superblock.base_address;
        let root_address = superblock.root_object_header_address().map_err(describe)?;
        Ok(File { decoder, root_address, heaps: GlobalHeaps::default(), widths, base, limits: limits.clone() })
    }

    /// The file from its superblock on: what addresses count from.
    pub(super) fn storage(&self) -> &dyn Storage {
        self.decoder.storage()
    }

    /// Bytes before the superblock.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// Widths of addresses and lengths.
    pub(super) fn widths(&self) -> Widths {
        self.widths
    }

    /// What the file may cost.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Address of the root group.
    pub(super) fn root_address(&self) -> u64 {
        self.root_address
    }

    /// The header of the object at `address`, shared messages in place.
    pub(super) fn header(&self, address: u64) -> Result<Vec<HdfMessage>> {
        let limit = self.limits.max_attribute_bytes.saturating_add(HEADER_ROOM).min(self.limits.max_header_bytes);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let (offset, length) = (self.widths.offset, self.widths.length);
        let parsed = ObjectHeader::parse_at_storage_with_limit(self.storage(), address, offset, length, limit);
        let header = parsed.map_err(|error| describe(error).offset(address))?;
        if !header.messages.iter().any(is_shared) {
            return Ok(header.messages);
        }
        // Only the decoder's own cache can resolve these; keeping every header in it would double the memory.
        let resolved = self.decoder.get_or_parse_header(address).map_err(describe)?;
        if resolved.messages.iter().any(is_shared) {
            return Err(WeightsError::new(Code::Corrupt, "a shared message leads nowhere").offset(address));
        }
        Ok(resolved.messages.clone())
    }

    /// All records of the version 2 B-tree at `address`.
    pub(super) fn records(&self, address: u64) -> Result<Vec<BTreeV2Record>> {
        let (offset, length) = (self.widths.offset, self.widths.length);
        let header = BTreeV2Header::parse_at_storage(self.storage(), address, offset, length).map_err(describe)?;
        btree_v2::collect_btree_v2_records_storage(self.storage(), &header, offset, length, None, &[], None)
            .map_err(describe)
    }

    /// Bytes of a reference into a global heap.
    pub(super) fn reference_size(&self) -> usize {
        4 + usize::from(self.widths.offset) + 4
    }

    /// What a reference into a global heap names.
    pub(super) fn heap_bytes(&self, reference: &[u8]) -> Result<Vec<u8>> {
        self.heaps.bytes(self.storage(), self.widths, reference)
    }
}

fn is_shared(message: &HdfMessage) -> bool {
    matches!(message, HdfMessage::Shared(_))
}

fn truncated(source: &dyn ByteSource, wanted: u64) -> WeightsError {
    let (name, found) = (source.name(), source.len());
    WeightsError::new(
        Code::Truncated,
        format!("{name} has {found} bytes of the {wanted} its header promises: the file is incomplete"),
    )
    .expected(wanted)
    .found(found)
}
