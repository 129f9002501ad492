//! What a group holds: names and where they lead.

use hdf5_reader::Storage;
use hdf5_reader::btree_v1;
use hdf5_reader::btree_v2::BTreeV2Record;
use hdf5_reader::fractal_heap::{FractalHeap, FractalHeapDirectBlockCache};
use hdf5_reader::io::Cursor;
use hdf5_reader::local_heap::LocalHeap;
use hdf5_reader::messages::HdfMessage;
use hdf5_reader::messages::link::{self, LinkMessage, LinkTarget};
use hdf5_reader::messages::link_info::LinkInfoMessage;
use hdf5_reader::messages::symbol_table_msg::SymbolTableMessage;
use hdf5_reader::symbol_table::{SymbolTableEntry, SymbolTableNode};
use kw_model::{Code, Result, WeightsError};

use super::failure::describe;
use super::file::File;

/// One name in a group.
#[derive(Debug)]
pub(super) struct Member {
    /// The name; never empty, without slashes.
    pub(super) name: String,
    /// Where it leads.
    pub(super) target: Target,
}

/// Where a name leads.
#[derive(Debug)]
pub(super) enum Target {
    /// An object of this file, by the address of its header.
    Object(u64),
    /// Somewhere we do not go; in words.
    Elsewhere(String),
}

/// The members of the group with this header, sorted by name.
pub(super) fn members(file: &File, messages: &[HdfMessage]) -> Result<Vec<Member>> {
    let mut found = Vec::new();
    for message in messages {
        match message {
            HdfMessage::SymbolTable(table) => old_style(file, table, &mut found)?,
            HdfMessage::Link(link) => found.push(member(link)),
            HdfMessage::LinkInfo(info) => dense(file, info, &mut found)?,
            _ => {}
        }
    }
    for member in &found {
        if member.name.is_empty() || member.name == "." || member.name.contains('/') {
            return Err(corrupt(format!("a member is called {:?}", member.name)));
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let twice = found.iter().zip(found.iter().skip(1)).find(|(a, b)| a.name == b.name);
    match twice {
        Some((member, _)) => Err(corrupt(format!("two members are called {}", member.name))),
        None => Ok(found),
    }
}

fn corrupt(message: String) -> WeightsError {
    WeightsError::new(Code::Corrupt, message)
}

fn soft(path: &str) -> Target {
    Target::Elsewhere(format!("a soft link to {path}"))
}

fn member(link: &LinkMessage) -> Member {
    let target = match &link.target {
        LinkTarget::Hard { address } => Target::Object(*address),
        LinkTarget::Soft { path } => soft(path),
        LinkTarget::External { filename, path } => {
            Target::Elsewhere(format!("an external link to {path} in {filename}"))
        }
    };
    Member { name: link.name.clone(), target }
}

/// Links too many for the group's header: in a fractal heap, found through a B-tree.
fn dense(file: &File, info: &LinkInfoMessage, found: &mut Vec<Member>) -> Result<()> {
    let (storage, widths) = (file.storage(), file.widths());
    if Cursor::is_undefined_offset(info.fractal_heap_address, widths.offset) {
        return Ok(());
    }
    let heap = FractalHeap::parse_at_storage(storage, info.fractal_heap_address, widths.offset, widths.length)
        .map_err(describe)?;
    let mut blocks = FractalHeapDirectBlockCache::default();
    for record in file.records(info.btree_name_index_address)? {
        let BTreeV2Record::LinkNameHash { heap_id, .. } = record else { continue };
        let bytes = heap
            .get_object_storage_cached(&heap_id, storage, widths.offset, widths.length, &mut blocks)
            .map_err(describe)?;
        let link = link::parse(&mut Cursor::new(&bytes), widths.offset, widths.length, bytes.len());
        found.push(member(&link.map_err(describe)?));
    }
    Ok(())
}

/// Groups of the first file format: a B-tree of symbol tables, the names in a local heap.
fn old_style(file: &File, table: &SymbolTableMessage, found: &mut Vec<Member>) -> Result<()> {
    let (storage, widths) = (file.storage(), file.widths());
    let nodes = btree_v1::collect_btree_v1_leaves_storage(
        storage,
        table.btree_address,
        widths.offset,
        widths.length,
        None,
        &[],
        None,
    )
    .map_err(describe)?;
    if nodes.is_empty() {
        return Ok(());
    }
    let heap =
        LocalHeap::parse_at_storage(storage, table.heap_address, widths.offset, widths.length).map_err(describe)?;
    let len = usize::try_from(heap.data_segment_size)
        .map_err(|_| corrupt(format!("a heap of {} bytes", heap.data_segment_size)))?;
    let names = storage.read_range(heap.data_segment_address, len).map_err(describe)?;
    for (_, address) in nodes {
        for entry in symbols(storage, address, file)?.entries {
            found.push(symbol(&entry, &names)?);
        }
    }
    Ok(())
}

fn symbols(storage: &dyn Storage, address: u64, file: &File) -> Result<SymbolTableNode> {
    let widths = file.widths();
    let prefix = storage.read_range(address, 8).map_err(describe)?;
    let mut cursor = Cursor::new(&prefix);
    cursor.skip(6).map_err(describe)?;
    let count = usize::from(cursor.read_u16_le().map_err(describe)?);
    let entry = 2 * usize::from(widths.offset) + 24;
    let bytes = storage.read_range(address, 8 + count * entry).map_err(describe)?;
    SymbolTableNode::parse(&mut Cursor::new(&bytes), widths.offset, widths.length)
        .map_err(|error| describe(error).offset(address))
}

fn symbol(entry: &SymbolTableEntry, names: &[u8]) -> Result<Member> {
    let name = heap_name(names, entry.link_name_offset)?;
    if entry.cache_type > 2 {
        return Err(corrupt(format!("a member is of the unknown kind {}", entry.cache_type)));
    }
    // Cache type 2 marks a soft link; its path is in the same heap.
    if entry.cache_type == 2 {
        let [a, b, c, d, ..] = entry.scratch;
        let path = heap_name(names, u64::from(u32::from_le_bytes([a, b, c, d])))?;
        return Ok(Member { target: soft(&String::from_utf8_lossy(path)), name: text(name)? });
    }
    Ok(Member { name: text(name)?, target: Target::Object(entry.object_header_address) })
}

fn text(name: &[u8]) -> Result<String> {
    match std::str::from_utf8(name) {
        Ok(name) => Ok(name.to_owned()),
        Err(_) => Err(corrupt(format!("the name {:?} is not UTF-8", String::from_utf8_lossy(name)))),
    }
}

fn heap_name(names: &[u8], offset: u64) -> Result<&[u8]> {
    let tail = usize::try_from(offset).ok().and_then(|offset| names.get(offset..));
    let name = tail.and_then(|tail| tail.get(..tail.iter().position(|&byte| byte == 0)?));
    name.ok_or_else(|| corrupt(format!("a name at {offset} is outside its heap of {} bytes", names.len())))
}
