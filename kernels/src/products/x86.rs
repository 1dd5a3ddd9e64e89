//! Products on x86-64.

use std::arch::x86_64::*;

use crate::activations::Tile;
use crate::blocks::BLOCK;

/// Calls a function for the tokens of a tile, as many vectors at once as fit in registers.
macro_rules! in_vectors {
    ($kernel:ident, $lanes:expr, $columns:expr, $values:expr, $tile:expr, $sums:expr) => {{
        let stride = $tile.tokens() * BLOCK;
        let mut token = 0;
        while token < $tile.tokens() {
            let left = ($tile.tokens() - token) / $lanes;
            // SAFETY: the caller's promise, and the vectors lie inside of the tile and of the sums.
            unsafe {
                let bytes = $tile.bytes().as_ptr().add(token * BLOCK);
                let target = $sums.as_mut_ptr().add(token);
                token += $lanes
                    * match left {
                        8.. => $kernel::<8>($columns, $values, bytes, stride, target),
                        4.. => $kernel::<4>($columns, $values, bytes, stride, target),
                        2.. => $kernel::<2>($columns, $values, bytes, stride, target),
                        _ => $kernel::<1>($columns, $values, bytes, stride, target),
                    };
            }
        }
    }};
}

/// See [`super::product`].
///
/// # Safety
/// The processor has the instructions, and every column lies inside of the tile.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub unsafe fn avx512_vnni(columns: &[u16], values: &[[i8; BLOCK]], tile: &Tile, sums: &mut [i32]) {
    in_vectors!(avx512_vnni_vectors, 16, columns, values, tile, sums);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn avx512_vnni_vectors<const N: usize>(
    columns: &[u16],
    values: &[[i8; BLOCK]],
    bytes: *const u8,
    stride: usize,
    target: *mut i32,
) -> usize {
    let mut sums = [_mm512_setzero_si512(); N];
    for (column, four) in columns.iter().zip(values) {
        let weights = _mm512_set1_epi32(i32::from_ne_bytes(four.map(|w| w as u8)));
        // SAFETY: the caller's promise.
        let block = unsafe { bytes.add(usize::from(*column) * stride) };
        for (place, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let activations = unsafe { _mm512_loadu_si512(block.add(64 * place).cast()) };
            *sum = _mm512_dpbusd_epi32(*sum, activations, weights);
        }
    }
    for (place, sum) in sums.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_si512(target.add(16 * place).cast(), *sum) };
    }
    N
}

/// See [`super::product`].
///
/// # Safety
/// The processor has the instructions, and every column lies inside of the tile.
#[target_feature(enable = "avx2,avxvnni")]
pub unsafe fn avx_vnni(columns: &[u16], values: &[[i8; BLOCK]], tile: &Tile, sums: &mut [i32]) {
    in_vectors!(avx_vnni_vectors, 8, columns, values, tile, sums);
}

#[inline]
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn avx_vnni_vectors<const N: usize>(
    columns: &[u16],
    values: &[[i8; BLOCK]],
    bytes: *const u8,
    stride: usize,
    target: *mut i32,
) -> usize {
    let mut sums = [_mm256_setzero_si256(); N];
    for (column, four) in columns.iter().zip(values) {
        let weights = _mm256_set1_epi32(i32::from_ne_bytes(four.map(|w| w as u8)));
        // SAFETY: the caller's promise.
        let block = unsafe { bytes.add(usize::from(*column) * stride) };
        for (place, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let activations = unsafe { _mm256_loadu_si256(block.add(32 * place).cast()) };
            *sum = _mm256_dpbusd_avx_epi32(*sum, activations, weights);
        }
    }
    for (place, sum) in sums.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_si256(target.add(8 * place).cast(), *sum) };
    }
    N
}

/// See [`super::product`].
///
/// # Safety
/// The processor has the instructions, and every column lies inside of the tile.
#[target_feature(enable = "avx2")]
pub unsafe fn avx2(columns: &[u16], values: &[[i8; BLOCK]], tile: &Tile, sums: &mut [i32]) {
    in_vectors!(avx2_vectors, 8, columns, values, tile, sums);
}

/// Even and odd bytes apart, as 16-bit numbers: two products of them fit in 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn avx2_vectors<const N: usize>(
    columns: &[u16],
    values: &[[i8; BLOCK]],
    bytes: *const u8,
    stride: usize,
    target: *mut i32,
) -> usize {
    let low = _mm256_set1_epi16(0xff);
    let mut sums = [_mm256_setzero_si256(); N];
    for (column, four) in columns.iter().zip(values) {
        let [first, second, third, fourth] = four.map(i16::from);
        let even = _mm256_set1_epi32(pair(first, third));
        let odd = _mm256_set1_epi32(pair(second, fourth));
        // SAFETY: the caller's promise.
        let block = unsafe { bytes.add(usize::from(*column) * stride) };
        for (place, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let activations = unsafe { _mm256_loadu_si256(block.add(32 * place).cast()) };
            let evens = _mm256_madd_epi16(_mm256_and_si256(activations, low), even);
            let odds = _mm256_madd_epi16(_mm256_srli_epi16(activations, 8), odd);
            *sum = _mm256_add_epi32(*sum, _mm256_add_epi32(evens, odds));
        }
    }
    for (place, sum) in sums.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_si256(target.add(8 * place).cast(), *sum) };
    }
    N
}

fn pair(low: i16, high: i16) -> i32 {
    (i32::from(high) << 16) | i32::from(low as u16)
}
