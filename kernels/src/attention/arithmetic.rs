//! What attention is computed in.

use crate::products::Isa;

/// Numbers and instructions, the fastest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// bf16, two numbers side by side in a word: AVX-512.
    Avx512Bf16,
    /// Floats: AVX-512.
    Avx512,
    /// Floats: AVX2 with FMA.
    Avx2,
    /// Floats, in plain code.
    Portable,
}

impl Arithmetic {
    /// All of them.
    pub const ALL: [Arithmetic; 4] =
        [Arithmetic::Avx512Bf16, Arithmetic::Avx512, Arithmetic::Avx2, Arithmetic::Portable];

    /// Whether this processor has it.
    pub fn is_here(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Arithmetic::Avx512Bf16 => {
                Arithmetic::Avx512.is_here()
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512bf16")
            }
            #[cfg(target_arch = "x86_64")]
            Arithmetic::Avx512 => Arithmetic::Avx2.is_here() && is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Arithmetic::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Arithmetic::Portable => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// The fastest that this processor has.
    pub fn fastest() -> Self {
        Self::ALL.into_iter().find(|each| each.is_here()).unwrap_or(Arithmetic::Portable)
    }

    /// Whether numbers are bf16.
    pub fn is_bf16(self) -> bool {
        self == Arithmetic::Avx512Bf16
    }

    /// Words that so many numbers take.
    pub fn words(self, count: usize) -> usize {
        if self.is_bf16() { count.div_ceil(2) } else { count }
    }

    /// What transposes words.
    pub fn isa(self) -> Isa {
        match self {
            Arithmetic::Portable => Isa::Portable,
            _ => Isa::Avx2,
        }
    }
}
