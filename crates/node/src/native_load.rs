//! A load as JavaScript sees it, and the orders of weights.

use std::path::Path;

use kw_keras::{LoadOptions, ModelTree};
use kw_model::{Code, Limits, LocalFilesystem, WeightsError};
use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;

use crate::failure::{export, from_json, number, to_json};
use crate::job::Job;
use crate::load::load;
use crate::native_file::origin;
use crate::native_job::{NativeJob, Outcome, values_object};
use crate::opening::open;
use crate::options::ReadOptions;

/// Work that matches a file with a model tree and reads its values; `takeLoad` gives them.
#[napi(catch_unwind)]
pub fn load_weights(
    env: &Env,
    tree: String,
    path: Option<String>,
    bytes: Option<&[u8]>,
    load_options: String,
    read_options: String,
) -> napi::Result<NativeJob> {
    export(env, || {
        let load_options: LoadOptions = from_json(&load_options, "options")?;
        let read_options: ReadOptions = from_json(&read_options, "options")?;
        let origin = origin(path, bytes)?;
        Ok(NativeJob::new(Job::new(move |watch| {
            let opened = open(origin, &read_options.limits())?;
            Ok(Outcome::Load(load(&tree, &opened, &load_options, &read_options, watch)?))
        })))
    })
}

/// What a load brought: reports as JSON, and for each of `variables` a place in `buffers`.
#[napi(
    catch_unwind,
    ts_return_type = "{ report: string; warnings: string; variables: number[]; buffers: ArrayBuffer[]; places: number[] }"
)]
pub fn take_load<'env>(env: &'env Env, job: &NativeJob) -> napi::Result<Object<'env>> {
    let loaded = export(env, || match job.job.take()? {
        Outcome::Load(loaded) => Ok(loaded),
        _ => Err(WeightsError::new(Code::Internal, "this job loads nothing")),
    })?;
    let mut object = values_object(env, loaded.values)?;
    object.set("report", loaded.report)?;
    object.set("warnings", loaded.warnings)?;
    let variables: Vec<f64> = loaded.variables.iter().map(|&variable| number(variable as u64)).collect();
    object.set("variables", variables)?;
    Ok(object)
}

/// Work that looks up the latest checkpoint of a folder; `takeReport` gives its prefix as JSON, or `null`.
#[napi(catch_unwind)]
pub fn latest_checkpoint(folder: String) -> NativeJob {
    NativeJob::new(Job::new(move |_| {
        let found = kw_keras::latest_checkpoint(Path::new(&folder), &LocalFilesystem, &Limits::default())?;
        Ok(Outcome::Report(to_json(&found.map(|prefix| prefix.display().to_string()))?))
    }))
}

/// `{ weights, trainable, nonTrainable }` of a tree's root as JSON: variables in Keras' orders.
#[napi(catch_unwind)]
pub fn weight_orders(env: &Env, tree: String) -> napi::Result<String> {
    export(env, || to_json(&kw_keras::weight_orders(&ModelTree::from_json(&tree)?)?))
}
