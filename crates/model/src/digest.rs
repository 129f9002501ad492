//! CRC32C (Castagnoli), the checksum of TensorFlow bundles and of our own HDF5 digests, and CRC-32, that of archives.

use crc_fast::{CrcAlgorithm, Digest};

/// A CRC32C over bytes that come in pieces.
pub struct Crc32c(Digest);

impl Default for Crc32c {
    fn default() -> Self {
        Crc32c(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }
}

impl Crc32c {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of everything added so far.
    pub fn value(&self) -> u32 {
        // The 32-bit algorithm never sets the upper half.
        u32::try_from(self.0.finalize()).unwrap_or_default()
    }
}

/// CRC32C of one piece.
///
/// ```
/// // The check value of the CRC catalogue.
/// assert_eq!(kw_model::crc32c(b"123456789"), 0xe306_9283);
/// ```
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = Crc32c::default();
    crc.update(bytes);
    crc.value()
}

/// The CRC-32 of zip archives and gzip streams, over bytes that come in pieces.
pub struct Crc32(Digest);

impl Default for Crc32 {
    fn default() -> Self {
        Crc32(Digest::new(CrcAlgorithm::Crc32IsoHdlc))
    }
}

impl Crc32 {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of everything added so far.
    pub fn value(&self) -> u32 {
        // The 32-bit algorithm never sets the upper half.
        u32::try_from(self.0.finalize()).unwrap_or_default()
    }
}

/// CRC-32 of one piece.
///
/// ```
/// // The check value of the CRC catalogue.
/// assert_eq!(kw_model::crc32(b"123456789"), 0xcbf4_3926);
/// ```
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc32::default();
    crc.update(bytes);
    crc.value()
}
