//! The softmax of a row of scores, not yet divided by its sum.

use super::LANES;
use super::arithmetic::Arithmetic;
#[cfg(target_arch = "x86_64")]
use super::words::both;

/// Below it, powers count as `exp(LOWEST)`: 1e-38 of the largest, which is 1.
const LOWEST: f32 = -87.0;
/// Adding it leaves whole numbers, in the last bits.
const WHOLE: f32 = 12_582_912.0;
const MANTISSA: u32 = 23;
const ONE: u32 = 127 << MANTISSA;
/// Of `2^x`, by Taylor's series around 0: within 3e-6 for |x| up to a half.
const COEFFICIENTS: [f32; 6] =
    [0.001_333_355_8, 0.009_618_129, 0.055_504_11, 0.240_226_5, std::f32::consts::LN_2, 1.0];

/// Adds a mask to scores and takes the powers of what is left below the largest.
///
/// A row that is `-inf` all along gives what is no number, as onnxruntime's softmax does.
///
/// # Arguments
/// * `arithmetic` - What words hold.
/// * `scores` - A multiple of [`LANES`]; overwritten.
/// * `mask` - As many as there are keys; powers of the others are next to nothing.
/// * `words` - The powers, as the product takes them.
///
/// # Returns
/// Their sum.
pub fn softmax(arithmetic: Arithmetic, scores: &mut [f32], mask: &[f32], words: &mut [u32]) -> f32 {
    match arithmetic {
        // SAFETY: the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Arithmetic::Avx512Bf16 => unsafe { avx512_bf16(scores, mask, words) },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Arithmetic::Avx512 => unsafe { avx512(scores, mask, words) },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Arithmetic::Avx2 => unsafe { avx2(scores, mask, words) },
        _ => plain(scores, mask, words, floats),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn avx512_bf16(scores: &mut [f32], mask: &[f32], words: &mut [u32]) -> f32 {
    plain(scores, mask, words, pairs)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(scores: &mut [f32], mask: &[f32], words: &mut [u32]) -> f32 {
    plain(scores, mask, words, floats)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(scores: &mut [f32], mask: &[f32], words: &mut [u32]) -> f32 {
    plain(scores, mask, words, floats)
}

/// Written so that the compiler makes vectors of it, for whatever instruction set it is inlined in.
#[inline(always)]
fn plain(
    scores: &mut [f32],
    mask: &[f32],
    words: &mut [u32],
    write: impl Fn(&[f32], &mut [u32]),
) -> f32 {
    for (score, mask) in scores.iter_mut().zip(mask) {
        *score += mask;
    }
    scores[mask.len()..].fill(f32::NEG_INFINITY);
    let (chunks, _) = scores.as_chunks_mut::<LANES>();
    let mut largest = [f32::NEG_INFINITY; LANES];
    for chunk in &*chunks {
        for (largest, score) in largest.iter_mut().zip(chunk) {
            *largest = if *score > *largest { *score } else { *largest };
        }
    }
    let largest = folded(largest, |one, other| if one > other { one } else { other });
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for (score, sum) in chunk.iter_mut().zip(&mut sums) {
            *score = power(*score - largest);
            *sum += *score;
        }
    }
    write(scores, words);
    folded(sums, |one, other| one + other)
}

/// By halves: one after the other they would wait for each other.
#[inline(always)]
fn folded(mut lanes: [f32; LANES], fold: impl Fn(f32, f32) -> f32) -> f32 {
    let mut left = LANES / 2;
    while left > 0 {
        for each in 0..left {
            lanes[each] = fold(lanes[each], lanes[each + left]);
        }
        left /= 2;
    }
    lanes[0]
}

/// `exp(x)` for x up to 0, within 1e-5 of itself.
#[inline(always)]
fn power(x: f32) -> f32 {
    // In this order what is no number stays none.
    let x = if x < LOWEST { LOWEST } else { x };
    let x = x * std::f32::consts::LOG2_E;
    let shifted = x + WHOLE;
    let rest = x - (shifted - WHOLE);
    let mut part = 0.0;
    for coefficient in COEFFICIENTS {
        part = part * rest + coefficient;
    }
    part * f32::from_bits((shifted.to_bits() << MANTISSA).wrapping_add(ONE))
}

#[inline(always)]
fn floats(powers: &[f32], words: &mut [u32]) {
    for (word, power) in words.iter_mut().zip(powers) {
        *word = power.to_bits();
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn pairs(powers: &[f32], words: &mut [u32]) {
    for (word, [low, high]) in words.iter_mut().zip(powers.as_chunks::<2>().0) {
        *word = both(*low, *high);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_within_a_hundred_thousandth() {
        for step in 0..=8_700 {
            let x = -(step as f32) / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(power(x)) / exact - 1.0).abs() < 1e-5, "{x}");
        }
        assert_eq!(power(0.0), 1.0);
        assert!(power(f32::NEG_INFINITY) < 2e-38);
        assert!(power(f32::NAN).is_nan());
    }

    #[test]
    fn masked_keys_weigh_next_to_nothing() {
        for arithmetic in Arithmetic::ALL.into_iter().filter(|each| each.is_here()) {
            let mut words = [0; LANES];
            for masked in [f32::NEG_INFINITY, f32::MIN, -10_000.0] {
                let mut scores = [3.0; LANES];
                let sum = softmax(arithmetic, &mut scores, &[0.0, masked, 0.0], &mut words);
                assert!((sum - 2.0).abs() < 1e-6, "{arithmetic:?} {sum}");
            }
            let mut scores = [3.0; LANES];
            let sum = softmax(arithmetic, &mut scores, &[f32::MIN; 5], &mut words);
            assert_eq!(sum, 5.0, "all masked alike weigh alike: {arithmetic:?}");
            let mut scores = [3.0; LANES];
            let sum = softmax(arithmetic, &mut scores, &[f32::NEG_INFINITY; 5], &mut words);
            assert!(sum.is_nan(), "{arithmetic:?}");
        }
    }
}
