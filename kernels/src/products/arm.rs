//! Products on AArch64.

use std::arch::aarch64::*;
use std::arch::asm;

use crate::activations::Tile;
use crate::blocks::BLOCK;

/// Tokens of a vector.
const LANES: usize = 4;
const VECTORS: usize = 4;

/// See [`super::product`].
///
/// The instruction multiplies signed bytes with signed ones: 128 is taken off the activations, and
/// what that takes off the sums is put back in the end.
///
/// # Safety
/// The processor has the instructions, and every column lies inside of the tile.
#[target_feature(enable = "neon")]
pub unsafe fn neon_dot(columns: &[u16], values: &[[i8; BLOCK]], tile: &Tile, sums: &mut [i32]) {
    let stride = tile.tokens() * BLOCK;
    let total: i32 = values.iter().flatten().map(|weight| i32::from(*weight)).sum();
    let flip = vdupq_n_u8(0x80);
    // A tile's tokens are a multiple of 16.
    for token in (0..tile.tokens()).step_by(LANES * VECTORS) {
        let mut found = [vdupq_n_s32(128 * total); VECTORS];
        for (column, four) in columns.iter().zip(values) {
            let weights = vreinterpretq_s8_s32(vdupq_n_s32(i32::from_ne_bytes(four.map(|w| w as u8))));
            // SAFETY: the caller's promise.
            let block = unsafe {
                tile.bytes().as_ptr().add(usize::from(*column) * stride + token * BLOCK)
            };
            for (place, sum) in found.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                let bytes = unsafe { vld1q_u8(block.add(16 * place)) };
                *sum = dot(*sum, vreinterpretq_s8_u8(veorq_u8(bytes, flip)), weights);
            }
        }
        for (place, sum) in found.iter().enumerate() {
            // SAFETY: the sums have the tile's tokens.
            unsafe { vst1q_s32(sums.as_mut_ptr().add(token + LANES * place), *sum) };
        }
    }
}

/// `SDOT`: its intrinsic is not stable.
#[inline]
#[target_feature(enable = "neon")]
fn dot(mut sum: int32x4_t, first: int8x16_t, second: int8x16_t) -> int32x4_t {
    // SAFETY: the caller made sure that the processor has the instruction.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sum:v}.4s, {first:v}.16b, {second:v}.16b",
            sum = inout(vreg) sum,
            first = in(vreg) first,
            second = in(vreg) second,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}
