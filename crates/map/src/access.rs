//! Whether a file may be mapped.

use std::sync::Arc;

use kw_model::{ByteSource, Code, Result, WeightsError};

use crate::Lease;

/// What the caller wants done with tensors that could be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Map where a lease guards the mapping, copy elsewhere.
    #[default]
    Auto,
    /// Map, with a lease where one can be had; fail when the source cannot be mapped at all.
    Map,
    /// Copy everything.
    Copy,
}

impl Access {
    /// The option's value in JavaScript.
    ///
    /// # Errors
    /// [`Code::Argument`] for any other word.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Access::Auto),
            "map" => Ok(Access::Map),
            "copy" => Ok(Access::Copy),
            other => Err(WeightsError::new(
                Code::Argument,
                format!("access is \"auto\", \"map\" or \"copy\", not {other:?}"),
            )),
        }
    }
}

/// The answer of [`may_map`].
#[derive(Debug, Clone)]
pub enum Mapping {
    /// Map aligned tensors of this source, under a lease where there is one.
    Yes(Option<Arc<Lease>>),
    /// Copy them.
    No,
}

/// Files below this size are copied unless mapping is demanded: that is as fast, and holds no file open.
const SMALL_FILE: u64 = 1 << 16;

/// Decides for one source. A local regular file is mapped where a lease keeps writers away from it, or where
/// the caller takes the risk.
///
/// # Errors
/// [`Code::Unsupported`] when mapping was demanded of something that is no local file.
pub fn may_map(source: &dyn ByteSource, access: Access) -> Result<Mapping> {
    let file = if access == Access::Copy { None } else { source.file() };
    match (access, file) {
        (Access::Map, Some((file, _))) => Ok(Mapping::Yes(Lease::of(&file, &source.name()))),
        (Access::Map, None) => Err(WeightsError::new(
            Code::Unsupported,
            format!("{} is not a local file, so it cannot be mapped; use access \"auto\" or \"copy\"", source.name()),
        )
        .file(source.name())),
        (Access::Auto, Some((file, _))) if file.metadata().is_ok_and(|data| data.len() >= SMALL_FILE) => {
            Ok(Lease::of(&file, &source.name()).map_or(Mapping::No, |lease| Mapping::Yes(Some(lease))))
        }
        _ => Ok(Mapping::No),
    }
}
