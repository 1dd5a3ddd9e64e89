//! `SparseQConvolution`: a convolution, channels last, with bytes in and bytes out.
//!
//! Inputs: `x` (uint8, `[batch, height, width, channels]`), then constants and scales as
//! `SparseQPointwise` has them, of a layer whose inputs are what a result sees: `[kernel height][kernel
//! width][channels]`. The result is uint8, `[batch, height, width, outputs]`.
//!
//! Attributes beside those of `SparseQPointwise` (int): `kernel_height` and `kernel_width`;
//! `stride_height` and `stride_width`, by default 1; `pad_top`, `pad_left`, `pad_bottom` and
//! `pad_right`, by default 0.

use std::ffi::CStr;

use ort_sys::ONNXTensorElementDataType as Element;

use super::pointwise::{self, SCALES};
use super::{Input, Operator, X};
use crate::blocks::Malformed;
use crate::convolution::{Convolution, Geometry, Pictures};
use crate::runtime::{Node, Number, Run};
use crate::shapes::Shapes;

/// The operator's kernel.
pub struct SparseQConvolution(Convolution);

impl Operator for SparseQConvolution {
    const NAME: &'static CStr = c"SparseQConvolution";
    const INPUTS: &'static [Input] = pointwise::INPUTS;
    const RESULT: Element = u8::ELEMENT;

    fn new(node: Node) -> Result<Self, Malformed> {
        let (layer, zero) = pointwise::read(node)?;
        let geometry = geometry(&|name| node.integer(name))?;
        Convolution::new(layer, zero, geometry).map(Self)
    }

    fn infer(shapes: Shapes) -> Result<(), Malformed> {
        shapes.convolved(X, SCALES, Self::RESULT, &|size| {
            geometry(&|name| shapes.integer(name))?.results(size)
        })
    }

    fn compute(&self, run: Run) -> Result<(), Malformed> {
        let (dimensions, bytes) = run.input::<u8>(X)?;
        let channels = self.0.channels() as i64;
        let [batch, height, width, last] = dimensions[..] else {
            return Err(Malformed(format!("x is {dimensions:?}; expected four dimensions")));
        };
        if last != channels {
            return Err(Malformed(format!(
                "x is {dimensions:?}; expected {channels} in its last dimension"
            )));
        }
        let size = [height, width];
        let [lines, columns] = self.0.geometry().results(size)?;
        let target = run.output(0, &[batch, lines, columns, self.0.outputs() as i64])?;
        self.0.run(Pictures { count: batch as usize, size, bytes }, target, &run)
    }
}

/// Reads what a result sees.
fn geometry(integer: &dyn Fn(&CStr) -> Option<i64>) -> Result<Geometry, Malformed> {
    let needed = |name: &CStr| {
        integer(name).ok_or_else(|| Malformed(format!("{} is missing", name.to_string_lossy())))
    };
    let or = |name, default| integer(name).unwrap_or(default);
    let found = Geometry {
        kernel: [needed(c"kernel_height")?, needed(c"kernel_width")?],
        strides: [or(c"stride_height", 1), or(c"stride_width", 1)],
        before: [or(c"pad_top", 0), or(c"pad_left", 0)],
        after: [or(c"pad_bottom", 0), or(c"pad_right", 0)],
    };
    found.check().map(|()| found)
}
