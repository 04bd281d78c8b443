//! Backward passes, written by hand: what training a transformer needs beside its matrices.
//!
//! A name that starts with `d` is the gradient of the loss with respect to what follows. Gradients
//! of activations are written, gradients of parameters are *added* to what is there, so that
//! several batches add up before a step; [`rms_norm_backward`] adds its `dx` too, since what flows
//! around the norm (the residual) is already there. All is f32, one row a token.
//!
//! Sums over tokens are split into parts that the shape alone fixes, and added in order: on one
//! instruction set the results are the same to the bit for any number of threads.

mod adamw;
mod attention;
mod bias;
mod cross_entropy;
mod product;
mod rms_norm;
mod rope;
mod swiglu;

use std::ops::Range;

pub use adamw::{AdamW, Parameter, clip_scale, global_norm};
pub use attention::{Attention, AttentionShape};
pub use bias::bias_backward;
pub use cross_entropy::{CrossEntropy, Likelihoods};
pub use rms_norm::rms_norm_backward;
pub use rope::rope_backward;
pub use swiglu::{swiglu, swiglu_backward};

use crate::SendPtr;
use crate::pool::Pool;

/// Numbers a thread should have to work on before it is worth waking another.
const GRAIN: usize = 16 << 10;

/// Into how many parts, at most, a sum over rows is split.
const PARTS: usize = 32;

/// Adds to `sum` what `f(rows, partial)` adds to the zeros of `partial`, over all `rows`.
///
/// The parts depend on the shape only and are added in order, so the number of threads makes no
/// difference to the sum.
fn sum_over_rows(
    pool: &Pool,
    rows: usize,
    sum: &mut [f32],
    f: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    let n = sum.len();
    if rows == 0 || n == 0 {
        return;
    }
    let part = rows.div_ceil(PARTS).max(GRAIN / n);
    let parts = rows.div_ceil(part);
    let mut partial = vec![0.0; parts * n];
    let out = SendPtr(partial.as_mut_ptr());
    pool.for_each_chunk(parts, 1, |range| {
        for i in range {
            // SAFETY: part `i` has `n` numbers of `partial` to itself.
            let partial = unsafe { std::slice::from_raw_parts_mut(out.get().add(i * n), n) };
            f(i * part..rows.min((i + 1) * part), partial);
        }
    });
    for partial in partial.chunks_exact(n) {
        for (sum, p) in sum.iter_mut().zip(partial) {
            *sum += p;
        }
    }
}
