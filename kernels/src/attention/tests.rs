use proptest::prelude::*;

use super::*;
use crate::linear::Caller;

/// Numbers that look arbitrary, from -1 to 1.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let number = |each: usize| (each as u32).wrapping_add(seed).wrapping_mul(2654435761) >> 8;
    (0..count).map(|each| number(each) as f32 / (1 << 23) as f32 - 1.0).collect()
}

#[derive(Debug, Clone, Copy)]
struct Case {
    batch: usize,
    heads: usize,
    size: usize,
    queries: usize,
    keys: usize,
    /// Which of the mask's dimensions are 1.
    broadcast: [bool; 4],
    masked: f32,
    seed: u32,
}

struct Given {
    shapes: [Vec<i64>; 4],
    values: [Vec<f32>; 4],
}

impl Given {
    fn of(case: Case) -> Self {
        let width = case.heads * case.size;
        let whole = [case.batch, case.heads, case.queries, case.keys];
        let ones: Vec<usize> =
            whole.iter().zip(case.broadcast).map(|(all, one)| if one { 1 } else { *all }).collect();
        let keys = vec![case.batch, case.keys, width];
        let shapes = [vec![case.batch, case.queries, width], keys.clone(), keys, ones];
        let mut place = 0;
        let mut values = shapes.each_ref().map(|shape| {
            place += 1;
            numbers(shape.iter().product(), case.seed * 31 + place * 1_000_003)
        });
        for number in values[..2].iter_mut().flatten() {
            *number *= 2.0;
        }
        for row in values[3].chunks_mut(shapes[3][3].max(1)) {
            // The first key stays.
            for (key, number) in row.iter_mut().enumerate() {
                *number = if key > 0 && *number < 0.0 { case.masked } else { 0.0 };
            }
        }
        let shapes = shapes.map(|shape| shape.into_iter().map(|each| each as i64).collect());
        Self { shapes, values }
    }

    fn tensors(&self) -> Tensors<'_> {
        let tensor =
            |each: usize| Tensor { dimensions: &self.shapes[each], values: &self.values[each] };
        Tensors { query: tensor(0), key: tensor(1), value: tensor(2), mask: tensor(3) }
    }
}

/// Computes one result in f64, and how far others may be from it.
fn exact(case: Case, given: &Given, scale: f64, place: usize) -> (f64, f64) {
    let [query, key, value, mask] = &given.values;
    let width = case.heads * case.size;
    let (batch, row, column) =
        (place / width / case.queries, place / width % case.queries, place % width);
    let head = column / case.size;
    let sizes = [case.batch, case.heads, case.queries, case.keys];
    let mask_of = |key: usize| {
        let place = [batch, head, row, key];
        (0..4).fold(
            0,
            |sum, each| {
                if case.broadcast[each] { sum } else { sum * sizes[each] + place[each] }
            },
        )
    };
    let (mut scores, mut apart, mut largest) = (Vec::new(), 0.0f64, 0.0f64);
    for each in 0..case.keys {
        let (mut sum, mut size) = (0.0, 0.0);
        for place in head * case.size..(head + 1) * case.size {
            let one = f64::from(query[(batch * case.queries + row) * width + place]);
            let other = f64::from(key[(batch * case.keys + each) * width + place]);
            sum += one * other;
            size += (one * other).abs();
        }
        scores.push(sum * scale + f64::from(mask[mask_of(each)]));
        apart = apart.max(size * scale / 128.0);
        largest = largest.max(f64::from(value[(batch * case.keys + each) * width + column]).abs());
    }
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
    let weighted = powers
        .iter()
        .enumerate()
        .map(|(each, power)| power * f64::from(value[(batch * case.keys + each) * width + column]));
    let result = weighted.sum::<f64>() / powers.iter().sum::<f64>();
    (result, largest * ((2.0 * apart).exp() - 1.0 + 1.0 / 128.0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn results_are_as_near_as_promised(
        batch in 1usize..3, heads in 1usize..3, size in 1usize..70, queries in 1usize..10,
        keys in 1usize..40, broadcast: [bool; 4], seed in 0u32..1000,
        masked in prop::sample::select(vec![f32::NEG_INFINITY, f32::MIN, -10_000.0, -1.0]),
    ) {
        let case = Case { batch, heads, size, queries, keys, broadcast, masked, seed };
        let given = Given::of(case);
        let scale = 1.0 / (size as f32).sqrt();
        let wanted: Vec<(f64, f64)> = (0..given.values[0].len())
            .map(|place| exact(case, &given, f64::from(scale), place))
            .collect();
        for arithmetic in Arithmetic::ALL.into_iter().filter(|each| each.is_here()) {
            let attention = SelfAttention::new(arithmetic, size as i64, scale).unwrap();
            let mut found = vec![f32::NAN; given.values[0].len()];
            attention.run(given.tensors(), &mut found, &Caller).unwrap();
            for (found, (wanted, apart)) in found.into_iter().zip(&wanted) {
                let apart = if arithmetic.is_bf16() { *apart } else { apart / 1000.0 };
                let off = (f64::from(found) - wanted).abs();
                prop_assert!(off <= apart, "{arithmetic:?} {found} {wanted} {apart}");
            }
        }
    }
}

const CASE: Case = Case {
    batch: 2,
    heads: 2,
    size: 8,
    queries: 150,
    keys: 20,
    broadcast: [false, true, true, false],
    masked: f32::MIN,
    seed: 1,
};

fn run(given: &Given, arithmetic: Arithmetic) -> Result<Vec<f32>, Malformed> {
    let mut found = vec![f32::NAN; given.values[0].len()];
    SelfAttention::new(arithmetic, 8, 0.3)?.run(given.tensors(), &mut found, &Caller)?;
    Ok(found)
}

#[test]
fn every_arithmetic_is_near_the_plain_one_over_several_pieces_of_work() {
    let given = Given::of(CASE);
    let wanted = run(&given, Arithmetic::Portable).unwrap();
    for arithmetic in Arithmetic::ALL.into_iter().filter(|each| each.is_here()) {
        for (found, wanted) in run(&given, arithmetic).unwrap().into_iter().zip(&wanted) {
            assert!((found - wanted).abs() < 1e-2, "{arithmetic:?} {found} {wanted}");
        }
    }
}

#[test]
fn rows_without_a_key_are_the_mean_or_no_numbers() {
    for arithmetic in Arithmetic::ALL.into_iter().filter(|each| each.is_here()) {
        let mut given = Given::of(CASE);
        given.values[3].fill(f32::MIN);
        let found = run(&given, arithmetic).unwrap();
        let column = given.values[2].chunks_exact(16).take(20).map(|row| row[0]);
        let mean = column.sum::<f32>() / 20.0;
        assert!((found[0] - mean).abs() < 1e-2, "{arithmetic:?}");
        given.values[3].fill(f32::NEG_INFINITY);
        assert!(run(&given, arithmetic).unwrap().into_iter().all(f32::is_nan));
    }
}

#[test]
fn nothing_is_weighed_where_there_are_no_keys() {
    let given = Given::of(Case { keys: 0, ..CASE });
    assert!(run(&given, Arithmetic::fastest()).unwrap().into_iter().all(|x| x == 0.0));
    for case in [Case { queries: 0, ..CASE }, Case { batch: 0, ..CASE }] {
        assert!(run(&Given::of(case), Arithmetic::fastest()).unwrap().is_empty());
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    for (place, shape, words) in [
        (0, vec![300, 16], "not [batch, tokens, width]"),
        (0, vec![2, 75, 32], "do not fit together"),
        (1, vec![1, 40, 16], "do not fit together"),
        (2, vec![2, 40, 8], "do not fit together"),
        (3, vec![40], "the mask does not fit"),
        (3, vec![1, 2, 1, 1, 20], "other dimensions"),
        (3, vec![2, 1, 2, 10], "the mask does not fit"),
        (3, vec![2, 1, -1, -20], "other dimensions"),
    ] {
        let mut given = Given::of(CASE);
        given.shapes[place] = shape;
        let told = run(&given, Arithmetic::Portable).unwrap_err().to_string();
        assert!(told.contains(words), "{told}");
    }
    let told = |size, scale| {
        SelfAttention::new(Arithmetic::Portable, size, scale).unwrap_err().to_string()
    };
    assert!(told(0, 1.0).contains("head_size is 0"));
    assert!(told(i64::MIN, 1.0).contains("head_size is"));
    assert!(told(8, f32::NAN).contains("scale is NaN"));
}
