//! Tensor shapes and the one place where element and byte counts are computed.

use crate::{Code, DType, Result, WeightsError};

/// Elements along each axis, row-major (C order). An empty shape is a scalar.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<u64>);

impl Shape {
    /// A shape from its axes.
    pub fn new(axes: impl Into<Vec<u64>>) -> Self {
        Shape(axes.into())
    }

    /// Elements along each axis.
    pub fn axes(&self) -> &[u64] {
        &self.0
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Number of elements.
    ///
    /// # Errors
    /// [`Code::Corrupt`] when the product does not fit in 64 bits.
    pub fn num_elements(&self) -> Result<u64> {
        // A zero axis makes the product zero whatever the others are.
        if self.0.contains(&0) {
            return Ok(0);
        }
        self.0.iter().try_fold(1_u64, |product, &axis| product.checked_mul(axis)).ok_or_else(|| {
            WeightsError::new(Code::Corrupt, format!("the shape {self} has more elements than 64 bits can count"))
        })
    }

    /// Bytes of a dense tensor of this shape.
    ///
    /// # Errors
    /// [`Code::Corrupt`] when the count does not fit in 64 bits.
    ///
    /// ```
    /// use kw_model::{DType, Shape};
    /// assert_eq!(Shape::new([784, 64]).byte_len(DType::Float32)?, 200_704);
    /// assert_eq!(Shape::default().byte_len(DType::Int64)?, 8);
    /// assert!(Shape::new([u64::MAX, 2]).byte_len(DType::Int8).is_err());
    /// # Ok::<(), kw_model::WeightsError>(())
    /// ```
    pub fn byte_len(&self, dtype: DType) -> Result<u64> {
        self.num_elements()?.checked_mul(dtype.size() as u64).ok_or_else(|| {
            WeightsError::new(
                Code::Corrupt,
                format!("a {dtype} tensor of shape {self} has more bytes than 64 bits can count"),
            )
        })
    }
}

impl From<&[u64]> for Shape {
    fn from(axes: &[u64]) -> Self {
        Shape(axes.to_vec())
    }
}

/// As Python prints a tuple: `()`, `(3,)`, `(784, 64)`.
impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let axes: Vec<String> = self.0.iter().map(u64::to_string).collect();
        match axes.as_slice() {
            [one] => write!(f, "({one},)"),
            _ => write!(f, "({})", axes.join(", ")),
        }
    }
}
