//! Which formats there are, and which one a file name asks for when saving.

use std::path::Path;

use kw_model::{Code, Result, WeightsError};
use serde::{Deserialize, Serialize};

use crate::tree::Flavor;

/// A weights format, under the name that reports use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[non_exhaustive]
pub enum Format {
    /// HDF5 with `layer_names` and `weight_names`: Keras 1, Keras 2, and Keras 3's compatible files,
    /// weights alone or inside a whole-model file.
    #[serde(rename = "legacy_h5")]
    LegacyH5,
    /// HDF5 with object paths (`layers/dense/vars/0`): `.weights.h5` of Keras 3 and of Keras 2.12 and later.
    #[serde(rename = "keras3_h5")]
    Keras3H5,
    /// A `.keras` archive (or its folder form) whose weights are HDF5 with object paths.
    #[serde(rename = "keras")]
    Keras,
    /// `.weights.json` and the files with object paths that it names.
    #[serde(rename = "sharded")]
    Sharded,
    /// safetensors, one file or several with an index.
    #[serde(rename = "safetensors")]
    Safetensors,
    /// Arrays of numpy in a zip archive.
    #[serde(rename = "npz")]
    Npz,
    /// TensorFlow checkpoint (`<prefix>.index` and `<prefix>.data-…`), also that inside a `SavedModel`.
    #[serde(rename = "tf_checkpoint")]
    TfCheckpoint,
    /// Layers model of TensorFlow.js: `model.json` and binary files beside it.
    #[serde(rename = "tfjs_layers")]
    TfjsLayers,
    /// An Orbax checkpoint: a folder of steps, each a tree of arrays by the variables' paths. Read only.
    #[serde(rename = "orbax")]
    Orbax,
}

impl Format {
    /// The name in reports and errors.
    pub const fn name(self) -> &'static str {
        match self {
            Format::LegacyH5 => "legacy_h5",
            Format::Keras3H5 => "keras3_h5",
            Format::Keras => "keras",
            Format::Sharded => "sharded",
            Format::Safetensors => "safetensors",
            Format::Npz => "npz",
            Format::TfCheckpoint => "tf_checkpoint",
            Format::TfjsLayers => "tfjs_layers",
            Format::Orbax => "orbax",
        }
    }
}

/// How the name of an index of safetensors files ends.
const SAFETENSORS_INDEX: &str = ".safetensors.index.json";

/// Whether a path is that of an index of safetensors files.
pub(crate) fn is_safetensors_index(path: &Path) -> bool {
    path.to_string_lossy().ends_with(SAFETENSORS_INDEX)
}

/// The format that a suffix stands for when a file is read by its name, as Keras does. Case counts.
#[expect(clippy::case_sensitive_file_extension_comparisons, reason = "Keras compares `endswith`, w.H5 is no .h5")]
pub(crate) fn by_suffix(name: &str) -> Option<Format> {
    if name.ends_with(".weights.h5") {
        Some(Format::Keras3H5)
    } else if name.ends_with(".h5") || name.ends_with(".hdf5") {
        Some(Format::LegacyH5)
    } else {
        None
    }
}

/// The format that a name promises to whoever reads the file.
#[expect(clippy::case_sensitive_file_extension_comparisons, reason = "Keras compares `endswith`")]
pub(crate) fn promised(name: &str) -> Option<Format> {
    if name.ends_with(".keras") {
        Some(Format::Keras)
    } else if name.ends_with(".weights.json") {
        Some(Format::Sharded)
    } else if name.rsplit(['/', '\\']).next() == Some("model.json") {
        Some(Format::TfjsLayers)
    } else if name.ends_with(".safetensors") || name.ends_with(SAFETENSORS_INDEX) {
        Some(Format::Safetensors)
    } else if name.ends_with(".npz") {
        Some(Format::Npz)
    } else {
        by_suffix(name)
    }
}

/// The format to save in: `save_format` if given, else what the suffix means for models of this flavour.
///
/// # Errors
/// [`Code::Format`] when the two contradict each other, or for a format that cannot be written.
pub fn to_save(target: &Path, save_format: Option<&str>, flavor: Flavor) -> Result<Format> {
    let name = target.to_string_lossy();
    let suffix = by_suffix(&name);
    // Keras 2 looks at a `.weights.h5` name before it looks at `save_format`.
    if suffix == Some(Format::Keras3H5) && (save_format.is_none() || flavor == Flavor::Keras2) {
        return Ok(Format::Keras3H5);
    }
    match save_format {
        Some("h5" | "hdf5") => Ok(suffix.unwrap_or(Format::LegacyH5)),
        Some("legacy_h5") => Ok(Format::LegacyH5),
        Some("keras3_h5") => Ok(Format::Keras3H5),
        Some("keras") if flavor == Flavor::Keras2 => Ok(Format::LegacyH5),
        Some("keras" | "archive") => Ok(Format::Keras),
        Some("safetensors") => Ok(Format::Safetensors),
        Some("npz") => Ok(Format::Npz),
        Some("sharded") => Ok(Format::Sharded),
        Some("tfjs" | "tfjs_layers") => Ok(Format::TfjsLayers),
        Some("tf" | "tensorflow" | "tf_checkpoint") if suffix.is_some() => Err(refuse(
            target,
            "save_format \"tf\" writes a TensorFlow checkpoint, but the name ends like an HDF5 file: leave the suffix out",
        )),
        Some("tf" | "tensorflow" | "tf_checkpoint") => Ok(Format::TfCheckpoint),
        Some(other) => {
            Err(refuse(target, &format!("there is no save_format {other:?}; \"h5\" and \"tf\" are Keras' names")))
        }
        None => without_save_format(target, &name, suffix, flavor),
    }
}

#[expect(clippy::case_sensitive_file_extension_comparisons, reason = "Keras compares `endswith`")]
fn without_save_format(target: &Path, name: &str, suffix: Option<Format>, flavor: Flavor) -> Result<Format> {
    if let Some(format) = suffix {
        return Ok(format);
    }
    if name.ends_with(".keras") {
        return match flavor {
            // As Keras 2 documents it: weights saved under this name are a legacy HDF5 file.
            Flavor::Keras2 => Ok(Format::LegacyH5),
            Flavor::Keras3 => Err(refuse(
                target,
                "a .keras archive holds a whole model: use `save()`, or a name that ends in .weights.h5 for weights alone",
            )),
        };
    }
    // A name that promises nothing is the prefix of a checkpoint.
    Ok(promised(name).unwrap_or(Format::TfCheckpoint))
}

fn refuse(target: &Path, message: &str) -> WeightsError {
    WeightsError::new(Code::Format, format!("{}: {message}", target.display())).file(target.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use kw_model::Code;

    use super::{Format, to_save};
    use crate::tree::Flavor::{Keras2, Keras3};

    #[test]
    fn names_mean_what_they_mean_to_keras() {
        let (legacy, keras3, no) = (Ok(Format::LegacyH5), Ok(Format::Keras3H5), Err(Code::Format));
        let tf = Ok(Format::TfCheckpoint);
        let cases = [
            ("w.weights.h5", None, keras3, keras3),
            ("w.h5", None, legacy, legacy),
            ("w.hdf5", None, legacy, legacy),
            ("w.keras", None, legacy, no),
            ("w.H5", None, tf, tf),
            ("w.weights.json", None, Ok(Format::Sharded), Ok(Format::Sharded)),
            ("w.safetensors", None, Ok(Format::Safetensors), Ok(Format::Safetensors)),
            ("w.npz", None, Ok(Format::Npz), Ok(Format::Npz)),
            ("w.safetensors.index.json", None, Ok(Format::Safetensors), Ok(Format::Safetensors)),
            ("dir/model.json", None, Ok(Format::TfjsLayers), Ok(Format::TfjsLayers)),
            ("my-model.json", None, tf, tf),
            ("x.json", Some("tfjs"), Ok(Format::TfjsLayers), Ok(Format::TfjsLayers)),
            ("w.keras", Some("keras"), legacy, Ok(Format::Keras)),
            ("w.keras", Some("archive"), Ok(Format::Keras), Ok(Format::Keras)),
            ("w", None, tf, tf),
            ("w.x", Some("tf"), tf, tf),
            ("w", Some("h5"), legacy, legacy),
            ("w.h5", Some("tf"), no, no),
            ("w.weights.h5", Some("tf"), keras3, no),
            ("w.weights.h5", Some("h5"), keras3, keras3),
            ("w.weights.h5", Some("legacy_h5"), keras3, legacy),
            ("w.h5", Some("keras3_h5"), keras3, keras3),
            ("w.h5", Some("zzz"), no, no),
        ];
        for (name, save_format, keras2, keras3) in cases {
            let code = |flavor| to_save(Path::new(name), save_format, flavor).map_err(|error| error.code());
            assert_eq!(code(Keras2), keras2, "{name} {save_format:?} keras2");
            assert_eq!(code(Keras3), keras3, "{name} {save_format:?} keras3");
        }
    }
}
