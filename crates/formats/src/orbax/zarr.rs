//! Descriptions of arrays: `zarr.json` (version 3) and `.zarray` (version 2).

use kw_model::{DType, Result, Shape};
use serde::Deserialize;

use super::{corrupt, unsupported};

/// How an array lies in chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Array {
    pub(super) dtype: DType,
    /// The format's name of the dtype where `dtype` does not say everything.
    pub(super) alias: Option<String>,
    pub(super) shape: Shape,
    pub(super) chunk: Shape,
    pub(super) codecs: Codecs,
    keys: Keys,
}

/// How the bytes of one chunk are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Codecs {
    /// From an array to bytes.
    pub(super) layout: Layout,
    /// From bytes to bytes, in the order of writing.
    pub(super) filters: Vec<Filter>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    /// C order, little-endian.
    Bytes,
    /// Smaller chunks, and an index of where each is.
    Sharded(Box<Sharding>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sharding {
    pub(super) chunk: Shape,
    pub(super) codecs: Codecs,
    /// Whether the index ends with its checksum.
    pub(super) index_checksum: bool,
    pub(super) index_at_end: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    Zstd,
    Crc32c,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Keys {
    /// `c/0/1`
    Default(String),
    /// `0.1`
    Old(String),
}

/// Codecs within codecs: one level of sharding is all that is ever used.
const MAX_NESTING: u32 = 3;
const MAX_RANK: usize = 64;

#[derive(Deserialize)]
struct Version3 {
    zarr_format: u32,
    node_type: String,
    shape: Vec<u64>,
    data_type: String,
    chunk_grid: Named<Grid>,
    chunk_key_encoding: Named<Encoding>,
    codecs: Vec<Named<CodecOptions>>,
}

#[derive(Deserialize)]
struct Named<T> {
    name: String,
    configuration: Option<T>,
}

#[derive(Deserialize)]
struct Grid {
    chunk_shape: Vec<u64>,
}

#[derive(Deserialize)]
struct Encoding {
    separator: Option<String>,
}

#[derive(Deserialize, Default)]
struct CodecOptions {
    endian: Option<String>,
    chunk_shape: Option<Vec<u64>>,
    codecs: Option<Vec<Named<CodecOptions>>>,
    index_codecs: Option<Vec<Named<CodecOptions>>>,
    index_location: Option<String>,
}

#[derive(Deserialize)]
struct Version2 {
    zarr_format: u32,
    shape: Vec<u64>,
    chunks: Vec<u64>,
    dtype: String,
    compressor: Option<Compressor>,
    order: String,
    filters: Option<Vec<serde_json::Value>>,
    dimension_separator: Option<String>,
}

#[derive(Deserialize)]
struct Compressor {
    id: String,
}

impl Array {
    /// Parses `zarr.json`.
    pub(super) fn version3(text: &[u8]) -> Result<Self> {
        let parsed: Version3 = serde_json::from_slice(text)
            .map_err(|error| corrupt(format!("the description of an array cannot be understood: {error}")))?;
        if parsed.zarr_format != 3 || parsed.node_type != "array" || parsed.chunk_grid.name != "regular" {
            return Err(unsupported(format!(
                "a zarr {} of version {} on a {} grid is not read",
                parsed.node_type, parsed.zarr_format, parsed.chunk_grid.name
            )));
        }
        let separator = parsed.chunk_key_encoding.configuration.and_then(|options| options.separator);
        let keys = match parsed.chunk_key_encoding.name.as_str() {
            "default" => Keys::Default(separator.unwrap_or_else(|| "/".to_owned())),
            "v2" => Keys::Old(separator.unwrap_or_else(|| ".".to_owned())),
            other => return Err(unsupported(format!("chunk keys of kind {other} are not read"))),
        };
        let chunk = parsed.chunk_grid.configuration.map(|grid| grid.chunk_shape);
        let chunk = chunk.ok_or_else(|| corrupt("the grid of an array has no chunk shape"))?;
        let (dtype, alias) = dtype(&parsed.data_type)?;
        let codecs = codecs(&parsed.codecs, 0)?;
        Array { dtype, alias, shape: Shape::new(parsed.shape), chunk: Shape::new(chunk), codecs, keys }.checked()
    }

    /// Parses `.zarray`.
    pub(super) fn version2(text: &[u8]) -> Result<Self> {
        let parsed: Version2 = serde_json::from_slice(text)
            .map_err(|error| corrupt(format!("the description of an array cannot be understood: {error}")))?;
        let plain = parsed.zarr_format == 2 && parsed.order == "C" && parsed.filters.is_none_or(|list| list.is_empty());
        if !plain {
            return Err(unsupported("a zarr 2 array with filters or in Fortran order is not read"));
        }
        let filters = match parsed.compressor {
            None => Vec::new(),
            Some(compressor) if compressor.id == "zstd" => vec![Filter::Zstd],
            Some(compressor) => return Err(unsupported(format!("the compression {} is not read", compressor.id))),
        };
        let (dtype, alias) = dtype(numpy_name(&parsed.dtype)?)?;
        let keys = Keys::Old(parsed.dimension_separator.unwrap_or_else(|| ".".to_owned()));
        let codecs = Codecs { layout: Layout::Bytes, filters };
        Array { dtype, alias, shape: Shape::new(parsed.shape), chunk: Shape::new(parsed.chunks), codecs, keys }
            .checked()
    }

    fn checked(self) -> Result<Self> {
        let mut chunk = &self.chunk;
        let mut outer: Option<&Shape> = None;
        let mut codecs = &self.codecs;
        loop {
            let fits = outer.is_none_or(|outer| {
                outer.axes().iter().zip(chunk.axes()).all(|(outer, inner)| *inner > 0 && outer % inner == 0)
            });
            if chunk.rank() != self.shape.rank() || chunk.axes().contains(&0) || chunk.rank() > MAX_RANK || !fits {
                return Err(corrupt(format!("an array of shape {} cannot lie in chunks of {chunk}", self.shape)));
            }
            match &codecs.layout {
                Layout::Bytes => return Ok(self),
                Layout::Sharded(sharding) => {
                    outer = Some(chunk);
                    chunk = &sharding.chunk;
                    codecs = &sharding.codecs;
                }
            }
        }
    }

    /// Key of a chunk below the array's name.
    pub(super) fn chunk_key(&self, index: &[u64]) -> String {
        let numbers: Vec<String> = index.iter().map(u64::to_string).collect();
        match &self.keys {
            Keys::Default(separator) => {
                std::iter::once("c".to_owned()).chain(numbers).collect::<Vec<_>>().join(separator)
            }
            Keys::Old(_) if numbers.is_empty() => "0".to_owned(),
            Keys::Old(separator) => numbers.join(separator),
        }
    }

    /// Chunks along each axis.
    pub(super) fn grid(&self) -> Shape {
        let counts =
            self.shape.axes().iter().zip(self.chunk.axes()).map(|(axis, chunk)| axis.div_ceil((*chunk).max(1)));
        Shape::new(counts.collect::<Vec<_>>())
    }
}

fn codecs(list: &[Named<CodecOptions>], depth: u32) -> Result<Codecs> {
    if depth > MAX_NESTING {
        return Err(unsupported("chunks within chunks within chunks are not read"));
    }
    let none = CodecOptions::default();
    let mut list = list.iter().map(|codec| (codec.name.as_str(), codec.configuration.as_ref().unwrap_or(&none)));
    let layout = match list.next() {
        Some(("bytes", options)) => {
            if options.endian.as_deref().is_some_and(|endian| endian != "little") {
                return Err(unsupported("a big-endian zarr array is not read"));
            }
            Layout::Bytes
        }
        Some(("sharding_indexed", options)) => Layout::Sharded(Box::new(sharding(options, depth)?)),
        Some((other, _)) => return Err(unsupported(format!("the zarr codec {other} is not read"))),
        None => return Err(corrupt("an array has no codecs")),
    };
    let filters = list.map(|(name, _)| match name {
        "zstd" => Ok(Filter::Zstd),
        "crc32c" => Ok(Filter::Crc32c),
        other => Err(unsupported(format!("the zarr codec {other} is not read"))),
    });
    Ok(Codecs { layout, filters: filters.collect::<Result<_>>()? })
}

fn sharding(options: &CodecOptions, depth: u32) -> Result<Sharding> {
    let (Some(chunk), Some(inner), Some(index)) = (&options.chunk_shape, &options.codecs, &options.index_codecs) else {
        return Err(corrupt("a sharded array does not say how"));
    };
    let index = codecs(index, depth + 1)?;
    let index_checksum = match (&index.layout, index.filters.as_slice()) {
        (Layout::Bytes, []) => false,
        (Layout::Bytes, [Filter::Crc32c]) => true,
        _ => return Err(unsupported("the index of a sharded array is compressed")),
    };
    let index_at_end = match options.index_location.as_deref() {
        None | Some("end") => true,
        Some("start") => false,
        Some(other) => return Err(corrupt(format!("the index of a sharded array is at {other:?}"))),
    };
    Ok(Sharding { chunk: Shape::new(chunk.clone()), codecs: codecs(inner, depth + 1)?, index_checksum, index_at_end })
}

fn dtype(name: &str) -> Result<(DType, Option<String>)> {
    match DType::from_name(name) {
        Some(dtype) if DType::NUMERIC.contains(&dtype) => Ok((dtype, None)),
        // A whole byte an element.
        _ if matches!(name, "int4" | "uint4" | "int2" | "uint2") || name.starts_with("float8_") => {
            Ok((DType::Opaque(1), Some(name.to_owned())))
        }
        _ => Err(unsupported(format!("an array of dtype {name} is not read"))),
    }
}

/// The name of a dtype from a type string of zarr 2; names that numpy does not know stand there as they are.
fn numpy_name(descr: &str) -> Result<&str> {
    Ok(match descr {
        "|b1" => "bool",
        "|i1" => "int8",
        "<i2" => "int16",
        "<i4" => "int32",
        "<i8" => "int64",
        "|u1" => "uint8",
        "<u2" => "uint16",
        "<u4" => "uint32",
        "<u8" => "uint64",
        "<f2" => "float16",
        "<f4" => "float32",
        "<f8" => "float64",
        "<c8" => "complex64",
        "<c16" => "complex128",
        _ if descr.starts_with(['<', '>', '|']) => {
            return Err(unsupported(format!("an array of numpy type {descr} is not read")));
        }
        other => other,
    })
}
