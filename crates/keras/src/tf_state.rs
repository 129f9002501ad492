//! The file `checkpoint` beside TensorFlow checkpoints, which names the latest one.

use std::path::{Path, PathBuf};

use kw_formats::tf_checkpoint::{CheckpointState, index_file_name};
use kw_model::{Code, FileKind, Filesystem, Limits, Result, WeightsError, commit_file, storage_error};

const STATE_FILE: &str = "checkpoint";

/// Names a checkpoint as the latest of its folder and the only one, as `save_weights` does.
pub(crate) fn update(fs: &dyn Filesystem, folder: &Path, name: &str) -> Result<()> {
    let text = CheckpointState::single(name).to_text();
    let target = folder.join(STATE_FILE);
    commit_file(fs, &target, true, Some(text.len() as u64), &mut |sink| sink.write_all(text.as_bytes())).map_err(
        |error| {
            error.with_note(
                "; the checkpoint itself is complete and in place, only the folder's `checkpoint` file is old",
            )
        },
    )
}

/// The prefix of the latest checkpoint of a folder, as `tf.train.latest_checkpoint`: what the folder's file
/// `checkpoint` names, if it is there.
///
/// # Errors
/// [`Code::Corrupt`] for a `checkpoint` file that cannot be parsed, [`Code::Limit`] for one beyond the limits,
/// [`Code::Io`].
pub fn latest_checkpoint(folder: &Path, fs: &dyn Filesystem, limits: &Limits) -> Result<Option<PathBuf>> {
    let file = folder.join(STATE_FILE);
    let source = match fs.open(&file) {
        Ok(source) => source,
        Err(error) if error.code() == Code::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Limits::check("the checkpoint state file", source.len(), limits.max_header_bytes, "bytes")?;
    let len = usize::try_from(source.len()).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(len)
        .map_err(|_| WeightsError::new(Code::Memory, format!("no memory for {len} bytes of {}", file.display())))?;
    bytes.resize(len, 0);
    source.read_exact_at(0, &mut bytes)?;
    let state = CheckpointState::parse(&bytes).map_err(|error| error.file(file.display().to_string()))?;
    if state.model_checkpoint_path.is_empty() {
        return Ok(None);
    }
    let prefix = folder.join(&state.model_checkpoint_path);
    let text = prefix.display().to_string();
    // A checkpoint of the first format is one file at the prefix itself.
    for candidate in [PathBuf::from(index_file_name(&text)), prefix.clone()] {
        let info = fs.metadata(&candidate).map_err(|error| storage_error("inspect", &candidate, &error))?;
        if info.is_some_and(|info| info.kind == FileKind::File) {
            return Ok(Some(prefix));
        }
    }
    Ok(None)
}
