//! Products of matrices, in one of two precisions.

use half::bf16;
use kernels::gemm::{Numbers, Sum, Tiles, View, gemm, gemm_weight, gemm_weight_backward};
use kernels::matmul::Matrix;
use kernels::{Isa, Pool};

/// How matrices are multiplied. Sums are in f32 either way, and so is everything but products.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Precision {
    /// Both sides rounded to bf16: what machines are fast at.
    #[default]
    Bf16,
    /// Each number as the sum of three bf16 ones, which hold all of its 24 bits; the six products
    /// that matter are added up. As good as f32 and six times the work: for tests and for models
    /// small enough. A frozen base is held in f32 for it.
    F32,
}

/// A matrix `[rows, cols]` in memory, row by row, or its transpose.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    numbers: &'a [f32],
    cols: usize,
    turned: bool,
}

impl<'a> Operand<'a> {
    pub(crate) fn new(numbers: &'a [f32], cols: usize) -> Operand<'a> {
        Operand { numbers, cols, turned: false }
    }

    /// Rows become columns.
    pub(crate) fn t(self) -> Operand<'a> {
        Operand { turned: !self.turned, ..self }
    }

    fn view<'b>(&self, numbers: Numbers<'b>) -> View<'b> {
        let view = View::new(numbers, self.numbers.len() / self.cols, self.cols);
        if self.turned { view.t() } else { view }
    }
}

/// Whoever multiplies.
pub(crate) struct Products<'a> {
    pub(crate) isa: Isa,
    pub(crate) pool: &'a Pool,
    precision: Precision,
    tiles: Tiles,
}

impl<'a> Products<'a> {
    pub(crate) fn new(isa: Isa, pool: &'a Pool, precision: Precision) -> Products<'a> {
        Products { isa, pool, precision, tiles: Tiles::default() }
    }

    /// `out (+)= a · bᵀ`, with `a` `[m, k]`, `b` `[n, k]` and `out` `[m, n]`.
    pub(crate) fn product(&mut self, a: Operand<'_>, b: Operand<'_>, out: &mut [f32], sum: Sum) {
        let Products { isa, pool, precision, tiles } = self;
        match precision {
            Precision::Bf16 => {
                let views = (a.view(Numbers::F32(a.numbers)), b.view(Numbers::F32(b.numbers)));
                gemm(*isa, pool, views, (out, sum), tiles);
            }
            Precision::F32 => {
                let (parts_a, parts_b) = (thirds(a.numbers), thirds(b.numbers));
                let mut sum = sum;
                // The smallest first, so that nothing of them is lost.
                for (i, j) in [(0, 2), (1, 1), (2, 0), (0, 1), (1, 0), (0, 0)] {
                    let a = a.view(Numbers::Bf16(&parts_a[i]));
                    let b = b.view(Numbers::Bf16(&parts_b[j]));
                    gemm(*isa, pool, (a, b), (&mut *out, sum), tiles);
                    sum = Sum::Add;
                }
            }
        }
    }

    /// `out = x · weightᵀ`, in bf16.
    pub(crate) fn packed(&mut self, x: &[f32], weight: &Matrix, out: &mut [f32]) {
        let x = View::new(Numbers::F32(x), x.len() / weight.cols(), weight.cols());
        gemm_weight(self.isa, self.pool, x, weight, (out, Sum::Write), &mut self.tiles);
    }

    /// `dx (+)= dout · weight`, in bf16.
    pub(crate) fn packed_backward(
        &mut self,
        dout: &[f32],
        weight: &Matrix,
        dx: &mut [f32],
        sum: Sum,
    ) {
        let dout = View::new(Numbers::F32(dout), dout.len() / weight.rows(), weight.rows());
        gemm_weight_backward(self.isa, self.pool, dout, weight, (dx, sum), &mut self.tiles);
    }
}

/// Numbers as sums of three: the nearest bf16, the nearest to what that leaves, and the rest.
fn thirds(x: &[f32]) -> [Vec<bf16>; 3] {
    let mut parts = [(); 3].map(|()| Vec::with_capacity(x.len()));
    for x in x {
        let mut rest = *x;
        for part in &mut parts {
            let nearest = bf16::from_f32(rest);
            rest -= nearest.to_f32();
            part.push(nearest);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_parts_hold_every_bit() {
        for x in [0.0, 1.0, -1.0 / 3.0, 1.234_567_9e-20, std::f32::consts::PI, -9.876_543e20] {
            let sum: f64 = thirds(&[x]).iter().map(|p| p[0].to_f64()).sum();
            assert_eq!(sum, f64::from(x));
        }
    }
}
