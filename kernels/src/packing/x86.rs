//! Packing on x86-64.

use std::arch::x86_64::*;

use super::{Target, extremes_plain, pack_plain};
use crate::activations::{LANES, Scale};
use crate::blocks::BLOCK;
use crate::products::Isa;

/// Blocks of a token that one vector of floats holds.
const BLOCKS: usize = 4;

/// Sixteen inputs of sixteen tokens at once.
///
/// Narrowing packs within 128-bit lanes: four vectors of a token each become one whose lane `b` holds
/// block `b` of the four tokens, so that whole lanes are all that is left to move.
///
/// # Safety
/// See [`super::pack`].
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn pack_avx512(rows: &[f32], inputs: usize, scale: Scale, target: Target) {
    let count = rows.len() / inputs;
    // Tokens that are missing are copies of the last one.
    let row: [*const f32; LANES] =
        std::array::from_fn(|token| rows[token.min(count - 1) * inputs..].as_ptr());
    let zero = f32::from(scale.zero_point);
    let inverse = _mm512_set1_ps(scale.inverse());
    let (low, high) = (_mm512_set1_ps(-zero), _mm512_set1_ps(255.0 - zero));
    let zero_point = _mm512_set1_epi16(i16::from(scale.zero_point));
    for first in (0..inputs).step_by(BLOCKS * BLOCK) {
        let there = (BLOCKS * BLOCK).min(inputs - first);
        let mask = (u32::from(u16::MAX) >> (BLOCKS * BLOCK - there)) as u16;
        let steps = |token: usize| {
            // SAFETY: the mask leaves out what lies beyond the row.
            let values = unsafe { _mm512_maskz_loadu_ps(mask, row[token].add(first)) };
            // The second operand is taken where the first is no number.
            let limited = _mm512_max_ps(_mm512_mul_ps(values, inverse), low);
            _mm512_cvtps_epi32(_mm512_min_ps(limited, high))
        };
        let pair = |token| {
            _mm512_add_epi16(_mm512_packs_epi32(steps(token), steps(token + 1)), zero_point)
        };
        let four = |token| _mm512_packus_epi16(pair(token), pair(token + 2));
        let tokens = [four(0), four(4), four(8), four(12)];
        let halves = [
            _mm512_shuffle_i32x4::<0x44>(tokens[0], tokens[1]),
            _mm512_shuffle_i32x4::<0xee>(tokens[0], tokens[1]),
            _mm512_shuffle_i32x4::<0x44>(tokens[2], tokens[3]),
            _mm512_shuffle_i32x4::<0xee>(tokens[2], tokens[3]),
        ];
        let blocks = [
            _mm512_shuffle_i32x4::<0x88>(halves[0], halves[2]),
            _mm512_shuffle_i32x4::<0xdd>(halves[0], halves[2]),
            _mm512_shuffle_i32x4::<0x88>(halves[1], halves[3]),
            _mm512_shuffle_i32x4::<0xdd>(halves[1], halves[3]),
        ];
        for (each, block) in blocks.iter().enumerate().take(there / BLOCK) {
            // SAFETY: the caller's promise.
            unsafe {
                let place = target.first.add((first / BLOCK + each) * target.stride);
                _mm512_storeu_si512(place.cast(), *block);
            }
        }
    }
}

/// # Safety
/// See [`super::part_pairs`].
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn part_pairs_avx512(inputs: usize, target: Target) {
    // The first pairs of four tokens before their second ones.
    let order = _mm_set_epi8(15, 14, 11, 10, 7, 6, 3, 2, 13, 12, 9, 8, 5, 4, 1, 0);
    let order = _mm512_broadcast_i32x4(order);
    for block in 0..inputs / BLOCK {
        // SAFETY: the caller's promise.
        unsafe {
            let place = target.first.add(block * target.stride);
            let next = place.add(LANES * BLOCK);
            let first = _mm512_shuffle_epi8(_mm512_loadu_si512(place.cast()), order);
            let second = _mm512_shuffle_epi8(_mm512_loadu_si512(next.cast()), order);
            _mm512_storeu_si512(place.cast(), _mm512_unpacklo_epi64(first, second));
            _mm512_storeu_si512(next.cast(), _mm512_unpackhi_epi64(first, second));
        }
    }
}

/// # Safety
/// See [`super::pack`].
#[target_feature(enable = "avx2")]
pub unsafe fn pack_avx2(isa: Isa, rows: &[f32], inputs: usize, scale: Scale, target: Target) {
    // SAFETY: the caller's promise.
    unsafe { pack_plain(isa, rows, inputs, scale, target) }
}

/// See [`super::extremes`].
#[target_feature(enable = "avx512f")]
pub fn extremes_avx512(values: &[f32]) -> (f32, f32) {
    const APART: usize = 4;
    let mut low = [_mm512_setzero_ps(); APART];
    let mut high = low;
    let (chunks, rest) = values.as_chunks::<{ APART * LANES }>();
    for chunk in chunks {
        for each in 0..APART {
            // SAFETY: the chunk has as many values.
            let values = unsafe { _mm512_loadu_ps(chunk.as_ptr().add(each * LANES)) };
            // The second operand is taken where the first is no number.
            low[each] = _mm512_min_ps(values, low[each]);
            high[each] = _mm512_max_ps(values, high[each]);
        }
    }
    let (least, most) = extremes_plain(rest);
    let low = low.into_iter().fold(_mm512_set1_ps(least), |a, b| _mm512_min_ps(a, b));
    let high = high.into_iter().fold(_mm512_set1_ps(most), |a, b| _mm512_max_ps(a, b));
    (_mm512_reduce_min_ps(low), _mm512_reduce_max_ps(high))
}

/// See [`super::extremes`].
#[target_feature(enable = "avx2")]
pub fn extremes_avx2(values: &[f32]) -> (f32, f32) {
    extremes_plain(values)
}
