//! Deflated members: decompressed once, to exactly the length that the directory says.

use std::io::{self, Read};

use flate2::bufread::DeflateDecoder;
use kw_model::{ByteSource, Cancel, Result, WeightsError};

use super::corrupt;
use crate::buffers::{self, PIECE};

/// Compressed bytes read at a time.
const INPUT: usize = 256 << 10;

/// Inflates `stored_len` bytes at `offset` to `len` bytes. The caller has checked both against source and limits.
///
/// # Errors
/// `Code::Corrupt` when the stream is malformed, or longer or shorter than either length.
pub(super) fn inflate(
    source: &dyn ByteSource,
    offset: u64,
    stored_len: u64,
    len: u64,
    cancel: &Cancel,
) -> Result<Vec<u8>> {
    let malformed = |what: &str| corrupt(format!("a deflated member is malformed: {what}")).offset(offset);
    let failed = |error: io::Error| match error.downcast::<WeightsError>() {
        Ok(ours) => ours,
        Err(error) => malformed(&error.to_string()),
    };
    let mut out = buffers::zeroed(len, "a deflated member")?;
    let range = Range { source, position: offset, left: stored_len };
    let mut decoder = DeflateDecoder::new(io::BufReader::with_capacity(INPUT, range));
    for piece in out.chunks_mut(PIECE) {
        cancel.check()?;
        decoder.read_exact(piece).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                malformed("it is shorter than the directory says")
            } else {
                failed(error)
            }
        })?;
    }
    // One byte more must not come; asking for it also makes the decoder take the end mark.
    if decoder.read(&mut [0]).map_err(failed)? != 0 {
        return Err(malformed("it is longer than the directory says"));
    }
    if decoder.total_in() != stored_len {
        return Err(malformed("bytes are left over behind its end"));
    }
    Ok(out)
}

/// A range of a source as a stream.
struct Range<'a> {
    source: &'a dyn ByteSource,
    position: u64,
    left: u64,
}

impl Read for Range<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        let part = out.get_mut(..len).unwrap_or_default();
        self.source.read_exact_at(self.position, part).map_err(io::Error::other)?;
        self.position = self.position.saturating_add(len as u64);
        self.left = self.left.saturating_sub(len as u64);
        Ok(len)
    }
}
