//! The epilogue on x86-64.

use std::arch::x86_64::*;

use super::gelu::{Avx2Gelu, Avx512Gelu};
use super::{
    Activation, Affine, LANES, Packed, Range, Rows, STEPS, finish_bytes_plain, finish_packed_plain,
};
use crate::blocks::BLOCK;
use crate::transposition::x86::turned;

/// Outputs of a vector of AVX2.
const EIGHT: usize = 8;

/// See [`super::finish`].
///
/// # Safety
/// See [`super::finish`].
#[target_feature(enable = "avx512f")]
pub unsafe fn finish_avx512(sums: &[i32], affine: Affine, activation: Activation, rows: Rows) {
    // SAFETY: the caller's promise.
    unsafe {
        match activation {
            Activation::None => sixteens::<NONE>(sums, affine, rows),
            Activation::Relu => sixteens::<RELU>(sums, affine, rows),
            Activation::Gelu => sixteens::<GELU>(sums, affine, rows),
        }
    }
}

const NONE: u8 = 0;
const RELU: u8 = 1;
const GELU: u8 = 2;

/// Sixteen outputs of sixteen tokens at once: the sums are turned first, so that scales and biases are
/// vectors. Loops are of known lengths, so that everything stays in registers.
///
/// # Safety
/// See [`super::finish`].
#[target_feature(enable = "avx512f")]
unsafe fn sixteens<const ACTIVATION: u8>(sums: &[i32], affine: Affine, rows: Rows) {
    let outputs = affine.offsets.len();
    let tokens = sums.len() / outputs;
    let gelu = Avx512Gelu::new();
    for first in (0..rows.count).step_by(LANES) {
        let left = rows.count - first;
        // All outputs of a token, one after the other: they are neighbours in memory.
        for group in (0..outputs).step_by(LANES) {
            let there = LANES.min(outputs - group);
            let mask = u16::MAX >> (LANES - there);
            // SAFETY: the mask leaves out what there is not.
            let (offsets, scales, bias) = unsafe {
                (
                    _mm512_maskz_loadu_epi32(mask, affine.offsets.as_ptr().add(group)),
                    _mm512_maskz_loadu_ps(mask, affine.scales.as_ptr().add(group)),
                    _mm512_maskz_loadu_ps(mask, affine.bias.as_ptr().add(group)),
                )
            };
            let mut own = [_mm512_setzero_si512(); LANES];
            for (output, own) in own.iter_mut().enumerate() {
                // An output that there is not repeats the last one, and is not stored.
                let start = (group + output.min(there - 1)) * tokens + first;
                // SAFETY: the sums have 16 tokens from there on.
                *own = unsafe { _mm512_loadu_si512(sums.as_ptr().add(start).cast()) };
            }
            let turned = transposed(own);
            for (token, sums) in turned.into_iter().enumerate() {
                let steps = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums, offsets));
                let plain = _mm512_fmadd_ps(steps, scales, bias);
                let results = match ACTIVATION {
                    RELU => _mm512_max_ps(plain, _mm512_setzero_ps()),
                    GELU => gelu.gelu(plain),
                    _ => plain,
                };
                if token < left {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let place = rows.first.add((first + token) * rows.stride + group);
                        if there == LANES {
                            _mm512_storeu_ps(place, results);
                        } else {
                            _mm512_mask_storeu_ps(place, mask, results);
                        }
                    }
                }
            }
        }
    }
}

/// See [`super::finish_packed`].
///
/// # Safety
/// See [`super::finish_packed`].
#[target_feature(enable = "avx512f")]
pub unsafe fn finish_packed_avx512(work: &Packed) {
    // SAFETY: the caller's promise.
    unsafe {
        match work.activation {
            Activation::None => packed::<NONE>(work),
            Activation::Relu => packed::<RELU>(work),
            Activation::Gelu => packed::<GELU>(work),
        }
    }
}

/// Four outputs of sixteen tokens at once: their bytes are put side by side by shifts.
///
/// # Safety
/// See [`super::finish_packed`].
#[target_feature(enable = "avx512f")]
unsafe fn packed<const ACTIVATION: u8>(work: &Packed) {
    let outputs = work.affine.offsets.len();
    let stride = work.sums.len() / outputs;
    let gelu = Avx512Gelu::new();
    let zero = f32::from(work.scale.zero_point);
    let inverse = _mm512_set1_ps(work.scale.inverse());
    let (low, high) = (_mm512_set1_ps(-zero), _mm512_set1_ps(255.0 - zero));
    let zero_point = _mm512_set1_epi32(i32::from(work.scale.zero_point));
    for block in 0..outputs / BLOCK {
        for first in (0..work.tokens).step_by(LANES) {
            let mut bytes = _mm512_setzero_si512();
            // The last one first: each moves those before it up by a byte.
            for output in (block * BLOCK..(block + 1) * BLOCK).rev() {
                // SAFETY: the sums have 16 tokens from there on.
                let sums = unsafe {
                    _mm512_loadu_si512(work.sums.as_ptr().add(output * stride + first).cast())
                };
                let steps = _mm512_sub_epi32(sums, _mm512_set1_epi32(work.affine.offsets[output]));
                let plain = _mm512_fmadd_ps(
                    _mm512_cvtepi32_ps(steps),
                    _mm512_set1_ps(work.affine.scales[output]),
                    _mm512_set1_ps(work.affine.bias[output]),
                );
                let results = match ACTIVATION {
                    RELU => _mm512_max_ps(plain, _mm512_setzero_ps()),
                    GELU => gelu.gelu(plain),
                    _ => plain,
                };
                // The second operand is taken where the first is no number.
                let limited = _mm512_max_ps(_mm512_mul_ps(results, inverse), low);
                let steps = _mm512_cvtps_epi32(_mm512_min_ps(limited, high));
                let byte = _mm512_add_epi32(steps, zero_point);
                bytes = _mm512_or_si512(_mm512_slli_epi32::<8>(bytes), byte);
            }
            // SAFETY: the caller's promise.
            unsafe {
                let place = work.target.first.add(block * work.target.stride + first * BLOCK);
                _mm512_storeu_si512(place.cast(), bytes);
            }
        }
    }
}

/// # Safety
/// See [`super::finish_packed`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn finish_packed_avx2(work: &Packed) {
    // SAFETY: the caller's promise.
    unsafe { finish_packed_plain(work) }
}

/// Four outputs of sixteen tokens at once: narrowing packs within 128-bit lanes, so that the four
/// bytes of a token come to lie in one lane.
///
/// # Safety
/// The processor has the instructions.
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn finish_bytes_avx512(sums: &[i32], affine: Affine, range: Range, target: &mut [u8]) {
    let tokens = sums.len() / affine.offsets.len();
    let most = _mm512_set1_ps(STEPS);
    let zero_point = _mm512_set1_epi16(i16::from(range.zero_point));
    let lowest = _mm512_set1_epi8(range.lowest as i8);
    let highest = _mm512_set1_epi8(range.highest as i8);
    let order = _mm_set_epi8(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    let order = _mm512_broadcast_i32x4(order);
    let blocks = sums.chunks_exact(BLOCK * tokens).zip(target.chunks_exact_mut(BLOCK * tokens));
    for (block, (sums, bytes)) in blocks.enumerate() {
        for first in (0..tokens).step_by(LANES) {
            let steps = |each: usize| {
                let output = block * BLOCK + each;
                // SAFETY: each of the four outputs has 16 sums from there on.
                let sums =
                    unsafe { _mm512_loadu_si512(sums.as_ptr().add(each * tokens + first).cast()) };
                let steps = _mm512_sub_epi32(sums, _mm512_set1_epi32(affine.offsets[output]));
                let steps = _mm512_fmadd_ps(
                    _mm512_cvtepi32_ps(steps),
                    _mm512_set1_ps(affine.scales[output]),
                    _mm512_set1_ps(affine.bias[output]),
                );
                // The second operand is taken where one is no number, and becomes the smallest.
                _mm512_cvtps_epi32(_mm512_min_ps(most, steps))
            };
            let pair = |each: usize| {
                let steps = _mm512_packs_epi32(steps(each), steps(each + 1));
                _mm512_adds_epi16(steps, zero_point)
            };
            let four = _mm512_shuffle_epi8(_mm512_packus_epi16(pair(0), pair(2)), order);
            let four = _mm512_min_epu8(_mm512_max_epu8(four, lowest), highest);
            // SAFETY: four outputs have as many bytes.
            unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().add(first * BLOCK).cast(), four) };
        }
    }
}

/// # Safety
/// The processor has the instructions.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn finish_bytes_avx2(sums: &[i32], affine: Affine, range: Range, target: &mut [u8]) {
    finish_bytes_plain(sums, affine, range, target);
}

/// Transposes sixteen vectors of sixteen.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(rows: [__m512i; LANES]) -> [__m512i; LANES] {
    // Within 128-bit lanes: four rows by four columns of each lane.
    let mut fours = [_mm512_setzero_si512(); LANES];
    for four in 0..4 {
        let [a, b, c, d] =
            [rows[4 * four], rows[4 * four + 1], rows[4 * four + 2], rows[4 * four + 3]];
        let (low, high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (low_next, high_next) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        fours[4 * four] = _mm512_unpacklo_epi64(low, low_next);
        fours[4 * four + 1] = _mm512_unpackhi_epi64(low, low_next);
        fours[4 * four + 2] = _mm512_unpacklo_epi64(high, high_next);
        fours[4 * four + 3] = _mm512_unpackhi_epi64(high, high_next);
    }
    // Whole lanes: lane `l` of `fours[4 * four + c]` is column `4 * l + c` of the rows of that four.
    let mut columns = [_mm512_setzero_si512(); LANES];
    for c in 0..4 {
        let [a, b, d, e] = [fours[c], fours[4 + c], fours[8 + c], fours[12 + c]];
        let low = _mm512_shuffle_i32x4::<0x44>(a, b);
        let high = _mm512_shuffle_i32x4::<0xee>(a, b);
        let low_next = _mm512_shuffle_i32x4::<0x44>(d, e);
        let high_next = _mm512_shuffle_i32x4::<0xee>(d, e);
        columns[c] = _mm512_shuffle_i32x4::<0x88>(low, low_next);
        columns[4 + c] = _mm512_shuffle_i32x4::<0xdd>(low, low_next);
        columns[8 + c] = _mm512_shuffle_i32x4::<0x88>(high, high_next);
        columns[12 + c] = _mm512_shuffle_i32x4::<0xdd>(high, high_next);
    }
    columns
}

/// Eight outputs of eight tokens at once.
///
/// # Safety
/// See [`super::finish`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn finish_avx2(sums: &[i32], affine: Affine, activation: Activation, rows: Rows) {
    let outputs = affine.offsets.len();
    let tokens = sums.len() / outputs;
    let gelu = Avx2Gelu::new();
    for start in (0..outputs).step_by(EIGHT) {
        let there = EIGHT.min(outputs - start);
        let numbers: [i32; EIGHT] = std::array::from_fn(|each| if each < there { -1 } else { 0 });
        // SAFETY: the mask leaves out what there is not.
        let (mask, offsets, scales, bias) = unsafe {
            let mask = _mm256_loadu_si256(numbers.as_ptr().cast());
            (
                mask,
                _mm256_maskload_epi32(affine.offsets.as_ptr().add(start), mask),
                _mm256_maskload_ps(affine.scales.as_ptr().add(start), mask),
                _mm256_maskload_ps(affine.bias.as_ptr().add(start), mask),
            )
        };
        for first in (0..rows.count).step_by(EIGHT) {
            let mut own = [_mm256_setzero_ps(); EIGHT];
            for (each, own) in own.iter_mut().enumerate() {
                let place = (start + each.min(there - 1)) * tokens + first;
                // SAFETY: the sums have eight tokens from there on.
                *own = unsafe { _mm256_loadu_ps(sums.as_ptr().add(place).cast()) };
            }
            for (token, sums) in turned(own).into_iter().enumerate().take(rows.count - first) {
                let steps = _mm256_sub_epi32(_mm256_castps_si256(sums), offsets);
                let plain = _mm256_fmadd_ps(_mm256_cvtepi32_ps(steps), scales, bias);
                let results = match activation {
                    Activation::None => plain,
                    Activation::Relu => _mm256_max_ps(plain, _mm256_setzero_ps()),
                    Activation::Gelu => gelu.gelu(plain),
                };
                // SAFETY: the caller's promise.
                unsafe {
                    let place = rows.first.add((first + token) * rows.stride + start);
                    if there == EIGHT {
                        _mm256_storeu_ps(place, results);
                    } else {
                        _mm256_maskstore_ps(place, mask, results);
                    }
                }
            }
        }
    }
}
