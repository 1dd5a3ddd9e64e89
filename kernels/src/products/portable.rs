//! Plain code, which every processor runs.

use super::Work;
use crate::blocks::BLOCK;

/// See [`super::product`].
pub fn product(work: &Work, sums: &mut [i32]) {
    let stride = work.tile.tokens * BLOCK;
    work.for_each(sums, |row, sums, more| {
        if !more {
            sums.fill(0);
        }
        for (column, weights) in row.columns.iter().zip(row.values) {
            let first = usize::from(*column) * stride;
            let tokens = work.tile.bytes[first..first + stride].as_chunks::<BLOCK>().0;
            for (sum, four) in sums.iter_mut().zip(tokens) {
                for (byte, weight) in four.iter().zip(weights) {
                    *sum += i32::from(*byte) * i32::from(*weight);
                }
            }
        }
    });
}
