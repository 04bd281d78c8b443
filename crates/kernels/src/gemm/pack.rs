//! Matrices in memory, cut into tiles.

use std::ops::Range;

use super::{Columns, Numbers, STEP, TILE, TILE_LEN, View};
use crate::pool::Pool;
use crate::simd::{Kernel, LANES, Simd};
use crate::{Isa, SendPtr};

/// Cuts `view`, `[m, k]`, into tiles: `out[row / 16][k / 32][row % 16][k % 32]`.
pub(super) fn pack_rows(isa: Isa, pool: &Pool, view: View<'_>, out: &mut Vec<u16>) {
    let (m, k) = view.shape();
    let steps = k.div_ceil(STEP);
    let len = m.div_ceil(TILE) * steps * TILE_LEN;
    if out.len() < len {
        out.resize(len, 0);
    }
    let out = SendPtr(out.as_mut_ptr());
    pool.for_each_chunk(m.div_ceil(TILE), 2, |panels| {
        for panel in panels {
            // SAFETY: `isa` is available; each panel is handed out once and lies within `out`.
            unsafe {
                let out = out.get().add(panel * steps * TILE_LEN);
                isa.run(Rows { view, first: panel * TILE, steps, out });
            }
        }
    });
}

/// Sixteen numbers of the stored matrix, of row `major` from `minor` on; zeros where it ends.
///
/// # Safety
/// As for [`Simd`].
#[inline(always)]
pub(super) unsafe fn sixteen<S: Simd>(view: &View<'_>, major: usize, minor: usize) -> S::F {
    // SAFETY: full vectors lie within the row; others go through a buffer.
    unsafe {
        if major >= view.rows || minor >= view.cols {
            return S::splat(0.0);
        }
        let (at, n) = (major * view.cols + minor, (view.cols - minor).min(LANES));
        match view.numbers {
            Numbers::F32(x) if n == LANES => S::load(x.as_ptr().add(at)),
            Numbers::Bf16(x) if n == LANES => S::load_bf16(x.as_ptr().add(at).cast()),
            Numbers::F32(x) => {
                let mut lanes = [0.0; LANES];
                lanes[..n].copy_from_slice(&x[at..at + n]);
                S::load(lanes.as_ptr())
            }
            Numbers::Bf16(x) => {
                let mut lanes = [half::bf16::ZERO; LANES];
                lanes[..n].copy_from_slice(&x[at..at + n]);
                S::load_bf16(lanes.as_ptr().cast())
            }
        }
    }
}

/// Sixteen rows of `a`.
struct Rows<'a> {
    view: View<'a>,
    first: usize,
    steps: usize,
    out: *mut u16,
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let view = &self.view;
        for step in 0..self.steps {
            // SAFETY: the caller's `out` takes `steps` tiles.
            unsafe {
                let tile = self.out.add(step * TILE_LEN);
                if view.transposed {
                    let mut column = [0u16; TILE];
                    for k in 0..STEP {
                        let x = sixteen::<S>(view, step * STEP + k, self.first);
                        S::store_bf16(column.as_mut_ptr(), x);
                        for (r, x) in column.iter().enumerate() {
                            *tile.add(r * STEP + k) = *x;
                        }
                    }
                } else {
                    for r in 0..TILE {
                        for half in [0, LANES] {
                            let x = sixteen::<S>(view, self.first + r, step * STEP + half);
                            S::store_bf16(tile.add(r * STEP + half), x);
                        }
                    }
                }
            }
        }
    }
}

impl Columns for View<'_> {
    fn columns(&self) -> usize {
        self.shape().0
    }

    unsafe fn fill(&self, isa: Isa, panel: usize, steps: Range<usize>, out: *mut u16) {
        // SAFETY: as the caller vouches.
        unsafe { isa.run(Pairs { view: *self, first: panel * TILE, steps, out }) }
    }
}

/// Sixteen rows of `b`, neighbouring k paired.
struct Pairs<'a> {
    view: View<'a>,
    first: usize,
    steps: Range<usize>,
    out: *mut u16,
}

impl Kernel for Pairs<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let view = &self.view;
        for (i, step) in self.steps.enumerate() {
            // SAFETY: the caller's `out` takes a tile for each step.
            unsafe {
                let tile = self.out.add(i * TILE_LEN);
                if view.transposed {
                    for pair in 0..STEP / 2 {
                        let k = step * STEP + 2 * pair;
                        let even = sixteen::<S>(view, k, self.first);
                        let odd = sixteen::<S>(view, k + 1, self.first);
                        S::store_pairs(tile.add(pair * 2 * TILE), even, odd);
                    }
                } else {
                    let mut row = [[0u16; 2]; STEP / 2];
                    let tile = tile.cast::<[u16; 2]>();
                    for column in 0..TILE {
                        for half in [0, LANES] {
                            let x = sixteen::<S>(view, self.first + column, step * STEP + half);
                            S::store_bf16(row.as_mut_ptr().cast::<u16>().add(half), x);
                        }
                        for (pair, x) in row.iter().enumerate() {
                            *tile.add(pair * TILE + column) = *x;
                        }
                    }
                }
            }
        }
    }
}
