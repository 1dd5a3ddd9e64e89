//! Products on AArch64.

use std::arch::aarch64::*;
use std::arch::asm;

use super::Work;
use crate::blocks::{BLOCK, Row};

/// Tokens of a vector.
const LANES: usize = 4;

/// See [`super::product`].
///
/// The instruction multiplies signed bytes with signed ones: 128 is taken off the activations, and
/// what that takes off the sums is put back in the end.
///
/// # Safety
/// The processor has the instructions.
#[target_feature(enable = "neon")]
pub unsafe fn neon_dot(work: &Work, sums: &mut [i32]) {
    let stride = work.tile.tokens * BLOCK;
    let bytes = work.tile.bytes.as_ptr();
    work.for_each(sums, |row, sums, more| {
        let total: i32 = row.values.iter().flatten().map(|weight| i32::from(*weight)).sum();
        let start = 128 * total;
        let mut token = 0;
        while token < sums.len() {
            let own = &mut sums[token..];
            // SAFETY: blocks lie inside of the tile, whose tokens are a multiple of 16.
            token += unsafe {
                let bytes = bytes.add(token * BLOCK);
                if own.len() >= 8 * LANES {
                    vectors::<8>(row, bytes, stride, own, start, more)
                } else {
                    vectors::<4>(row, bytes, stride, own, start, more)
                }
            };
        }
    });
}

/// Sums as many vectors at once as fit in registers; returns their tokens.
///
/// # Safety
/// The processor has the instructions, and blocks lie inside of the tile.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn vectors<const N: usize>(
    row: Row,
    bytes: *const u8,
    stride: usize,
    sums: &mut [i32],
    start: i32,
    more: bool,
) -> usize {
    let flip = vdupq_n_u8(0x80);
    let target = sums[..LANES * N].as_mut_ptr();
    let mut found = [vdupq_n_s32(start); N];
    if more {
        for (each, sum) in found.iter_mut().enumerate() {
            // SAFETY: there are as many sums.
            *sum = vaddq_s32(*sum, unsafe { vld1q_s32(target.add(LANES * each)) });
        }
    }
    for (column, four) in row.columns.iter().zip(row.values) {
        let word = i32::from_ne_bytes(four.map(|weight| weight as u8));
        let weights = vreinterpretq_s8_s32(vdupq_n_s32(word));
        // SAFETY: the caller's promise.
        let block = unsafe { bytes.add(usize::from(*column) * stride) };
        for (each, sum) in found.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let bytes = unsafe { vld1q_u8(block.add(LANES * BLOCK * each)) };
            *sum = dot(*sum, vreinterpretq_s8_u8(veorq_u8(bytes, flip)), weights);
        }
    }
    for (each, sum) in found.iter().enumerate() {
        // SAFETY: there are as many sums.
        unsafe { vst1q_s32(target.add(LANES * each), *sum) };
    }
    LANES * N
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
