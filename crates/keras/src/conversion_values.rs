//! The values of a conversion on their way from one file into the other.

use std::collections::BTreeMap;

use kw_model::{Cancel, Code, Crc32c, DType, Location, Result, TensorEntry, WeightsError, WeightsReader};

use crate::cast;
use crate::conversion::value_of;
use crate::conversion_layout::becomes;
use crate::load::Value;
use crate::open::OpenedFile;
use crate::save::{SavePlan, ValueStream};
use crate::tree::ModelTree;

/// Bytes read at once; a multiple of every element's size.
const PIECE: usize = 1 << 20;

/// Reads one tensor after the other.
pub(crate) struct Converting<'a> {
    pub(crate) file: &'a OpenedFile,
    pub(crate) plan: &'a SavePlan,
    pub(crate) dtype: Option<DType>,
    pub(crate) cancel: &'a Cancel,
    pub(crate) overflowed: BTreeMap<String, u64>,
}

impl ValueStream for Converting<'_> {
    fn pump(&mut self, tensor: usize, out: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let index = self.plan.variables().get(tensor).copied().unwrap_or(usize::MAX);
        let entry = self.file.reader.catalogue().entry(index)?;
        let to = becomes(entry.dtype, self.dtype, self.plan.format());
        let count = stream(self.file, index, entry.dtype, to, self.cancel, out)?;
        if count > 0 {
            self.overflowed.insert(entry.path.clone(), count);
        }
        Ok(())
    }
}

/// Brings the values that a load would give to a model.
pub(crate) struct Through<'a> {
    pub(crate) tree: &'a ModelTree,
    pub(crate) file: &'a OpenedFile,
    pub(crate) plan: &'a SavePlan,
    pub(crate) values: BTreeMap<usize, Value>,
    pub(crate) cancel: &'a Cancel,
    pub(crate) overflowed: BTreeMap<String, u64>,
}

impl ValueStream for Through<'_> {
    fn pump(&mut self, tensor: usize, out: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let number = self.plan.variables().get(tensor).copied().unwrap_or(usize::MAX);
        let variable = self.tree.variable(number)?;
        let reader = self.file.reader.as_ref();
        let count = match value_of(number, &self.values, self.tree) {
            None => {
                return Err(WeightsError::new(
                    Code::Missing,
                    format!("{} has no value for {}, which the new file needs", self.file.source_name, variable.path),
                )
                .weight(&variable.path));
            }
            Some(Value::Computed(recipe)) => {
                for index in recipe.entries() {
                    let entry = reader.catalogue().entry(index)?;
                    if entry.digest.is_some() {
                        stream(self.file, index, entry.dtype, entry.dtype, self.cancel, &mut |_| Ok(()))?;
                    }
                }
                let mut changing = Changing { from: recipe.from(), to: variable.dtype, ..Changing::default() };
                for piece in recipe.evaluate_stored(reader, self.cancel)?.chunks(PIECE) {
                    changing.take(piece, out)?;
                }
                changing.overflowed
            }
            Some(Value::Tensor { entry, reinterpret, .. }) => {
                let stored = reader.catalogue().entry(*entry)?;
                let from = reinterpret.unwrap_or(stored.dtype);
                stream(self.file, *entry, from, variable.dtype, self.cancel, out)?
            }
        };
        if count > 0 {
            self.overflowed.insert(variable.path.clone(), count);
        }
        Ok(())
    }
}

/// Changes the dtype of pieces.
struct Changing {
    from: DType,
    to: DType,
    converted: Vec<u8>,
    overflowed: u64,
}

impl Default for Changing {
    fn default() -> Self {
        Changing { from: DType::Float32, to: DType::Float32, converted: Vec::new(), overflowed: 0 }
    }
}

impl Changing {
    fn take(&mut self, bytes: &[u8], out: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if self.from == self.to {
            return out(bytes);
        }
        self.converted.resize(bytes.len() / self.from.size() * self.to.size(), 0);
        cast::cast(bytes, self.from, self.to, &mut self.converted)?;
        if self.from.is_float() && self.to.is_float() {
            self.overflowed = self.overflowed.saturating_add(overflows(bytes, self.from, &self.converted, self.to));
        }
        out(&self.converted)
    }
}

/// Hands a tensor on as `to`, and compares it with its digest: a conversion would hide damage under new ones. How many finite
/// values became infinite.
fn stream(
    file: &OpenedFile,
    index: usize,
    from: DType,
    to: DType,
    cancel: &Cancel,
    out: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<u64> {
    let reader = file.reader.as_ref();
    let entry = reader.catalogue().entry(index)?;
    let located = |error: WeightsError| error.file(&file.source_name).format(file.format.name());
    let mut read = Crc32c::default();
    let mut changing = Changing { from, to, ..Changing::default() };
    match entry.location {
        Location::Range { source, offset } => {
            let source =
                reader.catalogue().sources().get(source).ok_or_else(|| {
                    WeightsError::new(Code::Internal, "a tensor lies in a source that does not exist")
                })?;
            let mut piece = vec![0; PIECE];
            let mut done = 0_u64;
            while done < entry.byte_len {
                cancel.check()?;
                let len = usize::try_from(entry.byte_len.saturating_sub(done)).unwrap_or(PIECE).min(PIECE);
                let Some(piece) = piece.get_mut(..len) else { break };
                source.read_exact_at(offset.saturating_add(done), piece).map_err(located)?;
                read.update(piece);
                changing.take(piece, out)?;
                done = done.saturating_add(len as u64);
            }
        }
        Location::Decoded => {
            let bytes = whole(reader, index, entry.byte_len, cancel).map_err(located)?;
            read.update(&bytes);
            for piece in bytes.chunks(PIECE) {
                changing.take(piece, out)?;
            }
        }
    }
    check_digest(reader, entry, index, read.value(), cancel).map_err(located)?;
    Ok(changing.overflowed)
}

fn check_digest(
    reader: &dyn WeightsReader,
    entry: &TensorEntry,
    index: usize,
    found: u32,
    cancel: &Cancel,
) -> Result<()> {
    match entry.digest {
        Some(expected) if expected != found => Err(WeightsError::new(
            Code::Digest,
            format!("the bytes of {} do not fit the digest stored with them: the file is damaged", entry.path),
        )
        .weight(&entry.path)
        .expected(format!("{expected:08x}"))
        .found(format!("{found:08x}"))),
        Some(_) => Ok(()),
        None => reader.verify_stored(index, cancel).map(|_| ()),
    }
}

fn whole(reader: &dyn WeightsReader, index: usize, byte_len: u64, cancel: &Cancel) -> Result<Vec<u8>> {
    let memory = || WeightsError::new(Code::Memory, format!("no memory for the {byte_len} bytes of a tensor"));
    let len = usize::try_from(byte_len).map_err(|_| memory())?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| memory())?;
    bytes.resize(len, 0);
    reader.read_into(index, &mut bytes, cancel)?;
    Ok(bytes)
}

/// How many finite elements became infinite.
fn overflows(from: &[u8], from_dtype: DType, to: &[u8], to_dtype: DType) -> u64 {
    let elements = from.chunks_exact(from_dtype.size()).zip(to.chunks_exact(to_dtype.size()));
    elements.filter(|(from, to)| is_finite(from, from_dtype) && !is_finite(to, to_dtype)).count() as u64
}

/// Whether the exponent is not all ones.
fn is_finite(bytes: &[u8], dtype: DType) -> bool {
    let (Some(&high), Some(&next)) = (bytes.last(), bytes.len().checked_sub(2).and_then(|at| bytes.get(at))) else {
        return true;
    };
    let top = u16::from_be_bytes([high, next]);
    let exponent = match dtype {
        DType::Float16 => 0x7c00,
        DType::Float64 => 0x7ff0,
        _ => 0x7f80,
    };
    top & exponent != exponent
}
