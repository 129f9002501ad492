//! What a dataset is, from the messages of its header: element type, shape, and where its values are.

use hdf5_reader::io::Cursor;
use hdf5_reader::messages::HdfMessage;
use hdf5_reader::messages::dataspace::{DataspaceMessage, DataspaceType};
use hdf5_reader::messages::datatype::DatatypeMessage;
use hdf5_reader::messages::fill_value::FillValueMessage;
use hdf5_reader::messages::filter_pipeline::FilterPipelineMessage;
use hdf5_reader::messages::layout::{ChunkIndexing, DataLayout};
use kw_model::{Code, Limits, Result, Shape, WeightsError};

use super::element_type::{ElementType, element_type};
use super::file::File;
use super::filters;
use super::raw_messages::RawMessages;

/// Axes of one dataset; HDF5's own limit.
const MAX_RANK: usize = 32;

/// A dataset that we can read.
#[derive(Debug)]
pub(super) struct Dataset {
    /// What an element is.
    pub(super) element: ElementType,
    /// Elements along each axis.
    pub(super) shape: Shape,
    /// Where the values are.
    pub(super) stored: Stored,
}

/// Where a dataset's values are and how they are written there.
#[derive(Debug)]
pub(super) struct Stored {
    /// Where.
    pub(super) layout: Layout,
    /// Bytes of one element as stored: of a string in a heap, of the reference to it.
    pub(super) element_size: usize,
    /// Bytes of all elements as stored.
    pub(super) byte_len: u64,
    /// Bytes of each run to be reversed to become little-endian; 1 for none.
    pub(super) swap: usize,
    /// The element that stands where nothing was written; empty for zeros.
    pub(super) fill: Vec<u8>,
}

/// Where a dataset's values are.
#[derive(Debug)]
pub(super) enum Layout {
    /// Nowhere: every element is the fill value.
    Nothing,
    /// In one piece at this offset of the source.
    Run(u64),
    /// In the object header.
    Header(Vec<u8>),
    /// In chunks.
    Chunks(Box<Chunks>),
}

/// A chunked dataset.
#[derive(Debug)]
pub(super) struct Chunks {
    /// Address of the index.
    pub(super) index: u64,
    /// Kind of the index; `None` is the B-tree of the first file format.
    pub(super) indexing: Option<ChunkIndexing>,
    /// Elements of a chunk along each axis.
    pub(super) chunk: Vec<u32>,
    /// Elements of the dataset along each axis.
    pub(super) shape: Vec<u64>,
    /// How far the dataset may grow, where the file says it.
    pub(super) max_shape: Option<Vec<u64>>,
    /// Filters in the order of writing.
    pub(super) filters: FilterPipelineMessage,
    /// Bytes of one decoded chunk.
    pub(super) chunk_bytes: u64,
}

fn corrupt(message: impl Into<String>) -> WeightsError {
    WeightsError::new(Code::Corrupt, message)
}

fn unsupported(message: impl Into<String>) -> WeightsError {
    WeightsError::new(Code::Unsupported, message)
}

/// True when these messages belong to a dataset. A named datatype has a datatype only.
pub(super) fn is_dataset(messages: &[HdfMessage]) -> bool {
    messages.iter().any(|message| matches!(message, HdfMessage::DataLayout(_) | HdfMessage::Dataspace(_)))
}

/// True when these messages belong to a named datatype, which holds no values.
pub(super) fn is_named_type(messages: &[HdfMessage]) -> bool {
    messages.iter().any(|message| matches!(message, HdfMessage::Datatype(_)))
}

/// True when these messages belong to a group.
pub(super) fn is_group(messages: &[HdfMessage]) -> bool {
    messages.iter().any(|message| {
        matches!(
            message,
            HdfMessage::SymbolTable(_) | HdfMessage::Link(_) | HdfMessage::LinkInfo(_) | HdfMessage::GroupInfo(_)
        )
    })
}

/// The dataset that these messages describe.
///
/// # Errors
/// [`Code::Unsupported`] or [`Code::Limit`] for a valid dataset that we do not read, [`Code::Corrupt`].
pub(super) fn parse(file: &File, messages: &[HdfMessage], raw: &RawMessages) -> Result<Dataset> {
    let parts = Parts::of(messages)?;
    let element = element_type(&parts.datatype.datatype, &raw.datatype)
        .map_err(|what| unsupported(format!("its elements are {what}, which is no dtype of a weight")))?;
    let shape = shape(parts.dataspace)?;
    let (element_size, swap) = match element {
        ElementType::Number { dtype, swap } => (dtype.size(), swap),
        ElementType::FixedString { size, .. } => (size, 1),
        ElementType::HeapString { .. } => (file.reference_size(), 1),
    };
    let byte_len = shape
        .num_elements()?
        .checked_mul(element_size as u64)
        .ok_or_else(|| corrupt(format!("elements of {element_size} bytes and shape {shape} have no size")))?;
    let layout = layout(file, &parts, raw, &shape, element_size, byte_len)?;
    let stored = Stored { layout, element_size, byte_len, swap, fill: fill(messages, element_size)? };
    Ok(Dataset { element, shape, stored })
}

/// The messages that every dataset has, and its filters.
struct Parts<'a> {
    dataspace: &'a DataspaceMessage,
    datatype: &'a DatatypeMessage,
    layout: &'a DataLayout,
    filters: Option<&'a FilterPipelineMessage>,
}

impl<'a> Parts<'a> {
    fn of(messages: &'a [HdfMessage]) -> Result<Self> {
        let (mut dataspace, mut datatype, mut layout, mut filters) = (None, None, None, None);
        for message in messages {
            match message {
                HdfMessage::Dataspace(found) => once(&mut dataspace, found, "shapes")?,
                HdfMessage::Datatype(found) => once(&mut datatype, found, "datatypes")?,
                HdfMessage::DataLayout(found) => once(&mut layout, &found.layout, "layouts")?,
                HdfMessage::FilterPipeline(found) => once(&mut filters, found, "filter pipelines")?,
                HdfMessage::ExternalFiles(_) => {
                    return Err(unsupported("its values are in other files (external storage), which are never read"));
                }
                _ => {}
            }
        }
        match (dataspace, datatype, layout) {
            (Some(dataspace), Some(datatype), Some(layout)) => Ok(Parts { dataspace, datatype, layout, filters }),
            _ => Err(corrupt("a dataset without shape, datatype or layout")),
        }
    }
}

fn once<'a, T>(place: &mut Option<&'a T>, found: &'a T, what: &str) -> Result<()> {
    match place.replace(found) {
        Some(_) => Err(corrupt(format!("a dataset with two {what}"))),
        None => Ok(()),
    }
}

fn shape(dataspace: &DataspaceMessage) -> Result<Shape> {
    let dims = &dataspace.dims;
    let exceeds = |max: &Vec<u64>| max.len() != dims.len() || dims.iter().zip(max).any(|(axis, max)| axis > max);
    if dataspace.max_dims.as_ref().is_some_and(exceeds) {
        return Err(corrupt(format!("a dataset of shape {dims:?} that may not exceed {:?}", dataspace.max_dims)));
    }
    match dataspace.dataspace_type {
        DataspaceType::Null => Err(unsupported("it holds nothing (null dataspace), not even a shape")),
        DataspaceType::Scalar if dataspace.dims.is_empty() => Ok(Shape::default()),
        DataspaceType::Simple if (1..=MAX_RANK).contains(&dataspace.dims.len()) => {
            Ok(Shape::new(dataspace.dims.clone()))
        }
        _ => Err(corrupt(format!("a dataset of {} axes", dataspace.dims.len()))),
    }
}

/// The fill value as stored; the message in the old style may stand beside the new one.
fn fill(messages: &[HdfMessage], element_size: usize) -> Result<Vec<u8>> {
    let value = messages.iter().rev().find_map(|message| match message {
        HdfMessage::FillValue(FillValueMessage { value: Some(value), .. }) => Some(value),
        _ => None,
    });
    match value {
        None => Ok(Vec::new()),
        Some(value) if value.iter().all(|&byte| byte == 0) => Ok(Vec::new()),
        Some(value) if value.len() == element_size => Ok(value.clone()),
        Some(value) => {
            Err(corrupt(format!("a fill value of {} bytes for elements of {element_size} bytes", value.len())))
        }
    }
}

fn layout(
    file: &File,
    parts: &Parts<'_>,
    raw: &RawMessages,
    shape: &Shape,
    element_size: usize,
    byte_len: u64,
) -> Result<Layout> {
    let filtered = parts.filters.is_some_and(|pipeline| !pipeline.filters.is_empty());
    if filtered && !matches!(parts.layout, DataLayout::Chunked { .. }) {
        return Err(unsupported("it has filters but no chunks"));
    }
    let undefined = |address: u64| Cursor::is_undefined_offset(address, file.widths().offset);
    match parts.layout {
        DataLayout::Compact { data } if data.len() as u64 == byte_len => Ok(Layout::Header(data.clone())),
        DataLayout::Compact { data } => {
            Err(corrupt(format!("{} bytes are stored of {byte_len}", data.len())).expected(byte_len))
        }
        DataLayout::Contiguous { address, .. } if undefined(*address) || byte_len == 0 => Ok(Layout::Nothing),
        DataLayout::Contiguous { address, size } if *size == byte_len => match file.base().checked_add(*address) {
            Some(offset) => Ok(Layout::Run(offset)),
            None => Err(corrupt("its address is beyond all files").offset(*address)),
        },
        DataLayout::Contiguous { size, .. } => {
            Err(corrupt(format!("{size} bytes are stored of {byte_len}")).expected(byte_len).found(*size))
        }
        DataLayout::Chunked { address, .. } if undefined(*address) || byte_len == 0 => Ok(Layout::Nothing),
        DataLayout::Chunked { address, dims, element_size: declared, chunk_indexing } => {
            let declared = usize::try_from(*declared).unwrap_or(usize::MAX);
            if declared != 0 && declared != element_size {
                return Err(corrupt(format!(
                    "chunks of {declared}-byte elements, but elements of {element_size} bytes"
                )));
            }
            let chunk = chunk_shape(dims, shape.rank())?;
            let pipeline = parts.filters.cloned().unwrap_or(FilterPipelineMessage { filters: Vec::new() });
            filters::check(&pipeline)?;
            if filtered && leaves_edges_unfiltered(&raw.layout) {
                return Err(unsupported("its filters leave out the chunks at the edge"));
            }
            let chunk_bytes = chunk
                .iter()
                .try_fold(element_size as u64, |bytes, &axis| bytes.checked_mul(u64::from(axis)))
                .ok_or_else(|| corrupt("chunks of more bytes than 64 bits can count"))?;
            Limits::check("one chunk", chunk_bytes, file.limits().max_tensor_bytes, "bytes")?;
            Ok(Layout::Chunks(Box::new(Chunks {
                index: *address,
                indexing: chunk_indexing.clone(),
                chunk,
                shape: shape.axes().to_vec(),
                max_shape: parts.dataspace.max_dims.clone(),
                filters: pipeline,
                chunk_bytes,
            })))
        }
    }
}

/// The chunk's axes without the element size that some versions of the message append.
fn chunk_shape(dims: &[u32], rank: usize) -> Result<Vec<u32>> {
    let axes = match dims.split_last() {
        Some((_, axes)) if axes.len() == rank => axes,
        _ => dims,
    };
    if axes.len() != rank || axes.contains(&0) {
        return Err(corrupt(format!("chunks of shape {axes:?} for {rank} axes")));
    }
    Ok(axes.to_vec())
}

/// Version 4 layouts can say that partial chunks are not filtered; the decoder would filter them all.
fn leaves_edges_unfiltered(raw_layout: &[u8]) -> bool {
    matches!(raw_layout, [version, _, flags, ..] if *version >= 4 && flags & 0x01 != 0)
}
