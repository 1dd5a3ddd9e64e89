//! Products of packed words, tile by tile: sums stay in registers.

use super::LANES;
use super::arithmetic::Arithmetic;

/// Rows come in multiples of these.
const TILE: usize = 8;

/// What is multiplied.
#[derive(Debug, Clone, Copy)]
pub struct Factors<'a> {
    /// `[rows][depth]`.
    pub left: &'a [u32],
    /// `[depth][columns]`.
    pub right: &'a [u32],
    /// Words of a row.
    pub depth: usize,
    /// A multiple of [`LANES`].
    pub columns: usize,
}

/// Multiplies.
///
/// # Arguments
/// * `arithmetic` - What words hold; one that this processor has.
/// * `factors` - See there.
/// * `target` - `[rows][columns]`; overwritten.
///
/// # Panics
/// Sizes do not fit.
pub fn product(arithmetic: Arithmetic, factors: Factors, target: &mut [f32]) {
    let Factors { left, right, depth, columns } = factors;
    let rows = left.len() / depth;
    assert!(left.len() == rows * depth && rows.is_multiple_of(TILE));
    assert!(columns.is_multiple_of(LANES) && right.len() == depth * columns);
    assert!(target.len() == rows * columns);
    match arithmetic {
        // SAFETY: the processor has the instructions, and sizes fit.
        #[cfg(target_arch = "x86_64")]
        Arithmetic::Avx512Bf16 => unsafe { x86::avx512_bf16::product(factors, target) },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Arithmetic::Avx512 => unsafe { x86::avx512::product(factors, target) },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Arithmetic::Avx2 => unsafe { x86::avx2::product(factors, target) },
        _ => plain(factors, target),
    }
}

fn plain(factors: Factors, target: &mut [f32]) {
    let rows = factors.left.chunks_exact(factors.depth);
    for (row, target) in rows.zip(target.chunks_exact_mut(factors.columns)) {
        target.fill(0.0);
        for (left, right) in row.iter().zip(factors.right.chunks_exact(factors.columns)) {
            let left = f32::from_bits(*left);
            for (sum, right) in target.iter_mut().zip(right) {
                *sum += left * f32::from_bits(*right);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Factors;

    /// Tiles of rows by vectors, the widest first.
    macro_rules! products {
        ($name:ident, $features:literal, $lanes:literal,
         $zero:ident, $load:ident, $store:ident, $multiply:ident, $(($rows:literal, $vectors:literal)),*) => {
            pub mod $name {
                use super::*;

                /// # Safety
                /// Sizes fit; see [`super::super::product`].
                #[target_feature(enable = $features)]
                pub unsafe fn product(factors: Factors, target: &mut [f32]) {
                    let rows = factors.left.len() / factors.depth;
                    let mut column = 0;
                    $(
                        while column + $vectors * $lanes <= factors.columns {
                            for row in (0..rows).step_by($rows) {
                                // SAFETY: the tile lies within the target.
                                unsafe { tile::<$rows, $vectors>(factors, target, row, column) };
                            }
                            column += $vectors * $lanes;
                        }
                    )*
                }

                /// # Safety
                /// The tile lies within the target.
                #[inline]
                #[target_feature(enable = $features)]
                unsafe fn tile<const ROWS: usize, const VECTORS: usize>(
                    factors: Factors,
                    target: &mut [f32],
                    row: usize,
                    column: usize,
                ) {
                    let Factors { depth, columns, .. } = factors;
                    let mut sums = [[$zero(); VECTORS]; ROWS];
                    // SAFETY: the caller's promise.
                    unsafe {
                        let left = factors.left.as_ptr().add(row * depth);
                        let mut right: *const f32 = factors.right.as_ptr().add(column).cast();
                        for word in 0..depth {
                            let mut vectors = [$zero(); VECTORS];
                            for (place, vector) in vectors.iter_mut().enumerate() {
                                *vector = $load(right.add(place * $lanes));
                            }
                            for (row, sums) in sums.iter_mut().enumerate() {
                                let word = *left.add(row * depth + word);
                                for (sum, vector) in sums.iter_mut().zip(vectors) {
                                    *sum = $multiply(*sum, word, vector);
                                }
                            }
                            right = right.add(columns);
                        }
                        let target = target.as_mut_ptr().add(row * columns + column);
                        for (row, sums) in sums.into_iter().enumerate() {
                            for (place, sum) in sums.into_iter().enumerate() {
                                $store(target.add(row * columns + place * $lanes), sum);
                            }
                        }
                    }
                }
            }
        };
    }

    products!(
        avx512_bf16,
        "avx512f,avx512bf16",
        16,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        multiply_bf16,
        (4, 4),
        (8, 2),
        (8, 1)
    );
    products!(
        avx512,
        "avx512f",
        16,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        multiply_avx512,
        (4, 4),
        (8, 2),
        (8, 1)
    );
    products!(
        avx2,
        "avx2,fma",
        8,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        multiply_avx2,
        (4, 2)
    );

    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn multiply_bf16(sum: __m512, word: u32, vector: __m512) -> __m512 {
        let word = _mm512_set1_epi32(word.cast_signed());
        // SAFETY: both are vectors of 32 numbers in bf16.
        unsafe {
            let vector = std::mem::transmute::<__m512, __m512bh>(vector);
            _mm512_dpbf16_ps(sum, std::mem::transmute::<__m512i, __m512bh>(word), vector)
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn multiply_avx512(sum: __m512, word: u32, vector: __m512) -> __m512 {
        _mm512_fmadd_ps(_mm512_set1_ps(f32::from_bits(word)), vector, sum)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn multiply_avx2(sum: __m256, word: u32, vector: __m256) -> __m256 {
        _mm256_fmadd_ps(_mm256_set1_ps(f32::from_bits(word)), vector, sum)
    }
}
