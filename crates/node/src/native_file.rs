//! An opened file as JavaScript sees it.

use std::sync::{Arc, Mutex};

use kw_keras::{LoadOptions, OpenedFile};
use kw_map::Region;
use kw_model::{Cancel, Code, LocalFilesystem, Result, WeightsError};
use napi::Env;
use napi::bindgen_prelude::{ArrayBuffer, Object};
use napi_derive::napi;
use serde::Serialize;

use crate::buffers::{Values, array_buffer};
use crate::failure::{export, from_json, number, to_json, whole};
use crate::file::{Fetched, FileState, on_disk};
use crate::job::{Job, Watch};
use crate::load::load;
use crate::native_job::{NativeJob, Outcome, values_object};
use crate::opening::Origin;
use crate::options::{ReadOptions, Verify};
use crate::pool::lock;

/// An opened file. After `close` every method fails; buffers that were handed out stay valid.
#[napi]
pub struct NativeFile {
    state: Mutex<Option<Arc<FileState>>>,
}

impl NativeFile {
    fn state(&self) -> Result<Arc<FileState>> {
        lock(&self.state).clone().ok_or_else(|| WeightsError::new(Code::Closed, "the file was closed"))
    }
}

/// What a whole-model file says beside its weights.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Texts {
    model_config: Option<String>,
    training_config: Option<String>,
    keras_version: Option<String>,
    backend: Option<String>,
}

fn index(value: f64) -> Result<usize> {
    usize::try_from(whole(value, "the number of a tensor")?)
        .map_err(|_| WeightsError::new(Code::Missing, "there is no such tensor"))
}

/// Where weights come from: exactly one of the two is given.
pub fn origin(path: Option<String>, bytes: Option<&[u8]>) -> Result<Origin> {
    match (path, bytes) {
        (Some(path), None) => Ok(on_disk(&path)),
        (None, Some(bytes)) => {
            let mut copy = Vec::new();
            copy.try_reserve_exact(bytes.len()).map_err(|_| {
                WeightsError::new(Code::Memory, format!("{} bytes of memory could not be had", bytes.len()))
            })?;
            copy.extend_from_slice(bytes);
            Ok(Origin::Bytes(copy))
        }
        _ => Err(WeightsError::new(Code::Argument, "weights come from a path or from bytes")),
    }
}

/// Work that opens a file; `takeFile` gives it.
#[napi(catch_unwind)]
pub fn open_file(env: &Env, path: Option<String>, bytes: Option<&[u8]>, options: String) -> napi::Result<NativeJob> {
    export(env, || {
        let options: ReadOptions = from_json(&options, "options")?;
        let origin = origin(path, bytes)?;
        Ok(NativeJob::new(Job::new(move |watch| Ok(Outcome::File(FileState::open(origin, &options, watch)?)))))
    })
}

/// The file that a job opened.
#[napi(catch_unwind)]
pub fn take_file(env: &Env, job: &NativeJob) -> napi::Result<NativeFile> {
    export(env, || match job.job.take()? {
        Outcome::File(state) => Ok(NativeFile { state: Mutex::new(Some(Arc::new(state))) }),
        _ => Err(WeightsError::new(Code::Internal, "this job opens no file")),
    })
}

#[napi]
impl NativeFile {
    /// Format, as in reports.
    #[napi(catch_unwind)]
    pub fn format(&self, env: &Env) -> napi::Result<String> {
        export(env, || Ok(self.state()?.format().to_owned()))
    }

    /// What should be known of the file.
    #[napi(catch_unwind)]
    pub fn note(&self, env: &Env) -> napi::Result<Option<String>> {
        export(env, || Ok(self.state()?.note().map(str::to_owned)))
    }

    /// Bytes read so far; pages of mappings do not count.
    #[napi(catch_unwind)]
    pub fn bytes_read(&self, env: &Env) -> napi::Result<f64> {
        export(env, || Ok(number(self.state()?.bytes_read())))
    }

    /// `[path, dtype, shape, byteLength, digest | null, storedInPlace][]` as JSON.
    #[napi(catch_unwind)]
    pub fn entries(&self, env: &Env) -> napi::Result<String> {
        export(env, || self.state()?.entries())
    }

    /// The paths of all groups as JSON.
    #[napi(catch_unwind)]
    pub fn groups(&self, env: &Env) -> napi::Result<String> {
        export(env, || self.state()?.groups())
    }

    /// The attributes of a group or tensor as JSON.
    #[napi(catch_unwind)]
    pub fn attributes(&self, env: &Env, path: String) -> napi::Result<String> {
        export(env, || self.state()?.attributes(&path))
    }

    /// The texts of a whole-model file as JSON: `{ modelConfig, trainingConfig, kerasVersion, backend }`, null where
    /// there is none.
    #[napi(catch_unwind)]
    pub fn whole_model(&self, env: &Env) -> napi::Result<String> {
        export(env, || {
            let whole = self.state()?.whole_model()?;
            to_json(&Texts {
                model_config: whole.model_config,
                training_config: whole.training_config,
                keras_version: whole.keras_version,
                backend: whole.backend,
            })
        })
    }

    /// Work that matches this file with a model tree and reads its values; `takeLoad` gives them.
    #[napi(catch_unwind)]
    pub fn load(&self, env: &Env, tree: String, load_options: String, read_options: String) -> napi::Result<NativeJob> {
        export(env, || {
            let load_options: LoadOptions = from_json(&load_options, "options")?;
            let mut read_options: ReadOptions = from_json(&read_options, "options")?;
            let state = self.state()?;
            Ok(NativeJob::new(Job::new(move |watch| {
                // The checksum of an archive's member covers names too: a state whose name changed would be left out.
                let file = &state.opened().file;
                if file.archive.is_some()
                    && read_options.verify(Verify::Load) != Verify::Off
                    && file.reader.verify_stored(0, &watch.cancel)?
                {
                    read_options.verify = Some(Verify::Off);
                }
                Ok(Outcome::Load(load(&tree, state.opened(), &load_options, &read_options, watch)?))
            })))
        })
    }

    /// A tensor, here and now: `{ window, offset, byteLength }` or `{ buffers, places }`.
    #[napi(
        catch_unwind,
        ts_return_type = "{ window: number; offset: number; byteLength: number } | { buffers: ArrayBuffer[]; places: number[] }"
    )]
    pub fn get<'env>(&self, env: &'env Env, tensor: f64) -> napi::Result<Object<'env>> {
        let fetched = export(env, || {
            let (state, index, watch) = (self.state()?, index(tensor)?, Watch::default());
            Ok(match state.see(index, false, &watch.cancel)? {
                Some(seen) => Fetched::Seen(seen),
                None => Fetched::Copied(state.copy(index, &watch)?),
            })
        })?;
        fetched_object(env, fetched)
    }

    /// The buffer over a window of the file. Each call makes another one: TypeScript keeps the first.
    #[napi(catch_unwind)]
    pub fn window<'env>(&self, env: &'env Env, number: f64) -> napi::Result<ArrayBuffer<'env>> {
        export(env, || match self.state()?.window(index(number)?)? {
            Some(shared) => array_buffer(env, &shared),
            None => Err(WeightsError::new(Code::Internal, "this window was never mapped")),
        })
    }

    /// Work that reads a tensor; `takeTensor` gives it.
    #[napi(catch_unwind)]
    pub fn read(&self, env: &Env, tensor: f64) -> napi::Result<NativeJob> {
        export(env, || {
            let (state, index) = (self.state()?, index(tensor)?);
            Ok(NativeJob::new(Job::new(move |watch| Ok(Outcome::Tensor(state.fetch(index, watch)?)))))
        })
    }

    /// Work that compares all digests; `takeReport` gives what it found.
    #[napi(catch_unwind)]
    pub fn verify(&self, env: &Env) -> napi::Result<NativeJob> {
        export(env, || {
            let state = self.state()?;
            Ok(NativeJob::new(Job::new(move |watch| Ok(Outcome::Report(state.verify(watch)?)))))
        })
    }

    /// Work that reads what an archive holds for layers with files of their own; `takeAssets` gives it.
    #[napi(catch_unwind)]
    pub fn assets(&self, env: &Env) -> napi::Result<NativeJob> {
        export(env, || {
            let state = self.state()?;
            Ok(NativeJob::new(Job::new(move |watch| {
                let (paths, regions) = assets(&state.opened().file, &watch.cancel)?;
                Ok(Outcome::Assets(paths, Values::of_regions(regions)))
            })))
        })
    }

    /// Drops index and handle.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        lock(&self.state).take();
    }
}

/// Paths and bytes of all assets.
fn assets(file: &OpenedFile, cancel: &Cancel) -> Result<(Vec<String>, Vec<Region>)> {
    let Some(archive) = &file.archive else { return Ok((Vec::new(), Vec::new())) };
    let mut regions = Vec::with_capacity(archive.assets().len());
    for path in archive.assets() {
        let source = archive.asset(path, &LocalFilesystem, cancel)?;
        let mut region = Region::allocate(source.len())?;
        source.read_exact_at(0, region.bytes_mut())?;
        regions.push(region);
    }
    Ok((archive.assets().to_vec(), regions))
}

fn fetched_object(env: &Env, fetched: Fetched) -> napi::Result<Object<'_>> {
    match fetched {
        Fetched::Seen(seen) => {
            let mut object = Object::new(env)?;
            object.set("window", number(seen.window as u64))?;
            object.set("offset", number(seen.offset))?;
            object.set("byteLength", number(seen.byte_len))?;
            Ok(object)
        }
        Fetched::Copied(values) => values_object(env, values),
    }
}

/// The tensor that a job read, as [`NativeFile::get`] gives it.
#[napi(
    catch_unwind,
    ts_return_type = "{ window: number; offset: number; byteLength: number } | { buffers: ArrayBuffer[]; places: number[] }"
)]
pub fn take_tensor<'env>(env: &'env Env, job: &NativeJob) -> napi::Result<Object<'env>> {
    let fetched = export(env, || match job.job.take()? {
        Outcome::Tensor(fetched) => Ok(fetched),
        _ => Err(WeightsError::new(Code::Internal, "this job reads no tensor")),
    })?;
    fetched_object(env, fetched)
}
