//! Two sparse INT8 layers, one after the other, with bytes between them.
//!
//! What the first puts out is rounded by the second's scale and packed while its sums are still in the
//! cache: four times as wide as the model, it would be the largest tensor that is written and read. The
//! results are those of the two layers apart, to the last bit.

use crate::activations::Scale;
use crate::blocks::Malformed;
use crate::epilogue::finish_packed;
use crate::linear::{Linear, Pool};
use crate::products::Isa;

/// The two layers.
#[derive(Debug)]
pub struct FeedForward {
    isa: Isa,
    first: Linear,
    second: Linear,
    hidden: Scale,
}

impl FeedForward {
    /// Puts two layers together.
    ///
    /// # Arguments
    /// * `isa` - That of both.
    /// * `first`, `second` - The layers; the second's scale is fixed.
    ///
    /// # Errors
    /// They do not fit together.
    pub fn new(isa: Isa, first: Linear, second: Linear) -> Result<Self, Malformed> {
        if first.outputs() != second.inputs() {
            return Err(Malformed(format!(
                "the first layer has {} outputs, the second {} inputs",
                first.outputs(),
                second.inputs()
            )));
        }
        let hidden = second.input_scale();
        let hidden =
            hidden.ok_or_else(|| Malformed("the second layer's scale is missing".into()))?;
        Ok(Self { isa, first, second, hidden })
    }

    /// Inputs of the first layer.
    pub fn inputs(&self) -> usize {
        self.first.inputs()
    }

    /// Outputs of the second layer.
    pub fn outputs(&self) -> usize {
        self.second.outputs()
    }

    /// Computes the results of rows: see [`Linear::run`].
    pub fn run(&self, rows: &[f32], target: &mut [f32], pool: &dyn Pool) {
        let count = rows.len() / self.inputs();
        assert_eq!(rows.len(), count * self.inputs(), "rows of other inputs");
        assert_eq!(target.len(), count * self.outputs(), "room for other results");
        let (packed, scale) = self.first.packed(rows, count, pool);
        let mut hidden = self.second.room(count);
        let filler = hidden.filler();
        self.first.pieces(&packed, scale, pool, &|piece, sums, affine| {
            // SAFETY: each piece has outputs of its own, which are inputs of the second layer.
            unsafe {
                let (target, room) = filler.at(piece.tile, piece.outputs.start);
                let tokens = piece.tokens.min(room);
                let activation = self.first.activation();
                finish_packed(self.isa, sums, affine, activation, self.hidden, tokens, target);
            }
        });
        // SAFETY: each part is arranged once.
        pool.for_each(filler.parts(), &|part| unsafe { filler.arrange(self.isa, part) });
        self.first.keep(packed);
        self.second.finished(&hidden, self.hidden, count, target, pool);
        self.second.keep(hidden);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::BLOCK;
    use crate::epilogue::Activation;
    use crate::linear::Caller;
    use crate::striped::striped;
    use proptest::prelude::*;

    /// Returns a layer; every fourth weight of its blocks stays where `thin`.
    fn layer(isa: Isa, outputs: usize, inputs: usize, thin: bool, input: Option<Scale>) -> Linear {
        let blocks = striped(outputs, inputs, thin);
        let scales: Vec<f32> = (0..outputs).map(|each| 0.001 + each as f32 * 1e-5).collect();
        let bias: Vec<f32> = (0..outputs).map(|each| each as f32 * 0.01 - 0.3).collect();
        Linear::new(isa, blocks, &scales, &bias, Activation::Gelu, input).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn results_are_those_of_the_layers_apart(
            count in 0usize..140, inputs in 1usize..20, hidden in 1usize..60, outputs in 1usize..80,
            thin in any::<[bool; 2]>(),
        ) {
            let (inputs, hidden) = (inputs * BLOCK, hidden * BLOCK);
            let rows: Vec<f32> =
                (0..count * inputs).map(|each| (each * 37 % 101) as f32 / 25.0 - 2.0).collect();
            let between = Some(Scale { scale: 0.01, zero_point: 19 });
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
                let first = || layer(isa, hidden, inputs, thin[0], None);
                let second = || layer(isa, outputs, hidden, thin[1], between);
                let mut middle = vec![0.0; count * hidden];
                first().run(&rows, &mut middle, &Caller);
                let mut wanted = vec![0.0; count * outputs];
                second().run(&middle, &mut wanted, &Caller);
                let mut found = vec![f32::NAN; count * outputs];
                let both = FeedForward::new(isa, first(), second()).unwrap();
                for _ in 0..2 {
                    both.run(&rows, &mut found, &Caller);
                    prop_assert_eq!(&found, &wanted, "{}", isa.name());
                }
            }
        }
    }

    #[test]
    fn layers_that_do_not_follow_each_other_are_refused() {
        let isa = Isa::Portable;
        let scale = Some(Scale { scale: 0.01, zero_point: 0 });
        let refused = |first, second| FeedForward::new(isa, first, second).unwrap_err().to_string();
        let (narrow, wide) = (layer(isa, 8, 4, false, None), layer(isa, 4, 16, false, scale));
        assert!(refused(narrow, wide).contains("8 outputs, the second 16 inputs"));
        let (narrow, wide) = (layer(isa, 8, 4, false, None), layer(isa, 4, 8, false, None));
        assert!(refused(narrow, wide).contains("scale is missing"));
    }
}
