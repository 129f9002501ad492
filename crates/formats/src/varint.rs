//! Base-128 integers, seven bits a byte, lowest first: in tables, in protocol buffers and before strings.

/// Takes one integer off the front of `rest`; `None` when it is cut off or longer than 64 bits.
pub(crate) fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        let low = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit only.
        if shift == 63 && low > 1 {
            return None;
        }
        value |= low << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Takes one integer that has to fit in memory sizes.
pub(crate) fn take_len(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(take(rest)?).ok()
}

/// Appends one integer.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

fn low_byte(value: u64) -> u8 {
    let [byte, ..] = value.to_le_bytes();
    byte
}

#[cfg(test)]
mod tests {
    use super::{put, take};

    #[test]
    fn reads_back_what_it_wrote() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, u64::from(u32::MAX), u64::MAX / 2, u64::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            bytes.push(9);
            let mut rest = bytes.as_slice();
            assert_eq!(take(&mut rest), Some(value));
            assert_eq!(rest, [9]);
        }
    }

    #[test]
    fn refuses_what_is_cut_off_or_too_long() {
        for bytes in
            [&[][..], &[0x80], &[0xff; 9], &[0xff; 11], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]]
        {
            assert_eq!(take(&mut &*bytes), None, "{bytes:?}");
        }
    }
}
