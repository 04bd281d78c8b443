//! Activations as pairs of 8-bit integers, for the quantised matrix kernels.
//!
//! The dot-product instructions take 8-bit numbers, but 8 bits for an activation are what keeps
//! today's CPU engines away from exact arithmetic (`docs/accuracy.md` has the figures). So an
//! activation is two of them, `x ≈ d · (128 · high + low)`, 15 bits in all, and each weight taken
//! out of its bits meets both. Decoding waits for memory anyway.

use crate::gemm::Tiles;
use crate::pool::Pool;
use crate::simd::{Kernel, LANES, Simd};
use crate::{Isa, SendPtr};

use super::format::BLOCK;

/// What the lower part of an activation is worth less than the upper.
pub(crate) const LOW_BITS: u32 = 7;

/// Thirty-two activations of one token and what the kernels need to know of them.
#[derive(Clone, Copy, Default)]
#[repr(C, align(32))]
pub(crate) struct ActivationBlock {
    /// The upper part of each, within ±127.
    pub(crate) high: [i8; BLOCK],
    /// The lower part, within ±64.
    pub(crate) low: [i8; BLOCK],
    /// The scale: the largest magnitude over 127 · 128.
    pub(crate) d: f32,
    /// `d · Σq` of the 32, where `q = 128 · high + low`.
    pub(crate) sum: f32,
    /// `d · Σq` of each sixteen.
    pub(crate) half_sums: [f32; 2],
    /// `-Σq` of the 32.
    pub(crate) minus: i32,
    /// `-Σq` of each sixteen.
    pub(crate) half_minus: [i32; 2],
}

/// A batch's activations, rounded to 15 bits in blocks of 32.
#[derive(Default)]
pub struct Quantized {
    blocks: Vec<ActivationBlock>,
    per_token: usize,
    /// The activations as bf16 tiles, where those are multiplied instead.
    pub(crate) tiles: Tiles,
}

impl Quantized {
    /// Blocks of token `t`.
    pub(crate) fn token(&self, t: usize) -> &[ActivationBlock] {
        &self.blocks[t * self.per_token..(t + 1) * self.per_token]
    }

    /// Quantises `x`, rows of `k` numbers (a multiple of 32).
    pub(crate) fn fill(&mut self, isa: Isa, pool: &Pool, x: &[f32], k: usize) {
        assert!(
            k > 0 && k.is_multiple_of(BLOCK) && x.len().is_multiple_of(k),
            "rows of {k} in {}",
            x.len()
        );
        self.per_token = k / BLOCK;
        let n = x.len() / BLOCK;
        if self.blocks.len() < n {
            self.blocks.resize(n, ActivationBlock::default());
        }
        let out = SendPtr(self.blocks.as_mut_ptr());
        pool.for_each_chunk(n, 512, |range| {
            let x = &x[range.start * BLOCK..range.end * BLOCK];
            // SAFETY: chunks are disjoint, so this is the only reference to these blocks; `isa` is
            // available since it came from `Isa`'s constructors.
            unsafe {
                let out = std::slice::from_raw_parts_mut(out.get().add(range.start), range.len());
                isa.run(Quantize { x, out });
            }
        });
    }
}

struct Quantize<'a> {
    x: &'a [f32],
    out: &'a mut [ActivationBlock],
}

impl Kernel for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        const LARGEST: f32 = (127 << LOW_BITS) as f32;
        for (x, out) in self.x.chunks_exact(BLOCK).zip(self.out) {
            // SAFETY: `x` and the parts of `out` have 32 elements: two vectors.
            unsafe {
                let (a, b) = (S::load(x.as_ptr()), S::load(x.as_ptr().add(LANES)));
                let largest = S::largest(S::max(S::abs(a), S::abs(b)));
                out.d = largest / LARGEST;
                let inverse = S::splat(if largest > 0.0 { LARGEST / largest } else { 0.0 });
                for (h, x) in [a, b].into_iter().enumerate() {
                    let q = S::round(S::mul(x, inverse));
                    let high = S::round(S::mul(q, S::splat(1.0 / (1 << LOW_BITS) as f32)));
                    let low = S::fma(high, S::splat(-((1 << LOW_BITS) as f32)), q);
                    S::store_i8(out.high.as_mut_ptr().add(LANES * h), high);
                    S::store_i8(out.low.as_mut_ptr().add(LANES * h), low);
                    let sum = S::sum(q) as i32;
                    out.half_minus[h] = -sum;
                    out.half_sums[h] = out.d * sum as f32;
                }
            }
            out.minus = out.half_minus[0] + out.half_minus[1];
            out.sum = out.d * -out.minus as f32;
        }
    }
}
