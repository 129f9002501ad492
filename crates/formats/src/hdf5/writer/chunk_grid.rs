//! How a tensor is cut into chunks, and the tree that finds them (III.A.1, type 1).

use kw_model::{Code, DType, Result, Shape, WeightsError};

use super::UNDEFINED;
use super::encode::Encode;

/// Bytes of a chunk before compression, at most: what h5py's chunk cache holds, and
/// enough for deflate to find what there is to find.
const CHUNK_BYTES: u64 = 1 << 20;

/// Below this a chunk saves less than the tree that finds it costs (2 KiB and more).
const MIN_TENSOR_BYTES: u64 = 8 << 10;

/// Half the children of a tree node; superblock 0 has no field for it.
const NODE_K: usize = 32;
const NODE_CHILDREN: usize = 2 * NODE_K;

/// Chunks that each are one run of a tensor in C order: one element along the first axes, a part
/// of one axis, and all of the rest. So a tensor that comes as a stream is cut without being held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChunkGrid {
    shape: Vec<u64>,
    /// Elements of a chunk along each axis; those at the end of the cut axis are filled up with zeros.
    chunk: Vec<u64>,
    element_bytes: u64,
    /// The axis that is cut.
    cut: usize,
}

impl ChunkGrid {
    /// Cuts a tensor; `None` for one that is too small, and for scalars, which HDF5 cannot chunk.
    pub(super) fn new(dtype: DType, shape: &Shape) -> Result<Option<Self>> {
        if shape.rank() == 0 || shape.byte_len(dtype)? < MIN_TENSOR_BYTES {
            return Ok(None);
        }
        let element_bytes = dtype.size() as u64;
        let mut chunk = vec![1; shape.rank()];
        let mut bytes = element_bytes;
        let mut cut = 0;
        for (axis, (part, &whole)) in chunk.iter_mut().zip(shape.axes()).enumerate().rev() {
            let parts = whole.div_ceil((CHUNK_BYTES / bytes).max(1));
            // Parts of one size leave the least to fill up.
            *part = whole.div_ceil(parts);
            bytes = bytes.saturating_mul(*part);
            cut = axis;
            if parts > 1 {
                break;
            }
        }
        Ok(Some(ChunkGrid { shape: shape.axes().to_vec(), chunk, element_bytes, cut }))
    }

    /// Elements of a chunk along each axis.
    pub(super) fn chunk(&self) -> &[u64] {
        &self.chunk
    }

    pub(super) fn element_bytes(&self) -> u64 {
        self.element_bytes
    }

    /// Bytes of a whole chunk.
    pub(super) fn chunk_bytes(&self) -> u64 {
        self.chunk.iter().product::<u64>() * self.element_bytes
    }

    /// Bytes of chunk number `chunk` that are values; the rest is filled up.
    pub(super) fn value_bytes(&self, chunk: u64) -> u64 {
        let (Some(&whole), Some(&part)) = (self.shape.get(self.cut), self.chunk.get(self.cut)) else { return 0 };
        let start = chunk % whole.div_ceil(part) * part;
        self.chunk_bytes() / part * part.min(whole - start)
    }

    /// Number of chunks.
    pub(super) fn len(&self) -> u64 {
        self.shape.iter().zip(&self.chunk).map(|(&whole, &part)| whole.div_ceil(part)).product()
    }

    /// The first element of a chunk, along each axis; chunks are in C order.
    fn start(&self, chunk: u64) -> Vec<u64> {
        let mut rest = chunk;
        let mut start: Vec<u64> = self
            .shape
            .iter()
            .zip(&self.chunk)
            .rev()
            .map(|(&whole, &part)| {
                let parts = whole.div_ceil(part);
                let place = rest % parts;
                rest /= parts;
                place * part
            })
            .collect();
        start.reverse();
        start
    }

    fn node_bytes(&self) -> usize {
        24 + NODE_CHILDREN * 8 + (NODE_CHILDREN + 1) * (16 + 8 * self.shape.len())
    }

    /// Bytes of the whole tree over `chunks` chunks.
    pub(super) fn tree_bytes(&self, chunks: usize) -> u64 {
        (level_sizes(chunks).iter().sum::<usize>() * self.node_bytes()) as u64
    }

    /// Writes the tree from its address on, root first; chunks of the given sizes stand one
    /// after the other from `data` on.
    pub(super) fn encode_tree(
        &self,
        tree: u64,
        data: u64,
        sizes: &[u32],
        write: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut out = Vec::with_capacity(self.node_bytes());
        let mut start = tree;
        for (level, &nodes) in level_sizes(sizes.len()).iter().enumerate().rev() {
            // The nodes of the level below follow those of this one.
            let end = start + (nodes * self.node_bytes()) as u64;
            let mut child = if level == 0 { data } else { end };
            for number in 0..nodes {
                out.clear();
                self.encode_node(&Node { level, number, nodes, start }, &mut child, sizes, &mut out)?;
                write(&out)?;
            }
            start = end;
        }
        Ok(())
    }

    /// `child` is the address of the node's first child, and afterwards of the next node's.
    fn encode_node(&self, node: &Node, child: &mut u64, sizes: &[u32], out: &mut Vec<u8>) -> Result<()> {
        let chunks_per_child = (0..node.level).fold(1_usize, |chunks, _| chunks.saturating_mul(NODE_CHILDREN));
        let first = node.number * NODE_CHILDREN;
        let children = sizes.len().div_ceil(chunks_per_child).saturating_sub(first).min(NODE_CHILDREN);
        let sibling = |number: usize| node.start + (number * self.node_bytes()) as u64;
        out.extend(b"TREE\x01"); // type 1: chunks
        out.u8(u8::try_from(node.level).unwrap_or(u8::MAX));
        out.u16(u16::try_from(children).unwrap_or(u16::MAX));
        out.u64(node.number.checked_sub(1).map_or(UNDEFINED, sibling));
        out.u64(if node.number + 1 < node.nodes { sibling(node.number + 1) } else { UNDEFINED });
        // A key is that of the first chunk under the child after it.
        for number in first..first + children {
            let chunk = number * chunks_per_child;
            self.encode_key(chunk, sizes, out)?;
            out.u64(*child);
            *child += match sizes.get(chunk) {
                Some(&size) if node.level == 0 => size.into(),
                _ => self.node_bytes() as u64,
            };
        }
        self.encode_key((first + children) * chunks_per_child, sizes, out)?;
        out.fill_from(0, self.node_bytes());
        Ok(())
    }

    fn encode_key(&self, chunk: usize, sizes: &[u32], out: &mut Vec<u8>) -> Result<()> {
        let last = sizes.len().checked_sub(1).ok_or_else(|| {
            WeightsError::new(Code::Internal, "a tree of chunks was planned for a tensor without chunks")
        })?;
        if let Some(&size) = sizes.get(chunk) {
            out.u32(size);
            out.u32(0); // no filter was left out
            self.start(chunk as u64).into_iter().for_each(|start| out.u64(start));
            out.u64(0);
        } else {
            // The end: greater than every chunk along every axis.
            out.u64(0);
            for (start, part) in self.start(last as u64).into_iter().zip(&self.chunk) {
                out.u64(start + part);
            }
            out.u64(self.element_bytes);
        }
        Ok(())
    }
}

/// One node of the tree: its level, its number among the nodes of the level, and where that level starts.
struct Node {
    level: usize,
    number: usize,
    nodes: usize,
    start: u64,
}

/// Nodes of each level, those over the chunks first, the root last.
fn level_sizes(chunks: usize) -> Vec<usize> {
    let mut sizes = Vec::new();
    let mut below = chunks;
    loop {
        below = below.div_ceil(NODE_CHILDREN).max(1);
        sizes.push(below);
        if below == 1 {
            return sizes;
        }
    }
}

#[cfg(test)]
mod tests {
    use kw_model::{DType, Shape};

    use super::ChunkGrid;

    #[test]
    fn chunks_are_runs_of_at_most_a_mebibyte() {
        type Axes = &'static [u64];
        // dtype, shape, chunk, number of chunks, bytes of values in the last one
        let cases: [(DType, Axes, Axes, u64, u64); 8] = [
            (DType::Float32, &[2048], &[2048], 1, 8192),
            (DType::Float32, &[1000, 64], &[1000, 64], 1, 256_000),
            (DType::Float32, &[300_000], &[150_000], 2, 600_000),
            (DType::Float32, &[1001, 1024], &[251, 1024], 4, 248 * 4096),
            (DType::Float32, &[3, 3, 512, 512], &[1, 1, 512, 512], 9, 1 << 20),
            (DType::Float32, &[3, 3, 512, 513], &[1, 1, 256, 513], 18, 256 * 513 * 4),
            (DType::Int8, &[2, 2_000_000], &[1, 1_000_000], 4, 1_000_000),
            (DType::Float64, &[5, 131_073], &[1, 65_537], 10, 65_536 * 8),
        ];
        for (dtype, shape, chunk, len, last) in cases {
            let grid = ChunkGrid::new(dtype, &shape.into()).expect("fits").expect("large enough");
            assert_eq!((grid.chunk(), grid.len()), (chunk, len), "{shape:?}");
            assert!(grid.chunk_bytes() <= 1 << 20);
            let total: u64 = (0..len).map(|chunk| grid.value_bytes(chunk)).sum();
            assert_eq!(total, Shape::from(shape).byte_len(dtype).expect("fits"), "{shape:?}");
            assert_eq!(grid.value_bytes(len - 1), last, "{shape:?}");
        }
        for shape in [&[][..], &[0], &[2047]] {
            assert_eq!(ChunkGrid::new(DType::Float32, &shape.into()).expect("fits"), None, "{shape:?}");
        }
    }
    /// Goes through a tree from left to right: (first element, address, bytes) of all chunks.
    fn walk(tree: &[u8], base: u64, at: u64, level: u8, out: &mut Vec<(u64, u64, u32)>) {
        let node = &tree[usize::try_from(at - base).expect("inside")..];
        let number = |at: usize| u64::from_le_bytes(node[at..at + 8].try_into().expect("8 bytes"));
        assert_eq!((&node[..5], node[5]), (&b"TREE\x01"[..], level));
        let used = usize::from(u16::from_le_bytes([node[6], node[7]]));
        assert!(0 < used && used <= 64);
        // Two axes: a key has 32 bytes, size and mask first, and then the first element.
        for child in 0..used {
            let key = 24 + 40 * child;
            let below = number(key + 32);
            if level == 0 {
                out.push((number(key + 8), below, u32::try_from(number(key)).expect("mask 0")));
            } else {
                let first = out.len();
                walk(tree, base, below, level - 1, out);
                assert_eq!(out[first].0, number(key + 8));
            }
            assert!(number(key + 48) > out[out.len() - 1].0, "the next key is beyond");
        }
    }

    #[test]
    fn trees_have_as_many_levels_as_they_need() {
        const TREE: u64 = 4096;
        const DATA: u64 = 1 << 40;
        for (chunks, level) in [(1, 0), (64, 0), (65, 1), (4096, 1), (4097, 2), (262_145, 3)] {
            let shape = Shape::new([chunks, 1 << 20]);
            let grid = ChunkGrid::new(DType::Int8, &shape).expect("fits").expect("large enough");
            let sizes: Vec<u32> = (0..chunks).map(|chunk| u32::try_from(chunk % 1000 + 1).expect("small")).collect();
            let mut tree = Vec::new();
            grid.encode_tree(TREE, DATA, &sizes, &mut |bytes| {
                tree.extend_from_slice(bytes);
                Ok(())
            })
            .expect("memory");
            assert_eq!(tree.len() as u64, grid.tree_bytes(sizes.len()));
            let mut found = Vec::new();
            walk(&tree, TREE, TREE, level, &mut found);
            let mut address = DATA;
            assert_eq!(found.len(), sizes.len());
            for ((row, &size), found) in (0..).zip(&sizes).zip(found) {
                assert_eq!(found, (row, address, size));
                address += u64::from(size);
            }
        }
    }
}
