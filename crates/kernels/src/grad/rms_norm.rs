//! Backward of RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467).

use super::sum_over_rows;
use crate::pool::Pool;
use crate::simd::{Kernel, LANES, Simd, load_first, store_first};
use crate::{Isa, SendPtr};

/// Backward of [`crate::ops::rms_norm`]: adds to `dx` and to `dweight`.
///
/// `x`, `dout` and `dx` are `[rows, n]`, `weight` and `dweight` are `[n]`; `x` is what went into
/// the norm. With `r = 1 / sqrt(mean(x²) + eps)`, which is worked out again:
///
/// ```text
/// dx      += r · weight · dout - r³/n · x · Σ(weight · dout · x)     row by row
/// dweight += Σ dout · x · r                                          over the rows
/// ```
///
/// `dx` is added to because the residual's gradient is usually there already; start from zeros
/// where it isn't.
///
/// # Panics
/// If the shapes don't agree.
#[allow(clippy::too_many_arguments)]
pub fn rms_norm_backward(
    isa: Isa,
    pool: &Pool,
    x: &[f32],
    weight: &[f32],
    eps: f32,
    dout: &[f32],
    dx: &mut [f32],
    dweight: &mut [f32],
) {
    let n = weight.len();
    assert!(n > 0 && x.len().is_multiple_of(n), "rows of {n} in {}", x.len());
    assert!(dout.len() == x.len() && dx.len() == x.len() && dweight.len() == n);
    let all = SendPtr(dx.as_mut_ptr());
    sum_over_rows(pool, x.len() / n, dweight, |rows, dweight| {
        let at = rows.start * n..rows.end * n;
        // SAFETY: parts are disjoint ranges of rows within `dx`.
        let dx = unsafe { std::slice::from_raw_parts_mut(all.get().add(at.start), at.len()) };
        let (x, dout) = (&x[at.clone()], &dout[at]);
        // SAFETY: `isa` is available; the slices are whole rows, as many of each.
        unsafe { isa.run(Backward { x, weight, eps, dout, dx, dweight }) }
    });
}

/// A few rows.
struct Backward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    dout: &'a [f32],
    dx: &'a mut [f32],
    dweight: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let n = self.weight.len();
        let (w, dw) = (self.weight.as_ptr(), self.dweight.as_mut_ptr());
        let rows = self.x.chunks_exact(n).zip(self.dout.chunks_exact(n));
        for ((x, dout), dx) in rows.zip(self.dx.chunks_exact_mut(n)) {
            let (x, dout, dx) = (x.as_ptr(), dout.as_ptr(), dx.as_mut_ptr());
            // SAFETY: all rows have `n` numbers, and no more than those left are asked for.
            unsafe {
                let (mut squares, mut dot) = (S::splat(0.0), S::splat(0.0));
                for i in (0..n).step_by(LANES) {
                    let left = LANES.min(n - i);
                    let x = load_first::<S>(x.add(i), left);
                    let dout = load_first::<S>(dout.add(i), left);
                    squares = S::fma(x, x, squares);
                    dot = S::fma(S::mul(dout, load_first::<S>(w.add(i), left)), x, dot);
                }
                let r = 1.0 / (S::sum(squares) / n as f32 + self.eps).sqrt();
                let along = S::splat(-S::sum(dot) * r * r * r / n as f32);
                let r = S::splat(r);
                for i in (0..n).step_by(LANES) {
                    let left = LANES.min(n - i);
                    let x = load_first::<S>(x.add(i), left);
                    let dout = S::mul(load_first::<S>(dout.add(i), left), r);
                    let w = load_first::<S>(w.add(i), left);
                    let d = S::fma(along, x, load_first::<S>(dx.add(i), left));
                    store_first::<S>(dx.add(i), S::fma(dout, w, d), left);
                    let d = S::fma(dout, x, load_first::<S>(dw.add(i), left));
                    store_first::<S>(dw.add(i), d, left);
                }
            }
        }
    }
}
