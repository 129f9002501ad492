//! Which tensor becomes which weight: collected by the layouts, judged and turned into a plan here. No I/O.

use std::collections::{HashMap, HashSet};

use kw_model::{Catalogue, Code, DType, Result, WeightsError};

use crate::cast;
use crate::convert::Piece;
use crate::format::Format;
use crate::load::{Assignment, LoadPlan, Value};
use crate::open::OpenedFile;
use crate::orders::Orders;
use crate::recipe::{Expression, Recipe};
use crate::report::{Cast, LoadReport, Skipped, Warning, WarningCode};
use crate::tree::ModelTree;

/// A weight and the value it gets.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    pub(crate) variable: usize,
    pub(crate) value: Expression,
}

/// What a layout found out.
#[derive(Default)]
pub(crate) struct Matching {
    bindings: Vec<Binding>,
    skipped: Vec<Skipped>,
    warnings: Vec<Warning>,
    /// Tensors that belong to something the load left out on purpose.
    accounted: HashSet<usize>,
}

impl Matching {
    pub(crate) fn bind(&mut self, bindings: Vec<Binding>) {
        self.bindings.extend(bindings);
    }

    /// A layer keeps its values.
    pub(crate) fn skip(&mut self, layer: &str, error: &WeightsError) {
        self.skipped.push(Skipped::new(layer, error));
        self.warn(WarningCode::SkippedLayer, Some(layer), format!("skipped the layer {layer}: {}", error.message()));
    }

    pub(crate) fn warn(&mut self, code: WarningCode, layer: Option<&str>, message: String) {
        self.warnings.push(Warning { code, layer: layer.map(str::to_owned), message });
    }

    /// Tensors that are not worth mentioning as unexpected.
    pub(crate) fn account(&mut self, entries: impl IntoIterator<Item = usize>) {
        self.accounted.extend(entries);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bindings.is_empty() && self.skipped.is_empty()
    }

    /// The plan; `scope` is the part of the file that holds the model's weights (`""` for all of it).
    pub(crate) fn finish(
        self,
        tree: &ModelTree,
        orders: &Orders<'_>,
        file: &OpenedFile,
        format: Format,
        scope: &str,
    ) -> Result<LoadPlan> {
        let catalogue = file.reader.catalogue();
        let mut used: HashSet<usize> = self.accounted;
        // A variable that is saved twice (a wrapped layer's kernel) takes the value that Keras assigns last.
        let mut order: Vec<usize> = Vec::new();
        let mut latest: HashMap<usize, Expression> = HashMap::new();
        for binding in self.bindings {
            used.extend(binding.value.entries());
            if latest.insert(binding.variable, binding.value).is_none() {
                order.push(binding.variable);
            }
        }
        let mut report = LoadReport {
            format,
            loaded: Vec::with_capacity(order.len()),
            skipped: self.skipped,
            missing: Vec::new(),
            unexpected: Vec::new(),
            cast: Vec::new(),
            note: file.note.clone(),
        };
        let mut assignments = Vec::with_capacity(order.len());
        for variable in &order {
            let Some(expression) = latest.get(variable) else { continue };
            let target = tree.variable(*variable)?;
            let (value, from) = self::value(expression, catalogue, target.dtype)?;
            if from != target.dtype {
                report.cast.push(Cast { weight: target.path.clone(), from, to: target.dtype });
            }
            report.loaded.push(target.path.clone());
            assignments.push(Assignment { variable: *variable, value });
        }
        for variable in orders.weights(tree.root)?.iter() {
            if !latest.contains_key(variable) {
                report.missing.push(tree.variable(*variable)?.path.clone());
            }
        }
        let inside =
            |path: &str| scope.is_empty() || path.strip_prefix(scope).is_some_and(|rest| rest.starts_with('/'));
        report.unexpected = catalogue
            .entries()
            .iter()
            .enumerate()
            .filter(|(index, entry)| !used.contains(index) && inside(&entry.path))
            .map(|(_, entry)| entry.path.clone())
            .collect();
        Ok(LoadPlan { assignments, report, warnings: self.warnings })
    }
}

fn value(expression: &Expression, catalogue: &Catalogue, to: DType) -> Result<(Value, DType)> {
    if let Some(entry) = expression.as_entry() {
        let stored = catalogue.entry(entry)?.dtype;
        let reinterpret = cast::reinterpreted(stored, to);
        let from = reinterpret.unwrap_or(stored);
        return Ok((Value::Tensor { entry, cast: (from != to).then_some(to), reinterpret }, from));
    }
    let recipe = Recipe::new(expression.clone(), catalogue, to)?;
    let from = recipe.from();
    Ok((Value::Computed(recipe), from))
}

/// The pieces of one layer against its variables: the first thing that does not fit, or all bindings.
pub(crate) fn fit(
    tree: &ModelTree,
    catalogue: &Catalogue,
    layer: &str,
    variables: &[usize],
    pieces: Vec<Piece>,
) -> Result<Vec<Binding>> {
    let mut bindings = Vec::with_capacity(pieces.len());
    for (&variable, piece) in variables.iter().zip(pieces) {
        if let Piece::Value(value) = piece {
            check(tree, catalogue, layer, variable, &value)?;
            bindings.push(Binding { variable, value });
        }
    }
    Ok(bindings)
}

/// Shape and dtype of one value against one variable.
fn check(tree: &ModelTree, catalogue: &Catalogue, layer: &str, variable: usize, value: &Expression) -> Result<()> {
    let target = tree.variable(variable)?;
    let shape = value.shape();
    if shape != target.shape {
        return Err(WeightsError::new(
            Code::Shape,
            format!(
                "the layer {layer} has a weight {} of shape {}, the file has shape {shape} for it",
                target.path, target.shape
            ),
        )
        .layer(layer)
        .weight(&target.path)
        .expected(target.shape.clone())
        .found(shape));
    }
    for index in value.entries() {
        let stored = catalogue.entry(index)?.dtype;
        if cast::reinterpreted(stored, target.dtype).is_none() && !cast::can_cast(stored, target.dtype) {
            return Err(WeightsError::new(
                Code::DType,
                format!(
                    "the layer {layer} has a {} weight {}, the file has {stored} for it",
                    target.dtype, target.path
                ),
            )
            .layer(layer)
            .weight(&target.path)
            .expected(target.dtype.name())
            .found(stored.name()));
        }
    }
    if value.as_entry().is_none() {
        Recipe::new(value.clone(), catalogue, target.dtype).map_err(|error| error.layer(layer).weight(&target.path))?;
    }
    Ok(())
}

/// The error for another number of weights than the layer has; `note` ends the sentence.
pub(crate) fn count_error(layer: &str, expected: usize, found: usize, note: &str) -> WeightsError {
    WeightsError::new(
        Code::WeightCount,
        format!("the layer {layer} has {expected} weights in the model and {found} in the file{note}"),
    )
    .layer(layer)
    .expected(expected as u64)
    .found(found as u64)
}
