//! String tensors: all lengths, a checksum of the lengths, all bytes.
//!
//! The checksum takes each length as a fixed-width integer (8 bytes only when 4 do not do), and the entry's
//! own checksum goes on from there over the stored checksum and the bytes.

use kw_model::{Code, Crc32c, Result, WeightsError};

use super::{checksum, corrupt};
use crate::varint;

/// Takes the stored form apart, into `count` strings and the CRC32C that belongs in the entry.
pub(super) fn decode(stored: &[u8], count: u64, big_endian: bool) -> Result<(Vec<Vec<u8>>, u32)> {
    let malformed = |what: &str| corrupt(format!("a string tensor is malformed: {what}"));
    // Every length takes a byte at least.
    let count = usize::try_from(count)
        .ok()
        .filter(|count| *count <= stored.len())
        .ok_or_else(|| malformed("it has fewer bytes than strings"))?;
    if count == 0 && stored.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let mut rest = stored;
    let mut crc = Crc32c::default();
    let mut lens = reserved(count)?;
    for _ in 0..count {
        let len = varint::take(&mut rest).ok_or_else(|| malformed("a length is cut off"))?;
        match (u32::try_from(len), big_endian) {
            (Ok(len), false) => crc.update(&len.to_le_bytes()),
            (Ok(len), true) => crc.update(&len.to_be_bytes()),
            (Err(_), false) => crc.update(&len.to_le_bytes()),
            (Err(_), true) => crc.update(&len.to_be_bytes()),
        }
        lens.push(len);
    }
    let (lengths_checksum, mut body) =
        rest.split_first_chunk::<4>().ok_or_else(|| malformed("the checksum of the lengths is missing"))?;
    let wanted = if big_endian { u32::from_be_bytes(*lengths_checksum) } else { u32::from_le_bytes(*lengths_checksum) };
    if wanted != checksum::mask(crc.value()) {
        return Err(malformed("the lengths do not fit their checksum"));
    }
    crc.update(lengths_checksum);
    crc.update(body);
    let mut strings = reserved(count)?;
    for len in lens {
        let (text, tail) = usize::try_from(len)
            .ok()
            .and_then(|len| body.split_at_checked(len))
            .ok_or_else(|| malformed("its strings are longer than its bytes"))?;
        strings.push(text.to_vec());
        body = tail;
    }
    if !body.is_empty() {
        return Err(malformed("bytes are left over behind its strings"));
    }
    Ok((strings, crc.value()))
}

fn reserved<T>(count: usize) -> Result<Vec<T>> {
    let mut list = Vec::new();
    list.try_reserve_exact(count)
        .map_err(|_| WeightsError::new(Code::Memory, format!("no memory for {count} strings")).format(super::FORMAT))?;
    Ok(list)
}

/// The stored form of some strings and the CRC32C that belongs in the entry.
pub(super) fn encode<S: AsRef<[u8]>>(strings: &[S]) -> (Vec<u8>, u32) {
    let mut out = Vec::new();
    let mut crc = Crc32c::default();
    for text in strings {
        let len = text.as_ref().len() as u64;
        varint::put(&mut out, len);
        match u32::try_from(len) {
            Ok(len) => crc.update(&len.to_le_bytes()),
            Err(_) => crc.update(&len.to_le_bytes()),
        }
    }
    let lengths_checksum = checksum::mask(crc.value()).to_le_bytes();
    crc.update(&lengths_checksum);
    out.extend_from_slice(&lengths_checksum);
    for text in strings {
        crc.update(text.as_ref());
        out.extend_from_slice(text.as_ref());
    }
    (out, crc.value())
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn strings_read_back() {
        for strings in [vec![], vec![&b""[..]], vec![b"a", b"", b"\0\xff", &[9; 300]]] {
            let (stored, crc) = encode(&strings);
            let (found, found_crc) = decode(&stored, strings.len() as u64, false).expect("ours");
            assert_eq!((found, found_crc), (strings.iter().map(|text| text.to_vec()).collect(), crc));
        }
        assert_eq!(encode::<&[u8]>(&[]).0.len(), 4);
        assert_eq!(decode(&[], 0, false).expect("TensorFlow takes it"), (vec![], 0));
    }

    #[test]
    fn every_damage_is_found() {
        let (stored, crc) = encode(&["kernel", "", "bias"]);
        for len in 0..stored.len() {
            assert!(decode(&stored[..len], 3, false).is_err(), "cut to {len}");
        }
        for position in 0..stored.len() {
            let mut damaged = stored.clone();
            damaged[position] ^= 1;
            assert!(decode(&damaged, 3, false).map_or(true, |(_, found)| found != crc), "byte {position}");
        }
        assert!(decode(&[&stored[..], &[0]].concat(), 3, false).is_err(), "a byte too many");
        for count in [2, 4, u64::MAX] {
            assert!(decode(&stored, count, false).is_err(), "{count} strings");
        }
    }
}
