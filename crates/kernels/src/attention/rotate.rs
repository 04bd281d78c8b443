//! Turning heads before they are rounded to four bits, and back.
//!
//! A few elements of keys are often far larger than the rest (the biases of Qwen2.5's are), and the
//! block that has one rounds all its neighbours to nothing. A Hadamard matrix spreads each element
//! over the whole head; it is orthonormal, so turned queries have the same products with turned
//! keys, and it is its own inverse, so sums of turned values are turned back by it (Ashkboos et al.
//! 2024, "QuaRot", arXiv:2404.00456).

use crate::Isa;
use crate::simd::{Kernel, Simd};

/// Multiplies each head with the normalised Hadamard matrix of the largest power of two that
/// divides `head_dim` (block by block, if that isn't all of it). `x` is `[.., head_dim]`.
pub(super) fn rotate(isa: Isa, x: &mut [f32], head_dim: usize) {
    // SAFETY: `isa` is available; the kernel uses checked slices only.
    unsafe { isa.run_without_tiles(Rotate { x, n: 1 << head_dim.trailing_zeros(), beside: 1 }) }
}

/// Heads to be turned, `[.., n, beside]`: so many of them lie side by side.
pub(super) struct Rotate<'a> {
    pub(super) x: &'a mut [f32],
    /// The matrix's rows, a power of two.
    pub(super) n: usize,
    pub(super) beside: usize,
}

impl Kernel for Rotate<'_> {
    type Output = ();

    /// Additions in the same order whatever the instructions: the same bits everywhere.
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let norm = 1.0 / (self.n as f32).sqrt();
        let len = self.n * self.beside;
        for block in self.x.chunks_exact_mut(len) {
            let mut half = self.beside;
            while half < len {
                for pair in block.chunks_exact_mut(2 * half) {
                    let (a, b) = pair.split_at_mut(half);
                    for (a, b) in a.iter_mut().zip(b) {
                        (*a, *b) = (*a + *b, *a - *b);
                    }
                }
                half *= 2;
            }
            block.iter_mut().for_each(|x| *x *= norm);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entry (i, j) is negative where `i & j` has an odd number of bits.
    fn plainly(x: &[f32], n: usize) -> Vec<f64> {
        let entry =
            |i: usize, j: usize| if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
        x.chunks(n)
            .flat_map(|block| {
                (0..n).map(move |i| {
                    let sum: f64 = (0..n).map(|j| entry(i, j) * f64::from(block[j])).sum();
                    sum / (n as f64).sqrt()
                })
            })
            .collect()
    }

    #[test]
    fn it_is_the_hadamard_matrix_and_its_own_inverse() {
        for (head_dim, n) in [(32, 32), (64, 64), (96, 32), (128, 128)] {
            let x: Vec<f32> = (0..3 * head_dim).map(|i| ((i * 37) % 101) as f32 - 50.0).collect();
            let mut bits = None;
            for isa in Isa::available() {
                let mut turned = x.clone();
                rotate(isa, &mut turned, head_dim);
                for (got, want) in turned.iter().zip(plainly(&x, n)) {
                    assert!((f64::from(*got) - want).abs() < 1e-4, "{isa}: {got}, not {want}");
                }
                assert_eq!(*bits.get_or_insert(turned.clone()), turned, "{isa}");
                rotate(isa, &mut turned, head_dim);
                for (got, want) in turned.iter().zip(&x) {
                    assert!((got - want).abs() < 1e-4, "{isa}: {got}, not {want}");
                }
            }
        }
    }
}
