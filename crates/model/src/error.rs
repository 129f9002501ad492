//! The one error type, with stable codes.

use std::fmt;

use crate::Shape;

/// Shorthand for results of this project.
pub type Result<T, E = WeightsError> = std::result::Result<T, E>;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)*) => {
        /// Whose fault it is and what kind: stable, documented in `docs/errors.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The string that JavaScript sees as `error.code`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $code,)* }
            }
        }
    };
}

codes! {
    /// The operating system refused a read, write, sync or rename.
    Io = "ERR_WEIGHTS_IO",
    /// No such file or folder.
    NotFound = "ERR_WEIGHTS_NOT_FOUND",
    /// The target exists and may not be overwritten.
    Exists = "ERR_WEIGHTS_EXISTS",
    /// The content is of no kind we know; the message says what it looks like.
    NotWeights = "ERR_WEIGHTS_NOT_WEIGHTS",
    /// The file ends before its own structure says.
    Truncated = "ERR_WEIGHTS_TRUNCATED",
    /// The structure contradicts itself.
    Corrupt = "ERR_WEIGHTS_CORRUPT",
    /// Valid, but of a feature we do not read or write.
    Unsupported = "ERR_WEIGHTS_UNSUPPORTED",
    /// A ceiling of `Limits` was reached: wanted, allowed and unit are given.
    Limit = "ERR_WEIGHTS_LIMIT",
    /// The bytes of a tensor do not fit the digest stored beside them.
    Digest = "ERR_WEIGHTS_DIGEST",
    /// A path, group or tensor that the request or the layout needs is not in the file.
    Missing = "ERR_WEIGHTS_MISSING",
    /// The number of layers with weights differs between model and file.
    LayerCount = "ERR_WEIGHTS_LAYER_COUNT",
    /// The number of weights of one layer differs.
    WeightCount = "ERR_WEIGHTS_WEIGHT_COUNT",
    /// The shape of one weight differs.
    Shape = "ERR_WEIGHTS_SHAPE",
    /// The dtype cannot be converted to the one wanted.
    DType = "ERR_WEIGHTS_DTYPE",
    /// The model or layer has no weights yet because its input shape is unknown.
    Unbuilt = "ERR_WEIGHTS_UNBUILT",
    /// Nothing in the file matched the model.
    NoMatch = "ERR_WEIGHTS_NO_MATCH",
    /// Two things would get one name, or a name cannot be written.
    Name = "ERR_WEIGHTS_NAME",
    /// The file name's suffix does not fit what was asked (`save_format`, `.keras`, …).
    Format = "ERR_WEIGHTS_FORMAT",
    /// A model config that cannot be understood.
    Config = "ERR_WEIGHTS_CONFIG",
    /// A layer class that nobody declared.
    UnknownLayer = "ERR_WEIGHTS_UNKNOWN_LAYER",
    /// An argument of the wrong kind or value.
    Argument = "ERR_WEIGHTS_ARGUMENT",
    /// An array was changed, resized or transferred while it was being saved, or a file was written to while it was open.
    Changed = "ERR_WEIGHTS_CHANGED",
    /// The file was closed before this call.
    Closed = "ERR_WEIGHTS_CLOSED",
    /// The caller aborted the work.
    Aborted = "ERR_WEIGHTS_ABORTED",
    /// Memory for the result could not be had.
    Memory = "ERR_WEIGHTS_MEMORY",
    /// The native binary for this platform is not installed (raised by TypeScript).
    NativeMissing = "ERR_WEIGHTS_NATIVE_MISSING",
    /// A defect of ours.
    Internal = "ERR_WEIGHTS_INTERNAL",
}

/// What was expected or found: JavaScript gets a number, an array of numbers or a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// A shape, elements per axis.
    Shape(Shape),
    /// A count or size; the message says the unit.
    Count(u64),
    /// Anything else: a dtype, a name, a digest in hexadecimal.
    Text(String),
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Detail::Shape(shape) => shape.fmt(f),
            Detail::Count(count) => count.fmt(f),
            Detail::Text(text) => text.fmt(f),
        }
    }
}

impl From<Shape> for Detail {
    fn from(shape: Shape) -> Self {
        Detail::Shape(shape)
    }
}

impl From<u64> for Detail {
    fn from(count: u64) -> Self {
        Detail::Count(count)
    }
}

impl From<String> for Detail {
    fn from(text: String) -> Self {
        Detail::Text(text)
    }
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Detail::Text(text.to_owned())
    }
}

/// An error with its place: file, layer, weight, what was expected and found, and what to do.
///
/// ```
/// use kw_model::{Code, Shape, WeightsError};
/// let error = WeightsError::new(Code::Shape, "the shapes differ")
///     .layer("dense")
///     .weight("kernel")
///     .expected(Shape::new([4, 5]))
///     .found(Shape::new([4, 6]));
/// assert_eq!(error.code().as_str(), "ERR_WEIGHTS_SHAPE");
/// ```
#[derive(Debug, Clone)]
pub struct WeightsError(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    code: Code,
    message: String,
    context: Context,
}

/// The fields of a [`WeightsError`], all optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// Path of the file as the caller gave it.
    pub file: Option<String>,
    /// Format name, as in reports (`keras3_h5`, `legacy_h5`, …).
    pub format: Option<String>,
    /// Layer name in the model.
    pub layer: Option<String>,
    /// Weight name or path.
    pub weight: Option<String>,
    /// What was wanted.
    pub expected: Option<Detail>,
    /// What was there.
    pub found: Option<Detail>,
    /// Byte offset in the file.
    pub offset: Option<u64>,
}

impl WeightsError {
    /// An error with a sentence that says what is wrong and, where there is something, what to do.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        WeightsError(Box::new(Inner { code, message: message.into(), context: Context::default() }))
    }

    /// A ceiling of `Limits` was reached.
    pub fn limit(what: &str, wanted: u64, allowed: u64, unit: &str) -> Self {
        Self::new(Code::Limit, format!("{what}: {wanted} {unit} wanted, {allowed} {unit} allowed (option `limits`)"))
            .expected(allowed)
            .found(wanted)
    }

    /// An operating-system error on `path` while doing `action` (a verb: "read", "rename").
    pub fn io(action: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => Code::NotFound,
            std::io::ErrorKind::AlreadyExists => Code::Exists,
            _ => Code::Io,
        };
        Self::new(code, format!("could not {action} {}: {error}", path.display())).file(path.display().to_string())
    }

    /// Puts a place before the sentence: "layers/dense/vars/0: the range is outside the file".
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.0.message = format!("{place}: {}", self.0.message);
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The fields.
    pub fn context(&self) -> &Context {
        &self.0.context
    }

    /// Adds to the end of the sentence.
    #[must_use]
    pub fn with_note(mut self, note: &str) -> Self {
        self.0.message.push_str(note);
        self
    }

    /// Says which file; an inner file name that is already there stays.
    #[must_use]
    pub fn file(mut self, file: impl Into<String>) -> Self {
        self.0.context.file.get_or_insert(file.into());
        self
    }

    /// Says which format.
    #[must_use]
    pub fn format(mut self, format: impl Into<String>) -> Self {
        self.0.context.format.get_or_insert(format.into());
        self
    }

    /// Says which layer.
    #[must_use]
    pub fn layer(mut self, layer: impl Into<String>) -> Self {
        self.0.context.layer.get_or_insert(layer.into());
        self
    }

    /// Says which weight.
    #[must_use]
    pub fn weight(mut self, weight: impl Into<String>) -> Self {
        self.0.context.weight.get_or_insert(weight.into());
        self
    }

    /// Says what was wanted.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<Detail>) -> Self {
        self.0.context.expected = Some(expected.into());
        self
    }

    /// Says what was there.
    #[must_use]
    pub fn found(mut self, found: impl Into<Detail>) -> Self {
        self.0.context.found = Some(found.into());
        self
    }

    /// Says where in the file, in bytes from its start.
    #[must_use]
    pub fn offset(mut self, offset: u64) -> Self {
        self.0.context.offset.get_or_insert(offset);
        self
    }
}

impl fmt::Display for WeightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.as_str(), self.0.message)
    }
}

impl std::error::Error for WeightsError {}
