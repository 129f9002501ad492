//! Container formats: bytes to named arrays and back.
//!
//! One module and one cargo feature per format; none knows another, and none
//! knows Keras. Each reader implements [`kw_model::WeightsReader`].
#![forbid(unsafe_code)]

#[cfg(feature = "hdf5")]
pub mod hdf5;
#[cfg(feature = "npy")]
pub mod npy;
#[cfg(feature = "orbax")]
pub mod orbax;
#[cfg(feature = "safetensors")]
pub mod safetensors;
#[cfg(feature = "tf-checkpoint")]
pub mod tf_checkpoint;
#[cfg(feature = "tfjs-layers")]
pub mod tfjs_layers;
#[cfg(feature = "zip")]
pub mod zip;

#[cfg(any(
    feature = "orbax",
    feature = "safetensors",
    feature = "tf-checkpoint",
    feature = "tfjs-layers",
    feature = "zip"
))]
#[allow(dead_code, reason = "each format uses some of it")]
mod buffers;
#[cfg(any(feature = "orbax", feature = "tf-checkpoint"))]
#[allow(dead_code, reason = "each format uses some of it")]
mod varint;
