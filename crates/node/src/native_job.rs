//! Long work as JavaScript sees it, and the functions that take its results.

use kw_model::{Code, WeightsError};
use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;

use crate::buffers::Values;
use crate::failure::{export, number};
use crate::file::{Fetched, FileState};
use crate::job::Job;
use crate::load::Loaded;

/// What long work gives.
pub enum Outcome {
    /// An opened file.
    File(FileState),
    /// One tensor.
    Tensor(Fetched),
    /// Values for a model.
    Load(Loaded),
    /// A report as JSON.
    Report(String),
    /// Files of an archive beside its weights, by path.
    Assets(Vec<String>, Values),
}

/// Long work. `start` gives a promise that resolves (never rejects) when the result can be taken;
/// `run` does the work here and now.
#[napi]
pub struct NativeJob {
    pub(crate) job: Job<Outcome>,
}

impl NativeJob {
    pub(crate) fn new(job: Job<Outcome>) -> Self {
        NativeJob { job }
    }
}

#[napi]
impl NativeJob {
    /// Begins on a thread of the pool.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn start<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        export(env, || self.job.start(env))
    }

    /// Does the work on this thread.
    #[napi(catch_unwind)]
    pub fn run(&self) {
        self.job.run();
    }

    /// Asks the work to stop.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.job.cancel();
    }

    /// True once the result can be taken.
    #[napi(getter, catch_unwind)]
    pub fn finished(&self) -> bool {
        self.job.is_finished()
    }

    /// Bytes done.
    #[napi(getter, catch_unwind)]
    pub fn done(&self) -> f64 {
        number(self.job.progress().0)
    }

    /// Bytes there are; 0 until it is known.
    #[napi(getter, catch_unwind)]
    pub fn total(&self) -> f64 {
        number(self.job.progress().1)
    }
}

/// The report of a job that gives one.
#[napi(catch_unwind)]
pub fn take_report(env: &Env, job: &NativeJob) -> napi::Result<String> {
    export(env, || match job.job.take()? {
        Outcome::Report(report) => Ok(report),
        _ => Err(WeightsError::new(Code::Internal, "this job gives no report")),
    })
}

/// The files that a job read out of an archive: a path for each of `buffers`.
#[napi(catch_unwind, ts_return_type = "{ paths: string[]; buffers: ArrayBuffer[] }")]
pub fn take_assets<'env>(env: &'env Env, job: &NativeJob) -> napi::Result<Object<'env>> {
    let (paths, values) = export(env, || match job.job.take()? {
        Outcome::Assets(paths, values) => Ok((paths, values)),
        _ => Err(WeightsError::new(Code::Internal, "this job reads no assets")),
    })?;
    let mut object = values_object(env, values)?;
    object.set("paths", paths)?;
    Ok(object)
}

/// Values as `{ buffers, places }`.
pub fn values_object(env: &Env, values: Values) -> napi::Result<Object<'_>> {
    let buffers = export(env, || values.buffers(env))?;
    let mut object = Object::new(env)?;
    object.set("buffers", buffers)?;
    object.set("places", values.places)?;
    Ok(object)
}
