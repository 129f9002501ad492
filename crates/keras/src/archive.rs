//! `.keras`: a whole model in one zip archive, or the same files in a folder (`save(..., zipped=False)` in Keras 3).
//!
//! `metadata.json`, `config.json`, `model.weights.h5`, and `assets/…` for layers with vocabularies. The weights are an HDF5
//! file with object paths; a stored member is read in place, a deflated one is inflated once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use kw_formats::hdf5::Hdf5Reader;
use kw_formats::orbax::OrbaxReader;
use kw_formats::zip::Archive;
use kw_model::{
    ByteSource, Cancel, Catalogue, Code, FileKind, Filesystem, Limits, MemorySource, Result, WeightsError,
    WeightsReader, storage_error,
};

use crate::open::Between;
use crate::orbax;

/// Name of the architecture's JSON in the archive.
pub(crate) const CONFIG: &str = "config.json";
/// Name of the JSON that says who wrote the archive, and when.
pub(crate) const METADATA: &str = "metadata.json";
/// Name of the weights.
pub(crate) const WEIGHTS: &str = "model.weights.h5";
const ASSETS: &str = "assets/";

/// What a `.keras` archive holds beside the weights.
pub struct KerasArchive {
    place: Place,
    config: Option<String>,
    metadata: Option<String>,
    assets: Vec<String>,
}

enum Place {
    Zip(Arc<Archive>),
    Folder(PathBuf),
    /// The assets of an Orbax checkpoint are arrays.
    Orbax(Option<Box<OrbaxReader>>),
}

impl std::fmt::Debug for KerasArchive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KerasArchive").field("assets", &self.assets).finish_non_exhaustive()
    }
}

impl KerasArchive {
    /// What an Orbax checkpoint holds beside the arrays.
    pub(crate) fn of_orbax(config: Option<String>, assets: Option<OrbaxReader>) -> Self {
        let entries = assets.iter().flat_map(|assets| assets.catalogue().entries());
        let paths = entries.map(|entry| format!("{ASSETS}{}", entry.path)).collect();
        KerasArchive { place: Place::Orbax(assets.map(Box::new)), config, metadata: None, assets: paths }
    }

    /// The text of `config.json`.
    pub fn config(&self) -> Option<&str> {
        self.config.as_deref()
    }

    /// The text of `metadata.json`: `keras_version` and `date_saved`.
    pub fn metadata(&self) -> Option<&str> {
        self.metadata.as_deref()
    }

    /// Paths of the assets in the archive, such as `assets/layers/string_lookup/vocabulary.txt`, in its order.
    pub fn assets(&self) -> &[String] {
        &self.assets
    }

    /// The bytes of an asset.
    ///
    /// # Errors
    /// [`Code::Missing`] for a path that is not among [`KerasArchive::assets`]; what reading it causes.
    pub fn asset(&self, path: &str, fs: &dyn Filesystem, cancel: &Cancel) -> Result<Arc<dyn ByteSource>> {
        if !self.assets.iter().any(|asset| asset == path) {
            return Err(WeightsError::new(Code::Missing, format!("the archive holds no asset {path}")).weight(path));
        }
        match &self.place {
            Place::Zip(archive) => archive.source(archive.require(path)?, cancel),
            Place::Folder(folder) => fs.open(&folder.join(path)),
            Place::Orbax(assets) => {
                let inside = path.strip_prefix(ASSETS).unwrap_or(path);
                let bytes = assets.as_ref().map_or(Ok(Vec::new()), |assets| orbax::asset(assets, inside, cancel))?;
                Ok(Arc::new(MemorySource::new(bytes, path)))
            }
        }
    }

    /// The number in `metadata.json`.
    pub(crate) fn keras_version(&self) -> Option<String> {
        let metadata: serde_json::Value = serde_json::from_str(self.metadata.as_deref()?).ok()?;
        Some(metadata.get("keras_version")?.as_str()?.to_owned())
    }

    /// The part of `config.json` that a whole HDF5 file keeps as its `training_config`.
    pub(crate) fn training_config(&self) -> Option<String> {
        let config: serde_json::Value = serde_json::from_str(self.config.as_deref()?).ok()?;
        config
            .get("compile_config")
            .filter(|part| part.as_object().is_some_and(|part| !part.is_empty()))
            .map(serde_json::Value::to_string)
    }
}

/// Whether an archive is one of Keras.
pub(crate) fn is_keras(archive: &Archive) -> bool {
    [CONFIG, METADATA, WEIGHTS].iter().any(|name| archive.find(name).is_some())
}

/// Opens the weights of an archive.
///
/// # Errors
/// [`Code::Missing`] for an archive without weights in HDF5; what opening them causes.
pub(crate) fn open_zip(archive: Archive, limits: &Limits) -> Result<(Arc<dyn WeightsReader>, KerasArchive)> {
    let cancel = Cancel::default();
    let archive = Arc::new(archive);
    let Some(member) = archive.find(WEIGHTS) else {
        let npz = archive.find("model.weights.npz").is_some();
        let hint =
            if npz { "; its weights are pickled (model.weights.npz), which Keras cannot read either" } else { "" };
        return Err(WeightsError::new(Code::Missing, format!("the archive holds no {WEIGHTS}{hint}")).weight(WEIGHTS));
    };
    let text = |name: &str| -> Result<Option<String>> {
        let Some(index) = archive.find(name) else { return Ok(None) };
        let len = archive.members().get(index).map_or(0, kw_formats::zip::Member::len);
        Limits::check(name, len, limits.max_attribute_bytes, "bytes")?;
        // The texts are small and everything hangs on them: their checksum is always compared.
        archive.verify(index, &cancel)?;
        read_text(archive.source(index, &cancel)?.as_ref(), name).map(Some)
    };
    let (config, metadata) = (text(CONFIG)?, text(METADATA)?);
    let is_asset = |name: &str| name.starts_with(ASSETS) && !name.ends_with('/');
    let assets =
        archive.members().iter().map(|member| member.name().to_owned()).filter(|name| is_asset(name)).collect();
    let hdf5 = kw_formats::hdf5::open(archive.source(member, &cancel)?, limits)?;
    let stored = archive.members().get(member).is_some_and(kw_formats::zip::Member::is_stored);
    let reader =
        MemberReader { hdf5, archive: Arc::clone(&archive), member, verified: Mutex::new((!stored).then_some(Ok(()))) };
    Ok((Arc::new(reader), KerasArchive { place: Place::Zip(archive), config, metadata, assets }))
}

/// Opens the unzipped form: the files of an archive in a folder.
///
/// # Errors
/// What opening its files causes.
pub(crate) fn open_folder(
    folder: &Path,
    fs: &dyn Filesystem,
    limits: &Limits,
    between: &Between,
) -> Result<(Arc<dyn WeightsReader>, KerasArchive)> {
    let text = |name: &str| -> Result<Option<String>> {
        let source = match fs.open(&folder.join(name)) {
            Ok(source) => between(source),
            Err(error) if error.code() == Code::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Limits::check(name, source.len(), limits.max_attribute_bytes, "bytes")?;
        read_text(source.as_ref(), name).map(Some)
    };
    let (config, metadata) = (text(CONFIG)?, text(METADATA)?);
    let mut assets = Vec::new();
    list_assets(folder, ASSETS.trim_end_matches('/'), fs, limits, 0, &mut assets)?;
    let hdf5 = kw_formats::hdf5::open(between(fs.open(&folder.join(WEIGHTS))?), limits)?;
    Ok((Arc::new(hdf5), KerasArchive { place: Place::Folder(folder.to_path_buf()), config, metadata, assets }))
}

/// Whether a folder holds an unzipped archive.
pub(crate) fn is_folder(path: &Path, fs: &dyn Filesystem) -> Result<bool> {
    let kind = |path: &Path| -> Result<Option<FileKind>> {
        let info = fs.metadata(path).map_err(|error| storage_error("inspect", path, &error))?;
        Ok(info.map(|info| info.kind))
    };
    Ok(kind(path)? == Some(FileKind::Folder) && kind(&path.join(WEIGHTS))? == Some(FileKind::File))
}

fn list_assets(
    root: &Path,
    below: &str,
    fs: &dyn Filesystem,
    limits: &Limits,
    depth: u32,
    found: &mut Vec<String>,
) -> Result<()> {
    Limits::check("folders of assets", depth.into(), limits.max_depth.into(), "levels")?;
    let folder = root.join(below);
    let info = |path: &Path| fs.metadata(path).map_err(|error| storage_error("inspect", path, &error));
    if info(&folder)?.is_none_or(|info| info.kind != FileKind::Folder) {
        return Ok(());
    }
    let mut names = fs.list(&folder).map_err(|error| storage_error("list", &folder, &error))?;
    names.sort();
    for name in names {
        // A name that is no text was not written by Keras.
        let Some(name) = name.to_str() else { continue };
        let path = format!("{below}/{name}");
        match info(&root.join(&path))?.map(|info| info.kind) {
            Some(FileKind::Folder) => list_assets(root, &path, fs, limits, depth.saturating_add(1), found)?,
            Some(FileKind::File) => {
                Limits::check("assets", found.len() as u64, limits.max_tensors, "files")?;
                found.push(path);
            }
            _ => {}
        }
    }
    Ok(())
}

pub(crate) fn read_text(source: &dyn ByteSource, name: &str) -> Result<String> {
    let invalid = |what: &str| WeightsError::new(Code::Corrupt, format!("{name} {what}")).file(source.name());
    let len = usize::try_from(source.len()).map_err(|_| invalid("is larger than memory"))?;
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(len)
        .map_err(|_| WeightsError::new(Code::Memory, format!("no memory for the {len} bytes of {name}")))?;
    bytes.resize(len, 0);
    source.read_exact_at(0, &mut bytes)?;
    String::from_utf8(bytes).map_err(|_| invalid("is no UTF-8 text"))
}

/// The HDF5 file inside an archive, which has one checksum for all of it.
struct MemberReader {
    hdf5: Hdf5Reader,
    archive: Arc<Archive>,
    member: usize,
    /// What comparing the checksum gave; inflating compares it by itself.
    verified: Mutex<Option<Result<()>>>,
}

impl WeightsReader for MemberReader {
    fn catalogue(&self) -> &Catalogue {
        self.hdf5.catalogue()
    }

    fn read_into(&self, index: usize, out: &mut [u8], cancel: &Cancel) -> Result<()> {
        self.hdf5.read_into(index, out, cancel)
    }

    fn read_strings(&self, index: usize) -> Result<Vec<Vec<u8>>> {
        self.hdf5.read_strings(index)
    }

    fn format(&self) -> &'static str {
        self.hdf5.format()
    }

    fn verify_stored(&self, _: usize, cancel: &Cancel) -> Result<bool> {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*verified {
            return known.clone().map(|()| true);
        }
        let outcome = self.archive.verify(self.member, cancel);
        if outcome.as_ref().map_or_else(|error| error.code() == Code::Digest, |()| true) {
            *verified = Some(outcome.clone());
        }
        outcome.map(|()| true)
    }
}
