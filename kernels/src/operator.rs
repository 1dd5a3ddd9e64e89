//! `SparseQLinear` of the domain `sparsetransfer.dev`, version 1.
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
//! of the values at hand; `activation` (string): empty, `relu` or `gelu`. All inputs but `x` are
//! constants, checked when the session is made.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::OnceLock;

use ort_sys::{
    ONNXTensorElementDataType as Element, OrtApi, OrtApiBase, OrtCustomOp,
    OrtCustomOpInputOutputCharacteristic as Characteristic, OrtKernelContext, OrtKernelInfo,
    OrtMemType, OrtSessionOptions, OrtShapeInferContext, OrtStatusPtr,
};

use crate::activations::Scale;
use crate::blocks::{Blocks, Malformed};
use crate::epilogue::Activation;
use crate::linear::Linear;
use crate::products::Isa;
use crate::runtime::{Node, Run, Runtime};
use crate::shapes::Shapes;

const DOMAIN: &CStr = c"sparsetransfer.dev";
const NAME: &CStr = c"SparseQLinear";
/// The oldest interface that has everything that is used here: onnxruntime 1.18.
const API_VERSION: u32 = 18;
/// The interface, as the library was registered with it.
static RUNTIME: OnceLock<Runtime> = OnceLock::new();
const X: usize = 0;
const SCALES: usize = 4;
const BIAS: usize = 5;
const INPUTS: usize = 6;

struct Kernel {
    runtime: Runtime,
    linear: Linear,
}

impl Kernel {
    fn new(node: Node) -> Result<Self, Malformed> {
        let inputs = node
            .integer(c"in_features")
            .ok_or_else(|| Malformed("in_features is missing".into()))?;
        let inputs = usize::try_from(inputs)
            .map_err(|_| Malformed(format!("{inputs} inputs; expected more than none")))?;
        let blocks = Blocks::new(
            inputs,
            node.constant::<i32>(3, "offsets")?,
            node.constant::<u16>(2, "columns")?,
            node.constant::<i8>(1, "values")?,
        )?;
        let bias = if node.inputs()? > BIAS { node.constant::<f32>(BIAS, "bias")? } else { &[] };
        let activation = Activation::named(&node.text(c"activation").unwrap_or_default())?;
        let linear = Linear::new(
            Isa::fastest(),
            blocks,
            node.constant::<f32>(SCALES, "scales")?,
            bias,
            activation,
            input_scale(node)?,
        )?;
        Ok(Self { runtime: node.runtime, linear })
    }

    fn run(&self, context: *mut OrtKernelContext) -> Result<(), Malformed> {
        let run = Run { runtime: self.runtime, context };
        let (mut dimensions, rows) = run.input::<f32>(X)?;
        let (inputs, outputs) = (self.linear.inputs(), self.linear.outputs());
        match dimensions.last_mut() {
            Some(last) if *last == inputs as i64 => *last = outputs as i64,
            _ => {
                return Err(Malformed(format!(
                    "x is {dimensions:?}; expected {inputs} in its last dimension"
                )));
            }
        }
        let target = run.output(0, &dimensions)?;
        self.linear.run(rows, target, &run);
        Ok(())
    }
}

fn input_scale(node: Node) -> Result<Option<Scale>, Malformed> {
    let Some(scale) = node.float(c"input_scale") else { return Ok(None) };
    let zero_point = node.integer(c"input_zero_point").unwrap_or(0);
    let zero_point = u8::try_from(zero_point)
        .map_err(|_| Malformed(format!("input_zero_point is {zero_point}; expected 0 to 255")))?;
    Ok(Some(Scale { scale, zero_point }))
}

/// Runs what may fail; whatever happens stays on this side of the C interface.
fn guarded(runtime: Runtime, work: impl FnOnce() -> Result<(), Malformed>) -> OrtStatusPtr {
    let result = catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Malformed("a defect of the sparse kernels".into())));
    let named = result.map_err(|error| Malformed(format!("SparseQLinear: {error}")));
    runtime.status(named)
}

unsafe extern "system" fn create(
    _: *const OrtCustomOp,
    api: *const OrtApi,
    info: *const OrtKernelInfo,
    kernel: *mut *mut c_void,
) -> OrtStatusPtr {
    // SAFETY: onnxruntime's, which outlives its kernels.
    let runtime = Runtime(unsafe { &*api });
    guarded(runtime, || {
        let made = Box::new(Kernel::new(Node { runtime, info })?);
        // SAFETY: onnxruntime gave the place.
        unsafe { *kernel = Box::into_raw(made).cast() };
        Ok(())
    })
}

unsafe extern "system" fn compute(
    kernel: *mut c_void,
    context: *mut OrtKernelContext,
) -> OrtStatusPtr {
    // SAFETY: made by `create`.
    let kernel = unsafe { &*kernel.cast::<Kernel>() };
    guarded(kernel.runtime, || kernel.run(context))
}

unsafe extern "system" fn destroy(kernel: *mut c_void) {
    // SAFETY: made by `create`, and destroyed once.
    drop(unsafe { Box::from_raw(kernel.cast::<Kernel>()) });
}

unsafe extern "system" fn name(_: *const OrtCustomOp) -> *const c_char {
    NAME.as_ptr()
}

unsafe extern "system" fn provider(_: *const OrtCustomOp) -> *const c_char {
    std::ptr::null()
}

unsafe extern "system" fn input_type(_: *const OrtCustomOp, index: usize) -> Element {
    match index {
        1 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        2 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
        3 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        _ => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
    }
}

unsafe extern "system" fn input_count(_: *const OrtCustomOp) -> usize {
    INPUTS
}

unsafe extern "system" fn output_type(_: *const OrtCustomOp, _: usize) -> Element {
    Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT
}

unsafe extern "system" fn output_count(_: *const OrtCustomOp) -> usize {
    1
}

unsafe extern "system" fn input_characteristic(
    _: *const OrtCustomOp,
    index: usize,
) -> Characteristic {
    if index == BIAS {
        Characteristic::INPUT_OUTPUT_OPTIONAL
    } else {
        Characteristic::INPUT_OUTPUT_REQUIRED
    }
}

unsafe extern "system" fn output_characteristic(_: *const OrtCustomOp, _: usize) -> Characteristic {
    Characteristic::INPUT_OUTPUT_REQUIRED
}

unsafe extern "system" fn input_memory(_: *const OrtCustomOp, _: usize) -> OrtMemType {
    OrtMemType::OrtMemTypeDefault
}

unsafe extern "system" fn infer_shape(
    _: *const OrtCustomOp,
    context: *mut OrtShapeInferContext,
) -> OrtStatusPtr {
    // The function gets no interface of its own; without one there is nothing to tell it by.
    let Some(runtime) = RUNTIME.get() else { return OrtStatusPtr(null_mut()) };
    guarded(*runtime, || Shapes { runtime: *runtime, context }.infer(X, SCALES))
}

unsafe extern "system" fn arity(_: *const OrtCustomOp) -> c_int {
    1
}

unsafe extern "system" fn version(_: *const OrtCustomOp) -> c_int {
    1
}

static OPERATOR: OrtCustomOp = OrtCustomOp {
    version: API_VERSION,
    CreateKernel: None,
    GetName: Some(name),
    GetExecutionProviderType: Some(provider),
    GetInputType: Some(input_type),
    GetInputTypeCount: Some(input_count),
    GetOutputType: Some(output_type),
    GetOutputTypeCount: Some(output_count),
    KernelCompute: None,
    KernelDestroy: Some(destroy),
    GetInputCharacteristic: Some(input_characteristic),
    GetOutputCharacteristic: Some(output_characteristic),
    GetInputMemoryType: Some(input_memory),
    GetVariadicInputMinArity: Some(arity),
    GetVariadicInputHomogeneity: Some(arity),
    GetVariadicOutputMinArity: Some(arity),
    GetVariadicOutputHomogeneity: Some(arity),
    CreateKernelV2: Some(create),
    KernelComputeV2: Some(compute),
    InferOutputShapeFn: Some(infer_shape),
    GetStartVersion: Some(version),
    GetEndVersion: Some(version),
    GetMayInplace: None,
    ReleaseMayInplace: None,
    GetAliasMap: None,
    ReleaseAliasMap: None,
};

/// Adds the operators to a session's options: what onnxruntime looks for in a library.
///
/// # Safety
/// Called by onnxruntime.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RegisterCustomOps(
    options: *mut OrtSessionOptions,
    base: *const OrtApiBase,
) -> OrtStatusPtr {
    // SAFETY: onnxruntime's.
    let Some(api) = (unsafe { ((*base).GetApi)(API_VERSION).as_ref() }) else {
        // An older onnxruntime: there is no interface by which it could be told.
        return OrtStatusPtr(null_mut());
    };
    let runtime = *RUNTIME.get_or_init(|| Runtime(api));
    let register = || {
        let mut domain = null_mut();
        // SAFETY: the operator lives as long as the library.
        unsafe {
            runtime.check((api.CreateCustomOpDomain)(DOMAIN.as_ptr(), &mut domain))?;
            runtime.check((api.CustomOpDomain_Add)(domain, &OPERATOR))?;
            runtime.check((api.AddCustomOpDomain)(options, domain))
        }
    };
    runtime.status(register())
}
