//! Rounds activations, and puts four inputs of a token side by side.

#[cfg(target_arch = "x86_64")]
mod x86;

use crate::activations::{LANES, Scale};
use crate::blocks::BLOCK;
use crate::products::Isa;
use crate::transposition::{Words, transpose};

/// Inputs of a token that are rounded at once before they are moved to their places.
const WIDTH: usize = 64;

/// Where packed activations go.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The place of the first block of the first token.
    pub first: *mut u8,
    /// Bytes from one block of a token to its next.
    pub stride: usize,
}

/// Packs up to [`LANES`] tokens; those missing hold anything.
///
/// # Arguments
/// * `isa` - One that this processor has.
/// * `rows` - `[tokens, inputs]`; at least one token.
/// * `inputs` - A multiple of [`BLOCK`].
/// * `scale` - How floats become bytes.
/// * `target` - Where they go: `[inputs / 4][LANES][4]`, with its stride.
///
/// # Safety
/// The target is the caller's alone, and large enough.
pub unsafe fn pack(isa: Isa, rows: &[f32], inputs: usize, scale: Scale, target: Target) {
    assert!(!rows.is_empty() && rows.len() <= LANES * inputs && inputs.is_multiple_of(BLOCK));
    match isa {
        // SAFETY: the processor has the instructions; the rest is the caller's promise.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => unsafe { x86::pack_avx512(rows, inputs, scale, target) },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni | Isa::Avx2 => unsafe { x86::pack_avx2(isa, rows, inputs, scale, target) },
        // SAFETY: the same.
        _ => unsafe { pack_plain(isa, rows, inputs, scale, target) },
    }
}

/// Takes the pairs of inputs of 32 tokens apart, in their place: see [`crate::activations::Layout`].
///
/// # Arguments
/// * `isa` - One that this processor has.
/// * `inputs` - A multiple of [`BLOCK`].
/// * `target` - Of the first token, as [`pack`] filled it.
///
/// # Safety
/// The target is the caller's alone, and has 32 tokens.
pub unsafe fn part_pairs(isa: Isa, inputs: usize, target: Target) {
    match isa {
        // SAFETY: the processor has the instructions; the rest is the caller's promise.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => unsafe { x86::part_pairs_avx512(inputs, target) },
        // SAFETY: the caller's promise.
        _ => unsafe { part_pairs_plain(inputs, target) },
    }
}

/// # Safety
/// See [`part_pairs`].
unsafe fn part_pairs_plain(inputs: usize, target: Target) {
    for block in 0..inputs / BLOCK {
        // SAFETY: the caller's promise.
        let bytes = unsafe {
            let first = target.first.add(block * target.stride);
            std::slice::from_raw_parts_mut(first, 2 * LANES * BLOCK)
        };
        let mut parted = [0u8; 2 * LANES * BLOCK];
        for (token, four) in bytes.as_chunks::<BLOCK>().0.iter().enumerate() {
            let (half, token) = (token / LANES, token % LANES);
            let place = (token / 4 * 8 + half * 4 + token % 4) * 2;
            parted[place..place + 2].copy_from_slice(&four[..2]);
            let place = place + 2 * LANES * 2;
            parted[place..place + 2].copy_from_slice(&four[2..]);
        }
        bytes.copy_from_slice(&parted);
    }
}

/// Written so that the compiler makes vectors of it, for whatever instruction set it is inlined in.
#[inline(always)]
unsafe fn pack_plain(isa: Isa, rows: &[f32], inputs: usize, scale: Scale, target: Target) {
    let mut rounded = [[0u8; WIDTH]; LANES];
    let count = rows.len() / inputs;
    for first in (0..inputs).step_by(WIDTH) {
        let width = WIDTH.min(inputs - first);
        for (bytes, row) in rounded.iter_mut().zip(rows.chunks_exact(inputs)) {
            for (byte, value) in bytes.iter_mut().zip(&row[first..first + width]) {
                *byte = scale.byte(*value);
            }
        }
        let source = Words { first: rounded.as_ptr().cast(), stride: WIDTH / BLOCK };
        // SAFETY: the caller's promise.
        unsafe {
            let place = target.first.add(first / BLOCK * target.stride).cast();
            let target = Words { first: place, stride: target.stride / BLOCK };
            transpose(isa, source, target, count, width / BLOCK);
        }
    }
}

/// Returns the smallest and the largest of values and 0; what is no number is passed over.
pub fn extremes(isa: Isa, values: &[f32]) -> (f32, f32) {
    match isa {
        // SAFETY: the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => unsafe { x86::extremes_avx512(values) },
        // SAFETY: the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni | Isa::Avx2 => unsafe { x86::extremes_avx2(values) },
        _ => extremes_plain(values),
    }
}

/// Lanes apart, so that vectors compute it.
#[inline(always)]
fn extremes_plain(values: &[f32]) -> (f32, f32) {
    const APART: usize = 4 * LANES;
    let (mut low, mut high) = ([0.0f32; APART], [0.0f32; APART]);
    let (chunks, rest) = values.as_chunks::<APART>();
    for chunk in chunks {
        for lane in 0..APART {
            low[lane] = if chunk[lane] < low[lane] { chunk[lane] } else { low[lane] };
            high[lane] = if chunk[lane] > high[lane] { chunk[lane] } else { high[lane] };
        }
    }
    let least = low.iter().chain(rest).copied().fold(0.0, f32::min);
    (least, high.iter().chain(rest).copied().fold(0.0, f32::max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_instruction_set_finds_the_same_extremes(
            mut values in prop::collection::vec(-9.0f32..9.0, 0..400), holes in 0usize..3,
        ) {
            let low = values.iter().copied().fold(0.0, f32::min);
            let high = values.iter().copied().fold(0.0, f32::max);
            values.splice(0..0, std::iter::repeat_n(f32::NAN, holes));
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
                prop_assert_eq!(extremes(isa, &values), (low, high), "{}", isa.name());
            }
        }
    }
}
