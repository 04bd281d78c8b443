//! Activations as 8-bit integers, for the quantised matrix kernels.

use crate::pool::Pool;
use crate::simd::{Kernel, LANES, Simd};
use crate::{Isa, SendPtr};

use super::format::BLOCK;

/// Thirty-two activations of one token and what the kernels need to know of them: one cache line.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
pub(crate) struct ActivationBlock {
    /// `round(x / d)`, within ±127.
    pub(crate) q: [i8; BLOCK],
    /// The scale: the largest magnitude over 127.
    pub(crate) d: f32,
    /// `d · Σq` of the 32.
    pub(crate) sum: f32,
    /// `d · Σq` of each sixteen.
    pub(crate) half_sums: [f32; 2],
    /// `-Σq` of the 32.
    pub(crate) minus: i32,
    /// `-Σq` of each sixteen.
    pub(crate) half_minus: [i32; 2],
    _pad: u32,
}

/// A batch's activations, quantised to 8 bits in blocks of 32.
#[derive(Default)]
pub struct Quantized {
    blocks: Vec<ActivationBlock>,
    per_token: usize,
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
        for (x, out) in self.x.chunks_exact(BLOCK).zip(self.out) {
            // SAFETY: `x` and `out.q` have 32 elements: two vectors.
            unsafe {
                let (a, b) = (S::load(x.as_ptr()), S::load(x.as_ptr().add(LANES)));
                let largest = S::largest(S::max(S::abs(a), S::abs(b)));
                out.d = largest / 127.0;
                let inverse = S::splat(if largest > 0.0 { 127.0 / largest } else { 0.0 });
                S::store_i8(out.q.as_mut_ptr(), S::mul(a, inverse));
                S::store_i8(out.q.as_mut_ptr().add(LANES), S::mul(b, inverse));
            }
            for h in 0..2 {
                let sum: i32 =
                    out.q[LANES * h..LANES * (h + 1)].iter().map(|q| i32::from(*q)).sum();
                out.half_minus[h] = -sum;
                out.half_sums[h] = out.d * sum as f32;
            }
            out.minus = out.half_minus[0] + out.half_minus[1];
            out.sum = out.d * -out.minus as f32;
        }
    }
}
