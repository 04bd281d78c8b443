//! Products of bf16 matrices with sums in f32: prefill on machines with matrix tiles, and training.
//!
//! `out[i][j] = Σ_k a[i][k] · b[j][k]`. Both operands are cut into *tiles* of 16 rows × 32 k, one
//! KiB each, in the order the tile instructions take them (`pack.rs`): `a` as it is, `b` with
//! neighbouring k paired. What is no multiple of that is filled up with zeros. The three forms of
//! training come from views of the same numbers:
//!
//! | | out | a | b |
//! |---|---|---|---|
//! | forward | `y [t, n]` | `x [t, k]` | `w [n, k]` |
//! | dgrad | `dx [t, k]` | `dy [t, n]` | `w` transposed, `[k, n]` |
//! | wgrad | `dw [n, k]` | `dy` transposed, `[n, t]` | `x` transposed, `[k, t]` |
//!
//! `b` may also be a packed [`Matrix`], quantised or not, either way round: its tiles are made when
//! they are needed, 32 columns × 512 k at a time, which stay in the nearest cache while all of `a`
//! passes by (Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication").
//!
//! Where pairs of bf16 can't be multiplied, the same numbers are widened to f32 (`widened.rs`).
//!
//! Sums run over k in an order that depends on k alone: a row's results are the same whatever the
//! other rows are and however many threads there are.

mod amx;
mod block;
mod pack;
mod weights;
mod widened;

use std::ops::Range;

use half::bf16;

use crate::matmul::Matrix;
use crate::pool::Pool;
use crate::{Isa, SendPtr};
#[cfg(target_arch = "x86_64")]
pub(crate) use amx::{Tile4, works as amx_works};
use block::{Block, multiply};
use pack::pack_rows;
use weights::{Backward, Forward};
use widened::Widened;

/// Rows of a tile (columns of `out`, for `b`).
const TILE: usize = 16;
/// Numbers along k in a tile.
const STEP: usize = 32;
/// Numbers in a tile.
const TILE_LEN: usize = TILE * STEP;
/// Steps of `b` that are made at once: two panels of them fill 32 KiB.
const STEPS: usize = 16;
/// Panels of two tiles' width that a thread takes at most, so that the part of `a` they meet is
/// read from the second-level cache and not from further away.
const PAIRS: usize = 8;

/// Numbers of a matrix.
#[derive(Clone, Copy)]
pub enum Numbers<'a> {
    /// Single precision; rounded to bf16, ties to even.
    F32(&'a [f32]),
    /// As they are.
    Bf16(&'a [bf16]),
}

/// A matrix `[rows, cols]` in memory, row by row, or its transpose.
#[derive(Clone, Copy)]
pub struct View<'a> {
    numbers: Numbers<'a>,
    rows: usize,
    cols: usize,
    transposed: bool,
}

impl<'a> View<'a> {
    /// `rows` rows of `cols` numbers.
    ///
    /// # Panics
    /// If there are more or fewer numbers.
    pub fn new(numbers: Numbers<'a>, rows: usize, cols: usize) -> View<'a> {
        let len = match numbers {
            Numbers::F32(x) => x.len(),
            Numbers::Bf16(x) => x.len(),
        };
        assert_eq!(len, rows * cols, "a matrix of {rows} × {cols}");
        View { numbers, rows, cols, transposed: false }
    }

    /// Rows become columns.
    pub fn t(self) -> View<'a> {
        View { transposed: !self.transposed, ..self }
    }

    fn is_transposed(&self) -> bool {
        self.transposed
    }

    /// Rows and columns as seen.
    pub fn shape(&self) -> (usize, usize) {
        if self.transposed { (self.cols, self.rows) } else { (self.rows, self.cols) }
    }
}

/// What becomes of what is in `out`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sum {
    /// It is overwritten.
    Write,
    /// The product is added to it, as gradients are.
    Add,
}

/// Memory for `a`'s tiles, kept from one product to the next.
#[derive(Default)]
pub struct Tiles {
    pairs: Vec<u16>,
    /// What there is instead where bf16 can't be multiplied.
    widened: Vec<f32>,
}

impl Tiles {
    /// The products of `a` with each `b`, as this instruction set does it.
    fn multiply(
        &mut self,
        isa: Isa,
        pool: &Pool,
        a: View<'_>,
        products: &[(&dyn Columns, SendPtr<f32>)],
        sum: Sum,
    ) {
        match isa {
            Isa::Avx2 => {
                widened::pack(isa, pool, a, &mut self.widened);
                product(isa, pool, Widened(&self.widened), a.shape(), products, sum);
            }
            _ => {
                pack_rows(isa, pool, a, &mut self.pairs);
                product(isa, pool, Pairs(&self.pairs), a.shape(), products, sum);
            }
        }
    }
}

/// The first operand, cut into what is multiplied.
trait Operand: Copy + Sync {
    /// Rows that are worked on together.
    const GROUP: usize;
    /// Where a thread makes parts of `b`.
    type Room;

    fn room() -> Self::Room;

    /// The columns of some pairs of `b`'s panels, in a range of rows that begins with a group.
    ///
    /// # Safety
    /// `isa` is available, with its tiles configured if it is [`Isa::Amx`]; the operand has the rows named, each
    /// of `k` filled up to whole steps; `out`, with `b`'s columns in a row, takes the columns in those rows, which
    /// nobody else touches.
    unsafe fn columns(
        self,
        isa: Isa,
        rows: (Range<usize>, usize),
        b: &dyn Columns,
        pairs: Range<usize>,
        out: (SendPtr<f32>, bool),
        room: &mut Self::Room,
    );
}

/// The second operand: makes its own tiles.
pub(crate) trait Columns: Sync {
    /// Columns of the product.
    fn columns(&self) -> usize;

    /// Writes the tiles of the sixteen columns from `16 * panel` on, of the steps named, one after
    /// the other: `out[step][k / 2][column][k % 2]`.
    ///
    /// # Safety
    /// `isa` is available, and `out` takes `steps.len()` tiles.
    unsafe fn fill(&self, isa: Isa, panel: usize, steps: Range<usize>, out: *mut u16);
}

/// `out (+)= a · bᵀ`, with `a` `[m, k]`, `b` `[n, k]` and `out` `[m, n]`.
///
/// # Panics
/// If the shapes don't agree.
pub fn gemm(
    isa: Isa,
    pool: &Pool,
    (a, b): (View<'_>, View<'_>),
    (out, sum): (&mut [f32], Sum),
    tiles: &mut Tiles,
) {
    one_product(isa, pool, a, (&b, b.shape().1), (out, sum), tiles);
}

/// `out (+)= x · weightᵀ` in bf16: the weights are rounded to bf16 tile by tile. `x` is
/// `[tokens, cols]`, `out` `[tokens, rows]`.
///
/// # Panics
/// If the shapes don't agree.
pub fn gemm_weight(
    isa: Isa,
    pool: &Pool,
    x: View<'_>,
    weight: &Matrix,
    (out, sum): (&mut [f32], Sum),
    tiles: &mut Tiles,
) {
    one_product(isa, pool, x, (&Forward(weight), weight.cols()), (out, sum), tiles);
}

/// `out (+)= dy · weight` in bf16: the gradient of [`gemm_weight`] with respect to `x`, for weights
/// that stay as they are. `dy` is `[tokens, rows]`, `out` `[tokens, cols]`.
///
/// # Panics
/// If the shapes don't agree.
pub fn gemm_weight_backward(
    isa: Isa,
    pool: &Pool,
    dy: View<'_>,
    weight: &Matrix,
    (out, sum): (&mut [f32], Sum),
    tiles: &mut Tiles,
) {
    one_product(isa, pool, dy, (&Backward(weight), weight.rows()), (out, sum), tiles);
}

/// `out (+)= a · bᵀ` for a `b` whose columns have `depth` numbers along k.
fn one_product(
    isa: Isa,
    pool: &Pool,
    a: View<'_>,
    (b, depth): (&dyn Columns, usize),
    (out, sum): (&mut [f32], Sum),
    tiles: &mut Tiles,
) {
    let ((m, k), n) = (a.shape(), b.columns());
    assert!(k == depth && out.len() == m * n, "{m} × {k} times {n} × {depth} into {}", out.len());
    tiles.multiply(isa, pool, a, &[(b, SendPtr(out.as_mut_ptr()))], sum);
}

/// Several products with the same `x`, in one parallel step, each overwriting its `out`.
///
/// # Safety
/// Each `out` takes `tokens × rows` numbers that nobody else touches.
pub(crate) unsafe fn gemm_weights(
    isa: Isa,
    pool: &Pool,
    x: View<'_>,
    products: &[(&Matrix, SendPtr<f32>)],
    tiles: &mut Tiles,
) {
    let forward: Vec<Forward<'_>> = products.iter().map(|(weight, _)| Forward(weight)).collect();
    let all: Vec<(&dyn Columns, SendPtr<f32>)> =
        forward.iter().zip(products).map(|(f, (_, out))| (f as &dyn Columns, *out)).collect();
    tiles.multiply(isa, pool, x, &all, Sum::Write);
}

/// Panels of `b` with room for [`STEPS`] steps.
#[repr(C, align(64))]
struct Panels([u16; 2 * STEPS * TILE_LEN]);

/// The products of `a` with each `b`, `[m, columns]`.
fn product<A: Operand>(
    isa: Isa,
    pool: &Pool,
    a: A,
    (m, k): (usize, usize),
    products: &[(&dyn Columns, SendPtr<f32>)],
    sum: Sum,
) {
    if m == 0 {
        return;
    }
    let pairs: Vec<usize> = products.iter().map(|(b, _)| b.columns().div_ceil(2 * TILE)).collect();
    let total: usize = pairs.iter().sum();
    // Few columns (a LoRA's rank): the threads share the rows as well.
    let parts = (4 * pool.threads()).div_ceil(total.max(1)).min(m.div_ceil(4 * TILE));
    let part = m.div_ceil(parts).next_multiple_of(A::GROUP);
    let parts = m.div_ceil(part);
    pool.for_each_guided(total * parts, PAIRS, |items| {
        let mut room = A::room();
        let _tiles = (isa == Isa::Amx).then(amx::Configured::new);
        let mut first = 0;
        for p in 0..parts {
            let rows = p * part..m.min((p + 1) * part);
            for ((b, out), n) in products.iter().zip(&pairs) {
                let mine = items.start.max(first)..items.end.min(first + n);
                if !mine.is_empty() {
                    let mine = mine.start - first..mine.end - first;
                    let (rows, out) = ((rows.clone(), k), (*out, sum == Sum::Add));
                    // SAFETY: `isa` is available; items are handed out once, and each owns the
                    // columns of its pairs in the rows of its part; `a` holds all steps of all
                    // rows.
                    unsafe { a.columns(isa, rows, *b, mine, out, &mut room) };
                }
                first += n;
            }
        }
    });
}

/// Cuts `steps` into parts of equal length (the last may be shorter), none longer than `most`; no steps are one empty
/// part, which writes zeros.
fn parts(steps: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let part = steps.div_ceil(steps.div_ceil(most).max(1)).max(1);
    (0..steps.max(1)).step_by(part).map(move |first| first..steps.min(first + part))
}

/// The first operand's tiles.
#[derive(Clone, Copy)]
struct Pairs<'a>(&'a [u16]);

impl Operand for Pairs<'_> {
    const GROUP: usize = 2 * TILE;
    type Room = Panels;

    fn room() -> Panels {
        Panels([0; 2 * STEPS * TILE_LEN])
    }

    unsafe fn columns(
        self,
        isa: Isa,
        (rows, k): (Range<usize>, usize),
        b: &dyn Columns,
        pairs: Range<usize>,
        (out, add): (SendPtr<f32>, bool),
        panels: &mut Panels,
    ) {
        let Pairs(a) = self;
        let n = b.columns();
        let steps = k.div_ceil(STEP);
        for some in parts(steps, STEPS) {
            let add = add || some.start > 0;
            for pair in pairs.clone() {
                let columns = (n - pair * 2 * TILE).min(2 * TILE);
                let panel_len = some.len() * TILE_LEN;
                for i in 0..columns.div_ceil(TILE) {
                    // SAFETY: the panels have room for two times `STEPS` tiles.
                    unsafe {
                        let at = panels.0.as_mut_ptr().add(i * panel_len);
                        b.fill(isa, 2 * pair + i, some.clone(), at);
                    }
                }
                for row in rows.clone().step_by(2 * TILE) {
                    let at = (row / TILE * steps + some.start) * TILE_LEN;
                    let block = Block {
                        a: a[at.min(a.len())..].as_ptr(),
                        a_panel: steps * TILE_LEN,
                        b: panels.0.as_ptr(),
                        b_panel: panel_len,
                        steps: some.len(),
                        // SAFETY: the caller's `out` has this row and column.
                        out: unsafe { out.get().add(row * n + pair * 2 * TILE) },
                        stride: n,
                        rows: (rows.end - row).min(2 * TILE),
                        columns,
                        add,
                    };
                    // SAFETY: as the caller vouches; `a` and the panels hold the block's tiles.
                    unsafe { multiply(isa, &block) };
                }
            }
        }
    }
}
