//! Small f32 products between tiles, the sums in registers: what attention is made of.

use crate::simd::{Kernel, LANES, Simd};

/// `c (+)= a · b`, with `a` `[m, k]` of any strides, `b` `[k, n]` and `c` `[m, n]` whose rows are
/// contiguous.
///
/// A number of `a` meets a vector of `b`; so the transpose of `a` costs nothing (swap its strides),
/// that of `b` has to be laid out first.
pub(in crate::grad) struct Product {
    pub(in crate::grad) m: usize,
    /// Columns, a multiple of sixteen.
    pub(in crate::grad) n: usize,
    pub(in crate::grad) k: usize,
    pub(in crate::grad) a: *const f32,
    /// Numbers from one row of `a` to the next, and from one column to the next.
    pub(in crate::grad) a_strides: (usize, usize),
    pub(in crate::grad) b: *const f32,
    pub(in crate::grad) b_stride: usize,
    pub(in crate::grad) c: *mut f32,
    pub(in crate::grad) c_stride: usize,
    /// Adds to `c` instead of writing it.
    pub(in crate::grad) add: bool,
}

/// Rows whose sums stay in registers: 6 × 4 vectors of the 32 AVX-512 registers, 6 × 1 (of two
/// registers each) of the 16 of AVX2.
const ROWS: usize = 6;

impl Kernel for Product {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut column = 0;
        // SAFETY: as the caller vouches: `a`, `b` and `c` hold what the shape and strides say.
        unsafe {
            while column < self.n {
                if S::TOKENS >= 8 && self.n - column >= 4 * LANES {
                    self.columns::<S, 4>(column);
                    column += 4 * LANES;
                } else {
                    self.columns::<S, 1>(column);
                    column += LANES;
                }
            }
        }
    }
}

impl Product {
    /// `V` vectors of columns from `column` on.
    ///
    /// # Safety
    /// As for [`Kernel::run`].
    #[inline(always)]
    unsafe fn columns<S: Simd, const V: usize>(&self, column: usize) {
        // SAFETY: as the caller vouches.
        unsafe {
            for row in (0..self.m).step_by(ROWS) {
                match self.m - row {
                    1 => self.block::<S, 1, V>(row, column),
                    2 => self.block::<S, 2, V>(row, column),
                    3 => self.block::<S, 3, V>(row, column),
                    4 => self.block::<S, 4, V>(row, column),
                    5 => self.block::<S, 5, V>(row, column),
                    _ => self.block::<S, ROWS, V>(row, column),
                }
            }
        }
    }

    /// `R` rows by `V` vectors.
    ///
    /// # Safety
    /// As for [`Kernel::run`].
    #[inline(always)]
    unsafe fn block<S: Simd, const R: usize, const V: usize>(&self, row: usize, column: usize) {
        let (down, along) = self.a_strides;
        // SAFETY: as the caller vouches.
        unsafe {
            let c = self.c.add(row * self.c_stride + column);
            let mut sums = [[S::splat(0.0); V]; R];
            if self.add {
                for r in 0..R {
                    for v in 0..V {
                        sums[r][v] = S::load(c.add(r * self.c_stride + v * LANES));
                    }
                }
            }
            let (mut a, mut b) = (self.a.add(row * down), self.b.add(column));
            for _ in 0..self.k {
                let mut vectors = [S::load(b); V];
                for v in 1..V {
                    vectors[v] = S::load(b.add(v * LANES));
                }
                for r in 0..R {
                    let x = S::splat(*a.add(r * down));
                    for v in 0..V {
                        sums[r][v] = S::fma(x, vectors[v], sums[r][v]);
                    }
                }
                a = a.wrapping_add(along);
                b = b.wrapping_add(self.b_stride);
            }
            for r in 0..R {
                for v in 0..V {
                    S::store(c.add(r * self.c_stride + v * LANES), sums[r][v]);
                }
            }
        }
    }
}
