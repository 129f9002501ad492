//! Zip archives, as far as `.keras` and `.npz` files need them: stored and deflated members, zip64, no encryption.
//!
//! The directory is parsed here and not by a library, because a file that nobody vouches for must mean one thing only:
//! two members of one name, members that overlap, local headers that contradict the directory and names that lead out of the
//! archive are all refused when the archive is opened. Members are sources of their own: a stored one is a range of the
//! archive and can be mapped.
//!
//! Rules: PKWARE's APPNOTE.TXT, sections 4.3 to 4.5.

mod archive;
mod names;
mod records;
mod stream;
mod writer;

use kw_model::{Code, WeightsError};

pub use archive::{Archive, Member};
pub use stream::MemberStream;
pub use writer::{ArchiveBuilder, ArchiveEmitter, ArchivePlan, MemberSink, PlannedMember};

/// The format's name in reports and errors.
pub const FORMAT: &str = "zip";

fn corrupt(message: impl Into<String>) -> WeightsError {
    WeightsError::new(Code::Corrupt, message).format(FORMAT)
}
