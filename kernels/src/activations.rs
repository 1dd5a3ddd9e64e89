//! Activations as the products want them: unsigned bytes, four inputs of a token side by side.
//!
//! A tile holds the four inputs of one block for all of its tokens before those of the next block:
//! `[inputs / 4][tokens][4]`. So a product reads one weight block, and a run of bytes.

use crate::blocks::BLOCK;
use crate::products::Isa;
use crate::transposition::{Words, transpose};

/// Tokens of a full tile.
pub const TOKENS: usize = 64;

/// Tiles have a multiple of it: tokens of the widest vector.
const LANES: usize = 16;

/// How floats become bytes: `round(x / scale) + zero_point`, limited to a byte.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// Of one step.
    pub scale: f32,
    /// The byte that stands for 0.
    pub zero_point: u8,
}

impl Scale {
    /// The scale that dynamic quantization takes: from the smallest to the largest value, and 0.
    pub fn of(values: &[f32]) -> Self {
        let (low, high) = extremes(values);
        if !(high - low).is_normal() {
            return Self { scale: 1.0, zero_point: 0 };
        }
        let scale = (high - low) / 255.0;
        let zero_point = (-low / scale).round_ties_even().clamp(0.0, 255.0) as u8;
        Self { scale, zero_point }
    }

    /// Returns the byte for a value; 0 stands in for what is no number.
    #[inline(always)]
    pub fn byte(self, value: f32) -> u8 {
        let step = (value * (1.0 / self.scale)).round_ties_even() + f32::from(self.zero_point);
        // In this order: what is no number becomes 0.
        step.max(0.0).min(255.0) as i32 as u8
    }
}

/// Returns the smallest and the largest of values and 0; lanes apart, so that vectors compute it.
fn extremes(values: &[f32]) -> (f32, f32) {
    let (mut low, mut high) = ([0.0f32; LANES], [0.0f32; LANES]);
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut look = |lane: usize, value: f32| {
        low[lane] = if value < low[lane] { value } else { low[lane] };
        high[lane] = if value > high[lane] { value } else { high[lane] };
    };
    for chunk in chunks {
        for (lane, value) in chunk.iter().enumerate() {
            look(lane, *value);
        }
    }
    for value in rest {
        look(0, *value);
    }
    (low.into_iter().fold(0.0, f32::min), high.into_iter().fold(0.0, f32::max))
}

/// One tile of activations.
#[derive(Debug, Default)]
pub struct Tile {
    bytes: Vec<u8>,
    tokens: usize,
    rounded: Vec<u8>,
}

impl Tile {
    /// Tokens that the tile has room for: a multiple of 16.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The bytes, `[inputs / 4][tokens][4]`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Fills the tile with rows of floats; tokens that it has beyond them hold the zero point.
    ///
    /// # Arguments
    /// * `isa` - One that this processor has.
    /// * `rows` - `[tokens, inputs]`, at most [`TOKENS`] tokens.
    /// * `inputs` - A multiple of four.
    /// * `scale` - How floats become bytes.
    pub fn fill(&mut self, isa: Isa, rows: &[f32], inputs: usize, scale: Scale) {
        self.rounded.resize(rows.len(), 0);
        round(isa, rows, scale, &mut self.rounded);
        let rounded = std::mem::take(&mut self.rounded);
        self.fill_bytes(isa, &rounded, inputs, scale.zero_point);
        self.rounded = rounded;
    }

    /// Fills the tile with rows of bytes; tokens that it has beyond them hold the zero point.
    pub fn fill_bytes(&mut self, isa: Isa, rows: &[u8], inputs: usize, zero_point: u8) {
        let count = rows.len() / inputs;
        self.tokens = count.next_multiple_of(LANES);
        self.bytes.resize(inputs * self.tokens, zero_point);
        if count != self.tokens {
            self.bytes.fill(zero_point);
        }
        let source = Words { first: rows.as_ptr().cast(), stride: inputs / BLOCK };
        let target = Words { first: self.bytes.as_mut_ptr().cast(), stride: self.tokens };
        // SAFETY: the rows have `count` times `inputs` bytes, the tile at least as many.
        unsafe { transpose(isa, source, target, count, inputs / BLOCK) };
    }
}

/// Turns floats into bytes.
fn round(isa: Isa, values: &[f32], scale: Scale, bytes: &mut [u8]) {
    match isa {
        // SAFETY: the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => unsafe { round_avx512(values, scale, bytes) },
        // SAFETY: the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni | Isa::Avx2 => unsafe { round_avx2(values, scale, bytes) },
        _ => round_plain(values, scale, bytes),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn round_avx512(values: &[f32], scale: Scale, bytes: &mut [u8]) {
    round_plain(values, scale, bytes);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn round_avx2(values: &[f32], scale: Scale, bytes: &mut [u8]) {
    round_plain(values, scale, bytes);
}

#[inline(always)]
fn round_plain(values: &[f32], scale: Scale, bytes: &mut [u8]) {
    for (byte, value) in bytes.iter_mut().zip(values) {
        *byte = scale.byte(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_reaches_from_the_smallest_to_the_largest_value() {
        let scale = Scale::of(&[-1.0, 0.5, 4.1]);
        assert_eq!((scale.byte(-1.0), scale.byte(4.1), scale.byte(0.0)), (0, 255, 50));
        assert_eq!(Scale::of(&[2.0, 5.1]).zero_point, 0);
        assert_eq!(Scale::of(&[-3.0, -1.0]).byte(0.0), 255);
    }

    #[test]
    fn nothing_but_zeros_has_a_scale_too() {
        for values in [&[][..], &[0.0, 0.0], &[f32::NAN], &[f32::INFINITY]] {
            let scale = Scale::of(values);
            assert_eq!((scale.scale, scale.byte(0.0)), (1.0, 0));
        }
    }

    #[test]
    fn a_tile_keeps_four_inputs_of_a_token_together() {
        let rows: Vec<f32> = (0..24).map(|each| each as f32).collect();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
            let mut tile = Tile::default();
            tile.fill(isa, &rows, 8, Scale { scale: 1.0, zero_point: 3 });
            assert_eq!(tile.tokens(), 16);
            assert_eq!(tile.bytes()[..12], [3, 4, 5, 6, 11, 12, 13, 14, 19, 20, 21, 22]);
            assert_eq!(tile.bytes()[64..68], [7, 8, 9, 10]);
            assert!(tile.bytes()[12..64].iter().all(|byte| *byte == 3));
        }
    }

    #[test]
    fn what_is_no_number_becomes_the_smallest_byte() {
        let scale = Scale { scale: 0.5, zero_point: 7 };
        for (value, byte) in [(f32::NAN, 0), (f32::INFINITY, 255), (f32::NEG_INFINITY, 0)] {
            assert_eq!(scale.byte(value), byte);
        }
    }
}
