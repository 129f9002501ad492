//! The contract of every container reader.

use crate::{Cancel, Catalogue, Result};

/// An opened container. Metadata was read and checked; tensor bytes were not touched.
pub trait WeightsReader: Send + Sync {
    /// What the container holds.
    fn catalogue(&self) -> &Catalogue;

    /// Fills `out` with the dense, little-endian, C-order bytes of tensor `index`, wholly or not at all.
    /// Works for every numeric entry, whatever its location.
    ///
    /// # Errors
    /// [`crate::Code::Argument`] when `out` has not exactly `byte_len` bytes; [`crate::Code::Aborted`];
    /// whatever the bytes themselves cause.
    fn read_into(&self, index: usize, out: &mut [u8], cancel: &Cancel) -> Result<()>;

    /// The elements of a string tensor, in C order.
    ///
    /// # Errors
    /// [`crate::Code::DType`] when the entry holds no strings.
    fn read_strings(&self, index: usize) -> Result<Vec<Vec<u8>>>;

    /// Compares tensor `index`, or the part of the container around it, with a checksum that the container keeps
    /// elsewhere than in the catalogue (the CRC-32 of an archive's member); false when there is none.
    /// A checksum of many tensors is compared once.
    ///
    /// # Errors
    /// [`crate::Code::Digest`] when it does not fit; [`crate::Code::Aborted`]; what reading causes.
    fn verify_stored(&self, index: usize, cancel: &Cancel) -> Result<bool> {
        let _ = (index, cancel);
        Ok(false)
    }

    /// The format's name in reports and errors, such as `hdf5`.
    fn format(&self) -> &'static str;
}
