//! Reading: weights inside one file are ranges that can be mapped; quantized ones and those across files are decoded.

use std::collections::BTreeMap;
use std::sync::Arc;

use kw_model::{
    AttributeValue, ByteSource, Cancel, Catalogue, CatalogueBuilder, Code, DType, Limits, Location, Result,
    TensorEntry, WeightsError, WeightsReader,
};

use super::manifest::{Manifest, Quantization, Spec};
use super::values::dequantize;
use super::{FORMAT, corrupt};
use crate::buffers::{self, PIECE};

/// Opens a file beside the `model.json` by its plain name.
pub type OpenSibling<'a> = dyn Fn(&str) -> Result<Arc<dyn ByteSource>> + 'a;

/// Bytes before each string that count its own.
const STRING_LEN: u64 = 4;

/// Where a weight lies.
#[derive(Debug)]
struct Place {
    /// Index into the groups.
    group: usize,
    /// From the start of the group's bytes.
    start: u64,
    /// Bytes as they are stored.
    stored: u64,
    quantization: Option<Quantization>,
}

/// A weight, where it lies, and the files of its group.
type Placed<'r> = (&'r TensorEntry, &'r Place, &'r [(usize, u64)]);

/// An opened layers model.
#[derive(Debug)]
pub struct TfjsReader {
    catalogue: Catalogue,
    places: Vec<Place>,
    /// For each group its files: the number of the source and the first byte it holds.
    groups: Vec<Vec<(usize, u64)>>,
}

/// Opens the files that a manifest names.
///
/// # Errors
/// [`Code::Truncated`] when the files are shorter than the weights, [`Code::Corrupt`] when they are longer or two weights have one
/// name, [`Code::Limit`], what `open_sibling` returns.
pub fn open(manifest: &Manifest, open_sibling: &OpenSibling<'_>, limits: &Limits) -> Result<TfjsReader> {
    let files = manifest.files().count() as u64;
    Limits::check("files of the model", files, limits.max_tensors, "files")?;
    let (mut sources, mut groups) = (Vec::new(), Vec::new());
    for group in &manifest.groups {
        let (mut parts, mut len) = (Vec::new(), 0_u64);
        for path in &group.paths {
            let source = open_sibling(path)?;
            parts.push((sources.len(), len));
            len = len.saturating_add(source.len());
            sources.push(source);
        }
        groups.push((parts, len));
    }
    let mut builder = CatalogueBuilder::new(sources.clone(), limits.clone());
    let mut places = Vec::new();
    for (number, (group, (parts, len))) in manifest.groups.iter().zip(&groups).enumerate() {
        let mut start = 0;
        for spec in &group.weights {
            let named = |error: WeightsError| error.weight(spec.name.as_str()).format(FORMAT);
            let stored = stored_len(spec, &sources, parts, start, *len).map_err(named)?;
            let end = start.saturating_add(stored);
            if end > *len {
                return Err(named(short(&spec.name, end, *len)));
            }
            builder.tensor(entry(spec, &sources, parts, start, stored)?).map_err(named)?;
            places.push(Place { group: number, start, stored, quantization: spec.quantization });
            start = end;
        }
        if start != *len {
            let message =
                format!("the weights of a group have {start} bytes, but its files have {len}: bytes are left over");
            return Err(corrupt(message).expected(start).found(*len));
        }
    }
    let mut root = kw_model::Group::default();
    for (name, text) in manifest.texts() {
        root.attributes.insert(name, AttributeValue::Text(text));
    }
    builder.group("", root);
    let groups = groups.into_iter().map(|(parts, _)| parts).collect();
    Ok(TfjsReader { catalogue: builder.finish(), places, groups })
}

fn short(name: &str, wanted: u64, found: u64) -> WeightsError {
    let message = format!(
        "{name} ends at byte {wanted} of its group, but the files of the group have {found}: one is incomplete"
    );
    WeightsError::new(Code::Truncated, message).expected(wanted).found(found)
}

/// Bytes of a weight in its group.
fn stored_len(
    spec: &Spec,
    sources: &[Arc<dyn ByteSource>],
    parts: &[(usize, u64)],
    start: u64,
    group_len: u64,
) -> Result<u64> {
    match (spec.quantization, spec.dtype) {
        (Some(how), _) => Ok(spec.shape.num_elements()?.saturating_mul(how.width())),
        (None, DType::String) => {
            let mut end = start;
            for _ in 0..spec.shape.num_elements()? {
                let mut bytes = [0; 4];
                if end.saturating_add(STRING_LEN) > group_len {
                    return Err(short(&spec.name, end.saturating_add(STRING_LEN), group_len));
                }
                read_span(sources, parts, end, &mut bytes, &Cancel::default())?;
                end = end.saturating_add(STRING_LEN).saturating_add(u32::from_le_bytes(bytes).into());
            }
            Ok(end.saturating_sub(start))
        }
        (None, dtype) => spec.shape.byte_len(dtype),
    }
}

fn entry(
    spec: &Spec,
    sources: &[Arc<dyn ByteSource>],
    parts: &[(usize, u64)],
    start: u64,
    stored: u64,
) -> Result<TensorEntry> {
    let mut attributes = BTreeMap::new();
    if let Some(group) = &spec.group {
        attributes.insert("group".to_owned(), AttributeValue::Text(group.clone()));
    }
    let part = parts.iter().rev().find(|(_, first)| *first <= start);
    let inside = part.and_then(|(source, first)| {
        let offset = start.checked_sub(*first)?;
        let len = sources.get(*source)?.len();
        (offset.saturating_add(stored) <= len).then_some(Location::Range { source: *source, offset })
    });
    let plain = spec.quantization.is_none() && spec.dtype != DType::String;
    Ok(TensorEntry {
        path: spec.name.clone(),
        dtype: spec.dtype,
        shape: spec.shape.clone(),
        byte_len: if spec.dtype == DType::String { stored } else { spec.shape.byte_len(spec.dtype)? },
        location: inside.filter(|_| plain).unwrap_or(Location::Decoded),
        digest: None,
        attributes,
    })
}

/// Fills `out` with bytes of a group, from as many of its files as it takes.
fn read_span(
    sources: &[Arc<dyn ByteSource>],
    parts: &[(usize, u64)],
    start: u64,
    out: &mut [u8],
    cancel: &Cancel,
) -> Result<()> {
    let (mut position, mut rest) = (start, out);
    for (number, first) in parts {
        let Some(source) = sources.get(*number) else { break };
        let left = first.saturating_add(source.len()).saturating_sub(position);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let Some((now, later)) = std::mem::take(&mut rest).split_at_mut_checked(len) else { break };
        buffers::read_pieces(source.as_ref(), position.saturating_sub(*first), now, cancel)?;
        position = position.saturating_add(len as u64);
        rest = later;
        if rest.is_empty() {
            return Ok(());
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(corrupt("a weight ends behind the files of its group")) }
}

impl TfjsReader {
    fn place(&self, index: usize) -> Result<Placed<'_>> {
        let entry = self.catalogue.entry(index)?;
        let place = self.places.get(index);
        let parts = place.and_then(|place| self.groups.get(place.group));
        place
            .zip(parts)
            .map(|(place, parts)| (entry, place, parts.as_slice()))
            .ok_or_else(|| WeightsError::new(Code::Internal, format!("{} has no place", entry.path)))
    }
}

impl WeightsReader for TfjsReader {
    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn read_into(&self, index: usize, out: &mut [u8], cancel: &Cancel) -> Result<()> {
        let (entry, place, parts) = self.place(index)?;
        if entry.dtype == DType::String {
            let message = format!("{} holds strings, not numbers", entry.path);
            return Err(WeightsError::new(Code::DType, message).format(FORMAT).weight(entry.path.as_str()));
        }
        buffers::check_out_len(&entry.path, out, entry.byte_len)?;
        let sources = self.catalogue.sources();
        let Some(how) = place.quantization else { return read_span(sources, parts, place.start, out, cancel) };
        let width = usize::try_from(how.width()).unwrap_or(1);
        let mut buffer = buffers::zeroed(place.stored.min(PIECE as u64), "a piece of a tensor")?;
        let mut position = place.start;
        for piece in out.chunks_mut(PIECE / width * 4) {
            let len = piece.len() / 4 * width;
            let stored = buffer.get_mut(..len).unwrap_or_default();
            read_span(sources, parts, position, stored, cancel)?;
            dequantize(stored, how, entry.dtype, piece);
            position = position.saturating_add(len as u64);
        }
        Ok(())
    }

    fn read_strings(&self, index: usize) -> Result<Vec<Vec<u8>>> {
        let (entry, place, parts) = self.place(index)?;
        if entry.dtype != DType::String {
            return Err(WeightsError::new(Code::DType, format!("{} holds {}, not strings", entry.path, entry.dtype))
                .format(FORMAT)
                .weight(entry.path.as_str()));
        }
        let mut bytes = buffers::zeroed(place.stored, "a string tensor")?;
        read_span(self.catalogue.sources(), parts, place.start, &mut bytes, &Cancel::default())?;
        let (mut strings, mut rest) = (Vec::new(), bytes.as_slice());
        while let Some((len, after)) = rest.split_first_chunk::<4>() {
            let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
            let (string, later) =
                after.split_at_checked(len).ok_or_else(|| corrupt("a string ends behind its tensor"))?;
            strings.push(string.to_vec());
            rest = later;
        }
        Ok(strings)
    }

    fn format(&self) -> &'static str {
        FORMAT
    }
}
