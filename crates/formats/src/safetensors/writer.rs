//! Writing: plan every tensor, then stream the file once.
//!
//! Tensors stand in the official order, by dtype from wide to narrow and then by name, so each is aligned to its
//! elements; the header is padded so that the first one begins at a multiple of 64 bytes.

use std::collections::{BTreeMap, HashSet};

use kw_model::{ByteSink, Code, DType, Limits, Result, Shape, WeightsError};
use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::header::{LEN_BYTES, MAX_HEADER_BYTES, METADATA_KEY};
use super::index::Index;
use super::{DIGEST_DIGITS, DIGEST_KEY, FORMAT, dtypes};

/// The data begin at a multiple of this many bytes.
const ALIGNMENT: usize = 64;

/// Collects tensors and texts.
#[derive(Debug, Default, Clone)]
pub struct SafetensorsBuilder {
    tensors: Vec<PlannedTensor>,
    names: HashSet<String>,
    metadata: BTreeMap<String, String>,
    digests: bool,
}

/// One tensor of a plan.
#[derive(Debug, Clone)]
pub struct PlannedTensor {
    index: usize,
    name: String,
    dtype: DType,
    stored: Dtype,
    shape: Shape,
    offset: u64,
    byte_len: u64,
}

impl PlannedTensor {
    /// The number that [`SafetensorsBuilder::tensor`] returned for it.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Elements per axis.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// First byte in the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes in the file.
    pub fn byte_len(&self) -> u64 {
        self.byte_len
    }
}

impl SafetensorsBuilder {
    /// An empty file.
    pub fn new() -> Self {
        SafetensorsBuilder::default()
    }

    /// Adds a text to the header's metadata, replacing one of the same name.
    pub fn metadata(&mut self, name: impl Into<String>, text: impl Into<String>) -> &mut Self {
        self.metadata.insert(name.into(), text.into());
        self
    }

    /// Adds a digest of every tensor to the header; [`SafetensorsPlan::emit`] is given them.
    pub fn with_digests(&mut self) -> &mut Self {
        self.digests = true;
        self
    }

    /// Adds a tensor; returns its number in the order of adding, which is not that of the file.
    ///
    /// # Errors
    /// [`Code::Name`] for a repeated or reserved name, [`Code::DType`], [`Code::Corrupt`] for a shape beyond 64 bits.
    pub fn tensor(&mut self, name: &str, dtype: DType, shape: Shape) -> Result<usize> {
        let named = |error: WeightsError| error.weight(name);
        let stored = dtypes::to_stored(dtype).map_err(named)?;
        let byte_len = shape.byte_len(dtype).map_err(named)?;
        if name == METADATA_KEY || !self.names.insert(name.to_owned()) {
            return Err(named(
                WeightsError::new(Code::Name, format!("a safetensors file cannot hold another tensor called {name}"))
                    .format(FORMAT),
            ));
        }
        let index = self.tensors.len();
        self.tensors.push(PlannedTensor { index, name: name.to_owned(), dtype, stored, shape, offset: 0, byte_len });
        Ok(index)
    }

    /// Gives every tensor its place in one file.
    ///
    /// # Errors
    /// [`Code::Limit`] for a header beyond 100 MB, which no reader takes, or a file beyond what 63 bits count.
    pub fn plan(self) -> Result<SafetensorsPlan> {
        let SafetensorsBuilder { mut tensors, mut metadata, digests, .. } = self;
        if digests {
            metadata.insert(DIGEST_KEY.to_owned(), "0".repeat(tensors.len().saturating_mul(DIGEST_DIGITS)));
        }
        tensors.sort_by(|a, b| b.stored.cmp(&a.stored).then_with(|| a.name.cmp(&b.name)));
        let mut entries = Vec::new();
        let mut position = 0_u64;
        for tensor in &mut tensors {
            tensor.offset = position;
            position =
                position.checked_add(tensor.byte_len).filter(|end| i64::try_from(*end).is_ok()).ok_or_else(|| {
                    WeightsError::limit("a safetensors file", u64::MAX, i64::MAX.cast_unsigned(), "bytes")
                })?;
            let value = json!({
                "dtype": tensor.stored.to_string(),
                "shape": tensor.shape.axes(),
                "data_offsets": [tensor.offset, position],
            });
            entries.push((tensor.name.as_str(), value));
        }
        let header = header_text(&metadata, &entries);
        Limits::check("the header of a safetensors file", header.len() as u64, MAX_HEADER_BYTES, "bytes")?;
        let data_offset = LEN_BYTES.saturating_add(header.len() as u64);
        for tensor in &mut tensors {
            tensor.offset = tensor.offset.saturating_add(data_offset);
        }
        // Unescaped quotes stand around keys only, so no text can look like this one.
        let key = format!("\"{DIGEST_KEY}\":\"");
        let found = digests.then(|| header.windows(key.len()).position(|at| at == key.as_bytes())).flatten();
        let digests_at = found.map(|at| at.saturating_add(key.len()));
        Ok(SafetensorsPlan { header, digests_at, tensors, file_len: data_offset.saturating_add(position) })
    }

    /// Distributes the tensors over files of at most `max_bytes` of data, in the order of adding; a larger tensor gets a file of
    /// its own.
    ///
    /// # Errors
    /// As [`SafetensorsBuilder::plan`].
    pub fn plan_sharded(self, max_bytes: u64) -> Result<ShardedPlan> {
        let SafetensorsBuilder { tensors, metadata, digests, .. } = self;
        let mut groups: Vec<Vec<PlannedTensor>> = vec![Vec::new()];
        let mut filled = 0_u64;
        for tensor in tensors {
            if filled > 0 && filled.saturating_add(tensor.byte_len) > max_bytes {
                groups.push(Vec::new());
                filled = 0;
            }
            filled = filled.saturating_add(tensor.byte_len);
            if let Some(group) = groups.last_mut() {
                group.push(tensor);
            }
        }
        let plan =
            |tensors| SafetensorsBuilder { tensors, names: HashSet::new(), metadata: metadata.clone(), digests }.plan();
        Ok(ShardedPlan { files: groups.into_iter().map(plan).collect::<Result<_>>()? })
    }
}

/// The header, in the order of the tensors, with blanks at its end.
fn header_text(metadata: &BTreeMap<String, String>, entries: &[(&str, Value)]) -> Vec<u8> {
    let quoted = |text: &str| Value::from(text).to_string();
    let mut parts = Vec::new();
    if !metadata.is_empty() {
        parts.push(format!("{}:{}", quoted(METADATA_KEY), json!(metadata)));
    }
    parts.extend(entries.iter().map(|(name, value)| format!("{}:{value}", quoted(name))));
    let mut text = format!("{{{}}}", parts.join(",")).into_bytes();
    let len = text.len().saturating_add(8).next_multiple_of(ALIGNMENT).saturating_sub(8);
    text.resize(len, b' ');
    text
}

/// Several files.
#[derive(Debug)]
pub struct ShardedPlan {
    files: Vec<SafetensorsPlan>,
}

impl ShardedPlan {
    /// The files.
    pub fn files(&self) -> &[SafetensorsPlan] {
        &self.files
    }

    /// The text of the index when the files are stored under `names`; to be written last.
    ///
    /// # Errors
    /// [`Code::Internal`].
    pub fn index(&self, names: &[String]) -> Result<String> {
        let mut weight_map = BTreeMap::new();
        for (file, name) in self.files.iter().zip(names) {
            weight_map.extend(file.tensors.iter().map(|tensor| (tensor.name.clone(), name.clone())));
        }
        let total: u64 = self.files.iter().flat_map(|file| &file.tensors).map(|tensor| tensor.byte_len).sum();
        let metadata = Map::from_iter([("total_size".to_owned(), Value::from(total))]);
        let index = serde_json::to_string_pretty(&Index { metadata, weight_map })
            .map_err(|error| WeightsError::new(Code::Internal, format!("the index cannot be written: {error}")))?;
        Ok(index + "\n")
    }
}

/// Every tensor in its place.
#[derive(Debug)]
pub struct SafetensorsPlan {
    header: Vec<u8>,
    /// Where the digests stand in the header.
    digests_at: Option<usize>,
    tensors: Vec<PlannedTensor>,
    file_len: u64,
}

impl SafetensorsPlan {
    /// The tensors in the order of the file.
    pub fn tensors(&self) -> &[PlannedTensor] {
        &self.tensors
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> u64 {
        self.file_len
    }

    /// Begins to write: the header goes out at once. `digests` are the CRC-32C of the tensors in order, when they were asked
    /// for.
    ///
    /// # Errors
    /// [`Code::Argument`] for another number of digests; what the sink refuses.
    pub fn emit<'a>(&self, sink: &'a mut dyn ByteSink, digests: &[u32]) -> Result<SafetensorsEmitter<'a>> {
        sink.write_all(&(self.header.len() as u64).to_le_bytes())?;
        match self.digests_at.and_then(|at| self.header.split_at_checked(at)) {
            None => sink.write_all(&self.header)?,
            Some((before, rest)) => {
                let text = digests.iter().fold(String::new(), |text, digest| text + &format!("{digest:08x}"));
                let after =
                    rest.get(text.len()..).filter(|_| digests.len() == self.tensors.len()).ok_or_else(|| {
                        WeightsError::new(Code::Argument, "not as many digests as tensors were given").format(FORMAT)
                    })?;
                sink.write_all(before)?;
                sink.write_all(text.as_bytes())?;
                sink.write_all(after)?;
            }
        }
        let left = self.file_len.saturating_sub(LEN_BYTES).saturating_sub(self.header.len() as u64);
        Ok(SafetensorsEmitter { sink, left })
    }
}

/// Writes the data. Give it the bytes of [`SafetensorsPlan::tensors`] in order, in pieces of any size.
pub struct SafetensorsEmitter<'a> {
    sink: &'a mut dyn ByteSink,
    left: u64,
}

impl SafetensorsEmitter<'_> {
    /// Appends bytes of the tensors.
    ///
    /// # Errors
    /// [`Code::Argument`] for more bytes than planned; what the sink refuses.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            WeightsError::new(Code::Argument, "more bytes were given than the safetensors file has room for")
        })?;
        self.sink.write_all(bytes)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`Code::Argument`] when bytes are missing.
    pub fn finish(self) -> Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        Err(WeightsError::new(Code::Argument, format!("the safetensors file lacks {} bytes", self.left)).format(FORMAT))
    }
}
