//! Layer normalization of the sum of two tensors: what follows each sublayer of an encoder.
//!
//! One pass over memory instead of the two that onnxruntime's `Add` and `LayerNormalization` take; its
//! own fusion of them is slower than both on CPUs (0.48 against 0.07 ms for 128 × 768, one thread).

use crate::blocks::Malformed;
use crate::linear::Pool;
use crate::products::Isa;

/// Rows that one piece of work computes.
const ROWS: usize = 8;
/// Sums that are kept apart, so that vectors compute them.
const APART: usize = 64;

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias` for `x = first + second`, row by row.
#[derive(Debug)]
pub struct AddNormalization {
    isa: Isa,
    scale: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl AddNormalization {
    /// Puts it together.
    ///
    /// # Arguments
    /// * `isa` - One that this processor has.
    /// * `scale`, `bias` - Of each place of a row.
    /// * `epsilon` - Added to the variance; 0 or more.
    ///
    /// # Errors
    /// The parts do not fit together.
    pub fn new(isa: Isa, scale: &[f32], bias: &[f32], epsilon: f32) -> Result<Self, Malformed> {
        if scale.is_empty() || scale.len() != bias.len() {
            let (scales, biases) = (scale.len(), bias.len());
            return Err(Malformed(format!(
                "{scales} scales and {biases} biases; expected as many"
            )));
        }
        if !(epsilon.is_finite() && epsilon >= 0.0) {
            return Err(Malformed(format!("epsilon is {epsilon}; expected 0 or more")));
        }
        Ok(Self { isa, scale: scale.to_vec(), bias: bias.to_vec(), epsilon })
    }

    /// Length of a row.
    pub fn width(&self) -> usize {
        self.scale.len()
    }

    /// Computes rows.
    ///
    /// # Arguments
    /// * `first`, `second` - `[rows, width]`.
    /// * `target` - As many; overwritten.
    /// * `pool` - What computes.
    ///
    /// # Panics
    /// The lengths do not fit.
    pub fn run(&self, first: &[f32], second: &[f32], target: &mut [f32], pool: &dyn Pool) {
        assert!(first.len() == second.len() && first.len() == target.len());
        assert!(first.len().is_multiple_of(self.width()));
        let piece = ROWS * self.width();
        let length = target.len();
        let place = Place::of(target);
        pool.for_each(length.div_ceil(piece), &|each| {
            let range = each * piece..length.min((each + 1) * piece);
            // SAFETY: pieces do not overlap, and lie in the target.
            let target = unsafe { place.slice(range.clone()) };
            let rows = first[range.clone()].chunks_exact(self.width());
            let rows = rows.zip(second[range].chunks_exact(self.width()));
            for ((first, second), target) in rows.zip(target.chunks_exact_mut(self.width())) {
                self.row(first, second, target);
            }
        });
    }

    fn row(&self, first: &[f32], second: &[f32], target: &mut [f32]) {
        match self.isa {
            // SAFETY: the processor has the instructions.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => unsafe { row_avx512(self, first, second, target) },
            // SAFETY: the processor has the instructions.
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni | Isa::Avx2 => unsafe { row_avx2(self, first, second, target) },
            _ => row_plain(self, first, second, target),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn row_avx512(how: &AddNormalization, first: &[f32], second: &[f32], target: &mut [f32]) {
    row_plain(how, first, second, target);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn row_avx2(how: &AddNormalization, first: &[f32], second: &[f32], target: &mut [f32]) {
    row_plain(how, first, second, target);
}

/// Written so that the compiler makes vectors of it, for whatever instruction set it is inlined in.
#[inline(always)]
fn row_plain(how: &AddNormalization, first: &[f32], second: &[f32], target: &mut [f32]) {
    let width = target.len() as f32;
    for ((x, first), second) in target.iter_mut().zip(first).zip(second) {
        *x = first + second;
    }
    let mean = sum_of(target, |x| x) / width;
    let variance = sum_of(target, |x| (x - mean) * (x - mean)) / width;
    let inverse = 1.0 / (variance + how.epsilon).sqrt();
    for ((x, scale), bias) in target.iter_mut().zip(&how.scale).zip(&how.bias) {
        *x = (*x - mean) * inverse * scale + bias;
    }
}

#[inline(always)]
fn sum_of(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0f32; APART];
    let (chunks, rest) = values.as_chunks::<APART>();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += of(*value);
        }
    }
    // By halves: one after the other they would wait for each other.
    let mut left = APART / 2;
    while left > 0 {
        for each in 0..left {
            sums[each] += sums[each + left];
        }
        left /= 2;
    }
    sums[0] + rest.iter().map(|value| of(*value)).sum::<f32>()
}

/// Where results go, from several threads.
pub(crate) struct Place(*mut f32);

impl Place {
    /// Takes a target, which nobody else touches meanwhile.
    pub fn of(target: &mut [f32]) -> Self {
        Self(target.as_mut_ptr())
    }

    /// # Safety
    /// The range lies in the target, and nobody else has any of it.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice(&self, range: std::ops::Range<usize>) -> &mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(range.start), range.len()) }
    }
}

// SAFETY: threads write to places that no other one uses.
unsafe impl Sync for Place {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::Caller;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn rows_have_the_mean_and_deviation_that_they_are_given(
            count in 0usize..40, width in 1usize..200, seed in 1u32..1000,
        ) {
            let number = |each: usize, step: u32| {
                ((each as u32).wrapping_mul(2654435761).wrapping_add(seed * step) % 1000) as f32 / 250.0
            };
            let first: Vec<f32> = (0..count * width).map(|each| number(each, 1)).collect();
            let second: Vec<f32> = (0..count * width).map(|each| number(each, 7) - 3.0).collect();
            let scale: Vec<f32> = (0..width).map(|each| 0.5 + each as f32 / 100.0).collect();
            let bias: Vec<f32> = (0..width).map(|each| each as f32 / 50.0 - 1.0).collect();
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
                let how = AddNormalization::new(isa, &scale, &bias, 1e-5).unwrap();
                let mut found = vec![f32::NAN; count * width];
                how.run(&first, &second, &mut found, &Caller);
                for row in 0..count {
                    let range = row * width..(row + 1) * width;
                    let sums: Vec<f64> = range
                        .clone()
                        .map(|each| f64::from(first[each]) + f64::from(second[each]))
                        .collect();
                    let mean = sums.iter().sum::<f64>() / width as f64;
                    let variance =
                        sums.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
                    for (each, x) in sums.iter().enumerate() {
                        let plain = (x - mean) / (variance + 1e-5).sqrt();
                        let wanted = plain * f64::from(scale[each]) + f64::from(bias[each]);
                        let found = f64::from(found[row * width + each]);
                        prop_assert!((found - wanted).abs() < 1e-3, "{} {found} {wanted}", isa.name());
                    }
                }
            }
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let make = |scale: &[f32], bias: &[f32], epsilon| {
            AddNormalization::new(Isa::Portable, scale, bias, epsilon).unwrap_err().to_string()
        };
        assert!(make(&[], &[], 0.0).contains("0 scales and 0 biases"));
        assert!(make(&[1.0], &[1.0; 2], 0.0).contains("1 scales and 2 biases"));
        for bad in [-1.0, f32::NAN, f32::INFINITY] {
            assert!(make(&[1.0], &[1.0], bad).contains("epsilon is"));
        }
    }
}
