//! Which paths mean a TensorFlow checkpoint, which is no file of that name.

use std::path::Path;

use kw_formats::tf_checkpoint;
use kw_model::{Code, FileKind, Filesystem, Result, WeightsError, storage_error};

use crate::format;

/// The prefix of a checkpoint, if `path` means one: the prefix itself, or the folder of a `SavedModel`.
/// As in Keras, a checkpoint wins over a folder of the same name; a name that ends like an HDF5 file is one.
pub(crate) fn prefix(path: &Path, fs: &dyn Filesystem) -> Result<Option<String>> {
    let kind = |path: &Path| -> Result<Option<FileKind>> {
        let info = fs.metadata(path).map_err(|error| storage_error("inspect", path, &error))?;
        Ok(info.map(|info| info.kind))
    };
    let Some(text) = path.to_str() else { return Ok(None) };
    let found = kind(path)?;
    if found == Some(FileKind::File) && format::promised(text).is_some() {
        return Ok(None);
    }
    if kind(Path::new(&tf_checkpoint::index_file_name(text)))? == Some(FileKind::File) {
        return Ok(Some(text.to_owned()));
    }
    match found {
        Some(FileKind::Folder) => {
            let inside = path.join("variables").join("variables");
            let inside = inside.to_str().unwrap_or_default();
            if kind(Path::new(&tf_checkpoint::index_file_name(inside)))? == Some(FileKind::File) {
                return Ok(Some(inside.to_owned()));
            }
            Err(WeightsError::new(
                Code::NotWeights,
                format!(
                    "{text} is a folder, but neither a SavedModel (there is no variables/variables.index in it) nor an Orbax \
                     checkpoint (there is no <step>/pytree/_METADATA); a TensorFlow checkpoint in it is opened by its prefix, the path of its .index file without that suffix"
                ),
            )
            .file(text))
        }
        // Without either, the files of the checkpoint may be there in part, or be of the first format.
        Some(FileKind::File) if tf_checkpoint::is_table(fs.open(path)?.as_ref())? => {
            if let Some(prefix) = text.strip_suffix(".index") {
                return Err(WeightsError::new(
                    Code::Argument,
                    format!("{text} is the index of a TensorFlow checkpoint: give the checkpoint's prefix, {prefix}"),
                )
                .file(text));
            }
            Ok(Some(text.to_owned()))
        }
        _ => Ok(None),
    }
}
