//! HDF5: reading through a pure-Rust decoder, writing by a plan of our own.
//!
//! Only the module [`reader`] knows the decoder crate; [`writer`] does not need it.

pub mod reader;
pub mod writer;

pub use reader::{Hdf5Reader, open};
