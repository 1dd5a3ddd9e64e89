//! From sums to results: zero point, scales, bias and activation, and back to one row a token.

mod gelu;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::activations::{LANES, Scale};
use crate::blocks::{BLOCK, Malformed};
use crate::packing::Target;
use crate::products::Isa;
use crate::transposition::{Words, transpose};
use gelu::Table;

/// What is applied to results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// `max(x, 0)`.
    Relu,
    /// `x * (1 + erf(x / sqrt 2)) / 2`.
    Gelu,
}

impl Activation {
    /// Reads its name in a model file.
    ///
    /// # Errors
    /// There is no such activation.
    pub fn named(name: &str) -> Result<Self, Malformed> {
        match name {
            "" => Ok(Self::None),
            "relu" => Ok(Self::Relu),
            "gelu" => Ok(Self::Gelu),
            _ => {
                Err(Malformed(format!("activation {name:?}; expected \"\", \"relu\" or \"gelu\"")))
            }
        }
    }
}

/// How the sums of outputs become their results: `(sum - offset) * scale + bias`.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a> {
    /// What the zero point of the activations contributed to each.
    pub offsets: &'a [i32],
    /// Of the activations, times that of each output's weights.
    pub scales: &'a [f32],
    /// Added last.
    pub bias: &'a [f32],
}

impl Affine<'_> {
    /// Returns that of some of the outputs.
    pub fn of(&self, outputs: std::ops::Range<usize>) -> Self {
        Self {
            offsets: &self.offsets[outputs.clone()],
            scales: &self.scales[outputs.clone()],
            bias: &self.bias[outputs],
        }
    }
}

/// Places of rows in memory.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    /// The first row's place.
    pub first: *mut f32,
    /// Floats from one row to the next.
    pub stride: usize,
    /// How many there are; tokens of a tile beyond them are padding.
    pub count: usize,
}

/// Finishes outputs of a tile.
///
/// # Arguments
/// * `isa` - One that this processor has.
/// * `sums` - `[outputs][tokens]`; tokens are a multiple of [`LANES`].
/// * `affine` - Of each output.
/// * `activation` - Applied to results.
/// * `rows` - Where each token's results of these outputs go, in the order of the tile.
///
/// # Safety
/// Each of `rows` points to as many floats as there are outputs, which nobody else uses.
pub unsafe fn finish(isa: Isa, sums: &[i32], affine: Affine, activation: Activation, rows: Rows) {
    let outputs = affine.offsets.len();
    assert!(outputs > 0);
    assert!(affine.scales.len() == outputs && affine.bias.len() == outputs);
    let tokens = sums.len() / outputs;
    assert!(tokens.is_multiple_of(LANES) && sums.len() == outputs * tokens);
    assert!(rows.count <= tokens);
    match isa {
        // SAFETY: the processor has the instructions; the rest is the caller's promise.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => unsafe { x86::finish_avx512(sums, affine, activation, rows) },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni | Isa::Avx2 => unsafe { x86::finish_avx2(sums, affine, activation, rows) },
        // SAFETY: the caller's promise.
        _ => unsafe { finish_plain(isa, sums, affine, activation, rows) },
    }
}

/// Finishes outputs of a tile as the bytes of the next layer's activations.
///
/// # Arguments
/// * `isa`, `sums`, `affine`, `activation` - See [`finish`]; outputs are a multiple of [`BLOCK`].
/// * `scale` - How results become bytes.
/// * `tokens` - Of the tile, how many the target has room for: a multiple of [`LANES`].
/// * `target` - Where they go: `[outputs / 4][tokens][4]`, with its stride.
///
/// # Safety
/// The target is the caller's alone, and large enough.
pub unsafe fn finish_packed(
    isa: Isa,
    sums: &[i32],
    affine: Affine,
    activation: Activation,
    scale: Scale,
    tokens: usize,
    target: Target,
) {
    let outputs = affine.offsets.len();
    assert!(outputs > 0 && outputs.is_multiple_of(BLOCK) && tokens.is_multiple_of(LANES));
    assert!(affine.scales.len() == outputs && affine.bias.len() == outputs);
    assert!(sums.len().is_multiple_of(outputs) && tokens <= sums.len() / outputs);
    let work = Packed { sums, affine, activation, scale, tokens, target };
    match isa {
        // SAFETY: the processor has the instructions; the rest is the caller's promise.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => unsafe { x86::finish_packed_avx512(&work) },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni | Isa::Avx2 => unsafe { x86::finish_packed_avx2(&work) },
        // SAFETY: the caller's promise.
        _ => unsafe { finish_packed_plain(&work) },
    }
}

/// What [`finish_packed`] was asked for, and checked.
struct Packed<'a> {
    sums: &'a [i32],
    affine: Affine<'a>,
    activation: Activation,
    scale: Scale,
    tokens: usize,
    target: Target,
}

/// # Safety
/// See [`finish_packed`].
#[inline(always)]
unsafe fn finish_packed_plain(work: &Packed) {
    let affine = work.affine;
    let outputs = affine.offsets.len();
    let stride = work.sums.len() / outputs;
    let table = Table::get();
    for output in 0..outputs {
        let own = &work.sums[output * stride..output * stride + work.tokens];
        let place = output / BLOCK * work.target.stride + output % BLOCK;
        for (token, sum) in own.iter().enumerate() {
            let steps = sum - affine.offsets[output];
            let plain = steps as f32 * affine.scales[output] + affine.bias[output];
            let result = match work.activation {
                Activation::None => plain,
                Activation::Relu => plain.max(0.0),
                Activation::Gelu => table.gelu(plain),
            };
            // SAFETY: the caller's promise.
            unsafe { *work.target.first.add(place + token * BLOCK) = work.scale.byte(result) };
        }
    }
}

/// How results that count in steps of a scale become its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// The byte that stands for 0.
    pub zero_point: u8,
    /// The smallest byte that a result may become.
    pub lowest: u8,
    /// The largest.
    pub highest: u8,
}

impl Range {
    /// Returns the byte for a number of steps; the smallest stands in for what is no number.
    #[inline(always)]
    fn byte(self, steps: f32) -> u8 {
        // What is no number becomes the lower bound.
        let steps = if steps > -STEPS { steps.min(STEPS) } else { -STEPS };
        // SAFETY: it lies between the bounds.
        let steps: i32 = unsafe { steps.round_ties_even().to_int_unchecked() };
        let byte = steps + i32::from(self.zero_point);
        byte.max(i32::from(self.lowest)).min(i32::from(self.highest)) as u8
    }
}

/// More steps than a byte has, that 16 bits hold.
const STEPS: f32 = 32767.0;

/// Finishes outputs of a tile as bytes, by scales and biases that count in steps of the bytes.
///
/// # Arguments
/// * `isa`, `sums`, `affine` - See [`finish`]; outputs are a multiple of [`BLOCK`].
/// * `range` - How results become bytes.
/// * `target` - Where they go: `[outputs / 4][tokens][4]`.
pub fn finish_bytes(isa: Isa, sums: &[i32], affine: Affine, range: Range, target: &mut [u8]) {
    let outputs = affine.offsets.len();
    assert!(outputs > 0 && outputs.is_multiple_of(BLOCK));
    assert!(affine.scales.len() == outputs && affine.bias.len() == outputs);
    assert!(sums.len().is_multiple_of(outputs * LANES) && sums.len() == target.len());
    match isa {
        // SAFETY: the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => unsafe { x86::finish_bytes_avx512(sums, affine, range, target) },
        // SAFETY: the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni | Isa::Avx2 => unsafe {
            x86::finish_bytes_avx2(sums, affine, range, target);
        },
        _ => finish_bytes_plain(sums, affine, range, target),
    }
}

/// Written so that the compiler makes vectors of it, for whatever instruction set it is inlined in.
#[inline(always)]
fn finish_bytes_plain(sums: &[i32], affine: Affine, range: Range, target: &mut [u8]) {
    let tokens = sums.len() / affine.offsets.len();
    let blocks = sums.chunks_exact(BLOCK * tokens).zip(target.chunks_exact_mut(BLOCK * tokens));
    for (block, (sums, bytes)) in blocks.enumerate() {
        for (first, bytes) in bytes.as_chunks_mut::<{ LANES * BLOCK }>().0.iter_mut().enumerate() {
            let mut words = [0u32; LANES];
            for each in 0..BLOCK {
                let output = block * BLOCK + each;
                let own = &sums[each * tokens + first * LANES..][..LANES];
                for (word, sum) in words.iter_mut().zip(own) {
                    let steps = (sum - affine.offsets[output]) as f32 * affine.scales[output];
                    let byte = range.byte(steps + affine.bias[output]);
                    *word |= u32::from(byte) << (8 * each);
                }
            }
            for (four, word) in bytes.as_chunks_mut::<BLOCK>().0.iter_mut().zip(words) {
                *four = word.to_le_bytes();
            }
        }
    }
}

/// Written so that the compiler makes vectors of it, for whatever instruction set it is inlined in.
#[inline(always)]
unsafe fn finish_plain(isa: Isa, sums: &[i32], affine: Affine, activation: Activation, rows: Rows) {
    let outputs = affine.offsets.len();
    let tokens = sums.len() / outputs;
    let table = Table::get();
    for group in (0..outputs).step_by(LANES) {
        let there = LANES.min(outputs - group);
        let mut block = [[0.0f32; LANES]; LANES];
        for first in (0..rows.count).step_by(LANES) {
            for (output, target) in (group..group + there).zip(&mut block) {
                let start = output * tokens + first;
                for (result, sum) in target.iter_mut().zip(&sums[start..start + LANES]) {
                    let steps = sum - affine.offsets[output];
                    *result = steps as f32 * affine.scales[output] + affine.bias[output];
                }
                match activation {
                    Activation::None => {}
                    Activation::Relu => target.iter_mut().for_each(|x| *x = x.max(0.0)),
                    Activation::Gelu => target.iter_mut().for_each(|x| *x = table.gelu(*x)),
                }
            }
            let source = Words { first: block.as_ptr().cast(), stride: LANES };
            // SAFETY: the caller's promise.
            unsafe {
                let place = rows.first.add(first * rows.stride + group).cast();
                let target = Words { first: place, stride: rows.stride };
                transpose(isa, source, target, there, LANES.min(rows.count - first));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_instruction_set_finishes_alike(
            outputs in 1usize..80, count in 1usize..=64, spare in 0usize..3, seed in any::<u32>(),
        ) {
            let tokens = count.next_multiple_of(LANES);
            let sums: Vec<i32> = (0..outputs * tokens)
                .map(|each| ((each as u32).wrapping_mul(2654435761).wrapping_add(seed) % 2000) as i32 - 900)
                .collect();
            let offsets: Vec<i32> = (0..outputs as i32).collect();
            let scales: Vec<f32> = (0..outputs).map(|each| 0.01 + each as f32 * 1e-4).collect();
            let bias: Vec<f32> = (0..outputs).map(|each| each as f32 * 0.1 - 0.8).collect();
            let affine = Affine { offsets: &offsets, scales: &scales, bias: &bias };
            let stride = outputs + spare;
            for activation in [Activation::None, Activation::Relu, Activation::Gelu] {
                for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
                    let mut target = vec![f32::NAN; count * stride];
                    let rows = Rows { first: target.as_mut_ptr(), stride, count };
                    // SAFETY: the rows are the target's.
                    unsafe { finish(isa, &sums, affine, activation, rows) };
                    for (place, found) in target.into_iter().enumerate() {
                        let (token, output) = (place / stride, place % stride);
                        if output >= outputs {
                            prop_assert!(found.is_nan(), "{} wrote too much", isa.name());
                            continue;
                        }
                        let steps = sums[output * tokens + token] - offsets[output];
                        let plain = steps as f32 * scales[output] + bias[output];
                        let wanted = match activation {
                            Activation::None => plain,
                            Activation::Relu => plain.max(0.0),
                            Activation::Gelu => Table::get().gelu(plain),
                        };
                        prop_assert!((found - wanted).abs() <= 1e-5, "{} {found} {wanted}", isa.name());
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_instruction_set_finishes_the_same_bytes(
            blocks in 1usize..20, parts in 1usize..=4, zero_point in any::<u8>(),
            limits in any::<[u8; 2]>(), seed in any::<u32>(),
        ) {
            let (outputs, tokens) = (blocks * BLOCK, parts * LANES);
            let sums: Vec<i32> = (0..outputs * tokens)
                .map(|each| (each as u32).wrapping_mul(2654435761).wrapping_add(seed) as i32 >> 15)
                .collect();
            let offsets: Vec<i32> = (0..outputs as i32).collect();
            let scales: Vec<f32> = (0..outputs).map(|each| 0.003 + each as f32 * 1e-4).collect();
            let mut bias: Vec<f32> = (0..outputs).map(|each| each as f32 * 0.1 - 0.8).collect();
            bias[..3].copy_from_slice(&[f32::NAN, f32::INFINITY, 1e30]);
            let affine = Affine { offsets: &offsets, scales: &scales, bias: &bias };
            let [a, b] = limits;
            let range = Range { zero_point, lowest: a.min(b), highest: a.max(b) };
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
                let mut target = vec![0; sums.len()];
                finish_bytes(isa, &sums, affine, range, &mut target);
                for (place, found) in target.into_iter().enumerate() {
                    let (block, within) = (place / (tokens * BLOCK), place % (tokens * BLOCK));
                    let (token, output) = (within / BLOCK, block * BLOCK + within % BLOCK);
                    let steps = (sums[output * tokens + token] - offsets[output]) as f32;
                    let exact = steps * scales[output] + bias[output];
                    // A result between two bytes may become either, if the last bit differs.
                    let near = [exact - 1e-3, exact + 1e-3].map(|steps| range.byte(steps));
                    prop_assert!(near.contains(&found), "{} {found} {near:?}", isa.name());
                }
            }
        }
    }

    #[test]
    fn an_unknown_activation_is_named() {
        let error = Activation::named("swish").unwrap_err();
        assert!(error.to_string().contains("\"swish\""));
    }
}
