//! A reader that trusts nothing: it looks every name up the way libhdf5 does, and accounts
//! for every byte of the file. It knows only the structures that the writer makes.

use std::collections::BTreeMap;
use std::ops::Range;

const UNDEFINED: u64 = u64::MAX;

/// A checked file.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Found {
    pub(crate) objects: BTreeMap<String, Object>,
    /// The ranges of all structures and values, in order, each with its kind.
    pub(crate) ranges: Vec<(Range<usize>, &'static str)>,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Object {
    pub(crate) is_group: bool,
    /// In the order of the header.
    pub(crate) attributes: Vec<(String, Attribute)>,
    pub(crate) datatype: Vec<u8>,
    pub(crate) shape: Vec<u64>,
    /// `None` for a dataset without values, or in chunks.
    pub(crate) values: Option<Range<usize>>,
    /// Elements of a chunk along each axis, for a dataset in chunks.
    pub(crate) chunk: Vec<u64>,
    /// The filters that chunks went through: number and value.
    pub(crate) filters: Vec<(u16, u32)>,
    /// First element and bytes of each chunk.
    pub(crate) chunks: Vec<(Vec<u64>, Range<usize>)>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Attribute {
    pub(crate) datatype: Vec<u8>,
    pub(crate) shape: Vec<u64>,
    pub(crate) value: Value,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Value {
    Texts(Vec<String>),
    Bytes(Vec<u8>),
}

/// Reads a whole file; panics at the first thing that is not exactly right.
pub(crate) fn read(bytes: &[u8]) -> Found {
    let mut reader = Reader { bytes, found: Found::default(), heaps: BTreeMap::new() };
    assert_eq!(&bytes[..16], b"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0");
    assert_eq!((reader.u16(16), reader.u16(18), reader.u32(20)), (4, 16, 0));
    assert_eq!((reader.u64(24), reader.u64(32), reader.u64(48)), (0, UNDEFINED, UNDEFINED));
    assert_eq!(reader.u64(40), bytes.len() as u64, "end of file");
    reader.claim(0, 96, "superblock");
    assert_eq!(reader.u64(56), 0, "name of the root");
    reader.entry(56, "");
    reader.account_for_every_byte();
    reader.found
}

struct Reader<'b> {
    bytes: &'b [u8],
    found: Found,
    /// Strings of the collections read so far, by address.
    heaps: BTreeMap<usize, Vec<(usize, Vec<u8>)>>,
}

impl Reader<'_> {
    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes[at..at + 2].try_into().unwrap())
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap())
    }

    fn address(&self, at: usize) -> usize {
        usize::try_from(self.u64(at)).unwrap()
    }

    fn claim(&mut self, start: usize, len: usize, kind: &'static str) {
        assert_eq!(start % 8, 0, "{kind} at {start}");
        self.found.ranges.push((start..start + len, kind));
    }

    fn account_for_every_byte(&mut self) {
        self.found.ranges.sort_by_key(|(range, _)| (range.start, range.end));
        let mut end = 0;
        for (range, kind) in &self.found.ranges {
            assert!(range.start >= end, "{kind} at {range:?} overlaps what ends at {end}");
            assert!(range.start - end < 64, "unused bytes before {kind} at {range:?}");
            assert!(self.bytes[end..range.start].iter().all(|&byte| byte == 0));
            end = range.end;
        }
        assert_eq!(end, self.bytes.len());
    }

    /// A symbol table entry.
    fn entry(&mut self, at: usize, path: &str) {
        let header = self.address(at + 8);
        let cached = (self.u32(at + 16), self.u32(at + 20), self.u64(at + 24), self.u64(at + 32));
        let group = self.object(header, path);
        assert_eq!(cached, group.map_or((0, 0, 0, 0), |(tree, heap)| (1, 0, tree, heap)), "{path}");
    }

    /// An object header and all below; tree and heap of a group.
    fn object(&mut self, at: usize, path: &str) -> Option<(u64, u64)> {
        let (count, len) = (self.u16(at + 2), self.u32(at + 8) as usize);
        assert_eq!((self.u16(at), self.u32(at + 4), self.u32(at + 12)), (1, 1, 0), "{path}");
        self.claim(at, 16 + len, "object header");
        let mut object = Object::default();
        let mut group = None;
        let (mut kinds, mut allocation) = (Vec::new(), 0);
        let (mut message, end) = (at + 16, at + 16 + len);
        while message < end {
            let (kind, size) = (self.u16(message), self.u16(message + 2) as usize);
            assert_eq!(size % 8, 0);
            let flags = u32::from(matches!(kind, 3 | 5 | 0xb));
            assert_eq!(self.u32(message + 4), flags, "flags of message {kind:#x} of {path}");
            let body = message + 8;
            match kind {
                0x01 => object.shape = self.dataspace(body),
                0x03 => object.datatype = self.bytes[body..body + size].to_vec(),
                0x05 => {
                    assert_eq!(self.bytes[body], 2);
                    allocation = self.bytes[body + 1];
                    assert_eq!(self.bytes[body + 2..body + size], [2, 1, 0, 0, 0, 0]);
                }
                0x0b => object.filters = self.filters(body, size),
                0x08 if self.bytes[body + 1] == 2 => {
                    assert_eq!((self.bytes[body], allocation), (3, 3), "{path}");
                    let rank = usize::from(self.bytes[body + 2]) - 1;
                    let sizes: Vec<u32> = (0..=rank).map(|axis| self.u32(body + 11 + 4 * axis)).collect();
                    object.chunk = sizes[..rank].iter().map(|&size| size.into()).collect();
                    assert_eq!(sizes[rank].to_le_bytes(), object.datatype[4..8], "{path}");
                    assert_eq!(size, (11 + 4 * (rank + 1)).next_multiple_of(8), "{path}");
                    self.chunks(self.address(body + 3), None, sizes[rank], &mut object);
                }
                0x08 => {
                    assert_eq!((self.bytes[body], self.bytes[body + 1], allocation), (3, 1, 2), "{path}");
                    let (start, len) = (self.u64(body + 2), self.address(body + 10));
                    object.values = (start != UNDEFINED).then(|| {
                        let start = usize::try_from(start).unwrap();
                        self.claim(start, len, "values");
                        start..start + len
                    });
                    assert_eq!(object.values.is_none(), len == 0);
                }
                0x0c => object.attributes.push(self.attribute(body, size)),
                0x11 => group = Some((self.u64(body), self.u64(body + 8))),
                _ => panic!("message {kind:#x} of {path}"),
            }
            kinds.push(kind);
            message = body + size;
        }
        assert_eq!((message, kinds.len()), (end, usize::from(count)), "{path}");
        kinds.retain(|&kind| kind != 0x0c);
        object.is_group = group.is_some();
        let wanted: &[u16] = match (object.is_group, object.chunk.is_empty()) {
            (true, _) => &[0x11],
            (false, true) => &[1, 3, 5, 8],
            (false, false) => &[1, 3, 5, 0xb, 8],
        };
        assert_eq!(kinds, wanted, "{path}");
        assert!(self.found.objects.insert(path.to_owned(), object).is_none(), "{path} twice");
        if let Some((tree, heap)) = group {
            self.members(usize::try_from(tree).unwrap(), usize::try_from(heap).unwrap(), path);
        }
        group
    }

    fn dataspace(&self, at: usize) -> Vec<u64> {
        let rank = usize::from(self.bytes[at + 1]);
        assert_eq!((self.bytes[at], self.u16(at + 2), self.u32(at + 4)), (1, 0, 0));
        (0..rank).map(|axis| self.u64(at + 8 + 8 * axis)).collect()
    }

    fn filters(&self, at: usize, size: usize) -> Vec<(u16, u32)> {
        assert_eq!(self.bytes[at], 1);
        let count = usize::from(self.bytes[at + 1]);
        assert_eq!(size, 8 + 24 * count);
        let filter = |at: usize| {
            assert_eq!((self.u16(at + 2), self.u16(at + 4), self.u16(at + 6), self.u32(at + 20)), (8, 1, 1, 0));
            let name: &[u8] = if self.u16(at) == 1 { b"deflate\0" } else { b"shuffle\0" };
            assert_eq!(&self.bytes[at + 8..at + 16], name);
            (self.u16(at), self.u32(at + 16))
        };
        (0..count).map(|number| filter(at + 8 + 24 * number)).collect()
    }

    /// Walks a tree of chunks; says the key behind its last child.
    fn chunks(&mut self, at: usize, level: Option<u8>, element: u32, object: &mut Object) -> Vec<u64> {
        let rank = object.shape.len();
        let key_bytes = 16 + 8 * rank;
        let node_bytes = 24 + 64 * 8 + 65 * key_bytes;
        assert_eq!(&self.bytes[at..at + 5], b"TREE\x01");
        let found = self.bytes[at + 5];
        assert!(level.is_none_or(|level| level == found));
        if level.is_none() {
            assert_eq!([self.u64(at + 8), self.u64(at + 16)], [UNDEFINED; 2]);
        }
        for (offset, back) in [(8, 16), (16, 8)] {
            if self.u64(at + offset) != UNDEFINED {
                let sibling = self.address(at + offset);
                assert_eq!((self.address(sibling + back), self.bytes[sibling + 5]), (at, found));
            }
        }
        let used = usize::from(self.u16(at + 6));
        assert!((1..=64).contains(&used));
        self.claim(at, node_bytes, "chunk node");
        let key = |reader: &Self, child: usize| {
            let at = at + 24 + child * (key_bytes + 8);
            assert_eq!(reader.u32(at + 4), 0, "no filter was skipped");
            (reader.u32(at) as usize, (0..=rank).map(|axis| reader.u64(at + 8 + 8 * axis)).collect::<Vec<u64>>())
        };
        for child in 0..used {
            let (size, mut start) = key(self, child);
            assert_eq!(start.pop(), Some(0));
            let below = self.address(at + 24 + child * (key_bytes + 8) + key_bytes);
            let next = key(self, child + 1).1;
            if found > 0 {
                let first = object.chunks.len();
                assert_eq!(self.chunks(below, Some(found - 1), element, object), next);
                assert_eq!(object.chunks[first].0, start, "a key is that of the first chunk below");
            } else {
                self.found.ranges.push((below..below + size, "chunk"));
                object.chunks.push((start, below..below + size));
            }
        }
        let (size, end) = key(self, used);
        if level.is_none() {
            let last = &object.chunks.last().unwrap().0;
            let wanted: Vec<u64> =
                last.iter().zip(&object.chunk).map(|(at, len)| at + len).chain([element.into()]).collect();
            assert_eq!((size, &end), (0, &wanted), "the last key is greater than every chunk");
        }
        let rest = at + 24 + used * (key_bytes + 8) + key_bytes..at + node_bytes;
        assert!(self.bytes[rest].iter().all(|&byte| byte == 0));
        end
    }

    fn attribute(&mut self, at: usize, size: usize) -> (String, Attribute) {
        assert_eq!(self.u16(at), 1);
        let sizes = [2, 4, 6].map(|offset| usize::from(self.u16(at + offset)));
        let name_at = at + 8;
        let datatype_at = name_at + sizes[0].next_multiple_of(8);
        let dataspace_at = datatype_at + sizes[1].next_multiple_of(8);
        let data_at = dataspace_at + sizes[2].next_multiple_of(8);
        let (name, end) = self.bytes[name_at..name_at + sizes[0]].split_at(sizes[0] - 1);
        assert!(end == [0] && !name.contains(&0));
        let datatype = self.bytes[datatype_at..datatype_at + sizes[1]].to_vec();
        let shape = self.dataspace(dataspace_at);
        assert_eq!(sizes[2], 8 + 8 * shape.len());
        let count = usize::try_from(shape.iter().product::<u64>()).unwrap();
        let data_len = count * u32::from_le_bytes(datatype[4..8].try_into().unwrap()) as usize;
        assert_eq!((data_at - at + data_len).next_multiple_of(8), size, "{name:?}");
        let value = if datatype[0] == 0x19 {
            Value::Texts((0..count).map(|n| self.text(data_at + 16 * n)).collect())
        } else {
            Value::Bytes(self.bytes[data_at..data_at + data_len].to_vec())
        };
        (String::from_utf8(name.to_vec()).unwrap(), Attribute { datatype, shape, value })
    }

    /// A string in the global heap; each may be asked for once only.
    fn text(&mut self, at: usize) -> String {
        let (len, collection, index) = (self.u32(at) as usize, self.address(at + 4), self.u32(at + 12) as usize);
        if !self.heaps.contains_key(&collection) {
            let strings = self.collection(collection);
            self.heaps.insert(collection, strings);
        }
        let strings = self.heaps.get_mut(&collection).unwrap();
        let place = strings.iter().position(|(number, _)| *number == index).expect("not shared with another");
        let (_, bytes) = strings.swap_remove(place);
        assert_eq!(bytes.len(), len);
        String::from_utf8(bytes).unwrap()
    }

    fn collection(&mut self, at: usize) -> Vec<(usize, Vec<u8>)> {
        assert_eq!(&self.bytes[at..at + 8], b"GCOL\x01\0\0\0");
        let size = self.address(at + 8);
        assert!(size >= 4096 && size.is_multiple_of(8));
        self.claim(at, size, "global heap");
        let (mut object, end) = (at + 16, at + size);
        let mut strings = Vec::new();
        while end - object >= 16 {
            let (index, len) = (usize::from(self.u16(object)), self.address(object + 8));
            assert_eq!((self.u16(object + 2), self.u32(object + 4)), (0, 0));
            if index == 0 {
                assert_eq!(len, end - object, "free space reaches to the end");
                object = end;
                break;
            }
            assert_eq!(index, strings.len() + 1);
            strings.push((index, self.bytes[object + 16..object + 16 + len].to_vec()));
            object += 16 + len.next_multiple_of(8);
        }
        assert!(self.bytes[object..end].iter().all(|&byte| byte == 0));
        strings
    }

    fn members(&mut self, tree: usize, heap: usize, path: &str) {
        assert_eq!(&self.bytes[heap..heap + 8], b"HEAP\0\0\0\0");
        let (heap_len, free, data) = (self.address(heap + 8), self.u64(heap + 16), self.address(heap + 24));
        assert_eq!((free, data), (1, heap + 32), "{path}");
        self.claim(heap, 32 + heap_len, "local heap");
        let mut entries = Vec::new();
        let mut lower = None;
        self.node(tree, None, data, &mut entries, &mut lower);
        for (name_at, _) in &entries {
            assert!(*name_at < data + heap_len);
        }
        let names: Vec<Vec<u8>> = entries.iter().map(|(name, _)| self.name(*name)).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "members of {path} are sorted and unique");
        for (name, (_, entry)) in names.iter().zip(&entries) {
            assert_eq!(self.look_up(tree, data, name), Some(*entry), "{path}");
        }
        assert_eq!(self.look_up(tree, data, b"\xff not there"), None);
        for (name, (_, entry)) in names.into_iter().zip(entries) {
            let name = String::from_utf8(name).unwrap();
            assert!(!name.is_empty() && !name.contains('/'));
            let below = if path.is_empty() { name } else { format!("{path}/{name}") };
            self.entry(entry, &below);
        }
    }

    fn name(&self, at: usize) -> Vec<u8> {
        self.bytes[at..].iter().copied().take_while(|&byte| byte != 0).collect()
    }

    /// Walks a B-tree from left to right, collecting (name, entry) of all members.
    fn node(
        &mut self,
        at: usize,
        level: Option<u8>,
        names: usize,
        entries: &mut Vec<(usize, usize)>,
        lower: &mut Option<Vec<u8>>,
    ) {
        assert_eq!(&self.bytes[at..at + 5], b"TREE\0");
        let found = self.bytes[at + 5];
        assert!(level.is_none_or(|level| level == found));
        let used = usize::from(self.u16(at + 6));
        assert!(used <= 32 && (used > 0 || level.is_none()));
        let siblings = [self.u64(at + 8), self.u64(at + 16)];
        if level.is_none() {
            assert_eq!(siblings, [UNDEFINED; 2], "the root has no siblings");
        }
        self.claim(at, 544, "group node");
        for child in 0..used {
            let key = at + 24 + 16 * child;
            let low = self.name(names + self.address(key));
            assert!(lower.as_ref().is_none_or(|lower| *lower == low), "key on the left is the last name before");
            let below = self.address(key + 8);
            if found > 0 {
                *lower = Some(low);
                self.node(below, Some(found - 1), names, entries, lower);
            } else {
                self.leaf(below, names, entries);
            }
            let high = self.name(names + self.address(key + 16));
            assert_eq!(high, self.name(entries.last().unwrap().0), "key on the right is the last name under the child");
            *lower = Some(high);
        }
        let rest = at + 24 + 16 * used + 8..at + 544;
        assert!(self.bytes[rest].iter().all(|&byte| byte == 0));
        for (sibling, back) in [(siblings[0], 16), (siblings[1], 8)] {
            if sibling != UNDEFINED {
                let sibling = usize::try_from(sibling).unwrap();
                assert_eq!(self.address(sibling + back), at, "siblings point at each other");
                assert_eq!(self.bytes[sibling + 5], found);
            }
        }
    }

    fn leaf(&mut self, at: usize, names: usize, entries: &mut Vec<(usize, usize)>) {
        assert_eq!(&self.bytes[at..at + 6], b"SNOD\x01\0");
        let used = usize::from(self.u16(at + 6));
        assert!((1..=8).contains(&used));
        self.claim(at, 328, "group leaf");
        for entry in (0..used).map(|n| at + 8 + 40 * n) {
            entries.push((names + self.address(entry), entry));
        }
        assert!(self.bytes[at + 8 + 40 * used..at + 328].iter().all(|&byte| byte == 0));
    }

    /// Finds a name by the keys alone: under child i are names greater than key i and not greater than key i + 1.
    fn look_up(&self, node: usize, names: usize, name: &[u8]) -> Option<usize> {
        let used = usize::from(self.u16(node + 6));
        let key = |n: usize| self.name(names + self.address(node + 24 + 16 * n));
        let child = (0..used).find(|&child| *name > *key(child) && *name <= *key(child + 1))?;
        let below = self.address(node + 32 + 16 * child);
        if self.bytes[node + 5] > 0 {
            return self.look_up(below, names, name);
        }
        let used = usize::from(self.u16(below + 6));
        (0..used).map(|n| below + 8 + 40 * n).find(|&entry| self.name(names + self.address(entry)) == name)
    }
}
