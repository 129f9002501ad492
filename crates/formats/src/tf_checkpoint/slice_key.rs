//! Keys of slices: a zero byte, the tensor's name and the extents in an encoding that sorts as the values do
//! (TensorFlow's `lib/strings/ordered_code`).

use super::slices::Extent;

/// The key under which one slice of the tensor `name` lies.
pub(super) fn slice_key(name: &[u8], extents: &[Extent]) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, 0);
    put_text(&mut out, name);
    put_number(&mut out, extents.len() as u64);
    for extent in extents {
        match *extent {
            Extent::Full => {
                put_signed(&mut out, 0);
                put_signed(&mut out, -1);
            }
            // Numbers from a file are below 2^63 (`entry`), those of a plan come from shapes.
            Extent::Part { start, len } => {
                put_signed(&mut out, start.cast_signed());
                put_signed(&mut out, len.cast_signed());
            }
        }
    }
    out
}

/// Length byte, then the big-endian bytes without leading zeros.
fn put_number(out: &mut Vec<u8>, value: u64) {
    let skipped = value.leading_zeros() / 8;
    let bytes = value.to_be_bytes();
    let significant = bytes.iter().skip(skipped as usize);
    out.push(u8::try_from(significant.len()).unwrap_or(8));
    out.extend(significant);
}

/// The bytes with 0x00 and 0xff escaped, then a terminator that sorts below everything.
fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        out.push(byte);
        match byte {
            0x00 => out.push(0xff),
            0xff => out.push(0x00),
            _ => {}
        }
    }
    out.extend_from_slice(&[0x00, 0x01]);
}

/// Two's complement of as many bytes as needed, the count of bytes in the leading bits.
fn put_signed(out: &mut Vec<u8>, value: i64) {
    // `len` bytes have room for `7 * len - 1` bits besides the sign.
    let magnitude = if value < 0 { !value } else { value };
    let bits = u64::BITS - magnitude.cast_unsigned().leading_zeros();
    let len = (1..10).find(|len| bits < 7 * len).unwrap_or(10) as usize;
    let sign = if value < 0 { 0xff } else { 0x00 };
    let mut bytes = [sign; 10];
    bytes[2..].copy_from_slice(&value.to_be_bytes());
    // `len` ones, then a zero: over a negative number's ones they turn into the complement.
    let [high, low] = (!(0xffff_u16 >> len)).to_be_bytes();
    let start = out.len();
    out.extend(bytes.iter().skip(10 - len));
    for (byte, mask) in out.iter_mut().skip(start).zip([high, low]) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::{put_number, put_signed, put_text, slice_key};
    use crate::tf_checkpoint::slices::Extent;

    fn signed(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        put_signed(&mut out, value);
        out
    }

    #[test]
    fn numbers_are_encoded_as_tensorflow_does() {
        let number = |value| {
            let mut out = Vec::new();
            put_number(&mut out, value);
            out
        };
        assert_eq!(number(0), [0]);
        assert_eq!(number(1), [1, 1]);
        assert_eq!(number(3), [1, 3]);
        assert_eq!(number(0x1234), [2, 0x12, 0x34]);
        assert_eq!(number(u64::MAX), [8, 255, 255, 255, 255, 255, 255, 255, 255]);
        let known: [(i64, &[u8]); 9] = [
            (0, &[0x80]),
            (-1, &[0x7f]),
            (63, &[0xbf]),
            (-64, &[0x40]),
            (64, &[0xc0, 0x40]),
            (-65, &[0x3f, 0xbf]),
            (334, &[0xc1, 0x4e]),
            (667, &[0xc2, 0x9b]),
            (8192, &[0xe0, 0x20, 0x00]),
        ];
        for (value, wanted) in known {
            assert_eq!(signed(value), wanted, "{value}");
        }
    }

    #[test]
    fn encoded_numbers_sort_as_the_numbers_do() {
        let mut values = vec![i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX, 0];
        for shift in 0..63 {
            for offset in [-1, 0, 1] {
                values.extend([(1_i64 << shift) + offset, -(1_i64 << shift) + offset]);
            }
        }
        values.sort_unstable();
        values.dedup();
        for pair in values.windows(2) {
            assert!(signed(pair[0]) < signed(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn names_are_escaped() {
        let mut out = Vec::new();
        put_text(&mut out, b"a\0b\xff");
        assert_eq!(out, b"a\0\xffb\xff\0\0\x01");
        let key = slice_key(b"v", &[Extent::Part { start: 0, len: 334 }, Extent::Full]);
        assert_eq!(key, b"\0v\0\x01\x01\x02\x80\xc1\x4e\x80\x7f");
    }
}
