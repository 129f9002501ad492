//! What `model.json` says of the weights.

use kw_model::{ByteSource, Code, DType, Limits, Result, Shape, WeightsError};
use serde_json::Value;

use super::{FORMAT, corrupt};
use crate::buffers::read_range;

/// How the values of a weight were made smaller.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Quantization {
    /// Whole numbers `q` of one or two bytes that stand for `q × scale + min`.
    Affine { width: u64, scale: f64, min: f64 },
    /// Half precision.
    Float16,
}

impl Quantization {
    /// Bytes of one stored element.
    pub(super) const fn width(self) -> u64 {
        match self {
            Quantization::Affine { width, .. } => width,
            Quantization::Float16 => 2,
        }
    }
}

/// One weight.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) shape: Shape,
    pub(super) quantization: Option<Quantization>,
    /// `optimizer`, for what TensorFlow.js saved of its optimizer.
    pub(super) group: Option<String>,
}

/// Weights that lie one after the other in the bytes of some files.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) paths: Vec<String>,
    pub(super) weights: Vec<Spec>,
}

/// A `model.json` that was understood.
#[derive(Debug)]
pub struct Manifest {
    pub(super) groups: Vec<Group>,
    json: Value,
}

impl Manifest {
    /// Parses a `model.json`; `None` for JSON without a `weightsManifest`.
    ///
    /// # Errors
    /// [`Code::Limit`], [`Code::Corrupt`] for a manifest that names files elsewhere or is not understood,
    /// [`Code::Unsupported`] for dtypes that TensorFlow.js does not have.
    pub fn read(source: &dyn ByteSource, limits: &Limits) -> Result<Option<Self>> {
        Limits::check("the model.json", source.len(), limits.max_header_bytes, "bytes")?;
        let text = read_range(source, 0, source.len(), "the model.json")?;
        let Ok(json) = serde_json::from_slice::<Value>(&text) else { return Ok(None) };
        let Some(groups) = json.get("weightsManifest") else { return Ok(None) };
        let groups = list(groups, "weightsManifest")?.iter().map(group).collect::<Result<_>>();
        let groups = groups.map_err(|error| error.file(source.name()))?;
        Ok(Some(Manifest { groups, json }))
    }

    /// The files that hold the values, in order.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().flat_map(|group| &group.paths).map(String::as_str)
    }

    /// What else is in the `model.json`, by name: texts as they are, other members (`modelTopology`) as JSON.
    pub(super) fn texts(&self) -> impl Iterator<Item = (String, String)> {
        let members = self.json.as_object().into_iter().flatten();
        let others = members.filter(|(name, value)| *name != "weightsManifest" && !value.is_null());
        others.map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
    }
}

fn list<'v>(value: &'v Value, what: &str) -> Result<&'v Vec<Value>> {
    value.as_array().ok_or_else(|| corrupt(format!("{what} of the model.json is no list")))
}

fn text<'v>(value: &'v Value, name: &str) -> Result<&'v str> {
    value
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| corrupt(format!("a weight or file of the manifest has no {name}")))
}

fn group(value: &Value) -> Result<Group> {
    let member = |name: &str| list(value.get(name).unwrap_or(&Value::Null), name);
    let mut paths = Vec::new();
    for path in member("paths")? {
        let path = path.as_str().unwrap_or_default();
        if path.is_empty() || path == "." || path == ".." || path.contains(['/', '\\', ':', '\0']) {
            return Err(corrupt(format!(
                "the manifest names the file {path:?}, which does not lie beside the model.json"
            )));
        }
        paths.push(path.to_owned());
    }
    let weights = member("weights")?.iter().map(spec).collect::<Result<_>>()?;
    Ok(Group { paths, weights })
}

fn spec(value: &Value) -> Result<Spec> {
    let name = text(value, "name")?.to_owned();
    read_spec(value, &name).map_err(|error| error.weight(name))
}

fn read_spec(value: &Value, name: &str) -> Result<Spec> {
    let axes = list(value.get("shape").unwrap_or(&Value::Null), "a shape")?.iter().map(Value::as_u64);
    let axes: Option<Vec<u64>> = axes.collect();
    let shape = Shape::new(axes.ok_or_else(|| corrupt(format!("{name} has a shape of other things than sizes")))?);
    let dtype = match text(value, "dtype")? {
        "float32" => DType::Float32,
        "int32" => DType::Int32,
        "bool" => DType::Bool,
        "complex64" => DType::Complex64,
        "string" => DType::String,
        other => return Err(unsupported(format!("{name} has the dtype {other}, which TensorFlow.js does not have"))),
    };
    let quantization = value.get("quantization").map(|value| quantization(value, name, dtype)).transpose()?;
    let group = value.get("group").and_then(Value::as_str).map(str::to_owned);
    Ok(Spec { name: name.to_owned(), dtype, shape, quantization, group })
}

fn quantization(value: &Value, name: &str, dtype: DType) -> Result<Quantization> {
    let stored = text(value, "dtype")?;
    let number = |key: &str| {
        let found = value.get(key).and_then(Value::as_f64);
        found.ok_or_else(|| corrupt(format!("{name} is quantized to {stored} without a {key}")))
    };
    let width = match (stored, dtype) {
        ("float16", DType::Float32) => return Ok(Quantization::Float16),
        ("uint8", DType::Float32 | DType::Int32) => 1,
        ("uint16", DType::Float32 | DType::Int32) => 2,
        _ => {
            return Err(unsupported(format!(
                "{name} is {dtype} quantized to {stored}, which TensorFlow.js does not do"
            )));
        }
    };
    Ok(Quantization::Affine { width, scale: number("scale")?, min: number("min")? })
}

fn unsupported(message: String) -> WeightsError {
    WeightsError::new(Code::Unsupported, message).format(FORMAT)
}
