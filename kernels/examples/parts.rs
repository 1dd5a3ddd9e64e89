//! Where the time of a layer goes, on one thread: `cargo run --release --example parts`.
//!
//! Prints the least of many times, in microseconds, of: finding the range of activations, rounding and
//! packing them, and the layer with its activation; and of the product the nanoseconds that a block
//! takes for 128 tokens.

use std::hint::black_box;
use std::time::Instant;

use sparse_transfer_kernels::activations::{Activations, Layout, Scale, TOKENS};
use sparse_transfer_kernels::blocks::Blocks;
use sparse_transfer_kernels::epilogue::Activation;
use sparse_transfer_kernels::feed_forward::FeedForward;
use sparse_transfer_kernels::linear::{Caller, Linear};
use sparse_transfer_kernels::packing::extremes;
use sparse_transfer_kernels::pairs::Pairs;
use sparse_transfer_kernels::products::{Isa, product};

const TIMES: usize = 400;
/// Outputs, inputs and the share of weights that are kept: of BERT-base, and of MiniLM.
const LAYERS: [(usize, usize, f64, Mask); 9] = [
    (768, 768, 0.1, Mask::Blocks),
    (3072, 768, 0.1, Mask::Blocks),
    (768, 3072, 0.1, Mask::Blocks),
    (384, 384, 0.2, Mask::Blocks),
    (1536, 384, 0.2, Mask::Blocks),
    (384, 1536, 0.2, Mask::Blocks),
    (768, 768, 0.1, Mask::Unstructured),
    (3072, 768, 0.1, Mask::Unstructured),
    (768, 3072, 0.1, Mask::Unstructured),
];

/// Widths of the model, and the share of weights that are kept.
const FEED_FORWARD: [(usize, f64, Mask); 3] =
    [(768, 0.1, Mask::Blocks), (768, 0.1, Mask::Unstructured), (384, 0.2, Mask::Blocks)];

/// What a mask keeps.
#[derive(Debug, Clone, Copy)]
enum Mask {
    /// Blocks of four.
    Blocks,
    /// Single weights, anywhere.
    Unstructured,
}

fn least(mut work: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..TIMES {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_secs_f64() * 1e6);
    }
    best
}

fn weights(
    outputs: usize,
    inputs: usize,
    share: f64,
    mask: Mask,
    next: &mut impl FnMut() -> u64,
) -> Blocks {
    let (mut offsets, mut columns, mut values) = (vec![0], Vec::new(), Vec::new());
    let kept = |next: &mut dyn FnMut() -> u64| (next() % 1000) as f64 / 1000.0 < share;
    for _ in 0..outputs {
        for column in 0..(inputs / 4) as u16 {
            let four: [bool; 4] = match mask {
                Mask::Blocks => [kept(next); 4],
                Mask::Unstructured => std::array::from_fn(|_| kept(next)),
            };
            if four.contains(&true) {
                columns.push(column);
                values.extend(four.map(|kept| if kept { next() as i8 | 1 } else { 0 }));
            }
        }
        offsets.push(columns.len() as i32);
    }
    Blocks::new(inputs, &offsets, &columns, &values).expect("they fit")
}

fn main() {
    let isa = Isa::fastest();
    let scale = Scale { scale: 0.01, zero_point: 128 };
    println!("{}; microseconds", isa.name());
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state >> 33
    };
    for (outputs, inputs, share, mask) in LAYERS {
        let blocks = weights(outputs, inputs, share, mask, &mut next);
        for tokens in [32, 128] {
            let rows: Vec<f32> = (0..tokens * inputs).map(|_| next() as f32 / 1e9 - 1.0).collect();
            let range = least(|| {
                black_box(extremes(isa, black_box(&rows)));
            });
            let mut activations = Activations::default();
            activations.resize(tokens, inputs, Layout::Fours);
            let pack = least(|| {
                let parts = activations.parts();
                let packer = activations.packer(isa, &rows, scale);
                // SAFETY: one after the other.
                (0..parts).for_each(|part| unsafe { packer.fill(part) });
            });
            let mut sums = vec![0i32; 64 * TOKENS];
            let multiply = least(|| {
                for tile in (0..activations.tiles()).map(|tile| activations.tile(tile)) {
                    for group in (0..outputs).step_by(64) {
                        let sums = &mut sums[..64 * tile.tokens];
                        product(isa, &blocks, group..group + 64, tile, sums);
                    }
                }
            });
            let pairs = Pairs::can(isa).then(|| Pairs::new(&blocks));
            let by_pairs = pairs.map_or(f64::NAN, |pairs| {
                activations.resize(tokens, inputs, Layout::Twos);
                least(|| {
                    for tile in (0..activations.tiles()).map(|tile| activations.tile(tile)) {
                        for group in (0..outputs).step_by(64) {
                            let sums = &mut sums[..64 * tile.tokens];
                            pairs.product(group..group + 64, tile, sums);
                        }
                    }
                })
            });
            let scales = vec![0.01; outputs];
            let mut target = vec![0.0; tokens * outputs];
            let mut whole = |activation, input| {
                let layer = Linear::new(isa, blocks.clone(), &scales, &[], activation, input);
                let layer = layer.expect("it fits");
                least(|| layer.run(&rows, &mut target, &Caller))
            };
            let plain = whole(Activation::None, Some(scale));
            let gelu = whole(Activation::Gelu, Some(scale));
            let dynamic = whole(Activation::None, None);
            println!(
                "{outputs:4} x {inputs:4}, {:2.0} % {mask:?}, {tokens:3} tokens: range {range:.1}, \
                 pack {pack:.1}, product {multiply:.1} ({:.2} ns a block), by pairs {by_pairs:.1}, \
                 layer {plain:.1}, with GELU {gelu:.1}, dynamic {dynamic:.1}",
                share * 100.0,
                multiply * 1e3 / blocks.len() as f64 * 128.0 / tokens as f64,
            );
        }
    }
    for (width, share, mask) in FEED_FORWARD {
        for tokens in [32, 128] {
            let mut layer = |outputs: usize, inputs, activation| {
                let blocks = weights(outputs, inputs, share, mask, &mut next);
                let scales = vec![0.01; outputs];
                Linear::new(isa, blocks, &scales, &[], activation, Some(scale)).expect("it fits")
            };
            let first = layer(4 * width, width, Activation::Gelu);
            let second = layer(width, 4 * width, Activation::None);
            let rows: Vec<f32> =
                (0..tokens * width).map(|each| (each % 89) as f32 / 50.0 - 0.9).collect();
            let mut middle = vec![0.0; tokens * 4 * width];
            let mut target = vec![0.0; tokens * width];
            let apart = least(|| {
                first.run(&rows, &mut middle, &Caller);
                second.run(&middle, &mut target, &Caller);
            });
            let both = FeedForward::new(isa, first, second).expect("they fit");
            let together = least(|| both.run(&rows, &mut target, &Caller));
            println!(
                "feed forward {width}, {:2.0} % {mask:?}, {tokens:3} tokens: two layers {apart:.1}, \
                 one {together:.1}",
                share * 100.0
            );
        }
    }
}
