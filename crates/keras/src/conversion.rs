//! Converting a file into another format, tensor after tensor.
//!
//! Without a model the names are kept: object paths stay object paths, a flat container takes any names. From and to the
//! legacy layout, whose names are those of layers and weights, a model says what belongs where.
//!
//! Memory: values go through in pieces of a mebibyte. Where a tensor has to be decoded as a whole (compressed chunks, deflated
//! members, slices, kernels that are rearranged), it is that tensor, and one copy of it, that is held.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kw_formats::tf_checkpoint::OBJECT_GRAPH_KEY;
use kw_model::{Cancel, Code, Crc32c, DType, Filesystem, Result, WeightsError};
use serde::Serialize;

use crate::content::Asset;
use crate::conversion_layout::{Kept, becomes, is_float, lay_out};
use crate::conversion_values::{Converting, Through};
use crate::format::{self, Format};
use crate::load::{LoadOptions, Value, plan_load};
use crate::open::{OpenedFile, check_texts};
use crate::report::Cast;
use crate::save::{SaveOptions, SavePlan, ValueStream, execute_save, format_of, plan_save_with};
use crate::tree::{Flavor, ModelTree, Node, NodeKind};

/// What a conversion wrote, and what it could not keep.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConvertReport {
    /// Format of the new file.
    pub format: Format,
    /// Format of the old file.
    pub from: Format,
    /// The new file.
    pub path: String,
    /// Tensors in it.
    pub tensors: u64,
    /// Bytes of all of them.
    pub tensor_bytes: u64,
    /// What is not in the new file, by path, each with the reason.
    pub left_out: BTreeMap<String, String>,
    /// Attributes of groups and tensors that the new format has no place for, as `path@name`.
    pub dropped: Vec<String>,
    /// Tensors whose dtype is another one in the new file, because it was asked for, or the model or the format wants it so.
    pub cast: Vec<Cast>,
    /// Tensors in which finite values became infinite, with how many.
    pub overflowed: BTreeMap<String, u64>,
}

fn check_dtype(dtype: Option<DType>) -> Result<()> {
    if dtype.is_some_and(|dtype| !is_float(dtype)) {
        return Err(WeightsError::new(Code::Argument, "values are converted to float16, bfloat16, float32 or float64"));
    }
    Ok(())
}

/// Converts without a model. `dtype` makes all floating-point tensors (float16, bfloat16, float32, float64) that one.
///
/// # Errors
/// [`Code::Format`] when the names cannot be kept in the format that `target` asks for; [`Code::Argument`] for a `dtype`
/// that is no floating-point type; as [`execute_save`].
pub fn convert(
    file: &OpenedFile,
    target: &Path,
    dtype: Option<DType>,
    options: &SaveOptions,
    fs: &dyn Filesystem,
    cancel: &Cancel,
    progress: &mut dyn FnMut(u64),
) -> Result<ConvertReport> {
    check_dtype(dtype)?;
    check_texts(file)?;
    let format = format::to_save(target, options.save_format.as_deref(), Flavor::Keras3)?;
    let catalogue = file.reader.catalogue();
    let mut kept = Kept::default();
    let content = lay_out(file, format, target, dtype, options, &mut kept)
        .map_err(|error| error.file(target.display().to_string()).format(format.name()))?;
    let mut cast = Vec::new();
    for &index in &kept.entries {
        let entry = catalogue.entry(index)?;
        let to = becomes(entry.dtype, dtype, format);
        if to != entry.dtype {
            cast.push(Cast { weight: entry.path.clone(), from: entry.dtype, to });
        }
    }
    let plan = SavePlan::of_content(format, target, options, content, kept.entries);
    let mut values = Converting { file, plan: &plan, dtype, cancel, overflowed: BTreeMap::new() };
    let done = write(&plan, &mut values, fs, cancel, progress)?;
    let mut left_out = kept.left_out;
    left_out.extend(catalogue.refusals().iter().map(|(path, reason)| (path.clone(), reason.message().to_owned())));
    leave_assets(file, format, &mut left_out);
    Ok(ConvertReport {
        format,
        from: file.format,
        path: done.path,
        tensors: done.tensors,
        tensor_bytes: done.tensor_bytes,
        left_out,
        dropped: kept.dropped,
        cast,
        overflowed: values.overflowed,
    })
}

/// Values that go through twice where the file tells their digests before them.
fn write(
    plan: &SavePlan,
    values: &mut dyn ValueStream,
    fs: &dyn Filesystem,
    cancel: &Cancel,
    progress: &mut dyn FnMut(u64),
) -> Result<crate::report::SaveReport> {
    let mut digests = Vec::new();
    let first = !matches!(plan.format(), Format::Npz | Format::TfCheckpoint | Format::TfjsLayers);
    for tensor in 0..if first { plan.variables().len() } else { 0 } {
        let mut crc = Crc32c::default();
        values.pump(tensor, &mut |bytes| {
            cancel.check()?;
            crc.update(bytes);
            Ok(())
        })?;
        digests.push(crc.value());
    }
    execute_save(plan, fs, &digests, values, cancel, progress)
}

/// Files of layers have a place in archives alone.
fn leave_assets(file: &OpenedFile, format: Format, left_out: &mut BTreeMap<String, String>) {
    let assets = file.archive.iter().flat_map(|archive| archive.assets()).filter(|_| format != Format::Keras);
    left_out.extend(assets.map(|path| (path.clone(), "only a .keras archive holds files of layers".to_owned())));
}

/// Converts through a model: everything the model has is loaded by the rules of the old format and saved by those of the new.
/// `dtype` as in [`convert`]; without it every weight gets the dtype that the model says.
///
/// # Errors
/// As [`plan_load`], [`plan_save_with`] and [`execute_save`]; [`Code::Missing`] when the file lacks weights of the model.
#[expect(clippy::too_many_arguments, reason = "those of convert, and the model")]
pub fn convert_model(
    tree: &ModelTree,
    file: &OpenedFile,
    target: &Path,
    dtype: Option<DType>,
    options: &SaveOptions,
    fs: &dyn Filesystem,
    cancel: &Cancel,
    progress: &mut dyn FnMut(u64),
) -> Result<ConvertReport> {
    check_dtype(dtype)?;
    check_texts(file)?;
    let format = format_of(tree, target, options)?;
    // The load goes by the model's own dtypes, which say what opaque bytes are; values are cast once, on their way.
    let load = plan_load(tree, file, &LoadOptions { cast: true, ..LoadOptions::default() })?;
    let mut tree = tree.clone();
    for variable in &mut tree.variables {
        variable.dtype = becomes(variable.dtype, dtype, format);
    }
    let tree = &tree;
    let values: BTreeMap<usize, Value> = load.assignments.into_iter().map(|to| (to.variable, to.value)).collect();
    let mut left_out = BTreeMap::new();
    let plan = plan_model(tree, file, target, &values, options, fs, cancel, &mut left_out)?;
    let mut stream = Through { tree, file, plan: &plan, values, cancel, overflowed: BTreeMap::new() };
    let saved = write(&plan, &mut stream, fs, cancel, progress)?;
    let Through { values, overflowed, .. } = stream;
    let cast = casts(file, &plan, &values, tree)?;
    leave_tensors(file, &plan, &values, tree, &mut left_out);
    leave_assets(file, saved.format, &mut left_out);
    Ok(ConvertReport {
        format: saved.format,
        from: file.format,
        path: saved.path,
        tensors: saved.tensors,
        tensor_bytes: saved.tensor_bytes,
        left_out,
        dropped: Vec::new(),
        cast,
        overflowed,
    })
}

/// The plan of the new file, without the optimizer where the old file has no state of it.
#[expect(clippy::too_many_arguments, reason = "those of convert_model")]
fn plan_model(
    tree: &ModelTree,
    file: &OpenedFile,
    target: &Path,
    values: &BTreeMap<usize, Value>,
    options: &SaveOptions,
    fs: &dyn Filesystem,
    cancel: &Cancel,
    left_out: &mut BTreeMap<String, String>,
) -> Result<SavePlan> {
    let plan = |options: &SaveOptions| {
        let mut assets = Vec::new();
        if format_of(tree, target, options)? == Format::Keras
            && let Some(archive) = &file.archive
        {
            for path in archive.assets() {
                let source = archive.asset(path, fs, cancel)?;
                assets.push(Asset { path: path.clone(), source });
            }
        }
        plan_save_with(tree, target, options, assets)
    };
    let planned = plan(options)?;
    let optimizers = tree.nodes.iter().filter(|node| node.kind == NodeKind::Optimizer);
    let of_optimizer: BTreeSet<usize> = optimizers.flat_map(Node::own_variables).collect();
    let stateless = |number: &usize| of_optimizer.contains(number) && !values.contains_key(number);
    if !planned.variables().iter().any(stateless) {
        return Ok(planned);
    }
    left_out.insert("optimizer".to_owned(), "the old file has no state of it".to_owned());
    plan(&SaveOptions { include_optimizer: Some(false), ..options.clone() })
}

/// The weights whose values change their dtype.
fn casts(file: &OpenedFile, plan: &SavePlan, values: &BTreeMap<usize, Value>, tree: &ModelTree) -> Result<Vec<Cast>> {
    let mut casts = Vec::new();
    for &number in plan.variables() {
        let variable = tree.variable(number)?;
        let from = match value_of(number, values, tree) {
            Some(Value::Tensor { entry, reinterpret, .. }) => {
                reinterpret.unwrap_or(file.reader.catalogue().entry(*entry)?.dtype)
            }
            Some(Value::Computed(recipe)) => recipe.from(),
            None => continue,
        };
        if from != variable.dtype {
            casts.push(Cast { weight: variable.path.clone(), from, to: variable.dtype });
        }
    }
    Ok(casts)
}

/// What a variable of the new file gets; one that exists only for files takes the value of the weight it stands for.
pub(crate) fn value_of<'v>(number: usize, values: &'v BTreeMap<usize, Value>, tree: &ModelTree) -> Option<&'v Value> {
    values.get(&number).or_else(|| values.get(&tree.variable(number).ok()?.stands_for?))
}

/// Tensors of the old file that nothing in the new one comes from.
fn leave_tensors(
    file: &OpenedFile,
    plan: &SavePlan,
    values: &BTreeMap<usize, Value>,
    tree: &ModelTree,
    left_out: &mut BTreeMap<String, String>,
) {
    let mut used = BTreeSet::new();
    for &number in plan.variables() {
        match value_of(number, values, tree) {
            Some(Value::Tensor { entry, .. }) => {
                used.insert(*entry);
            }
            Some(Value::Computed(recipe)) => used.extend(recipe.entries()),
            None => {}
        }
    }
    let catalogue = file.reader.catalogue();
    for (index, entry) in catalogue.entries().iter().enumerate() {
        // A checkpoint's graph is made anew.
        if used.contains(&index) || entry.path == OBJECT_GRAPH_KEY {
            continue;
        }
        let reason = if entry.path.starts_with("optimizer") {
            "the state of the optimizer has no place in the new file, or is not wanted there"
        } else {
            "no weight of the model takes it"
        };
        left_out.insert(entry.path.clone(), reason.to_owned());
    }
}
