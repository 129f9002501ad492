//! The folder of one item of a checkpoint, and which step is the latest.

use std::path::PathBuf;
use std::sync::Arc;

use kw_model::{ByteSource, Filesystem, Result, WeightsError};

/// Files of one item (`<root>/<step>/pytree`), by names relative to it with `/` between parts.
pub trait Folder: Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// [`kw_model::Code::NotFound`] and whatever opening causes.
    fn open(&self, name: &str) -> Result<Arc<dyn ByteSource>>;

    /// The names directly in the folder.
    ///
    /// # Errors
    /// Whatever listing causes.
    fn names(&self) -> Result<Vec<String>>;

    /// What to call the folder in messages.
    fn name(&self) -> String;
}

/// A folder of a file system.
pub struct FilesystemFolder {
    files: Arc<dyn Filesystem>,
    path: PathBuf,
}

impl FilesystemFolder {
    /// The folder at `path`.
    pub fn new(files: Arc<dyn Filesystem>, path: impl Into<PathBuf>) -> Self {
        FilesystemFolder { files, path: path.into() }
    }
}

impl Folder for FilesystemFolder {
    fn open(&self, name: &str) -> Result<Arc<dyn ByteSource>> {
        self.files.open(&self.path.join(name))
    }

    fn names(&self) -> Result<Vec<String>> {
        let names = self.files.list(&self.path).map_err(|error| WeightsError::io("list", &self.path, &error))?;
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// The latest step among the names in a checkpoint's root: the largest number. Steps that are still being
/// written have a suffix and do not count.
///
/// ```
/// use kw_formats::orbax::latest_step;
/// assert_eq!(latest_step(["2", "10", "11.orbax-checkpoint-tmp", "config"]), Some(10));
/// ```
pub fn latest_step<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<u64> {
    let numbers = names.into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    numbers.filter_map(|name| name.parse().ok()).max()
}
