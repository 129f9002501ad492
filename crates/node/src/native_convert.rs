//! Conversions as JavaScript sees them.

use std::path::Path;

use kw_keras::{ModelTree, SaveOptions, convert, convert_model};
use kw_model::{Code, DType, LocalFilesystem, WeightsError};
use napi::Env;
use napi_derive::napi;

use crate::failure::{export, from_json, to_json};
use crate::job::Job;
use crate::native_file::origin;
use crate::native_job::{NativeJob, Outcome};
use crate::opening::open;
use crate::options::ReadOptions;

/// Work that writes a file's tensors in another format: through a model tree if there is one, else by their names. Its
/// result is a report.
#[allow(clippy::too_many_arguments, reason = "one for each part of the call, as all exports take them")]
#[napi(catch_unwind)]
pub fn convert_weights(
    env: &Env,
    path: Option<String>,
    bytes: Option<&[u8]>,
    target: String,
    tree: Option<String>,
    dtype: Option<String>,
    save_options: String,
    read_options: String,
) -> napi::Result<NativeJob> {
    export(env, || {
        let save_options: SaveOptions = from_json(&save_options, "options")?;
        let read_options: ReadOptions = from_json(&read_options, "options")?;
        let origin = origin(path, bytes)?;
        let tree = tree.as_deref().map(ModelTree::from_json).transpose()?;
        let dtype =
            match dtype.as_deref() {
                None => None,
                Some(name) => Some(DType::from_name(name).ok_or_else(|| {
                    WeightsError::new(Code::Argument, format!("there is no dtype {name:?}")).found(name)
                })?),
            };
        Ok(NativeJob::new(Job::new(move |watch| {
            let opened = open(origin, &read_options.limits())?;
            let file = &opened.file;
            let entries = file.reader.catalogue().entries();
            watch.expect(entries.iter().map(|entry| entry.byte_len).sum());
            let mut reach = |written| watch.reach(written);
            let (fs, target, cancel) = (LocalFilesystem, Path::new(&target), &watch.cancel);
            let report = match &tree {
                Some(tree) => convert_model(tree, file, target, dtype, &save_options, &fs, cancel, &mut reach)?,
                None => convert(file, target, dtype, &save_options, &fs, cancel, &mut reach)?,
            };
            Ok(Outcome::Report(to_json(&report)?))
        })))
    })
}
