//! Orbax checkpoints (`keras.callbacks.OrbaxCheckpoint`): folders that hold a folder for each step.
//!
//! `<root>/<step>/pytree` is the tree of arrays, `<step>/model_config` the architecture, `<step>/assets` the files of
//! layers with vocabularies, as arrays of bytes. Reading only.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kw_formats::orbax::{FilesystemFolder, Folder, OrbaxReader, read_strings};
use kw_model::{
    ByteSource, Cancel, Code, FileKind, Filesystem, Limits, Result, WeightsError, WeightsReader as _, storage_error,
};

use crate::open::Between;

/// The file that every item of a checkpoint has.
const METADATA: &str = "_METADATA";
/// Names of the item with the arrays: Keras', and Orbax' own when nobody gives one.
const TREES: [&str; 2] = ["pytree", "default"];

/// An opened checkpoint.
pub(crate) struct Checkpoint {
    pub(crate) reader: OrbaxReader,
    pub(crate) config: Option<String>,
    pub(crate) assets: Option<OrbaxReader>,
}

/// The folder with the arrays, if `path` is a checkpoint: its root (then the latest step counts), one step, or that
/// folder itself.
pub(crate) fn tree_folder(path: &Path, fs: &dyn Filesystem) -> Result<Option<PathBuf>> {
    let kind = |path: &Path| -> Result<Option<FileKind>> {
        let info = fs.metadata(path).map_err(|error| storage_error("inspect", path, &error))?;
        Ok(info.map(|info| info.kind))
    };
    if kind(path)? != Some(FileKind::Folder) {
        return Ok(None);
    }
    let in_step = |step: &Path| -> Result<Option<PathBuf>> {
        for name in TREES {
            let tree = step.join(name);
            if kind(&tree.join(METADATA))? == Some(FileKind::File) {
                return Ok(Some(tree));
            }
        }
        Ok(None)
    };
    if kind(&path.join(METADATA))? == Some(FileKind::File) {
        return Ok(Some(path.to_path_buf()));
    }
    if let Some(tree) = in_step(path)? {
        return Ok(Some(tree));
    }
    let names = fs.list(path).map_err(|error| storage_error("list", path, &error))?;
    let number =
        |name: &str| if name.bytes().all(|byte| byte.is_ascii_digit()) { name.parse::<u64>().ok() } else { None };
    let mut steps: Vec<(u64, &str)> =
        names.iter().filter_map(|name| name.to_str()).filter_map(|name| Some((number(name)?, name))).collect();
    steps.sort_unstable();
    for (_, name) in steps.into_iter().rev() {
        if let Some(tree) = in_step(&path.join(name))? {
            return Ok(Some(tree));
        }
    }
    Ok(None)
}

/// Opens the arrays of a step, and what lies beside them.
///
/// # Errors
/// As [`kw_formats::orbax::open`].
pub(crate) fn open(tree: &Path, fs: &dyn Filesystem, limits: &Limits, between: &Between) -> Result<Checkpoint> {
    let item = |path: &Path| -> Arc<dyn Folder> {
        Arc::new(Watched { inner: FilesystemFolder::new(fs.shared(), path), between: Arc::clone(between) })
    };
    let reader = kw_formats::orbax::open(&item(tree), limits)?;
    let config = read_strings(item(&tree.with_file_name("model_config")).as_ref(), limits)?.remove("config");
    let assets = match kw_formats::orbax::open(&item(&tree.with_file_name("assets")), limits) {
        Ok(assets) => Some(assets),
        Err(error) if error.code() == Code::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(Checkpoint { reader, config, assets })
}

/// The bytes of an asset, by its path below `assets/`.
pub(crate) fn asset(assets: &OrbaxReader, path: &str, cancel: &Cancel) -> Result<Vec<u8>> {
    let index = assets.catalogue().find(path).ok_or_else(|| {
        WeightsError::new(Code::Missing, format!("the checkpoint holds no asset {path}")).weight(path)
    })?;
    let len = usize::try_from(assets.catalogue().entry(index)?.byte_len).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(len)
        .map_err(|_| WeightsError::new(Code::Memory, format!("no memory for the {len} bytes of {path}")))?;
    bytes.resize(len, 0);
    assets.read_into(index, &mut bytes, cancel)?;
    Ok(bytes)
}

/// A folder with something between its files and whoever reads them.
struct Watched {
    inner: FilesystemFolder,
    between: Between,
}

impl Folder for Watched {
    fn open(&self, name: &str) -> Result<Arc<dyn ByteSource>> {
        Ok((self.between)(self.inner.open(name)?))
    }

    fn names(&self) -> Result<Vec<String>> {
        self.inner.names()
    }

    fn name(&self) -> String {
        self.inner.name()
    }
}
