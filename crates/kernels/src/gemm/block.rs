//! One block of a product: up to 32 × 32 sums that stay in registers while k passes by.

use super::{STEP, TILE, TILE_LEN, amx};
use crate::Isa;
use crate::simd::{Kernel, LANES, Simd, load_first, store_first};

/// Two panels of tiles times two.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// The first panel of `a`: `steps` tiles.
    pub(super) a: *const u16,
    /// Numbers from there to the second panel.
    pub(super) a_panel: usize,
    /// The first panel of `b`.
    pub(super) b: *const u16,
    /// Numbers from there to the second.
    pub(super) b_panel: usize,
    /// Tiles along k.
    pub(super) steps: usize,
    /// The first sum.
    pub(super) out: *mut f32,
    /// Numbers from one row of sums to the next.
    pub(super) stride: usize,
    /// Rows that exist, 1 to 32.
    pub(super) rows: usize,
    /// Columns that exist, 1 to 32.
    pub(super) columns: usize,
    /// The sums are added to what is there.
    pub(super) add: bool,
}

/// Works out a block.
///
/// # Safety
/// `isa` is available, its tiles configured if it is [`Isa::Amx`]; the panels hold what the block
/// says, as many as its rows and columns need, and `out` may be written.
pub(super) unsafe fn multiply(isa: Isa, block: &Block) {
    // SAFETY: as the caller vouches.
    unsafe {
        match isa {
            Isa::Amx => amx::multiply(block),
            _ => isa.run(*block),
        }
    }
}

impl Kernel for Block {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: as the caller vouches; rows of a panel are there though they may be zeros.
        unsafe {
            let mut row = 0;
            while row < self.rows {
                match (S::TOKENS >= 8, self.columns > TILE) {
                    (true, true) => self.at::<S, 8, 2>(row, 0),
                    (true, false) => self.at::<S, 8, 1>(row, 0),
                    (false, _) => {
                        for panel in 0..self.columns.div_ceil(TILE) {
                            self.at::<S, 4, 1>(row, panel);
                        }
                    }
                }
                row += if S::TOKENS >= 8 { 8 } else { 4 };
            }
        }
    }
}

impl Block {
    /// `R` rows from `row` on (all of one panel) times `C` panels of `b` from `panel` on.
    ///
    /// # Safety
    /// As for the block.
    #[inline(always)]
    unsafe fn at<S: Simd, const R: usize, const C: usize>(&self, row: usize, panel: usize) {
        // SAFETY: as the caller vouches: a tile has sixteen rows of 32 numbers.
        unsafe {
            let a = self.a.add(row / TILE * self.a_panel + row % TILE * STEP);
            let b = self.b.add(panel * self.b_panel);
            let mut acc = [[S::splat(0.0); C]; R];
            for step in 0..self.steps {
                let (a, b) = (a.add(step * TILE_LEN), b.add(step * TILE_LEN));
                for pair in 0..STEP / 2 {
                    let mut w = [S::load_pairs(b.add(pair * 2 * LANES)); C];
                    for c in 1..C {
                        w[c] = S::load_pairs(b.add(c * self.b_panel + pair * 2 * LANES));
                    }
                    for r in 0..R {
                        let x = a.add(r * STEP + 2 * pair);
                        for c in 0..C {
                            acc[r][c] = S::dot_pairs(acc[r][c], w[c], x);
                        }
                    }
                }
            }
            for r in 0..R.min(self.rows - row) {
                for c in 0..C {
                    let first = (panel + c) * TILE;
                    let out = self.out.add((row + r) * self.stride + first);
                    let n = (self.columns - first).min(TILE);
                    let before = if self.add { load_first::<S>(out, n) } else { S::splat(0.0) };
                    store_first::<S>(out, S::add(before, acc[r][c]), n);
                }
            }
        }
    }
}
