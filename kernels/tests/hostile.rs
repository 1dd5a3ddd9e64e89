//! Whatever a model file holds: a layer of it is refused, or runs within its bounds.
//!
//! Starts from a layer that is right and damages it, so that most damage gets past the first check.
//! `make sanitize` runs it with the address sanitizer.

use proptest::prelude::*;
use sparse_transfer_kernels::activations::Scale;
use sparse_transfer_kernels::blocks::Blocks;
use sparse_transfer_kernels::convolution::{Convolution, Geometry, Pictures};
use sparse_transfer_kernels::epilogue::Activation;
use sparse_transfer_kernels::linear::{Caller, Linear};
use sparse_transfer_kernels::pointwise::Pointwise;
use sparse_transfer_kernels::products::Isa;

/// The constants of a layer, as a file holds them.
#[derive(Debug, Clone)]
struct Layer {
    inputs: usize,
    offsets: Vec<i32>,
    columns: Vec<u16>,
    values: Vec<i8>,
    scales: Vec<f32>,
    bias: Vec<f32>,
    scale: Option<Scale>,
    /// Of the results, where they are bytes.
    output: Scale,
    /// Of its convolution.
    geometry: Geometry,
}

/// What happens to one of them.
#[derive(Debug, Clone)]
enum Damage {
    Inputs(usize),
    Offset(usize, i32),
    Column(usize, u16),
    SwappedColumns(usize, usize),
    ShorterColumns(usize),
    ShorterValues(usize),
    ShorterOffsets(usize),
    ShorterScales(usize),
    WeightScale(usize, f32),
    Bias(usize, f32),
    InputScale(f32, u8),
    OutputScale(f32, u8),
    Kernel([i64; 2]),
    Strides([i64; 2]),
    Before([i64; 2]),
    After([i64; 2]),
}

fn layers() -> impl Strategy<Value = Layer> {
    (1usize..24, 1usize..100, 1u32..100, any::<u64>()).prop_map(|(blocks, outputs, share, seed)| {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u32
        };
        let (mut offsets, mut columns, mut values) = (vec![0], Vec::new(), Vec::new());
        for _ in 0..outputs {
            for column in 0..blocks as u16 {
                if next() % 100 < share {
                    columns.push(column);
                    values.extend((0..4).map(|_| if next() % 3 == 0 { 0 } else { next() as i8 }));
                }
            }
            offsets.push(columns.len() as i32);
        }
        Layer {
            inputs: blocks * 4,
            offsets,
            columns,
            values,
            scales: vec![0.01; outputs],
            bias: vec![0.5; outputs],
            scale: Some(Scale { scale: 0.02, zero_point: 7 }),
            output: Scale { scale: 0.05, zero_point: 9 },
            geometry: Geometry { kernel: [1, 1], strides: [1, 2], before: [0, 0], after: [0, 0] },
        }
    })
}

fn damages() -> impl Strategy<Value = Damage> {
    use Damage::*;
    let floats = || prop_oneof![any::<f32>(), Just(0.0), Just(f32::NAN), Just(f32::MAX)];
    let offsets = || prop_oneof![any::<i32>(), -3i32..200];
    let columns = || prop_oneof![any::<u16>(), 0u16..30];
    let size = || prop_oneof![any::<i64>(), -1i64..5];
    let sizes = || [size(), size()];
    prop_oneof![
        prop_oneof![any::<usize>(), 0usize..200].prop_map(Inputs),
        (any::<usize>(), offsets()).prop_map(|(place, value)| Offset(place, value)),
        (any::<usize>(), columns()).prop_map(|(place, value)| Column(place, value)),
        (any::<usize>(), any::<usize>()).prop_map(|(first, second)| SwappedColumns(first, second)),
        any::<usize>().prop_map(ShorterColumns),
        any::<usize>().prop_map(ShorterValues),
        any::<usize>().prop_map(ShorterOffsets),
        any::<usize>().prop_map(ShorterScales),
        (any::<usize>(), floats()).prop_map(|(place, value)| WeightScale(place, value)),
        (any::<usize>(), floats()).prop_map(|(place, value)| Bias(place, value)),
        (floats(), any::<u8>()).prop_map(|(scale, zero_point)| InputScale(scale, zero_point)),
        (floats(), any::<u8>()).prop_map(|(scale, zero_point)| OutputScale(scale, zero_point)),
        sizes().prop_map(Kernel),
        sizes().prop_map(Strides),
        sizes().prop_map(Before),
        sizes().prop_map(After),
    ]
}

fn set<T>(values: &mut [T], place: usize, value: T) {
    let length = values.len();
    if length > 0 {
        values[place % length] = value;
    }
}

fn shorten<T>(values: &mut Vec<T>, by: usize) {
    values.truncate(values.len() - by % (values.len() + 1));
}

impl Layer {
    fn damaged(mut self, damage: Damage) -> Self {
        match damage {
            Damage::Inputs(inputs) => self.inputs = inputs,
            Damage::Offset(place, value) => set(&mut self.offsets, place, value),
            Damage::Column(place, value) => set(&mut self.columns, place, value),
            Damage::SwappedColumns(first, second) if !self.columns.is_empty() => {
                let count = self.columns.len();
                self.columns.swap(first % count, second % count);
            }
            Damage::SwappedColumns(..) => {}
            Damage::ShorterColumns(by) => shorten(&mut self.columns, by),
            Damage::ShorterValues(by) => shorten(&mut self.values, by),
            Damage::ShorterOffsets(by) => shorten(&mut self.offsets, by),
            Damage::ShorterScales(by) => shorten(&mut self.scales, by),
            Damage::WeightScale(place, value) => set(&mut self.scales, place, value),
            Damage::Bias(place, value) => set(&mut self.bias, place, value),
            Damage::InputScale(scale, zero_point) => self.scale = Some(Scale { scale, zero_point }),
            Damage::OutputScale(scale, zero_point) => self.output = Scale { scale, zero_point },
            Damage::Kernel(size) => self.geometry.kernel = size,
            Damage::Strides(size) => self.geometry.strides = size,
            Damage::Before(size) => self.geometry.before = size,
            Damage::After(size) => self.geometry.after = size,
        }
        self
    }

    fn runs(&self, isa: Isa, tokens: usize) {
        let Ok(blocks) = Blocks::new(self.inputs, &self.offsets, &self.columns, &self.values)
        else {
            return;
        };
        let made = Linear::new(isa, blocks, &self.scales, &self.bias, Activation::Gelu, self.scale);
        let Ok(layer) = made else { return };
        let rows = vec![1.5; tokens * layer.inputs()];
        let mut target = vec![f32::NAN; tokens * layer.outputs()];
        layer.run(&rows, &mut target, &Caller);
        let Ok(convolution) = Pointwise::new(isa, layer, self.output, [3, 250]) else { return };
        let pixels = vec![200; tokens * convolution.inputs()];
        let mut target = vec![0; tokens * convolution.outputs()];
        convolution.run(&pixels, &mut target, &Caller);
        let zero = self.scale.map_or(0, |scale| scale.zero_point);
        let Ok(convolution) = Convolution::new(convolution, zero, self.geometry) else { return };
        let size = [tokens as i64 % 9, tokens as i64 / 9];
        let bytes = vec![200; 2 * tokens_of(size) * convolution.channels()];
        let results = self.geometry.results(size).map_or(0, tokens_of);
        let mut target = vec![0; 2 * results * convolution.outputs()];
        let pictures = Pictures { count: 2, size, bytes: &bytes };
        let _ = convolution.run(pictures, &mut target, &Caller);
    }
}

fn tokens_of(size: [i64; 2]) -> usize {
    (size[0] * size[1]) as usize
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn a_damaged_layer_is_refused_or_runs_within_its_bounds(
        layer in layers(), damages in prop::collection::vec(damages(), 0..4), tokens in 0usize..70,
    ) {
        let layer = damages.into_iter().fold(layer, Layer::damaged);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
            layer.runs(isa, tokens);
        }
    }
}
