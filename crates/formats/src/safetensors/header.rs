//! The JSON header: names to dtype, shape and offsets, and a map of texts under `__metadata__`.

use std::collections::BTreeMap;
use std::fmt;

use kw_model::{ByteSource, Code, Limits, Result, WeightsError};
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::{DIGEST_DIGITS, DIGEST_KEY, corrupt};
use crate::buffers::read_range;

/// The official readers take no longer header.
pub(super) const MAX_HEADER_BYTES: u64 = 100_000_000;
/// The key that is no tensor.
pub(super) const METADATA_KEY: &str = "__metadata__";
/// Bytes of the header's length.
pub(super) const LEN_BYTES: u64 = 8;

/// A parsed header. Offsets count from the end of the header.
pub(super) struct Header {
    /// By offset.
    pub(super) tensors: Vec<(String, TensorInfo)>,
    pub(super) metadata: BTreeMap<String, String>,
    /// Those that we wrote, in the order of the tensors; empty in files by others.
    digests: String,
    /// Where the data begin in the file.
    pub(super) data_offset: u64,
}

impl Header {
    /// Reads the header and checks it against the length of the file.
    pub(super) fn read(source: &dyn ByteSource, limits: &Limits) -> Result<Self> {
        let len = header_len(source, limits)?;
        let text = read_range(source, LEN_BYTES, len, "the header of the safetensors file")?;
        let Raw { mut tensors, mut metadata } = serde_json::from_slice(&text)
            .map_err(|error| corrupt(format!("the header cannot be understood: {error}")).offset(LEN_BYTES))?;
        tensors.sort_by_key(|(_, info)| info.data_offsets);
        // The official rules: no gap, no overlap, every length that of shape and dtype.
        let checked = Metadata::new(None, tensors.clone())
            .map_err(|error| corrupt(format!("the header contradicts itself: {error}")).offset(LEN_BYTES))?;
        let data_offset = LEN_BYTES.saturating_add(len);
        let wanted = data_offset.saturating_add(checked.data_len() as u64);
        if wanted != source.len() {
            let (code, what) = if wanted > source.len() {
                (Code::Truncated, "the file is incomplete")
            } else {
                (Code::Corrupt, "bytes are left over behind its last tensor")
            };
            return Err(WeightsError::new(
                code,
                format!("the header speaks of {wanted} bytes, but the file has {}: {what}", source.len()),
            )
            .format(super::FORMAT)
            .expected(wanted)
            .found(source.len()));
        }
        let digests = metadata.remove(DIGEST_KEY).unwrap_or_default();
        Ok(Header { tensors, metadata, digests, data_offset })
    }

    /// The digest of a tensor, by its number; none when the text was carried into a file of another number of tensors.
    pub(super) fn digest(&self, tensor: usize) -> Option<u32> {
        let wanted = self.tensors.len().saturating_mul(DIGEST_DIGITS);
        let start = tensor.saturating_mul(DIGEST_DIGITS);
        let digits = self.digests.get(start..start.saturating_add(DIGEST_DIGITS));
        // Damaged digits must not read as "no digest": 0 fits nothing but an empty tensor.
        digits
            .filter(|_| self.digests.len() == wanted)
            .map(|digits| u32::from_str_radix(digits, 16).unwrap_or_default())
    }
}

fn header_len(source: &dyn ByteSource, limits: &Limits) -> Result<u64> {
    let not_ours = |what: String| {
        WeightsError::new(Code::NotWeights, format!("{} is not a safetensors file: {what}", source.name()))
            .format(super::FORMAT)
    };
    let mut bytes = [0; 9];
    if source.len() < bytes.len() as u64 {
        return Err(not_ours(format!("it has {} bytes", source.len())));
    }
    source.read_exact_at(0, &mut bytes)?;
    let (len, first) = bytes.split_first_chunk().unwrap_or((&[0; 8], &[]));
    let len = u64::from_le_bytes(*len);
    if first != b"{" {
        return Err(not_ours("no header begins at byte 8".to_owned()));
    }
    if len > MAX_HEADER_BYTES {
        return Err(not_ours(format!("its header would have {len} bytes, but {MAX_HEADER_BYTES} are the most")));
    }
    Limits::check("the header of the safetensors file", len, limits.max_header_bytes, "bytes")?;
    Ok(len)
}

/// The header as it stands in the file; a name that comes twice is an error.
struct Raw {
    tensors: Vec<(String, TensorInfo)>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names and what they stand for")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut tensors = BTreeMap::new();
        let mut metadata = None;
        while let Some(name) = map.next_key::<String>()? {
            let again = if name == METADATA_KEY {
                metadata.replace(map.next_value::<Texts>()?).is_some()
            } else {
                tensors.insert(name.clone(), map.next_value::<TensorInfo>()?).is_some()
            };
            if again {
                return Err(A::Error::custom(format_args!("{name} comes twice")));
            }
        }
        Ok(Raw {
            tensors: tensors.into_iter().collect(),
            metadata: metadata.map(|Texts(texts)| texts).unwrap_or_default(),
        })
    }
}

/// A map of texts without repetitions; `null` counts as empty, as in the official reader.
struct Texts(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextsVisitor)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of texts")
    }

    fn visit_unit<E: Error>(self) -> Result<Texts, E> {
        Ok(Texts(BTreeMap::new()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
        let mut texts = BTreeMap::new();
        while let Some((name, text)) = map.next_entry::<String, String>()? {
            if texts.insert(name.clone(), text).is_some() {
                return Err(A::Error::custom(format_args!("{name} comes twice in the metadata")));
            }
        }
        Ok(Texts(texts))
    }
}
