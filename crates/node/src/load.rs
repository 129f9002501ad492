//! A load: match, then place every value, all off JavaScript's thread.

use kw_keras::{Assignment, LoadOptions, ModelTree, OpenedFile, Value, plan_load};
use kw_map::{Compute, Wanted, What, place, read_entry};
use kw_model::{Cancel, Catalogue, Code, DType, Result, WeightsError, WeightsReader};

use crate::buffers::Values;
use crate::failure::to_json;
use crate::job::Watch;
use crate::opening::Opened;
use crate::options::{ReadOptions, Verify};

/// What a load gives: nothing in the model has changed yet.
pub struct Loaded {
    /// The load report as JSON.
    pub report: String,
    /// Warnings as JSON.
    pub warnings: String,
    /// The variables that get a value, in the order of `values`.
    pub variables: Vec<usize>,
    /// Their values.
    pub values: Values,
}

/// Matches an opened file with a tree and brings the values into memory.
///
/// # Errors
/// What matching, reading and converting cause.
pub fn load(
    tree: &str,
    opened: &Opened,
    load_options: &LoadOptions,
    read_options: &ReadOptions,
    watch: &Watch,
) -> Result<Loaded> {
    let tree = ModelTree::from_json(tree)?;
    let verify = read_options.verify(Verify::Load) != Verify::Off;
    let placing = read_options.placing(verify, true)?;
    watch.cancel.check()?;
    let plan = plan_load(&tree, &opened.file, load_options)?;
    let located = |error: WeightsError| error.file(&opened.file.source_name).format(opened.file.format.name());

    let computes = computations(&plan.assignments, &tree, &opened.file, verify)?;
    let mut wanted = Vec::with_capacity(plan.assignments.len());
    for (assignment, compute) in plan.assignments.iter().zip(&computes) {
        let target = tree.variable(assignment.variable)?;
        let what = match (&assignment.value, compute) {
            (_, Some(compute)) => What::Computed(compute),
            (Value::Tensor { entry, .. }, None) => What::Entry(*entry),
            (Value::Computed(_), None) => return Err(WeightsError::new(Code::Internal, "a value has no recipe")),
        };
        let byte_len = target.shape.byte_len(target.dtype)?;
        wanted.push(Wanted { what, byte_len, alignment: target.dtype.alignment() });
    }
    watch.expect(wanted.iter().map(|value| value.byte_len).sum());
    let reader = opened.file.reader.as_ref();
    let placed = place(reader, &wanted, &placing, &watch.cancel, &|bytes| watch.advance(bytes)).map_err(located)?;
    Ok(Loaded {
        report: to_json(&plan.report)?,
        warnings: to_json(&plan.warnings)?,
        variables: plan.assignments.iter().map(|assignment| assignment.variable).collect(),
        values: Values::from(placed),
    })
}

/// For every assignment whose bytes differ from the file's, what computes them.
fn computations<'a>(
    assignments: &'a [Assignment],
    tree: &'a ModelTree,
    file: &'a OpenedFile,
    verify: bool,
) -> Result<Vec<Option<Box<Compute<'a>>>>> {
    assignments
        .iter()
        .map(|assignment| {
            let weight = &tree.variable(assignment.variable)?.path;
            let reader = Verifying { reader: file.reader.as_ref(), verify };
            let compute: Option<Box<Compute<'a>>> = match &assignment.value {
                Value::Tensor { cast: None, .. } => None,
                Value::Tensor { entry, cast: Some(to), reinterpret } => {
                    let (entry, to, from) = (*entry, *to, *reinterpret);
                    Some(Box::new(move |out: &mut [u8], cancel: &Cancel| {
                        cast(&reader, entry, from, to, out, cancel).map_err(|error| error.weight(weight))
                    }))
                }
                Value::Computed(recipe) => Some(Box::new(move |out: &mut [u8], cancel: &Cancel| {
                    let bytes = recipe.evaluate(&reader, cancel).map_err(|error| error.weight(weight))?;
                    if bytes.len() != out.len() {
                        return Err(WeightsError::new(Code::Internal, "a recipe gave another size than planned")
                            .weight(weight)
                            .expected(out.len() as u64)
                            .found(bytes.len() as u64));
                    }
                    out.copy_from_slice(&bytes);
                    Ok(())
                })),
            };
            Ok(compute)
        })
        .collect()
}

fn cast(
    reader: &Verifying<'_>,
    entry: usize,
    from: Option<DType>,
    to: DType,
    out: &mut [u8],
    cancel: &Cancel,
) -> Result<()> {
    let stored = reader.catalogue().entry(entry)?;
    let mut region = kw_map::Region::allocate(stored.byte_len)?;
    reader.read_into(entry, region.bytes_mut(), cancel)?;
    kw_keras::cast::cast(region.bytes_mut(), from.unwrap_or(stored.dtype), to, out)
}

/// A reader that compares digests as it reads.
struct Verifying<'a> {
    reader: &'a dyn WeightsReader,
    verify: bool,
}

impl WeightsReader for Verifying<'_> {
    fn catalogue(&self) -> &Catalogue {
        self.reader.catalogue()
    }

    fn read_into(&self, index: usize, out: &mut [u8], cancel: &Cancel) -> Result<()> {
        read_entry(self.reader, index, out, self.verify, cancel, &|_| ())
    }

    fn read_strings(&self, index: usize) -> Result<Vec<Vec<u8>>> {
        self.reader.read_strings(index)
    }

    fn format(&self) -> &'static str {
        self.reader.format()
    }
}
