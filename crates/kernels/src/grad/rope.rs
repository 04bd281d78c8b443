//! Backward of RoPE.

use crate::Isa;
use crate::ops::{RopeLayout, rope};
use crate::pool::Pool;

/// Backward of [`rope`], in place: `dx` comes in as the gradient of the rotated heads and leaves as
/// that of the heads before.
///
/// A rotation's transpose is the rotation back, so this is [`rope`] with the sines' signs changed,
/// in either layout, with elements past `rotated` left alone; `cos` and `sin` are those of the
/// forward pass (a factor in them, as YaRN's, is in the gradient as well).
///
/// # Panics
/// If the shapes don't agree.
pub fn rope_backward(
    isa: Isa,
    pool: &Pool,
    dx: &mut [f32],
    row: usize,
    head_dim: usize,
    layout: RopeLayout,
    (cos, sin): (&[f32], &[f32]),
) {
    let back: Vec<f32> = sin.iter().map(|s| -s).collect();
    rope(isa, pool, dx, row, head_dim, layout, (cos, &back));
}
