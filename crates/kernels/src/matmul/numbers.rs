//! Packed weights as numbers again: sixteen rows × 32 along the row at a time.

use std::marker::PhantomData;

use super::float::Float;
use super::format::{BLOCK, Format, PANEL};
use super::quantized::{group, scale_of};
use crate::simd::Simd;

/// A type of weights that can be read from a panel.
pub(crate) trait Numbers16 {
    /// The `block`-th 32 weights of sixteen rows of `cols`: lane `r` of vector `k` is row `r`'s
    /// weight `32 · block + k`; zeros past the end.
    ///
    /// # Safety
    /// As for [`Simd`]; the panel holds rows of `cols` weights of this type.
    unsafe fn thirty_two<S: Simd>(panel: &[u8], cols: usize, block: usize) -> [S::F; BLOCK];
}

/// Quantised weights.
pub(crate) struct Quants<F>(PhantomData<F>);

impl<F: Format> Numbers16 for Quants<F> {
    #[inline(always)]
    unsafe fn thirty_two<S: Simd>(panel: &[u8], _: usize, block: usize) -> [S::F; BLOCK] {
        let (codes, scales, b) = F::block(panel, block);
        let (codes, scales) = (codes.as_ptr(), scales.as_ptr());
        // SAFETY: the segment is whole: it has the block's codes and scales.
        unsafe {
            let mut out = [S::splat(0.0); BLOCK];
            let (mut scale, mut offset) = (out[0], out[0]);
            macro_rules! four {
                ($g:literal) => {
                    if $g == 0 || ($g == 4 && F::HALVES) {
                        (scale, offset) = scale_of::<S, F>(scales, b, $g / 4);
                        if !F::MINIMUM {
                            offset = S::splat(0.0);
                        }
                        if let Some(shift) = F::ZERO {
                            offset = S::fma(scale, S::splat(-((1 << shift) as f32)), offset);
                        }
                    }
                    let codes = group::<S, F, $g>(codes);
                    out[4 * $g] = S::fma(S::byte::<0>(codes), scale, offset);
                    out[4 * $g + 1] = S::fma(S::byte::<1>(codes), scale, offset);
                    out[4 * $g + 2] = S::fma(S::byte::<2>(codes), scale, offset);
                    out[4 * $g + 3] = S::fma(S::byte::<3>(codes), scale, offset);
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
            out
        }
    }
}

/// Weights that are numbers.
pub(crate) struct Floats<W>(PhantomData<W>);

impl<W: Float> Numbers16 for Floats<W> {
    #[inline(always)]
    unsafe fn thirty_two<S: Simd>(panel: &[u8], cols: usize, block: usize) -> [S::F; BLOCK] {
        // SAFETY: the panel holds sixteen numbers for each of the `cols`.
        unsafe {
            let mut out = [S::splat(0.0); BLOCK];
            for k in 0..BLOCK.min(cols - block * BLOCK) {
                out[k] = W::load::<S>(panel.as_ptr().add((block * BLOCK + k) * PANEL * W::BYTES));
            }
            out
        }
    }
}

/// Evaluates `$body` with `$n` standing for the [`Numbers16`] of the type `$ty`.
macro_rules! with_numbers {
    ($ty:expr, $n:ident => $body:block) => {{
        use $crate::matmul::{float, format::with_layout, numbers::{Floats, Quants}};
        with_layout!($ty, F => { type $n = Quants<F>; $body }, float => {
            match $ty {
                BlockType::F16 => { type $n = Floats<float::F16>; $body }
                BlockType::BF16 => { type $n = Floats<float::Bf16>; $body }
                _ => { type $n = Floats<float::F32>; $body }
            }
        })
    }};
}
pub(crate) use with_numbers;
