//! The functions of an operator that onnxruntime calls; each keeps what happens on this side of the C
//! interface.

use std::ffi::{c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use ort_sys::{
    ONNXTensorElementDataType as Element, OrtApi, OrtCustomOp,
    OrtCustomOpInputOutputCharacteristic as Characteristic, OrtKernelContext, OrtKernelInfo,
    OrtMemType, OrtShapeInferContext, OrtStatusPtr,
};

use super::Operator;
use super::registration::{API_VERSION, registered};
use crate::blocks::Malformed;
use crate::runtime::{Node, Run, Runtime};
use crate::shapes::Shapes;

struct Kernel<T> {
    runtime: Runtime,
    operator: T,
}

/// Runs what may fail.
fn guarded<T: Operator>(
    runtime: Runtime,
    work: impl FnOnce() -> Result<(), Malformed>,
) -> OrtStatusPtr {
    let result = catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Malformed("a defect of the sparse kernels".into())));
    let name = T::NAME.to_string_lossy();
    runtime.status(result.map_err(|error| Malformed(format!("{name}: {error}"))))
}

unsafe extern "system" fn create<T: Operator>(
    _: *const OrtCustomOp,
    api: *const OrtApi,
    info: *const OrtKernelInfo,
    kernel: *mut *mut c_void,
) -> OrtStatusPtr {
    // SAFETY: onnxruntime's, which outlives its kernels.
    let runtime = Runtime(unsafe { &*api });
    guarded::<T>(runtime, || {
        let operator = T::new(Node { runtime, info })?;
        let made = Box::new(Kernel { runtime, operator });
        // SAFETY: onnxruntime gave the place.
        unsafe { *kernel = Box::into_raw(made).cast() };
        Ok(())
    })
}

unsafe extern "system" fn compute<T: Operator>(
    kernel: *mut c_void,
    context: *mut OrtKernelContext,
) -> OrtStatusPtr {
    // SAFETY: made by `create`.
    let kernel = unsafe { &*kernel.cast::<Kernel<T>>() };
    guarded::<T>(kernel.runtime, || {
        kernel.operator.compute(Run { runtime: kernel.runtime, context })
    })
}

unsafe extern "system" fn destroy<T: Operator>(kernel: *mut c_void) {
    // SAFETY: made by `create`, and destroyed once.
    drop(unsafe { Box::from_raw(kernel.cast::<Kernel<T>>()) });
}

unsafe extern "system" fn infer_shape<T: Operator>(
    _: *const OrtCustomOp,
    context: *mut OrtShapeInferContext,
) -> OrtStatusPtr {
    // The function gets no interface of its own; without one there is nothing to tell it by.
    let Some(runtime) = registered() else { return OrtStatusPtr(null_mut()) };
    guarded::<T>(runtime, || T::infer(Shapes { runtime, context }))
}

unsafe extern "system" fn name<T: Operator>(_: *const OrtCustomOp) -> *const c_char {
    T::NAME.as_ptr()
}

unsafe extern "system" fn provider(_: *const OrtCustomOp) -> *const c_char {
    std::ptr::null()
}

unsafe extern "system" fn input_type<T: Operator>(_: *const OrtCustomOp, index: usize) -> Element {
    let undefined = Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    T::INPUTS.get(index).map_or(undefined, |input| input.element)
}

unsafe extern "system" fn input_count<T: Operator>(_: *const OrtCustomOp) -> usize {
    T::INPUTS.len()
}

unsafe extern "system" fn output_type<T: Operator>(_: *const OrtCustomOp, _: usize) -> Element {
    T::RESULT
}

unsafe extern "system" fn output_count(_: *const OrtCustomOp) -> usize {
    1
}

unsafe extern "system" fn input_characteristic<T: Operator>(
    _: *const OrtCustomOp,
    index: usize,
) -> Characteristic {
    if T::INPUTS.get(index).is_some_and(|input| input.optional) {
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

unsafe extern "system" fn arity(_: *const OrtCustomOp) -> c_int {
    1
}

unsafe extern "system" fn version(_: *const OrtCustomOp) -> c_int {
    1
}

/// Returns an operator's functions.
pub const fn callbacks<T: Operator>() -> OrtCustomOp {
    OrtCustomOp {
        version: API_VERSION,
        CreateKernel: None,
        GetName: Some(name::<T>),
        GetExecutionProviderType: Some(provider),
        GetInputType: Some(input_type::<T>),
        GetInputTypeCount: Some(input_count::<T>),
        GetOutputType: Some(output_type::<T>),
        GetOutputTypeCount: Some(output_count),
        KernelCompute: None,
        KernelDestroy: Some(destroy::<T>),
        GetInputCharacteristic: Some(input_characteristic::<T>),
        GetOutputCharacteristic: Some(output_characteristic),
        GetInputMemoryType: Some(input_memory),
        GetVariadicInputMinArity: Some(arity),
        GetVariadicInputHomogeneity: Some(arity),
        GetVariadicOutputMinArity: Some(arity),
        GetVariadicOutputHomogeneity: Some(arity),
        CreateKernelV2: Some(create::<T>),
        KernelComputeV2: Some(compute::<T>),
        InferOutputShapeFn: Some(infer_shape::<T>),
        GetStartVersion: Some(version),
        GetEndVersion: Some(version),
        GetMayInplace: None,
        ReleaseMayInplace: None,
        GetAliasMap: None,
        ReleaseAliasMap: None,
    }
}
