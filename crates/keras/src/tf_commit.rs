//! Committing a checkpoint, which is several files: the data under names that nobody uses yet, then the index in one step.
//!
//! Until the index is switched, the old checkpoint is the one that counts, and it is whole; afterwards the new one is.
//! The old data files go last, when nothing refers to them any more.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use kw_formats::tf_checkpoint::{BundlePlan, ShardSlots, index_file_name, is_data_file_of};
use kw_model::{Code, Filesystem, Result, WeightsError, commit_file, storage_error};

use crate::pump::Pump;
use crate::{saves, tf_state};

/// Numbers of files among which saves that run at once choose, so that they do not meet.
const RANDOM_COUNTS: u64 = 50_000;

/// Writes and commits the checkpoint of a prefix.
///
/// # Errors
/// As [`commit_file`]; whatever the values cause. The old checkpoint stays loadable.
pub(crate) fn commit(
    bundle: &BundlePlan,
    prefix: &Path,
    overwrite: bool,
    fs: &dyn Filesystem,
    pump: &mut Pump<'_>,
) -> Result<()> {
    let place = Place::of(prefix)?;
    let index = place.file(&index_file_name(&place.name));
    let mut data = NewFiles { fs, paths: Vec::new() };
    let mut written = Vec::new();
    let mut slots = ShardSlots::fresh(0);
    // The unfinished index is there from the beginning: others see by it that a save is under way.
    let committed = commit_file(fs, &index, overwrite, None, &mut |sink| {
        slots = place.slots(fs, bundle.num_shards())?;
        let mut digests = Vec::with_capacity(bundle.tensors().len());
        for shard in 0..bundle.num_shards() {
            let path = place.file(&slots.file_name(&place.name, shard));
            data.paths.push(path.clone());
            let written = write_shard(bundle, shard, &path, fs, pump).inspect_err(|error| {
                if error.code() == Code::Exists {
                    // Another save had the same idea and was faster: the file is not ours to remove.
                    data.paths.pop();
                }
            });
            digests.extend(written?);
        }
        pump.cancel.check()?;
        written = bundle.index(&digests, slots)?;
        sink.write_all(&written)
    });
    if let Err(error) = committed {
        // The index may be in place although the last step failed: then its data must stay.
        if !written.is_empty() && may_be_in_place(fs, &index, &written) {
            data.keep();
        }
        return Err(error);
    }
    data.keep();
    place.remove_others(fs, slots, bundle.num_shards(), &|| may_be_in_place(fs, &index, &written));
    tf_state::update(fs, &place.folder, &place.name)
}

/// Writes one data file; the checksums of its tensors.
fn write_shard(
    bundle: &BundlePlan,
    shard: u32,
    path: &Path,
    fs: &dyn Filesystem,
    pump: &mut Pump<'_>,
) -> Result<Vec<u32>> {
    let mine = || bundle.tensors().iter().enumerate().filter(|(_, tensor)| tensor.shard() == shard);
    let mut digests = Vec::new();
    commit_file(fs, path, false, Some(bundle.shard_len(shard)), &mut |sink| {
        let mut emitter = bundle.emit_shard(shard, sink)?;
        for (number, _) in mine().filter(|(_, tensor)| !tensor.is_known()) {
            pump.tensor(number, false, &mut |bytes| emitter.write(bytes))?;
        }
        digests = emitter.finish()?;
        for ((number, tensor), found) in mine().zip(&digests) {
            if pump.digests.get(number).is_some_and(|expected| expected != found) {
                let name = tensor.name();
                return Err(WeightsError::new(
                    Code::Changed,
                    format!("the values of {name} were changed while they were being saved: nothing was saved"),
                )
                .weight(name));
            }
        }
        Ok(())
    })?;
    Ok(digests)
}

/// Whether the index that is there now is the new one, or cannot be read to tell.
fn may_be_in_place(fs: &dyn Filesystem, index: &Path, bytes: &[u8]) -> bool {
    let source = match fs.open(index) {
        Ok(source) => source,
        Err(error) => return error.code() != Code::NotFound,
    };
    let mut found = vec![0; bytes.len()];
    source.len() == bytes.len() as u64 && source.read_exact_at(0, &mut found).map_or(true, |()| found == bytes)
}

/// Folder and name of a prefix.
struct Place {
    folder: PathBuf,
    name: String,
}

impl Place {
    fn of(prefix: &Path) -> Result<Self> {
        let name = prefix.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
            WeightsError::new(
                Code::Argument,
                format!("a checkpoint needs a name, as text, for its files: {} has none", prefix.display()),
            )
        })?;
        let folder = match prefix.parent() {
            Some(parent) if parent != Path::new("") => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        Ok(Place { folder, name: name.to_owned() })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn names(&self, fs: &dyn Filesystem) -> io::Result<Vec<OsString>> {
        fs.list(&self.folder)
    }

    /// Numbers that no file has: those of a new checkpoint where there is none.
    fn slots(&self, fs: &dyn Filesystem, shards: u32) -> Result<ShardSlots> {
        let names = self.names(fs).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                return WeightsError::new(
                    Code::NotFound,
                    format!(
                        "could not write {}: the folder {} does not exist; create it first",
                        self.file(&self.name).display(),
                        self.folder.display()
                    ),
                );
            }
            storage_error("list", &self.folder, &error)
        })?;
        let names: Vec<&str> = names.iter().filter_map(|name| name.to_str()).collect();
        // One mark is our own.
        let from = if self.saves_under_way(&names) > 1 { saves::apart(RANDOM_COUNTS) } else { 0 };
        ShardSlots::free(&self.name, names, shards, u32::try_from(from).unwrap_or(0))
    }

    /// Saves to this prefix whose index is not in place yet.
    fn saves_under_way(&self, names: &[&str]) -> usize {
        saves::under_way(names.iter().copied(), &index_file_name(&self.name))
    }

    /// Whether a data file of this prefix was being written under that name: `.<name>.<random>.kw-tmp`.
    fn is_temporary(&self, name: &str) -> bool {
        let target = name.strip_prefix('.').and_then(|rest| rest.strip_suffix(".kw-tmp")?.rsplit_once('.'));
        target.is_some_and(|(target, _)| is_data_file_of(&self.name, target).is_some())
    }

    /// Removes data files that the index does not name. What cannot be removed now goes with the next save, and so does
    /// everything when somebody else is saving or has saved since (`is_ours` looks at the index): the files may be theirs.
    fn remove_others(&self, fs: &dyn Filesystem, slots: ShardSlots, shards: u32, is_ours: &dyn Fn() -> bool) {
        let names = self.names(fs).unwrap_or_default();
        let names: Vec<&str> = names.iter().filter_map(|name| name.to_str()).collect();
        // In this order: whoever is not under way when we list has no files there, or an index that we see.
        let alone = self.saves_under_way(&names) == 0 && is_ours();
        for name in names {
            if self.is_temporary(name) {
                // A save that was killed left it under a name that no later save uses again.
                let _removed = fs.remove_if_abandoned(&self.file(name));
                continue;
            }
            let Some((shard, count)) = is_data_file_of(&self.name, name) else { continue };
            let ours = count == slots.count && shard >= slots.first && shard < slots.first.saturating_add(shards);
            if alone && !ours {
                let _removed = fs.remove(&self.file(name));
            }
        }
    }
}

/// Data files of a save that is not committed; removed unless they are kept.
struct NewFiles<'f> {
    fs: &'f dyn Filesystem,
    paths: Vec<PathBuf>,
}

impl NewFiles<'_> {
    fn keep(&mut self) {
        self.paths.clear();
    }
}

impl Drop for NewFiles<'_> {
    fn drop(&mut self) {
        for path in &self.paths {
            // Why the save ended is on its way to the caller; what stays is removed by the next save.
            let _removed = self.fs.remove(path);
        }
    }
}
