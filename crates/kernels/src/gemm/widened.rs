//! Products where pairs of bf16 can't be multiplied: the same numbers, widened to f32.
//!
//! Taking a pair apart takes as many instructions as multiplying it, so it is done once for each number instead of
//! once for each product: `a` is widened as a whole, in groups of [`ROWS`] rows whose numbers of one k stand
//! together, and of `b` a panel of sixteen columns × 256 k at a time, which stays in the nearest cache while all
//! of `a` passes by. What is left for each k is two loads, six broadcasts and twelve fused multiply-adds.

use std::ops::Range;

use super::pack::sixteen;
use super::{Columns, Operand, STEP, TILE, TILE_LEN, View, parts};
use crate::pool::Pool;
use crate::simd::{Kernel, LANES, Simd, load_first, store_first};
use crate::{Isa, SendPtr};

/// Rows whose sums are in registers at a time: twelve of AVX2's sixteen.
const ROWS: usize = 6;
/// Steps of `b` that are widened at once: 16 KiB.
const STEPS: usize = 8;

/// Memory for one panel of `b`, as pairs and widened.
#[repr(C, align(64))]
pub(super) struct Room {
    wide: [f32; STEPS * TILE_LEN],
    pairs: [u16; STEPS * TILE_LEN],
}

/// Rounds `view`, `[m, k]`, to bf16 and puts it into `out[row / 6][k][row % 6]`; k is filled up with zeros to whole
/// steps, and rows to whole groups.
pub(super) fn pack(isa: Isa, pool: &Pool, view: View<'_>, out: &mut Vec<f32>) {
    let (m, k) = view.shape();
    let depth = k.div_ceil(STEP) * STEP;
    let groups = m.div_ceil(ROWS);
    if out.len() < groups * depth * ROWS {
        out.resize(groups * depth * ROWS, 0.0);
    }
    let out = SendPtr(out.as_mut_ptr());
    pool.for_each_chunk(groups, 4, |some| {
        for group in some {
            // SAFETY: `isa` is available; each group is handed out once and lies within `out`.
            unsafe {
                let out = out.get().add(group * depth * ROWS);
                isa.run(Group { view, first: group * ROWS, depth, out });
            }
        }
    });
}

/// A group of rows of `a`.
struct Group<'a> {
    view: View<'a>,
    first: usize,
    depth: usize,
    out: *mut f32,
}

/// Sixteen numbers rounded to bf16.
///
/// # Safety
/// As for [`Simd`].
#[inline(always)]
unsafe fn rounded<S: Simd>(x: S::F) -> [f32; LANES] {
    let (mut short, mut lanes) = ([0u16; LANES], [0.0; LANES]);
    // SAFETY: both buffers take sixteen numbers.
    unsafe {
        S::store_bf16(short.as_mut_ptr(), x);
        S::store(lanes.as_mut_ptr(), S::load_bf16(short.as_ptr()));
    }
    lanes
}

impl Kernel for Group<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Group { view, first, depth, out } = self;
        // SAFETY: the caller's `out` takes `depth` times `ROWS` numbers.
        unsafe {
            if view.is_transposed() {
                for k in 0..depth {
                    let lanes = rounded::<S>(sixteen::<S>(&view, k, first));
                    out.add(k * ROWS).copy_from_nonoverlapping(lanes.as_ptr(), ROWS);
                }
            } else {
                for k in (0..depth).step_by(LANES) {
                    for row in 0..ROWS {
                        let lanes = rounded::<S>(sixteen::<S>(&view, first + row, k));
                        for (i, x) in lanes.into_iter().enumerate() {
                            *out.add((k + i) * ROWS + row) = x;
                        }
                    }
                }
            }
        }
    }
}

/// The first operand as [`pack`] leaves it.
#[derive(Clone, Copy)]
pub(super) struct Widened<'a>(pub(super) &'a [f32]);

impl Operand for Widened<'_> {
    const GROUP: usize = ROWS;
    type Room = Room;

    fn room() -> Room {
        Room { wide: [0.0; STEPS * TILE_LEN], pairs: [0; STEPS * TILE_LEN] }
    }

    unsafe fn columns(
        self,
        isa: Isa,
        (rows, k): (Range<usize>, usize),
        b: &dyn Columns,
        pairs: Range<usize>,
        (out, add): (SendPtr<f32>, bool),
        room: &mut Room,
    ) {
        let Widened(a) = self;
        let n = b.columns();
        let steps = k.div_ceil(STEP);
        for some in parts(steps, STEPS) {
            for panel in 2 * pairs.start..(2 * pairs.end).min(n.div_ceil(TILE)) {
                // SAFETY: `isa` is available, and the room takes `STEPS` tiles, of which there are no more.
                unsafe {
                    b.fill(isa, panel, some.clone(), room.pairs.as_mut_ptr());
                    isa.run(Widen { pairs: &room.pairs, steps: some.len(), wide: &mut room.wide });
                }
                for row in rows.clone().step_by(ROWS) {
                    let at = row * steps * STEP + some.start * STEP * ROWS;
                    let a = &a[at..at + some.len() * STEP * ROWS];
                    // SAFETY: the caller's `out` has this row and column; the room holds as many k as `a`.
                    unsafe {
                        isa.run(Block {
                            a,
                            b: &room.wide,
                            out: out.get().add(row * n + panel * TILE),
                            stride: n,
                            rows: (rows.end - row).min(ROWS),
                            columns: (n - panel * TILE).min(TILE),
                            add: add || some.start > 0,
                        });
                    }
                }
            }
        }
    }
}

/// Tiles of `b`, `[k / 2][column][k % 2]`, to `[k][column]`.
struct Widen<'a> {
    pairs: &'a [u16],
    steps: usize,
    wide: &'a mut [f32],
}

impl Kernel for Widen<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let tiles = self.steps * TILE_LEN;
        let (pairs, _) = self.pairs[..tiles].as_chunks::<{ 2 * TILE }>();
        let (rows, _) = self.wide[..tiles].as_chunks_mut::<{ 2 * TILE }>();
        for (pairs, row) in pairs.iter().zip(rows) {
            for column in 0..TILE {
                row[column] = f32::from_bits(u32::from(pairs[2 * column]) << 16);
                row[TILE + column] = f32::from_bits(u32::from(pairs[2 * column + 1]) << 16);
            }
        }
    }
}

/// Up to six rows × sixteen columns.
struct Block<'a> {
    /// `[k][6]`.
    a: &'a [f32],
    /// `[k][16]`, of at least as many k.
    b: &'a [f32],
    out: *mut f32,
    stride: usize,
    rows: usize,
    columns: usize,
    add: bool,
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: as the caller vouches.
        unsafe {
            let mut sums = [S::splat(0.0); ROWS];
            for (a, b) in self.a.chunks_exact(ROWS).zip(self.b.chunks_exact(TILE)) {
                let b = S::load(b.as_ptr());
                for row in 0..ROWS {
                    sums[row] = S::fma(b, S::splat(a[row]), sums[row]);
                }
            }
            for (row, sum) in sums.iter().enumerate().take(self.rows) {
                let out = self.out.add(row * self.stride);
                let before = match self.add {
                    true => load_first::<S>(out, self.columns),
                    false => S::splat(0.0),
                };
                store_first::<S>(out, S::add(before, *sum), self.columns);
            }
        }
    }
}
