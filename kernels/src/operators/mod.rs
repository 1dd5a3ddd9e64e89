//! The operators of the domain `sparsetransfer.dev`, version 1, as onnxruntime sees them.
//!
//! Weights, scales and biases are constants of the model file, and checked when the session is made.

mod attention;
mod callbacks;
mod convolution;
mod feed_forward;
mod linear;
mod normalization;
mod pointwise;
mod registration;

use std::ffi::CStr;

use ort_sys::ONNXTensorElementDataType as Element;

use crate::activations::Scale;
use crate::blocks::{Blocks, Malformed};
use crate::epilogue::Activation;
use crate::linear::{Linear, Pool};
use crate::products::Isa;
use crate::runtime::{Node, Number, Run};
use crate::shapes::Shapes;

pub use registration::RegisterCustomOps;

/// One input of an operator.
#[derive(Debug, Clone, Copy)]
struct Input {
    element: Element,
    optional: bool,
}

const FLOATS: Input =
    Input { element: Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, optional: false };
const BYTES: Input =
    Input { element: Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, optional: false };
const PLACES: Input =
    Input { element: Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16, optional: false };
const ROUNDED: Input =
    Input { element: Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, optional: false };
const OFFSETS: Input =
    Input { element: Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, optional: false };

/// Place of an operator's first input.
const X: usize = 0;

/// An operator with one result.
trait Operator: Sized + 'static {
    /// In model files.
    const NAME: &'static CStr;
    /// What it reads.
    const INPUTS: &'static [Input];
    /// What its result holds.
    const RESULT: Element;

    /// Reads a node's constants and attributes.
    fn new(node: Node) -> Result<Self, Malformed>;
    /// Tells the shape of the result.
    fn infer(shapes: Shapes) -> Result<(), Malformed>;
    /// Computes the result.
    fn compute(&self, run: Run) -> Result<(), Malformed>;
}

/// An operator that computes rows apart from each other: `[..., inputs]` in, `[..., outputs]` out.
trait RowOperator: Sized + 'static {
    /// What `x` and the result hold.
    type Value: Number;
    /// In model files.
    const NAME: &'static CStr;
    /// Input 0 is `x`.
    const INPUTS: &'static [Input];
    /// How many inputs, from `x` on, are tensors of one shape that are computed; the others are
    /// constants.
    const TENSORS: usize = 1;
    /// Place of an input that has as many values as there are outputs.
    const SCALES: usize;

    /// Reads a node's constants and attributes.
    fn new(node: Node) -> Result<Self, Malformed>;
    /// Size of the last dimension of `x`.
    fn inputs(&self) -> usize;
    /// Size of the last dimension of the result.
    fn outputs(&self) -> usize;
    /// Computes `[rows, outputs]` from tensors `[rows, inputs]`.
    fn run(&self, tensors: &[&[Self::Value]], target: &mut [Self::Value], pool: &dyn Pool);
}

impl<T: RowOperator> Operator for T {
    const NAME: &'static CStr = T::NAME;
    const INPUTS: &'static [Input] = T::INPUTS;
    const RESULT: Element = T::Value::ELEMENT;

    fn new(node: Node) -> Result<Self, Malformed> {
        T::new(node)
    }

    fn infer(shapes: Shapes) -> Result<(), Malformed> {
        shapes.infer(X, T::SCALES, Self::RESULT)
    }

    fn compute(&self, run: Run) -> Result<(), Malformed> {
        let (mut dimensions, x) = run.input::<T::Value>(X)?;
        let mut tensors = vec![x];
        for place in 1..T::TENSORS {
            let (others, values) = run.input::<T::Value>(place)?;
            if others != dimensions {
                return Err(Malformed(format!(
                    "x is {dimensions:?}, but input {place} {others:?}"
                )));
            }
            tensors.push(values);
        }
        let (inputs, outputs) = (self.inputs(), self.outputs());
        match dimensions.last_mut() {
            Some(last) if *last == inputs as i64 => *last = outputs as i64,
            _ => {
                return Err(Malformed(format!(
                    "x is {dimensions:?}; expected {inputs} in its last dimension"
                )));
            }
        }
        let target = run.output(0, &dimensions)?;
        self.run(&tensors, target, &run);
        Ok(())
    }
}

/// Reads a layer, whose inputs are `values`, `columns`, `offsets`, `scales` and perhaps `bias`.
///
/// # Arguments
/// * `node` - The node.
/// * `first` - Place of `values`.
/// * `inputs` - Of the layer.
/// * `activation` - Applied to results.
/// * `scale` - Of its activations, where it is fixed.
fn layer(
    node: Node,
    first: usize,
    inputs: usize,
    activation: Activation,
    scale: Option<Scale>,
) -> Result<Linear, Malformed> {
    let blocks = Blocks::new(
        inputs,
        node.constant::<i32>(first + 2, "offsets")?,
        node.constant::<u16>(first + 1, "columns")?,
        node.constant::<i8>(first, "values")?,
    )?;
    let scales = node.constant::<f32>(first + 3, "scales")?;
    let has_bias = node.inputs()? > first + 4;
    let bias = if has_bias { node.constant::<f32>(first + 4, "bias")? } else { &[] };
    Linear::new(Isa::fastest(), blocks, scales, bias, activation, scale)
}

/// Reads the number of inputs.
fn in_features(node: Node) -> Result<usize, Malformed> {
    let found = node.integer(c"in_features");
    let found = found.ok_or_else(|| Malformed("in_features is missing".into()))?;
    usize::try_from(found)
        .map_err(|_| Malformed(format!("{found} inputs; expected more than none")))
}

/// Reads a scale; None where there is none.
fn scale(node: Node, scale: &CStr, zero_point: &CStr) -> Result<Option<Scale>, Malformed> {
    let Some(found) = node.float(scale) else { return Ok(None) };
    Ok(Some(Scale { scale: found, zero_point: byte(node, zero_point, 0)? }))
}

/// Reads a number from 0 to 255.
fn byte(node: Node, name: &CStr, default: u8) -> Result<u8, Malformed> {
    let found = node.integer(name).unwrap_or(i64::from(default));
    let name = name.to_string_lossy();
    u8::try_from(found).map_err(|_| Malformed(format!("{name} is {found}; expected 0 to 255")))
}

/// Reads what is applied to results.
fn activation(node: Node) -> Result<Activation, Malformed> {
    Activation::named(&node.text(c"activation").unwrap_or_default())
}
