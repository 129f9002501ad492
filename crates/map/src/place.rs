//! Puts wanted values into memory: mapped, copied, decoded or computed.

use std::collections::HashSet;

use kw_model::{ByteSource, Cancel, Code, Crc32c, Location, Result, TensorEntry, WeightsError, WeightsReader, crc32c};

use crate::window::{RangeRequest, View, WindowPlan, map_window, plan_windows};
use crate::{Access, Mapping, PIECE, Region, may_map};

/// Copies up to this size are packed together; a region of its own costs JavaScript about a microsecond
/// and a kilobyte.
const SMALL: u64 = 256 << 10;
/// Bytes of one pack of small copies, so that one live tensor keeps little else alive.
const SLAB: u64 = 4 << 20;
/// Every value starts at a multiple of this.
const SLOT: u64 = 64;

/// Computes a value into exactly the bytes it was promised.
pub type Compute<'a> = dyn Fn(&mut [u8], &Cancel) -> Result<()> + 'a;

/// What a value is made of.
pub enum What<'a> {
    /// The bytes of a tensor of the file.
    Entry(usize),
    /// Something else, such as a cast.
    Computed(&'a Compute<'a>),
}

/// One value to place.
pub struct Wanted<'a> {
    /// What it is made of.
    pub what: What<'a>,
    /// Bytes.
    pub byte_len: u64,
    /// What its address must be a multiple of, bytes; at most 64.
    pub alignment: usize,
}

/// How to place.
#[derive(Debug, Clone)]
pub struct PlaceOptions {
    /// Whether stored tensors are mapped.
    pub access: Access,
    /// Bytes of the largest buffer that JavaScript can hold over foreign memory.
    pub window_limit: u64,
    /// Compares digests where the file has them.
    pub verify: bool,
    /// Pages mapped tensors in.
    pub page_in: bool,
}

/// Where a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index into [`Placed::regions`]; `None` for a value without bytes.
    pub region: Option<usize>,
    /// Bytes from the region's start.
    pub offset: usize,
    /// Bytes.
    pub byte_len: usize,
}

/// The result of [`place`].
#[derive(Debug, Default)]
pub struct Placed {
    /// The memory.
    pub regions: Vec<Region>,
    /// One a wanted value, in order.
    pub places: Vec<Place>,
}

/// Says that the bytes of `entry` do not fit its digest.
fn digest_error(entry: &TensorEntry, file: &str, expected: u32, found: u32) -> WeightsError {
    WeightsError::new(
        Code::Digest,
        format!(
            "the bytes of {} do not fit the digest stored with them: the file is damaged, or was edited by a program that does not know the digests",
            entry.path
        ),
    )
    .file(file)
    .weight(&entry.path)
    .expected(format!("{expected:08x}"))
    .found(format!("{found:08x}"))
}

/// Compares the digest of an entry, if it has one, with what was found.
///
/// # Errors
/// [`Code::Digest`].
pub fn check_digest(entry: &TensorEntry, file: &str, found: u32) -> Result<()> {
    match entry.digest {
        Some(expected) if expected != found => Err(digest_error(entry, file, expected, found)),
        _ => Ok(()),
    }
}

fn source_of<'a>(reader: &'a dyn WeightsReader, entry: &TensorEntry) -> Option<(&'a dyn ByteSource, u64)> {
    let Location::Range { source, offset } = entry.location else { return None };
    Some((reader.catalogue().sources().get(source)?.as_ref(), offset))
}

/// Where the tensors of a file could be mapped, one request an entry of `entries`.
///
/// # Errors
/// As [`may_map`] and [`check_unchanged`]; [`Code::Missing`] for an index outside the catalogue.
pub fn plan_views(
    reader: &dyn WeightsReader,
    entries: &[Option<(usize, usize)>],
    access: Access,
    limit: u64,
) -> Result<WindowPlan> {
    let catalogue = reader.catalogue();
    let mut mappable = Vec::with_capacity(catalogue.sources().len());
    let mut leases = Vec::with_capacity(catalogue.sources().len());
    for source in catalogue.sources() {
        let (base, lease) = match may_map(source.as_ref(), access)? {
            Mapping::Yes(lease) => (source.file().map(|(_, base)| base), lease),
            Mapping::No => (None, None),
        };
        mappable.push(base);
        leases.push(lease);
    }
    // A request without bytes never gets a view.
    let none = RangeRequest { source: 0, file_offset: 0, byte_len: 0, alignment: 1 };
    let mut requests = Vec::with_capacity(entries.len());
    for wanted in entries {
        let mut request = none;
        if let Some((index, alignment)) = *wanted {
            let entry = catalogue.entry(index)?;
            if let Location::Range { source, offset } = entry.location
                && let Some(base) = mappable.get(source).copied().flatten()
                && let Some(file_offset) = base.checked_add(offset)
            {
                request = RangeRequest { source, file_offset, byte_len: entry.byte_len, alignment };
            }
        }
        requests.push(request);
    }
    if mappable.iter().any(Option::is_some) {
        // From the opening until the leases were taken anybody could write.
        check_unchanged(reader)?;
    }
    Ok(WindowPlan { leases, ..plan_windows(&requests, limit.min(isize::MAX as u64)) })
}

/// Fills `out` with a tensor, in pieces, and compares its digest on the way.
///
/// # Errors
/// [`Code::Aborted`], [`Code::Digest`], and what reading causes.
pub fn read_entry(
    reader: &dyn WeightsReader,
    index: usize,
    out: &mut [u8],
    verify: bool,
    cancel: &Cancel,
    progress: &dyn Fn(u64),
) -> Result<()> {
    let entry = reader.catalogue().entry(index)?;
    if verify && entry.digest.is_none() {
        reader.verify_stored(index, cancel)?;
    }
    let verify = verify && entry.digest.is_some();
    let Some((source, start)) = source_of(reader, entry) else {
        cancel.check()?;
        reader.read_into(index, out, cancel)?;
        progress(out.len() as u64);
        return if verify { check_digest(entry, "", crc32c(out)) } else { Ok(()) };
    };
    if out.len() as u64 != entry.byte_len {
        return Err(WeightsError::new(Code::Internal, format!("{} has another size than planned", entry.path))
            .expected(entry.byte_len)
            .found(out.len() as u64));
    }
    let mut crc = Crc32c::default();
    let mut offset = start;
    for piece in out.chunks_mut(PIECE) {
        cancel.check()?;
        source.read_exact_at(offset, piece).map_err(|error| error.weight(&entry.path))?;
        if verify {
            crc.update(piece);
        }
        offset = offset.saturating_add(piece.len() as u64);
        progress(piece.len() as u64);
    }
    if verify { check_digest(entry, &source.name(), crc.value()) } else { Ok(()) }
}

/// Pages a mapped tensor in and compares its digest, as asked.
///
/// # Errors
/// [`Code::Truncated`], [`Code::Digest`], [`Code::Aborted`].
pub fn settle_view(
    reader: &dyn WeightsReader,
    index: usize,
    region: &Region,
    offset: usize,
    options: &PlaceOptions,
    cancel: &Cancel,
) -> Result<()> {
    let entry = reader.catalogue().entry(index)?;
    let Some((source, start)) = source_of(reader, entry) else { return Ok(()) };
    let Some((file, base)) = source.file() else { return Ok(()) };
    let len = usize::try_from(entry.byte_len).unwrap_or(usize::MAX);
    let name = source.name();
    if options.verify && entry.digest.is_none() {
        reader.verify_stored(index, cancel)?;
    }
    let verify = options.verify && entry.digest.is_some();
    if options.page_in || verify {
        let end = base.saturating_add(start).saturating_add(entry.byte_len);
        region.page_in(offset, len, &file, end, &name, cancel)?;
    }
    if verify { check_digest(entry, &name, region.digest(offset, len, cancel)?) } else { Ok(()) }
}

/// A copy that has its memory but not yet its value.
struct Slot {
    wanted: usize,
    region: usize,
    offset: usize,
    len: usize,
}

/// Gives every copied value its memory: small ones share slabs, others have their own.
fn lay_out(copies: &[usize], wanted: &[Wanted<'_>], regions: &mut Vec<Region>) -> Result<Vec<Slot>> {
    let mut slots = Vec::with_capacity(copies.len());
    let mut sizes: Vec<u64> = Vec::new();
    let mut slab: Option<usize> = None;
    for &index in copies {
        let Some(value) = wanted.get(index) else { continue };
        let open = slab.filter(|&slab| {
            value.byte_len <= SMALL && sizes.get(slab).is_some_and(|used| used.saturating_add(value.byte_len) <= SLAB)
        });
        let region = open.unwrap_or(sizes.len());
        if open.is_none() {
            sizes.push(0);
            if value.byte_len <= SMALL {
                slab = Some(region);
            }
        }
        let Some(size) = sizes.get_mut(region) else { continue };
        let len = usize::try_from(value.byte_len).map_err(|_| too_large(value.byte_len))?;
        let offset = usize::try_from(*size).map_err(|_| too_large(value.byte_len))?;
        *size = size.saturating_add(value.byte_len).next_multiple_of(SLOT);
        slots.push(Slot { wanted: index, region: regions.len().saturating_add(region), offset, len });
    }
    for size in sizes {
        regions.push(Region::allocate(size)?);
    }
    Ok(slots)
}

fn too_large(bytes: u64) -> WeightsError {
    WeightsError::new(Code::Memory, format!("{bytes} bytes are more than this machine can address")).expected(bytes)
}

/// Fails when a file was written to since it was opened: what was read may be a mixture.
///
/// # Errors
/// [`Code::Changed`], [`Code::Truncated`].
pub fn check_unchanged(reader: &dyn WeightsReader) -> Result<()> {
    reader.catalogue().sources().iter().try_for_each(|source| source.check_unchanged())
}

/// Why reading failed: a digest that does not fit half a new file says nothing about the old one.
pub fn explained(reader: &dyn WeightsReader, error: WeightsError) -> WeightsError {
    if error.code() == Code::Aborted { error } else { check_unchanged(reader).err().unwrap_or(error) }
}

/// Puts every wanted value into memory. `progress` is told how many more bytes are done.
///
/// # Errors
/// [`Code::Memory`], [`Code::Aborted`], [`Code::Digest`], what reading or computing causes, and, instead of any of
/// these, [`Code::Changed`] when somebody wrote to a file meanwhile.
pub fn place(
    reader: &dyn WeightsReader,
    wanted: &[Wanted<'_>],
    options: &PlaceOptions,
    cancel: &Cancel,
    progress: &dyn Fn(u64),
) -> Result<Placed> {
    let placed = place_all(reader, wanted, options, cancel, progress);
    if placed.is_ok() {
        check_unchanged(reader)?;
    }
    placed.map_err(|error| explained(reader, error))
}

fn place_all(
    reader: &dyn WeightsReader,
    wanted: &[Wanted<'_>],
    options: &PlaceOptions,
    cancel: &Cancel,
    progress: &dyn Fn(u64),
) -> Result<Placed> {
    let mut seen = HashSet::new();
    // A tensor that two variables want is mapped for the first only: no two variables share memory.
    let entries: Vec<Option<(usize, usize)>> = wanted
        .iter()
        .map(|value| match value.what {
            What::Entry(index) if seen.insert(index) => Some((index, value.alignment)),
            _ => None,
        })
        .collect();
    let plan = plan_views(reader, &entries, options.access, options.window_limit)?;
    let mut placed = Placed {
        regions: Vec::with_capacity(plan.windows.len()),
        places: vec![Place { region: None, offset: 0, byte_len: 0 }; wanted.len()],
    };
    let mut numbers = Vec::with_capacity(plan.windows.len());
    for window in &plan.windows {
        let region = map_window(*window, &plan, reader.catalogue().sources())?;
        numbers.push(region.is_some().then_some(placed.regions.len()));
        placed.regions.extend(region);
    }
    let mut copies = Vec::new();
    for (index, (value, view)) in wanted.iter().zip(&plan.views).enumerate() {
        let view = view.and_then(|view| Some(View { window: numbers.get(view.window).copied().flatten()?, ..view }));
        match (view, &value.what) {
            (Some(view), What::Entry(entry)) => {
                let place = place_view(reader, *entry, view, value, &placed.regions, options, cancel)?;
                if let Some(slot) = placed.places.get_mut(index) {
                    *slot = place;
                }
                progress(value.byte_len);
            }
            _ if value.byte_len > 0 => copies.push(index),
            _ => {}
        }
    }
    for slot in lay_out(&copies, wanted, &mut placed.regions)? {
        let Some(value) = wanted.get(slot.wanted) else { continue };
        let region = placed.regions.get_mut(slot.region);
        let Some(out) =
            region.and_then(|region| region.bytes_mut().get_mut(slot.offset..slot.offset.checked_add(slot.len)?))
        else {
            return Err(WeightsError::new(Code::Internal, "a value was laid out outside its memory"));
        };
        match &value.what {
            What::Entry(entry) => read_entry(reader, *entry, out, options.verify, cancel, progress)?,
            What::Computed(compute) => {
                cancel.check()?;
                compute(out, cancel)?;
                progress(value.byte_len);
            }
        }
        if let Some(place) = placed.places.get_mut(slot.wanted) {
            *place = Place { region: Some(slot.region), offset: slot.offset, byte_len: slot.len };
        }
    }
    Ok(placed)
}

fn place_view(
    reader: &dyn WeightsReader,
    entry: usize,
    view: View,
    value: &Wanted<'_>,
    regions: &[Region],
    options: &PlaceOptions,
    cancel: &Cancel,
) -> Result<Place> {
    cancel.check()?;
    let region = regions
        .get(view.window)
        .ok_or_else(|| WeightsError::new(Code::Internal, "a tensor lies in a window that was not planned"))?;
    let offset = usize::try_from(view.offset).map_err(|_| too_large(view.offset))?;
    let byte_len = usize::try_from(value.byte_len).map_err(|_| too_large(value.byte_len))?;
    settle_view(reader, entry, region, offset, options, cancel)?;
    Ok(Place { region: Some(view.window), offset, byte_len })
}
