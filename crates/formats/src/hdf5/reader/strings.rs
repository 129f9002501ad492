//! Strings as HDF5 stores them.

use hdf5_reader::StringPadding;

/// The string without what fills up its place.
///
/// Strings from a heap end at the first zero byte, whatever their type says: that is what C sees of them.
pub(super) fn trimmed(bytes: &[u8], padding: StringPadding) -> &[u8] {
    let end = match padding {
        StringPadding::NullTerminate => bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()),
        StringPadding::NullPad => last_other_than(bytes, 0),
        StringPadding::SpacePad => last_other_than(bytes, b' '),
    };
    bytes.get(..end).unwrap_or_default()
}

fn last_other_than(bytes: &[u8], filler: u8) -> usize {
    bytes.iter().rposition(|&byte| byte != filler).map_or(0, |last| last + 1)
}

/// Bytes of the string that a heap reference says it names.
pub(super) fn reference_len(reference: &[u8]) -> u64 {
    let len = reference.get(..4).and_then(|bytes| bytes.try_into().ok());
    u64::from(len.map_or(0, u32::from_le_bytes))
}

#[cfg(test)]
mod tests {
    use hdf5_reader::StringPadding::{NullPad, NullTerminate, SpacePad};

    use super::trimmed;

    #[test]
    fn paddings() {
        let cases = [
            (NullPad, &b"ab\0\0"[..], &b"ab"[..]),
            (NullPad, b"a\0b\0", b"a\0b"),
            (NullPad, b"\0\0", b""),
            (NullTerminate, b"ab\0x", b"ab"),
            (NullTerminate, b"abcd", b"abcd"),
            (SpacePad, b"a b  ", b"a b"),
            (SpacePad, b"", b""),
        ];
        for (padding, stored, expected) in cases {
            assert_eq!(trimmed(stored, padding), expected, "{padding:?} {stored:?}");
        }
    }
}
