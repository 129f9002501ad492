//! Weights of old layers: Keras 1, `CuDNN`, and kernels with their axes in another order.
//!
//! A Keras 2 model runs every layer of a legacy file through this (`preprocess_weights_for_loading`);
//! Keras 3 takes the values as they are.

use kw_model::{Code, Result, Shape, WeightsError};

use crate::orders::Orders;
use crate::recipe::{Expression, Order};
use crate::tree::{Attribute, Converter, ModelTree, Node};

/// What one weight of a layer gets.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    /// A value of the file.
    Value(Expression),
    /// The value it has: Keras 2 hands a nested model's own variables back to themselves.
    Keep,
}

/// Converts the values of one layer of a legacy file.
pub(crate) struct Converters<'t> {
    pub(crate) tree: &'t ModelTree,
    pub(crate) orders: &'t Orders<'t>,
    /// True for files without a `keras_version`, which are Keras 1's.
    pub(crate) keras1: bool,
}

impl Converters<'_> {
    /// The pieces in the layer's legacy order, as many as the file's layout yields.
    pub(crate) fn convert(&self, index: usize, values: Vec<Piece>) -> Result<Vec<Piece>> {
        self.layer(index, values, 0)
    }

    fn layer(&self, index: usize, values: Vec<Piece>, depth: u32) -> Result<Vec<Piece>> {
        if depth > crate::orders::MAX_DEPTH {
            return Err(WeightsError::limit("nested layers", depth.into(), crate::orders::MAX_DEPTH.into(), "levels"));
        }
        let node = self.tree.node(index)?;
        let deeper = depth.saturating_add(1);
        let values = match node.class.as_str() {
            "Bidirectional" => {
                let mut first = values;
                let second = first.split_off(first.len() / 2);
                let mut converted = self.layer(child(node, "forward_layer")?, first, deeper)?;
                converted.extend(self.layer(child(node, "backward_layer")?, second, deeper)?);
                converted
            }
            // Keras 2 converts what is inside a second time for Keras 1 files, and fails; once is what is meant.
            "TimeDistributed" => self.layer(child(node, "layer")?, values, deeper)?,
            "Model" | "Sequential" | "Functional" => self.nested_model(index, node, values, deeper)?,
            _ => values,
        };
        let values = if self.keras1 { keras1(node, values)? } else { values };
        let values = self.wrong_axes(index, node, values)?;
        recurrent(node, values)
    }

    /// Trainable weights of all layers stand before the others in the file; each layer is converted on its own.
    fn nested_model(&self, index: usize, node: &Node, values: Vec<Piece>, depth: u32) -> Result<Vec<Piece>> {
        let count = self.orders.trainable_weights(index)?.len().min(values.len());
        let mut trainable = values;
        let mut others = trainable.split_off(count);
        let (mut new_trainable, mut new_others) = (Vec::new(), Vec::new());
        for &layer in &node.layers {
            let own_trainable = self.orders.trainable_weights(layer)?.len();
            let own_others = self.orders.non_trainable_weights(layer)?.len();
            if own_trainable == 0 && own_others == 0 {
                continue;
            }
            let mut pieces: Vec<Piece> = trainable.drain(..own_trainable.min(trainable.len())).collect();
            pieces.extend(others.drain(..own_others.min(others.len())));
            let mut converted = self.layer(layer, pieces, depth)?;
            new_others.extend(converted.split_off(own_trainable.min(converted.len())));
            new_trainable.extend(converted);
        }
        new_trainable.extend(node.trainable_variables.iter().map(|_| Piece::Keep));
        new_others.extend(node.non_trainable_variables.iter().map(|_| Piece::Keep));
        new_trainable.extend(new_others);
        Ok(new_trainable)
    }

    /// A convolution whose kernel has not the shape of the layer's is taken for one of Theano's axis order.
    fn wrong_axes(&self, index: usize, node: &Node, mut values: Vec<Piece>) -> Result<Vec<Piece>> {
        if !["Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "ConvLSTM2D"].contains(&node.class.as_str()) {
            return Ok(values);
        }
        let first = self.orders.weights(index)?.first().copied();
        if let (Some(first), Some(Piece::Value(kernel))) = (first, values.first())
            && kernel.shape() != self.tree.variable(first)?.shape
        {
            change(&mut values, 0, |kernel| kernel.transpose(&[3, 2, 0, 1]))?;
            if node.class == "ConvLSTM2D" {
                change(&mut values, 1, |kernel| kernel.transpose(&[3, 2, 0, 1]))?;
            }
        }
        Ok(values)
    }
}

fn child(node: &Node, name: &str) -> Result<usize> {
    match node.attribute(name) {
        Some(Attribute::Node(index)) => Ok(*index),
        _ => Err(WeightsError::new(
            Code::Argument,
            format!("the model tree gives no attribute {name:?} for the {} layer {}", node.class, node.label()),
        )),
    }
}

fn change(values: &mut [Piece], index: usize, with: impl FnOnce(Expression) -> Result<Expression>) -> Result<()> {
    if let Some(Piece::Value(value)) = values.get_mut(index) {
        *value = with(value.clone())?;
    }
    Ok(())
}

/// The values as expressions, when there are exactly `N`.
fn all<const N: usize>(values: &[Piece]) -> Option<[Expression; N]> {
    let expressions: Vec<Expression> = values
        .iter()
        .filter_map(|piece| match piece {
            Piece::Value(value) => Some(value.clone()),
            Piece::Keep => None,
        })
        .collect();
    if expressions.len() == values.len() { expressions.try_into().ok() } else { None }
}

fn pieces<const N: usize>(values: [Expression; N]) -> Vec<Piece> {
    values.into_iter().map(Piece::Value).collect()
}

/// Layouts of Keras 1.
fn keras1(node: &Node, mut values: Vec<Piece>) -> Result<Vec<Piece>> {
    let plain = Converter::default();
    let converter = node.converter.as_ref().unwrap_or(&plain);
    let channels_first = converter.data_format.as_deref() == Some("channels_first");
    match node.class.as_str() {
        "Conv1D" => change(&mut values, 0, |kernel| conv1d(kernel, converter))?,
        "Conv2D" if channels_first => change(&mut values, 0, |kernel| kernel.transpose(&[2, 3, 1, 0]))?,
        "Conv2DTranspose" => {
            let axes = if channels_first { [2, 3, 0, 1] } else { [0, 1, 3, 2] };
            change(&mut values, 0, |kernel| kernel.transpose(&axes))?;
        }
        "Conv3D" if channels_first => change(&mut values, 0, |kernel| kernel.transpose(&[2, 3, 4, 1, 0]))?,
        "GRU" => {
            if let Some([k0, r0, b0, k1, r1, b1, k2, r2, b2]) = all::<9>(&values) {
                let join = |parts: [Expression; 3]| Expression::concatenate(parts.into());
                values = pieces([join([k0, k1, k2])?, join([r0, r1, r2])?, join([b0, b1, b2])?]);
            }
        }
        "LSTM" | "ConvLSTM2D" => {
            // The file has the gates in the order i, c, f, o.
            if let Some([ki, ri, bi, kc, rc, bc, kf, rf, bf, ko, ro, bo]) = all::<12>(&values) {
                let join = |parts: [Expression; 4]| Expression::concatenate(parts.into());
                let mut kernel = join([ki, kf, kc, ko])?;
                let mut recurrent = join([ri, rf, rc, ro])?;
                let bias = join([bi, bf, bc, bo])?;
                if node.class == "ConvLSTM2D" && channels_first {
                    kernel = kernel.transpose(&[2, 3, 1, 0])?;
                    recurrent = recurrent.transpose(&[2, 3, 1, 0])?;
                }
                values = pieces([kernel, recurrent, bias]);
            }
        }
        _ => {}
    }
    Ok(values)
}

/// Keras 1 kept a one-dimensional kernel with an axis of one.
fn conv1d(kernel: Expression, converter: &Converter) -> Result<Expression> {
    let (Some(&[length]), Some(filters)) = (converter.kernel_size.as_deref(), converter.filters) else {
        return Err(WeightsError::new(Code::Argument, "the model tree gives no kernelSize and filters for a Conv1D"));
    };
    let shape = kernel.shape();
    let kernel = match *shape.axes() {
        [first, 1, _, last] if first == length && last == filters => kernel,
        [first, _, third, 1] if first == filters && third == length => kernel.transpose(&[2, 3, 1, 0])?,
        _ => {
            let message = format!("{shape} is no kernel of a Keras 1 Conv1D with {filters} filters of length {length}");
            return Err(WeightsError::new(Code::Shape, message).found(shape));
        }
    };
    let [length, _, input, filters] = *kernel.shape().axes() else {
        return Err(WeightsError::new(Code::Internal, "a checked kernel changed its rank"));
    };
    kernel.reshape(vec![length, input, filters], Order::RowMajor)
}

/// Between the plain and the `CuDNN` layouts of LSTM and GRU, told apart by the bias.
fn recurrent(node: &Node, values: Vec<Piece>) -> Result<Vec<Piece>> {
    let gates: u64 = match node.class.as_str() {
        "LSTM" | "CuDNNLSTM" => 4,
        "GRU" | "CuDNNGRU" => 3,
        _ => return Ok(values),
    };
    let Some([kernel, recurrent, bias]) = all::<3>(&values) else { return Ok(values) };
    let units = recurrent.shape().axes().first().copied().unwrap_or_default();
    let (one, both) = (units.saturating_mul(gates), units.saturating_mul(gates).saturating_mul(2));
    let shape = bias.shape();
    let invalid = || {
        let message = format!("a bias of shape {shape} belongs to no layout of {} with {units} units", node.class);
        WeightsError::new(Code::Shape, message).found(shape.clone())
    };
    if gates == 4 {
        let from_cudnn = match *shape.axes() {
            [length] if length == both => true,
            [length] if length == one => false,
            _ => return Err(invalid()),
        };
        if from_cudnn == (node.class == "CuDNNLSTM") {
            return Ok(values);
        }
        let (kernel, recurrent) = kernels(&kernel, &recurrent, gates, from_cudnn)?;
        let bias = if from_cudnn {
            // CuDNN has a bias for the input and one for the recurrent product.
            bias.clone().part(0, 2, 0)?.plus(bias.part(0, 2, 1)?)?
        } else {
            Expression::concatenate(vec![bias.clone().half(), bias.half()])?
        };
        return Ok(pieces([kernel, recurrent, bias]));
    }
    let source = match *shape.axes() {
        [length] if length == both => Gru::Cudnn,
        [2, length] if length == one => Gru::ResetAfter,
        [length] if length == one => Gru::ResetBefore,
        _ => return Err(invalid()),
    };
    let reset_after = node.converter.as_ref().and_then(|converter| converter.reset_after);
    let target = match (node.class.as_str(), reset_after) {
        ("CuDNNGRU", _) => Gru::Cudnn,
        (_, Some(true)) => Gru::ResetAfter,
        (_, _) => Gru::ResetBefore,
    };
    match (source, target) {
        (source, target) if source == target => Ok(values),
        (Gru::ResetBefore, _) | (_, Gru::ResetBefore) => {
            let message = format!("{} is not compatible with {}", source.name(), target.name());
            Err(WeightsError::new(Code::Shape, message).expected(target.name()).found(source.name()))
        }
        (source, _) => {
            let from_cudnn = source == Gru::Cudnn;
            let (kernel, recurrent) = kernels(&kernel, &recurrent, gates, from_cudnn)?;
            let bias = bias.reshape(if from_cudnn { vec![2, one] } else { vec![both] }, Order::RowMajor)?;
            Ok(pieces([kernel, recurrent, bias]))
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gru {
    Cudnn,
    ResetAfter,
    ResetBefore,
}

impl Gru {
    /// As Keras calls them.
    const fn name(self) -> &'static str {
        match self {
            Gru::Cudnn => "CuDNNGRU",
            Gru::ResetAfter => "GRU(reset_after=True)",
            Gru::ResetBefore => "GRU(reset_after=False)",
        }
    }
}

/// Gate by gate: input kernels keep their shape but change between row-major and column-major, recurrent kernels are
/// transposed.
fn kernels(
    kernel: &Expression,
    recurrent: &Expression,
    gates: u64,
    from_cudnn: bool,
) -> Result<(Expression, Expression)> {
    let order = if from_cudnn { Order::ColumnMajor } else { Order::RowMajor };
    let (mut inputs, mut recurrents) = (Vec::new(), Vec::new());
    for gate in 0..gates {
        let part = matrix(kernel)?.clone().part(1, gates, gate)?;
        let shape: Shape = part.shape();
        inputs.push(part.transpose(&[1, 0])?.reshape(shape.axes().to_vec(), order)?);
        recurrents.push(matrix(recurrent)?.clone().part(1, gates, gate)?.transpose(&[1, 0])?);
    }
    Ok((Expression::concatenate(inputs)?, Expression::concatenate(recurrents)?))
}

fn matrix(kernel: &Expression) -> Result<&Expression> {
    if kernel.shape().rank() == 2 {
        return Ok(kernel);
    }
    let message = format!("a recurrent layer's kernel is a matrix, the file has shape {}", kernel.shape());
    Err(WeightsError::new(Code::Shape, message).found(kernel.shape()))
}
