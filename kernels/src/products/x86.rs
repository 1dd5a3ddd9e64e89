//! Products on x86-64.
//!
//! All vectors of a tile are summed at once: they fit in registers, and each weight is read once. What
//! bounds them is reading activations: one vector for each multiplication.

use std::arch::x86_64::*;

use super::Work;
use crate::activations::LANES;
use crate::blocks::BLOCK;

/// Defines the product of an instruction set, from what it does with one vector.
macro_rules! product {
    (
        $name:ident, $vectors:ident, $features:literal, $lanes:literal,
        $zero:ident, $load:ident, $store:ident, $weights:ident, $multiply:ident
    ) => {
        /// See [`super::product`].
        ///
        /// # Safety
        /// The processor has the instructions.
        #[target_feature(enable = $features)]
        pub unsafe fn $name(work: &Work, sums: &mut [i32]) {
            // SAFETY: the caller's promise; a tile has at most four times 16 tokens.
            unsafe {
                match work.tile.tokens / LANES {
                    1 => $vectors::<{ LANES / $lanes }>(work, sums),
                    2 => $vectors::<{ 2 * LANES / $lanes }>(work, sums),
                    3 => $vectors::<{ 3 * LANES / $lanes }>(work, sums),
                    _ => $vectors::<{ 4 * LANES / $lanes }>(work, sums),
                }
            }
        }

        /// # Safety
        /// The processor has the instructions, and the tile has `N` vectors.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn $vectors<const N: usize>(work: &Work, sums: &mut [i32]) {
            assert_eq!(work.tile.tokens, N * $lanes);
            let stride = N * $lanes * BLOCK;
            let bytes = work.tile.bytes.as_ptr();
            for chunk in 0..work.blocks.chunks() {
                let own = sums.chunks_exact_mut(N * $lanes);
                for (output, own) in work.outputs.clone().zip(own) {
                    let own = own.as_mut_ptr();
                    let mut found = [$zero(); N];
                    if chunk > 0 {
                        for (each, sum) in found.iter_mut().enumerate() {
                            // SAFETY: each output has that many sums.
                            *sum = unsafe { $load(own.add($lanes * each).cast()) };
                        }
                    }
                    let row = work.blocks.row(output, chunk);
                    for (column, four) in row.columns.iter().zip(row.values) {
                        let weights = $weights(*four);
                        // SAFETY: blocks lie inside of the tile.
                        let block = unsafe { bytes.add(usize::from(*column) * stride) };
                        for (each, sum) in found.iter_mut().enumerate() {
                            // SAFETY: the same.
                            let bytes = unsafe { $load(block.add($lanes * BLOCK * each).cast()) };
                            *sum = $multiply(*sum, bytes, weights);
                        }
                    }
                    for (each, sum) in found.iter().enumerate() {
                        // SAFETY: each output has that many sums.
                        unsafe { $store(own.add($lanes * each).cast(), *sum) };
                    }
                }
            }
        }
    };
}

product!(
    avx512_vnni,
    avx512_vnni_vectors,
    "avx512f,avx512bw,avx512vnni",
    16,
    _mm512_setzero_si512,
    _mm512_loadu_si512,
    _mm512_storeu_si512,
    all_512,
    _mm512_dpbusd_epi32
);
product!(
    avx_vnni,
    avx_vnni_vectors,
    "avx2,avxvnni",
    8,
    _mm256_setzero_si256,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    all_256,
    _mm256_dpbusd_avx_epi32
);
product!(
    avx2,
    avx2_vectors,
    "avx2",
    8,
    _mm256_setzero_si256,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    even_and_odd,
    multiply_avx2
);

#[inline]
#[target_feature(enable = "avx512f")]
fn all_512(four: [i8; BLOCK]) -> __m512i {
    _mm512_set1_epi32(word(four))
}

#[inline]
#[target_feature(enable = "avx2")]
fn all_256(four: [i8; BLOCK]) -> __m256i {
    _mm256_set1_epi32(word(four))
}

#[inline(always)]
fn word(four: [i8; BLOCK]) -> i32 {
    i32::from_ne_bytes(four.map(|weight| weight as u8))
}

/// Even and odd weights apart, as 16-bit numbers.
#[inline]
#[target_feature(enable = "avx2")]
fn even_and_odd(four: [i8; BLOCK]) -> (__m256i, __m256i) {
    let [first, second, third, fourth] = four.map(i16::from);
    let pair = |low: i16, high: i16| (i32::from(high) << 16) | i32::from(low as u16);
    (_mm256_set1_epi32(pair(first, third)), _mm256_set1_epi32(pair(second, fourth)))
}

/// Two products of 16-bit numbers fit in 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn multiply_avx2(sum: __m256i, bytes: __m256i, (even, odd): (__m256i, __m256i)) -> __m256i {
    let evens = _mm256_madd_epi16(_mm256_and_si256(bytes, _mm256_set1_epi16(0xff)), even);
    let odds = _mm256_madd_epi16(_mm256_srli_epi16::<8>(bytes), odd);
    _mm256_add_epi32(sum, _mm256_add_epi32(evens, odds))
}
