//! Activations as the products want them: unsigned bytes, four inputs of a token side by side.
//!
//! Tokens are cut into tiles of [`TOKENS`], the last one shorter. A tile holds the four inputs of one
//! block for all of its tokens before those of the next block: `[inputs / 4][tokens][4]`. So a
//! product reads one weight block, and a run of bytes: one vector of 16 tokens is one cache line.

use std::ops::Range;

use crate::blocks::BLOCK;
use crate::packing::{Target, pack, part_pairs};
use crate::products::Isa;
use crate::transposition::{Words, transpose};

/// Tokens of a full tile: as many accumulators as leave registers for the rest.
pub const TOKENS: usize = 64;

/// Tiles have a multiple of it: tokens of the widest vector.
pub const LANES: usize = 16;

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
    ///
    /// # Arguments
    /// * `low`, `high` - The smallest and the largest, as [`crate::packing::extremes`] finds them.
    pub fn reaching(low: f32, high: f32) -> Self {
        if !(high - low).is_normal() {
            return Self { scale: 1.0, zero_point: 0 };
        }
        let scale = (high - low) / 255.0;
        let zero_point = (-low / scale).round_ties_even().clamp(0.0, 255.0) as u8;
        Self { scale, zero_point }
    }

    /// Steps that a value is multiplied with.
    #[inline(always)]
    pub fn inverse(self) -> f32 {
        1.0 / self.scale
    }

    /// Returns the byte for a value; the smallest stands in for what is no number.
    #[inline(always)]
    pub fn byte(self, value: f32) -> u8 {
        let zero = f32::from(self.zero_point);
        // In this order: what is no number becomes the lower bound.
        let steps = (value * self.inverse()).max(-zero).min(255.0 - zero);
        // SAFETY: it lies between the bounds.
        let steps: i32 = unsafe { steps.round_ties_even().to_int_unchecked() };
        (steps + i32::from(self.zero_point)) as u8
    }
}

/// How bytes of a tile lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Layout {
    /// `[inputs / 4][tokens][4]`.
    #[default]
    Fours,
    /// `[inputs / 4][tokens / 32][2][32][2]`: pairs of inputs apart, for [`crate::pairs`]. Of 32 tokens
    /// the first and the second 16 take turns, four by four, so that those of two pairs that are
    /// interleaved come out in order.
    Twos,
}

impl Layout {
    /// Tokens that are packed at once, and that tiles have a multiple of.
    pub fn lanes(self) -> usize {
        match self {
            Layout::Fours => LANES,
            Layout::Twos => 2 * LANES,
        }
    }
}

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Room for the activations of a run, in tiles.
#[derive(Debug, Default)]
pub struct Activations {
    lines: Vec<Line>,
    inputs: usize,
    count: usize,
    layout: Layout,
}

impl Activations {
    /// Makes room; what is in it is left over from before until [`Self::pack`] was called.
    ///
    /// # Arguments
    /// * `count` - Tokens.
    /// * `inputs` - A multiple of four.
    /// * `layout` - How bytes lie.
    pub fn resize(&mut self, count: usize, inputs: usize, layout: Layout) {
        assert_eq!(inputs % BLOCK, 0, "inputs are whole blocks");
        let bytes = count.next_multiple_of(layout.lanes()) * inputs;
        self.lines.resize(bytes.div_ceil(size_of::<Line>()), Line([0; 64]));
        (self.inputs, self.count, self.layout) = (inputs, count, layout);
    }

    /// Number of tiles.
    pub fn tiles(&self) -> usize {
        self.count.div_ceil(TOKENS)
    }

    /// Number of parts that [`Self::packer`] fills.
    pub fn parts(&self) -> usize {
        self.count.div_ceil(self.layout.lanes())
    }

    /// Returns a tile.
    pub fn tile(&self, tile: usize) -> Tile<'_> {
        let first = tile * TOKENS;
        let tokens = self.tokens(tile);
        // SAFETY: lines are bytes without gaps, and `resize` made room for all tiles.
        let all = unsafe {
            std::slice::from_raw_parts(
                self.lines.as_ptr().cast::<u8>(),
                self.lines.len() * size_of::<Line>(),
            )
        };
        let start = first * self.inputs;
        Tile { bytes: &all[start..start + tokens * self.inputs], tokens }
    }

    /// Returns what fills the tiles, from several threads.
    ///
    /// # Arguments
    /// * `isa` - One that this processor has.
    /// * `rows` - `[count, inputs]`.
    /// * `scale` - How floats become bytes.
    pub fn packer<'a>(&'a mut self, isa: Isa, rows: &'a [f32], scale: Scale) -> Packer<'a> {
        assert_eq!(rows.len(), self.count * self.inputs, "rows of other inputs");
        let first = self.lines.as_mut_ptr().cast();
        Packer { isa, rows, scale, first, activations: self }
    }

    /// Returns what fills the tiles with results of another layer, from several threads.
    pub fn filler(&mut self) -> Filler<'_> {
        Filler { first: self.lines.as_mut_ptr().cast(), activations: self }
    }

    /// Returns what fills the tiles with bytes that lie in rows, from several threads.
    pub fn mover(&mut self, isa: Isa) -> Mover<'_> {
        Mover { isa, filler: self.filler() }
    }

    /// Tokens that a tile has room for.
    fn tokens(&self, tile: usize) -> usize {
        TOKENS.min(self.count.next_multiple_of(self.layout.lanes()) - tile * TOKENS)
    }
}

/// One tile; tokens that it has beyond those there are hold anything.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a> {
    /// `[inputs / 4][tokens][4]`, from the start of a cache line.
    pub bytes: &'a [u8],
    /// A multiple of 16, or of 32 with pairs; at most [`TOKENS`].
    pub tokens: usize,
}

/// Fills the tiles of a run.
#[derive(Debug)]
pub struct Packer<'a> {
    isa: Isa,
    rows: &'a [f32],
    scale: Scale,
    first: *mut u8,
    activations: &'a Activations,
}

impl Packer<'_> {
    /// Fills one part of the tiles.
    ///
    /// # Safety
    /// No other thread fills the same part.
    pub unsafe fn fill(&self, part: usize) {
        let (inputs, layout) = (self.activations.inputs, self.activations.layout);
        let first = part * layout.lanes();
        let tile = first / TOKENS;
        let rows = &self.rows[first * inputs..];
        let stride = self.activations.tokens(tile) * BLOCK;
        // SAFETY: the part lies in the tile, for which there is room.
        unsafe {
            let place = self.first.add(tile * TOKENS * inputs + first % TOKENS * BLOCK);
            for (each, rows) in rows.chunks(LANES * inputs).take(layout.lanes() / LANES).enumerate()
            {
                let target = Target { first: place.add(each * LANES * BLOCK), stride };
                pack(self.isa, rows, inputs, self.scale, target);
            }
            if layout == Layout::Twos {
                part_pairs(self.isa, inputs, Target { first: place, stride });
            }
        }
    }
}

// SAFETY: threads fill places that no other one uses.
unsafe impl Sync for Packer<'_> {}

/// Fills the tiles of a run with bytes that are there already.
#[derive(Debug)]
pub struct Filler<'a> {
    first: *mut u8,
    activations: &'a Activations,
}

impl Filler<'_> {
    /// Returns the place of an input of a tile's first token, and the tokens that there is room for.
    ///
    /// # Safety
    /// There is such a tile, and such an input.
    pub unsafe fn at(&self, tile: usize, input: usize) -> (Target, usize) {
        let tokens = self.activations.tokens(tile);
        let place = tile * TOKENS * self.activations.inputs + input * tokens;
        // SAFETY: the caller's promise.
        let first = unsafe { self.first.add(place) };
        (Target { first, stride: tokens * BLOCK }, tokens)
    }

    /// Number of parts that [`Self::arrange`] is called for.
    pub fn parts(&self) -> usize {
        self.activations.parts()
    }

    /// Brings a part that was filled block by block into the layout.
    ///
    /// # Safety
    /// The part is full, and no other thread arranges it.
    pub unsafe fn arrange(&self, isa: Isa, part: usize) {
        let layout = self.activations.layout;
        if layout == Layout::Twos {
            let first = part * layout.lanes();
            // SAFETY: the part lies in the tile.
            unsafe {
                let (target, _) = self.at(first / TOKENS, 0);
                let first = target.first.add(first % TOKENS * BLOCK);
                part_pairs(isa, self.activations.inputs, Target { first, ..target });
            }
        }
    }
}

// SAFETY: threads fill places that no other one uses.
unsafe impl Sync for Filler<'_> {}

/// Fills the tiles of a run with bytes that lie in rows.
#[derive(Debug)]
pub struct Mover<'a> {
    isa: Isa,
    filler: Filler<'a>,
}

impl Mover<'_> {
    /// Returns the tokens of a part of the tiles.
    pub fn tokens(&self, part: usize) -> Range<usize> {
        let activations = self.filler.activations;
        let lanes = activations.layout.lanes();
        part * lanes..activations.count.min((part + 1) * lanes)
    }

    /// Fills one part of the tiles.
    ///
    /// # Arguments
    /// * `part` - Its number.
    /// * `rows` - `[tokens, inputs]` of the part.
    ///
    /// # Panics
    /// There are not as many rows.
    ///
    /// # Safety
    /// No other thread fills the same part.
    pub unsafe fn fill(&self, part: usize, rows: &[u8]) {
        let (inputs, tokens) = (self.filler.activations.inputs, self.tokens(part));
        assert_eq!(rows.len(), tokens.len() * inputs, "rows of other inputs");
        let (blocks, first, count) = (inputs / BLOCK, tokens.start, tokens.len());
        let source = Words { first: rows.as_ptr().cast(), stride: blocks };
        // SAFETY: the part lies in the tile, for which there is room.
        unsafe {
            let (target, tokens) = self.filler.at(first / TOKENS, 0);
            let place = target.first.add(first % TOKENS * BLOCK).cast();
            transpose(self.isa, source, Words { first: place, stride: tokens }, count, blocks);
            self.filler.arrange(self.isa, part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_scale_reaches_from_the_smallest_to_the_largest_value() {
        let scale = Scale::reaching(-1.0, 4.1);
        assert_eq!((scale.byte(-1.0), scale.byte(4.1), scale.byte(0.0)), (0, 255, 50));
        assert_eq!(Scale::reaching(0.0, 5.1).zero_point, 0);
        assert_eq!(Scale::reaching(-3.0, 0.0).byte(0.0), 255);
    }

    #[test]
    fn nothing_but_zeros_has_a_scale_too() {
        for high in [0.0, f32::INFINITY] {
            let scale = Scale::reaching(0.0, high);
            assert_eq!((scale.scale, scale.byte(0.0)), (1.0, 0));
        }
    }

    #[test]
    fn what_is_no_number_becomes_the_smallest_byte() {
        let scale = Scale { scale: 0.5, zero_point: 7 };
        let cases = [(f32::NAN, 0), (f32::INFINITY, 255), (f32::NEG_INFINITY, 0), (1e30, 255)];
        for (value, byte) in cases {
            assert_eq!(scale.byte(value), byte);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn tiles_keep_four_inputs_of_a_token_together(
            count in 0usize..200, blocks in 1usize..24, zero_point in any::<u8>(), seed in any::<u32>(),
        ) {
            let inputs = blocks * BLOCK;
            let scale = Scale { scale: 0.37, zero_point };
            let rows: Vec<f32> = (0..count * inputs)
                .map(|each| match (each as u32).wrapping_mul(2654435761).wrapping_add(seed) % 1000 {
                    0 => f32::NAN,
                    1 => f32::INFINITY,
                    2 => -1e30,
                    value => (value as f32 - 500.0) * 0.37 * 0.5,
                })
                .collect();
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
                let mut activations = Activations::default();
                activations.resize(count, inputs, Layout::Fours);
                let parts = activations.parts();
                let packer = activations.packer(isa, &rows, scale);
                for part in 0..parts {
                    // SAFETY: one after the other.
                    unsafe { packer.fill(part) };
                }
                for token in 0..count {
                    let tile = activations.tile(token / TOKENS);
                    for input in 0..inputs {
                        let place = (input / BLOCK * tile.tokens + token % TOKENS) * BLOCK;
                        let wanted = scale.byte(rows[token * inputs + input]);
                        prop_assert_eq!(tile.bytes[place + input % BLOCK], wanted, "{}", isa.name());
                    }
                }
            }
        }
    }
}
