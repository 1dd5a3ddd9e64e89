//! `SparseQPointwise`: a 1x1 convolution, channels last, with bytes in and bytes out.
//!
//! Inputs: `x` (uint8, `[..., inputs]`), then `values`, `columns`, `offsets`, `scales` and perhaps `bias`
//! as `SparseQLinear` has them. The result is uint8, `[..., outputs]`; outputs are a multiple of four.
//!
//! Attributes: `in_features` (int); `input_scale` (float), `input_zero_point` (int), `output_scale`
//! (float) and `output_zero_point` (int): how bytes stand for floats, where both scales have to be there;
//! `lowest` and `highest` (int), by default 0 and 255: limits of the result's bytes, as a rectifier has
//! them.

use std::ffi::CStr;

use super::{
    BYTES, FLOATS, Input, OFFSETS, PLACES, ROUNDED, RowOperator, byte, in_features, layer, scale,
};
use crate::blocks::Malformed;
use crate::epilogue::Activation;
use crate::linear::Pool;
use crate::pointwise::Pointwise;
use crate::products::Isa;
use crate::runtime::Node;

/// The operator's kernel.
pub struct SparseQPointwise(Pointwise);

/// What the operator reads.
pub const INPUTS: &[Input] =
    &[ROUNDED, BYTES, PLACES, OFFSETS, FLOATS, Input { optional: true, ..FLOATS }];
/// Place of the scales.
pub const SCALES: usize = 4;

/// Reads a layer, and the byte that stands for 0 in its activations.
pub fn read(node: Node) -> Result<(Pointwise, u8), Malformed> {
    let input = scale(node, c"input_scale", c"input_zero_point")?;
    let output = scale(node, c"output_scale", c"output_zero_point")?;
    let output = output.ok_or_else(|| Malformed("output_scale is missing".into()))?;
    let layer = layer(node, 1, in_features(node)?, Activation::None, input)?;
    let limits = [byte(node, c"lowest", 0)?, byte(node, c"highest", u8::MAX)?];
    let zero = input.map_or(0, |input| input.zero_point);
    Ok((Pointwise::new(Isa::fastest(), layer, output, limits)?, zero))
}

impl RowOperator for SparseQPointwise {
    type Value = u8;
    const NAME: &'static CStr = c"SparseQPointwise";
    const INPUTS: &'static [Input] = INPUTS;
    const SCALES: usize = SCALES;

    fn new(node: Node) -> Result<Self, Malformed> {
        read(node).map(|(layer, _)| Self(layer))
    }

    fn inputs(&self) -> usize {
        self.0.inputs()
    }

    fn outputs(&self) -> usize {
        self.0.outputs()
    }

    fn run(&self, tensors: &[&[u8]], target: &mut [u8], pool: &dyn Pool) {
        self.0.run(tensors[0], target, pool);
    }
}
