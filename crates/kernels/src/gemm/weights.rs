//! Packed matrices of weights as the second operand: dequantised a few tiles at a time.

use std::marker::PhantomData;
use std::ops::Range;

use super::{Columns, STEP, TILE, TILE_LEN};
use crate::Isa;
use crate::blocks::BlockType;
use crate::matmul::{Matrix, Numbers16, with_numbers};
use crate::simd::{Kernel, Simd};

/// The weights as they are: columns of the product are the matrix's rows.
pub(super) struct Forward<'a>(pub(super) &'a Matrix);

impl Columns for Forward<'_> {
    fn columns(&self) -> usize {
        self.0.rows()
    }

    unsafe fn fill(&self, isa: Isa, panel: usize, steps: Range<usize>, out: *mut u16) {
        let (panel, cols) = (self.0.panel(panel), self.0.cols());
        // SAFETY: as the caller vouches.
        unsafe {
            with_numbers!(self.0.ty(), N => {
                isa.run(Straight::<N> { panel, cols, steps, out, numbers: PhantomData });
            });
        }
    }
}

/// Sixteen rows of weights, in the order of `b`'s tiles.
struct Straight<'a, N> {
    panel: &'a [u8],
    cols: usize,
    steps: Range<usize>,
    out: *mut u16,
    numbers: PhantomData<N>,
}

impl<N: Numbers16> Kernel for Straight<'_, N> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: as the caller vouches: `out` takes a tile for each step.
        unsafe {
            let mut tile = self.out;
            for step in self.steps {
                let w = N::thirty_two::<S>(self.panel, self.cols, step);
                for pair in 0..STEP / 2 {
                    S::store_pairs(tile.add(pair * 2 * TILE), w[2 * pair], w[2 * pair + 1]);
                }
                tile = tile.add(TILE_LEN);
            }
        }
    }
}

/// The weights transposed: columns of the product are the matrix's columns.
pub(super) struct Backward<'a>(pub(super) &'a Matrix);

impl Columns for Backward<'_> {
    fn columns(&self) -> usize {
        self.0.cols()
    }

    unsafe fn fill(&self, isa: Isa, panel: usize, steps: Range<usize>, out: *mut u16) {
        let Backward(weight) = self;
        let cols = weight.cols();
        for (i, step) in steps.enumerate() {
            for half in 0..STEP / TILE {
                // SAFETY: as the caller vouches; the matrix's last panel may be missing.
                unsafe {
                    // Eight pairs of rows, half a tile.
                    let out = out.add(i * TILE_LEN + half * TILE_LEN / 2).cast::<[u16; 2]>();
                    let rows = step * (STEP / TILE) + half;
                    if rows * TILE >= weight.rows() {
                        out.write_bytes(0, TILE_LEN / 4);
                        continue;
                    }
                    let source = weight.panel(rows);
                    with_numbers!(weight.ty(), N => {
                        isa.run(Turned::<N> {
                            panel: source,
                            cols,
                            first: panel * TILE,
                            out,
                            numbers: PhantomData,
                        });
                    });
                }
            }
        }
    }
}

/// Sixteen rows × sixteen columns of weights, rows paired: `out[row / 2][column][row % 2]`.
struct Turned<'a, N> {
    panel: &'a [u8],
    cols: usize,
    first: usize,
    out: *mut [u16; 2],
    numbers: PhantomData<N>,
}

impl<N: Numbers16> Kernel for Turned<'_, N> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: as the caller vouches: `out` takes eight times sixteen pairs.
        unsafe {
            let w = N::thirty_two::<S>(self.panel, self.cols, self.first / STEP);
            let mut rows = [[0u16; 2]; TILE / 2];
            for column in 0..TILE {
                S::store_bf16(rows.as_mut_ptr().cast(), w[self.first % STEP + column]);
                for (pair, x) in rows.iter().enumerate() {
                    *self.out.add(pair * TILE + column) = *x;
                }
            }
        }
    }
}
