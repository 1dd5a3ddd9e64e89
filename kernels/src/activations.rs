//! Activations as the products want them: unsigned bytes, four inputs of a token side by side.
//!
//! A tile holds the four inputs of one block for all of its tokens before those of the next block:
//! `[inputs / 4][tokens][4]`. So a product reads one weight block, and a run of bytes.

use crate::blocks::BLOCK;

/// Tokens of a full tile.
pub const TOKENS: usize = 64;

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
        let (mut low, mut high) = (0.0f32, 0.0f32);
        for value in values {
            low = low.min(*value);
            high = high.max(*value);
        }
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
        // Limits NaN to 0 as well: `as` saturates.
        step as u8
    }
}

/// One tile of activations.
#[derive(Debug, Default)]
pub struct Tile {
    bytes: Vec<u8>,
    tokens: usize,
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
    /// * `rows` - `[tokens, inputs]`, at most [`TOKENS`] tokens.
    /// * `inputs` - A multiple of four.
    /// * `scale` - How floats become bytes.
    pub fn fill(&mut self, rows: &[f32], inputs: usize, scale: Scale) {
        self.fill_with(rows, inputs, scale.zero_point, |value| scale.byte(value));
    }

    /// Fills the tile with rows of bytes; tokens that it has beyond them hold the zero point.
    pub fn fill_bytes(&mut self, rows: &[u8], inputs: usize, zero_point: u8) {
        self.fill_with(rows, inputs, zero_point, |value| value);
    }

    #[inline(always)]
    fn fill_with<T: Copy>(
        &mut self,
        rows: &[T],
        inputs: usize,
        zero_point: u8,
        byte: impl Fn(T) -> u8,
    ) {
        let count = rows.len() / inputs;
        self.tokens = count.next_multiple_of(16);
        self.bytes.resize(inputs * self.tokens, zero_point);
        if count != self.tokens {
            self.bytes.fill(zero_point);
        }
        let stride = self.tokens * BLOCK;
        for (token, row) in rows.chunks_exact(inputs).enumerate() {
            for (block, four) in row.as_chunks::<BLOCK>().0.iter().enumerate() {
                let place = block * stride + token * BLOCK;
                let target = &mut self.bytes[place..place + BLOCK];
                target.copy_from_slice(&four.map(&byte));
            }
        }
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
        let mut tile = Tile::default();
        tile.fill(&rows, 8, Scale { scale: 1.0, zero_point: 3 });
        assert_eq!(tile.tokens(), 16);
        assert_eq!(tile.bytes()[..12], [3, 4, 5, 6, 11, 12, 13, 14, 19, 20, 21, 22]);
        assert_eq!(tile.bytes()[64..68], [7, 8, 9, 10]);
        assert!(tile.bytes()[12..64].iter().all(|byte| *byte == 3));
    }
}
