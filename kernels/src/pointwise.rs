//! A 1x1 convolution, channels last: a sparse INT8 layer with bytes in and bytes out.
//!
//! Between quantized convolutions onnxruntime hands on bytes, channels last: so do these. Moving four
//! bytes at a time is all that packing and unpacking take; floats between the layers, or planes of
//! channels, would cost more than most such layers take.

use std::ops::Range as Span;

use crate::activations::{Scale, TOKENS};
use crate::blocks::{BLOCK, Malformed};
use crate::epilogue::{Affine, Range, finish_bytes};
use crate::linear::{Linear, OUTPUTS, Pool};
use crate::products::Isa;
use crate::transposition::{Words, transpose};

/// Called for each few rows, in any thread: calls the other function once with their bytes, `[rows,
/// inputs]`.
pub(crate) type Give<'a> = &'a (dyn Fn(Span<usize>, &dyn Fn(&[u8])) + Sync);

/// The convolution.
#[derive(Debug)]
pub struct Pointwise {
    isa: Isa,
    layer: Linear,
    range: Range,
    /// What turns sums into steps of the results: see [`Affine`].
    offsets: Vec<i32>,
    scales: Vec<f32>,
    bias: Vec<f32>,
}

impl Pointwise {
    /// Takes a layer.
    ///
    /// # Arguments
    /// * `isa` - That of the layer.
    /// * `layer` - Its inputs and outputs are channels; the scale of its activations is fixed, and no
    ///   activation is applied.
    /// * `output` - How results become bytes.
    /// * `limits` - The smallest and the largest byte that a result may become: what a rectifier does.
    ///
    /// # Errors
    /// Outputs are no whole blocks, limits the wrong way round, or a scale is missing or none.
    pub fn new(isa: Isa, layer: Linear, output: Scale, limits: [u8; 2]) -> Result<Self, Malformed> {
        let outputs = layer.outputs();
        if !outputs.is_multiple_of(BLOCK) {
            return Err(Malformed(format!("{outputs} outputs; expected a multiple of {BLOCK}")));
        }
        let input = layer.input_scale();
        let input = input.ok_or_else(|| Malformed("the activations' scale is missing".into()))?;
        if !(output.scale.is_normal() && output.scale > 0.0) {
            let found = output.scale;
            return Err(Malformed(format!("the results' scale is {found}; expected one above 0")));
        }
        let [lowest, highest] = limits;
        if lowest > highest {
            return Err(Malformed(format!("results are limited to {lowest} to {highest}")));
        }
        let range = Range { zero_point: output.zero_point, lowest, highest };
        let (offsets, scales) = layer.affine(input);
        let scales = scales.into_iter().map(|scale| scale / output.scale).collect();
        let bias = layer.bias().iter().map(|bias| bias / output.scale).collect();
        Ok(Self { isa, layer, range, offsets, scales, bias })
    }

    /// Channels that it reads.
    pub fn inputs(&self) -> usize {
        self.layer.inputs()
    }

    /// Channels that it writes.
    pub fn outputs(&self) -> usize {
        self.layer.outputs()
    }

    /// Computes the results of pixels.
    ///
    /// # Arguments
    /// * `pixels` - `[count, inputs]`, rounded by the layer's scale.
    /// * `target` - `[count, outputs]`; overwritten.
    /// * `pool` - What computes.
    ///
    /// # Panics
    /// The lengths do not fit.
    pub fn run(&self, pixels: &[u8], target: &mut [u8], pool: &dyn Pool) {
        let inputs = self.inputs();
        let count = pixels.len() / inputs;
        assert_eq!(pixels.len(), count * inputs, "pixels of other inputs");
        self.run_rows(count, target, pool, &|rows, mover| {
            mover(&pixels[rows.start * inputs..rows.end * inputs]);
        });
    }

    /// Computes the results of rows that are there a few at a time.
    ///
    /// # Arguments
    /// * `count` - Rows.
    /// * `target` - `[count, outputs]`; overwritten.
    /// * `pool` - What computes.
    /// * `give` - Gives them.
    ///
    /// # Panics
    /// The lengths do not fit.
    pub(crate) fn run_rows(&self, count: usize, target: &mut [u8], pool: &dyn Pool, give: Give) {
        let outputs = self.outputs();
        assert_eq!(target.len(), count * outputs, "room for other results");
        let mut activations = self.layer.room(count);
        let parts = activations.parts();
        let mover = activations.mover(self.isa);
        pool.for_each(parts, &|part| {
            // SAFETY: each part is filled by one thread.
            give(mover.tokens(part), &|rows| unsafe { mover.fill(part, rows) });
        });
        let results = Results(target.as_mut_ptr());
        let affine = Affine { offsets: &self.offsets, scales: &self.scales, bias: &self.bias };
        self.layer.products(&activations, pool, &|piece, sums| {
            let mut packed = Packed([0; OUTPUTS * TOKENS]);
            let bytes = &mut packed.0[..sums.len()];
            finish_bytes(self.isa, sums, affine.of(piece.outputs.clone()), self.range, bytes);
            let source = Words { first: bytes.as_ptr().cast(), stride: piece.tokens };
            let (blocks, first) = (piece.outputs.len() / BLOCK, piece.tile * TOKENS);
            // SAFETY: the pixels and outputs lie in the target, and no two pieces have one in common.
            unsafe {
                let place = results.at(first * outputs + piece.outputs.start).cast();
                let target = Words { first: place, stride: outputs / BLOCK };
                transpose(self.isa, source, target, blocks, piece.tokens.min(count - first));
            }
        });
        self.layer.keep(activations);
    }
}

/// Bytes of a piece of work, `[outputs / 4][tokens][4]`.
#[repr(C, align(64))]
struct Packed([u8; OUTPUTS * TOKENS]);

/// Where results go, from several threads.
struct Results(*mut u8);

impl Results {
    /// # Safety
    /// The place lies in the target.
    unsafe fn at(&self, place: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(place) }
    }
}

// SAFETY: threads write to places that no other one uses.
unsafe impl Sync for Results {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epilogue::Activation;
    use crate::linear::Caller;
    use crate::striped::striped;
    use proptest::prelude::*;

    const INPUT: Scale = Scale { scale: 0.03125, zero_point: 77 };
    const OUTPUT: Scale = Scale { scale: 0.11, zero_point: 30 };

    /// Returns a layer; every fourth weight of its blocks stays where `thin`.
    fn layer(isa: Isa, outputs: usize, inputs: usize, thin: bool, scale: Option<Scale>) -> Linear {
        let blocks = striped(outputs, inputs, thin);
        let scales: Vec<f32> = (0..outputs).map(|each| 0.01 + each as f32 * 1e-4).collect();
        let bias: Vec<f32> = (0..outputs).map(|each| each as f32 * 0.1 - 1.0).collect();
        Linear::new(isa, blocks, &scales, &bias, Activation::None, scale).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn results_are_those_of_the_linear_layer_rounded(
            count in 0usize..150, inputs in 1usize..40, outputs in 1usize..40,
            thin in any::<bool>(), seed in any::<u32>(), limits in prop_oneof![Just([0, 255]), Just([30, 85])],
        ) {
            let (inputs, outputs) = (inputs * BLOCK, outputs * BLOCK);
            let pixels: Vec<u8> = (0..(count * inputs) as u32)
                .map(|each| (each.wrapping_mul(2654435761).wrapping_add(seed) >> 24) as u8)
                .collect();
            let zero = f32::from(INPUT.zero_point);
            let [lowest, highest] = limits.map(f32::from);
            let floats: Vec<f32> =
                pixels.iter().map(|byte| (f32::from(*byte) - zero) * INPUT.scale).collect();
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
                let linear = layer(isa, outputs, inputs, thin, Some(INPUT));
                let mut exact = vec![f32::NAN; count * outputs];
                linear.run(&floats, &mut exact, &Caller);
                let mut found = vec![0; count * outputs];
                let pointwise = Pointwise::new(isa, linear, OUTPUT, limits).unwrap();
                pointwise.run(&pixels, &mut found, &Caller);
                for (own, wanted) in found.iter().zip(exact) {
                    let steps = wanted / OUTPUT.scale + f32::from(OUTPUT.zero_point);
                    let apart = (f32::from(*own) - steps.clamp(lowest, highest)).abs();
                    // A result between two bytes may become either, if the last bit differs.
                    prop_assert!(apart < 0.501, "{} {own} {steps}", isa.name());
                }
            }
        }
    }

    #[test]
    fn layers_that_do_not_fit_are_refused() {
        let isa = Isa::Portable;
        let made = |outputs, input, scale, limits| {
            let layer = layer(isa, outputs, 8, false, input);
            let made = Pointwise::new(isa, layer, Scale { scale, zero_point: 0 }, limits);
            made.map(|_| ()).unwrap_err().to_string()
        };
        assert!(
            made(6, Some(INPUT), 1.0, [0, 255]).contains("6 outputs; expected a multiple of 4")
        );
        assert!(made(8, None, 1.0, [0, 255]).contains("activations' scale is missing"));
        assert!(made(8, Some(INPUT), 1.0, [9, 8]).contains("limited to 9 to 8"));
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE / 2.0] {
            assert!(made(8, Some(INPUT), bad, [0, 255]).contains("the results' scale is"));
        }
    }
}
