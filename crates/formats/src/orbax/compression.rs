//! zstd, to a length that is known or under a ceiling.

use std::io::Read;

use kw_model::{Limits, Result};
use ruzstd::decoding::StreamingDecoder;

use super::corrupt;

/// A zstd block of 128 KiB may take 4 bytes, thirty times less than deflate needs; freshly made optimizer state, all
/// zeros, does look like that.
const RATIO_OVER_DEFLATE: u64 = 64;

/// Fails when `len` decoded bytes are not to be believed of `stored` bytes.
pub(super) fn check_ratio(stored: usize, len: u64, limits: &Limits) -> Result<()> {
    let ratio = limits.max_inflate_ratio.saturating_mul(RATIO_OVER_DEFLATE);
    Limits::check("a compressed part of the checkpoint", len, (stored as u64).saturating_mul(ratio), "bytes")
}

/// Decompresses one frame to at most `most` bytes.
pub(super) fn decompress(stored: &[u8], most: u64) -> Result<Vec<u8>> {
    let malformed = |error: &dyn std::fmt::Display| corrupt(format!("a zstd frame cannot be decompressed: {error}"));
    let decoder = StreamingDecoder::new(stored).map_err(|error| malformed(&error))?;
    let mut out = Vec::new();
    decoder.take(most.saturating_add(1)).read_to_end(&mut out).map_err(|error| malformed(&error))?;
    if out.len() as u64 > most {
        return Err(malformed(&format_args!("it is longer than {most} bytes")));
    }
    Ok(out)
}
