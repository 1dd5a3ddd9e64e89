//! How onnxruntime gets the operators of the library.

use std::ffi::CStr;
use std::ptr::null_mut;
use std::sync::OnceLock;

use ort_sys::{OrtApiBase, OrtCustomOp, OrtSessionOptions, OrtStatusPtr};

use super::attention::HeadAttention;
use super::callbacks::callbacks;
use super::convolution::SparseQConvolution;
use super::feed_forward::SparseQFeedForward;
use super::linear::SparseQLinear;
use super::normalization::AddLayerNormalization;
use super::pointwise::SparseQPointwise;
use crate::runtime::Runtime;

const DOMAIN: &CStr = c"sparsetransfer.dev";
/// The oldest interface that has everything that is used here: onnxruntime 1.18.
pub const API_VERSION: u32 = 18;

static OPERATORS: [OrtCustomOp; 6] = [
    callbacks::<SparseQLinear>(),
    callbacks::<SparseQFeedForward>(),
    callbacks::<AddLayerNormalization>(),
    callbacks::<HeadAttention>(),
    callbacks::<SparseQPointwise>(),
    callbacks::<SparseQConvolution>(),
];

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// Returns the interface that the library was registered with.
pub fn registered() -> Option<Runtime> {
    RUNTIME.get().copied()
}

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
        // SAFETY: the operators live as long as the library.
        unsafe {
            runtime.check((api.CreateCustomOpDomain)(DOMAIN.as_ptr(), &mut domain))?;
            for operator in &OPERATORS {
                runtime.check((api.CustomOpDomain_Add)(domain, operator))?;
            }
            runtime.check((api.AddCustomOpDomain)(options, domain))
        }
    };
    runtime.status(register())
}
