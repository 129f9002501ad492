//! The fixed records of an archive. All numbers are little-endian.

use super::corrupt;
use kw_model::Result;

pub(super) const LOCAL_SIGNATURE: u32 = 0x0403_4b50;
pub(super) const CENTRAL_SIGNATURE: u32 = 0x0201_4b50;
pub(super) const END_SIGNATURE: u32 = 0x0605_4b50;
pub(super) const ZIP64_END_SIGNATURE: u32 = 0x0606_4b50;
pub(super) const ZIP64_LOCATOR_SIGNATURE: u32 = 0x0706_4b50;
pub(super) const DESCRIPTOR_SIGNATURE: u32 = 0x0807_4b50;
pub(super) const LOCAL_LEN: u64 = 30;
pub(super) const CENTRAL_LEN: usize = 46;
pub(super) const END_LEN: usize = 22;
pub(super) const ZIP64_LOCATOR_LEN: usize = 20;
pub(super) const ZIP64_END_LEN: usize = 56;
/// The extra field that holds sizes and offsets of 64 bits.
pub(super) const ZIP64_EXTRA: u16 = 0x0001;
/// Flags: the member is encrypted (two ways), checksum and sizes stand behind the data, the name is UTF-8.
pub(super) const FLAG_ENCRYPTED: u16 = 1 | 1 << 6;
pub(super) const FLAG_DESCRIPTOR: u16 = 1 << 3;
pub(super) const FLAG_UTF8: u16 = 1 << 11;
/// In the place of a 32-bit number: the number stands in the zip64 extra field.
pub(super) const SATURATED: u32 = u32::MAX;

/// Takes numbers off the front of some bytes.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn u16(&mut self) -> Option<u16> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_le_bytes(*bytes))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*bytes))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*bytes))
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }
}

/// One entry of the directory.
#[derive(Debug, Clone)]
pub(super) struct Central {
    pub(super) name: Vec<u8>,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc: u32,
    pub(super) stored_len: u64,
    pub(super) len: u64,
    pub(super) offset: u64,
    /// Unix file type and permissions; 0 when another system wrote the entry.
    pub(super) mode: u32,
}

impl Central {
    /// Takes one entry off the directory.
    pub(super) fn take(cursor: &mut Cursor<'_>) -> Result<Self> {
        Self::parse(cursor).ok_or_else(|| corrupt("the directory of the archive is malformed"))
    }

    fn parse(cursor: &mut Cursor<'_>) -> Option<Self> {
        let mut fixed = Cursor(cursor.take(CENTRAL_LEN)?);
        (fixed.u32()? == CENTRAL_SIGNATURE).then_some(())?;
        let made_by = fixed.u16()?;
        let _needed = fixed.u16()?;
        let (flags, method) = (fixed.u16()?, fixed.u16()?);
        let _time_and_date = fixed.u32()?;
        let crc = fixed.u32()?;
        let (stored_len, len) = (fixed.u32()?, fixed.u32()?);
        let (name_len, extra_len, comment_len) = (fixed.u16()?, fixed.u16()?, fixed.u16()?);
        let disk = fixed.u16()?;
        let _internal = fixed.u16()?;
        let external = fixed.u32()?;
        let offset = fixed.u32()?;
        let name = cursor.take(name_len.into())?.to_vec();
        let extra = cursor.take(extra_len.into())?;
        cursor.take(comment_len.into())?;
        let [len, stored_len, offset] = zip64([len, stored_len, offset], extra)?;
        // Archives over several disks end with 1.44 MB; 0xffff would mean "see the zip64 field".
        (disk == 0).then_some(())?;
        let mode = if made_by >> 8 == 3 { external >> 16 } else { 0 };
        Some(Central { name, flags, method, crc, stored_len, len, offset, mode })
    }
}

/// Replaces saturated numbers by those of the zip64 extra field, which holds only these, in this order.
pub(super) fn zip64<const N: usize>(numbers: [u32; N], extra: &[u8]) -> Option<[u64; N]> {
    let mut wide = Cursor(find_extra(extra, ZIP64_EXTRA).unwrap_or_default());
    let mut found = [0_u64; N];
    for (slot, number) in found.iter_mut().zip(numbers) {
        *slot = if number == SATURATED { wide.u64()? } else { u64::from(number) };
    }
    Some(found)
}

fn find_extra(extra: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut cursor = Cursor(extra);
    loop {
        let id = cursor.u16()?;
        let len = cursor.u16()?;
        let body = cursor.take(len.into())?;
        if id == wanted {
            return Some(body);
        }
    }
}

/// Where the directory is, by the end record and the zip64 one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) entries: u64,
    pub(super) directory_len: u64,
    pub(super) directory_offset: u64,
}

/// Parses an end record; `None` in place of a number that only the zip64 record has.
pub(super) fn parse_end(bytes: &[u8]) -> Option<([Option<u64>; 3], u16)> {
    let mut cursor = Cursor(bytes);
    (cursor.u32()? == END_SIGNATURE).then_some(())?;
    let (disk, directory_disk) = (cursor.u16()?, cursor.u16()?);
    let (entries_here, entries) = (cursor.u16()?, cursor.u16()?);
    let (len, offset) = (cursor.u32()?, cursor.u32()?);
    let comment_len = cursor.u16()?;
    let one_disk = (disk == 0 || disk == u16::MAX) && (directory_disk == 0 || directory_disk == u16::MAX);
    (one_disk && entries_here == entries).then_some(())?;
    let wide = |number: u32| (number != SATURATED).then_some(u64::from(number));
    Some(([(entries != u16::MAX).then_some(u64::from(entries)), wide(len), wide(offset)], comment_len))
}

/// Parses the zip64 locator: where the zip64 end record is.
pub(super) fn parse_locator(bytes: &[u8]) -> Option<u64> {
    let mut cursor = Cursor(bytes);
    (cursor.u32()? == ZIP64_LOCATOR_SIGNATURE).then_some(())?;
    let disk = cursor.u32()?;
    let offset = cursor.u64()?;
    let disks = cursor.u32()?;
    (disk == 0 && disks <= 1).then_some(offset)
}

/// Parses a zip64 end record; it may have no extensible data.
pub(super) fn parse_zip64_end(bytes: &[u8]) -> Option<End> {
    let mut cursor = Cursor(bytes);
    (cursor.u32()? == ZIP64_END_SIGNATURE).then_some(())?;
    (cursor.u64()? == ZIP64_END_LEN as u64 - 12).then_some(())?;
    let _versions = cursor.u32()?;
    let (disk, directory_disk) = (cursor.u32()?, cursor.u32()?);
    let (entries_here, entries) = (cursor.u64()?, cursor.u64()?);
    let (directory_len, directory_offset) = (cursor.u64()?, cursor.u64()?);
    (disk == 0 && directory_disk == 0 && entries_here == entries).then_some(())?;
    Some(End { entries, directory_len, directory_offset })
}
