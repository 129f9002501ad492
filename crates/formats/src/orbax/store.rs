//! Values by key, from databases or from plain files.

use std::sync::Arc;

use kw_model::{ByteSource, Code, Limits, Result, WeightsError};

use super::folder::Folder;
use super::ocdbt::{Database, MANIFEST, Value};
use super::unsupported;
use crate::buffers::read_range;

/// Where chunks and array descriptions are.
pub(super) enum Store {
    /// In one merged database, or in one for each process that saved.
    Database(Database),
    /// Each under its key as a file.
    Files(Arc<dyn Folder>),
}

impl Store {
    /// The store of an item. Without a merged database, those of the processes are taken together.
    pub(super) fn open(folder: &Arc<dyn Folder>, use_ocdbt: bool, limits: &Limits) -> Result<Self> {
        if !use_ocdbt {
            return Ok(Store::Files(Arc::clone(folder)));
        }
        let mut database = Database::default();
        // Only a manifest that is missing sends us to the processes: a data file that is missing is a loss.
        match folder.open(MANIFEST) {
            Ok(_) => {
                database.load(folder.as_ref(), "", limits)?;
                return Ok(Store::Database(database));
            }
            Err(error) if error.code() != Code::NotFound => return Err(error),
            Err(_) => {}
        }
        let mut bases: Vec<String> = folder.names()?;
        bases.retain(|name| name.starts_with("ocdbt.process_"));
        bases.sort();
        if bases.is_empty() {
            return Err(WeightsError::new(Code::NotFound, format!("{} holds no {MANIFEST}", folder.name()))
                .format(super::FORMAT)
                .file(folder.name()));
        }
        for base in bases {
            database.load(folder.as_ref(), &format!("{base}/"), limits)?;
        }
        Ok(Store::Database(database))
    }

    /// Bytes of a value; `None` when there is no such key.
    pub(super) fn len(&self, key: &str) -> Result<Option<u64>> {
        match self {
            Store::Database(database) => Ok(database.values.get(key.as_bytes()).map(|value| match value {
                Value::Inline(bytes) => bytes.len() as u64,
                Value::Range { len, .. } => *len,
            })),
            Store::Files(folder) => {
                check_key(key)?;
                match folder.open(key) {
                    Ok(source) => Ok(Some(source.len())),
                    Err(error) if error.code() == Code::NotFound => Ok(None),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Reads a value of at most `most` bytes; `None` when there is no such key.
    pub(super) fn get(&self, key: &str, most: u64, what: &str) -> Result<Option<Vec<u8>>> {
        let read = |source: &dyn ByteSource, offset: u64, len: u64| {
            Limits::check(what, len, most, "bytes")?;
            read_range(source, offset, len, what).map(Some)
        };
        match self {
            Store::Database(database) => match database.values.get(key.as_bytes()) {
                None => Ok(None),
                Some(Value::Inline(bytes)) => Ok(Some(bytes.to_vec())),
                Some(Value::Range { source, offset, len }) => match database.sources.get(*source) {
                    Some(source) => read(source.as_ref(), *offset, *len),
                    None => Err(WeightsError::new(Code::Internal, "a data file has no place")),
                },
            },
            Store::Files(folder) => {
                check_key(key)?;
                match folder.open(key) {
                    Ok(source) => read(source.as_ref(), 0, source.len()),
                    Err(error) if error.code() == Code::NotFound => Ok(None),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// The data files that the catalogue names as sources.
    pub(super) fn sources(&self) -> Vec<Arc<dyn ByteSource>> {
        match self {
            Store::Database(database) => database.sources.clone(),
            Store::Files(_) => Vec::new(),
        }
    }
}

/// Names of arrays become names of files here; none may lead out of the folder.
fn check_key(key: &str) -> Result<()> {
    let inside = key.split('/').all(|part| !matches!(part, "" | "." | "..")) && !key.contains(['\\', ':', '\0']);
    if inside { Ok(()) } else { Err(unsupported(format!("the array name {key:?} is no file name"))) }
}
