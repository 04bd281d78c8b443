//! Panels of quantised weights as 16-bit integers, for batches.
//!
//! Where a byte can't be multiplied with a byte and summed in one instruction, 15-bit activations as
//! two bytes cost six instructions to 32 products; as they are, against weights of 16 bits, `madd`
//! and an addition make 16. Weights have to be taken out of their bits for that, which is done once
//! for a whole batch, a few blocks at a time, so that they stay in the nearest cache meanwhile.
//!
//! Integer sums are exact and the rest is done in the order of [`super::quantized`]: the results are
//! the same to the bit, however many tokens there are.

use std::marker::PhantomData;
use std::ops::Range;

use super::activations::{ActivationScale, WideActivations};
use super::format::{BLOCK, Format, PANEL};
use super::quantized::{add_scaled, group, scale_of};
use crate::simd::{Kernel, Simd, load_first, store_first};

/// Blocks that are widened at a time: 20 KiB.
pub(super) const PART: usize = 16;

/// A block of a panel's sixteen rows.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct WideBlock {
    /// `words[k / 2][row][k % 2]`: the codes, what is taken off them taken off.
    words: [[[i16; 2]; PANEL]; BLOCK / 2],
    /// The rows' scales, of each sixteen weights where a scale covers no more.
    scales: [[f32; PANEL]; 2],
    /// Likewise their minima.
    minima: [[f32; PANEL]; 2],
}

impl WideBlock {
    pub(super) const ZERO: WideBlock = WideBlock {
        words: [[[0; 2]; PANEL]; BLOCK / 2],
        scales: [[0.0; PANEL]; 2],
        minima: [[0.0; PANEL]; 2],
    };
}

/// Takes blocks of a panel out of their bits.
pub(super) struct Widen<'a, F> {
    /// The panel's segments.
    pub(super) panel: &'a [u8],
    /// Which blocks.
    pub(super) blocks: Range<usize>,
    /// Room for them.
    pub(super) out: &'a mut [WideBlock],
    pub(super) format: PhantomData<F>,
}

impl<F: Format> Kernel for Widen<'_, F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for (block, out) in self.blocks.zip(self.out) {
            let (codes, scales, b) = F::block(self.panel, block);
            let (codes, scales) = (codes.as_ptr(), scales.as_ptr());
            // SAFETY: the segment is whole: it has the block's codes and scales.
            unsafe {
                macro_rules! four {
                    ($g:literal) => {
                        let mut w = group::<S, F, $g>(codes);
                        if let Some(shift) = F::ZERO {
                            w = S::minus(w, 1 << shift);
                        }
                        S::store_words(out.words[2 * $g].as_mut_ptr().cast(), S::words::<0>(w));
                        S::store_words(out.words[2 * $g + 1].as_mut_ptr().cast(), S::words::<1>(w));
                    };
                }
                four!(0);
                four!(1);
                four!(2);
                four!(3);
                four!(4);
                four!(5);
                four!(6);
                four!(7);
                for part in 0..F::PARTS {
                    let (scale, minimum) = scale_of::<S, F>(scales, b, part);
                    S::store(out.scales[part].as_mut_ptr(), scale);
                    if F::MINIMUM {
                        S::store(out.minima[part].as_mut_ptr(), minimum);
                    }
                }
            }
        }
    }
}

/// `out[t][row] (+)= Σ_k weight[row][k] · activation[t][k]` over some blocks of a panel's rows.
pub(super) struct WideDot<'a, F> {
    /// The blocks.
    pub(super) weights: &'a [WideBlock],
    /// The first token's activations in the first of the blocks.
    pub(super) activations: *const WideActivations,
    /// From there to the next token's.
    pub(super) per_token: usize,
    /// Tokens.
    pub(super) tokens: usize,
    /// Where token `t`'s sixteen results go: `out + t · stride`.
    pub(super) out: *mut f32,
    /// Numbers from one token's results to the next's.
    pub(super) stride: usize,
    /// Rows that exist, at most sixteen.
    pub(super) rows: usize,
    /// Earlier blocks' sums are there.
    pub(super) add: bool,
    pub(super) format: PhantomData<F>,
}

impl<F: Format> Kernel for WideDot<'_, F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut at = 0;
        // SAFETY: as the caller vouches; each call gets `T` tokens that exist.
        unsafe {
            while at < self.tokens {
                // Four tokens' sums take half of AVX2's registers; six were slower in some formats.
                at += match self.tokens - at {
                    4.. => self.tokens_at::<S, 4>(at),
                    3 => self.tokens_at::<S, 3>(at),
                    2 => self.tokens_at::<S, 2>(at),
                    _ => self.tokens_at::<S, 1>(at),
                };
            }
        }
    }
}

impl<F: Format> WideDot<'_, F> {
    /// The results of `T` tokens from the `at`-th on; returns `T`.
    ///
    /// # Safety
    /// `at + T` tokens exist, each with as many blocks as there are weights; `out` may be written,
    /// and read where it is added to.
    #[inline(always)]
    unsafe fn tokens_at<S: Simd, const T: usize>(&self, at: usize) -> usize {
        // SAFETY: as the caller vouches.
        unsafe {
            let mut tokens = [self.activations; T];
            let mut acc = [S::splat(0.0); T];
            for t in 0..T {
                tokens[t] = self.activations.add((at + t) * self.per_token);
                if self.add {
                    acc[t] = load_first::<S>(self.out.add((at + t) * self.stride), self.rows);
                }
            }
            // A compiler that knows how often the loop goes round works one token's sum out after the other, with all
            // weights on the stack: a fifth slower where a block has two scales.
            let pairs = std::hint::black_box(BLOCK / 2 / F::PARTS);
            for (b, block) in self.weights.iter().enumerate() {
                let scales: [&ActivationScale; T] =
                    std::array::from_fn(|t| &(*tokens[t].add(b)).scale);
                let words = block.words.as_ptr().cast::<i16>();
                let q: [*const i16; T] =
                    std::array::from_fn(|t| (&raw const (*tokens[t].add(b)).q).cast());
                for part in 0..F::PARTS {
                    let mut sums = [S::splat_i32(0); T];
                    let mut pair = part * pairs;
                    while pair < (part + 1) * pairs {
                        let w = S::load_words(words.add(2 * PANEL * pair));
                        for t in 0..T {
                            sums[t] = S::dot_words(sums[t], w, q[t].add(2 * pair));
                        }
                        pair += 1;
                    }
                    let scale = S::load(block.scales[part].as_ptr());
                    let minimum =
                        if F::MINIMUM { S::load(block.minima[part].as_ptr()) } else { scale };
                    let half = F::HALVES.then_some(part);
                    add_scaled::<S, F, T>(&mut acc, sums, &scales, half, (scale, minimum));
                }
            }
            for (t, acc) in acc.iter().enumerate() {
                store_first::<S>(self.out.add((at + t) * self.stride), *acc, self.rows);
            }
        }
        T
    }
}
