//! What is needed of onnxruntime's C interface, with its statuses turned into results.

use std::ffi::{CStr, CString, c_void};
use std::ptr::{null, null_mut};

use ort_sys::{
    ONNXTensorElementDataType as Element, OrtApi, OrtErrorCode, OrtKernelContext, OrtKernelInfo,
    OrtStatusPtr, OrtValue,
};

use crate::blocks::Malformed;
use crate::linear::Pool;

/// A value that a tensor holds.
pub trait Number: Copy + 'static {
    /// As onnxruntime names it.
    const ELEMENT: Element;
}

macro_rules! numbers {
    ($($type:ty => $element:ident),*) => {
        $(impl Number for $type {
            const ELEMENT: Element = Element::$element;
        })*
    };
}

numbers!(
    f32 => ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
    u8 => ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
    i8 => ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
    u16 => ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
    i32 => ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32
);

/// The interface's functions.
#[derive(Clone, Copy)]
pub struct Runtime(pub &'static OrtApi);

impl Runtime {
    /// Turns a status into a result; frees it.
    pub fn check(self, status: OrtStatusPtr) -> Result<(), Malformed> {
        if status.0.is_null() {
            return Ok(());
        }
        // SAFETY: the status is onnxruntime's, and nobody uses it afterwards.
        unsafe {
            let message = CStr::from_ptr((self.0.GetErrorMessage)(status.0));
            let told = message.to_string_lossy().into_owned();
            (self.0.ReleaseStatus)(status.0);
            Err(Malformed(told))
        }
    }

    /// Turns a result into a status.
    pub fn status(self, result: Result<(), Malformed>) -> OrtStatusPtr {
        match result {
            Ok(()) => OrtStatusPtr(null_mut()),
            Err(error) => {
                let told = error.to_string().replace('\0', " ");
                let told = CString::new(told).unwrap_or_default();
                // SAFETY: onnxruntime copies the text.
                unsafe { (self.0.CreateStatus)(OrtErrorCode::ORT_INVALID_ARGUMENT, told.as_ptr()) }
            }
        }
    }

    /// Returns a tensor's dimensions and values.
    ///
    /// # Safety
    /// The value lives as long as the slice is used.
    pub unsafe fn tensor<'a, T: Number>(
        self,
        value: *const OrtValue,
    ) -> Result<(Vec<i64>, &'a [T]), Malformed> {
        // SAFETY: the value is onnxruntime's.
        unsafe {
            let mut info = null_mut();
            self.check((self.0.GetTensorTypeAndShape)(value, &mut info))?;
            let shape = self.shape::<T>(info);
            (self.0.ReleaseTensorTypeAndShapeInfo)(info);
            let (dimensions, count) = shape?;
            let mut data: *mut c_void = null_mut();
            self.check((self.0.GetTensorMutableData)(value.cast_mut(), &mut data))?;
            let values =
                if count == 0 { &[] } else { std::slice::from_raw_parts(data.cast(), count) };
            Ok((dimensions, values))
        }
    }

    /// # Safety
    /// The information is onnxruntime's.
    unsafe fn shape<T: Number>(
        self,
        info: *const ort_sys::OrtTensorTypeAndShapeInfo,
    ) -> Result<(Vec<i64>, usize), Malformed> {
        // SAFETY: the caller's promise.
        unsafe {
            let mut element = Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
            self.check((self.0.GetTensorElementType)(info, &mut element))?;
            if element != T::ELEMENT {
                return Err(Malformed(format!(
                    "a tensor of {element:?}; expected {:?}",
                    T::ELEMENT
                )));
            }
            let mut rank = 0;
            self.check((self.0.GetDimensionsCount)(info, &mut rank))?;
            let mut dimensions = vec![0i64; rank];
            self.check((self.0.GetDimensions)(info, dimensions.as_mut_ptr(), rank))?;
            let mut count = 0;
            self.check((self.0.GetTensorShapeElementCount)(info, &mut count))?;
            Ok((dimensions, count))
        }
    }
}

/// A node, while its kernel is made.
#[derive(Clone, Copy)]
pub struct Node {
    /// The interface.
    pub runtime: Runtime,
    /// Onnxruntime's.
    pub info: *const OrtKernelInfo,
}

impl Node {
    /// Returns an integer attribute; None where the node has none of that name.
    pub fn integer(self, name: &CStr) -> Option<i64> {
        let mut found = 0;
        // SAFETY: the node is onnxruntime's.
        let status = unsafe {
            (self.runtime.0.KernelInfoGetAttribute_int64)(self.info, name.as_ptr(), &mut found)
        };
        self.runtime.check(status).is_ok().then_some(found)
    }

    /// Returns a float attribute; None where the node has none of that name.
    pub fn float(self, name: &CStr) -> Option<f32> {
        let mut found = 0.0;
        // SAFETY: the node is onnxruntime's.
        let status = unsafe {
            (self.runtime.0.KernelInfoGetAttribute_float)(self.info, name.as_ptr(), &mut found)
        };
        self.runtime.check(status).is_ok().then_some(found)
    }

    /// Returns a string attribute; None where the node has none of that name.
    pub fn text(self, name: &CStr) -> Option<String> {
        let read = self.runtime.0.KernelInfoGetAttribute_string;
        let mut size = 0;
        // SAFETY: the node is onnxruntime's, and the buffer has the size that it asked for.
        unsafe {
            self.runtime.check(read(self.info, name.as_ptr(), null_mut(), &mut size)).ok()?;
            let mut buffer = vec![0u8; size];
            let target = buffer.as_mut_ptr().cast();
            self.runtime.check(read(self.info, name.as_ptr(), target, &mut size)).ok()?;
            let text = CStr::from_bytes_until_nul(&buffer).ok()?;
            Some(text.to_string_lossy().into_owned())
        }
    }

    /// Returns the number of inputs.
    pub fn inputs(self) -> Result<usize, Malformed> {
        let mut count = 0;
        // SAFETY: the node is onnxruntime's.
        let status = unsafe { (self.runtime.0.KernelInfo_GetInputCount)(self.info, &mut count) };
        self.runtime.check(status).map(|()| count)
    }

    /// Returns the values of an input that the model file holds, which live while the kernel is made.
    pub fn constant<'a, T: Number>(self, index: usize, name: &str) -> Result<&'a [T], Malformed> {
        let (mut constant, mut value) = (0, null());
        // SAFETY: the node is onnxruntime's; what it holds lives as long as the session is made.
        unsafe {
            let status = (self.runtime.0.KernelInfoGetConstantInput_tensor)(
                self.info,
                index,
                &mut constant,
                &mut value,
            );
            self.runtime.check(status)?;
            if constant == 0 || value.is_null() {
                return Err(Malformed(format!("{name} is computed; expected a constant")));
            }
            let (_, values) = self
                .runtime
                .tensor(value)
                .map_err(|error| Malformed(format!("{name}: {error}")))?;
            Ok(values)
        }
    }
}

/// A run of a kernel.
#[derive(Clone, Copy)]
pub struct Run {
    /// The interface.
    pub runtime: Runtime,
    /// Onnxruntime's.
    pub context: *mut OrtKernelContext,
}

impl Run {
    /// Returns an input's dimensions and values, which live as long as the run.
    pub fn input<'a, T: Number>(self, index: usize) -> Result<(Vec<i64>, &'a [T]), Malformed> {
        let mut value = null();
        // SAFETY: the context is onnxruntime's.
        unsafe {
            let status = (self.runtime.0.KernelContext_GetInput)(self.context, index, &mut value);
            self.runtime.check(status)?;
            self.runtime.tensor(value)
        }
    }

    /// Returns room for an output, which lives as long as the run.
    pub fn output<'a, T: Number>(
        self,
        index: usize,
        dimensions: &[i64],
    ) -> Result<&'a mut [T], Malformed> {
        let (mut value, mut data) = (null_mut(), null_mut());
        // SAFETY: the context is onnxruntime's, which makes room for the dimensions.
        unsafe {
            let status = (self.runtime.0.KernelContext_GetOutput)(
                self.context,
                index,
                dimensions.as_ptr(),
                dimensions.len(),
                &mut value,
            );
            self.runtime.check(status)?;
            self.runtime.check((self.runtime.0.GetTensorMutableData)(value, &mut data))?;
            let count: i64 = dimensions.iter().product();
            let count = usize::try_from(count).map_err(|_| Malformed("a negative size".into()))?;
            if count == 0 {
                return Ok(&mut []);
            }
            Ok(std::slice::from_raw_parts_mut(data.cast(), count))
        }
    }
}

type Work<'a> = &'a (dyn Fn(usize) + Sync);

impl Pool for Run {
    fn for_each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        unsafe extern "C" fn call(work: *mut c_void, piece: usize) {
            // SAFETY: what was passed below, which outlives the pieces of work.
            let work = unsafe { *work.cast::<Work>() };
            work(piece);
        }
        if count < 2 {
            return (0..count).for_each(work);
        }
        let mut work: Work = work;
        // SAFETY: the context is onnxruntime's; the call returns when all pieces are done.
        let status = unsafe {
            let place = (&raw mut work).cast();
            (self.runtime.0.KernelContext_ParallelFor)(self.context, call, count, 0, place)
        };
        if self.runtime.check(status).is_err() {
            // Nothing was started.
            (0..count).for_each(work);
        }
    }
}
