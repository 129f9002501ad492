//! Whether a file may be mapped.

use kw_model::{ByteSource, Code, Result, WeightsError};

/// What the caller wants done with tensors that could be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Map where it is safe, copy elsewhere.
    #[default]
    Auto,
    /// Map, or fail when the source cannot be mapped at all.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// Map aligned tensors of this source.
    Yes,
    /// Copy them.
    No,
}

/// Decides for one source. A local regular file is mapped; whoever guards mappings
/// against writers (a read lease) or distrusts a file system decides here.
///
/// # Errors
/// [`Code::Unsupported`] when mapping was demanded of something that is no local file.
pub fn may_map(source: &dyn ByteSource, access: Access) -> Result<Mapping> {
    match access {
        Access::Copy => Ok(Mapping::No),
        Access::Auto => Ok(if source.file().is_some() { Mapping::Yes } else { Mapping::No }),
        Access::Map if source.file().is_some() => Ok(Mapping::Yes),
        Access::Map => Err(WeightsError::new(
            Code::Unsupported,
            format!("{} is not a local file, so it cannot be mapped; use access \"auto\" or \"copy\"", source.name()),
        )
        .file(source.name())),
    }
}
