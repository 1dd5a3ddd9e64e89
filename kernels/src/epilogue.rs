//! From sums to results: zero point, scales, bias and activation, and back to one row a token.

use std::f32::consts::FRAC_1_SQRT_2;

use crate::blocks::Malformed;
use crate::products::Isa;
use crate::transposition::{Words, transpose};

/// Outputs that are finished together.
pub const GROUP: usize = 16;

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
            _ => Err(Malformed(format!("activation {name:?}; expected \"\", \"relu\" or \"gelu\""))),
        }
    }
}

/// How the sums of one output become its results: `(sum - offset) * scale + bias`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Affine {
    /// What the zero point of the activations contributed.
    pub offset: i32,
    /// Of the activations, times that of the output's weights.
    pub scale: f32,
    /// Added last.
    pub bias: f32,
}

/// Finishes up to [`GROUP`] outputs of a tile.
///
/// # Arguments
/// * `sums` - `[outputs][tokens]`; used up.
/// * `affine` - Of each output.
/// * `rows` - Where each token's results of these outputs go, in the order of the tile.
///
/// # Safety
/// Each of `rows` points to as many floats as there are outputs, which nobody else uses.
pub unsafe fn finish(
    isa: Isa,
    sums: &[i32],
    affine: &[Affine],
    activation: Activation,
    rows: Rows,
) {
    match isa {
        // SAFETY: the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => unsafe { finish_avx512(sums, affine, activation, rows) },
        // SAFETY: the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni | Isa::Avx2 => unsafe { finish_avx2(sums, affine, activation, rows) },
        // SAFETY: the caller's promise.
        _ => unsafe { finish_plain(isa, sums, affine, activation, rows) },
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

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn finish_avx512(sums: &[i32], affine: &[Affine], activation: Activation, rows: Rows) {
    // SAFETY: the caller's promise.
    unsafe { finish_plain(Isa::Avx512Vnni, sums, affine, activation, rows) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn finish_avx2(sums: &[i32], affine: &[Affine], activation: Activation, rows: Rows) {
    // SAFETY: the caller's promise.
    unsafe { finish_plain(Isa::Avx2, sums, affine, activation, rows) }
}

/// Written so that the compiler makes vectors of it, for whatever instruction set it is inlined in.
#[inline(always)]
unsafe fn finish_plain(
    isa: Isa,
    sums: &[i32],
    affine: &[Affine],
    activation: Activation,
    rows: Rows,
) {
    const LANES: usize = 16;
    let outputs = affine.len();
    let tokens = sums.len() / outputs.max(1);
    let mut block = [[0.0f32; LANES]; GROUP];
    for first in (0..rows.count).step_by(LANES) {
        for ((target, affine), own) in block.iter_mut().zip(affine).zip(sums.chunks_exact(tokens)) {
            let own: &[i32; LANES] = own[first..first + LANES].try_into().expect("tiles are of 16");
            for (result, sum) in target.iter_mut().zip(own) {
                *result = (sum - affine.offset) as f32 * affine.scale + affine.bias;
            }
            match activation {
                Activation::None => {}
                Activation::Relu => target.iter_mut().for_each(|x| *x = x.max(0.0)),
                Activation::Gelu => target.iter_mut().for_each(|x| *x = gelu(*x)),
            }
        }
        let source = Words { first: block.as_ptr().cast(), stride: LANES };
        // SAFETY: the caller's promise.
        unsafe {
            let place = rows.first.add(first * rows.stride).cast();
            let target = Words { first: place, stride: rows.stride };
            transpose(isa, source, target, outputs, LANES.min(rows.count - first));
        }
    }
}

/// `x * (1 + erf(x / sqrt 2)) / 2`.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2))
}

/// The error function, to 2e-7: Abramowitz and Stegun, 7.1.26.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let polynomial = t
        * (0.254_829_6
            + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4))));
    (1.0 - polynomial * exp(-x * x)).copysign(x)
}

/// `e ** x` for `x` from -87 to 0, to 2e-7 of itself; 0 below.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let limited = x.max(-87.0);
    let power = (limited * std::f32::consts::LOG2_E).round_ties_even();
    let rest = limited - power * LN_2_HIGH - power * LN_2_LOW;
    let mut sum = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = sum * rest + coefficient;
    }
    let fraction = sum * rest * rest + rest + 1.0;
    let scale = f32::from_bits(((power as i32 + 127) as u32) << 23);
    fraction * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maclaurin's series in double precision; enough for |x| < 6.
    fn exact_erf(x: f64) -> f64 {
        let (mut sum, mut term) = (0.0, x);
        for n in 0..200 {
            sum += term / (2 * n + 1) as f64;
            term *= -x * x / (n + 1) as f64;
        }
        2.0 / std::f64::consts::PI.sqrt() * sum
    }

    #[test]
    fn gelu_is_exact_to_a_millionth() {
        for step in -5000..=5000 {
            let x = step as f32 / 1000.0;
            let wanted = 0.5 * f64::from(x) * (1.0 + exact_erf(f64::from(x) * 0.5f64.sqrt()));
            assert!((f64::from(gelu(x)) - wanted).abs() < 2e-6, "{x}: {} {wanted}", gelu(x));
        }
        assert_eq!(gelu(40.0), 40.0);
        assert_eq!(gelu(-40.0), 0.0);
        assert_eq!(gelu(0.0), 0.0);
    }

    #[test]
    fn every_instruction_set_finishes_alike() {
        let (outputs, tokens, count) = (5, 32, 19);
        let sums: Vec<i32> = (0..outputs * tokens).map(|each| (each * 37 % 2000) as i32 - 900).collect();
        let affine: Vec<Affine> = (0..outputs)
            .map(|each| Affine { offset: each as i32, scale: 0.01, bias: each as f32 - 2.0 })
            .collect();
        for activation in [Activation::None, Activation::Relu, Activation::Gelu] {
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
                let mut target = vec![f32::NAN; count * outputs];
                let rows = Rows { first: target.as_mut_ptr(), stride: outputs, count };
                // SAFETY: the rows are the target's.
                unsafe { finish(isa, &sums, &affine, activation, rows) };
                for token in 0..count {
                    for output in 0..outputs {
                        let own = affine[output];
                        let plain = (sums[output * tokens + token] - own.offset) as f32 * own.scale + own.bias;
                        let wanted = match activation {
                            Activation::None => plain,
                            Activation::Relu => plain.max(0.0),
                            Activation::Gelu => gelu(plain),
                        };
                        let found = target[token * outputs + output];
                        assert!((found - wanted).abs() <= 1e-5, "{} {found} {wanted}", isa.name());
                    }
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
