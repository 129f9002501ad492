//! Writing sharded weights such that the old ones stay loadable until the new ones are complete.
//!
//! A first save uses Keras' names (`model_00000.weights.h5`). A save over other weights gives its shards names that are free
//! (`model_g1_00000.weights.h5`; Keras looks only into the index), switches the index last, and then removes the shards of the
//! index before. Keras 3 opens `model_00000.weights.h5` whatever the index says, so a file of that name, without
//! tensors, stays.

use std::path::{Path, PathBuf};

use kw_formats::hdf5::writer::{H5Builder, H5Plan};
use kw_model::{Code, Filesystem, Limits, Result, WeightsError, commit_file, storage_error};
use serde_json::{Map, Value as Json, json};

use crate::content::write_hdf5;
use crate::pump::Pump;
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
    pub(crate) fn byte_len(&self, tensor: usize) -> u64 {
        self.dataset(tensor).map_or(0, |(_, bytes)| bytes)
    }

    pub(crate) fn path(&self, tensor: usize) -> Option<&str> {
        self.dataset(tensor).map(|(path, _)| path)
    }

    fn dataset(&self, tensor: usize) -> Option<(&str, u64)> {
        let shard = self.shards.iter().rev().find(|shard| shard.first <= tensor)?;
        let dataset = shard.file.datasets().get(tensor.checked_sub(shard.first)?)?;
        Some((dataset.path.as_str(), dataset.byte_len))
    }

    pub(crate) fn file_len(&self) -> u64 {
        self.shards.iter().map(|shard| shard.file.file_len()).fold(0, u64::saturating_add)
    }

    /// The index, in Keras' form: a text for a group with one tensor, a list for others.
    fn index(&self, names: &[String]) -> Result<String> {
        let mut map = Map::new();
        for (group, tensors, shards) in &self.groups {
            let files: Vec<&str> = shards.iter().filter_map(|shard| names.get(*shard)).map(String::as_str).collect();
            let value = match files.as_slice() {
                [one] if *tensors == 1 => Json::from(*one),
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

/// Names of one set of shards.
struct Naming {
    folder: PathBuf,
    base: String,
}

impl Naming {
    fn of(target: &Path) -> Result<Self> {
        let stem = target.file_stem().and_then(|stem| stem.to_str()).ok_or_else(|| {
            WeightsError::new(Code::Name, format!("{} is no name that can stand in an index", target.display()))
        })?;
        let folder = match target.parent() {
            Some(parent) if parent != Path::new("") => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        Ok(Naming { folder, base: stem.replace(".weights", "") })
    }

    fn name(&self, generation: u64, shard: usize) -> String {
        match generation {
            0 => format!("{}_{shard:05}.weights.h5", self.base),
            _ => format!("{}_g{generation}_{shard:05}.weights.h5", self.base),
        }
    }

    /// The generation of a name that belongs to this set.
    fn generation(&self, name: &str) -> Option<u64> {
        let rest = name.strip_prefix(&self.base)?.strip_prefix('_')?.strip_suffix(".weights.h5")?;
        let (generation, number) = match rest.strip_prefix('g') {
            Some(rest) => {
                let (generation, number) = rest.split_once('_')?;
                (generation.parse().ok().filter(|generation| *generation > 0)?, number)
            }
            None => (0, rest),
        };
        (number.len() >= 5 && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(generation)
    }

    /// Whether a name is that of a temporary file of one of the shards.
    fn of_temporary(&self, name: &str) -> bool {
        let shard = name.strip_prefix('.').and_then(|name| name.strip_suffix(".kw-tmp")?.rsplit_once('.'));
        shard.is_some_and(|(shard, _)| self.generation(shard).is_some())
    }

    fn present(&self, fs: &dyn Filesystem) -> Vec<String> {
        let names = fs.list(&self.folder).unwrap_or_default();
        names.into_iter().filter_map(|name| name.into_string().ok()).collect()
    }
}

/// Writes all shards and switches the index.
///
/// # Errors
/// As [`commit_file`]; whatever the values cause. The old weights stay loadable.
pub(crate) fn commit(
    plan: &ShardedPlan,
    target: &Path,
    overwrite: bool,
    fs: &dyn Filesystem,
    pump: &mut Pump<'_>,
) -> Result<()> {
    let naming = Naming::of(target)?;
    let mut names: Vec<String> = Vec::new();
    let mut before: Option<Index> = None;
    let placeholder = empty_file()?;
    let first = naming.folder.join(naming.name(0, 0));
    let outcome = commit_file(fs, target, overwrite, None, &mut |sink| {
        let known: Vec<u64> = naming.present(fs).iter().filter_map(|name| naming.generation(name)).collect();
        let replaces = fs.metadata(target).map_err(|error| storage_error("inspect", target, &error))?.is_some();
        // Without an index, files of these names are what a killed save left, and Keras would overwrite them as well.
        let fresh = !replaces && (overwrite || known.is_empty());
        let generation = if fresh { 0 } else { known.iter().max().map_or(1, |known| known.saturating_add(1)) };
        for (number, shard) in plan.shards.iter().enumerate() {
            let name = naming.name(generation, number);
            let path = naming.folder.join(&name);
            commit_file(fs, &path, fresh && overwrite, Some(shard.file.file_len()), &mut |sink| {
                write_hdf5(&shard.file, shard.first, sink, pump)
            })?;
            names.push(name);
        }
        if generation > 0 && exists(fs, &first)?.is_none() {
            write_placeholder(fs, &first, &placeholder, false)?;
        }
        // As late as can be: somebody else may have saved meanwhile.
        before = if replaces { previous(fs, target) } else { None };
        sink.write_all(plan.index(&names)?.as_bytes())
    });
    if let Err(error) = outcome {
        // Only a failure of the very last step leaves the new index in place, and then its shards must stay.
        let in_use =
            previous(fs, target).is_some_and(|index| names.iter().any(|name| index.files().contains(name.as_str())));
        if !in_use {
            for name in &names {
                let _removed = fs.remove(&naming.folder.join(name));
            }
        }
        return Err(error);
    }
    clean(fs, target, &naming, &names, before.as_ref(), &placeholder);
    Ok(())
}

fn exists(fs: &dyn Filesystem, path: &Path) -> Result<Option<u64>> {
    let info = fs.metadata(path).map_err(|error| storage_error("inspect", path, &error))?;
    Ok(info.map(|info| info.len))
}

fn previous(fs: &dyn Filesystem, target: &Path) -> Option<Index> {
    Index::read(fs.open(target).ok()?.as_ref(), &Limits::default()).ok()?
}

/// Removes what the new index does not need. The save has succeeded: what fails here is left to the next one.
fn clean(
    fs: &dyn Filesystem,
    target: &Path,
    naming: &Naming,
    names: &[String],
    before: Option<&Index>,
    placeholder: &[u8],
) {
    let present = naming.present(fs);
    let marker = target.file_name().and_then(|name| name.to_str()).map(|name| format!(".{name}."));
    // Whoever saves here at this moment has shards that no index names yet.
    let alone = !present.iter().any(|name| {
        marker.as_ref().is_some_and(|marker| name.starts_with(marker.as_str()) && name.ends_with(".kw-tmp"))
    });
    let first = naming.name(0, 0);
    for name in &present {
        if naming.of_temporary(name) {
            // A file that somebody holds a lock on stays.
            let _removed = fs.remove_if_abandoned(&naming.folder.join(name));
        }
    }
    let Some(before) = before else { return };
    for name in present {
        let Some(generation) = naming.generation(&name) else { continue };
        if names.contains(&name) || name == first {
            continue;
        }
        if before.files().contains(name.as_str()) || (alone && generation > 0) {
            let _removed = fs.remove(&naming.folder.join(&name));
        }
    }
    let path = naming.folder.join(&first);
    let stale = exists(fs, &path).ok().flatten().is_some_and(|len| len != placeholder.len() as u64);
    if stale && !names.contains(&first) {
        let _written = write_placeholder(fs, &path, placeholder, true);
    }
    let _synced = fs.sync_folder(&naming.folder);
}

fn write_placeholder(fs: &dyn Filesystem, path: &Path, bytes: &[u8], overwrite: bool) -> Result<()> {
    commit_file(fs, path, overwrite, Some(bytes.len() as u64), &mut |sink| sink.write_all(bytes))
}

/// An HDF5 file without groups or tensors.
fn empty_file() -> Result<Vec<u8>> {
    let plan = H5Builder::new().plan()?;
    let mut sink = kw_model::MemorySink::new();
    plan.emit(&mut sink, &[])?.finish()?;
    Ok(sink.into_bytes())
}
