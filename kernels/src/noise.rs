//! Numbers that look random, for tests: Marsaglia's xorshift (2003).

/// Returns what gives the next number; the same ones for the same seed.
pub fn noise(seed: u64) -> impl FnMut() -> u32 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u32
    }
}
