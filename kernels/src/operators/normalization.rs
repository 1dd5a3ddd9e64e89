//! `AddLayerNormalization`: layer normalization of the sum of two tensors.
//!
//! Inputs: `x` and `skip` (float, `[..., width]`, of one shape), `scale` and `bias` (float, `[width]`,
//! constants). Attribute: `epsilon` (float), by default 1e-5.

use std::ffi::CStr;

use super::{FLOATS, Input, RowOperator};
use crate::blocks::Malformed;
use crate::linear::Pool;
use crate::normalization::AddNormalization;
use crate::products::Isa;
use crate::runtime::Node;

const EPSILON: f32 = 1e-5;

/// The operator's kernel.
pub struct AddLayerNormalization(AddNormalization);

impl RowOperator for AddLayerNormalization {
    type Value = f32;
    const NAME: &'static CStr = c"AddLayerNormalization";
    const INPUTS: &'static [Input] = &[FLOATS, FLOATS, FLOATS, FLOATS];
    const TENSORS: usize = 2;
    const SCALES: usize = 2;

    fn new(node: Node) -> Result<Self, Malformed> {
        let scale = node.constant::<f32>(2, "scale")?;
        let bias = node.constant::<f32>(3, "bias")?;
        let epsilon = node.float(c"epsilon").unwrap_or(EPSILON);
        AddNormalization::new(Isa::fastest(), scale, bias, epsilon).map(Self)
    }

    fn inputs(&self) -> usize {
        self.0.width()
    }

    fn outputs(&self) -> usize {
        self.0.width()
    }

    fn run(&self, tensors: &[&[f32]], target: &mut [f32], pool: &dyn Pool) {
        self.0.run(tensors[0], tensors[1], target, pool);
    }
}
