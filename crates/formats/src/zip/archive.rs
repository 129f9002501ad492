//! Reading an archive: the directory is checked as a whole, then members are sources.

use std::collections::HashMap;
use std::sync::Arc;

use kw_model::{ByteSource, Cancel, Code, Limits, MemorySource, Result, SliceSource, WeightsError};

use super::records::{
    CENTRAL_LEN, Central, Cursor, END_LEN, END_SIGNATURE, End, FLAG_DESCRIPTOR, FLAG_ENCRYPTED, FLAG_UTF8, LOCAL_LEN,
    LOCAL_SIGNATURE, ZIP64_END_LEN, ZIP64_LOCATOR_LEN, parse_end, parse_locator, parse_zip64_end, zip64,
};
use super::stream::MemberStream;
use super::{FORMAT, corrupt, names};
use crate::buffers::{self, PIECE, read_range};

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    name: String,
    method: u16,
    encrypted: bool,
    link: bool,
    crc: u32,
    /// Offset of the local header.
    header: u64,
    offset: u64,
    stored_len: u64,
    len: u64,
}

impl Member {
    /// Path in the archive, with `/` between its parts; folders end with one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes once read.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True without any bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the bytes stand in the archive as they are.
    pub fn is_stored(&self) -> bool {
        self.method == STORED
    }

    /// Offset of the member's bytes in the archive.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// CRC-32 of the bytes, as the directory says.
    pub fn crc32(&self) -> u32 {
        self.crc
    }

    /// Bytes in the archive, compressed if they are.
    pub fn stored_len(&self) -> u64 {
        self.stored_len
    }

    fn end(&self) -> u64 {
        self.offset.saturating_add(self.stored_len)
    }
}

/// An opened archive. Names are unique and stay inside, members do not overlap, and directory and
/// local headers agree.
pub struct Archive {
    source: Arc<dyn ByteSource>,
    members: Vec<Member>,
    by_name: HashMap<String, usize>,
    limits: Limits,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("members", &self.members).finish_non_exhaustive()
    }
}

impl Archive {
    /// Reads and checks the directory. No member's bytes are touched.
    ///
    /// # Errors
    /// [`Code::NotWeights`] without an archive's start and end, [`Code::Truncated`] without the end,
    /// [`Code::Corrupt`] for anything that contradicts itself or leads out of the archive, [`Code::Limit`].
    pub fn open(source: Arc<dyn ByteSource>, limits: &Limits) -> Result<Self> {
        let members = Self::parse(&source, limits).map_err(|error| error.file(source.name()).format(FORMAT))?;
        let by_name = members.iter().enumerate().map(|(index, member)| (member.name.clone(), index)).collect();
        Ok(Archive { source, members, by_name, limits: limits.clone() })
    }

    fn parse(source: &Arc<dyn ByteSource>, limits: &Limits) -> Result<Vec<Member>> {
        let (end, directory_end) = find_end(source.as_ref())?;
        if end.directory_offset.checked_add(end.directory_len) != Some(directory_end) {
            return Err(corrupt(format!(
                "the directory of {} bytes at offset {} does not end where the archive's end begins ({directory_end})",
                end.directory_len, end.directory_offset
            )));
        }
        Limits::check("the directory of the archive", end.directory_len, limits.max_header_bytes, "bytes")?;
        Limits::check("files in the archive", end.entries, limits.max_tensors, "files")?;
        if end.entries.saturating_mul(CENTRAL_LEN as u64) > end.directory_len {
            return Err(corrupt(format!(
                "a directory of {} bytes cannot name {} files",
                end.directory_len, end.entries
            )));
        }
        let directory =
            read_range(source.as_ref(), end.directory_offset, end.directory_len, "the archive's directory")?;
        let mut cursor = Cursor(&directory);
        let mut members = Vec::new();
        for _ in 0..end.entries {
            let entry = Central::take(&mut cursor)?;
            members.push(check_local_header(source.as_ref(), &entry, end.directory_offset)?);
        }
        if !cursor.0.is_empty() {
            return Err(corrupt("bytes are left over behind the directory's last entry"));
        }
        check_apart(&members)?;
        Ok(members)
    }

    /// All members, in the order of the directory.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Index of a member by its exact name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Index of a member that somebody needs.
    ///
    /// # Errors
    /// [`Code::Missing`].
    pub fn require(&self, name: &str) -> Result<usize> {
        self.find(name).ok_or_else(|| {
            WeightsError::new(Code::Missing, format!("{} holds no {name}", self.source.name()))
                .file(self.source.name())
                .format(FORMAT)
                .weight(name)
        })
    }

    /// The bytes of a member: a range of the archive when it is stored, else inflated once into memory,
    /// under the limits and with its checksum compared.
    ///
    /// # Errors
    /// [`Code::Unsupported`] for an encrypted or otherwise compressed member or a link, [`Code::Limit`],
    /// [`Code::Corrupt`] or [`Code::Digest`] for a deflated member that is damaged, [`Code::Aborted`].
    pub fn source(&self, index: usize, cancel: &Cancel) -> Result<Arc<dyn ByteSource>> {
        let member = self.member(index)?;
        let name = format!("{}!{}", self.source.name(), member.name);
        self.supported(member).map_err(|error| error.file(name.as_str()))?;
        if member.is_stored() {
            let slice = SliceSource::new(Arc::clone(&self.source), member.offset, member.stored_len, name)?;
            return Ok(Arc::new(slice));
        }
        let mut stream = self.stream(index, cancel)?;
        let mut inflated = buffers::zeroed(member.len, "a deflated member")?;
        stream
            .read_exact(&mut inflated)
            .and_then(|()| stream.finish())
            .map_err(|error| error.file(self.source.name()))?;
        Ok(Arc::new(MemorySource::new(inflated, name)))
    }

    /// A member from front to back.
    ///
    /// # Errors
    /// [`Code::Unsupported`] for an encrypted or otherwise compressed member or a link, [`Code::Limit`].
    pub fn stream<'a>(&'a self, index: usize, cancel: &'a Cancel) -> Result<MemberStream<'a>> {
        let member = self.member(index)?;
        self.supported(member)?;
        if !member.is_stored() {
            let what = format!("the inflated member {}", member.name);
            let allowed = member.stored_len.saturating_mul(self.limits.max_inflate_ratio);
            Limits::check(&what, member.len, allowed.min(self.limits.max_tensor_bytes), "bytes")?;
        }
        Ok(MemberStream::new(self.source.as_ref(), member, member.stored_len, cancel))
    }

    /// Compares lengths and checksum of a member with its bytes, all of which are read.
    ///
    /// # Errors
    /// [`Code::Digest`] when the checksum does not fit; otherwise as [`Archive::source`].
    pub fn verify(&self, index: usize, cancel: &Cancel) -> Result<()> {
        let mut stream = self.stream(index, cancel)?;
        let mut left = stream.member().len;
        let mut buffer = buffers::zeroed(left.min(PIECE as u64), "a piece of a member")?;
        while left > 0 {
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            stream.read_exact(buffer.get_mut(..len).unwrap_or_default())?;
            left = left.saturating_sub(len as u64);
        }
        stream.finish().map_err(|error| error.file(self.source.name()))
    }

    fn member(&self, index: usize) -> Result<&Member> {
        self.members.get(index).ok_or_else(|| {
            WeightsError::new(
                Code::Missing,
                format!("there is no member number {index}; the archive has {}", self.members.len()),
            )
        })
    }

    fn supported(&self, member: &Member) -> Result<()> {
        let what = match member {
            Member { encrypted: true, .. } => "is encrypted".to_owned(),
            Member { link: true, .. } => "is a symbolic link".to_owned(),
            Member { method: STORED | DEFLATED, .. } => return Ok(()),
            Member { method, .. } => format!("is compressed by method {method}; 0 (stored) and 8 (deflate) are known"),
        };
        Err(WeightsError::new(Code::Unsupported, format!("the member {} {what}", member.name))
            .file(self.source.name())
            .format(FORMAT)
            .weight(member.name.as_str()))
    }
}

/// The end record and the offset at which it, or the zip64 record before it, begins.
fn find_end(source: &dyn ByteSource) -> Result<(End, u64)> {
    let tail_len = source.len().min(END_LEN as u64 + u64::from(u16::MAX));
    let tail_offset = source.len().saturating_sub(tail_len);
    let tail = read_range(source, tail_offset, tail_len, "the end of the archive")?;
    let signature = END_SIGNATURE.to_le_bytes();
    let found = tail.windows(END_LEN).enumerate().rev().find_map(|(position, window)| {
        if !window.starts_with(&signature) {
            return None;
        }
        let (numbers, comment_len) = parse_end(window)?;
        // The comment reaches to the end of the file; a signature inside a comment does not qualify.
        (position + END_LEN + usize::from(comment_len) == tail.len()).then_some((numbers, position))
    });
    let Some((numbers, position)) = found else { return Err(not_an_archive(source)) };
    let end_offset = tail_offset.saturating_add(position as u64);
    let zip64_end = zip64_end(source, end_offset)?;
    let Some((wide, offset)) = zip64_end else {
        let [Some(entries), Some(directory_len), Some(directory_offset)] = numbers else {
            return Err(corrupt("the archive's end refers to a zip64 record that is missing"));
        };
        return Ok((End { entries, directory_len, directory_offset }, end_offset));
    };
    let agree = numbers
        .iter()
        .zip([wide.entries, wide.directory_len, wide.directory_offset])
        .all(|(narrow, wide)| narrow.is_none_or(|narrow| narrow == wide));
    if agree { Ok((wide, offset)) } else { Err(corrupt("the two end records of the archive contradict each other")) }
}

fn zip64_end(source: &dyn ByteSource, end_offset: u64) -> Result<Option<(End, u64)>> {
    let Some(locator_offset) = end_offset.checked_sub(ZIP64_LOCATOR_LEN as u64) else { return Ok(None) };
    let locator = read_range(source, locator_offset, ZIP64_LOCATOR_LEN as u64, "the archive's end")?;
    let Some(offset) = parse_locator(&locator) else { return Ok(None) };
    // The record stands directly before its locator.
    if offset.checked_add(ZIP64_END_LEN as u64) != Some(locator_offset) {
        return Err(corrupt("the zip64 record of the archive is not where its locator says").offset(locator_offset));
    }
    let record = read_range(source, offset, ZIP64_END_LEN as u64, "the archive's zip64 record")?;
    let end = parse_zip64_end(&record).ok_or_else(|| corrupt("the zip64 record is malformed").offset(offset))?;
    Ok(Some((end, offset)))
}

fn not_an_archive(source: &dyn ByteSource) -> WeightsError {
    let mut start = [0; 4];
    let begins_right = source.read_exact_at(0, &mut start).is_ok() && u32::from_le_bytes(start) == LOCAL_SIGNATURE;
    let (code, what) = if begins_right {
        (Code::Truncated, "begins as a zip archive, but its end, which holds the directory, is missing")
    } else {
        (Code::NotWeights, "is not a zip archive")
    };
    WeightsError::new(code, format!("{} ({} bytes) {what}", source.name(), source.len()))
}

/// Compares the local header with the directory's entry and finds the member's bytes.
fn check_local_header(source: &dyn ByteSource, entry: &Central, directory_offset: u64) -> Result<Member> {
    let name = String::from_utf8(entry.name.clone())
        .ok()
        .filter(|name| entry.flags & FLAG_UTF8 != 0 || name.is_ascii())
        .ok_or_else(|| corrupt(format!("the name {} is in no known encoding", entry.name.escape_ascii())))?;
    names::check(&name)?;
    let contradicts = || {
        corrupt(format!("the header of the member {name} contradicts the directory of the archive"))
            .offset(entry.offset)
            .weight(name.as_str())
    };
    let header_len = LOCAL_LEN.saturating_add(entry.name.len() as u64);
    if entry.offset.checked_add(header_len).is_none_or(|end| end > directory_offset) {
        return Err(contradicts());
    }
    let header = read_range(source, entry.offset, header_len, "the header of a member")?;
    let local = parse_local_header(&header).ok_or_else(contradicts)?;
    let extra_offset = entry.offset.saturating_add(header_len);
    let extra_len = u64::from(local.extra_len);
    let agrees = local.name == entry.name
        && local.method == entry.method
        && local.flags & (FLAG_ENCRYPTED | FLAG_DESCRIPTOR) == entry.flags & (FLAG_ENCRYPTED | FLAG_DESCRIPTOR);
    let offset = extra_offset.checked_add(extra_len);
    let end = offset.and_then(|offset| offset.checked_add(entry.stored_len));
    let (Some(offset), Some(end)) = (offset, end) else { return Err(contradicts()) };
    if !agrees || end > directory_offset || (entry.method == STORED && entry.stored_len != entry.len) {
        return Err(contradicts());
    }
    let extra = read_range(source, extra_offset, extra_len, "the header of a member")?;
    let [len, stored_len] = zip64(local.lens, &extra).ok_or_else(contradicts)?;
    let same = (local.crc, stored_len, len) == (entry.crc, entry.stored_len, entry.len);
    // With a descriptor behind the data, writers leave these empty or fill in what they know.
    let left_open = entry.flags & FLAG_DESCRIPTOR != 0
        && (local.crc == 0 || local.crc == entry.crc)
        && (stored_len == 0 || stored_len == entry.stored_len)
        && (len == 0 || len == entry.len);
    if !same && !left_open {
        return Err(contradicts());
    }
    Ok(Member {
        method: entry.method,
        encrypted: entry.flags & FLAG_ENCRYPTED != 0,
        link: entry.mode & 0o170_000 == 0o120_000,
        crc: entry.crc,
        header: entry.offset,
        offset,
        stored_len: entry.stored_len,
        len: entry.len,
        name,
    })
}

struct Local<'a> {
    flags: u16,
    method: u16,
    crc: u32,
    /// Length once read, then as stored: the order of the zip64 field.
    lens: [u32; 2],
    extra_len: u16,
    name: &'a [u8],
}

fn parse_local_header(bytes: &[u8]) -> Option<Local<'_>> {
    let mut cursor = Cursor(bytes);
    (cursor.u32()? == LOCAL_SIGNATURE).then_some(())?;
    let _needed = cursor.u16()?;
    let (flags, method) = (cursor.u16()?, cursor.u16()?);
    let _time_and_date = cursor.u32()?;
    let crc = cursor.u32()?;
    let (stored_len, len) = (cursor.u32()?, cursor.u32()?);
    let (name_len, extra_len) = (cursor.u16()?, cursor.u16()?);
    (usize::from(name_len) == cursor.0.len()).then_some(())?;
    Some(Local { flags, method, crc, lens: [len, stored_len], extra_len, name: cursor.0 })
}

/// Fails when two members share a name or a byte.
fn check_apart(members: &[Member]) -> Result<()> {
    let mut names: Vec<&str> = members.iter().map(|member| member.name.trim_end_matches('/')).collect();
    names.sort_unstable();
    if let Some(name) = names.windows(2).find_map(|pair| match pair {
        [a, b] if a == b => Some(*a),
        _ => None,
    }) {
        return Err(corrupt(format!("two members of the archive are called {name}")).weight(name));
    }
    let mut placed: Vec<&Member> = members.iter().collect();
    placed.sort_unstable_by_key(|member| member.header);
    for pair in placed.windows(2) {
        if let [a, b] = pair
            && a.end() > b.header
        {
            return Err(
                corrupt(format!("the members {} and {} of the archive overlap", a.name, b.name)).offset(b.header)
            );
        }
    }
    Ok(())
}
