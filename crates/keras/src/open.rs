//! Opening a file: what it is decides its content, its name comes second.

use std::path::Path;
use std::sync::Arc;

use kw_formats::hdf5::writer::DIGEST_ATTRIBUTE;
use kw_formats::tf_checkpoint;
use kw_formats::tfjs_layers::{self, Manifest};
use kw_formats::zip::Archive;
use kw_model::{
    AttributeValue, ByteSource, Catalogue, Code, Crc32c, Filesystem, Limits, MemorySource, Result, WeightsError,
    WeightsReader,
};

use crate::archive::{self, KerasArchive};
use crate::checkpoint_path;
use crate::detect::{self, Content};
use crate::format::{self, Format};
use crate::orbax;
use crate::sharded::{self, Index};

/// A file whose structure was read and checked; its values were not touched.
#[derive(Clone)]
pub struct OpenedFile {
    /// How Keras laid the weights out.
    pub format: Format,
    /// The container.
    pub reader: Arc<dyn WeightsReader>,
    /// What to call the file in messages.
    pub source_name: String,
    /// Set when the name promises another format.
    pub note: Option<String>,
    /// What a `.keras` archive holds beside the weights.
    pub archive: Option<Arc<KerasArchive>>,
}

impl std::fmt::Debug for OpenedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenedFile")
            .field("format", &self.format)
            .field("source_name", &self.source_name)
            .field("note", &self.note)
            .finish_non_exhaustive()
    }
}

/// Opens a file of the file system.
///
/// # Errors
/// [`kw_model::Code::NotFound`]; [`kw_model::Code::NotWeights`] with a word on what the file looks like;
/// [`kw_model::Code::Truncated`] with the bytes it should have; what else is wrong with its structure.
pub fn open(path: &Path, fs: &dyn Filesystem, limits: &Limits) -> Result<OpenedFile> {
    let nothing: Between = Arc::new(|source| source);
    open_counted(path, fs, limits, &nothing)
}

/// Puts something between a file and whoever reads it.
pub type Between = Arc<dyn Fn(Arc<dyn ByteSource>) -> Arc<dyn ByteSource> + Send + Sync>;

/// [`open`], with something between the files and whoever reads them, such as a counter of bytes.
///
/// # Errors
/// As [`open`].
pub fn open_counted(path: &Path, fs: &dyn Filesystem, limits: &Limits, between: &Between) -> Result<OpenedFile> {
    if archive::is_folder(path, fs)? {
        let source_name = path.display().to_string();
        let (reader, parts) = archive::open_folder(path, fs, limits, between)
            .map_err(|error| error.file(&source_name).format(Format::Keras.name()))?;
        return Ok(OpenedFile {
            format: Format::Keras,
            reader,
            source_name,
            note: None,
            archive: Some(Arc::new(parts)),
        });
    }
    if let Some(tree) = orbax::tree_folder(path, fs)? {
        let source_name = path.display().to_string();
        let opened = orbax::open(&tree, fs, limits, between)
            .map_err(|error| error.file(&source_name).format(Format::Orbax.name()))?;
        return Ok(OpenedFile {
            format: Format::Orbax,
            reader: Arc::new(opened.reader),
            source_name,
            note: None,
            archive: Some(Arc::new(KerasArchive::of_orbax(opened.config, opened.assets))),
        });
    }
    if let Some(prefix) = checkpoint_path::prefix(path, fs)? {
        let open = |name: &str| Ok(between(fs.open(Path::new(name))?));
        let reader = tf_checkpoint::open(&prefix, &open, limits)?;
        return Ok(OpenedFile {
            format: Format::TfCheckpoint,
            reader: Arc::new(reader),
            source_name: path.display().to_string(),
            note: None,
            archive: None,
        });
    }
    let source = between(fs.open(path)?);
    if detect::detect(source.as_ref())? == Content::Json {
        if let Some(index) = Index::read(source.as_ref(), limits)? {
            return open_index(path, &index, source.as_ref(), fs, limits, between);
        }
        if let Some(manifest) = Manifest::read(source.as_ref(), limits)? {
            return open_layers_model(path, &manifest, source.name(), fs, limits, between);
        }
    }
    open_source(source, limits)
}

/// Opens the files that the manifest of a layers model names. A save that replaces them meanwhile removes the old ones after it
/// has switched the `model.json`: then that is read once more.
fn open_layers_model(
    path: &Path,
    manifest: &Manifest,
    source_name: String,
    fs: &dyn Filesystem,
    limits: &Limits,
    between: &Between,
) -> Result<OpenedFile> {
    let sibling = |name: &str| Ok(between(fs.open(&path.with_file_name(name))?));
    let opened = match tfjs_layers::open(manifest, &sibling, limits) {
        Err(error) if error.code() == Code::NotFound => match Manifest::read(fs.open(path)?.as_ref(), limits)? {
            Some(again) if again.files().ne(manifest.files()) => tfjs_layers::open(&again, &sibling, limits),
            _ => Err(error),
        },
        opened => opened,
    };
    let reader = opened.map_err(|error| error.file(&source_name))?;
    Ok(OpenedFile { format: Format::TfjsLayers, reader: Arc::new(reader), source_name, note: None, archive: None })
}

/// Opens the files that an index names.
fn open_index(
    path: &Path,
    index: &Index,
    source: &dyn ByteSource,
    fs: &dyn Filesystem,
    limits: &Limits,
    between: &Between,
) -> Result<OpenedFile> {
    let source_name = source.name();
    let (format, reader): (_, Arc<dyn WeightsReader>) = if index.is_of_safetensors() {
        let sibling = |name: &str| Ok(between(fs.open(&path.with_file_name(name))?));
        (Format::Safetensors, Arc::new(kw_formats::safetensors::open_sharded(source, &sibling, limits)?))
    } else {
        let reader = sharded::open(path, index, fs, limits, between)
            .map_err(|error| error.file(&source_name).format(Format::Sharded.name()))?;
        (Format::Sharded, reader)
    };
    Ok(OpenedFile { format, reader, source_name, note: None, archive: None })
}

/// Opens a file that is already in memory; `name` is what messages call it.
///
/// # Errors
/// As [`open`].
pub fn open_bytes(bytes: impl Into<Arc<[u8]>>, name: &str, limits: &Limits) -> Result<OpenedFile> {
    open_source(Arc::new(MemorySource::new(bytes, name)), limits)
}

/// Opens whatever bytes come from.
///
/// # Errors
/// As [`open`].
pub fn open_source(source: Arc<dyn ByteSource>, limits: &Limits) -> Result<OpenedFile> {
    let source_name = source.name();
    let content = detect::detect(source.as_ref())?;
    let promised = format::promised(&source_name);
    let (format, reader, parts): (Format, Arc<dyn WeightsReader>, _) = match content {
        Content::Hdf5 => {
            let reader = kw_formats::hdf5::open(source, limits).map_err(|error| error.file(&source_name))?;
            (hdf5_format(reader.catalogue(), format::by_suffix(&source_name)), Arc::new(reader), None)
        }
        Content::Zip => {
            let zip = Archive::open(Arc::clone(&source), limits)?;
            if archive::is_keras(&zip) {
                let (reader, parts) = archive::open_zip(zip, limits)
                    .map_err(|error| error.file(&source_name).format(Format::Keras.name()))?;
                (Format::Keras, reader, Some(Arc::new(parts)))
            } else if zip.members().iter().any(|member| member.name().strip_suffix(".npy").is_some()) {
                (Format::Npz, Arc::new(kw_formats::npy::open_npz(source, limits)?), None)
            } else {
                return Err(detect::refusal(content, source.as_ref()));
            }
        }
        Content::Json
            if Index::read(source.as_ref(), limits)?.is_some()
                || Manifest::read(source.as_ref(), limits)?.is_some() =>
        {
            return Err(WeightsError::new(
                Code::Argument,
                format!("{source_name} is the index of weights in several files: open it by its path, with the files beside it"),
            )
            .file(source_name));
        }
        Content::Safetensors => (Format::Safetensors, Arc::new(kw_formats::safetensors::open(source, limits)?), None),
        _ => return Err(detect::refusal(content, source.as_ref())),
    };
    let note = promised.filter(|promised| !fits(*promised, format)).map(|promised| {
        format!("the name promises {}, the content is {}: the content was believed", promised.name(), format.name())
    });
    Ok(OpenedFile { format, reader, source_name, note, archive: parts })
}

/// Keras 2 documents that weights saved under a `.keras` name are a legacy HDF5 file.
fn fits(promised: Format, found: Format) -> bool {
    promised == found || (promised == Format::Keras && found == Format::LegacyH5)
}

/// What a whole-model file says of itself at its root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WholeModel {
    /// JSON of the architecture.
    pub model_config: Option<String>,
    /// JSON of optimizer, loss and metrics.
    pub training_config: Option<String>,
    /// The Keras that wrote it.
    pub keras_version: Option<String>,
    /// Its backend.
    pub backend: Option<String>,
}

/// Reads the texts beside the weights; all absent for a file of weights alone.
pub fn whole_model(file: &OpenedFile) -> WholeModel {
    if let Some(archive) = &file.archive {
        return WholeModel {
            model_config: archive.config().map(str::to_owned),
            training_config: archive.training_config(),
            keras_version: archive.keras_version(),
            backend: None,
        };
    }
    let text = |name: &str| match file.reader.catalogue().group("")?.attributes.get(name)? {
        AttributeValue::Text(text) => Some(text.clone()),
        _ => None,
    };
    WholeModel {
        model_config: text("model_config").or_else(|| text("modelTopology")),
        training_config: text("training_config"),
        keras_version: text("keras_version"),
        backend: text("backend"),
    }
}

/// The group of a whole-model HDF5 file that holds the optimizer's state.
pub(crate) const OPTIMIZER_GROUP: &str = "optimizer_weights";

/// The CRC-32C of what makes a whole-model HDF5 file one: its version, both configs, and the name of the optimizer's group if
/// there is one (a state that nobody finds is no error), each with a zero behind it.
pub(crate) fn texts_digest(texts: [Option<&str>; 4]) -> u32 {
    let mut crc = Crc32c::default();
    for text in texts {
        crc.update(text.unwrap_or_default().as_bytes());
        crc.update(&[0]);
    }
    crc.value()
}

/// Compares the texts of a whole-model HDF5 file of ours with their digest; in an archive they were compared when it was opened.
///
/// # Errors
/// [`Code::Digest`].
pub fn check_texts(file: &OpenedFile) -> Result<()> {
    let catalogue = file.reader.catalogue();
    let Some(AttributeValue::Int(expected)) =
        catalogue.group("").and_then(|root| root.attributes.get(DIGEST_ATTRIBUTE))
    else {
        return Ok(());
    };
    let whole = whole_model(file);
    let optimizer = catalogue.group(OPTIMIZER_GROUP).map(|_| OPTIMIZER_GROUP.to_owned());
    let texts = [&whole.keras_version, &whole.model_config, &whole.training_config, &optimizer];
    let found = texts_digest(texts.map(Option::as_deref));
    if i128::from(found) == i128::from(*expected) {
        return Ok(());
    }
    Err(WeightsError::new(
        Code::Digest,
        "the model's config does not fit the digest stored with it: the file is damaged, or was edited by a program that \
         left the digest as it was",
    )
    .file(&file.source_name))
}

/// Legacy files list their layers, others have groups called `vars`. A file with neither is what it is called.
fn hdf5_format(catalogue: &Catalogue, promised: Option<Format>) -> Format {
    let lists = |path: &str| {
        catalogue.group(path).is_some_and(|group| {
            group.attributes.contains_key("layer_names") || group.attributes.contains_key("layer_names0")
        })
    };
    if lists("") || lists("model_weights") {
        return Format::LegacyH5;
    }
    if catalogue.groups().keys().any(|path| path == "vars" || path.ends_with("/vars")) {
        return Format::Keras3H5;
    }
    promised.unwrap_or(Format::LegacyH5)
}
