//! TensorFlow stores checksums of data that may itself hold checksums, so it turns and shifts ("masks") them.

use kw_model::crc32c;

const SHIFT: u32 = 0xa282_ead8;

/// The stored form of a CRC32C.
pub(super) fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(SHIFT)
}

/// The CRC32C behind a stored form.
pub(super) fn unmask(masked: u32) -> u32 {
    masked.wrapping_sub(SHIFT).rotate_left(15)
}

/// Masked checksum of one piece.
pub(super) fn masked(bytes: &[u8]) -> u32 {
    mask(crc32c(bytes))
}

#[cfg(test)]
mod tests {
    use super::{mask, unmask};

    #[test]
    fn unmasking_undoes_masking() {
        assert_eq!(mask(0), 0xa282_ead8);
        for crc in [0, 1, 0xe306_9283, u32::MAX] {
            assert_eq!(unmask(mask(crc)), crc);
        }
    }
}
