//! Writing an archive: plan every member, then stream it once from front to back.
//!
//! Members are stored, their bytes begin at multiples of 64 (an extra field fills the gap), timestamps are
//! 1 January 1980: the same members give the same bytes, and every one can be mapped. A member whose checksum is not known
//! before its bytes has it behind them, in a data descriptor.

use std::collections::HashSet;

use kw_model::{ByteSink, Code, Crc32, Result, WeightsError};

use super::records::{
    CENTRAL_SIGNATURE, DESCRIPTOR_SIGNATURE, END_SIGNATURE, FLAG_DESCRIPTOR, FLAG_UTF8, LOCAL_LEN, LOCAL_SIGNATURE,
    SATURATED, ZIP64_END_LEN, ZIP64_END_SIGNATURE, ZIP64_EXTRA, ZIP64_LOCATOR_SIGNATURE,
};
use super::{FORMAT, names};

/// Members begin at multiples of this many bytes of the archive.
const ALIGNMENT: u64 = 64;
/// Id of the extra field that holds an alignment and zeros (as Android's zipalign writes it).
const PADDING_EXTRA: u16 = 0xd935;
/// Id, length and alignment: no smaller padding can be written.
const PADDING_MIN: u64 = 6;
/// 1 January 1980, the first day that the format can express.
const DATE: u16 = 1 << 5 | 1;
const VERSION: u16 = 20;
const VERSION_ZIP64: u16 = 45;
/// Made on Unix, and the permissions of a plain file.
const MADE_BY: u16 = 3 << 8;
const MODE: u32 = 0o100_644;

/// Collects the members of an archive.
#[derive(Debug, Default)]
pub struct ArchiveBuilder {
    members: Vec<PlannedMember>,
    names: HashSet<String>,
}

/// One member of a plan.
#[derive(Debug, Clone)]
pub struct PlannedMember {
    name: String,
    len: u64,
    crc: Option<u32>,
    known: Option<Vec<u8>>,
    header: u64,
    offset: u64,
}

impl PlannedMember {
    /// Path in the archive.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of the member.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True without any bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Offset of its bytes in the archive, a multiple of 64.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn is_zip64(&self) -> bool {
        self.len >= u64::from(SATURATED)
    }
}

impl ArchiveBuilder {
    /// An empty archive.
    pub fn new() -> Self {
        ArchiveBuilder::default()
    }

    /// Adds a member whose bytes are streamed; `crc` is their CRC-32 if it is known already.
    ///
    /// # Errors
    /// [`Code::Name`] for a name that is taken, leads out of the archive or is longer than 65,535 bytes.
    pub fn member(&mut self, name: &str, len: u64, crc: Option<u32>) -> Result<usize> {
        self.push(name, len, crc, None)
    }

    /// Adds a small member whose bytes are here.
    ///
    /// # Errors
    /// As [`ArchiveBuilder::member`].
    pub fn bytes(&mut self, name: &str, bytes: Vec<u8>) -> Result<usize> {
        self.push(name, bytes.len() as u64, Some(kw_model::crc32(&bytes)), Some(bytes))
    }

    fn push(&mut self, name: &str, len: u64, crc: Option<u32>, known: Option<Vec<u8>>) -> Result<usize> {
        let refuse = |what: &str| {
            Err(WeightsError::new(Code::Name, format!("an archive cannot hold a member called {name:?}: {what}"))
                .format(FORMAT)
                .weight(name))
        };
        if names::check(name).is_err() || name.ends_with('/') {
            return refuse("it leads out of the archive or is no file");
        }
        if u16::try_from(name.len()).is_err() {
            return refuse("it is longer than 65,535 bytes");
        }
        if !self.names.insert(name.to_owned()) {
            return refuse("there is one already");
        }
        self.members.push(PlannedMember { name: name.to_owned(), len, crc, known, header: 0, offset: 0 });
        Ok(self.members.len() - 1)
    }

    /// Gives every member its place.
    ///
    /// # Errors
    /// [`Code::Limit`] when the archive would be longer than 64 bits can count.
    pub fn plan(mut self) -> Result<ArchivePlan> {
        let mut position = 0_u64;
        for member in &mut self.members {
            let beyond = || WeightsError::limit("an archive", u64::MAX, i64::MAX.cast_unsigned(), "bytes");
            member.header = position;
            let unpadded = position
                .checked_add(LOCAL_LEN + member.name.len() as u64 + if member.is_zip64() { 20 } else { 0 })
                .ok_or_else(beyond)?;
            let mut offset = unpadded.checked_next_multiple_of(ALIGNMENT).ok_or_else(beyond)?;
            if offset != unpadded && offset.saturating_sub(unpadded) < PADDING_MIN {
                offset = offset.saturating_add(ALIGNMENT);
            }
            member.offset = offset;
            let descriptor = match (member.crc, member.is_zip64()) {
                (Some(_), _) => 0,
                (None, false) => 16,
                (None, true) => 24,
            };
            position = offset
                .checked_add(member.len)
                .and_then(|end| end.checked_add(descriptor))
                .filter(|end| i64::try_from(*end).is_ok())
                .ok_or_else(beyond)?;
        }
        Ok(ArchivePlan { members: self.members, directory_offset: position })
    }
}

/// Every member in its place.
#[derive(Debug)]
pub struct ArchivePlan {
    members: Vec<PlannedMember>,
    directory_offset: u64,
}

impl ArchivePlan {
    /// The members, in order.
    pub fn members(&self) -> &[PlannedMember] {
        &self.members
    }

    /// Bytes of the whole archive.
    pub fn file_len(&self) -> u64 {
        let crcs = vec![0; self.members.len()];
        self.directory_offset.saturating_add(self.directory(&crcs).len() as u64)
    }

    /// Begins to write. The archive begins where the sink is now.
    ///
    /// # Errors
    /// What the sink refuses.
    pub fn emit<'a>(&'a self, sink: &'a mut dyn ByteSink) -> Result<ArchiveEmitter<'a>> {
        let base = sink.position();
        let mut emitter =
            ArchiveEmitter { plan: self, sink, base, current: 0, written: 0, crc: Crc32::default(), crcs: Vec::new() };
        emitter.begin()?;
        Ok(emitter)
    }

    fn directory(&self, crcs: &[u32]) -> Vec<u8> {
        let mut out = Vec::new();
        for (member, crc) in self.members.iter().zip(crcs) {
            put_central(&mut out, member, *crc);
        }
        let directory_len = out.len() as u64;
        let entries = self.members.len() as u64;
        let narrow_entries = u16::try_from(entries).ok().filter(|entries| *entries != u16::MAX);
        let saturated = |number: u64| number >= u64::from(SATURATED);
        if narrow_entries.is_none() || saturated(directory_len) || saturated(self.directory_offset) {
            let record_offset = self.directory_offset.saturating_add(directory_len);
            put_zip64_end(&mut out, entries, directory_len, self.directory_offset, record_offset);
        }
        out.extend_from_slice(&END_SIGNATURE.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for _ in 0..2 {
            out.extend_from_slice(&narrow_entries.unwrap_or(u16::MAX).to_le_bytes());
        }
        out.extend_from_slice(&narrow(directory_len).to_le_bytes());
        out.extend_from_slice(&narrow(self.directory_offset).to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out
    }
}

fn flags(member: &PlannedMember) -> u16 {
    let utf8 = if member.name.is_ascii() { 0 } else { FLAG_UTF8 };
    utf8 | if member.crc.is_none() { FLAG_DESCRIPTOR } else { 0 }
}

fn put_u16s(out: &mut Vec<u8>, numbers: &[u16]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

/// Fields fit: names and padding are below 65,536 bytes by the plan.
fn short(len: u64) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

/// Saturates a number that stands in a zip64 field.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(SATURATED)
}

fn put_local_header(out: &mut Vec<u8>, member: &PlannedMember) {
    let zip64 = member.is_zip64();
    let fixed = LOCAL_LEN.saturating_add(member.name.len() as u64);
    let extra_len = member.offset.saturating_sub(member.header).saturating_sub(fixed);
    out.extend_from_slice(&LOCAL_SIGNATURE.to_le_bytes());
    put_u16s(out, &[if zip64 { VERSION_ZIP64 } else { VERSION }, flags(member), 0, 0, DATE]);
    // Lengths are known in any case; only the checksum may come behind the data.
    out.extend_from_slice(&member.crc.unwrap_or(0).to_le_bytes());
    for _ in 0..2 {
        out.extend_from_slice(&narrow(member.len).to_le_bytes());
    }
    put_u16s(out, &[short(member.name.len() as u64), short(extra_len)]);
    out.extend_from_slice(member.name.as_bytes());
    let mut padding = extra_len;
    if zip64 {
        put_u16s(out, &[ZIP64_EXTRA, 16]);
        out.extend_from_slice(&member.len.to_le_bytes());
        out.extend_from_slice(&member.len.to_le_bytes());
        padding = padding.saturating_sub(20);
    }
    if padding > 0 {
        put_u16s(out, &[PADDING_EXTRA, short(padding.saturating_sub(4)), short(ALIGNMENT)]);
        out.resize(out.len().saturating_add(usize::from(short(padding.saturating_sub(PADDING_MIN)))), 0);
    }
}

fn put_central(out: &mut Vec<u8>, member: &PlannedMember, crc: u32) {
    let mut wide = Vec::new();
    if member.is_zip64() {
        wide.extend_from_slice(&member.len.to_le_bytes());
        wide.extend_from_slice(&member.len.to_le_bytes());
    }
    if member.header >= u64::from(SATURATED) {
        wide.extend_from_slice(&member.header.to_le_bytes());
    }
    let version = if wide.is_empty() { VERSION } else { VERSION_ZIP64 };
    out.extend_from_slice(&CENTRAL_SIGNATURE.to_le_bytes());
    put_u16s(out, &[MADE_BY | version, version, flags(member), 0, 0, DATE]);
    out.extend_from_slice(&crc.to_le_bytes());
    for _ in 0..2 {
        out.extend_from_slice(&narrow(member.len).to_le_bytes());
    }
    let extra_len = if wide.is_empty() { 0 } else { wide.len() as u64 + 4 };
    put_u16s(out, &[short(member.name.len() as u64), short(extra_len), 0, 0, 0]);
    out.extend_from_slice(&(MODE << 16).to_le_bytes());
    out.extend_from_slice(&narrow(member.header).to_le_bytes());
    out.extend_from_slice(member.name.as_bytes());
    if !wide.is_empty() {
        put_u16s(out, &[ZIP64_EXTRA, short(wide.len() as u64)]);
        out.extend_from_slice(&wide);
    }
}

fn put_zip64_end(out: &mut Vec<u8>, entries: u64, directory_len: u64, directory_offset: u64, record_offset: u64) {
    out.extend_from_slice(&ZIP64_END_SIGNATURE.to_le_bytes());
    out.extend_from_slice(&(ZIP64_END_LEN as u64 - 12).to_le_bytes());
    put_u16s(out, &[MADE_BY | VERSION_ZIP64, VERSION_ZIP64]);
    out.extend_from_slice(&[0; 8]);
    for number in [entries, entries, directory_len, directory_offset] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&ZIP64_LOCATOR_SIGNATURE.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&record_offset.to_le_bytes());
    out.extend_from_slice(&1_u32.to_le_bytes());
}

/// Writes an archive. Members are filled in order; those whose bytes the plan holds are written by themselves.
pub struct ArchiveEmitter<'a> {
    plan: &'a ArchivePlan,
    sink: &'a mut dyn ByteSink,
    /// Position of the sink at which the archive began.
    base: u64,
    current: usize,
    /// Bytes of the current member that are written.
    written: u64,
    crc: Crc32,
    crcs: Vec<u32>,
}

impl<'a> ArchiveEmitter<'a> {
    /// The member that [`ArchiveEmitter::write`] fills now; `None` behind the last one.
    pub fn current(&self) -> Option<&PlannedMember> {
        self.plan.members.get(self.current)
    }

    /// A sink for the current member, which must be filled to its length.
    ///
    /// # Errors
    /// [`Code::Argument`] behind the last member.
    pub fn member_sink(&mut self) -> Result<MemberSink<'_, 'a>> {
        let index = self.current;
        if self.current().is_none() {
            return Err(WeightsError::new(Code::Argument, "every member of the archive is written already"));
        }
        Ok(MemberSink { emitter: self, index, position: 0 })
    }

    /// Appends bytes of members.
    ///
    /// # Errors
    /// [`Code::Argument`] for more bytes than planned, [`Code::Changed`] when a member's bytes do not fit the
    /// checksum that was given for them; what the sink refuses.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let Some(member) = self.plan.members.get(self.current) else {
                return Err(WeightsError::new(Code::Argument, "more bytes were given than the archive has room for"));
            };
            let left = member.len.saturating_sub(self.written);
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at_checked(len).unwrap_or_default();
            self.sink.write_all(now)?;
            self.crc.update(now);
            self.written = self.written.saturating_add(len as u64);
            bytes = later;
            if self.written == member.len {
                self.end_member(member)?;
                self.begin()?;
            }
        }
        Ok(())
    }

    /// Writes headers, and the members that need no bytes from outside.
    fn begin(&mut self) -> Result<()> {
        while let Some(member) = self.plan.members.get(self.current) {
            let mut header = Vec::new();
            put_local_header(&mut header, member);
            debug_assert_eq!(self.sink.position(), self.base + member.header, "{}", member.name);
            self.sink.write_all(&header)?;
            self.written = 0;
            self.crc = Crc32::default();
            if let Some(bytes) = &member.known {
                self.sink.write_all(bytes)?;
                self.crc.update(bytes);
            } else if member.len > 0 {
                return Ok(());
            }
            self.end_member(member)?;
        }
        Ok(())
    }

    fn end_member(&mut self, member: &PlannedMember) -> Result<()> {
        let found = self.crc.value();
        if let Some(wanted) = member.crc
            && wanted != found
        {
            return Err(WeightsError::new(
                Code::Changed,
                format!("the bytes of {} changed while they were being saved", member.name),
            )
            .format(FORMAT)
            .weight(member.name.as_str())
            .expected(format!("{wanted:08x}"))
            .found(format!("{found:08x}")));
        }
        if member.crc.is_none() {
            let mut descriptor = DESCRIPTOR_SIGNATURE.to_le_bytes().to_vec();
            descriptor.extend_from_slice(&found.to_le_bytes());
            for _ in 0..2 {
                if member.is_zip64() {
                    descriptor.extend_from_slice(&member.len.to_le_bytes());
                } else {
                    descriptor.extend_from_slice(&narrow(member.len).to_le_bytes());
                }
            }
            self.sink.write_all(&descriptor)?;
        }
        self.crcs.push(found);
        self.current += 1;
        Ok(())
    }

    /// Writes the directory.
    ///
    /// # Errors
    /// [`Code::Argument`] when a member lacks bytes; what the sink refuses.
    pub fn finish(self) -> Result<()> {
        if let Some(member) = self.plan.members.get(self.current) {
            return Err(WeightsError::new(
                Code::Argument,
                format!("{} has {} of its {} bytes", member.name, self.written, member.len),
            )
            .format(FORMAT)
            .weight(member.name.as_str())
            .expected(member.len)
            .found(self.written));
        }
        let directory = self.plan.directory(&self.crcs);
        self.sink.write_all(&directory)
    }
}

/// One member as a sink of its own, for a writer that knows nothing of archives.
pub struct MemberSink<'e, 'a> {
    emitter: &'e mut ArchiveEmitter<'a>,
    index: usize,
    position: u64,
}

impl ByteSink for MemberSink<'_, '_> {
    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let len = self.emitter.plan.members.get(self.index).map_or(0, PlannedMember::len);
        let end = self.position.saturating_add(bytes.len() as u64);
        if end > len {
            return Err(WeightsError::new(Code::Argument, format!("a member of {len} bytes was given {end} bytes"))
                .format(FORMAT)
                .expected(len)
                .found(end));
        }
        self.emitter.write(bytes)?;
        self.position = end;
        Ok(())
    }

    fn position(&self) -> u64 {
        self.position
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kw_model::{ByteSource, Cancel, Limits, Result};

    use super::{ArchiveBuilder, put_local_header};
    use crate::zip::Archive;

    /// A few bytes here and there, zeros between them.
    struct Sparse {
        pieces: Vec<(u64, Vec<u8>)>,
        len: u64,
    }

    impl ByteSource for Sparse {
        fn len(&self) -> u64 {
            self.len
        }

        fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
            assert!(offset + out.len() as u64 <= self.len, "inside");
            for (at, byte) in (offset..).zip(out) {
                let piece = self.pieces.iter().find(|(start, bytes)| at >= *start && at - start < bytes.len() as u64);
                *byte = piece.map_or(0, |(start, bytes)| bytes[usize::try_from(at - start).expect("small")]);
            }
            Ok(())
        }

        fn name(&self) -> String {
            "sparse".to_owned()
        }
    }

    #[test]
    fn members_beyond_four_gib_get_zip64_records() {
        for crc in [None, Some(0x1234)] {
            let mut builder = ArchiveBuilder::new();
            builder.member("small", 3, Some(0)).expect("fine");
            builder.member("largest without", u64::from(u32::MAX) - 1, Some(7)).expect("fine");
            builder.member("smallest with", u64::from(u32::MAX), crc).expect("fine");
            builder.member("big", 5 << 30, crc).expect("fine");
            builder.bytes("behind", vec![1]).expect("fine");
            let plan = builder.plan().expect("fine");
            let mut pieces = Vec::new();
            for member in plan.members() {
                let mut header = Vec::new();
                put_local_header(&mut header, member);
                assert_eq!(member.header + header.len() as u64, member.offset());
                assert_eq!(member.offset() % 64, 0);
                pieces.push((member.header, header));
            }
            pieces.push((plan.members()[4].offset(), vec![1]));
            let crcs = [0, 7, crc.unwrap_or(9), crc.unwrap_or(9), kw_model::crc32(&[1])];
            pieces.push((plan.directory_offset, plan.directory(&crcs)));
            let source = Sparse { pieces, len: plan.file_len() };
            let archive = Archive::open(Arc::new(source), &Limits::default()).expect("ours");
            for (found, planned) in archive.members().iter().zip(plan.members()) {
                assert_eq!(
                    (found.name(), found.len(), found.offset()),
                    (planned.name(), planned.len(), planned.offset())
                );
            }
            assert_eq!(archive.members()[3].crc32(), crc.unwrap_or(9));
            archive.verify(4, &Cancel::default()).expect("behind the big ones");
        }
    }
}
