//! Numbers as the products take them: a float in a word, or two of bf16.

use super::arithmetic::Arithmetic;

const HALF: u32 = 16;
/// Half of bf16's last place, in a float.
const HALF_PLACE: u32 = 1 << (HALF - 1);
/// The first bit of a mantissa, which tells what is no number from infinity.
const QUIET: u32 = 1 << 22;

impl Arithmetic {
    /// How many keys' values lie in a word.
    pub fn keys_of_word(self) -> usize {
        if self.is_bf16() { 2 } else { 1 }
    }

    /// Writes a row's numbers times a scale as words, neighbours side by side; what lacks is zero.
    pub fn round(self, row: &[f32], scale: f32, words: &mut [u32]) {
        match self {
            // SAFETY: the processor has the instructions.
            #[cfg(target_arch = "x86_64")]
            Arithmetic::Avx512Bf16 => unsafe { x86::round_bf16(row, scale, words) },
            _ => {
                for (word, number) in words.iter_mut().zip(row) {
                    *word = (number * scale).to_bits();
                }
            }
        }
    }

    /// Writes words of which each holds a number of each row; an empty row is one of zeros.
    ///
    /// # Arguments
    /// * `first`, `second` - Rows; the second is not there where a word holds one number.
    /// * `words` - As many as a row has numbers.
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
    pub fn pair(self, first: &[f32], second: &[f32], words: &mut [u32]) {
        match self {
            // SAFETY: the processor has the instructions.
            #[cfg(target_arch = "x86_64")]
            Arithmetic::Avx512Bf16 => unsafe { x86::pair_bf16(first, second, words) },
            _ if first.is_empty() => words.fill(0),
            _ => {
                for (word, number) in words.iter_mut().zip(first) {
                    *word = number.to_bits();
                }
            }
        }
    }
}

/// Rounds to the nearest bf16, in the word's upper half; the lower one is arbitrary.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
#[inline(always)]
pub fn nearest(number: f32) -> u32 {
    let bits = number.to_bits();
    // A sum could carry what is no number over into zero.
    if number.is_nan() { bits | QUIET } else { bits + HALF_PLACE }
}

/// Puts two numbers in a word.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
#[inline(always)]
pub fn both(low: f32, high: f32) -> u32 {
    nearest(low) >> HALF | nearest(high) & (u32::MAX << HALF)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::both;

    #[target_feature(enable = "avx512f,avx512bw")]
    pub fn round_bf16(row: &[f32], scale: f32, words: &mut [u32]) {
        let (pairs, rest) = row.as_chunks::<2>();
        for (word, [low, high]) in words.iter_mut().zip(pairs) {
            *word = both(low * scale, high * scale);
        }
        if let [last] = rest {
            words[pairs.len()] = both(last * scale, 0.0);
        }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    pub fn pair_bf16(first: &[f32], second: &[f32], words: &mut [u32]) {
        if first.is_empty() {
            words.fill(0);
        } else if second.is_empty() {
            for (word, low) in words.iter_mut().zip(first) {
                *word = both(*low, 0.0);
            }
        } else {
            for (word, (low, high)) in words.iter_mut().zip(first.iter().zip(second)) {
                *word = both(*low, *high);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(number: f32) -> f32 {
        f32::from_bits(nearest(number) & (u32::MAX << HALF))
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest() {
        for step in -1_000..1_000 {
            let number = step as f32 * 7.37;
            assert!((rounded(number) - number).abs() <= number.abs() / 256.0, "{number}");
        }
        assert_eq!(rounded(-0.0).to_bits(), (-0.0f32).to_bits());
    }

    #[test]
    fn what_is_no_number_stays_none() {
        assert_eq!(rounded(f32::INFINITY), f32::INFINITY);
        assert_eq!(rounded(f32::NEG_INFINITY), f32::NEG_INFINITY);
        for bits in [0x7f80_0001, 0x7fc0_0000, 0x7fff_ffff, 0xffff_ffff] {
            assert!(rounded(f32::from_bits(bits)).is_nan(), "{bits:x}");
        }
    }
}
