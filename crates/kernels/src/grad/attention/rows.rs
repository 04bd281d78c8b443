//! What is done to a tile of scores, a row at a time.

use crate::simd::{Kernel, LANES, Simd, exp};

use super::head::{TILE, Tile};

/// `Σ a · b`.
pub(super) struct Dot<'a> {
    pub(super) a: &'a [f32],
    pub(super) b: &'a [f32],
}

impl Kernel for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f32 {
        // SAFETY: heads are whole vectors.
        unsafe {
            let mut sum = S::splat(0.0);
            for i in (0..self.a.len()).step_by(LANES) {
                let (a, b) = (S::load(self.a[i..].as_ptr()), S::load(self.b[i..].as_ptr()));
                sum = S::fma(a, b, sum);
            }
            S::sum(sum)
        }
    }
}

/// Turns a tile's scores into weights relative to each row's largest score so far, zero for keys
/// that aren't seen, and rescales what was summed before when that grows.
pub(super) struct Soften<'a> {
    pub(super) tile: Tile,
    pub(super) scale: f32,
    pub(super) scores: &'a mut [f32],
    pub(super) largest: &'a mut [f32],
    pub(super) weight: &'a mut [f32],
    /// Sums of the tile's first query, and numbers from there to those of the next.
    pub(super) out: *mut f32,
    pub(super) stride: usize,
    pub(super) head_dim: usize,
}

impl Kernel for Soften<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for (r, row) in self.scores.chunks_exact_mut(TILE).take(self.tile.queries).enumerate() {
            let seen = if self.tile.diagonal() { r + 1 } else { self.tile.keys };
            row[seen..].fill(f32::NEG_INFINITY);
            let (largest, weight) = (&mut self.largest[r], &mut self.weight[r]);
            // SAFETY: a row has TILE numbers, `out` those of the tile's queries.
            unsafe {
                let scale = S::splat(self.scale);
                let mut top = S::splat(*largest);
                for i in (0..seen).step_by(LANES) {
                    top = S::max(top, S::mul(S::load(row[i..].as_ptr()), scale));
                }
                let top = S::largest(top);
                if top > *largest {
                    // In the first tile of keys there is nothing to rescale yet.
                    if !self.tile.fresh {
                        let shrink = (*largest - top).exp();
                        *weight *= shrink;
                        for i in (0..self.head_dim).step_by(LANES) {
                            let p = self.out.add(r * self.stride + i);
                            S::store(p, S::mul(S::load(p), S::splat(shrink)));
                        }
                    }
                    *largest = top;
                }
                // `exp` never quite reaches zero, but what isn't seen is too little to change a
                // sum that has a one in it.
                let mut total = S::splat(0.0);
                for i in (0..seen).step_by(LANES) {
                    let p = row[i..].as_mut_ptr();
                    let e = exp::<S>(S::sub(S::mul(S::load(p), scale), S::splat(top)));
                    S::store(p, e);
                    total = S::add(total, e);
                }
                *weight += S::sum(total);
            }
            row[seen..].fill(0.0);
        }
    }
}

/// Turns a tile's scores into probabilities, and the probabilities' gradients into the scores':
/// `p · (dp - delta) · scale`, where `delta` is a row's `Σ p · dp`. Both are zero for keys that
/// aren't seen.
pub(super) struct Differentiate<'a> {
    pub(super) tile: Tile,
    pub(super) scale: f32,
    pub(super) scores: &'a mut [f32],
    pub(super) dscores: &'a mut [f32],
    pub(super) lse: &'a [f32],
    pub(super) delta: &'a [f32],
}

impl Kernel for Differentiate<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let rows = self.scores.chunks_exact_mut(TILE).zip(self.dscores.chunks_exact_mut(TILE));
        for (r, (row, drow)) in rows.take(self.tile.queries).enumerate() {
            let seen = if self.tile.diagonal() { r + 1 } else { self.tile.keys };
            // SAFETY: rows have TILE numbers.
            unsafe {
                let scale = S::splat(self.scale);
                let (lse, delta) = (S::splat(self.lse[r]), S::splat(self.delta[r]));
                for i in (0..seen).step_by(LANES) {
                    let (p, dp) = (row[i..].as_mut_ptr(), drow[i..].as_mut_ptr());
                    let probability = exp::<S>(S::sub(S::mul(S::load(p), scale), lse));
                    S::store(p, probability);
                    let slope = S::mul(S::sub(S::load(dp), delta), scale);
                    S::store(dp, S::mul(probability, slope));
                }
            }
            row[seen..].fill(0.0);
            drow[seen..].fill(0.0);
        }
    }
}
