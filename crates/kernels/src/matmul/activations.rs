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
    /// What they are worth.
    pub(crate) scale: ActivationScale,
    /// `-Σq` of the 32.
    pub(crate) minus: i32,
    /// `-Σq` of each sixteen.
    pub(crate) half_minus: [i32; 2],
}

/// Thirty-two activations of one token, for the kernel that multiplies words.
#[derive(Clone, Copy, Default)]
#[repr(C, align(16))]
pub(crate) struct WideActivations {
    /// `128 · high + low`.
    pub(crate) q: [i16; BLOCK],
    /// What they are worth.
    pub(crate) scale: ActivationScale,
}

/// What thirty-two activations' integers `q` stand for.
#[derive(Clone, Copy, Default)]
pub(crate) struct ActivationScale {
    /// The scale: the largest magnitude over 127 · 128.
    pub(crate) d: f32,
    /// `d · Σq` of the 32.
    pub(crate) sum: f32,
    /// `d · Σq` of each sixteen.
    pub(crate) half_sums: [f32; 2],
}

/// Either form of a block of activations.
trait ActivationForm: Copy + Default + Send {
    /// Takes the `half`-th sixteen, whole numbers within ±127 · 128.
    ///
    /// # Safety
    /// As for [`Simd`].
    unsafe fn put<S: Simd>(&mut self, half: usize, q: S::F);

    /// Takes what both halves are worth, and their sums.
    fn finish(&mut self, scale: ActivationScale, sums: [i32; 2]);
}

impl ActivationForm for ActivationBlock {
    #[inline(always)]
    unsafe fn put<S: Simd>(&mut self, half: usize, q: S::F) {
        // SAFETY: the two parts have 32 elements: two vectors.
        unsafe {
            let high = S::round(S::mul(q, S::splat(1.0 / (1 << LOW_BITS) as f32)));
            let low = S::fma(high, S::splat(-((1 << LOW_BITS) as f32)), q);
            S::store_i8(self.high.as_mut_ptr().add(LANES * half), high);
            S::store_i8(self.low.as_mut_ptr().add(LANES * half), low);
        }
    }

    #[inline(always)]
    fn finish(&mut self, scale: ActivationScale, sums: [i32; 2]) {
        self.scale = scale;
        self.minus = -(sums[0] + sums[1]);
        self.half_minus = sums.map(|sum| -sum);
    }
}

impl ActivationForm for WideActivations {
    #[inline(always)]
    unsafe fn put<S: Simd>(&mut self, half: usize, q: S::F) {
        // SAFETY: `q` has 32 elements: two vectors.
        unsafe { S::store_i16(self.q.as_mut_ptr().add(LANES * half), q) }
    }

    #[inline(always)]
    fn finish(&mut self, scale: ActivationScale, _: [i32; 2]) {
        self.scale = scale;
    }
}

/// A batch's activations, rounded to 15 bits in blocks of 32.
#[derive(Default)]
pub struct Quantized {
    blocks: Vec<ActivationBlock>,
    wide: Vec<WideActivations>,
    per_token: usize,
    /// The activations as bf16 tiles, where those are multiplied instead.
    pub(crate) tiles: Tiles,
}

impl Quantized {
    /// Blocks of token `t`.
    pub(crate) fn token(&self, t: usize) -> &[ActivationBlock] {
        &self.blocks[t * self.per_token..(t + 1) * self.per_token]
    }

    /// The blocks that [`Quantized::fill_wide`] made, and how many a token has.
    pub(crate) fn wide(&self) -> (&[WideActivations], usize) {
        (&self.wide, self.per_token)
    }

    /// Quantises `x`, rows of `k` numbers (a multiple of 32).
    pub(crate) fn fill(&mut self, isa: Isa, pool: &Pool, x: &[f32], k: usize) {
        self.per_token = fill(isa, pool, x, k, &mut self.blocks);
    }

    /// The same for the kernel that multiplies words.
    pub(crate) fn fill_wide(&mut self, isa: Isa, pool: &Pool, x: &[f32], k: usize) {
        self.per_token = fill(isa, pool, x, k, &mut self.wide);
    }
}

/// Quantises rows of `k` numbers; returns how many blocks a row has.
fn fill<A: ActivationForm>(
    isa: Isa,
    pool: &Pool,
    x: &[f32],
    k: usize,
    blocks: &mut Vec<A>,
) -> usize {
    assert!(
        k > 0 && k.is_multiple_of(BLOCK) && x.len().is_multiple_of(k),
        "rows of {k} in {}",
        x.len()
    );
    let n = x.len() / BLOCK;
    if blocks.len() < n {
        blocks.resize(n, A::default());
    }
    let out = SendPtr(blocks.as_mut_ptr());
    pool.for_each_chunk(n, 512, |range| {
        let x = &x[range.start * BLOCK..range.end * BLOCK];
        // SAFETY: chunks are disjoint, so this is the only reference to these blocks; `isa` is
        // available since it came from `Isa`'s constructors.
        unsafe {
            let out = std::slice::from_raw_parts_mut(out.get().add(range.start), range.len());
            isa.run(Quantize { x, out });
        }
    });
    k / BLOCK
}

struct Quantize<'a, A> {
    x: &'a [f32],
    out: &'a mut [A],
}

impl<A: ActivationForm> Kernel for Quantize<'_, A> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        const LARGEST: f32 = (127 << LOW_BITS) as f32;
        for (x, out) in self.x.chunks_exact(BLOCK).zip(self.out) {
            // SAFETY: `x` has 32 elements: two vectors.
            unsafe {
                let (a, b) = (S::load(x.as_ptr()), S::load(x.as_ptr().add(LANES)));
                let largest = S::largest(S::max(S::abs(a), S::abs(b)));
                let d = largest / LARGEST;
                let inverse = S::splat(if largest > 0.0 { LARGEST / largest } else { 0.0 });
                let mut sums = [0; 2];
                for (h, x) in [a, b].into_iter().enumerate() {
                    let q = S::round(S::mul(x, inverse));
                    sums[h] = S::sum(q) as i32;
                    out.put::<S>(h, q);
                }
                let sum = d * (sums[0] + sums[1]) as f32;
                let half_sums = sums.map(|sum| d * sum as f32);
                out.finish(ActivationScale { d, sum, half_sums }, sums);
            }
        }
    }
}
