//! Sharded weights as Keras 3 lays them out: which tensor goes into which file, and what the index says.
//!
//! Keras 3 opens `model_00000.weights.h5` whatever the index says, so a file of that name, without tensors, stays.

use std::collections::{BTreeMap, BTreeSet};

use kw_formats::hdf5::writer::{H5Builder, H5Plan};
use kw_model::{ByteSink, ByteSource, Code, Limits, Result, WeightsError};
use serde_json::{Map, Value as Json, json};

use crate::content::write_hdf5;
use crate::pump::Pump;
use crate::shard_commit::{ShardSet, Style};
use crate::sharded::Index;

/// Several files and what the index will say of them.
pub(crate) struct ShardedPlan {
    pub(crate) shards: Vec<Shard>,
    /// Groups in the order of writing, each with its number of tensors and its shards.
    pub(crate) groups: Vec<(String, usize, Vec<usize>)>,
    pub(crate) total_bytes: u64,
}

/// One file.
pub(crate) struct Shard {
    pub(crate) file: H5Plan,
    /// The first of its tensors in the order of all.
    pub(crate) first: usize,
}

/// Finds the shard of every tensor as Keras does: a shard is full when the next tensor would not fit.
pub(crate) struct Sharding {
    max_bytes: u64,
    filled: u64,
    plan: ShardedPlan,
    /// The first tensor of the shard that is being filled.
    first: usize,
}

impl Sharding {
    pub(crate) fn new(max_bytes: u64) -> Self {
        let plan = ShardedPlan { shards: Vec::new(), groups: Vec::new(), total_bytes: 0 };
        Sharding { max_bytes, filled: 0, plan, first: 0 }
    }

    /// Notes a tensor; true when it begins a new shard.
    ///
    /// # Errors
    /// [`Code::Argument`] for a tensor that no shard can hold.
    pub(crate) fn add(&mut self, path: &str, weight: &str, byte_len: u64, tensor: usize) -> Result<bool> {
        if byte_len > self.max_bytes {
            return Err(WeightsError::new(
                Code::Argument,
                format!(
                    "{weight} alone has {byte_len} bytes, more than a shard may have ({}): raise maxShardSize",
                    self.max_bytes
                ),
            )
            .weight(weight)
            .expected(self.max_bytes)
            .found(byte_len));
        }
        self.plan.total_bytes = self.plan.total_bytes.saturating_add(byte_len);
        self.filled = self.filled.saturating_add(byte_len);
        let full = self.filled > self.max_bytes && tensor > self.first;
        if full {
            self.filled = byte_len;
        }
        let shard = self.plan.shards.len().saturating_add(usize::from(full));
        let group = path.rsplit_once('/').map_or("", |(group, _)| group);
        match self.plan.groups.last_mut().filter(|(last, ..)| last == group) {
            Some((_, tensors, shards)) => {
                *tensors = tensors.saturating_add(1);
                if shards.last() != Some(&shard) {
                    shards.push(shard);
                }
            }
            None => self.plan.groups.push((group.to_owned(), 1, vec![shard])),
        }
        Ok(full)
    }

    /// Ends a shard before the tensor number `next`.
    ///
    /// # Errors
    /// As [`H5Builder::plan`].
    pub(crate) fn close(&mut self, builder: H5Builder, next: usize) -> Result<()> {
        self.plan.shards.push(Shard { file: builder.plan()?, first: self.first });
        self.first = next;
        Ok(())
    }

    /// Ends the last shard.
    ///
    /// # Errors
    /// As [`H5Builder::plan`].
    pub(crate) fn finish(mut self, builder: H5Builder, next: usize) -> Result<ShardedPlan> {
        self.close(builder, next)?;
        Ok(self.plan)
    }
}

impl ShardedPlan {
    /// The index, in Keras' form: a text for a group with one tensor, a list for others.
    fn text(&self, names: &[String]) -> Result<String> {
        // A conversion may come back to a group that it has left.
        let mut groups: BTreeMap<&str, (usize, Vec<usize>)> = BTreeMap::new();
        for (group, tensors, shards) in &self.groups {
            let (count, files) = groups.entry(group).or_default();
            *count = count.saturating_add(*tensors);
            files.extend(shards.iter().filter(|shard| !files.contains(shard)).copied().collect::<Vec<_>>());
        }
        let mut map = Map::new();
        for (group, (tensors, shards)) in groups {
            let files: Vec<&str> = shards.iter().filter_map(|shard| names.get(*shard)).map(String::as_str).collect();
            let value = match files.as_slice() {
                [one] if tensors == 1 => Json::from(*one),
                many => json!(many),
            };
            map.insert(format!("/{group}"), value);
        }
        #[expect(clippy::cast_precision_loss, reason = "Keras writes the sum as a floating-point number")]
        let total = self.total_bytes as f64;
        let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
        let mut text = Vec::new();
        let pretty = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        serde::Serialize::serialize(&index, &mut serde_json::Serializer::with_formatter(&mut text, pretty))
            .ok()
            .and_then(|()| String::from_utf8(text).ok())
            .ok_or_else(|| WeightsError::new(Code::Internal, "the index cannot be written"))
    }
}

impl ShardSet for ShardedPlan {
    fn style(&self) -> Style {
        Style::Keras
    }

    fn count(&self) -> usize {
        self.shards.len()
    }

    fn shard_len(&self, shard: usize) -> u64 {
        self.shards.get(shard).map_or(0, |shard| shard.file.file_len())
    }

    fn tensor(&self, tensor: usize) -> Option<(&str, u64)> {
        let shard = self.shards.iter().rev().find(|shard| shard.first <= tensor)?;
        let dataset = shard.file.datasets().get(tensor.checked_sub(shard.first)?)?;
        Some((dataset.path.as_str(), dataset.byte_len))
    }

    fn write(&self, shard: usize, sink: &mut dyn ByteSink, pump: &mut Pump<'_>) -> Result<()> {
        let Some(shard) = self.shards.get(shard) else { return Ok(()) };
        write_hdf5(&shard.file, shard.first, sink, pump)
    }

    fn index(&self, names: &[String]) -> Result<String> {
        self.text(names)
    }

    fn named_by(&self, index: &dyn ByteSource) -> BTreeSet<String> {
        files_of(index)
    }

    fn placeholder(&self) -> Result<Option<Vec<u8>>> {
        empty_file().map(Some)
    }
}

/// The files that an index of shards names.
pub(crate) fn files_of(index: &dyn ByteSource) -> BTreeSet<String> {
    let index = Index::read(index, &Limits::default()).ok().flatten();
    index.iter().flat_map(Index::files).map(str::to_owned).collect()
}

/// An HDF5 file without groups or tensors.
fn empty_file() -> Result<Vec<u8>> {
    let plan = H5Builder::new().plan()?;
    let mut sink = kw_model::MemorySink::new();
    plan.emit(&mut sink, &[])?.finish()?;
    Ok(sink.into_bytes())
}
