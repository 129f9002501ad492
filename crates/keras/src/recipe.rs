//! Values that are computed from a file's tensors: gathered, transposed, reordered, added.
//!
//! A recipe is built and its shapes are checked when a load is planned; nothing is read before it is evaluated.

use kw_model::{Cancel, Catalogue, Code, DType, Result, Shape, WeightsError, WeightsReader};
use ndarray::{ArrayD, Axis, IxDyn, ShapeBuilder};

use crate::cast;

/// In which order elements are laid out when a shape changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Last axis fastest (C).
    RowMajor,
    /// First axis fastest (Fortran).
    ColumnMajor,
}

/// An array expression over a file's tensors. All tensors of one expression have one dtype.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    step: Step,
    shape: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Entry(usize),
    Transpose(Box<Expression>, Vec<usize>),
    Concatenate(Vec<Expression>),
    Part { of: Box<Expression>, axis: usize, parts: u64, index: u64 },
    Reshape(Box<Expression>, Order),
    Add(Box<Expression>, Box<Expression>),
    Half(Box<Expression>),
}

fn mismatch(message: String) -> WeightsError {
    WeightsError::new(Code::Shape, message)
}

impl Expression {
    /// A tensor of the file as it is.
    pub fn entry(index: usize, shape: &Shape) -> Self {
        Expression { step: Step::Entry(index), shape: shape.axes().to_vec() }
    }

    /// The shape of the result.
    pub fn shape(&self) -> Shape {
        Shape::new(self.shape.clone())
    }

    /// The tensor's index, when nothing is computed.
    pub fn as_entry(&self) -> Option<usize> {
        match self.step {
            Step::Entry(index) => Some(index),
            _ => None,
        }
    }

    /// Indices of all tensors it reads.
    pub fn entries(&self) -> Vec<usize> {
        match &self.step {
            Step::Entry(index) => vec![*index],
            Step::Transpose(of, _) | Step::Reshape(of, _) | Step::Half(of) | Step::Part { of, .. } => of.entries(),
            Step::Concatenate(parts) => parts.iter().flat_map(Expression::entries).collect(),
            Step::Add(left, right) => left.entries().into_iter().chain(right.entries()).collect(),
        }
    }

    /// Axes in another order, as `numpy.transpose(x, axes)`.
    ///
    /// # Errors
    /// [`Code::Shape`] unless `axes` names every axis once.
    pub fn transpose(self, axes: &[usize]) -> Result<Self> {
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..self.shape.len()) {
            return Err(mismatch(format!(
                "old weights of shape {} cannot be transposed to the axes {axes:?}",
                self.shape()
            )));
        }
        let shape = axes.iter().filter_map(|axis| self.shape.get(*axis).copied()).collect();
        Ok(Expression { step: Step::Transpose(Box::new(self), axes.to_vec()), shape })
    }

    /// Joined along the last axis, as `numpy.concatenate(parts, axis=-1)`.
    ///
    /// # Errors
    /// [`Code::Shape`] when the other axes differ.
    pub fn concatenate(parts: Vec<Expression>) -> Result<Self> {
        let heads: Vec<Option<(&u64, &[u64])>> = parts.iter().map(|part| part.shape.split_last()).collect();
        let Some(Some((_, head))) = heads.first().copied() else {
            return Err(mismatch("scalars cannot be joined".to_owned()));
        };
        let mut last = 0_u64;
        for part in &heads {
            match part {
                Some((length, other)) if *other == head => last = last.saturating_add(**length),
                _ => return Err(mismatch("weights of one layer whose shapes do not go together".to_owned())),
            }
        }
        let mut shape = head.to_vec();
        shape.push(last);
        Ok(Expression { step: Step::Concatenate(parts), shape })
    }

    /// One of `parts` equal parts along an axis, as `numpy.split(x, parts, axis)[index]`.
    ///
    /// # Errors
    /// [`Code::Shape`] when the axis does not divide.
    pub fn part(self, axis: usize, parts: u64, index: u64) -> Result<Self> {
        let mut shape = self.shape.clone();
        match shape.get_mut(axis) {
            Some(length) if parts > 0 && index < parts && length.is_multiple_of(parts) => *length /= parts,
            _ => return Err(mismatch(format!("{} cannot be split into {parts} equal parts", self.shape()))),
        }
        Ok(Expression { step: Step::Part { of: Box::new(self), axis, parts, index }, shape })
    }

    /// The same elements under another shape, as `numpy.reshape(x, shape, order)`.
    ///
    /// # Errors
    /// [`Code::Shape`] when the counts differ.
    pub fn reshape(self, shape: Vec<u64>, order: Order) -> Result<Self> {
        let wanted = Shape::new(shape.clone());
        if wanted.num_elements()? != self.shape().num_elements()? {
            return Err(mismatch(format!("{} cannot be reshaped to {wanted}", self.shape())));
        }
        Ok(Expression { step: Step::Reshape(Box::new(self), order), shape })
    }

    /// The sum, in the file's dtype.
    ///
    /// # Errors
    /// [`Code::Shape`] when the shapes differ.
    pub fn plus(self, other: Expression) -> Result<Self> {
        if self.shape != other.shape {
            return Err(mismatch(format!("{} and {} cannot be added", self.shape(), other.shape())));
        }
        let shape = self.shape.clone();
        Ok(Expression { step: Step::Add(Box::new(self), Box::new(other)), shape })
    }

    /// Half of every element, in the file's dtype.
    #[must_use]
    pub fn half(self) -> Self {
        let shape = self.shape.clone();
        Expression { step: Step::Half(Box::new(self)), shape }
    }
}

/// An expression together with the dtypes at both ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    expression: Expression,
    from: DType,
    to: DType,
    byte_len: u64,
}

impl Recipe {
    /// For a variable of dtype `to`.
    ///
    /// # Errors
    /// [`Code::DType`] when the tensors differ in dtype, are not numbers, or cannot become `to`;
    /// [`Code::Missing`] for an index outside the catalogue.
    pub fn new(expression: Expression, catalogue: &Catalogue, to: DType) -> Result<Self> {
        let mut dtypes = Vec::new();
        for index in expression.entries() {
            let entry = catalogue.entry(index)?;
            dtypes.push(cast::reinterpreted(entry.dtype, to).unwrap_or(entry.dtype));
        }
        let from = match dtypes.split_first() {
            Some((first, others)) if others.iter().all(|dtype| dtype == first) => *first,
            _ => return Err(WeightsError::new(Code::DType, "weights that belong together have different dtypes")),
        };
        if !cast::can_cast(from, to) || (computes(&expression) && !from.is_float()) {
            return Err(WeightsError::new(Code::DType, format!("{from} values cannot become {to} here"))
                .expected(to.name())
                .found(from.name()));
        }
        let byte_len = expression.shape().byte_len(to)?;
        Ok(Recipe { expression, from, to, byte_len })
    }

    /// Dtype of the tensors it reads.
    pub fn from(&self) -> DType {
        self.from
    }

    /// Shape of the result.
    pub fn shape(&self) -> Shape {
        self.expression.shape()
    }

    /// Bytes of the result.
    pub fn byte_len(&self) -> u64 {
        self.byte_len
    }

    /// Reads the tensors and computes; little-endian, row-major bytes in the variable's dtype.
    ///
    /// # Errors
    /// What reading causes, and [`Code::Memory`].
    pub fn evaluate(&self, reader: &dyn WeightsReader, cancel: &Cancel) -> Result<Vec<u8>> {
        let raw = self.evaluate_stored(reader, cancel)?;
        if self.from == self.to {
            return Ok(raw);
        }
        let mut out = buffer(self.byte_len)?;
        cast::cast(&raw, self.from, self.to, &mut out)?;
        Ok(out)
    }

    /// The tensors it reads, by index.
    pub(crate) fn entries(&self) -> Vec<usize> {
        self.expression.entries()
    }

    /// [`Recipe::evaluate`] in the dtype of the tensors.
    pub(crate) fn evaluate_stored(&self, reader: &dyn WeightsReader, cancel: &Cancel) -> Result<Vec<u8>> {
        match self.from.size() {
            1 => Evaluation::<1> { reader, cancel, dtype: self.from }.bytes(&self.expression),
            2 => Evaluation::<2> { reader, cancel, dtype: self.from }.bytes(&self.expression),
            4 => Evaluation::<4> { reader, cancel, dtype: self.from }.bytes(&self.expression),
            8 => Evaluation::<8> { reader, cancel, dtype: self.from }.bytes(&self.expression),
            _ => Evaluation::<16> { reader, cancel, dtype: self.from }.bytes(&self.expression),
        }
    }
}

fn computes(expression: &Expression) -> bool {
    match &expression.step {
        Step::Entry(_) => false,
        Step::Add(..) | Step::Half(_) => true,
        Step::Transpose(of, _) | Step::Reshape(of, _) | Step::Part { of, .. } => computes(of),
        Step::Concatenate(parts) => parts.iter().any(computes),
    }
}

fn buffer(byte_len: u64) -> Result<Vec<u8>> {
    let memory = || WeightsError::new(Code::Memory, format!("no memory for {byte_len} bytes"));
    let len = usize::try_from(byte_len).map_err(|_| memory())?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| memory())?;
    bytes.resize(len, 0);
    Ok(bytes)
}

/// Moving elements needs only their size; adding goes through a float of enough digits.
struct Evaluation<'r, const N: usize> {
    reader: &'r dyn WeightsReader,
    cancel: &'r Cancel,
    dtype: DType,
}

impl<const N: usize> Evaluation<'_, N> {
    fn bytes(&self, expression: &Expression) -> Result<Vec<u8>> {
        let array = self.array(expression)?;
        let mut out = Vec::new();
        out.try_reserve_exact(array.len().saturating_mul(N))
            .map_err(|_| WeightsError::new(Code::Memory, "no memory for converted weights"))?;
        for element in &array {
            out.extend_from_slice(element);
        }
        Ok(out)
    }

    fn array(&self, expression: &Expression) -> Result<ArrayD<[u8; N]>> {
        self.cancel.check()?;
        let shape = axes(&expression.shape)?;
        Ok(match &expression.step {
            Step::Entry(index) => {
                let mut bytes = buffer(self.reader.catalogue().entry(*index)?.byte_len)?;
                self.reader.read_into(*index, &mut bytes, self.cancel)?;
                let elements = bytes.as_chunks::<N>().0.to_vec();
                ArrayD::from_shape_vec(IxDyn(&shape), elements).map_err(impossible)?
            }
            Step::Transpose(of, order) => self.array(of)?.permuted_axes(IxDyn(order)),
            Step::Concatenate(parts) => {
                let arrays = parts.iter().map(|part| self.array(part)).collect::<Result<Vec<_>>>()?;
                let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
                let last = shape.len().checked_sub(1).ok_or_else(|| impossible("no axis"))?;
                ndarray::concatenate(Axis(last), &views).map_err(impossible)?
            }
            Step::Part { of, axis, parts, index } => {
                let whole = self.array(of)?;
                let length = whole.len_of(Axis(*axis)) / usize::try_from(*parts).map_err(impossible)?;
                let start = length.saturating_mul(usize::try_from(*index).map_err(impossible)?);
                whole.slice_axis(Axis(*axis), (start..start.saturating_add(length)).into()).to_owned()
            }
            Step::Reshape(of, order) => {
                let whole = self.array(of)?;
                match order {
                    Order::RowMajor => {
                        let elements: Vec<[u8; N]> = whole.iter().copied().collect();
                        ArrayD::from_shape_vec(IxDyn(&shape), elements).map_err(impossible)?
                    }
                    Order::ColumnMajor => {
                        let elements: Vec<[u8; N]> = whole.t().iter().copied().collect();
                        ArrayD::from_shape_vec(IxDyn(&shape).f(), elements).map_err(impossible)?
                    }
                }
            }
            Step::Add(left, right) => {
                let (mut sum, right) = (self.array(left)?, self.array(right)?);
                for (a, b) in sum.iter_mut().zip(&right) {
                    *a = self.number(self.float(a)? + self.float(b)?)?;
                }
                sum
            }
            Step::Half(of) => {
                let mut halves = self.array(of)?;
                for element in &mut halves {
                    *element = self.number(0.5 * self.float(element)?)?;
                }
                halves
            }
        })
    }

    // The exact sum of two floats of at most 24 digits rounds to the same float by way of float64 as directly.
    fn float(&self, element: &[u8; N]) -> Result<f64> {
        let mut out = [0; 8];
        cast::cast(element, self.dtype, DType::Float64, &mut out)?;
        Ok(f64::from_le_bytes(out))
    }

    fn number(&self, value: f64) -> Result<[u8; N]> {
        let mut out = [0; N];
        cast::cast(&value.to_le_bytes(), DType::Float64, self.dtype, &mut out)?;
        Ok(out)
    }
}

fn axes(shape: &[u64]) -> Result<Vec<usize>> {
    shape.iter().map(|&axis| usize::try_from(axis).map_err(impossible)).collect()
}

fn impossible(error: impl std::fmt::Display) -> WeightsError {
    WeightsError::new(Code::Internal, format!("a checked conversion failed: {error}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use kw_model::{
        Cancel, Catalogue, CatalogueBuilder, Code, DType, Limits, Location, MemorySource, Result, Shape, TensorEntry,
        WeightsReader,
    };

    use super::{Expression, Order, Recipe};

    type Make = fn(Expression) -> Result<Expression>;

    /// One float32 tensor holding 0, 1, 2, ….
    struct Counting(Catalogue);

    impl Counting {
        fn new(shape: &[u64]) -> Self {
            let shape = Shape::from(shape);
            let count = shape.num_elements().expect("small");
            let bytes: Vec<u8> =
                (0..count).flat_map(|n| f32::from(u16::try_from(n).expect("few")).to_le_bytes()).collect();
            let byte_len = bytes.len() as u64;
            let mut builder = CatalogueBuilder::new(vec![Arc::new(MemorySource::new(bytes, "m"))], Limits::default());
            let location = Location::Range { source: 0, offset: 0 };
            let (path, dtype, attributes) = ("x".to_owned(), DType::Float32, BTreeMap::new());
            builder
                .tensor(TensorEntry { path, dtype, shape, byte_len, location, digest: None, attributes })
                .expect("fits");
            Counting(builder.finish())
        }

        fn values(&self, make: impl Fn(Expression) -> Result<Expression>) -> (Vec<u64>, Vec<f32>) {
            let entry = Expression::entry(0, &self.0.entries()[0].shape);
            let recipe = Recipe::new(make(entry).expect("shapes fit"), &self.0, DType::Float32).expect("floats");
            let bytes = recipe.evaluate(self, &Cancel::default()).expect("computes");
            assert_eq!(bytes.len() as u64, recipe.byte_len());
            let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four"))).collect();
            (recipe.shape().axes().to_vec(), values)
        }
    }

    impl WeightsReader for Counting {
        fn catalogue(&self) -> &Catalogue {
            &self.0
        }
        fn read_into(&self, _: usize, out: &mut [u8], _: &Cancel) -> Result<()> {
            self.0.sources()[0].read_exact_at(0, out)
        }
        fn read_strings(&self, _: usize) -> Result<Vec<Vec<u8>>> {
            Ok(Vec::new())
        }
        fn format(&self) -> &'static str {
            "test"
        }
    }

    #[test]
    fn every_step_is_numpys() {
        let table = Counting::new(&[2, 3]);
        let cases: [(Vec<u64>, Vec<f32>, Make); 6] = [
            (vec![3, 2], vec![0., 3., 1., 4., 2., 5.], |x| x.transpose(&[1, 0])),
            // numpy: x.T.reshape(x.shape, order="F") and order="C", from the converter's own documentation.
            (vec![2, 3], vec![0., 2., 4., 1., 3., 5.], |x| {
                x.transpose(&[1, 0])?
                    .reshape(vec![2, 3], Order::ColumnMajor)
                    .and_then(|x| x.reshape(vec![2, 3], Order::RowMajor))
            }),
            (vec![2, 3], vec![0., 3., 1., 4., 2., 5.], |x| x.transpose(&[1, 0])?.reshape(vec![2, 3], Order::RowMajor)),
            (vec![2, 1], vec![1., 4.], |x| x.part(1, 3, 1)),
            (vec![2, 6], vec![0., 1., 2., 0., 1., 2., 3., 4., 5., 3., 4., 5.], |x| {
                Expression::concatenate(vec![x.clone(), x])
            }),
            (vec![2, 3], vec![0., 1.5, 3., 4.5, 6., 7.5], |x| x.clone().half().plus(x)),
        ];
        for (shape, values, make) in cases {
            assert_eq!(table.values(make), (shape, values));
        }
    }

    #[test]
    fn shapes_that_do_not_go_together_are_known_before_anything_is_read() {
        let x = || Expression::entry(0, &Shape::new([2, 3]));
        let code = |result: Result<Expression>| result.map_err(|error| error.code()).err();
        assert_eq!(code(x().transpose(&[3, 2, 0, 1])), Some(Code::Shape));
        assert_eq!(code(x().transpose(&[0, 0])), Some(Code::Shape));
        assert_eq!(code(x().part(1, 2, 0)), Some(Code::Shape));
        assert_eq!(code(x().part(1, 3, 3)), Some(Code::Shape));
        assert_eq!(code(x().reshape(vec![7], Order::RowMajor)), Some(Code::Shape));
        assert_eq!(code(x().plus(Expression::entry(0, &Shape::new([3, 2])))), Some(Code::Shape));
        assert_eq!(code(Expression::concatenate(vec![Expression::entry(0, &Shape::default())])), Some(Code::Shape));
    }
}
