//! Room that starts on a cache line, and is kept.

const WORDS: usize = 16;

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; WORDS]);

/// Room for words or floats; what it holds at first is arbitrary.
#[derive(Debug, Default)]
pub struct Room(Vec<Line>);

impl Room {
    /// Returns room for words.
    pub fn words(&mut self, count: usize) -> &mut [u32] {
        let lines = count.div_ceil(WORDS);
        if self.0.len() < lines {
            self.0.resize(lines, Line([0; WORDS]));
        }
        // SAFETY: lines are words, without gaps.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), count) }
    }

    /// Returns room for floats.
    pub fn floats(&mut self, count: usize) -> &mut [f32] {
        let words = self.words(count);
        // SAFETY: every word is a float.
        unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), count) }
    }
}
