//! The product of one output's blocks with a tile of activations, on each instruction set.
//!
//! All give the same int32 accumulators, to the last bit: `sum(byte * weight)`, without saturation.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
mod arm;

use std::ops::Range;

use crate::activations::Tile;
use crate::blocks::{Blocks, Row};

/// Instruction sets with a product of their own, the fastest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 with VNNI: 64 bytes an instruction.
    Avx512Vnni,
    /// AVX-VNNI: 32 bytes an instruction.
    AvxVnni,
    /// AVX2: products are widened to 16 bits, since 8-bit ones would saturate.
    Avx2,
    /// NEON's dot product: 16 bytes an instruction.
    NeonDot,
    /// Plain code.
    Portable,
}

impl Isa {
    /// All of them.
    pub const ALL: [Isa; 5] =
        [Isa::Avx512Vnni, Isa::AvxVnni, Isa::Avx2, Isa::NeonDot, Isa::Portable];

    /// Its name, as reports show it.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Avx512Vnni => "avx512_vnni",
            Isa::AvxVnni => "avx_vnni",
            Isa::Avx2 => "avx2",
            Isa::NeonDot => "neon_dot",
            Isa::Portable => "portable",
        }
    }

    /// Whether this processor has it.
    pub fn is_here(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("avxvnni")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot => std::arch::is_aarch64_feature_detected!("dotprod"),
            Isa::Portable => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// The fastest that this processor has.
    pub fn fastest() -> Isa {
        Self::ALL.into_iter().find(|isa| isa.is_here()).unwrap_or(Isa::Portable)
    }
}

/// Multiplies the blocks of some outputs with a tile.
///
/// # Arguments
/// * `isa` - One that this processor has.
/// * `blocks` - The weights.
/// * `outputs` - Which of them.
/// * `tile` - Activations, of as many inputs as the weights have.
/// * `sums` - `[outputs][tile.tokens]`; overwritten.
pub fn product(isa: Isa, blocks: &Blocks, outputs: Range<usize>, tile: Tile, sums: &mut [i32]) {
    assert!(outputs.end <= blocks.outputs());
    assert_eq!(sums.len(), outputs.len() * tile.tokens);
    assert_eq!(tile.bytes.len(), blocks.inputs() * tile.tokens, "weights are of another layer");
    debug_assert!(isa.is_here());
    let work = Work { blocks, outputs, tile };
    match isa {
        // SAFETY: the processor has the instructions; blocks lie inside of the tile.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => unsafe { x86::avx512_vnni(&work, sums) },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => unsafe { x86::avx_vnni(&work, sums) },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { x86::avx2(&work, sums) },
        // SAFETY: the same.
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDot => unsafe { arm::neon_dot(&work, sums) },
        _ => portable::product(&work, sums),
    }
}

/// What [`product`] was asked for, and checked.
struct Work<'a> {
    blocks: &'a Blocks,
    outputs: Range<usize>,
    tile: Tile<'a>,
}

impl Work<'_> {
    /// Calls a function for each output, chunk after chunk: with its blocks, its sums, and whether the
    /// sums hold those of the chunks before.
    #[inline(always)]
    fn for_each(&self, sums: &mut [i32], mut multiply: impl FnMut(Row, &mut [i32], bool)) {
        for chunk in 0..self.blocks.chunks() {
            let outputs = self.outputs.clone();
            for (output, own) in outputs.zip(sums.chunks_exact_mut(self.tile.tokens)) {
                multiply(self.blocks.row(output, chunk), own, chunk > 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activations::{Activations, Layout, Scale};
    use crate::blocks::BLOCK;
    use crate::noise::noise;
    use proptest::prelude::*;

    fn reference(columns: &[u16], values: &[[i8; BLOCK]], rows: &[u8], inputs: usize) -> Vec<i32> {
        rows.chunks_exact(inputs)
            .map(|row| {
                columns
                    .iter()
                    .zip(values)
                    .flat_map(|(column, four)| {
                        (0..BLOCK).map(move |k| (usize::from(*column) * BLOCK + k, four[k]))
                    })
                    .map(|(place, weight)| i32::from(row[place]) * i32::from(weight))
                    .sum()
            })
            .collect()
    }

    fn check(columns: &[u16], values: &[[i8; BLOCK]], rows: &[u8], inputs: usize) {
        let floats: Vec<f32> = rows.iter().copied().map(f32::from).collect();
        let mut activations = Activations::default();
        activations.resize(rows.len() / inputs, inputs, Layout::Fours);
        let parts = activations.parts();
        let packer =
            activations.packer(Isa::Portable, &floats, Scale { scale: 1.0, zero_point: 0 });
        for part in 0..parts {
            // SAFETY: one after the other.
            unsafe { packer.fill(part) };
        }
        let tile = activations.tile(0);
        let wanted = reference(columns, values, rows, inputs);
        let offsets = [0, 0, columns.len() as i32];
        let blocks = Blocks::new(inputs, &offsets, columns, values.as_flattened()).unwrap();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
            let mut sums = vec![-1; 2 * tile.tokens];
            product(isa, &blocks, 0..2, tile, &mut sums);
            assert!(sums[..tile.tokens].iter().all(|sum| *sum == 0), "{}", isa.name());
            let found = &sums[tile.tokens..];
            assert_eq!(found[..wanted.len()], wanted, "{}", isa.name());
        }
    }

    #[test]
    fn the_largest_products_do_not_saturate() {
        let inputs = 64;
        let columns: Vec<u16> = (0..16).collect();
        for weight in [i8::MIN, i8::MAX] {
            check(&columns, &[[weight; BLOCK]; 16], &[255u8; 64 * 64], inputs);
        }
    }

    #[test]
    fn an_output_without_weights_is_zero() {
        check(&[], &[], &[7u8; 3 * 8], 8);
    }

    proptest! {
        #[test]
        fn every_instruction_set_gives_the_same_sums(
            tokens in 1usize..=64,
            (blocks, columns) in prop_oneof![1usize..40, 250usize..600].prop_flat_map(|blocks| (
                Just(blocks),
                prop::collection::btree_set(0..blocks as u16, 0..=blocks),
            )),
            seed in any::<u64>(),
        ) {
            let inputs = blocks * BLOCK;
            let mut random = noise(seed);
            let mut next = || random() as u8;
            let rows: Vec<u8> = (0..tokens * inputs).map(|_| next()).collect();
            let columns: Vec<u16> = columns.into_iter().collect();
            let values: Vec<[i8; BLOCK]> =
                columns.iter().map(|_| [next(), next(), next(), next()].map(|b| b as i8)).collect();
            check(&columns, &values, &rows, inputs);
        }
    }
}
