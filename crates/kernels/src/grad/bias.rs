//! The gradient of a bias: column sums.

use super::sum_over_rows;
use crate::pool::Pool;

/// Backward of [`crate::ops::add_bias`]: adds to `dbias` the sum of the rows of `dout`
/// (`[tokens, dbias.len()]`).
///
/// # Panics
/// If `dout` holds no whole number of rows.
pub fn bias_backward(pool: &Pool, dout: &[f32], dbias: &mut [f32]) {
    let n = dbias.len();
    assert!(n > 0 && dout.len().is_multiple_of(n), "rows of {n} in {}", dout.len());
    sum_over_rows(pool, dout.len() / n, dbias, |rows, sum| {
        for row in dout[rows.start * n..rows.end * n].chunks_exact(n) {
            for (sum, x) in sum.iter_mut().zip(row) {
                *sum += x;
            }
        }
    });
}
