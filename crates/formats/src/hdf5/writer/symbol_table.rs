//! The members of a group: a B-tree over symbol table nodes, and a local heap of names
//! (III.A.1, III.C, III.D).
//!
//! The tree is loaded in bulk: members sorted by name fill the nodes from left to right,
//! so which members are under a node follows from its level and number alone.

use kw_model::Result;

use super::UNDEFINED;
use super::encode::{Cursor, Encode};

/// "Group Leaf Node K" of the superblock: a symbol table node holds twice as many members.
pub(super) const LEAF_K: u16 = 4;
/// "Group Internal Node K" of the superblock: a tree node has twice as many children.
pub(super) const INTERNAL_K: u16 = 16;

const LEAF_MEMBERS: usize = 2 * LEAF_K as usize;
const NODE_CHILDREN: usize = 2 * INTERNAL_K as usize;

const LEAF_BYTES: usize = 8 + LEAF_MEMBERS * 40;
const NODE_BYTES: usize = 24 + NODE_CHILDREN * 8 + (NODE_CHILDREN + 1) * 8;
const HEAP_HEADER_BYTES: u64 = 32;

/// Offset 0 of the heap is the empty string; the names follow.
const FIRST_NAME: u64 = 8;

/// The planned structures of one group.
#[derive(Debug)]
pub(super) struct SymbolTable {
    tree: u64,
    heap: u64,
    heap_len: u64,
    leaves: u64,
    members: Vec<Member>,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    object: usize,
    name_offset: u64,
}

/// What a group says of one of its members.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    /// Address of the object header.
    pub(super) header: u64,
    /// Tree and heap, when it is a group.
    pub(super) group: Option<(u64, u64)>,
}

impl SymbolTable {
    /// Lays out the structures for members given as (name, object), which need not be sorted.
    pub(super) fn plan<'n>(
        members: impl Iterator<Item = (&'n str, usize)>,
        cursor: &mut Cursor,
    ) -> Result<SymbolTable> {
        let mut sorted: Vec<_> = members.collect();
        // Rust compares strings by their UTF-8 bytes, unsigned: the order in which HDF5 searches.
        sorted.sort_unstable();
        let mut heap_len = FIRST_NAME;
        let mut members = Vec::with_capacity(sorted.len());
        for (name, object) in sorted {
            members.push(Member { object, name_offset: heap_len });
            heap_len += (name.len() as u64 + 1).next_multiple_of(8);
        }
        let nodes: usize = level_sizes(members.len()).iter().sum();
        let leaves = members.len().div_ceil(LEAF_MEMBERS);
        Ok(SymbolTable {
            tree: cursor.take((nodes * NODE_BYTES) as u64, 8)?,
            heap: cursor.take(HEAP_HEADER_BYTES + heap_len, 8)?,
            heap_len,
            leaves: cursor.take((leaves * LEAF_BYTES) as u64, 8)?,
            members,
        })
    }

    /// Addresses of tree and heap.
    pub(super) fn addresses(&self) -> (u64, u64) {
        (self.tree, self.heap)
    }

    /// Writes all structures, each by a call of `write`, without gaps from the tree's address on.
    pub(super) fn encode<'n>(
        &self,
        name: impl Fn(usize) -> &'n str,
        link: impl Fn(usize) -> Link,
        write: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut out = Vec::with_capacity(NODE_BYTES);
        let sizes = level_sizes(self.members.len());
        // The root comes first, so the nodes of the level below follow those of this one.
        let mut below = self.tree;
        for (level, &nodes) in sizes.iter().enumerate().rev() {
            let here = below;
            below = if level == 0 { self.leaves } else { here + (nodes * NODE_BYTES) as u64 };
            for node in 0..nodes {
                out.clear();
                self.encode_node(level, node, nodes, here, below, &mut out);
                write(&out)?;
            }
        }
        out.clear();
        self.encode_heap(name, &mut out);
        write(&out)?;
        for members in self.members.chunks(LEAF_MEMBERS) {
            out.clear();
            encode_leaf(members, &link, &mut out);
            write(&out)?;
        }
        Ok(())
    }

    /// The heap offset of the last name under child number `child` of a level, all nodes
    /// of the level taken together; 0, the empty string, before the first.
    fn key(&self, level: usize, child: usize) -> u64 {
        let end = child.saturating_mul(members_per_child(level)).min(self.members.len());
        end.checked_sub(1).and_then(|last| self.members.get(last)).map_or(0, |member| member.name_offset)
    }

    fn encode_node(&self, level: usize, node: usize, nodes: usize, here: u64, below: u64, out: &mut Vec<u8>) {
        let first = node * NODE_CHILDREN;
        let children = self.members.len().div_ceil(members_per_child(level)).saturating_sub(first).min(NODE_CHILDREN);
        let child_bytes = if level == 0 { LEAF_BYTES } else { NODE_BYTES };
        let sibling = |number: usize| here + (number * NODE_BYTES) as u64;
        out.extend(b"TREE\0"); // type 0: a group
        out.u8(u8::try_from(level).unwrap_or(u8::MAX));
        out.u16(u16::try_from(children).unwrap_or(u16::MAX));
        out.u64(node.checked_sub(1).map_or(UNDEFINED, sibling));
        out.u64(if node + 1 < nodes { sibling(node + 1) } else { UNDEFINED });
        // Names under a child are greater than the key before it, and not greater than the one after it.
        out.u64(self.key(level, first));
        for child in first..first + children {
            out.u64(below + (child * child_bytes) as u64);
            out.u64(self.key(level, child + 1));
        }
        out.fill_from(0, NODE_BYTES);
    }

    fn encode_heap<'n>(&self, name: impl Fn(usize) -> &'n str, out: &mut Vec<u8>) {
        out.extend(b"HEAP\0\0\0\0");
        out.u64(self.heap_len);
        // "No free block" is 1 here, whatever the specification says of undefined addresses.
        out.u64(1);
        out.u64(self.heap + HEAP_HEADER_BYTES);
        out.u64(0);
        for member in &self.members {
            out.extend_from_slice(name(member.object).as_bytes());
            out.u8(0);
            out.pad8_from(0);
        }
    }
}

/// Members under one child of a node of this level.
fn members_per_child(level: usize) -> usize {
    (0..level).fold(LEAF_MEMBERS, |members, _| members.saturating_mul(NODE_CHILDREN))
}

/// Nodes of each level of the tree, leaves' parents first, the root last.
fn level_sizes(members: usize) -> Vec<usize> {
    let mut sizes = Vec::new();
    let mut below = members.div_ceil(LEAF_MEMBERS);
    loop {
        // Even an empty group has a tree: one node without children.
        below = below.div_ceil(NODE_CHILDREN).max(1);
        sizes.push(below);
        if below == 1 {
            return sizes;
        }
    }
}

/// A symbol table node; always of full size.
fn encode_leaf(members: &[Member], link: &impl Fn(usize) -> Link, out: &mut Vec<u8>) {
    out.extend(b"SNOD\x01\0");
    out.u16(u16::try_from(members.len()).unwrap_or(u16::MAX));
    for member in members {
        encode_entry(member.name_offset, link(member.object), out);
    }
    out.fill_from(0, LEAF_BYTES);
}

/// A symbol table entry (III.C), 40 bytes; also the last part of the superblock.
pub(super) fn encode_entry(name_offset: u64, link: Link, out: &mut Vec<u8>) {
    out.u64(name_offset);
    out.u64(link.header);
    // The cached addresses are optional to libhdf5, but some readers find no other way into a group.
    out.u32(u32::from(link.group.is_some()));
    out.u32(0);
    let (tree, heap) = link.group.unwrap_or((0, 0));
    out.u64(tree);
    out.u64(heap);
}
