//! Sparse INT8 weights as blocks of four neighbouring inputs of one output, checked once.
//!
//! Whoever holds [`Blocks`] may index activations with its columns without looking: every column
//! lies inside, and no input of an output is named twice.

use std::fmt;

/// Inputs of a block: what one dot-product instruction multiplies and sums in a lane.
pub const BLOCK: usize = 4;

/// Largest number of inputs, so that a block's index fits in 16 bits.
pub const MOST_INPUTS: usize = BLOCK << 16;

/// Blocks of a chunk: what products of a tile of activations read before they come back to it, so that
/// it stays in the first-level cache (48 KiB of a full tile).
pub const CHUNK: usize = 192;

/// Why weights are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

/// Some blocks of one output.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Place of each among the inputs, in blocks; rising.
    pub columns: &'a [u16],
    /// Four weights of each.
    pub values: &'a [[i8; BLOCK]],
}

/// Weights `[outputs, inputs]` of which only some blocks are stored.
#[derive(Debug, Clone)]
pub struct Blocks {
    inputs: usize,
    /// Runs of [`CHUNK`] blocks that the inputs are cut into.
    chunks: usize,
    /// Where each output's blocks of each chunk begin, and at last the number of blocks.
    cuts: Vec<usize>,
    /// Place of each block among the inputs, in blocks; rising within an output.
    columns: Vec<u16>,
    /// Four weights of each block, as they lie in memory.
    values: Vec<[i8; BLOCK]>,
    /// Sum of each output's weights: what a zero point of the activations contributes.
    sums: Vec<i32>,
}

impl Blocks {
    /// Checks weights as a model file holds them.
    ///
    /// # Arguments
    /// * `inputs` - Of the layer; a multiple of [`BLOCK`], at most [`MOST_INPUTS`].
    /// * `offsets` - Of each output's first block, and at last the number of blocks.
    /// * `columns` - Of each block, rising within an output.
    /// * `values` - Four weights of each block.
    ///
    /// # Errors
    /// Anything does not fit together.
    pub fn new(
        inputs: usize,
        offsets: &[i32],
        columns: &[u16],
        values: &[i8],
    ) -> Result<Self, Malformed> {
        if inputs == 0 || !inputs.is_multiple_of(BLOCK) || inputs > MOST_INPUTS {
            return Err(Malformed(format!(
                "{inputs} inputs; expected a multiple of {BLOCK} from {BLOCK} to {MOST_INPUTS}"
            )));
        }
        let blocks = columns.len();
        if values.len() != blocks * BLOCK {
            return Err(Malformed(format!(
                "{} weights for {blocks} blocks; expected {}",
                values.len(),
                blocks * BLOCK
            )));
        }
        let offsets = checked_offsets(offsets, blocks)?;
        for (output, window) in offsets.windows(2).enumerate() {
            let row = &columns[window[0]..window[1]];
            if let Some(last) = row.last()
                && usize::from(*last) >= inputs / BLOCK
            {
                return Err(Malformed(format!(
                    "output {output}: block {last} of {} there are",
                    inputs / BLOCK
                )));
            }
            if let Some(pair) = row.windows(2).find(|pair| pair[0] >= pair[1]) {
                return Err(Malformed(format!(
                    "output {output}: block {} follows block {}; expected rising ones",
                    pair[1], pair[0]
                )));
            }
        }
        let values: Vec<[i8; BLOCK]> = values.as_chunks::<BLOCK>().0.to_vec();
        let sums = offsets
            .windows(2)
            .map(|window| {
                values[window[0]..window[1]].iter().flatten().map(|w| i32::from(*w)).sum()
            })
            .collect();
        for (output, window) in offsets.windows(2).enumerate() {
            let own = values[window[0]..window[1]].iter().flatten();
            let largest: u64 = own.map(|weight| u64::from(weight.unsigned_abs())).sum();
            if largest * u64::from(u8::MAX) > i32::MAX as u64 {
                return Err(Malformed(format!("output {output}: its sums do not fit in 32 bits")));
            }
        }
        let (chunks, cuts) = cut(inputs / BLOCK, &offsets, columns);
        Ok(Self { inputs, chunks, cuts, columns: columns.to_vec(), values, sums })
    }

    /// Inputs of the layer.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Outputs of the layer.
    pub fn outputs(&self) -> usize {
        self.sums.len()
    }

    /// Number of blocks that are stored.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether no block is stored.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Runs of inputs: see [`CHUNK`].
    pub fn chunks(&self) -> usize {
        self.chunks
    }

    /// An output's blocks of one chunk.
    #[inline(always)]
    pub fn row(&self, output: usize, chunk: usize) -> Row<'_> {
        let place = output * self.chunks + chunk;
        let range = self.cuts[place]..self.cuts[place + 1];
        Row { columns: &self.columns[range.clone()], values: &self.values[range] }
    }

    /// Sum of an output's weights.
    pub fn sum(&self, output: usize) -> i32 {
        self.sums[output]
    }
}

/// Returns the number of chunks, and where each output's blocks of each begin.
fn cut(blocks: usize, offsets: &[usize], columns: &[u16]) -> (usize, Vec<usize>) {
    // A second chunk that is short would cost more than it saves.
    let chunks = if blocks <= CHUNK + CHUNK / 3 { 1 } else { blocks.div_ceil(CHUNK) };
    let mut cuts = Vec::with_capacity((offsets.len() - 1) * chunks + 1);
    for window in offsets.windows(2) {
        let row = &columns[window[0]..window[1]];
        for chunk in 0..chunks {
            let before = row.partition_point(|column| usize::from(*column) < chunk * CHUNK);
            cuts.push(window[0] + before);
        }
    }
    cuts.push(columns.len());
    (chunks, cuts)
}

fn checked_offsets(offsets: &[i32], blocks: usize) -> Result<Vec<usize>, Malformed> {
    let found: Option<Vec<usize>> =
        offsets.iter().map(|each| usize::try_from(*each).ok()).collect();
    let rising = |found: &Vec<usize>| found.windows(2).all(|pair| pair[0] <= pair[1]);
    match found {
        Some(found)
            if found.len() > 1
                && found[0] == 0
                && found.last() == Some(&blocks)
                && rising(&found) =>
        {
            Ok(found)
        }
        _ => Err(Malformed(format!(
            "offsets of outputs do not rise from 0 to the {blocks} blocks that there are"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        type Case<'a> = (usize, &'a [i32], &'a [u16], &'a [i8], &'a str);
        let cases: [Case; 9] = [
            (6, &[0, 0], &[], &[], "multiple of 4"),
            (0, &[0, 0], &[], &[], "multiple of 4"),
            (MOST_INPUTS + 4, &[0, 0], &[], &[], "multiple of 4"),
            (8, &[0, 1], &[2], &[1; 4], "block 2 of 2 there are"),
            (8, &[0, 2], &[1, 1], &[1; 8], "expected rising ones"),
            (8, &[0, 1], &[0], &[1; 3], "3 weights for 1 blocks"),
            (8, &[0, 2], &[0], &[1; 4], "do not rise from 0 to the 1 blocks"),
            (8, &[0, -1, 1], &[0], &[1; 4], "do not rise"),
            (8, &[], &[], &[], "do not rise"),
        ];
        for (inputs, offsets, columns, values, words) in cases {
            let error = Blocks::new(inputs, offsets, columns, values).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn rows_and_sums_are_those_of_the_file() {
        let blocks =
            Blocks::new(8, &[0, 2, 2, 3], &[0, 1, 1], &[1, 2, 3, 4, -1, 0, 0, -9, 7, 7, 7, 7])
                .unwrap();
        assert_eq!((blocks.outputs(), blocks.inputs(), blocks.len()), (3, 8, 3));
        assert_eq!(blocks.row(0, 0).columns, [0, 1]);
        assert!(blocks.row(1, 0).columns.is_empty());
        assert_eq!(blocks.row(2, 0).values, [[7; 4]]);
        assert_eq!([blocks.sum(0), blocks.sum(1), blocks.sum(2)], [0, 0, 28]);
    }

    #[test]
    fn sums_that_would_overflow_are_refused() {
        let count = 66_000 / BLOCK;
        let columns: Vec<u16> = (0..count as u16).collect();
        let weights =
            |weight| Blocks::new(66_000, &[0, count as i32], &columns, &vec![weight; 66_000]);
        assert!(weights(i8::MIN).unwrap_err().to_string().contains("do not fit in 32 bits"));
        assert_eq!(weights(i8::MAX).unwrap().sum(0), 66_000 * 127);
    }

    #[test]
    fn chunks_hold_each_block_once() {
        let columns: Vec<u16> = (0..1000).step_by(3).collect();
        let count = columns.len();
        let values = vec![1; count * BLOCK];
        let blocks = Blocks::new(4000, &[0, 0, count as i32], &columns, &values).unwrap();
        assert_eq!(blocks.chunks(), 6);
        let found: Vec<u16> =
            (0..6).flat_map(|chunk| blocks.row(1, chunk).columns.to_vec()).collect();
        assert_eq!(found, columns);
        for chunk in 0..6 {
            assert!(blocks.row(0, chunk).columns.is_empty());
            let own = chunk * CHUNK..(chunk + 1) * CHUNK;
            assert!(
                blocks
                    .row(1, chunk)
                    .columns
                    .iter()
                    .all(|column| own.contains(&usize::from(*column)))
            );
        }
    }

    proptest! {
        /// Whatever a file holds: it is refused, or every column that is kept lies inside.
        #[test]
        fn what_is_accepted_lies_inside(
            inputs in 0usize..64,
            offsets in prop::collection::vec(-2i32..12, 0..6),
            columns in prop::collection::vec(0u16..20, 0..12),
            values in prop::collection::vec(any::<i8>(), 0..48),
        ) {
            if let Ok(blocks) = Blocks::new(inputs, &offsets, &columns, &values) {
                for output in 0..blocks.outputs() {
                    for column in blocks.row(output, 0).columns {
                        prop_assert!((usize::from(*column) + 1) * BLOCK <= inputs);
                    }
                }
            }
        }
    }
}
