//! What a load or save did, in the form that callers see.

use kw_model::{DType, Detail, WeightsError};
use serde::{Serialize, Serializer};

use crate::format::Format;

/// What a load will do once its values are in place.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadReport {
    /// Format of the file.
    pub format: Format,
    /// Weights that get a value, by path, in the order of assignment.
    pub loaded: Vec<String>,
    /// Layers that were left out because they did not fit.
    pub skipped: Vec<Skipped>,
    /// Weights of the model for which the file has no value.
    pub missing: Vec<String>,
    /// Tensors of the file that no weight takes.
    pub unexpected: Vec<String>,
    /// Weights whose values change their dtype.
    pub cast: Vec<Cast>,
    /// What should be known about the file, such as a suffix that disagrees with the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A layer that keeps its values.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Skipped {
    /// Name of the layer in the model.
    pub layer: String,
    /// The code that the load would have failed with.
    pub reason: &'static str,
    /// The weight that did not fit, if it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// What the model wants.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "detail")]
    pub expected: Option<Detail>,
    /// What the file has.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "detail")]
    pub found: Option<Detail>,
    /// The whole sentence.
    pub message: String,
}

impl Skipped {
    pub(crate) fn new(layer: &str, error: &WeightsError) -> Self {
        let context = error.context();
        Skipped {
            layer: layer.to_owned(),
            reason: error.code().as_str(),
            weight: context.weight.clone(),
            expected: context.expected.clone(),
            found: context.found.clone(),
            message: error.message().to_owned(),
        }
    }
}

/// A weight whose values are converted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cast {
    /// Path of the weight.
    pub weight: String,
    /// Dtype in the file.
    #[serde(serialize_with = "dtype")]
    pub from: DType,
    /// Dtype of the weight.
    #[serde(serialize_with = "dtype")]
    pub to: DType,
}

/// Something the caller should hear of although the load goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Stable code.
    pub code: WarningCode,
    /// Name of the layer, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// The sentence.
    pub message: String,
}

/// Why a warning was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum WarningCode {
    /// `skipMismatch` left a layer out.
    #[serde(rename = "WARN_WEIGHTS_SKIPPED_LAYER")]
    SkippedLayer,
    /// The optimizer's state in the file does not fit this optimizer.
    #[serde(rename = "WARN_WEIGHTS_SKIPPED_OPTIMIZER")]
    SkippedOptimizer,
    /// Layers in a nested list have no place in a file of an older Keras.
    #[serde(rename = "WARN_WEIGHTS_NESTED_CONTAINER")]
    NestedContainer,
    /// An option has no meaning for this format.
    #[serde(rename = "WARN_WEIGHTS_IGNORED_OPTION")]
    IgnoredOption,
}

impl WarningCode {
    /// The string that JavaScript sees.
    pub const fn as_str(self) -> &'static str {
        match self {
            WarningCode::SkippedLayer => "WARN_WEIGHTS_SKIPPED_LAYER",
            WarningCode::SkippedOptimizer => "WARN_WEIGHTS_SKIPPED_OPTIMIZER",
            WarningCode::NestedContainer => "WARN_WEIGHTS_NESTED_CONTAINER",
            WarningCode::IgnoredOption => "WARN_WEIGHTS_IGNORED_OPTION",
        }
    }
}

/// What a save wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SaveReport {
    /// Format of the file.
    pub format: Format,
    /// The file.
    pub path: String,
    /// Tensors in it.
    pub tensors: u64,
    /// Bytes of all tensors.
    pub tensor_bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn dtype<S: Serializer>(dtype: &DType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&dtype.name())
}

#[expect(clippy::ref_option, reason = "the signature serde asks for")]
fn detail<S: Serializer>(detail: &Option<Detail>, serializer: S) -> Result<S::Ok, S::Error> {
    match detail {
        None => serializer.serialize_none(),
        Some(Detail::Shape(shape)) => shape.axes().serialize(serializer),
        Some(Detail::Count(count)) => serializer.serialize_u64(*count),
        Some(Detail::Text(text)) => serializer.serialize_str(text),
    }
}
