//! Writing several files and an index such that the old ones stay loadable until the new ones are complete.
//!
//! A first save uses the names that readers are used to (`model_00000.weights.h5`). A save over others gives its files names
//! that are free (`model_g1_00000.weights.h5`; readers look only into the index), switches the index last, and then removes
//! the files of the index before.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kw_model::{ByteSink, ByteSource, Code, Filesystem, Result, WeightsError, commit_file, storage_error};

use crate::pump::Pump;
use crate::saves;

/// Generations among which saves that run at once choose, so that they do not meet.
const RANDOM_GENERATIONS: u64 = 1_000_000;

/// Files that an index names.
pub(crate) trait ShardSet: Send + Sync {
    /// How they are called.
    fn style(&self) -> Style;

    /// How many there are.
    fn count(&self) -> usize;

    /// Bytes of one.
    fn shard_len(&self, shard: usize) -> u64;

    /// Name and bytes of a tensor; tensors are counted through all files.
    fn tensor(&self, tensor: usize) -> Option<(&str, u64)>;

    /// Writes one.
    ///
    /// # Errors
    /// What the values and the sink cause.
    fn write(&self, shard: usize, sink: &mut dyn ByteSink, pump: &mut Pump<'_>) -> Result<()>;

    /// The index that names them.
    ///
    /// # Errors
    /// [`Code::Internal`].
    fn index(&self, names: &[String]) -> Result<String>;

    /// The files that an older index names; none for what is no index.
    fn named_by(&self, index: &dyn ByteSource) -> BTreeSet<String>;

    /// What has to stand under the first name of a first save, whatever the index says.
    ///
    /// # Errors
    /// [`Code::Internal`].
    fn placeholder(&self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// How the files of a format are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `model_00000.weights.h5`, by the index `model.weights.json`.
    Keras,
    /// `model-00001-of-00002.safetensors`, by the index `model.safetensors.index.json`.
    Safetensors,
    /// `group1-shard1of2.bin`, by `model.json`.
    Tfjs,
}

impl Style {
    /// Separator and suffix.
    const fn around(self) -> (char, &'static str) {
        match self {
            Style::Keras => ('_', ".weights.h5"),
            Style::Safetensors => ('-', ".safetensors"),
            Style::Tfjs => ('-', ".bin"),
        }
    }

    fn number(self, shard: usize, count: usize) -> String {
        let next = shard.saturating_add(1);
        match self {
            Style::Keras => format!("{shard:05}"),
            Style::Safetensors => format!("{next:05}-of-{count:05}"),
            Style::Tfjs => format!("shard{next}of{count}"),
        }
    }

    fn is_number(self, text: &str) -> bool {
        let digits = |text: &str, least: usize| text.len() >= least && text.bytes().all(|byte| byte.is_ascii_digit());
        let pair = |text: &str, between: &str, least: usize| {
            text.split_once(between).is_some_and(|(one, two)| digits(one, least) && digits(two, least))
        };
        match self {
            Style::Keras => digits(text, 5),
            Style::Safetensors => pair(text, "-of-", 5),
            Style::Tfjs => text.strip_prefix("shard").is_some_and(|text| pair(text, "of", 1)),
        }
    }
}

/// Names of one set of files.
struct Naming {
    folder: PathBuf,
    base: String,
    style: Style,
    count: usize,
}

impl Naming {
    fn of(target: &Path, style: Style, count: usize) -> Result<Self> {
        let stem = target.file_stem().and_then(|stem| stem.to_str()).ok_or_else(|| {
            WeightsError::new(Code::Name, format!("{} is no name that can stand in an index", target.display()))
        })?;
        let folder = match target.parent() {
            Some(parent) if parent != Path::new("") => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let base = match style {
            Style::Keras => stem.replace(".weights", ""),
            Style::Safetensors => stem.trim_end_matches(".index").trim_end_matches(".safetensors").to_owned(),
            Style::Tfjs => "group1".to_owned(),
        };
        Ok(Naming { folder, base, style, count })
    }

    fn name(&self, generation: u64, shard: usize) -> String {
        let (between, suffix) = self.style.around();
        let (base, number) = (&self.base, self.style.number(shard, self.count));
        match generation {
            0 => format!("{base}{between}{number}{suffix}"),
            _ => format!("{base}{between}g{generation}{between}{number}{suffix}"),
        }
    }

    /// The generation of a name that belongs to this set.
    fn generation(&self, name: &str) -> Option<u64> {
        let (between, suffix) = self.style.around();
        let rest = name.strip_prefix(&self.base)?.strip_prefix(between)?.strip_suffix(suffix)?;
        let (generation, number) = match rest.strip_prefix('g') {
            Some(rest) => {
                let (generation, number) = rest.split_once(between)?;
                (generation.parse().ok().filter(|generation| *generation > 0)?, number)
            }
            None => (0, rest),
        };
        self.style.is_number(number).then_some(generation)
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

/// Writes all files and switches the index at `target`.
///
/// # Errors
/// As [`commit_file`]; whatever the values cause. The old weights stay loadable.
pub(crate) fn commit(
    set: &dyn ShardSet,
    target: &Path,
    overwrite: bool,
    fs: &dyn Filesystem,
    pump: &mut Pump<'_>,
) -> Result<()> {
    let naming = Naming::of(target, set.style(), set.count())?;
    let mut names: Vec<String> = Vec::new();
    let mut before: Option<BTreeSet<String>> = None;
    let placeholder = set.placeholder()?;
    let first = naming.folder.join(naming.name(0, 0));
    let outcome = commit_file(fs, target, overwrite, None, &mut |sink| {
        let present = naming.present(fs);
        let known: Vec<u64> = present.iter().filter_map(|name| naming.generation(name)).collect();
        // One mark is our own.
        let others = under_way(&present, target) > 1;
        let replaces = fs.metadata(target).map_err(|error| storage_error("inspect", target, &error))?.is_some();
        // Without an index, files of these names are what a killed save left, and Keras would overwrite them as well.
        let fresh = !replaces && !others && (overwrite || known.is_empty());
        let next = known.iter().max().map_or(1, |known| known.saturating_add(1));
        let generation = match (fresh, others) {
            (true, _) => 0,
            (false, false) => next,
            (false, true) => next.saturating_add(saves::apart(RANDOM_GENERATIONS)),
        };
        for number in 0..set.count() {
            let name = naming.name(generation, number);
            let path = naming.folder.join(&name);
            commit_file(fs, &path, fresh && overwrite, Some(set.shard_len(number)), &mut |sink| {
                set.write(number, sink, pump)
            })?;
            names.push(name);
        }
        if let Some(placeholder) = &placeholder
            && generation > 0
            && exists(fs, &first)?.is_none()
        {
            match write_placeholder(fs, &first, placeholder, false) {
                // Another save was faster.
                Err(error) if error.code() == Code::Exists => {}
                written => written?,
            }
        }
        // As late as can be: somebody else may have saved meanwhile.
        before = previous(set, fs, target);
        sink.write_all(set.index(&names)?.as_bytes())
    });
    if let Err(error) = outcome {
        // Only a failure of the very last step leaves the new index in place, and then its files must stay.
        let in_use = previous(set, fs, target).is_some_and(|named| names.iter().any(|name| named.contains(name)));
        if !in_use {
            for name in &names {
                let _removed = fs.remove(&naming.folder.join(name));
            }
        }
        return Err(error);
    }
    clean(set, fs, target, &naming, &names, before.as_ref(), placeholder.as_deref());
    Ok(())
}

/// Saves to this target whose index is not in place yet.
fn under_way(present: &[String], target: &Path) -> usize {
    let name = target.file_name().and_then(|name| name.to_str());
    name.map_or(0, |name| saves::under_way(present.iter().map(String::as_str), name))
}

fn exists(fs: &dyn Filesystem, path: &Path) -> Result<Option<u64>> {
    let info = fs.metadata(path).map_err(|error| storage_error("inspect", path, &error))?;
    Ok(info.map(|info| info.len))
}

fn previous(set: &dyn ShardSet, fs: &dyn Filesystem, target: &Path) -> Option<BTreeSet<String>> {
    Some(set.named_by(fs.open(target).ok()?.as_ref())).filter(|named| !named.is_empty())
}

/// Removes what the new index does not need. The save has succeeded: what fails here is left to the next one.
fn clean(
    set: &dyn ShardSet,
    fs: &dyn Filesystem,
    target: &Path,
    naming: &Naming,
    names: &[String],
    before: Option<&BTreeSet<String>>,
    placeholder: Option<&[u8]>,
) {
    let present = naming.present(fs);
    // Whoever saves here at this moment has files that no index names yet; whoever has saved since, an index that names
    // others than ours. Looked at in this order: nobody can slip through between.
    let alone = under_way(&present, target) == 0
        && previous(set, fs, target).is_some_and(|named| names.iter().all(|name| named.contains(name)));
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
        if names.contains(&name) || (placeholder.is_some() && name == first) {
            continue;
        }
        if before.contains(&name) || (alone && generation > 0) {
            let _removed = fs.remove(&naming.folder.join(&name));
        }
    }
    if let Some(placeholder) = placeholder {
        let path = naming.folder.join(&first);
        let stale = exists(fs, &path).ok().flatten().is_some_and(|len| len != placeholder.len() as u64);
        // Another save may be about to name it in its index.
        if alone && stale && !names.contains(&first) {
            let _written = write_placeholder(fs, &path, placeholder, true);
        }
    }
    let _synced = fs.sync_folder(&naming.folder);
}

fn write_placeholder(fs: &dyn Filesystem, path: &Path, bytes: &[u8], overwrite: bool) -> Result<()> {
    commit_file(fs, path, overwrite, Some(bytes.len() as u64), &mut |sink| sink.write_all(bytes))
}
