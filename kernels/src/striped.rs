//! Weights for tests.

use crate::blocks::{BLOCK, Blocks};

/// Returns weights of which every other block is there.
///
/// # Arguments
/// * `outputs`, `inputs` - Of the layer.
/// * `thin` - Of each block only one weight stays.
pub fn striped(outputs: usize, inputs: usize, thin: bool) -> Blocks {
    let (mut offsets, mut columns, mut values) = (vec![0], Vec::new(), Vec::new());
    for output in 0..outputs {
        for column in (output % 2..inputs / BLOCK).step_by(2) {
            columns.push(column as u16);
            values.extend((0..BLOCK).map(|each| {
                let weight = (output * 31 + column * 7 + each * 13) % 255;
                if thin && each != output % BLOCK { 0 } else { (weight as i32 - 127) as i8 }
            }));
        }
        offsets.push(columns.len() as i32);
    }
    Blocks::new(inputs, &offsets, &columns, &values).unwrap()
}
