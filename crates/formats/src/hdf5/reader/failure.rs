//! The decoder's errors and panics in our words.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hdf5_reader::error::Error;
use kw_model::{Code, Result, WeightsError};

/// Sends one of our errors through the decoder; [`describe`] takes it out again.
pub(super) fn carry(error: WeightsError) -> Error {
    Error::Io(std::io::Error::other(error))
}

/// An error of the decoder as one of ours.
pub(super) fn describe(error: Error) -> WeightsError {
    let code = match &error {
        Error::Context { .. } | Error::Io(_) => return unwrap(error),
        Error::InvalidMagic => Code::NotWeights,
        Error::ResourceLimit(_) => Code::Limit,
        Error::UnsupportedSuperblockVersion(_)
        | Error::UnsupportedDataspaceVersion(_)
        | Error::UnsupportedDatatypeClass(_)
        | Error::UnsupportedLayoutClass(_)
        | Error::UnsupportedLayoutVersion(_)
        | Error::UnsupportedFilterPipelineVersion(_)
        | Error::UnsupportedFillValueVersion(_)
        | Error::UnsupportedLinkVersion(_)
        | Error::UnsupportedLinkType(_)
        | Error::UnsupportedAttributeVersion(_)
        | Error::UnsupportedChunkIndexType(_)
        | Error::UnsupportedOffsetSize(_)
        | Error::UnsupportedLengthSize(_)
        | Error::UnsupportedFilter(_)
        | Error::UnsupportedEncoding(_) => Code::Unsupported,
        // Also the versions of headers, trees and heaps: HDF5 never raised them since they exist,
        // so another number there is damage.
        _ => Code::Corrupt,
    };
    let message = match &error {
        // What the class numbers mean is worth more than the number.
        Error::UnsupportedLayoutClass(3) => "a virtual dataset, whose values are in other datasets or files".to_owned(),
        Error::UnsupportedLinkType(kind) => format!("a user-defined link (type {kind})"),
        other => other.to_string(),
    };
    WeightsError::new(code, message)
}

fn unwrap(error: Error) -> WeightsError {
    match error {
        Error::Context { source, .. } => describe(*source),
        Error::Io(io) => match io.get_ref().and_then(|inner| inner.downcast_ref::<WeightsError>()) {
            Some(ours) => ours.clone(),
            None => WeightsError::new(Code::Io, io.to_string()),
        },
        other => WeightsError::new(Code::Corrupt, other.to_string()),
    }
}

/// Runs work in the decoder. It is other people's code on bytes that nobody vouches for,
/// so a panic in it counts as a damaged file and goes no further.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // Whatever a panic leaves half done is dropped with the error: no shared state is left behind
    // but the block cache, which holds plain bytes of the file.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
        let message = format!("the HDF5 decoder gave up on this file: {}", text.unwrap_or("no reason given"));
        Err(WeightsError::new(Code::Corrupt, message))
    })
}

#[cfg(test)]
mod tests {
    use hdf5_reader::error::Error;
    use kw_model::{Code, WeightsError};

    use super::{carry, describe, guarded};

    #[test]
    fn our_own_errors_come_through_unchanged() {
        let inner = WeightsError::new(Code::Io, "the disk is gone").offset(7);
        let error = describe(carry(inner).with_context("a").with_context("b"));
        assert_eq!((error.code(), error.message()), (Code::Io, "the disk is gone"));
        assert_eq!(error.context().offset, Some(7));
    }

    #[test]
    fn kinds_have_codes() {
        let cases = [
            (Error::InvalidMagic, Code::NotWeights),
            (Error::UnsupportedFilter("x".into()), Code::Unsupported),
            (Error::UnsupportedLayoutClass(3), Code::Unsupported),
            (Error::UnsupportedObjectHeaderVersion(0), Code::Corrupt),
            (Error::ResourceLimit("x".into()), Code::Limit),
            (Error::InvalidData("x".into()), Code::Corrupt),
            (Error::UndefinedAddress, Code::Corrupt),
        ];
        for (error, code) in cases {
            assert_eq!(describe(error.with_context("here")).code(), code);
        }
    }

    #[test]
    fn a_panic_is_a_damaged_file() {
        let error = guarded::<()>(|| panic!("index out of bounds")).expect_err("panicked");
        assert_eq!(error.code(), Code::Corrupt);
        assert!(error.message().contains("index out of bounds"));
        assert_eq!(guarded(|| Ok(3)).expect("fine"), 3);
    }
}
