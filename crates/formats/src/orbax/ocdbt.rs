//! OCDBT, tensorstore's database: a manifest, and a B+ tree in data files. Only the latest version is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use kw_model::{ByteSource, Code, Limits, Result, WeightsError, crc32c};

use super::cursor::Cursor;
use super::folder::Folder;
use super::{compression, corrupt, unsupported};
use crate::buffers::read_range;

const MANIFEST_MAGIC: u32 = 0x0cdb_3a2a;
const NODE_MAGIC: u32 = 0x0cdb_20de;
/// The file at the root of a database.
pub(super) const MANIFEST: &str = "manifest.ocdbt";

/// Where a value is.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// In the tree itself: values up to a kilobyte.
    Inline(Arc<[u8]>),
    /// In a data file.
    Range { source: usize, offset: u64, len: u64 },
}

/// All keys of one or several databases, and the data files they need.
#[derive(Default)]
pub(super) struct Database {
    pub(super) values: BTreeMap<Vec<u8>, Value>,
    pub(super) sources: Vec<Arc<dyn ByteSource>>,
    by_name: BTreeMap<String, usize>,
}

/// A path in the file table, and how much of it is the folder of what it refers to.
struct DataFile {
    path: String,
    base: String,
}

/// Where a node is.
struct NodePlace {
    file: usize,
    offset: u64,
    len: u64,
}

impl Database {
    /// Adds the database whose manifest lies at `base` (empty, or ending with `/`) below the folder.
    pub(super) fn load(&mut self, folder: &dyn Folder, base: &str, limits: &Limits) -> Result<()> {
        let name = format!("{base}{MANIFEST}");
        let source = folder.open(&name)?;
        Limits::check("the manifest of the database", source.len(), limits.max_header_bytes, "bytes")?;
        let stored = read_range(source.as_ref(), 0, source.len(), "the manifest of the database")?;
        let mut budget = limits.max_header_bytes;
        let body = unwrap(&stored, MANIFEST_MAGIC, limits.max_header_bytes, limits)
            .map_err(|error| error.file(source.name()))?;
        let mut cursor = Cursor::new(&body, "the manifest of the database");
        cursor.take(16)?;
        if cursor.varint()? != 0 {
            return Err(unsupported("the database has numbered manifests, which Orbax does not write"));
        }
        cursor.varints(2)?;
        cursor.byte()?;
        match cursor.varint()? {
            0 => {}
            1 => cursor.take(4).map(|_| ())?,
            other => return Err(unsupported(format!("the database is compressed by method {other}"))),
        }
        let files = file_table(&mut cursor, base, &mut budget)?;
        let count = cursor.count()?;
        cursor.varints(count)?;
        let heights = cursor.take(count as u64)?;
        let columns: Vec<Vec<u64>> = (0..6).map(|_| cursor.varints(count)).collect::<Result<_>>()?;
        let (Some(&height), [Some(file), Some(offset), Some(len), Some(keys), ..]) =
            (heights.last(), [0, 1, 2, 3].map(|column| columns.get(column).and_then(|column| column.last()).copied()))
        else {
            return Err(corrupt("the database has no version"));
        };
        if keys == 0 && len == 0 {
            return Ok(());
        }
        let before = self.values.len() as u64;
        let place = NodePlace { file: usize::try_from(file).unwrap_or(usize::MAX), offset, len };
        let mut walk = Walk { database: self, folder, limits, budget };
        walk.node(&files, &place, height, &[])?;
        let found = (self.values.len() as u64).saturating_sub(before);
        if base.is_empty() && found != keys {
            return Err(corrupt(format!("the database should have {keys} keys and has {found}")));
        }
        Ok(())
    }

    fn source(&mut self, folder: &dyn Folder, name: &str) -> Result<usize> {
        if let Some(index) = self.by_name.get(name) {
            return Ok(*index);
        }
        let source = folder.open(name)?;
        self.sources.push(source);
        self.by_name.insert(name.to_owned(), self.sources.len() - 1);
        Ok(self.sources.len() - 1)
    }
}

struct Walk<'a> {
    database: &'a mut Database,
    folder: &'a dyn Folder,
    limits: &'a Limits,
    /// Decoded bytes and key bytes that may still come.
    budget: u64,
}

impl Walk<'_> {
    fn node(&mut self, files: &[DataFile], place: &NodePlace, height: u8, prefix: &[u8]) -> Result<()> {
        let file = files.get(place.file).ok_or_else(|| corrupt("a node lies in a file that is not in the table"))?;
        let source = self.database.source(self.folder, &file.path)?;
        let source = self.database.sources.get(source).map(Arc::clone);
        let source = source.ok_or_else(|| WeightsError::new(Code::Internal, "a data file has no place"))?;
        // Nodes may refer to one node many times; what all of them decode to is what counts.
        let stored = read_range(source.as_ref(), place.offset, place.len, "a node of the database")?;
        let body = unwrap(&stored, NODE_MAGIC, self.budget, self.limits)
            .map_err(|error| error.file(source.name()).offset(place.offset))?;
        self.spend((body.len() as u64).saturating_add(64))?;
        let mut cursor = Cursor::new(&body, "a node of the database");
        if cursor.byte()? != height {
            return Err(corrupt("a node of the database has another height than its parent says").offset(place.offset));
        }
        let table = file_table(&mut cursor, &file.base, &mut self.budget)?;
        let count = cursor.count()?;
        if height > 0 {
            self.interior(cursor, count, &table, height, prefix)
        } else {
            self.leaf(cursor, count, &table, prefix)
        }
    }

    fn leaf(&mut self, mut cursor: Cursor<'_>, count: usize, files: &[DataFile], prefix: &[u8]) -> Result<()> {
        let (keys, _) = cursor.keys(count, false, &mut self.budget)?;
        let lens = cursor.varints(count)?;
        let kinds = cursor.varints(count)?;
        let outside = kinds.iter().filter(|kind| **kind == 1).count();
        let mut file_ids = cursor.varints(outside)?.into_iter();
        let mut offsets = cursor.varints(outside)?.into_iter();
        for ((key, len), kind) in keys.into_iter().zip(lens).zip(kinds) {
            let value = match kind {
                0 => Value::Inline(cursor.take(len)?.into()),
                1 => {
                    let file = file_ids.next().and_then(|file| files.get(usize::try_from(file).ok()?));
                    let (Some(file), Some(offset)) = (file, offsets.next()) else {
                        return Err(corrupt("a value lies in a file that is not in the table"));
                    };
                    Value::Range { source: self.database.source(self.folder, &file.path)?, offset, len }
                }
                other => return Err(corrupt(format!("a value of the database is of kind {other}"))),
            };
            self.spend(prefix.len() as u64)?;
            let count = self.database.values.len() as u64;
            Limits::check("keys of the database", count.saturating_add(1), self.limits.max_tensors, "keys")?;
            self.database.values.insert([prefix, &key].concat(), value);
        }
        cursor.end()
    }

    fn interior(
        &mut self,
        mut cursor: Cursor<'_>,
        count: usize,
        files: &[DataFile],
        height: u8,
        prefix: &[u8],
    ) -> Result<()> {
        let (keys, common) = cursor.keys(count, true, &mut self.budget)?;
        let columns: Vec<Vec<u64>> = (0..6).map(|_| cursor.varints(count)).collect::<Result<_>>()?;
        cursor.end()?;
        for (number, (key, common)) in keys.iter().zip(common).enumerate() {
            let column =
                |index: usize| columns.get(index).and_then(|column| column.get(number)).copied().unwrap_or_default();
            let place =
                NodePlace { file: usize::try_from(column(0)).unwrap_or(usize::MAX), offset: column(1), len: column(2) };
            let common = usize::try_from(common).ok().and_then(|len| key.get(..len));
            let common = common.ok_or_else(|| corrupt("a common prefix of the database is longer than its key"))?;
            self.spend(prefix.len() as u64)?;
            self.node(files, &place, height.saturating_sub(1), &[prefix, common].concat())?;
        }
        Ok(())
    }

    fn spend(&mut self, bytes: u64) -> Result<()> {
        self.budget = self.budget.checked_sub(bytes).ok_or_else(|| {
            WeightsError::limit(
                "the tree of the database",
                self.limits.max_header_bytes.saturating_add(1),
                self.limits.max_header_bytes,
                "bytes",
            )
        })?;
        Ok(())
    }
}

/// Checks magic, length and checksum of a record and decompresses its body.
fn unwrap(stored: &[u8], magic: u32, most: u64, limits: &Limits) -> Result<Vec<u8>> {
    let mut cursor = Cursor::new(stored, "a record of the database");
    let found = cursor.take(4)?;
    if found != magic.to_be_bytes() {
        return Err(corrupt("a record of the database does not begin with its mark"));
    }
    let len = cursor.take(8)?.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let (covered, checksum) = stored.split_last_chunk().ok_or_else(|| cursor.malformed())?;
    if len != stored.len() as u64 {
        return Err(WeightsError::new(
            Code::Truncated,
            format!("a record of the database should have {len} bytes and has {}", stored.len()),
        )
        .format(super::FORMAT)
        .expected(len)
        .found(stored.len() as u64));
    }
    let (wanted, found) = (u32::from_le_bytes(*checksum), crc32c(covered));
    if wanted != found {
        return Err(WeightsError::new(Code::Digest, "a record of the database does not fit its checksum")
            .format(super::FORMAT)
            .expected(format!("{wanted:08x}"))
            .found(format!("{found:08x}")));
    }
    let mut cursor = Cursor::new(covered.get(12..).unwrap_or_default(), "a record of the database");
    if cursor.varint()? != 0 {
        return Err(unsupported("a record of the database is of a newer version"));
    }
    match cursor.varint()? {
        0 => Ok(cursor.rest.to_vec()),
        1 => {
            let body = compression::decompress(cursor.rest, most)?;
            compression::check_ratio(cursor.rest.len(), body.len() as u64, limits)?;
            Ok(body)
        }
        other => Err(unsupported(format!("a record of the database is compressed by method {other}"))),
    }
}

/// Paths of data files, relative to `base`; none may lead out of the folder.
fn file_table(cursor: &mut Cursor<'_>, base: &str, budget: &mut u64) -> Result<Vec<DataFile>> {
    let count = cursor.count()?;
    let (paths, base_lens) = cursor.keys(count, true, budget)?;
    let files = paths.into_iter().zip(base_lens).map(|(path, base_len)| {
        let path = String::from_utf8(path).ok()?;
        let inside = path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains(['\\', ':', '\0']);
        let own = path.get(..usize::try_from(base_len).ok()?)?;
        inside.then(|| DataFile { base: format!("{base}{own}"), path: format!("{base}{path}") })
    });
    files.collect::<Option<_>>().ok_or_else(|| corrupt("the database names a file outside its folder"))
}
