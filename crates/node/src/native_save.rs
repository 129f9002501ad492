//! A save as JavaScript sees it.

use std::sync::Arc;

use kw_keras::{Asset, SaveOptions};
use kw_model::{Code, MemorySource, Result, WeightsError};
use napi::bindgen_prelude::{Object, Uint8Array};
use napi::{Env, JsDeferred};
use napi_derive::napi;

use crate::failure::{export, from_json, number, whole};
use crate::job::Job;
use crate::native_job::{NativeJob, Outcome};
use crate::save::SaveState;

/// One save. Say where each tensor's values are (`offer`, else `keep` or `digest` to its end), do `digestOurs`,
/// then `write`, and `feed` what was digested here, in the order of `variables`, while that works.
#[napi]
pub struct NativeSave {
    state: Arc<SaveState>,
}

impl Drop for NativeSave {
    fn drop(&mut self) {
        // A worker that ends in the middle of a save must not leave a thread of the pool waiting for it.
        self.state.ring().close();
    }
}

fn size(value: f64) -> Result<usize> {
    usize::try_from(whole(value, "a number of bytes or of a tensor")?)
        .map_err(|_| WeightsError::new(Code::Argument, "more than this machine can address"))
}

type Settle = Box<dyn FnOnce(Env) -> napi::Result<()>>;

/// Plans a save of a model tree; an archive also gets a file of `bytes` for each of `paths`.
#[napi(catch_unwind)]
pub fn plan_save(
    env: &Env,
    tree: String,
    path: String,
    options: String,
    paths: Vec<String>,
    bytes: Vec<Uint8Array>,
) -> napi::Result<NativeSave> {
    export(env, || {
        let options: SaveOptions = from_json(&options, "options")?;
        let assets = paths.into_iter().zip(&bytes).map(|(path, bytes)| {
            let source = Arc::new(MemorySource::new(bytes.to_vec(), path.as_str()));
            Asset { path, source }
        });
        Ok(NativeSave { state: Arc::new(SaveState::plan(&tree, &path, &options, assets.collect())?) })
    })
}

#[napi]
impl NativeSave {
    /// The variable of each tensor in the order of writing.
    #[napi(catch_unwind)]
    pub fn variables(&self) -> Vec<f64> {
        self.state.variables().iter().map(|&variable| number(variable as u64)).collect()
    }

    /// Format of the file, as in reports.
    #[napi(catch_unwind)]
    pub fn format(&self) -> &'static str {
        self.state.format()
    }

    /// Takes an array that lies in memory of ours; false for any other.
    #[napi(catch_unwind)]
    pub fn offer(&self, env: &Env, tensor: f64, bytes: &[u8]) -> napi::Result<bool> {
        export(env, || self.state.offer(size(tensor)?, bytes))
    }

    /// Copies an array as it is now.
    #[napi(catch_unwind)]
    pub fn keep(&self, env: &Env, tensor: f64, bytes: &[u8]) -> napi::Result<()> {
        export(env, || self.state.keep(size(tensor)?, bytes))
    }

    /// Takes the next piece of an array into its digest; the bytes digested so far.
    #[napi(catch_unwind)]
    pub fn digest(&self, env: &Env, tensor: f64, bytes: &[u8]) -> napi::Result<f64> {
        export(env, || Ok(number(self.state.digest_piece(size(tensor)?, bytes)? as u64)))
    }

    /// Work that digests what lies in memory of ours.
    #[napi(catch_unwind)]
    pub fn digest_ours(&self) -> NativeJob {
        let state = Arc::clone(&self.state);
        NativeJob::new(Job::new(move |watch| {
            state.digest_ours(watch)?;
            Ok(Outcome::Report(String::new()))
        }))
    }

    /// Work that writes and commits the file; `takeReport` gives the save report.
    #[napi(catch_unwind)]
    pub fn write(&self) -> NativeJob {
        let state = Arc::clone(&self.state);
        NativeJob::new(Job::new(move |watch| Ok(Outcome::Report(state.write(watch)?))))
    }

    /// Copies a piece of an array from `offset` on; the bytes taken, 0 when there is no room.
    #[napi(catch_unwind)]
    pub fn feed(&self, env: &Env, tensor: f64, bytes: &[u8], offset: f64) -> napi::Result<f64> {
        export(env, || Ok(number(self.state.feed(size(tensor)?, bytes, size(offset)?)? as u64)))
    }

    /// A promise that resolves when there is room to feed, or when nothing is wanted any more.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn room<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let (deferred, promise): (JsDeferred<(), Settle>, Object<'env>) = env.create_deferred()?;
        self.state.ring().when_room(Box::new(move || deferred.resolve(Box::new(|_| Ok(())))));
        Ok(promise)
    }

    /// Ends the save: the writer stops, and nothing is committed that was not.
    #[napi(catch_unwind)]
    pub fn abort(&self) {
        self.state.ring().close();
    }

    /// The whole save here and now, from one array a tensor; the save report as JSON.
    #[napi(catch_unwind)]
    pub fn run(&self, env: &Env, arrays: Vec<Uint8Array>) -> napi::Result<String> {
        export(env, || {
            let slices: Vec<&[u8]> = arrays.iter().map(AsRef::as_ref).collect();
            self.state.run(&slices)
        })
    }
}
