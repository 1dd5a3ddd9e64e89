//! A convolution, channels last, with bytes in and bytes out: what each pixel sees is laid out in a row,
//! and rows are multiplied as those of a [`Pointwise`] are.
//!
//! Rows are laid out a part of a tile at a time, in the thread that packs it: channels of pixels that
//! lie side by side are copied at once, so that a row takes as many copies as the kernel has lines.

use std::cell::RefCell;
use std::ops::Range;

use crate::blocks::{BLOCK, Malformed};
use crate::linear::Pool;
use crate::pointwise::Pointwise;

/// More than any network has, and few enough that sizes cannot overflow.
const MOST: i64 = 1 << 16;

/// What a result sees, and how far results are apart: of heights, then of widths.
#[derive(Debug, Clone, Copy)]
pub struct Geometry {
    /// Pixels of the kernel.
    pub kernel: [i64; 2],
    /// Pixels between results.
    pub strides: [i64; 2],
    /// Pixels around the picture, at its start.
    pub before: [i64; 2],
    /// At its end.
    pub after: [i64; 2],
}

impl Geometry {
    /// Returns the results of a picture, in height and width.
    ///
    /// # Arguments
    /// * `size` - Of the picture, likewise.
    ///
    /// # Errors
    /// It is smaller than the kernel, or larger than any picture.
    pub fn results(&self, size: [i64; 2]) -> Result<[i64; 2], Malformed> {
        let mut found = [0; 2];
        for (axis, found) in found.iter_mut().enumerate() {
            let padded = size[axis] + self.before[axis] + self.after[axis];
            if !(0..=MOST).contains(&size[axis]) || padded < self.kernel[axis] {
                let (size, kernel) = (size, self.kernel);
                return Err(Malformed(format!("a picture of {size:?} for a kernel of {kernel:?}")));
            }
            *found = (padded - self.kernel[axis]) / self.strides[axis] + 1;
        }
        Ok(found)
    }

    /// Looks whether numbers mean anything; what has not passed has no results.
    ///
    /// # Errors
    /// One does not.
    pub fn check(&self) -> Result<(), Malformed> {
        let positive =
            [self.kernel, self.strides].as_flattened().iter().all(|n| (1..=MOST).contains(n));
        let padded = (0..2).all(|axis| {
            let most = 0..self.kernel[axis];
            most.contains(&self.before[axis]) && most.contains(&self.after[axis])
        });
        if positive && padded {
            Ok(())
        } else {
            Err(Malformed(format!("{self:?} is no convolution")))
        }
    }
}

/// The convolution.
#[derive(Debug)]
pub struct Convolution {
    pointwise: Pointwise,
    geometry: Geometry,
    channels: usize,
    /// The byte of what lies around a picture.
    zero: u8,
}

/// Pictures `[count, height, width, channels]`.
#[derive(Debug, Clone, Copy)]
pub struct Pictures<'a> {
    /// How many.
    pub count: usize,
    /// Height and width, which have results.
    pub size: [i64; 2],
    /// Rounded by the layer's scale.
    pub bytes: &'a [u8],
}

impl Convolution {
    /// Takes a layer.
    ///
    /// # Arguments
    /// * `pointwise` - Its inputs are the channels of each pixel that the kernel sees, pixel by pixel.
    /// * `zero` - The byte that stands for 0 in its activations.
    /// * `geometry` - Of the convolution.
    ///
    /// # Errors
    /// They do not fit together, or channels are no whole blocks.
    pub fn new(pointwise: Pointwise, zero: u8, geometry: Geometry) -> Result<Self, Malformed> {
        geometry.check()?;
        let (inputs, pixels) = (pointwise.inputs(), geometry.kernel[0] * geometry.kernel[1]);
        let channels = inputs / pixels as usize;
        if channels * pixels as usize != inputs || channels == 0 || !channels.is_multiple_of(BLOCK)
        {
            return Err(Malformed(format!(
                "{inputs} inputs for {pixels} pixels; expected a multiple of {BLOCK} for each"
            )));
        }
        Ok(Self { pointwise, geometry, channels, zero })
    }

    /// Channels that it reads.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Channels that it writes.
    pub fn outputs(&self) -> usize {
        self.pointwise.outputs()
    }

    /// What a result sees.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Computes the results of pictures.
    ///
    /// # Arguments
    /// * `pictures` - Of as many channels.
    /// * `target` - `[count, height, width, outputs]` of the results; overwritten.
    /// * `pool` - What computes.
    ///
    /// # Errors
    /// The pictures have no results.
    ///
    /// # Panics
    /// The lengths do not fit.
    pub fn run(
        &self,
        pictures: Pictures,
        target: &mut [u8],
        pool: &dyn Pool,
    ) -> Result<(), Malformed> {
        let [height, width] = self.geometry.results(pictures.size)?;
        let [lines, columns] = pictures.size.map(|size| size as usize);
        assert_eq!(pictures.bytes.len(), pictures.count * lines * columns * self.channels);
        let count = pictures.count * (height * width) as usize;
        self.pointwise.run_rows(count, target, pool, &|rows, mover| {
            SEEN.with_borrow_mut(|seen| {
                seen.resize(rows.len() * self.pointwise.inputs(), 0);
                self.lay_out(pictures, [height, width], rows, seen);
                mover(seen);
            });
        });
        Ok(())
    }

    /// Lays out what some results see, `[results][kernel][channels]`.
    fn lay_out(
        &self,
        pictures: Pictures,
        results: [i64; 2],
        rows: Range<usize>,
        target: &mut [u8],
    ) {
        let channels = self.channels;
        let [kernel_lines, kernel_columns] = self.geometry.kernel;
        let [lines, columns] = pictures.size;
        let line_bytes = columns as usize * channels;
        for (row, target) in rows.zip(target.chunks_exact_mut(self.pointwise.inputs())) {
            let row = row as i64;
            let (picture, place) =
                (row / (results[0] * results[1]), row % (results[0] * results[1]));
            let top = place / results[1] * self.geometry.strides[0] - self.geometry.before[0];
            let left = place % results[1] * self.geometry.strides[1] - self.geometry.before[1];
            // Columns of the kernel that lie in the picture.
            let inside =
                (-left).clamp(0, kernel_columns)..(columns - left).clamp(0, kernel_columns);
            for (line, target) in (top..top + kernel_lines)
                .zip(target.chunks_exact_mut(kernel_columns as usize * channels))
            {
                if !(0..lines).contains(&line) || inside.is_empty() {
                    target.fill(self.zero);
                    continue;
                }
                let [start, end] =
                    [inside.start, inside.end].map(|column| column as usize * channels);
                target[..start].fill(self.zero);
                target[end..].fill(self.zero);
                let first = (picture * lines + line) as usize * line_bytes
                    + (left + inside.start) as usize * channels;
                target[start..end].copy_from_slice(&pictures.bytes[first..first + end - start]);
            }
        }
    }
}

thread_local! {
    /// What the results see that a thread has at hand.
    static SEEN: RefCell<Vec<u8>> = RefCell::default();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activations::Scale;
    use crate::epilogue::Activation;
    use crate::linear::{Caller, Linear};
    use crate::products::Isa;
    use crate::striped::striped;
    use proptest::prelude::*;

    const ZERO: u8 = 77;

    fn pointwise(isa: Isa, outputs: usize, inputs: usize) -> Pointwise {
        let blocks = striped(outputs, inputs, false);
        let scale = Some(Scale { scale: 0.03, zero_point: ZERO });
        let layer = Linear::new(isa, blocks, &vec![0.01; outputs], &[], Activation::None, scale);
        Pointwise::new(isa, layer.unwrap(), Scale { scale: 0.4, zero_point: 120 }, [0, 255])
            .unwrap()
    }

    /// Lays out all that is seen, byte by byte.
    fn seen(pictures: Pictures, channels: usize, geometry: Geometry) -> Vec<u8> {
        let [height, width] = geometry.results(pictures.size).unwrap();
        let [lines, columns] = pictures.size;
        let mut found = Vec::new();
        for picture in 0..pictures.count as i64 {
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                for ky in 0..geometry.kernel[0] {
                    for kx in 0..geometry.kernel[1] {
                        let line = y * geometry.strides[0] + ky - geometry.before[0];
                        let column = x * geometry.strides[1] + kx - geometry.before[1];
                        for channel in 0..channels {
                            let there =
                                (0..lines).contains(&line) && (0..columns).contains(&column);
                            let place = ((picture * lines + line) * columns + column) as usize;
                            found.push(if there {
                                pictures.bytes[place * channels + channel]
                            } else {
                                ZERO
                            });
                        }
                    }
                }
            }
        }
        found
    }

    prop_compose! {
        fn geometries()(
            kernel in [1i64..5, 1i64..5], strides in [1i64..4, 1i64..4], pads in [0i64..9, 0i64..9, 0i64..9, 0i64..9],
        ) -> Geometry {
            let [top, left, bottom, right] = pads;
            Geometry {
                kernel, strides,
                before: [top % kernel[0], left % kernel[1]],
                after: [bottom % kernel[0], right % kernel[1]],
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn results_are_those_of_rows_that_hold_what_is_seen(
            geometry in geometries(), size in [1i64..12, 1i64..12], count in 0usize..3,
            blocks in 1usize..4, outputs in 1usize..20, seed in any::<u32>(),
        ) {
            let Ok([height, width]) = geometry.results(size) else { return Ok(()) };
            let channels = blocks * BLOCK;
            let length = count * (size[0] * size[1]) as usize * channels;
            let bytes: Vec<u8> = (0..length as u32)
                .map(|each| (each.wrapping_mul(2654435761).wrapping_add(seed) >> 24) as u8)
                .collect();
            let pictures = Pictures { count, size, bytes: &bytes };
            let inputs = (geometry.kernel[0] * geometry.kernel[1]) as usize * channels;
            let rows = count * (height * width) as usize;
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
                let mut expected = vec![0; rows * outputs * BLOCK];
                let same = pointwise(isa, outputs * BLOCK, inputs);
                same.run(&seen(pictures, channels, geometry), &mut expected, &Caller);
                let convolution = Convolution::new(same, ZERO, geometry).unwrap();
                let mut found = vec![0; expected.len()];
                convolution.run(pictures, &mut found, &Caller).unwrap();
                prop_assert_eq!(&found, &expected, "{}", isa.name());
            }
        }
    }

    #[test]
    fn what_is_no_convolution_is_refused() {
        let right = Geometry { kernel: [3, 3], strides: [1, 1], before: [1, 1], after: [1, 1] };
        let made = |inputs, geometry| {
            let made = Convolution::new(pointwise(Isa::Portable, 4, inputs), ZERO, geometry);
            made.map(|_| ()).unwrap_err().to_string()
        };
        for wrong in [
            Geometry { kernel: [0, 3], ..right },
            Geometry { kernel: [i64::MAX, 3], ..right },
            Geometry { strides: [1, 0], ..right },
            Geometry { before: [3, 1], ..right },
            Geometry { after: [1, -1], ..right },
        ] {
            assert!(made(36, wrong).contains("is no convolution"), "{wrong:?}");
        }
        assert!(made(40, right).contains("40 inputs for 9 pixels"));
        assert!(made(4, right).contains("4 inputs for 9 pixels"));
        assert!(right.results([0, 9]).is_err());
        assert!(right.results([1 << 40, 9]).is_err());
        assert_eq!(right.results([1, 9]).unwrap(), [1, 9]);
    }
}
