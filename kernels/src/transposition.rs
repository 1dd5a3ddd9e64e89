//! Transposes matrices of four-byte words, such as floats or four bytes side by side.

use crate::products::Isa;

/// A matrix of words in memory.
#[derive(Debug, Clone, Copy)]
pub struct Words<T> {
    /// The first word's place.
    pub first: T,
    /// Words from one row to the next.
    pub stride: usize,
}

/// Writes the transpose of `source`, `[rows][columns]`, to `target`, `[columns][rows]`.
///
/// # Safety
/// Both lie in memory that is theirs, apart from each other, and the processor has `isa`.
#[inline]
pub unsafe fn transpose(
    isa: Isa,
    source: Words<*const u32>,
    target: Words<*mut u32>,
    rows: usize,
    columns: usize,
) {
    match isa {
        // SAFETY: the caller's promise.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni | Isa::AvxVnni | Isa::Avx2 => unsafe {
            x86::transpose(source, target, rows, columns);
        },
        // SAFETY: the caller's promise.
        _ => unsafe { plain(source, target, 0..rows, 0..columns) },
    }
}

/// # Safety
/// See [`transpose`].
#[inline]
unsafe fn plain(
    source: Words<*const u32>,
    target: Words<*mut u32>,
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
) {
    for row in rows {
        for column in columns.clone() {
            // SAFETY: the caller's promise.
            unsafe {
                let word = source.first.add(row * source.stride + column).read_unaligned();
                target.first.add(column * target.stride + row).write_unaligned(word);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub mod x86 {
    //! On x86-64: eight by eight words at once, or four by four.

    use std::arch::x86_64::*;

    use super::{Words, plain};

    const SIDE: usize = 8;
    /// Of squares where a matrix is narrower than that.
    const SHORT: usize = 4;

    /// # Safety
    /// See [`super::transpose`].
    #[target_feature(enable = "avx2")]
    pub unsafe fn transpose(
        source: Words<*const u32>,
        target: Words<*mut u32>,
        rows: usize,
        columns: usize,
    ) {
        let least = rows.min(columns);
        // SAFETY: the caller's promise.
        unsafe {
            match least {
                0..SHORT => plain(source, target, 0..rows, 0..columns),
                SHORT..SIDE => {
                    for (from, to) in squares::<SHORT>(source, target, rows, columns) {
                        short_square(from, source.stride, to, target.stride);
                    }
                }
                _ => {
                    for (from, to) in squares::<SIDE>(source, target, rows, columns) {
                        square(from, source.stride, to, target.stride);
                    }
                }
            }
        }
    }

    /// Returns the places of the squares that cover a matrix; the last ones overlap those before.
    ///
    /// # Safety
    /// Both sides of the matrix have `N` words or more.
    #[inline(always)]
    unsafe fn squares<const N: usize>(
        source: Words<*const u32>,
        target: Words<*mut u32>,
        rows: usize,
        columns: usize,
    ) -> impl Iterator<Item = (*const u32, *mut u32)> {
        let starts = |count| (0..count).step_by(N).map(move |start: usize| start.min(count - N));
        starts(rows).flat_map(move |row| {
            starts(columns).map(move |column| {
                // SAFETY: the caller's promise.
                unsafe {
                    (
                        source.first.add(row * source.stride + column),
                        target.first.add(column * target.stride + row),
                    )
                }
            })
        })
    }

    /// # Safety
    /// See [`super::transpose`].
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn short_square(source: *const u32, from: usize, target: *mut u32, to: usize) {
        let mut rows = [_mm_setzero_si128(); SHORT];
        for (each, row) in rows.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *row = unsafe { _mm_loadu_si128(source.add(each * from).cast()) };
        }
        let [a, b, c, d] = rows;
        let (low, high) = (_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
        let (low_next, high_next) = (_mm_unpacklo_epi32(c, d), _mm_unpackhi_epi32(c, d));
        let columns = [
            _mm_unpacklo_epi64(low, low_next),
            _mm_unpackhi_epi64(low, low_next),
            _mm_unpacklo_epi64(high, high_next),
            _mm_unpackhi_epi64(high, high_next),
        ];
        for (each, column) in columns.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { _mm_storeu_si128(target.add(each * to).cast(), column) };
        }
    }

    /// # Safety
    /// See [`super::transpose`].
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn square(source: *const u32, from: usize, target: *mut u32, to: usize) {
        let mut rows = [_mm256_setzero_ps(); SIDE];
        for (each, row) in rows.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *row = unsafe { _mm256_loadu_ps(source.add(each * from).cast()) };
        }
        for (each, column) in turned(rows).into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { _mm256_storeu_ps(target.add(each * to).cast(), column) };
        }
    }

    /// Transposes eight vectors of eight words.
    ///
    /// # Safety
    /// The processor has the instructions, as all callers that were compiled for them.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn turned(rows: [__m256; SIDE]) -> [__m256; SIDE] {
        let mut fours = [_mm256_setzero_ps(); SIDE];
        for half in [0, 4] {
            let [a, b, c, d] = [rows[half], rows[half + 1], rows[half + 2], rows[half + 3]];
            let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (low_next, high_next) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            fours[half] = _mm256_shuffle_ps::<0x44>(low, low_next);
            fours[half + 1] = _mm256_shuffle_ps::<0xee>(low, low_next);
            fours[half + 2] = _mm256_shuffle_ps::<0x44>(high, high_next);
            fours[half + 3] = _mm256_shuffle_ps::<0xee>(high, high_next);
        }
        let mut columns = [_mm256_setzero_ps(); SIDE];
        for each in 0..SIDE / 2 {
            columns[each] = _mm256_permute2f128_ps::<0x20>(fours[each], fours[each + 4]);
            columns[each + 4] = _mm256_permute2f128_ps::<0x31>(fours[each], fours[each + 4]);
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_become_columns(rows in 1usize..40, columns in 1usize..40, spare in 0usize..3) {
            let (from, to) = (columns + spare, rows + spare);
            let source: Vec<u32> = (0..(rows * from) as u32).collect();
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
                let mut target = vec![u32::MAX; columns * to];
                // SAFETY: both are large enough.
                unsafe {
                    transpose(
                        isa,
                        Words { first: source.as_ptr(), stride: from },
                        Words { first: target.as_mut_ptr(), stride: to },
                        rows,
                        columns,
                    );
                }
                for row in 0..rows {
                    for column in 0..columns {
                        prop_assert_eq!(target[column * to + row], source[row * from + column]);
                    }
                }
                for column in 0..columns {
                    prop_assert!(target[column * to + rows..(column + 1) * to].iter().all(|w| *w == u32::MAX));
                }
            }
        }
    }
}
