//! Weights as pairs of neighbouring inputs, two pairs from anywhere multiplied at once.
//!
//! A mask that is not made of blocks of four leaves most blocks half empty: of 90 % zeros at random,
//! 34 % of blocks hold anything, but 19 % of pairs. Interleaving the activations of two pairs costs
//! one more instruction for each vector, on another port than the product's, and saves nearly half of
//! the products. Whether that pays depends on the processor (where one port does both, it does not):
//! it is timed once. The sums are the same, to the last bit.

use std::ops::Range;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::activations::{Activations, Layout, TOKENS, Tile};
use crate::blocks::{BLOCK, Blocks, CHUNK, Row};
use crate::products::{Isa, product};

/// Inputs of a pair.
const PAIR: usize = 2;

/// Two pairs of one output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Two {
    /// Place of each pair among the inputs, in pairs.
    pub pairs: [u16; 2],
    /// Two weights of each.
    pub values: [i8; BLOCK],
}

/// Weights `[outputs, inputs]` of which only some pairs are stored.
#[derive(Debug, Clone)]
pub struct Pairs {
    inputs: usize,
    chunks: usize,
    /// Where each output's pairs of each chunk begin, and at last how many twos of pairs there are.
    cuts: Vec<usize>,
    twos: Vec<Two>,
}

impl Pairs {
    /// Returns the pairs of weights, if this processor multiplies them faster than the blocks.
    pub fn where_faster(isa: Isa, blocks: &Blocks) -> Option<Self> {
        if !Self::can(isa) || !Self::fit(blocks) {
            return None;
        }
        let pairs = Self::new(blocks);
        let bound = blocks.len() as f64 / 1.05;
        // Not a quarter saved: there is no need to time anything.
        if pairs.twos.len() as f64 > 0.75 * blocks.len() as f64 {
            return None;
        }
        (pairs.twos.len() as f64 * cost(isa) < bound).then_some(pairs)
    }

    /// Whether an instruction set has products of pairs.
    pub fn can(isa: Isa) -> bool {
        isa == Isa::Avx512Vnni
    }

    /// Whether a pair's place fits in 16 bits.
    fn fit(blocks: &Blocks) -> bool {
        blocks.inputs() / PAIR <= 1 << 16
    }

    /// Takes weights apart.
    ///
    /// # Panics
    /// There are more than 131,072 inputs.
    pub fn new(blocks: &Blocks) -> Self {
        assert!(Self::fit(blocks), "a pair's place fits in 16 bits");
        let (mut cuts, mut twos) = (vec![0], Vec::new());
        for output in 0..blocks.outputs() {
            for chunk in 0..blocks.chunks() {
                let found = pairs_of(blocks.row(output, chunk));
                twos.extend(found.chunks(2).map(|two| {
                    let (first, second) = (two[0], *two.get(1).unwrap_or(&(two[0].0, [0; PAIR])));
                    let ([a, b], [c, d]) = (first.1, second.1);
                    Two { pairs: [first.0, second.0], values: [a, b, c, d] }
                }));
                cuts.push(twos.len());
            }
        }
        Self { inputs: blocks.inputs(), chunks: blocks.chunks(), cuts, twos }
    }

    /// Multiplies the pairs of some outputs with a tile.
    ///
    /// # Arguments
    /// * `outputs` - Which of them.
    /// * `tile` - Activations of as many inputs, [`Layout::Twos`].
    /// * `sums` - `[outputs][tile.tokens]`; overwritten.
    pub fn product(&self, outputs: Range<usize>, tile: Tile, sums: &mut [i32]) {
        assert!(outputs.end * self.chunks < self.cuts.len());
        assert_eq!(sums.len(), outputs.len() * tile.tokens);
        assert_eq!(tile.bytes.len(), self.inputs * tile.tokens, "weights are of another layer");
        assert!(tile.tokens == TOKENS || tile.tokens == TOKENS / 2);
        #[cfg(target_arch = "x86_64")]
        if Isa::Avx512Vnni.is_here() {
            // SAFETY: the processor has the instructions; pairs lie inside of the tile.
            return unsafe { x86::avx512_vnni(self, outputs, tile, sums) };
        }
        self.product_plain(outputs, tile, sums);
    }

    fn product_plain(&self, outputs: Range<usize>, tile: Tile, sums: &mut [i32]) {
        for (output, own) in outputs.zip(sums.chunks_exact_mut(tile.tokens)) {
            let all = output * self.chunks;
            let twos = &self.twos[self.cuts[all]..self.cuts[all + self.chunks]];
            for (token, sum) in own.iter_mut().enumerate() {
                let byte = |input: usize| i32::from(tile.bytes[place(input, token, tile.tokens)]);
                *sum = 0;
                for Two { pairs: [first, second], values: [a, b, c, d] } in twos {
                    let (first, second) = (usize::from(*first) * PAIR, usize::from(*second) * PAIR);
                    *sum += byte(first) * i32::from(*a) + byte(first + 1) * i32::from(*b);
                    *sum += byte(second) * i32::from(*c) + byte(second + 1) * i32::from(*d);
                }
            }
        }
    }
}

/// Returns where an input's byte of a token lies in a tile of [`Layout::Twos`].
fn place(input: usize, token: usize, tokens: usize) -> usize {
    let (half, turn) = (token % 32 / 16, token % 16);
    let within = turn / 4 * 8 + half * 4 + turn % 4;
    let line = input / BLOCK * tokens * BLOCK + token / 32 * 128 + input / PAIR % 2 * 64;
    line + within * PAIR + input % PAIR
}

fn pairs_of(row: Row) -> Vec<(u16, [i8; PAIR])> {
    row.columns
        .iter()
        .zip(row.values)
        .flat_map(|(column, [a, b, c, d])| [(2 * column, [*a, *b]), (2 * column + 1, [*c, *d])])
        .filter(|(_, pair)| *pair != [0; PAIR])
        .collect()
}

/// How much longer two pairs take than a block of four, on this processor; timed once.
fn cost(isa: Isa) -> f64 {
    static COST: OnceLock<f64> = OnceLock::new();
    *COST.get_or_init(|| timed(isa))
}

fn timed(isa: Isa) -> f64 {
    const OUTPUTS: usize = 64;
    const TIMES: usize = 30;
    let inputs = CHUNK * BLOCK;
    let columns: Vec<u16> = (0..OUTPUTS).flat_map(|output| spread(output, CHUNK, 9)).collect();
    let each = (columns.len() / OUTPUTS) as i32;
    let offsets: Vec<i32> = (0..=OUTPUTS as i32).map(|output| output * each).collect();
    let values = vec![1; columns.len() * BLOCK];
    let blocks = Blocks::new(inputs, &offsets, &columns, &values).expect("they fit");
    let pairs = Pairs::new(&blocks);
    let mut activations = Activations::default();
    activations.resize(TOKENS, inputs, Layout::Twos);
    let mut sums = vec![0; OUTPUTS * TOKENS];
    let mut least = [Duration::MAX; 2];
    for _ in 0..TIMES {
        let begun = Instant::now();
        product(isa, &blocks, 0..OUTPUTS, activations.tile(0), &mut sums);
        least[0] = least[0].min(begun.elapsed());
        let begun = Instant::now();
        pairs.product(0..OUTPUTS, activations.tile(0), &mut sums);
        least[1] = least[1].min(begun.elapsed());
    }
    let [blocks_time, pairs_time] = least.map(|time| time.as_secs_f64());
    let (blocks, pairs) = (blocks.len() as f64, pairs.twos.len() as f64);
    (pairs_time / pairs) / (blocks_time / blocks)
}

/// Returns every `step`-th number below an end, other ones for each output.
fn spread(output: usize, end: usize, step: usize) -> Vec<u16> {
    let count = end / step;
    (0..count).map(|each| (each * step + (output * 5 + each * 7) % step) as u16).collect()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::ops::Range;

    use super::Pairs;
    use crate::activations::Tile;

    /// See [`Pairs::product`].
    ///
    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub unsafe fn avx512_vnni(pairs: &Pairs, outputs: Range<usize>, tile: Tile, sums: &mut [i32]) {
        // SAFETY: the caller's promise.
        unsafe {
            match tile.tokens {
                32 => halves::<1, 2>(pairs, outputs, tile, sums),
                _ => halves::<2, 4>(pairs, outputs, tile, sums),
            }
        }
    }

    /// Sums `HALVES` times 32 tokens, in `N` vectors.
    ///
    /// # Safety
    /// The processor has the instructions.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn halves<const HALVES: usize, const N: usize>(
        weights: &Pairs,
        outputs: Range<usize>,
        tile: Tile,
        sums: &mut [i32],
    ) {
        assert!(tile.tokens == HALVES * 32 && N == HALVES * 2);
        let bytes = tile.bytes.as_ptr();
        let at = |pair: u16| {
            let pair = usize::from(pair);
            pair / 2 * (HALVES * 128) + pair % 2 * 64
        };
        for chunk in 0..weights.chunks {
            let own = sums.chunks_exact_mut(HALVES * 32);
            for (output, own) in outputs.clone().zip(own) {
                let own = own.as_mut_ptr();
                let mut found = [_mm512_setzero_si512(); N];
                if chunk > 0 {
                    for (each, sum) in found.iter_mut().enumerate() {
                        // SAFETY: each output has that many sums.
                        *sum = unsafe { _mm512_loadu_si512(own.add(16 * each).cast()) };
                    }
                }
                let cut = output * weights.chunks + chunk;
                for two in &weights.twos[weights.cuts[cut]..weights.cuts[cut + 1]] {
                    let values = _mm512_set1_epi32(i32::from_ne_bytes(two.values.map(|w| w as u8)));
                    let [first, second] = two.pairs.map(at);
                    for half in 0..HALVES {
                        // SAFETY: pairs lie inside of the tile.
                        let (first, second) = unsafe {
                            (
                                _mm512_loadu_si512(bytes.add(first + 128 * half).cast()),
                                _mm512_loadu_si512(bytes.add(second + 128 * half).cast()),
                            )
                        };
                        let low = _mm512_unpacklo_epi16(first, second);
                        let high = _mm512_unpackhi_epi16(first, second);
                        found[2 * half] = _mm512_dpbusd_epi32(found[2 * half], low, values);
                        found[2 * half + 1] =
                            _mm512_dpbusd_epi32(found[2 * half + 1], high, values);
                    }
                }
                for (each, sum) in found.iter().enumerate() {
                    // SAFETY: each output has that many sums.
                    unsafe { _mm512_storeu_si512(own.add(16 * each).cast(), *sum) };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activations::Scale;
    use crate::noise::noise;
    use proptest::prelude::*;

    fn packed(isa: Isa, rows: &[f32], inputs: usize, layout: Layout) -> Activations {
        let mut activations = Activations::default();
        activations.resize(rows.len() / inputs, inputs, layout);
        let parts = activations.parts();
        let packer = activations.packer(isa, rows, Scale { scale: 1.0, zero_point: 0 });
        for part in 0..parts {
            // SAFETY: one after the other.
            unsafe { packer.fill(part) };
        }
        activations
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn pairs_give_the_sums_of_the_blocks(
            tokens in 1usize..=64,
            blocks in prop_oneof![1usize..40, 250usize..500],
            share in 0u32..100,
            seed in any::<u64>(),
        ) {
            let inputs = blocks * BLOCK;
            let mut next = noise(seed);
            let rows: Vec<f32> = (0..tokens * inputs).map(|_| (next() % 256) as f32).collect();
            let (mut offsets, mut columns, mut values) = (vec![0], Vec::new(), Vec::new());
            for _ in 0..3 {
                for column in 0..blocks as u16 {
                    if next().is_multiple_of(2) {
                        columns.push(column);
                        let mut weight = || if next() % 100 < share { next() as i8 } else { 0 };
                        values.extend([weight(), weight(), weight(), weight()]);
                    }
                }
                offsets.push(columns.len() as i32);
            }
            let blocks = Blocks::new(inputs, &offsets, &columns, &values).unwrap();
            let fours = packed(Isa::Portable, &rows, inputs, Layout::Fours);
            let mut sums = vec![-1; 3 * fours.tile(0).tokens];
            product(Isa::Portable, &blocks, 0..3, fours.tile(0), &mut sums);
            let pairs = Pairs::new(&blocks);
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
                let twos = packed(isa, &rows, inputs, Layout::Twos);
                let tile = twos.tile(0);
                let (mut found, mut plain) = (vec![-1; 3 * tile.tokens], vec![-1; 3 * tile.tokens]);
                pairs.product(0..3, tile, &mut found);
                pairs.product_plain(0..3, tile, &mut plain);
                for output in 0..3 {
                    let wanted = &sums[output * fours.tile(0).tokens..][..tokens];
                    prop_assert_eq!(&found[output * tile.tokens..][..tokens], wanted);
                    prop_assert_eq!(&plain[output * tile.tokens..][..tokens], wanted);
                }
            }
        }
    }

    #[test]
    fn full_blocks_stay_blocks() {
        let blocks = Blocks::new(8, &[0, 2], &[0, 1], &[1; 8]).unwrap();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
            assert!(Pairs::where_faster(isa, &blocks).is_none());
        }
    }
}
