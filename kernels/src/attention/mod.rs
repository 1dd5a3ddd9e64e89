//! Self-attention on what the layers before it put out, without a transposition of tensors in memory.
//!
//! A piece of work is some rows of one head. It packs the head's keys and values, and then takes a few
//! rows at a time: their scores, mask and softmax stay in the first-level caches.
//!
//! Where the processor multiplies bf16 (`vdpbf16ps`), queries, keys, values and weights are rounded to it,
//! and sums are floats. With `e` the largest over keys of `scale * sum(|query| * |key|) / 128`, and `v`
//! the largest value in a column, results are then within `v * (exp(2 * e) - 1 + 1 / 128)` of exact ones;
//! on other processors within a thousandth of that. Tests hold both.

mod arithmetic;
mod products;
mod room;
mod softmax;
mod words;

use std::cell::RefCell;
use std::ops::Range;

use crate::blocks::Malformed;
use crate::linear::Pool;
use crate::normalization::Place;
use crate::transposition::{Words, transpose};

pub use arithmetic::Arithmetic;
use products::{Factors, product};
use room::Room;
use softmax::softmax;

/// Columns are padded to a multiple of these: a vector, and a cache line.
const LANES: usize = 16;
/// Queries that are computed at once; a multiple of all tiles of the products.
const ROWS: usize = 16;
/// Queries of a piece of work.
const QUERIES: usize = 128;
/// Dimensions of a mask.
const MASK: usize = 4;

/// `softmax(query * key^T * scale + mask) * value`, head by head.
#[derive(Debug)]
pub struct SelfAttention {
    arithmetic: Arithmetic,
    size: usize,
    scale: f32,
}

/// What attention is computed of; `[batch, tokens, heads * size]` each, but for the mask.
#[derive(Debug, Clone, Copy)]
pub struct Tensors<'a> {
    /// What asks.
    pub query: Tensor<'a>,
    /// What answers; as many batches and heads.
    pub key: Tensor<'a>,
    /// What is weighed; of the keys' shape.
    pub value: Tensor<'a>,
    /// Added to scores: `[1 or batch, 1 or heads, 1 or queries, 1 or keys]`; first ones may lack.
    pub mask: Tensor<'a>,
}

/// Numbers and their dimensions.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    /// As onnxruntime has them.
    pub dimensions: &'a [i64],
    /// Row by row.
    pub values: &'a [f32],
}

/// Sizes of tensors that fit together.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    /// What a step in each dimension of the mask skips; 0 where it has the same for all.
    mask: [usize; MASK],
}

impl SelfAttention {
    /// Puts it together.
    ///
    /// # Arguments
    /// * `arithmetic` - One that this processor has.
    /// * `size` - Of a head.
    /// * `scale` - Of scores, before the mask is added.
    ///
    /// # Errors
    /// A size of nothing, or a scale that is no number.
    pub fn new(arithmetic: Arithmetic, size: i64, scale: f32) -> Result<Self, Malformed> {
        let positive = usize::try_from(size).ok().filter(|size| *size > 0);
        let size = positive
            .ok_or_else(|| Malformed(format!("head_size is {size}; expected 1 or more")))?;
        if !scale.is_finite() {
            return Err(Malformed(format!("scale is {scale}; expected a finite one")));
        }
        Ok(Self { arithmetic, size, scale })
    }

    /// Computes results.
    ///
    /// # Arguments
    /// * `tensors` - See there.
    /// * `target` - Of the queries' shape; overwritten.
    /// * `pool` - What computes.
    ///
    /// # Errors
    /// The tensors' shapes do not fit together; nothing was computed.
    ///
    /// # Panics
    /// The target is of another size.
    pub fn run(
        &self,
        tensors: Tensors,
        target: &mut [f32],
        pool: &dyn Pool,
    ) -> Result<(), Malformed> {
        let sizes = self.sizes(tensors)?;
        assert_eq!(target.len(), tensors.query.values.len());
        if sizes.keys == 0 {
            target.fill(0.0);
            return Ok(());
        }
        let blocks = sizes.queries.div_ceil(QUERIES);
        let place = Place::of(target);
        pool.for_each(sizes.batch * sizes.heads * blocks, &|each| {
            let (block, head) = (each % blocks, each / blocks % sizes.heads);
            let first = block * QUERIES;
            let rows = first..sizes.queries.min(first + QUERIES);
            let piece = Piece { sizes, batch: each / blocks / sizes.heads, head, rows };
            SCRATCH.with_borrow_mut(|scratch| self.piece(tensors, &piece, scratch, &place));
        });
        Ok(())
    }

    fn sizes(&self, tensors: Tensors) -> Result<Sizes, Malformed> {
        let told = |what: &str| {
            let [query, key, value, mask] =
                [tensors.query, tensors.key, tensors.value, tensors.mask].map(|x| x.dimensions);
            let size = self.size;
            Malformed(format!(
                "{what}: query {query:?}, key {key:?}, value {value:?}, mask {mask:?}, heads of {size}"
            ))
        };
        let (Some([batch, queries, width]), Some([others, keys, other_width])) =
            (natural(tensors.query), natural(tensors.key))
        else {
            return Err(told("tensors are not [batch, tokens, width]"));
        };
        let mask = broadcast(tensors.mask).ok_or_else(|| told("the mask has other dimensions"))?;
        let same = tensors.value.dimensions == tensors.key.dimensions
            && (others, other_width) == (batch, width);
        if !same || !width.is_multiple_of(self.size) {
            return Err(told("tensors do not fit together"));
        }
        let heads = width / self.size;
        let fits = |place: usize, whole: usize| mask[place] == 1 || mask[place] == whole;
        if !(fits(0, batch) && fits(1, heads) && fits(2, queries) && fits(3, keys)) {
            return Err(told("the mask does not fit"));
        }
        let step = |place: usize| mask[place + 1..].iter().product();
        let steps = std::array::from_fn(|place| if mask[place] == 1 { 0 } else { step(place) });
        Ok(Sizes { batch, heads, queries, keys, mask: steps })
    }

    fn piece(&self, tensors: Tensors, piece: &Piece, scratch: &mut Scratch, target: &Place) {
        let sizes = piece.sizes;
        let padded = sizes.keys.next_multiple_of(LANES);
        let width = self.size.next_multiple_of(LANES);
        let depth = self.arithmetic.words(self.size);
        let key_words = self.arithmetic.words(padded);
        let keys = scratch.keys.words(depth * padded);
        self.pack_keys(piece.head(tensors.key, self.size), scratch.rows.words(LANES * depth), keys);
        let values = scratch.values.words(key_words * width);
        self.pack_values(piece.head(tensors.value, self.size), width, values);
        let queries = scratch.queries.words(ROWS * depth);
        let scores = scratch.scores.floats(ROWS * padded);
        let weights = scratch.weights.words(ROWS * key_words);
        let results = scratch.results.floats(ROWS * width);
        let rows = piece.head(tensors.query, self.size);
        for first in piece.rows.clone().step_by(ROWS) {
            let there = first..piece.rows.end.min(first + ROWS);
            for (row, words) in there.clone().zip(queries.chunks_exact_mut(depth)) {
                self.arithmetic.round(rows.row(row), self.scale, words);
            }
            let factors = Factors { left: queries, right: keys, depth, columns: padded };
            product(self.arithmetic, factors, scores);
            let mut sums = [0.0; ROWS];
            let each = there.clone().zip(scores.chunks_exact_mut(padded));
            for ((row, scores), (words, sum)) in
                each.zip(weights.chunks_exact_mut(key_words).zip(&mut sums))
            {
                let mask = &tensors.mask.values[piece.mask(row)..];
                let mask = if sizes.mask[MASK - 1] == 0 {
                    let spread = scratch.mask.floats(sizes.keys);
                    spread.fill(mask[0]);
                    &*spread
                } else {
                    &mask[..sizes.keys]
                };
                *sum = softmax(self.arithmetic, scores, mask, words);
            }
            let factors =
                Factors { left: weights, right: values, depth: key_words, columns: width };
            product(self.arithmetic, factors, results);
            for ((row, result), sum) in there.zip(results.chunks_exact(width)).zip(sums) {
                let start = rows.start(row);
                // SAFETY: of each row, a head's part belongs to one piece of work.
                let target = unsafe { target.slice(start..start + self.size) };
                let inverse = 1.0 / sum;
                for (target, result) in target.iter_mut().zip(result) {
                    *target = result * inverse;
                }
            }
        }
    }

    /// Packs keys as `[words of a row][keys]`, where lacking ones are zero.
    fn pack_keys(&self, head: Head, rows: &mut [u32], target: &mut [u32]) {
        let depth = rows.len() / LANES;
        let padded = target.len() / depth;
        for first in (0..padded).step_by(LANES) {
            for (key, words) in (first..first + LANES).zip(rows.chunks_exact_mut(depth)) {
                if key < head.tokens {
                    self.arithmetic.round(head.row(key), 1.0, words);
                } else {
                    words.fill(0);
                }
            }
            let source = Words { first: rows.as_ptr(), stride: depth };
            let place = Words { first: target[first..].as_mut_ptr(), stride: padded };
            // SAFETY: there are as many rows, and the target has room for them.
            unsafe { transpose(self.arithmetic.isa(), source, place, LANES, depth) };
        }
    }

    /// Packs values as `[words of all keys][size]`, where lacking ones are zero.
    fn pack_values(&self, head: Head, width: usize, target: &mut [u32]) {
        let keys = self.arithmetic.keys_of_word();
        for (word, target) in target.chunks_exact_mut(width).enumerate() {
            target[self.size..].fill(0);
            let target = &mut target[..self.size];
            let row = |key: usize| if key < head.tokens { head.row(key) } else { &[] };
            self.arithmetic.pair(row(word * keys), row(word * keys + 1), target);
        }
    }
}

fn natural<const RANK: usize>(tensor: Tensor) -> Option<[usize; RANK]> {
    let dimensions: [i64; RANK] = tensor.dimensions.try_into().ok()?;
    let mut found = [0; RANK];
    for (target, dimension) in found.iter_mut().zip(dimensions) {
        *target = usize::try_from(dimension).ok()?;
    }
    let count = found.iter().try_fold(1usize, |count, each| count.checked_mul(*each))?;
    (count == tensor.values.len()).then_some(found)
}

/// Returns a mask's dimensions, with ones for those that lack.
fn broadcast(mask: Tensor) -> Option<[usize; MASK]> {
    let lacking = MASK.checked_sub(mask.dimensions.len())?;
    let mut whole = [1; MASK];
    whole[lacking..].copy_from_slice(mask.dimensions);
    natural(Tensor { dimensions: &whole, values: mask.values })
}

/// A piece of work.
#[derive(Debug, Clone)]
struct Piece {
    sizes: Sizes,
    batch: usize,
    head: usize,
    rows: Range<usize>,
}

impl Piece {
    fn head<'a>(&self, tensor: Tensor<'a>, size: usize) -> Head<'a> {
        let stride = self.sizes.heads * size;
        let tokens = tensor.values.len() / stride / self.sizes.batch;
        let first = self.batch * tokens * stride + self.head * size;
        Head { values: tensor.values, first, stride, size, tokens }
    }

    /// Where a row of the mask starts.
    fn mask(&self, row: usize) -> usize {
        let [batch, head, query, _] = self.sizes.mask;
        self.batch * batch + self.head * head + row * query
    }
}

/// One head of one member of the batch.
#[derive(Debug, Clone, Copy)]
struct Head<'a> {
    values: &'a [f32],
    first: usize,
    stride: usize,
    size: usize,
    tokens: usize,
}

impl<'a> Head<'a> {
    fn start(&self, token: usize) -> usize {
        self.first + token * self.stride
    }

    fn row(&self, token: usize) -> &'a [f32] {
        &self.values[self.start(token)..][..self.size]
    }
}

/// What a piece of work needs room for.
#[derive(Debug, Default)]
struct Scratch {
    rows: Room,
    keys: Room,
    values: Room,
    queries: Room,
    scores: Room,
    mask: Room,
    weights: Room,
    results: Room,
}

thread_local! {
    /// Kept from one piece of work to the next.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[cfg(test)]
mod tests;
