//! Plain code, which every processor runs.

use crate::activations::Tile;
use crate::blocks::BLOCK;

/// See [`super::product`].
pub fn product(columns: &[u16], values: &[[i8; BLOCK]], tile: &Tile, sums: &mut [i32]) {
    let stride = tile.tokens() * BLOCK;
    sums.fill(0);
    for (column, weights) in columns.iter().zip(values) {
        let start = usize::from(*column) * stride;
        let tokens = tile.bytes()[start..start + stride].as_chunks::<BLOCK>().0;
        for (sum, four) in sums.iter_mut().zip(tokens) {
            for (byte, weight) in four.iter().zip(weights) {
                *sum += i32::from(*byte) * i32::from(*weight);
            }
        }
    }
}
