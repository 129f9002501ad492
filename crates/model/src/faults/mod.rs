//! A file system on which a chosen step goes wrong, and which remembers every step.
//!
//! A sweep over N = 1, 2, 3, … until nothing fails any more shows what each step's
//! failure does to a file that is being saved. The log is enough to rebuild what a disk
//! may hold after a loss of power at any moment.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod power_loss;

pub use power_loss::{Disk, states_after_power_loss};

use crate::{ByteSource, Code, FileInfo, Filesystem, Result, ScratchFile, WeightsError, WritableFile};

/// One step, in the words of [`Filesystem`] and [`WritableFile`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the steps and their arguments are those of the traits")]
pub enum Operation {
    Open { path: PathBuf },
    Read { path: String, offset: u64, len: usize },
    Metadata { path: PathBuf },
    ResolveLinks { path: PathBuf },
    CreateTemporary { path: PathBuf },
    CreateScratch { path: PathBuf },
    IntoSource { path: PathBuf },
    CreateNew { path: PathBuf },
    Preallocate { path: PathBuf, len: u64 },
    Write { path: PathBuf, bytes: Vec<u8> },
    Sync { path: PathBuf },
    RenameReplace { from: PathBuf, to: PathBuf },
    RenameNew { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
    List { folder: PathBuf },
    SyncFolder { folder: PathBuf },
    RemoveIfAbandoned { path: PathBuf },
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The step is not done and reports this.
    Error(ErrorKind),
    /// Half of a write is done; the next step reports this. Any other step: as `Error`.
    Short(ErrorKind),
    /// The step is done, yet reports this, as when a network file system loses the answer.
    DoneButFailed(ErrorKind),
    /// Neither this step nor any later one is done, as when the process was killed.
    Killed,
}

/// Passes every step on to another file system, but for the one that is to fail.
#[derive(Clone)]
pub struct FaultyFilesystem {
    inner: Arc<dyn Filesystem>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Steps begun so far.
    count: usize,
    /// The step (from 1) at which to fail, and how.
    fault: Option<(usize, Fault)>,
    /// What the step after a short write reports.
    pending: Option<ErrorKind>,
    log: Vec<Operation>,
}

/// What to do with the step at hand.
enum Verdict {
    Do,
    DoHalf,
    DoThenFail(io::Error),
}

impl FaultyFilesystem {
    /// A file system that fails nowhere yet.
    pub fn new(inner: impl Filesystem + 'static) -> Self {
        FaultyFilesystem { inner: Arc::new(inner), state: Arc::default() }
    }

    /// Lets step number `step` fail, counted from 1.
    #[must_use]
    pub fn fail_at(self, step: usize, fault: Fault) -> Self {
        self.state().fault = Some((step, fault));
        self
    }

    /// Steps begun so far, failed ones included.
    pub fn count(&self) -> usize {
        self.state().count
    }

    /// The steps that were done, in order; of a short write, what was written.
    pub fn log(&self) -> Vec<Operation> {
        self.state().log.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic of another test thread leaves the state as good as it was.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&self) -> io::Result<Verdict> {
        let mut state = self.state();
        state.count += 1;
        if let Some(kind) = state.pending.take() {
            return Err(kind.into());
        }
        match state.fault {
            Some((step, Fault::Killed)) if state.count >= step => Err(io::Error::other("the process was killed")),
            Some((step, fault)) if state.count == step => match fault {
                Fault::Error(kind) => Err(kind.into()),
                Fault::Short(kind) => {
                    state.pending = Some(kind);
                    Ok(Verdict::DoHalf)
                }
                Fault::DoneButFailed(kind) => Ok(Verdict::DoThenFail(kind.into())),
                Fault::Killed => Ok(Verdict::Do),
            },
            _ => Ok(Verdict::Do),
        }
    }

    /// Does one step unless it is its turn to fail; what was done goes into the log.
    fn step<T>(&self, work: impl FnOnce() -> io::Result<T>, name: impl FnOnce(&T) -> Operation) -> io::Result<T> {
        let failure = match self.judge()? {
            Verdict::Do => None,
            Verdict::DoHalf => return Err(self.state().pending.take().unwrap_or(ErrorKind::Other).into()),
            Verdict::DoThenFail(error) => Some(error),
        };
        let done = work()?;
        self.state().log.push(name(&done));
        failure.map_or(Ok(done), Err)
    }

    fn wrap(&self, file: Box<dyn WritableFile>) -> Box<dyn WritableFile> {
        Box::new(FaultyFile { fs: self.clone(), file })
    }

    fn wrap_source(&self, source: Arc<dyn ByteSource>) -> Arc<dyn ByteSource> {
        Arc::new(FaultySource { fs: self.clone(), source })
    }
}

impl Filesystem for FaultyFilesystem {
    fn shared(&self) -> Arc<dyn Filesystem> {
        Arc::new(self.clone())
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn ByteSource>> {
        let mut own = None;
        let opened = self.step(
            || {
                self.inner.open(path).map_err(|error| {
                    own = Some(error);
                    ErrorKind::Other.into()
                })
            },
            |_| Operation::Open { path: path.into() },
        );
        match opened {
            Ok(source) => Ok(self.wrap_source(source)),
            Err(error) => Err(own.unwrap_or_else(|| WeightsError::io("open", path, &error))),
        }
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<FileInfo>> {
        self.step(|| self.inner.metadata(path), |_| Operation::Metadata { path: path.into() })
    }

    fn resolve_links(&self, path: &Path) -> io::Result<PathBuf> {
        self.step(|| self.inner.resolve_links(path), |_| Operation::ResolveLinks { path: path.into() })
    }

    fn create_temporary(&self, target: &Path) -> io::Result<Box<dyn WritableFile>> {
        self.step(
            || self.inner.create_temporary(target),
            |file| Operation::CreateTemporary { path: file.path().into() },
        )
        .map(|file| self.wrap(file))
    }

    fn create_scratch(&self, target: &Path) -> io::Result<Box<dyn ScratchFile>> {
        let file = self
            .step(|| self.inner.create_scratch(target), |file| Operation::CreateScratch { path: file.path().into() })?;
        Ok(Box::new(FaultyFile { fs: self.clone(), file }))
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn WritableFile>> {
        self.step(|| self.inner.create_new(path), |_| Operation::CreateNew { path: path.into() })
            .map(|file| self.wrap(file))
    }

    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        let name = |&(): &()| Operation::RenameReplace { from: from.into(), to: to.into() };
        self.step(|| self.inner.rename_replace(from, to), name)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let name = |&(): &()| Operation::RenameNew { from: from.into(), to: to.into() };
        self.step(|| self.inner.rename_new(from, to), name)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(|| self.inner.remove(path), |()| Operation::Remove { path: path.into() })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        self.step(|| self.inner.list(folder), |_| Operation::List { folder: folder.into() })
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.step(|| self.inner.sync_folder(folder), |()| Operation::SyncFolder { folder: folder.into() })
    }

    fn remove_if_abandoned(&self, path: &Path) -> io::Result<bool> {
        self.step(|| self.inner.remove_if_abandoned(path), |_| Operation::RemoveIfAbandoned { path: path.into() })
    }
}

struct FaultyFile<F: ?Sized> {
    fs: FaultyFilesystem,
    file: Box<F>,
}

impl<F: WritableFile + ?Sized> WritableFile for FaultyFile<F> {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn preallocate(&mut self, len: u64) -> io::Result<()> {
        let path = self.file.path().to_path_buf();
        self.fs.step(|| self.file.preallocate(len), |()| Operation::Preallocate { path, len })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (bytes, failure) = match self.fs.judge()? {
            Verdict::Do => (bytes, None),
            // At least one byte: none at all would be another kind of failure.
            Verdict::DoHalf => (bytes.get(..bytes.len().div_ceil(2)).unwrap_or_default(), None),
            Verdict::DoThenFail(error) => (bytes, Some(error)),
        };
        let written = self.file.write(bytes)?;
        let bytes = bytes.get(..written).unwrap_or_default().to_vec();
        self.fs.state().log.push(Operation::Write { path: self.file.path().into(), bytes });
        failure.map_or(Ok(written), Err)
    }

    fn sync(&mut self) -> io::Result<()> {
        let path = self.file.path().to_path_buf();
        self.fs.step(|| self.file.sync(), |()| Operation::Sync { path })
    }
}

impl ScratchFile for FaultyFile<dyn ScratchFile> {
    fn into_source(self: Box<Self>) -> io::Result<Arc<dyn ByteSource>> {
        let FaultyFile { fs, file } = *self;
        let path = file.path().to_path_buf();
        let source = fs.step(|| file.into_source(), |_| Operation::IntoSource { path })?;
        Ok(fs.wrap_source(source))
    }
}

struct FaultySource {
    fs: FaultyFilesystem,
    source: Arc<dyn ByteSource>,
}

impl ByteSource for FaultySource {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let len = out.len();
        let mut own = None;
        let read = self.fs.step(
            || {
                self.source.read_exact_at(offset, out).map_err(|error| {
                    own = Some(error);
                    ErrorKind::Other.into()
                })
            },
            |()| Operation::Read { path: self.source.name(), offset, len },
        );
        read.map_err(|error| {
            own.unwrap_or_else(|| {
                WeightsError::new(Code::Io, format!("could not read {}: {error}", self.source.name())).offset(offset)
            })
        })
    }

    fn name(&self) -> String {
        self.source.name()
    }
}
