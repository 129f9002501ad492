//! Opening a file: what it is decides its content, its name comes second.

use std::path::Path;
use std::sync::Arc;

use kw_model::{AttributeValue, ByteSource, Catalogue, Filesystem, Limits, MemorySource, Result, WeightsReader};

use crate::detect::{self, Content};
use crate::format::{self, Format};

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
    open_source(fs.open(path)?, limits)
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
    if content != Content::Hdf5 {
        return Err(detect::refusal(content, source.as_ref()));
    }
    let reader = kw_formats::hdf5::open(source, limits).map_err(|error| error.file(&source_name))?;
    let promised = format::by_suffix(&source_name);
    let format = hdf5_format(reader.catalogue(), promised);
    let note = promised.filter(|promised| *promised != format).map(|promised| {
        format!("the name promises {}, the content is {}: the content was believed", promised.name(), format.name())
    });
    Ok(OpenedFile { format, reader: Arc::new(reader), source_name, note })
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
    let text = |name: &str| match file.reader.catalogue().group("")?.attributes.get(name)? {
        AttributeValue::Text(text) => Some(text.clone()),
        _ => None,
    };
    WholeModel {
        model_config: text("model_config"),
        training_config: text("training_config"),
        keras_version: text("keras_version"),
        backend: text("backend"),
    }
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
