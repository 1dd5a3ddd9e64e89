//! The shape of the operator's result, told to onnxruntime when it loads a file: without it, it fuses
//! nothing around the operator.

use std::ffi::{CStr, c_char};
use std::ptr::{null, null_mut};

use ort_sys::{
    ONNXTensorElementDataType as Element, OrtOpAttrType, OrtShapeInferContext,
    OrtTensorTypeAndShapeInfo,
};

use crate::blocks::Malformed;
use crate::runtime::Runtime;

/// A node, while shapes are inferred.
#[derive(Clone, Copy)]
pub struct Shapes {
    /// The interface.
    pub runtime: Runtime,
    /// Onnxruntime's.
    pub context: *mut OrtShapeInferContext,
}

/// One dimension: -1 where it is known by its name, or not at all.
#[derive(Debug, Clone, Copy)]
struct Dimension<'a> {
    size: i64,
    name: &'a CStr,
}

impl Shapes {
    /// Tells that a result has the shape of an input but for its last dimension, which is the only one
    /// of another input; nothing where either is not known.
    ///
    /// # Arguments
    /// * `input` - Place of the first input.
    /// * `last` - Place of the other.
    /// * `element` - Type of the result's values.
    pub fn infer(self, input: usize, last: usize, element: Element) -> Result<(), Malformed> {
        // SAFETY: the context is onnxruntime's, and what it returns lives as long.
        let (mut dimensions, others) = unsafe { (self.shape(input)?, self.shape(last)?) };
        let ([other], Some(own)) = (others.as_slice(), dimensions.last_mut()) else {
            return Ok(());
        };
        *own = *other;
        self.tell_known(&dimensions, element)
    }

    /// Tells that a result has the shape of an input; nothing where it is not known.
    ///
    /// # Arguments
    /// * `input` - Place of the input.
    /// * `element` - Type of the result's values.
    pub fn same(self, input: usize, element: Element) -> Result<(), Malformed> {
        // SAFETY: the context is onnxruntime's, and what it returns lives as long.
        let dimensions = unsafe { self.shape(input)? };
        // An input of no known rank looks like a scalar.
        if dimensions.is_empty() { Ok(()) } else { self.tell_known(&dimensions, element) }
    }

    /// Tells the shape of a convolution's result, `[batch, height, width, outputs]`; nothing where the
    /// size of its pictures is not known.
    ///
    /// # Arguments
    /// * `input` - Place of the pictures.
    /// * `last` - Place of the input that has as many values as there are outputs.
    /// * `element` - Type of the result's values.
    /// * `results` - Returns the result's height and width for those of a picture.
    pub fn convolved(
        self,
        input: usize,
        last: usize,
        element: Element,
        results: &dyn Fn([i64; 2]) -> Result<[i64; 2], Malformed>,
    ) -> Result<(), Malformed> {
        // SAFETY: the context is onnxruntime's, and what it returns lives as long.
        let (dimensions, others) = unsafe { (self.shape(input)?, self.shape(last)?) };
        let ([batch, height, width, _], [outputs]) = (dimensions.as_slice(), others.as_slice())
        else {
            return Ok(());
        };
        if height.size < 0 || width.size < 0 {
            return Ok(());
        }
        let [lines, columns] =
            results([height.size, width.size])?.map(|size| Dimension { size, name: c"" });
        self.tell_known(&[*batch, lines, columns, *outputs], element)
    }

    /// Returns an integer attribute of the node; None where it has none of that name.
    pub fn integer(self, name: &CStr) -> Option<i64> {
        let api = self.runtime.0;
        let (mut attribute, mut found, mut length) = (null(), 0i64, 0);
        // SAFETY: the context is onnxruntime's, and the attribute lives as long.
        unsafe {
            let read =
                (api.ShapeInferContext_GetAttribute)(self.context, name.as_ptr(), &mut attribute);
            self.runtime.check(read).ok()?;
            let status = (api.ReadOpAttr)(
                attribute,
                OrtOpAttrType::ORT_OP_ATTR_INT,
                (&raw mut found).cast(),
                size_of::<i64>(),
                &mut length,
            );
            self.runtime.check(status).ok()?;
        }
        Some(found)
    }

    fn tell_known(self, dimensions: &[Dimension], element: Element) -> Result<(), Malformed> {
        if dimensions.iter().any(|each| each.size < 0 && each.name.is_empty()) {
            return Ok(());
        }
        self.tell(dimensions, element)
    }

    /// # Safety
    /// The context lives as long as what is returned.
    unsafe fn shape<'a>(self, input: usize) -> Result<Vec<Dimension<'a>>, Malformed> {
        let api = self.runtime.0;
        // SAFETY: the context is onnxruntime's, and the buffers have the rank that it told.
        unsafe {
            let mut info: *mut OrtTensorTypeAndShapeInfo = null_mut();
            let status = (api.ShapeInferContext_GetInputTypeShape)(self.context, input, &mut info);
            self.runtime.check(status)?;
            let mut rank = 0;
            self.runtime.check((api.GetDimensionsCount)(info, &mut rank))?;
            let mut sizes = vec![-1i64; rank];
            self.runtime.check((api.GetDimensions)(info, sizes.as_mut_ptr(), rank))?;
            let mut names: Vec<*const c_char> = vec![c"".as_ptr(); rank];
            self.runtime.check((api.GetSymbolicDimensions)(info, names.as_mut_ptr(), rank))?;
            let named = names.into_iter().map(|name| CStr::from_ptr(name));
            Ok(sizes.into_iter().zip(named).map(|(size, name)| Dimension { size, name }).collect())
        }
    }

    fn tell(self, dimensions: &[Dimension], element: Element) -> Result<(), Malformed> {
        let api = self.runtime.0;
        let sizes: Vec<i64> = dimensions.iter().map(|each| each.size).collect();
        let mut names: Vec<*const c_char> =
            dimensions.iter().map(|each| each.name.as_ptr()).collect();
        let mut info = null_mut();
        // SAFETY: onnxruntime copies what it is given.
        unsafe {
            self.runtime.check((api.CreateTensorTypeAndShapeInfo)(&mut info))?;
            let told = self
                .runtime
                .check((api.SetTensorElementType)(info, element))
                .and_then(|()| {
                    self.runtime.check((api.SetDimensions)(info, sizes.as_ptr(), sizes.len()))
                })
                .and_then(|()| {
                    let count = names.len();
                    let set = api.SetSymbolicDimensions;
                    self.runtime.check(set(info, names.as_mut_ptr(), count))
                })
                .and_then(|()| {
                    let set = api.ShapeInferContext_SetOutputTypeShape;
                    self.runtime.check(set(self.context, 0, info))
                });
            (api.ReleaseTensorTypeAndShapeInfo)(info);
            told
        }
    }
}
