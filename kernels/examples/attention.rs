//! How long attention takes, on one thread: `cargo run --release --example attention`.
//!
//! Prints the least of many times, in microseconds, for the heads of BERT-base and of MiniLM.

use std::time::Instant;

use sparse_transfer_kernels::attention::{Arithmetic, SelfAttention, Tensor, Tensors};
use sparse_transfer_kernels::linear::Caller;

const TIMES: usize = 200;
const HEADS: usize = 12;
const SIZES: [usize; 2] = [64, 32];
const TOKENS: [usize; 3] = [32, 128, 384];

fn main() {
    for size in SIZES {
        for tokens in TOKENS {
            let width = HEADS * size;
            let number = |each: usize| (each * 7919 % 1000) as f32 / 500.0 - 1.0;
            let values: Vec<f32> = (0..tokens * width).map(number).collect();
            let mask = vec![0.0; tokens * tokens];
            let shape = [1, tokens as i64, width as i64];
            let each = Tensor { dimensions: &shape, values: &values };
            let shape = [1, 1, tokens as i64, tokens as i64];
            let mask = Tensor { dimensions: &shape, values: &mask };
            let tensors = Tensors { query: each, key: each, value: each, mask };
            let mut target = vec![0.0; values.len()];
            for arithmetic in Arithmetic::ALL.into_iter().filter(|each| each.is_here()) {
                let attention = SelfAttention::new(arithmetic, size as i64, 0.125);
                let attention = attention.expect("it fits");
                let mut least = f64::MAX;
                for _ in 0..TIMES {
                    let start = Instant::now();
                    attention.run(tensors, &mut target, &Caller).expect("it fits");
                    least = least.min(start.elapsed().as_secs_f64() * 1e6);
                }
                println!("{HEADS} heads of {size}, {tokens:3} tokens, {arithmetic:?}: {least:.1}");
            }
        }
    }
}
