//! CRC32C (Castagnoli), the checksum of TensorFlow bundles and of our own HDF5 digests, and CRC-32, that of archives.

/// A CRC32C over bytes that come in pieces.
#[derive(Default)]
pub struct Crc32c(u32);

impl Crc32c {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, bytes);
    }

    /// The checksum of everything added so far.
    pub fn value(&self) -> u32 {
        self.0
    }
}

/// CRC32C of one piece.
///
/// ```
/// // The check value of the CRC catalogue.
/// assert_eq!(kw_model::crc32c(b"123456789"), 0xe306_9283);
/// ```
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// The CRC-32 of zip archives and gzip streams, over bytes that come in pieces.
#[derive(Default)]
pub struct Crc32(crc32fast::Hasher);

impl Crc32 {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of everything added so far.
    pub fn value(&self) -> u32 {
        self.0.clone().finalize()
    }
}

/// CRC-32 of one piece.
///
/// ```
/// // The check value of the CRC catalogue.
/// assert_eq!(kw_model::crc32(b"123456789"), 0xcbf4_3926);
/// ```
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}
