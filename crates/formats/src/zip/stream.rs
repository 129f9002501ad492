//! A member from front to back, inflated on the way if it must be, in constant memory.

use std::io::{self, BufReader, Read};

use flate2::bufread::DeflateDecoder;
use kw_model::{ByteSource, Cancel, Code, Crc32, Result, WeightsError};

use super::archive::Member;
use super::{FORMAT, corrupt};
use crate::buffers::PIECE;

/// Compressed bytes read at a time.
const INPUT: usize = 256 << 10;

/// Reads one member. Lengths and checksum are compared by [`MemberStream::finish`].
pub struct MemberStream<'a> {
    member: &'a Member,
    cancel: &'a Cancel,
    body: Body<'a>,
    crc: Crc32,
    left: u64,
}

enum Body<'a> {
    Stored(Range<'a>),
    Deflated(Box<DeflateDecoder<BufReader<Range<'a>>>>),
}

impl<'a> MemberStream<'a> {
    /// `stored` bytes at the member's offset; the caller has checked both lengths against source and limits.
    pub(super) fn new(source: &'a dyn ByteSource, member: &'a Member, stored: u64, cancel: &'a Cancel) -> Self {
        let range = Range { source, position: member.offset(), left: stored };
        let body = if member.is_stored() {
            Body::Stored(range)
        } else {
            Body::Deflated(Box::new(DeflateDecoder::new(BufReader::with_capacity(INPUT, range))))
        };
        MemberStream { member, cancel, body, crc: Crc32::default(), left: member.len() }
    }

    /// The member that is read.
    pub fn member(&self) -> &Member {
        self.member
    }

    /// Fills `out` with the next bytes, wholly or not at all.
    ///
    /// # Errors
    /// [`Code::Truncated`] beyond the member's length, [`Code::Corrupt`] for a malformed stream, [`Code::Aborted`].
    pub fn read_exact(&mut self, out: &mut [u8]) -> Result<()> {
        self.left = self.left.checked_sub(out.len() as u64).ok_or_else(|| {
            WeightsError::new(
                Code::Truncated,
                format!(
                    "the member {} has {} bytes, fewer than its content says",
                    self.member.name(),
                    self.member.len()
                ),
            )
            .format(FORMAT)
            .weight(self.member.name())
        })?;
        for piece in out.chunks_mut(PIECE) {
            self.cancel.check()?;
            let result = match &mut self.body {
                Body::Stored(range) => range.read_exact(piece),
                Body::Deflated(decoder) => decoder.read_exact(piece),
            };
            result.map_err(|error| self.failed(error))?;
            self.crc.update(piece);
        }
        Ok(())
    }

    /// Compares lengths and checksum, once all bytes were read.
    ///
    /// # Errors
    /// [`Code::Corrupt`] when the member is longer or shorter than the directory says, [`Code::Digest`].
    pub fn finish(mut self) -> Result<()> {
        if self.left > 0 {
            return Err(self.malformed(&format!("{} bytes are left over", self.left)));
        }
        if let Body::Deflated(decoder) = &mut self.body {
            // One byte more must not come; asking for it also makes the decoder take the end mark.
            let more = decoder.read(&mut [0]);
            let used = decoder.total_in();
            if more.map_err(|error| self.failed(error))? != 0 {
                return Err(self.malformed("it is longer than the directory says"));
            }
            if used != self.member.stored_len() {
                return Err(self.malformed("bytes are left over behind its end"));
            }
        }
        let (wanted, found) = (self.member.crc32(), self.crc.value());
        if wanted == found {
            return Ok(());
        }
        Err(WeightsError::new(
            Code::Digest,
            format!("the bytes of the member {} do not fit its CRC-32: the archive is damaged", self.member.name()),
        )
        .format(FORMAT)
        .weight(self.member.name())
        .offset(self.member.offset())
        .expected(format!("{wanted:08x}"))
        .found(format!("{found:08x}")))
    }

    fn malformed(&self, what: &str) -> WeightsError {
        corrupt(format!("the member {} is malformed: {what}", self.member.name()))
            .weight(self.member.name())
            .offset(self.member.offset())
    }

    fn failed(&self, error: io::Error) -> WeightsError {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return self.malformed("it is shorter than the directory says");
        }
        match error.downcast::<WeightsError>() {
            Ok(ours) => ours,
            Err(error) => self.malformed(&error.to_string()),
        }
    }
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
