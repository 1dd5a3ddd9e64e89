//! `SparseQLinear`: one layer.
//!
//! | input | type | shape | |
//! |---|---|---|---|
//! | `x` | float | `[..., inputs]` | activations |
//! | `values` | int8 | `[blocks, 4]` | weights of each block |
//! | `columns` | uint16 | `[blocks]` | place of each block among the inputs, in blocks |
//! | `offsets` | int32 | `[outputs + 1]` | each output's first block, and the number of blocks |
//! | `scales` | float | `[outputs]` | of each output's weights |
//! | `bias` | float | `[outputs]` | optional |
//!
//! Attributes: `in_features` (int); `input_scale` (float) and `input_zero_point` (int), by default those
//! of the values at hand; `activation` (string): empty, `relu` or `gelu`.

use std::ffi::CStr;

use super::{
    BYTES, FLOATS, Input, OFFSETS, PLACES, RowOperator, activation, in_features, layer, scale,
};
use crate::blocks::Malformed;
use crate::linear::{Linear, Pool};
use crate::runtime::Node;

/// The operator's kernel.
pub struct SparseQLinear(Linear);

impl RowOperator for SparseQLinear {
    type Value = f32;
    const NAME: &'static CStr = c"SparseQLinear";
    const INPUTS: &'static [Input] =
        &[FLOATS, BYTES, PLACES, OFFSETS, FLOATS, Input { optional: true, ..FLOATS }];
    const SCALES: usize = 4;

    fn new(node: Node) -> Result<Self, Malformed> {
        let scale = scale(node, c"input_scale", c"input_zero_point")?;
        layer(node, 1, in_features(node)?, activation(node)?, scale).map(Self)
    }

    fn inputs(&self) -> usize {
        self.0.inputs()
    }

    fn outputs(&self) -> usize {
        self.0.outputs()
    }

    fn run(&self, tensors: &[&[f32]], target: &mut [f32], pool: &dyn Pool) {
        self.0.run(tensors[0], target, pool);
    }
}
