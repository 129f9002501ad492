//! The layout of a file: what stands where.

use kw_model::{ByteSink, DType, Result, Shape};

use super::attribute::PlannedAttribute;
use super::builder::{H5Builder, Kind, Object};
use super::datatype::Datatype;
use super::emit::H5Emitter;
use super::encode::Cursor;
use super::global_heap::GlobalHeap;
use super::object_header::ObjectHeader;
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
    /// Offset of the values in bytes from the start of the file; 0 when there are none.
    pub offset: u64,
    /// Bytes of the values.
    pub byte_len: u64,
    /// Whether the dataset has the attribute [`super::DIGEST_ATTRIBUTE`].
    pub digest: bool,
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
        datasets.sort_unstable_by_key(|(number, _)| *number);
        let mut datasets: Vec<PlannedDataset> = datasets.into_iter().map(|(_, dataset)| dataset).collect();
        for dataset in &mut datasets {
            if dataset.byte_len > 0 {
                dataset.offset =
                    cursor.take(dataset.byte_len, DATA_ALIGNMENT).map_err(|error| error.weight(&dataset.path))?;
            }
        }
        let objects = planned.into_iter().flatten().collect();
        Ok(H5Plan { objects, order, heap, datasets, file_len: cursor.position() })
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
    /// `digests` are the CRC32C of the values, one for each dataset in order; those of datasets
    /// without a digest attribute are ignored, and none need be given when no dataset has one.
    ///
    /// # Errors
    /// [`kw_model::Code::Argument`] for another number of digests; what the sink fails with.
    pub fn emit<'s>(&'s self, sink: &'s mut dyn ByteSink, digests: &[u32]) -> Result<H5Emitter<'s>> {
        H5Emitter::new(self, sink, digests)
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
        datasets: &mut Vec<(usize, PlannedDataset)>,
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
            Kind::Dataset { number, dtype, shape, options } => {
                if options.digest {
                    attributes.push(PlannedAttribute::digest());
                }
                let byte_len = shape.byte_len(dtype)?;
                let dataset =
                    PlannedDataset { path: draft.path, dtype, shape, offset: 0, byte_len, digest: options.digest };
                let header = header_of_dataset(&dataset, &attributes, heap, 0)?;
                let header = cursor.take(header.len() as u64, 8)?;
                datasets.push((number, dataset));
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
                    let digest = digests.get(*number).copied().unwrap_or_default();
                    header_of_dataset(dataset, &self.attributes, &plan.heap, digest)
                }
                None => Ok(Vec::new()),
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
    attributes: &[PlannedAttribute],
    texts: &GlobalHeap,
    digest: u32,
) -> Result<Vec<u8>> {
    let datatype = Datatype::of(dataset.dtype)?;
    let mut header = ObjectHeader::of_contiguous(datatype, &dataset.shape, dataset.offset, dataset.byte_len)?;
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
