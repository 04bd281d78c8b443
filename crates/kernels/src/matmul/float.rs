//! Panels of f32, f16 and bf16 weights times f32 activations.
//!
//! A panel holds sixteen rows, interleaved: sixteen numbers for `k = 0`, sixteen for `k = 1`, ….

use super::format::PANEL;
use crate::blocks::BlockType;
use crate::simd::{Kernel, Simd, store_first};

/// How a number is stored.
pub(crate) trait Float {
    /// Bytes of one number.
    const BYTES: usize;
    /// Sixteen of them.
    ///
    /// # Safety
    /// As for [`Simd`].
    unsafe fn load<S: Simd>(p: *const u8) -> S::F;
}

pub(crate) struct F32;
pub(crate) struct F16;
pub(crate) struct Bf16;

impl Float for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8) -> S::F {
        // SAFETY: as the caller vouches.
        unsafe { S::load(p.cast()) }
    }
}

impl Float for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8) -> S::F {
        // SAFETY: as the caller vouches.
        unsafe { S::load_f16(p.cast()) }
    }
}

impl Float for Bf16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8) -> S::F {
        // SAFETY: as the caller vouches.
        unsafe { S::load_bf16(p.cast()) }
    }
}

/// `out[t][row] = Σ_k weight[row][k] · x[t][k]` for the sixteen rows of a panel.
pub(crate) struct FloatPanelDot<'a, W> {
    /// The panel: `k` times sixteen numbers.
    pub(crate) panel: &'a [u8],
    /// The tokens' activations, one row of `k` after the other.
    pub(crate) x: &'a [f32],
    /// Length of a row.
    pub(crate) k: usize,
    /// Where token `t`'s sixteen results go: `out + t · stride`.
    pub(crate) out: *mut f32,
    /// Numbers from one token's results to the next's.
    pub(crate) stride: usize,
    /// Rows that exist, at most sixteen.
    pub(crate) rows: usize,
    pub(crate) float: std::marker::PhantomData<W>,
}

impl<W: Float> Kernel for FloatPanelDot<'_, W> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let tokens = self.x.len() / self.k;
        let mut at = 0;
        // SAFETY: as the caller vouches; each call gets `T` tokens that exist.
        unsafe {
            while at < tokens {
                at += match tokens - at {
                    8.. if S::TOKENS >= 8 => self.tokens_at::<S, 8>(at),
                    4.. if S::TOKENS >= 4 => self.tokens_at::<S, 4>(at),
                    3.. => self.tokens_at::<S, 3>(at),
                    2 => self.tokens_at::<S, 2>(at),
                    _ => self.tokens_at::<S, 1>(at),
                };
            }
        }
    }
}

impl<W: Float> FloatPanelDot<'_, W> {
    /// The results of `T` tokens from the `at`-th on; returns `T`.
    ///
    /// # Safety
    /// `at + T` tokens exist; the panel holds `k` times sixteen numbers; `out` may be written.
    #[inline(always)]
    unsafe fn tokens_at<S: Simd, const T: usize>(&self, at: usize) -> usize {
        debug_assert_eq!(self.panel.len(), self.k * PANEL * W::BYTES);
        // SAFETY: see above.
        unsafe {
            // Two sums a token, of the even and of the odd k: one alone would wait for itself.
            let mut even = [S::splat(0.0); T];
            let mut odd = [S::splat(0.0); T];
            let x = self.x.as_ptr().add(at * self.k);
            for k in (0..self.k & !1).step_by(2) {
                let w0 = W::load::<S>(self.panel.as_ptr().add(k * PANEL * W::BYTES));
                let w1 = W::load::<S>(self.panel.as_ptr().add((k + 1) * PANEL * W::BYTES));
                for t in 0..T {
                    even[t] = S::fma(w0, S::splat(*x.add(t * self.k + k)), even[t]);
                    odd[t] = S::fma(w1, S::splat(*x.add(t * self.k + k + 1)), odd[t]);
                }
            }
            if self.k % 2 == 1 {
                let k = self.k - 1;
                let w = W::load::<S>(self.panel.as_ptr().add(k * PANEL * W::BYTES));
                for t in 0..T {
                    even[t] = S::fma(w, S::splat(*x.add(t * self.k + k)), even[t]);
                }
            }
            for t in 0..T {
                let sum = S::add(even[t], odd[t]);
                let out = self.out.add((at + t) * self.stride);
                store_first::<S>(out, sum, self.rows);
            }
        }
        T
    }
}

/// Interleaves up to sixteen rows of `size`-byte numbers; missing rows become zeros.
pub(crate) fn pack_float_panel(ty: BlockType, rows: &[&[u8]], k: usize, panel: &mut [u8]) {
    let size = ty.block_bytes();
    if rows.len() < PANEL {
        panel.fill(0);
    }
    for (i, out) in panel.chunks_exact_mut(PANEL * size).take(k).enumerate() {
        for (row, out) in rows.iter().zip(out.chunks_exact_mut(size)) {
            out.copy_from_slice(&row[i * size..(i + 1) * size]);
        }
    }
}
