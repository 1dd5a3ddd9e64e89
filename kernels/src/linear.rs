//! A sparse INT8 layer: rounds activations, multiplies, scales, adds the bias, activates.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Mutex;

use crate::activations::{Activations, LANES, Layout, Scale, TOKENS};
use crate::blocks::{Blocks, Malformed};
use crate::epilogue::{Activation, Affine, Rows, finish};
use crate::packing::extremes;
use crate::pairs::Pairs;
use crate::products::{Isa, product};

/// Outputs that one piece of work computes: their sums take half of the first-level cache.
pub(crate) const OUTPUTS: usize = 64;

/// Runs pieces of work, several at once where it can.
pub trait Pool {
    /// Calls `work` once for each number below `count`, and returns when all calls have.
    fn for_each(&self, count: usize, work: &(dyn Fn(usize) + Sync));
}

/// A pool of one thread: the caller's.
#[derive(Debug, Clone, Copy)]
pub struct Caller;

impl Pool for Caller {
    fn for_each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        (0..count).for_each(work);
    }
}

/// The layer.
#[derive(Debug)]
pub struct Linear {
    isa: Isa,
    blocks: Blocks,
    /// The same weights, where products of pairs are faster.
    pairs: Option<Pairs>,
    scales: Vec<f32>,
    bias: Vec<f32>,
    activation: Activation,
    input: Option<Scale>,
    /// Activations of runs that are over: memory to use again.
    spare: Mutex<Vec<Activations>>,
}

impl Linear {
    /// Puts a layer together.
    ///
    /// # Arguments
    /// * `isa` - One that this processor has.
    /// * `blocks` - The weights.
    /// * `scales` - Of each output's weights; finite and above 0.
    /// * `bias` - Of each output; empty for none.
    /// * `activation` - Applied to results.
    /// * `input` - Scale of the activations; by default each run takes that of its values.
    ///
    /// # Errors
    /// The parts do not fit together.
    pub fn new(
        isa: Isa,
        blocks: Blocks,
        scales: &[f32],
        bias: &[f32],
        activation: Activation,
        input: Option<Scale>,
    ) -> Result<Self, Malformed> {
        let outputs = blocks.outputs();
        if scales.len() != outputs {
            return Err(Malformed(format!("{} scales for {outputs} outputs", scales.len())));
        }
        if let Some(place) = scales.iter().position(|scale| !(scale.is_finite() && *scale > 0.0)) {
            let found = scales[place];
            return Err(Malformed(format!(
                "output {place}: its scale is {found}; expected one above 0"
            )));
        }
        if !bias.is_empty() && bias.len() != outputs {
            return Err(Malformed(format!("{} biases for {outputs} outputs", bias.len())));
        }
        if let Some(scale) = input
            && !(scale.scale.is_normal() && scale.scale > 0.0)
        {
            let found = scale.scale;
            return Err(Malformed(format!(
                "the activations' scale is {found}; expected one above 0"
            )));
        }
        let bias = if bias.is_empty() { vec![0.0; outputs] } else { bias.to_vec() };
        let pairs = Pairs::where_faster(isa, &blocks);
        Ok(Self {
            isa,
            blocks,
            pairs,
            scales: scales.to_vec(),
            bias,
            activation,
            input,
            spare: Mutex::default(),
        })
    }

    /// Inputs of the layer.
    pub fn inputs(&self) -> usize {
        self.blocks.inputs()
    }

    /// Outputs of the layer.
    pub fn outputs(&self) -> usize {
        self.blocks.outputs()
    }

    /// What is applied to its results.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// The scale of its activations, where it is fixed.
    pub fn input_scale(&self) -> Option<Scale> {
        self.input
    }

    /// Computes the results of rows.
    ///
    /// # Arguments
    /// * `rows` - `[rows, inputs]`.
    /// * `target` - `[rows, outputs]`; overwritten.
    /// * `pool` - What computes.
    ///
    /// # Panics
    /// The lengths do not fit.
    pub fn run(&self, rows: &[f32], target: &mut [f32], pool: &dyn Pool) {
        let inputs = self.inputs();
        let count = rows.len() / inputs;
        assert_eq!(rows.len(), count * inputs, "rows of other inputs");
        let (activations, scale) = self.packed(rows, count, pool);
        self.finished(&activations, scale, count, target, pool);
        self.keep(activations);
    }

    /// Computes the results of activations: see [`Self::run`].
    pub(crate) fn finished(
        &self,
        activations: &Activations,
        scale: Scale,
        count: usize,
        target: &mut [f32],
        pool: &dyn Pool,
    ) {
        let stride = self.outputs();
        assert_eq!(target.len(), count * stride, "room for other results");
        let results = Results { first: target.as_mut_ptr(), stride, count };
        self.pieces(activations, scale, pool, &|piece, sums, affine| {
            // SAFETY: no two pieces of work have a result in common, and all lie in the target.
            unsafe {
                let rows = results.rows(piece.tile * TOKENS, piece.tokens, piece.outputs.start);
                finish(self.isa, sums, affine, self.activation, rows);
            }
        });
    }

    /// Rounds and packs rows, by the layer's scale or that of their values.
    pub(crate) fn packed(
        &self,
        rows: &[f32],
        count: usize,
        pool: &dyn Pool,
    ) -> (Activations, Scale) {
        let scale = self.input.unwrap_or_else(|| self.range(rows, pool));
        let mut activations = self.room(count);
        let parts = activations.parts();
        let packer = activations.packer(self.isa, rows, scale);
        // SAFETY: each part is filled once.
        pool.for_each(parts, &|part| unsafe { packer.fill(part) });
        (activations, scale)
    }

    /// Returns room for the layer's activations.
    pub(crate) fn room(&self, count: usize) -> Activations {
        let spare = self.spare.lock().expect("nobody panics with it").pop();
        let mut activations = spare.unwrap_or_default();
        activations.resize(count, self.inputs(), self.layout());
        activations
    }

    /// Keeps memory for the next run.
    pub(crate) fn keep(&self, activations: Activations) {
        self.spare.lock().expect("nobody panics with it").push(activations);
    }

    /// How its activations lie.
    pub(crate) fn layout(&self) -> Layout {
        if self.pairs.is_some() { Layout::Twos } else { Layout::Fours }
    }

    /// Multiplies, in pieces that run at once.
    ///
    /// # Arguments
    /// * `activations` - Of as many inputs.
    /// * `scale` - Theirs.
    /// * `finish` - Takes a piece's sums, `[outputs][tokens]`, and how they become results.
    pub(crate) fn pieces(
        &self,
        activations: &Activations,
        scale: Scale,
        pool: &dyn Pool,
        finish: &(dyn Fn(Piece, &[i32], Affine) + Sync),
    ) {
        let (offsets, scales) = self.affine(scale);
        let affine = Affine { offsets: &offsets, scales: &scales, bias: &self.bias };
        self.products(activations, pool, &|piece, sums| {
            let affine = affine.of(piece.outputs.clone());
            finish(piece, sums, affine);
        });
    }

    /// Returns the offsets and scales of outputs, for activations of a scale: see [`Affine`].
    pub(crate) fn affine(&self, scale: Scale) -> (Vec<i32>, Vec<f32>) {
        let sums = (0..self.outputs()).map(|output| self.blocks.sum(output));
        let offsets = sums.map(|sum| i32::from(scale.zero_point) * sum).collect();
        (offsets, self.scales.iter().map(|own| own * scale.scale).collect())
    }

    /// Added to each output.
    pub(crate) fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// Multiplies, in pieces that run at once.
    ///
    /// # Arguments
    /// * `activations` - Of as many inputs.
    /// * `finish` - Takes a piece's sums, `[outputs][tokens]`.
    pub(crate) fn products(
        &self,
        activations: &Activations,
        pool: &dyn Pool,
        finish: &(dyn Fn(Piece, &[i32]) + Sync),
    ) {
        let outputs = self.outputs();
        let groups = outputs.div_ceil(OUTPUTS);
        pool.for_each(activations.tiles() * groups, &|each| {
            let (number, group) = (each / groups, each % groups);
            let range = group * OUTPUTS..outputs.min((group + 1) * OUTPUTS);
            let tile = activations.tile(number);
            SUMS.with_borrow_mut(|room| {
                let sums = &mut room.0[..range.len() * tile.tokens];
                match &self.pairs {
                    Some(pairs) => pairs.product(range.clone(), tile, sums),
                    None => product(self.isa, &self.blocks, range.clone(), tile, sums),
                }
                finish(Piece { tile: number, tokens: tile.tokens, outputs: range }, sums);
            });
        });
    }

    /// Returns the scale that values at hand take.
    fn range(&self, rows: &[f32], pool: &dyn Pool) -> Scale {
        let parts: Vec<&[f32]> = rows.chunks(LANES * self.inputs()).collect();
        let found = Mutex::new((0.0f32, 0.0f32));
        pool.for_each(parts.len(), &|part| {
            let (low, high) = extremes(self.isa, parts[part]);
            let mut found = found.lock().expect("nobody panics with it");
            *found = (found.0.min(low), found.1.max(high));
        });
        let (low, high) = found.into_inner().expect("nobody panics with it");
        Scale::reaching(low, high)
    }
}

/// A piece of work: some outputs of a tile.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// The tile's number.
    pub tile: usize,
    /// Tokens that it has room for.
    pub tokens: usize,
    /// The outputs.
    pub outputs: Range<usize>,
}

/// Sums of a piece of work, from the start of a cache line.
#[repr(C, align(64))]
struct Sums([i32; OUTPUTS * TOKENS]);

thread_local! {
    /// Of the piece of work that a thread has at hand.
    static SUMS: RefCell<Sums> = const { RefCell::new(Sums([0; OUTPUTS * TOKENS])) };
}

/// Where results go, from several threads: `[count, stride]`.
struct Results {
    first: *mut f32,
    stride: usize,
    count: usize,
}

impl Results {
    /// Returns the places of up to `most` tokens, from an output on.
    ///
    /// # Safety
    /// The token and the output lie in the target.
    unsafe fn rows(&self, token: usize, most: usize, output: usize) -> Rows {
        // SAFETY: the caller's promise.
        let first = unsafe { self.first.add(token * self.stride + output) };
        Rows { first, stride: self.stride, count: most.min(self.count - token) }
    }
}

// SAFETY: threads write to places that no other one uses.
unsafe impl Sync for Results {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dense(seed: u64, count: usize, share: f32) -> Vec<f32> {
        let mut state = seed | 1;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let value = (state >> 40) as f32 / (1u64 << 24) as f32;
                if value < share { (value / share) * 4.0 - 2.0 } else { 0.0 }
            })
            .collect()
    }

    /// Returns a layer and its weights as floats.
    fn layer(outputs: usize, inputs: usize, isa: Isa, input: Option<Scale>) -> (Linear, Vec<f32>) {
        let (mut offsets, mut columns, mut values) = (vec![0], Vec::new(), Vec::new());
        let mut weights = vec![0.0; outputs * inputs];
        let scales: Vec<f32> = (0..outputs).map(|each| 0.01 + each as f32 * 1e-4).collect();
        for output in 0..outputs {
            for block in (output % 3..inputs / 4).step_by(3) {
                columns.push(block as u16);
                for k in 0..4 {
                    let weight = ((output * 31 + block * 7 + k * 13) % 255) as i32 - 127;
                    values.push(weight as i8);
                    weights[output * inputs + block * 4 + k] = weight as f32 * scales[output];
                }
            }
            offsets.push(columns.len() as i32);
        }
        let blocks = Blocks::new(inputs, &offsets, &columns, &values).unwrap();
        let bias: Vec<f32> = (0..outputs).map(|each| each as f32 * 0.1 - 1.0).collect();
        (Linear::new(isa, blocks, &scales, &bias, Activation::None, input).unwrap(), weights)
    }

    fn exact(
        rows: &[f32],
        weights: &[f32],
        outputs: usize,
        inputs: usize,
        scale: Scale,
    ) -> Vec<f64> {
        rows.chunks_exact(inputs)
            .flat_map(|row| {
                (0..outputs).map(move |output| {
                    let own = &weights[output * inputs..(output + 1) * inputs];
                    let sum: f64 = row
                        .iter()
                        .zip(own)
                        .map(|(x, w)| {
                            let steps = f64::from(scale.byte(*x)) - f64::from(scale.zero_point);
                            steps * f64::from(scale.scale) * f64::from(*w)
                        })
                        .sum();
                    sum + output as f64 * 0.1 - 1.0
                })
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn results_are_those_of_the_rounded_layer(
            count in 0usize..150, outputs in 1usize..100, blocks in 1usize..24, fixed in any::<bool>(),
        ) {
            let inputs = blocks * 4;
            let rows = dense(count as u64 * 7 + 3, count * inputs, 0.8);
            let input = fixed.then_some(Scale { scale: 0.02, zero_point: 100 });
            let low = rows.iter().copied().fold(0.0, f32::min);
            let high = rows.iter().copied().fold(0.0, f32::max);
            let scale = input.unwrap_or_else(|| Scale::reaching(low, high));
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
                let (linear, weights) = layer(outputs, inputs, isa, input);
                let mut found = vec![f32::NAN; count * outputs];
                linear.run(&rows, &mut found, &Caller);
                for (own, wanted) in found.iter().zip(exact(&rows, &weights, outputs, inputs, scale)) {
                    prop_assert!((f64::from(*own) - wanted).abs() < 1e-3, "{own} {wanted}");
                }
            }
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let blocks = || Blocks::new(8, &[0, 1, 2], &[0, 1], &[1; 8]).unwrap();
        let make = |scales: &[f32], bias: &[f32], input: Option<Scale>| {
            Linear::new(Isa::Portable, blocks(), scales, bias, Activation::None, input)
                .map(|_| ())
                .unwrap_err()
                .to_string()
        };
        assert!(make(&[1.0], &[], None).contains("1 scales for 2 outputs"));
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(make(&[1.0, bad], &[], None).contains("output 1: its scale"));
        }
        assert!(make(&[1.0; 2], &[1.0], None).contains("1 biases for 2 outputs"));
        let zero = Some(Scale { scale: 0.0, zero_point: 0 });
        assert!(make(&[1.0; 2], &[], zero).contains("activations' scale is 0"));
    }
}
