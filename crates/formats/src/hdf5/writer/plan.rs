//! The layout of a file: what stands where.

use kw_model::{ByteSink, Code, DType, Result, Shape, WeightsError};

use super::SpooledChunks;
use super::attribute::PlannedAttribute;
use super::builder::{H5Builder, Kind, Object};
use super::datatype::Datatype;
use super::emit::H5Emitter;
use super::encode::Cursor;
use super::global_heap::GlobalHeap;
use super::object_header::{Layout, ObjectHeader};
use super::symbol_table::{Link, SymbolTable};

/// Bytes to which the values of every dataset are aligned: a cache line, and enough for
/// any typed array over a mapping of the file.
pub const DATA_ALIGNMENT: u64 = 64;

/// Bytes of the superblock, with which the file begins.
pub(super) const SUPERBLOCK_BYTES: u64 = 96;

/// A file whose every address is known.
#[derive(Debug)]
pub struct H5Plan {
    /// Parents before their members.
    pub(super) objects: Vec<PlannedObject>,
    /// Their order in the file, as indexes.
    pub(super) order: Vec<usize>,
    pub(super) heap: GlobalHeap,
    pub(super) datasets: Vec<PlannedDataset>,
    /// For each dataset, the chunks it consists of, if it does.
    chunks: Vec<Option<PlannedChunks>>,
    file_len: u64,
}

/// A dataset and the place of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedDataset {
    /// Path in the file, without a leading slash.
    pub path: String,
    /// Element type.
    pub dtype: DType,
    /// Elements per axis.
    pub shape: Shape,
    /// Offset of the values (or of the first chunk) in bytes from the start of the file; 0 when there are none.
    pub offset: u64,
    /// Bytes of the values.
    pub byte_len: u64,
    /// Bytes that they take in the file.
    pub stored_len: u64,
    /// Whether they were compressed before, so that the emitter is not given them.
    pub is_chunked: bool,
    /// Whether the dataset has the attribute [`super::DIGEST_ATTRIBUTE`].
    pub digest: bool,
}

/// Compressed chunks and the address of the tree that finds them.
#[derive(Debug)]
pub(super) struct PlannedChunks {
    pub(super) spooled: SpooledChunks,
    pub(super) tree: u64,
}

#[derive(Debug)]
pub(super) struct PlannedObject {
    name: String,
    pub(super) header: u64,
    attributes: Vec<PlannedAttribute>,
    pub(super) kind: PlannedKind,
}

#[derive(Debug)]
pub(super) enum PlannedKind {
    Group(SymbolTable),
    /// The number in [`H5Plan::datasets`].
    Dataset(usize),
}

impl H5Plan {
    pub(super) fn new(builder: H5Builder) -> Result<Self> {
        let order = in_file_order(&builder.objects);
        let names: Vec<String> = builder.objects.iter().map(|object| object.name().to_owned()).collect();
        let mut heap = GlobalHeap::default();
        let mut cursor = Cursor::new(SUPERBLOCK_BYTES);
        let mut datasets = Vec::new();
        let mut drafts: Vec<Option<Object>> = builder.objects.into_iter().map(Some).collect();
        let mut planned: Vec<Option<PlannedObject>> = drafts.iter().map(|_| None).collect();
        for &number in &order {
            let Some(draft) = drafts.get_mut(number).and_then(Option::take) else { continue };
            let path = draft.path.clone();
            let object = PlannedObject::new(draft, &names, &mut heap, &mut datasets, &mut cursor);
            if let Some(place) = planned.get_mut(number) {
                *place = Some(object.map_err(|error| error.weight(path))?);
            }
        }
        heap.place(&mut cursor)?;
        // From the order of the objects to the order in which datasets were added.
        datasets.sort_unstable_by_key(|(number, ..)| *number);
        let (mut datasets, chunks): (Vec<PlannedDataset>, Vec<_>) =
            datasets.into_iter().map(|(_, dataset, chunks)| (dataset, chunks)).unzip();
        for dataset in &mut datasets {
            if dataset.stored_len > 0 {
                dataset.offset =
                    cursor.take(dataset.stored_len, DATA_ALIGNMENT).map_err(|error| error.weight(&dataset.path))?;
            }
        }
        let objects = planned.into_iter().flatten().collect();
        Ok(H5Plan { objects, order, heap, datasets, chunks, file_len: cursor.position() })
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> u64 {
        self.file_len
    }

    /// The datasets in the order in which their values are written.
    pub fn datasets(&self) -> &[PlannedDataset] {
        &self.datasets
    }

    /// Writes everything but the values, which the emitter then takes. The file may begin
    /// anywhere in the sink, but its values are aligned only as far as its beginning is.
    ///
    /// `digests` are the CRC32C of the values, one for each dataset in order; those of compressed
    /// datasets and of those without a digest attribute are ignored, and none need be given when
    /// there are no others.
    ///
    /// # Errors
    /// [`kw_model::Code::Argument`] for another number of digests; what the sink fails with.
    pub fn emit<'s>(&'s self, sink: &'s mut dyn ByteSink, digests: &[u32]) -> Result<H5Emitter<'s>> {
        H5Emitter::new(self, sink, digests)
    }

    /// The chunks of a dataset, if it consists of chunks.
    pub(super) fn chunks(&self, dataset: usize) -> Option<&PlannedChunks> {
        self.chunks.get(dataset)?.as_ref()
    }

    pub(super) fn name(&self, object: usize) -> &str {
        self.objects.get(object).map_or("", |object| &object.name)
    }

    pub(super) fn link(&self, object: usize) -> Link {
        match self.objects.get(object) {
            Some(PlannedObject { header, kind: PlannedKind::Group(table), .. }) => {
                Link { header: *header, group: Some(table.addresses()) }
            }
            Some(PlannedObject { header, .. }) => Link { header: *header, group: None },
            None => Link { header: super::UNDEFINED, group: None },
        }
    }
}

impl PlannedObject {
    fn new(
        draft: Object,
        names: &[String],
        heap: &mut GlobalHeap,
        datasets: &mut Vec<(usize, PlannedDataset, Option<PlannedChunks>)>,
        cursor: &mut Cursor,
    ) -> Result<Self> {
        let name = draft.name().to_owned();
        let mut attributes = draft
            .attributes
            .into_iter()
            .map(|(name, value)| PlannedAttribute::new(name, value, heap))
            .collect::<Result<Vec<_>>>()?;
        // No address changes the size of a header, so it can be taken before they are known.
        match draft.kind {
            Kind::Group { members } => {
                let header = header_of_group((0, 0), &attributes, heap)?;
                let header = cursor.take(header.len() as u64, 8)?;
                let members = members.into_iter().map(|member| (names.get(member).map_or("", String::as_str), member));
                let table = SymbolTable::plan(members, cursor)?;
                Ok(PlannedObject { name, header, attributes, kind: PlannedKind::Group(table) })
            }
            Kind::Dataset { number, dtype, shape, options, chunks } => {
                if options.digest {
                    attributes.push(PlannedAttribute::digest());
                }
                let byte_len = shape.byte_len(dtype)?;
                let dataset = PlannedDataset {
                    path: draft.path,
                    dtype,
                    shape,
                    offset: 0,
                    byte_len,
                    stored_len: chunks.as_ref().map_or(byte_len, |chunks| chunks.chunks.stored_len()),
                    is_chunked: chunks.is_some(),
                    digest: options.digest,
                };
                let mut chunks = chunks.map(|spooled| PlannedChunks { spooled, tree: 0 });
                let header = header_of_dataset(&dataset, chunks.as_ref(), &attributes, heap, 0)?;
                let header = cursor.take(header.len() as u64, 8)?;
                if let Some(PlannedChunks { spooled, tree }) = &mut chunks {
                    *tree = cursor.take(spooled.chunks.grid.tree_bytes(spooled.chunks.sizes.len()), 8)?;
                }
                datasets.push((number, dataset, chunks));
                Ok(PlannedObject { name, header, attributes, kind: PlannedKind::Dataset(number) })
            }
        }
    }

    /// The object header.
    pub(super) fn encode_header(&self, plan: &H5Plan, digests: &[u32]) -> Result<Vec<u8>> {
        match &self.kind {
            PlannedKind::Group(table) => header_of_group(table.addresses(), &self.attributes, &plan.heap),
            PlannedKind::Dataset(number) => match plan.datasets.get(*number) {
                Some(dataset) => {
                    let chunks = plan.chunks(*number);
                    let digest = match chunks {
                        Some(chunks) => chunks.spooled.chunks.digest(),
                        None => digests.get(*number).copied().unwrap_or_default(),
                    };
                    header_of_dataset(dataset, chunks, &self.attributes, &plan.heap, digest)
                }
                None => Err(WeightsError::new(Code::Internal, "a planned dataset went missing")),
            },
        }
    }
}

fn header_of_group((tree, heap): (u64, u64), attributes: &[PlannedAttribute], texts: &GlobalHeap) -> Result<Vec<u8>> {
    let mut header = ObjectHeader::of_group(tree, heap)?;
    header.attributes(attributes, texts, 0)?;
    header.finish()
}

fn header_of_dataset(
    dataset: &PlannedDataset,
    chunks: Option<&PlannedChunks>,
    attributes: &[PlannedAttribute],
    texts: &GlobalHeap,
    digest: u32,
) -> Result<Vec<u8>> {
    let datatype = Datatype::of(dataset.dtype)?;
    let layout = match chunks {
        Some(PlannedChunks { spooled: SpooledChunks { chunks, .. }, tree }) => {
            Layout::Chunked { tree: *tree, grid: &chunks.grid, compression: chunks.compression }
        }
        None => Layout::Contiguous { address: dataset.offset, byte_len: dataset.byte_len },
    };
    let mut header = ObjectHeader::of_dataset(datatype, &dataset.shape, &layout)?;
    header.attributes(attributes, texts, digest)?;
    header.finish()
}

/// Parents before their members, members in the order in which they were added.
fn in_file_order(objects: &[Object]) -> Vec<usize> {
    let mut order = Vec::with_capacity(objects.len());
    let mut waiting = vec![0];
    while let Some(number) = waiting.pop() {
        order.push(number);
        if let Some(Object { kind: Kind::Group { members }, .. }) = objects.get(number) {
            waiting.extend(members.iter().rev());
        }
    }
    order
}
