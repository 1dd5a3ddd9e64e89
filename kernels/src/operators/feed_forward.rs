//! `SparseQFeedForward`: two layers, one after the other, with bytes between them.
//!
//! Inputs: `x`, then `values`, `columns`, `offsets`, `scales` and `bias` of the first layer, then those
//! of the second, as `SparseQLinear` has them; no bias is optional.
//!
//! Attributes: `in_features` (int, of the first layer); `input_scale` and `input_zero_point` as
//! `SparseQLinear` has them; `activation` (string), applied between the layers; `hidden_scale` (float)
//! and `hidden_zero_point` (int), of what the second layer reads.

use std::ffi::CStr;

use super::{
    BYTES, FLOATS, Input, OFFSETS, PLACES, RowOperator, activation, in_features, layer, scale,
};
use crate::blocks::Malformed;
use crate::epilogue::Activation;
use crate::feed_forward::FeedForward;
use crate::linear::Pool;
use crate::products::Isa;
use crate::runtime::Node;

/// The operator's kernel.
pub struct SparseQFeedForward(FeedForward);

impl RowOperator for SparseQFeedForward {
    type Value = f32;
    const NAME: &'static CStr = c"SparseQFeedForward";
    const INPUTS: &'static [Input] =
        &[FLOATS, BYTES, PLACES, OFFSETS, FLOATS, FLOATS, BYTES, PLACES, OFFSETS, FLOATS, FLOATS];
    const SCALES: usize = 9;

    fn new(node: Node) -> Result<Self, Malformed> {
        let first_scale = scale(node, c"input_scale", c"input_zero_point")?;
        let hidden = scale(node, c"hidden_scale", c"hidden_zero_point")?;
        let first = layer(node, 1, in_features(node)?, activation(node)?, first_scale)?;
        let second = layer(node, 6, first.outputs(), Activation::None, hidden)?;
        FeedForward::new(Isa::fastest(), first, second).map(Self)
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
