//! What a disk may hold after a loss of power, given what was done before.
//!
//! The model is harsher than most file systems: content that was not synced may be missing,
//! cut or zero; names that were not synced with their folder may have changed or not, each
//! by itself. A sync makes exactly its own file or folder certain.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Operation;

/// Files by path.
pub type Disk = BTreeMap<PathBuf, Vec<u8>>;

/// A change of names. `file` is a number in [`Model::files`].
#[derive(Debug, Clone)]
enum NameChange {
    Add { path: PathBuf, file: usize },
    Move { from: PathBuf, to: PathBuf, file: usize },
    Remove { path: PathBuf },
}

#[derive(Debug, Clone, Default)]
struct Content {
    /// What has reached the disk for certain.
    synced: Vec<u8>,
    /// What programs see.
    seen: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
struct Model {
    files: Vec<Content>,
    /// Names as programs see them.
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    pending: Vec<NameChange>,
}

/// Every disk that `before` may have become when the power fails after any number of steps of `log`.
/// The number of states doubles with each name that changes before its folder is synced.
pub fn states_after_power_loss(before: &Disk, log: &[Operation]) -> Vec<Disk> {
    let mut model = Model::default();
    for (path, bytes) in before {
        model.names.insert(path.clone(), model.files.len());
        model.files.push(Content { synced: bytes.clone(), seen: bytes.clone() });
    }
    model.synced_names = model.names.clone();
    let mut states = model.states();
    for operation in log {
        model.apply(operation);
        states.extend(model.states());
    }
    states.sort();
    states.dedup();
    states
}

impl Model {
    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::CreateTemporary { path } | Operation::CreateNew { path } => {
                let file = self.files.len();
                self.files.push(Content::default());
                self.names.insert(path.clone(), file);
                self.pending.push(NameChange::Add { path: path.clone(), file });
            }
            Operation::Write { path, bytes } => {
                if let Some(content) = self.content(path) {
                    content.seen.extend_from_slice(bytes);
                }
            }
            Operation::Sync { path } => {
                if let Some(content) = self.content(path) {
                    content.synced = content.seen.clone();
                }
            }
            Operation::RenameReplace { from, to } | Operation::RenameNew { from, to } => {
                if let Some(file) = self.names.remove(from) {
                    self.names.insert(to.clone(), file);
                    self.pending.push(NameChange::Move { from: from.clone(), to: to.clone(), file });
                }
            }
            Operation::Remove { path } => {
                self.names.remove(path);
                self.pending.push(NameChange::Remove { path: path.clone() });
            }
            Operation::SyncFolder { folder } => {
                let (done, waiting) =
                    std::mem::take(&mut self.pending).into_iter().partition(|change| change.is_in(folder));
                self.pending = waiting;
                make(&done, &mut self.synced_names);
            }
            // Reads, and reserving room, leave no trace that matters. What a sweep removes was nobody's.
            _ => {}
        }
    }

    fn content(&mut self, path: &Path) -> Option<&mut Content> {
        self.files.get_mut(*self.names.get(path)?)
    }

    fn states(&self) -> Vec<Disk> {
        let mut states = Vec::new();
        for chosen in 0..(1_u32 << self.pending.len().min(16)) {
            let some: Vec<NameChange> =
                self.pending.iter().enumerate().filter(|(n, _)| chosen >> n & 1 == 1).map(|(_, c)| c.clone()).collect();
            let mut names = self.synced_names.clone();
            make(&some, &mut names);
            for fate in [Fate::OnlySynced, Fate::Cut, Fate::Zeros, Fate::All] {
                let bytes = |file: usize| self.files.get(file).map(|content| content.after(fate)).unwrap_or_default();
                states.push(names.iter().map(|(path, &file)| (path.clone(), bytes(file))).collect());
            }
        }
        states
    }
}

/// What happens to content that was not synced.
#[derive(Clone, Copy)]
enum Fate {
    OnlySynced,
    Cut,
    Zeros,
    All,
}

impl Content {
    fn after(&self, fate: Fate) -> Vec<u8> {
        let start = self.synced.len();
        let unsure = self.seen.get(start..).unwrap_or_default();
        let mut bytes = self.synced.clone();
        match fate {
            Fate::OnlySynced => {}
            Fate::Cut => bytes.extend_from_slice(unsure.get(..unsure.len() / 2).unwrap_or_default()),
            Fate::Zeros => bytes.resize(start + unsure.len(), 0),
            Fate::All => bytes.extend_from_slice(unsure),
        }
        bytes
    }
}

impl NameChange {
    fn is_in(&self, folder: &Path) -> bool {
        let (NameChange::Add { path, .. } | NameChange::Move { to: path, .. } | NameChange::Remove { path }) = self;
        let parent = path.parent().unwrap_or(Path::new(""));
        parent == folder || (parent == Path::new("") && folder == Path::new("."))
    }
}

fn make(changes: &[NameChange], names: &mut BTreeMap<PathBuf, usize>) {
    for change in changes {
        match change {
            NameChange::Add { path, file } => {
                names.insert(path.clone(), *file);
            }
            NameChange::Move { from, to, file } => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            NameChange::Remove { path } => {
                names.remove(path);
            }
        }
    }
}
