//! A 1x1 convolution, channels last: a sparse INT8 layer with bytes in and bytes out.
//!
//! Between quantized convolutions onnxruntime hands on bytes, channels last: so do these. Moving four
//! bytes at a time is all that packing and unpacking take; floats between the layers, or planes of
//! channels, would cost more than most such layers take.

use crate::activations::{Scale, TOKENS};
use crate::blocks::{BLOCK, Malformed};
use crate::epilogue::finish_packed;
use crate::linear::{Linear, OUTPUTS, Pool};
use crate::packing::Target;
use crate::products::Isa;
use crate::transposition::{Words, transpose};

/// The convolution.
#[derive(Debug)]
pub struct Pointwise {
    isa: Isa,
    layer: Linear,
    input: Scale,
    output: Scale,
}

impl Pointwise {
    /// Takes a layer.
    ///
    /// # Arguments
    /// * `isa` - That of the layer.
    /// * `layer` - Its inputs and outputs are channels; the scale of its activations is fixed.
    /// * `output` - How results become bytes.
    ///
    /// # Errors
    /// Outputs are no whole blocks, or a scale is missing or none.
    pub fn new(isa: Isa, layer: Linear, output: Scale) -> Result<Self, Malformed> {
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
        Ok(Self { isa, layer, input, output })
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
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let count = pixels.len() / inputs;
        assert_eq!(pixels.len(), count * inputs, "pixels of other inputs");
        assert_eq!(target.len(), count * outputs, "room for other results");
        let mut activations = self.layer.room(count);
        let parts = activations.parts();
        let mover = activations.mover(self.isa, pixels);
        // SAFETY: each part is filled once.
        pool.for_each(parts, &|part| unsafe { mover.fill(part) });
        let results = Results(target.as_mut_ptr());
        self.layer.pieces(&activations, self.input, pool, &|piece, sums, affine| {
            let mut packed = Packed([0; OUTPUTS * TOKENS]);
            let blocks = piece.outputs.len() / BLOCK;
            let first = piece.tile * TOKENS;
            let (stride, activation) = (piece.tokens * BLOCK, self.layer.activation());
            let room = Target { first: packed.0.as_mut_ptr(), stride };
            let source = Words { first: packed.0.as_ptr().cast(), stride: piece.tokens };
            // SAFETY: there is room for the sums of a piece, and no two pieces have a result in common.
            unsafe {
                finish_packed(self.isa, sums, affine, activation, self.output, piece.tokens, room);
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
    use crate::blocks::Blocks;
    use crate::epilogue::Activation;
    use crate::linear::Caller;
    use proptest::prelude::*;

    const INPUT: Scale = Scale { scale: 0.03125, zero_point: 77 };
    const OUTPUT: Scale = Scale { scale: 0.11, zero_point: 30 };

    /// Returns a layer; every fourth weight of its blocks stays where `thin`.
    fn layer(isa: Isa, outputs: usize, inputs: usize, thin: bool, scale: Option<Scale>) -> Linear {
        let (mut offsets, mut columns, mut values) = (vec![0], Vec::new(), Vec::new());
        for output in 0..outputs {
            for column in (output % 2..inputs / BLOCK).step_by(2) {
                columns.push(column as u16);
                values.extend((0..BLOCK).map(|each| {
                    let weight = (output * 31 + column * 7 + each * 13) % 255;
                    if thin && each != output % BLOCK { 0 } else { (weight as i32 - 127) as i8 }
                }));
            }
            offsets.push(columns.len() as i32);
        }
        let blocks = Blocks::new(inputs, &offsets, &columns, &values).unwrap();
        let scales: Vec<f32> = (0..outputs).map(|each| 0.01 + each as f32 * 1e-4).collect();
        let bias: Vec<f32> = (0..outputs).map(|each| each as f32 * 0.1 - 1.0).collect();
        Linear::new(isa, blocks, &scales, &bias, Activation::Relu, scale).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn results_are_those_of_the_linear_layer_rounded(
            count in 0usize..150, inputs in 1usize..40, outputs in 1usize..40,
            thin in any::<bool>(), seed in any::<u32>(),
        ) {
            let (inputs, outputs) = (inputs * BLOCK, outputs * BLOCK);
            let pixels: Vec<u8> = (0..(count * inputs) as u32)
                .map(|each| (each.wrapping_mul(2654435761).wrapping_add(seed) >> 24) as u8)
                .collect();
            let zero = f32::from(INPUT.zero_point);
            let floats: Vec<f32> =
                pixels.iter().map(|byte| (f32::from(*byte) - zero) * INPUT.scale).collect();
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
                let linear = layer(isa, outputs, inputs, thin, Some(INPUT));
                let mut exact = vec![f32::NAN; count * outputs];
                linear.run(&floats, &mut exact, &Caller);
                let mut found = vec![0; count * outputs];
                Pointwise::new(isa, linear, OUTPUT).unwrap().run(&pixels, &mut found, &Caller);
                for (own, wanted) in found.iter().zip(exact) {
                    let steps = wanted / OUTPUT.scale + f32::from(OUTPUT.zero_point);
                    let apart = (f32::from(*own) - steps.clamp(0.0, 255.0)).abs();
                    // A result between two bytes may become either, if the last bit differs.
                    prop_assert!(apart < 0.501, "{} {own} {steps}", isa.name());
                }
            }
        }
    }

    #[test]
    fn layers_that_do_not_fit_are_refused() {
        let isa = Isa::Portable;
        let made = |outputs, input, scale| {
            let layer = layer(isa, outputs, 8, false, input);
            let made = Pointwise::new(isa, layer, Scale { scale, zero_point: 0 });
            made.map(|_| ()).unwrap_err().to_string()
        };
        assert!(made(6, Some(INPUT), 1.0).contains("6 outputs; expected a multiple of 4"));
        assert!(made(8, None, 1.0).contains("activations' scale is missing"));
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE / 2.0] {
            assert!(made(8, Some(INPUT), bad).contains("the results' scale is"));
        }
    }
}
