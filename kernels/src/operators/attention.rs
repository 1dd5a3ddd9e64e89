//! `SelfAttention`: `softmax(query * key^T * scale + mask) * value`, head by head.
//!
//! Inputs: `query`, `key` and `value` (float, `[batch, tokens, heads * size]`, as the layers before put
//! them out) and `mask` (float, added to scores, of no more than these dimensions:
//! `[1 or batch, 1 or heads, 1 or tokens, 1 or tokens]`); all are computed, and their shapes checked at
//! each run. Attributes: `head_size` (int) and `scale` (float, of scores before the mask is added), both
//! required.

use std::ffi::CStr;

use ort_sys::ONNXTensorElementDataType as Element;

use super::{FLOATS, Input, Operator, X};
use crate::attention::{Arithmetic, SelfAttention, Tensor, Tensors};
use crate::blocks::Malformed;
use crate::runtime::{Node, Number, Run};
use crate::shapes::Shapes;

/// The operator's kernel.
pub struct HeadAttention(SelfAttention);

impl Operator for HeadAttention {
    const NAME: &'static CStr = c"SelfAttention";
    const INPUTS: &'static [Input] = &[FLOATS; 4];
    const RESULT: Element = f32::ELEMENT;

    fn new(node: Node) -> Result<Self, Malformed> {
        let missing = |name: &str| Malformed(format!("{name} is missing"));
        let size = node.integer(c"head_size").ok_or_else(|| missing("head_size"))?;
        let scale = node.float(c"scale").ok_or_else(|| missing("scale"))?;
        SelfAttention::new(Arithmetic::fastest(), size, scale).map(Self)
    }

    fn infer(shapes: Shapes) -> Result<(), Malformed> {
        shapes.same(X, Self::RESULT)
    }

    fn compute(&self, run: Run) -> Result<(), Malformed> {
        let inputs = [run.input(0)?, run.input(1)?, run.input(2)?, run.input(3)?];
        let [query, key, value, mask] =
            inputs.each_ref().map(|(dimensions, values)| Tensor { dimensions, values });
        let target = run.output(0, query.dimensions)?;
        self.0.run(Tensors { query, key, value, mask }, target, &run)
    }
}
