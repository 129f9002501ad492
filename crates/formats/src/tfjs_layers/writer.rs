//! Writing: weights in the order of adding, in files that end where a weight ends.
//!
//! TensorFlow.js knows float32, int32, bool and complex64. Half precision goes into the file as it is and is read as float32.

use std::collections::HashSet;

use kw_model::{Code, DType, Result, Shape, WeightsError};
use serde_json::{Map, Value, json};

use super::FORMAT;

/// One weight of a plan.
#[derive(Debug, Clone)]
pub struct PlannedTensor {
    name: String,
    dtype: DType,
    shape: Shape,
    byte_len: u64,
}

impl PlannedTensor {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes in the file.
    pub fn byte_len(&self) -> u64 {
        self.byte_len
    }
}

/// Collects weights.
#[derive(Debug, Default)]
pub struct TfjsBuilder {
    tensors: Vec<PlannedTensor>,
    names: HashSet<String>,
}

/// The dtype in which values of `dtype` can stand in the file without any change.
pub fn holds(dtype: DType) -> Option<DType> {
    match dtype {
        DType::Float32 | DType::Float16 | DType::Int32 | DType::Bool | DType::Complex64 => Some(dtype),
        DType::BFloat16 | DType::Float8E4M3 | DType::Float8E5M2 => Some(DType::Float32),
        DType::Int8 | DType::UInt8 | DType::Int16 | DType::UInt16 => Some(DType::Int32),
        _ => None,
    }
}

impl TfjsBuilder {
    /// No weights.
    pub fn new() -> Self {
        TfjsBuilder::default()
    }

    /// Adds a weight.
    ///
    /// # Errors
    /// [`Code::Name`] for a repeated name, [`Code::DType`] for a dtype that TensorFlow.js does not have, [`Code::Corrupt`] for a
    /// shape beyond 64 bits.
    pub fn tensor(&mut self, name: &str, dtype: DType, shape: Shape) -> Result<()> {
        let refuse = |code: Code, message: String| Err(WeightsError::new(code, message).format(FORMAT).weight(name));
        if holds(dtype) != Some(dtype) {
            return refuse(Code::DType, format!("TensorFlow.js has no weights of {dtype}"));
        }
        if !self.names.insert(name.to_owned()) {
            return refuse(Code::Name, format!("two weights of a layers model would be called {name}"));
        }
        let byte_len = shape.byte_len(dtype).map_err(|error| error.weight(name))?;
        self.tensors.push(PlannedTensor { name: name.to_owned(), dtype, shape, byte_len });
        Ok(())
    }

    /// Distributes the weights over files of at most `max_bytes`; a larger weight gets a file of its own.
    pub fn plan(self, max_bytes: u64) -> TfjsPlan {
        let (mut shards, mut filled) = (vec![(0, 0)], 0_u64);
        for (number, tensor) in self.tensors.iter().enumerate() {
            if filled > 0 && filled.saturating_add(tensor.byte_len) > max_bytes {
                shards.push((number, 0));
                filled = 0;
            }
            filled = filled.saturating_add(tensor.byte_len);
            if let Some((_, len)) = shards.last_mut() {
                *len = filled;
            }
        }
        TfjsPlan { tensors: self.tensors, shards }
    }
}

/// Every weight in its place.
#[derive(Debug)]
pub struct TfjsPlan {
    tensors: Vec<PlannedTensor>,
    /// The first weight of each file, and its bytes.
    shards: Vec<(usize, u64)>,
}

impl TfjsPlan {
    /// The weights, in the order of the files.
    pub fn tensors(&self) -> &[PlannedTensor] {
        &self.tensors
    }

    /// Number of files; one at least.
    pub fn num_shards(&self) -> usize {
        self.shards.len()
    }

    /// Bytes of a file; 0 for one that the plan does not have.
    pub fn shard_len(&self, shard: usize) -> u64 {
        self.shards.get(shard).map_or(0, |(_, len)| *len)
    }

    /// The numbers of a file's weights. The file is their bytes, one after the other.
    pub fn shard(&self, shard: usize) -> std::ops::Range<usize> {
        let start = |shard: usize| self.shards.get(shard).map_or(self.tensors.len(), |(first, _)| *first);
        start(shard)..start(shard.saturating_add(1))
    }

    /// The text of the `model.json`: `files` are the names under which the files were stored, `topology` and `training` JSON
    /// texts of what stands beside the weights.
    ///
    /// # Errors
    /// [`Code::Argument`] for a topology or training config that is no JSON.
    pub fn json(&self, files: &[String], topology: Option<&str>, training: Option<&str>) -> Result<String> {
        let parse = |text: Option<&str>| {
            text.map_or(Ok(Value::Null), serde_json::from_str)
                .map_err(|error| WeightsError::new(Code::Argument, format!("a config is no JSON: {error}")))
        };
        let weights: Vec<Value> = self.tensors.iter().map(spec).collect();
        let mut json = Map::new();
        json.insert("format".to_owned(), Value::from("layers-model"));
        json.insert("generatedBy".to_owned(), Value::from("keras-weights"));
        json.insert("convertedBy".to_owned(), Value::Null);
        json.insert("modelTopology".to_owned(), parse(topology)?);
        let training = parse(training)?;
        if !training.is_null() {
            json.insert("trainingConfig".to_owned(), training);
        }
        json.insert("weightsManifest".to_owned(), json!([{ "paths": files, "weights": weights }]));
        Ok(Value::Object(json).to_string())
    }
}

fn spec(tensor: &PlannedTensor) -> Value {
    let dtype = if tensor.dtype == DType::Float16 { DType::Float32 } else { tensor.dtype };
    let mut spec = json!({ "name": tensor.name, "shape": tensor.shape.axes(), "dtype": dtype.name() });
    if tensor.dtype == DType::Float16
        && let Some(spec) = spec.as_object_mut()
    {
        spec.insert("quantization".to_owned(), json!({ "dtype": "float16", "original_dtype": "float32" }));
    }
    spec
}
