//! Writing a bundle: plan all tensors, stream the data files, then make the index from the checksums.
//!
//! Data go into the data files in the order of planning, densely packed unless an alignment is asked for,
//! as TensorFlow's `BundleWriter` does: the same tensors in the same order give the same bytes.

use std::collections::BTreeSet;

use kw_model::{ByteSink, Code, Crc32c, DType, Result, Shape, WeightsError};

use super::data_files::ShardSlots;
use super::entry::{Entry, Header};
use super::slice_key::slice_key;
use super::slices::{self, Extent, Region};
use super::table::{self, TableBuilder};
use super::{checksum, dtypes, strings};

/// Collects the tensors of a bundle.
#[derive(Debug, Default)]
pub struct BundleBuilder {
    tensors: Vec<PlannedTensor>,
    /// Keys that are no tensor themselves: tensors that lie in slices.
    sliced: Vec<(Vec<u8>, Entry)>,
    keys: BTreeSet<Vec<u8>>,
    max_shard_bytes: Option<u64>,
    alignment: u64,
}

/// One run of bytes in a data file: a tensor, or a slice of one.
#[derive(Debug, Clone)]
pub struct PlannedTensor {
    name: String,
    key: Vec<u8>,
    dtype: DType,
    code: u32,
    shape: Shape,
    shard: u32,
    offset: u64,
    byte_len: u64,
    /// Stored form and checksum, where they are known from the start.
    stored: Option<(Vec<u8>, u32)>,
}

impl PlannedTensor {
    /// The tensor's name; slices share their tensor's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Elements per axis, of the slice where it is one.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Which data file of the plan, from 0.
    pub fn shard(&self) -> u32 {
        self.shard
    }

    /// First byte in that file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes in that file.
    pub fn byte_len(&self) -> u64 {
        self.byte_len
    }

    /// True for strings: the plan holds their bytes, [`ShardEmitter::write`] is not given any.
    pub fn is_known(&self) -> bool {
        self.stored.is_some()
    }
}

impl BundleBuilder {
    /// An empty bundle with one data file.
    pub fn new() -> Self {
        BundleBuilder { alignment: 1, ..BundleBuilder::default() }
    }

    /// Begins a new data file before one would exceed this many bytes. A tensor that is larger
    /// gets a data file of its own.
    pub fn max_shard_bytes(&mut self, bytes: u64) -> &mut Self {
        self.max_shard_bytes = Some(bytes);
        self
    }

    /// Pads behind every tensor to a multiple of this many bytes. TensorFlow's default is 1 and its readers take any;
    /// with 64 every tensor can be mapped.
    pub fn alignment(&mut self, bytes: u64) -> &mut Self {
        self.alignment = bytes.max(1);
        self
    }

    /// Adds a tensor; returns its number in the order of data.
    ///
    /// # Errors
    /// [`Code::Name`] for an empty or repeated name, [`Code::DType`] for opaque bytes and strings,
    /// [`Code::Corrupt`] for a shape beyond 64 bits.
    pub fn tensor(&mut self, name: &str, dtype: DType, shape: Shape) -> Result<usize> {
        self.data(name, name.as_bytes().to_vec(), dtype, shape)
    }

    /// Adds a tensor of strings, with its elements in C order.
    ///
    /// # Errors
    /// As [`BundleBuilder::tensor`]; [`Code::Argument`] when the shape has another number of elements.
    pub fn strings<S: AsRef<[u8]>>(&mut self, name: &str, shape: Shape, elements: &[S]) -> Result<usize> {
        let count = shape.num_elements()?;
        if count != elements.len() as u64 {
            return Err(WeightsError::new(
                Code::Argument,
                format!("{name} of shape {shape} has {count} elements, but {} strings are given", elements.len()),
            )
            .weight(name));
        }
        let stored = strings::encode(elements);
        self.push(name, name.as_bytes().to_vec(), DType::String, shape, Some(stored))
    }

    /// Adds a tensor that lies in slices, which together must make it up; returns the number of the first slice,
    /// the others follow.
    ///
    /// # Errors
    /// As [`BundleBuilder::tensor`]; [`Code::Corrupt`] when the slices leave a gap or overlap.
    pub fn sliced(&mut self, name: &str, dtype: DType, shape: Shape, slices: &[Vec<Extent>]) -> Result<usize> {
        let mut regions = Vec::new();
        for extents in slices {
            regions.push(Region::new(extents, &shape)?);
        }
        slices::check_tiling(&shape, &regions)?;
        let first = self.tensors.len();
        let code = u64::from(numeric_code(name, dtype)?);
        self.claim(name, name.as_bytes().to_vec())?;
        for (extents, region) in slices.iter().zip(&regions) {
            self.data(name, slice_key(name.as_bytes(), extents), dtype, region.shape())?;
        }
        let entry = Entry { dtype: code, shape, slices: slices.to_vec(), ..Entry::default() };
        self.sliced.push((name.as_bytes().to_vec(), entry));
        Ok(first)
    }

    fn data(&mut self, name: &str, key: Vec<u8>, dtype: DType, shape: Shape) -> Result<usize> {
        numeric_code(name, dtype)?;
        self.push(name, key, dtype, shape, None)
    }

    fn push(
        &mut self,
        name: &str,
        key: Vec<u8>,
        dtype: DType,
        shape: Shape,
        stored: Option<(Vec<u8>, u32)>,
    ) -> Result<usize> {
        let code = dtypes::to_code(dtype).map_err(|error| error.weight(name))?;
        let byte_len = match &stored {
            Some((bytes, _)) => bytes.len() as u64,
            None => shape.byte_len(dtype).map_err(|error| error.weight(name))?,
        };
        self.claim(name, key.clone())?;
        let name = name.to_owned();
        self.tensors.push(PlannedTensor { name, key, dtype, code, shape, shard: 0, offset: 0, byte_len, stored });
        Ok(self.tensors.len() - 1)
    }

    fn claim(&mut self, name: &str, key: Vec<u8>) -> Result<()> {
        // Names that begin with a zero byte would be taken for slices.
        let usable = !name.is_empty() && !name.starts_with('\0');
        if usable && self.keys.insert(key) {
            return Ok(());
        }
        let message = if usable {
            format!("two tensors of a checkpoint would be called {name}")
        } else {
            "a tensor of a checkpoint needs a name".to_owned()
        };
        Err(WeightsError::new(Code::Name, message).format(super::FORMAT).weight(name))
    }

    /// Gives every tensor its place.
    ///
    /// # Errors
    /// [`Code::Limit`] when a data file or the number of data files is beyond what the format can count.
    pub fn plan(mut self) -> Result<BundlePlan> {
        let mut shard_lens = vec![0_u64];
        for tensor in &mut self.tensors {
            let beyond = || WeightsError::limit("a data file", u64::MAX, i64::MAX.cast_unsigned(), "bytes");
            let mut offset = shard_lens.last().copied().unwrap_or_default();
            let full = self.max_shard_bytes.is_some_and(|max| offset.saturating_add(tensor.byte_len) > max);
            if full && offset > 0 {
                shard_lens.push(0);
                offset = 0;
            }
            tensor.shard = u32::try_from(shard_lens.len() - 1)
                .ok()
                .filter(|shard| *shard < 1 << 30)
                .ok_or_else(|| WeightsError::limit("data files", shard_lens.len() as u64, 1 << 30, "files"))?;
            tensor.offset = offset;
            let end = offset
                .checked_add(tensor.byte_len)
                .and_then(|end| end.checked_next_multiple_of(self.alignment))
                .filter(|end| i64::try_from(*end).is_ok())
                .ok_or_else(beyond)?;
            if let Some(len) = shard_lens.last_mut() {
                *len = end;
            }
        }
        Ok(BundlePlan { tensors: self.tensors, sliced: self.sliced, shard_lens })
    }
}

fn numeric_code(name: &str, dtype: DType) -> Result<u32> {
    if dtype == DType::String {
        return Err(WeightsError::new(Code::DType, "strings are added by their own method").weight(name));
    }
    dtypes::to_code(dtype).map_err(|error| error.weight(name))
}

/// Every tensor in its place.
#[derive(Debug)]
pub struct BundlePlan {
    tensors: Vec<PlannedTensor>,
    sliced: Vec<(Vec<u8>, Entry)>,
    shard_lens: Vec<u64>,
}

impl BundlePlan {
    /// All tensors and slices in the order of data: shard by shard, offset by offset.
    pub fn tensors(&self) -> &[PlannedTensor] {
        &self.tensors
    }

    /// Number of data files; one at least.
    pub fn num_shards(&self) -> u32 {
        u32::try_from(self.shard_lens.len()).unwrap_or(u32::MAX)
    }

    /// Bytes of a data file; 0 for one that the plan does not have.
    pub fn shard_len(&self, shard: u32) -> u64 {
        self.shard_lens.get(shard as usize).copied().unwrap_or_default()
    }

    /// Begins to write a data file.
    ///
    /// # Errors
    /// [`Code::Argument`] when the plan has no such data file; what the sink refuses.
    pub fn emit_shard<'a>(&'a self, shard: u32, sink: &'a mut dyn ByteSink) -> Result<ShardEmitter<'a>> {
        if shard >= self.num_shards() {
            return Err(WeightsError::new(
                Code::Argument,
                format!("there is no data file {shard}; the plan has {}", self.num_shards()),
            ));
        }
        let first = self.tensors.partition_point(|tensor| tensor.shard < shard);
        let end = self.tensors.partition_point(|tensor| tensor.shard <= shard);
        let tensors = self.tensors.get(first..end).unwrap_or_default();
        let len = self.shard_len(shard);
        let mut emitter =
            ShardEmitter { sink, tensors, len, position: 0, left: 0, crc: Crc32c::default(), digests: Vec::new() };
        emitter.begin()?;
        Ok(emitter)
    }

    /// The index file: `digests` are what [`ShardEmitter::finish`] returned, shard after shard; `slots` says under
    /// which numbers the data files were stored.
    ///
    /// # Errors
    /// [`Code::Argument`] for another number of digests or slots that are too few.
    pub fn index(&self, digests: &[u32], slots: ShardSlots) -> Result<Vec<u8>> {
        let enough = slots.first.checked_add(self.num_shards()).is_some_and(|end| end <= slots.count);
        if digests.len() != self.tensors.len() || !enough {
            return Err(WeightsError::new(
                Code::Argument,
                format!(
                    "{} tensors in {} data files cannot have {} digests and numbers {} of {}",
                    self.tensors.len(),
                    self.num_shards(),
                    digests.len(),
                    slots.first,
                    slots.count
                ),
            ));
        }
        let placed = self.tensors.iter().zip(digests).map(|(tensor, digest)| {
            let entry = Entry {
                dtype: u64::from(tensor.code),
                shape: tensor.shape.clone(),
                shard: slots.first.saturating_add(tensor.shard),
                offset: tensor.offset,
                size: tensor.byte_len,
                crc: checksum::mask(*digest),
                slices: Vec::new(),
            };
            (tensor.key.as_slice(), entry.encode())
        });
        let sliced = self.sliced.iter().map(|(key, entry)| (key.as_slice(), entry.encode()));
        let mut entries: Vec<(&[u8], Vec<u8>)> = placed.chain(sliced).collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        let mut table = TableBuilder::new(table::BLOCK_SIZE);
        table.add(&[], &Header { num_shards: slots.count, big_endian: false }.encode())?;
        for (key, entry) in entries {
            table.add(key, &entry)?;
        }
        table.finish()
    }
}

/// Writes one data file. Give it the bytes of its tensors in order, in pieces of any size,
/// leaving out those that are known.
pub struct ShardEmitter<'a> {
    sink: &'a mut dyn ByteSink,
    /// The tensors that are not finished.
    tensors: &'a [PlannedTensor],
    len: u64,
    position: u64,
    /// Bytes that the first of `tensors` still needs.
    left: u64,
    crc: Crc32c,
    digests: Vec<u32>,
}

impl ShardEmitter<'_> {
    /// Writes padding and known tensors up to the next tensor that has to be given.
    fn begin(&mut self) -> Result<()> {
        while let Some((tensor, rest)) = self.tensors.split_first() {
            self.pad_to(tensor.offset)?;
            if let Some((bytes, crc)) = &tensor.stored {
                self.sink.write_all(bytes)?;
                self.digests.push(*crc);
            } else if tensor.byte_len == 0 {
                self.digests.push(0);
            } else {
                self.left = tensor.byte_len;
                self.crc = Crc32c::default();
                return Ok(());
            }
            self.position = self.position.saturating_add(tensor.byte_len);
            self.tensors = rest;
        }
        self.pad_to(self.len)
    }

    fn pad_to(&mut self, offset: u64) -> Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while self.position < offset {
            let len = offset.saturating_sub(self.position).min(ZEROS.len() as u64);
            self.sink.write_all(ZEROS.get(..usize::try_from(len).unwrap_or_default()).unwrap_or_default())?;
            self.position = self.position.saturating_add(len);
        }
        Ok(())
    }

    /// Appends bytes of the tensors.
    ///
    /// # Errors
    /// [`Code::Argument`] for more bytes than planned; what the sink refuses.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.tensors.is_empty() {
                return Err(WeightsError::new(Code::Argument, "more bytes were given than the plan has room for"));
            }
            let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at_checked(len).unwrap_or_default();
            self.sink.write_all(now)?;
            self.crc.update(now);
            self.position = self.position.saturating_add(len as u64);
            self.left = self.left.saturating_sub(len as u64);
            bytes = later;
            if self.left == 0 {
                self.digests.push(self.crc.value());
                self.tensors = self.tensors.get(1..).unwrap_or_default();
                self.begin()?;
            }
        }
        Ok(())
    }

    /// The CRC32C of each tensor of this data file, in order.
    ///
    /// # Errors
    /// [`Code::Argument`] when bytes are missing.
    pub fn finish(self) -> Result<Vec<u32>> {
        match self.tensors.first() {
            None => Ok(self.digests),
            Some(tensor) => Err(WeightsError::new(
                Code::Argument,
                format!("{} lacks {} of its {} bytes", tensor.name, self.left, tensor.byte_len),
            )
            .weight(tensor.name.as_str())
            .expected(tensor.byte_len)
            .found(tensor.byte_len.saturating_sub(self.left))),
        }
    }
}
