//! `gelu(x) = x * (1 + erf(x / sqrt 2)) / 2`, from a small table.
//!
//! `gelu(x) = max(x, 0) - tail(|x|)` with `tail(a) = a * erfc(a / sqrt 2) / 2`, which has no division
//! and no exponential when it is taken from cubics: one for each of 32 parts of 0 to 5.5, beyond which
//! it is below 2e-7. The error is below 1e-6 (the test states it); a vector of AVX-512 looks up its
//! coefficients in two registers.

use std::f64::consts::{FRAC_1_SQRT_2, PI};
use std::sync::LazyLock;

/// Parts of the range.
const PARTS: usize = 32;
/// Where the tail counts as gone.
const END: f64 = 5.5;
const PARTS_OF_ONE: f32 = (PARTS as f64 / END) as f32;
/// The last number within the last part.
const LAST: f32 = (PARTS as f32).next_down();
const DEGREE: usize = 3;

/// Coefficients of each part's cubic in the place within it, 0 to 1; the constant ones first.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Table([[f32; PARTS]; DEGREE + 1]);

static TABLE: LazyLock<Table> = LazyLock::new(Table::new);

impl Table {
    /// The one there is.
    pub fn get() -> &'static Self {
        &TABLE
    }

    /// Interpolates the tail at Chebyshev's nodes of each part.
    fn new() -> Self {
        let mut table = [[0.0; PARTS]; DEGREE + 1];
        let nodes: [f64; DEGREE + 1] = std::array::from_fn(|node| {
            0.5 - 0.5 * (PI * (2 * node + 1) as f64 / (2 * DEGREE + 2) as f64).cos()
        });
        for part in 0..PARTS {
            let values = nodes.map(|node| tail((part as f64 + node) * END / PARTS as f64));
            for (row, coefficient) in table.iter_mut().zip(interpolated(nodes, values)) {
                row[part] = coefficient as f32;
            }
        }
        Self(table)
    }

    /// Returns `gelu(x)`; what is no number stays one.
    #[inline(always)]
    pub fn gelu(&self, x: f32) -> f32 {
        let place = (x.abs() * PARTS_OF_ONE).min(LAST);
        let part = place as usize % PARTS;
        let within = place - part as f32;
        let [constant, first, second, third] = self.0.each_ref().map(|row| row[part]);
        let tail = ((third * within + second) * within + first) * within + constant;
        (if x < 0.0 { 0.0 } else { x }) - tail
    }
}

/// Returns the coefficients of the polynomial through points, by Newton's divided differences.
fn interpolated(nodes: [f64; DEGREE + 1], values: [f64; DEGREE + 1]) -> [f64; DEGREE + 1] {
    let mut differences = values;
    for order in 1..=DEGREE {
        for each in (order..=DEGREE).rev() {
            let apart = nodes[each] - nodes[each - order];
            differences[each] = (differences[each] - differences[each - 1]) / apart;
        }
    }
    let mut sum = [0.0; DEGREE + 1];
    for order in (0..=DEGREE).rev() {
        // sum = sum * (x - node) + difference
        for power in (0..=DEGREE).rev() {
            let below = if power == 0 { 0.0 } else { sum[power - 1] };
            sum[power] = below - sum[power] * nodes[order];
        }
        sum[0] += differences[order];
    }
    sum
}

/// `a * erfc(a / sqrt 2) / 2`, for `a` from 0 to 6.
fn tail(a: f64) -> f64 {
    a * (1.0 - erf(a * FRAC_1_SQRT_2)) / 2.0
}

/// The error function by its Maclaurin series, for |x| below 5.
fn erf(x: f64) -> f64 {
    let (mut sum, mut term) = (0.0, x);
    for n in 0..200 {
        sum += term / f64::from(2 * n + 1);
        term *= -x * x / f64::from(n + 1);
    }
    2.0 / PI.sqrt() * sum
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2Gelu, Avx512Gelu};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{DEGREE, LAST, PARTS_OF_ONE, Table};

    /// The table in registers.
    #[derive(Debug, Clone, Copy)]
    pub struct Avx512Gelu([(__m512, __m512); DEGREE + 1]);

    impl Avx512Gelu {
        /// Loads the table.
        #[inline]
        #[target_feature(enable = "avx512f")]
        pub fn new() -> Self {
            let mut rows = [(_mm512_setzero_ps(), _mm512_setzero_ps()); DEGREE + 1];
            for (target, row) in rows.iter_mut().zip(&Table::get().0) {
                // SAFETY: a row has two vectors.
                *target =
                    unsafe { (_mm512_loadu_ps(row.as_ptr()), _mm512_loadu_ps(row[16..].as_ptr())) };
            }
            Self(rows)
        }

        /// See [`Table::gelu`].
        #[inline]
        #[target_feature(enable = "avx512f")]
        pub fn gelu(&self, x: __m512) -> __m512 {
            let place = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(PARTS_OF_ONE));
            let place = _mm512_min_ps(place, _mm512_set1_ps(LAST));
            let part = _mm512_cvttps_epi32(place);
            let within = _mm512_sub_ps(place, _mm512_cvtepi32_ps(part));
            let mut tail = _mm512_setzero_ps();
            for (low, high) in self.0.into_iter().rev() {
                let coefficient = _mm512_permutex2var_ps(low, part, high);
                tail = _mm512_fmadd_ps(tail, within, coefficient);
            }
            _mm512_sub_ps(_mm512_max_ps(_mm512_setzero_ps(), x), tail)
        }
    }

    /// The table in memory.
    #[derive(Debug, Clone, Copy)]
    pub struct Avx2Gelu(&'static Table);

    impl Avx2Gelu {
        /// Takes the table.
        pub fn new() -> Self {
            Self(Table::get())
        }

        /// See [`Table::gelu`].
        #[inline]
        #[target_feature(enable = "avx2,fma")]
        pub fn gelu(&self, x: __m256) -> __m256 {
            let positive = _mm256_andnot_ps(_mm256_set1_ps(-0.0), x);
            let place = _mm256_mul_ps(positive, _mm256_set1_ps(PARTS_OF_ONE));
            // The second operand is taken where the first is no number.
            let place = _mm256_min_ps(place, _mm256_set1_ps(LAST));
            let part = _mm256_cvttps_epi32(place);
            let within = _mm256_sub_ps(place, _mm256_cvtepi32_ps(part));
            let mut tail = _mm256_setzero_ps();
            for row in self.0.0.iter().rev() {
                // SAFETY: the part is one of the row's.
                let coefficient = unsafe { _mm256_i32gather_ps::<4>(row.as_ptr(), part) };
                tail = _mm256_fmadd_ps(tail, within, coefficient);
            }
            _mm256_sub_ps(_mm256_max_ps(_mm256_setzero_ps(), x), tail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gelu_is_exact_to_a_millionth() {
        let table = Table::get();
        for step in -60_000..=60_000 {
            let x = step as f32 / 10_000.0;
            let exact = f64::from(x) * (1.0 + erf(f64::from(x) * FRAC_1_SQRT_2)) / 2.0;
            let found = table.gelu(x);
            assert!((f64::from(found) - exact).abs() < 1e-6, "{x}: {found} {exact}");
        }
    }

    #[test]
    fn gelu_ends_in_zero_and_in_its_argument() {
        let table = Table::get();
        for x in [6.0, 40.0, f32::MAX, f32::INFINITY] {
            assert!((table.gelu(x) - x).abs() < 1e-6 || x.is_infinite(), "{x}");
            assert!(table.gelu(-x).abs() < 1e-6, "{x}");
        }
        assert_eq!(table.gelu(f32::INFINITY), f32::INFINITY);
        assert!(table.gelu(f32::NAN).is_nan());
    }
}
