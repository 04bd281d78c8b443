//! The two products of attention: queries with keys, weights with values.
//!
//! Both keep a tile of sums in registers, `R` rows (query heads, of one or more tokens) by `V`
//! vectors: each key or value that is loaded meets all rows, and each query or weight all vectors.
//! Every sum adds its terms one by one in the order of elements or positions, so the shape of the
//! tile leaves no trace in the result.

use crate::simd::{LANES, Simd};

use super::page::{Cell, PAGE, SCALE_BLOCK};

/// The keys or the values of one head in a page.
#[derive(Clone, Copy)]
pub(super) struct Numbers<C> {
    /// Where they are.
    pub(super) cells: *const C,
    /// Their scales, `[block of 32 elements][position]`, if they have any.
    pub(super) scales: *const u16,
    /// As many bytes as the numbers take that are read next, to be fetched meanwhile; none if
    /// null.
    pub(super) next: *const u8,
}

impl<C: Cell> Numbers<C> {
    /// The numbers that start at `p` in the order of a page, and what to fetch meanwhile.
    pub(super) fn new(p: *const u8, head_dim: usize, next: *const u8) -> Numbers<C> {
        let cells = p.cast::<C>();
        Numbers { cells, scales: cells.wrapping_add(PAGE * head_dim / LANES).cast(), next }
    }

    /// The same from group of sixteen positions `group` on.
    pub(super) fn after(self, group: usize, head_dim: usize) -> Numbers<C> {
        let cells = self.cells.wrapping_add(group * head_dim);
        Numbers { cells, scales: self.scales.wrapping_add(group * LANES), next: self.next }
    }

    /// Writes the scales, if there are any, to `out`, `[block of 32 elements][position]`.
    ///
    /// # Safety
    /// As for [`Simd`]; `out` has room for them.
    #[inline(always)]
    pub(super) unsafe fn unpack_scales<S: Simd>(self, head_dim: usize, out: *mut f32) {
        if C::SCALED {
            for i in (0..head_dim / SCALE_BLOCK * PAGE).step_by(LANES) {
                // SAFETY: as the caller vouches.
                unsafe { S::store(out.add(i), S::load_f16(self.scales.add(i))) };
            }
        }
    }

    /// Fetches what follows as far as the `V` cells from cell `at` on have got.
    ///
    /// # Safety
    /// As for [`Simd`].
    #[inline(always)]
    unsafe fn fetch<S: Simd, const V: usize>(self, at: usize) {
        let size = size_of::<C>();
        for line in 0..(V * size).div_ceil(64) {
            // SAFETY: a prefetch reads nothing.
            unsafe { S::prefetch(self.next.wrapping_add(at * size + line * 64)) };
        }
    }
}

/// Whether `rows` rows of `vectors` sums, what they meet and one more fit in registers.
const fn fit<S: Simd>(rows: usize, vectors: usize) -> bool {
    rows * vectors + vectors < S::VECTORS
}

/// Scores of `R` queries against the first `groups` groups of sixteen positions, times `scale`.
///
/// # Safety
/// The queries have `head_dim` elements, the keys are a head's in a page, `scores` has a row of
/// [`PAGE`] numbers for each query, and the machine has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn score<S: Simd, C: Cell, const R: usize>(
    queries: &[*const f32; R],
    keys: Numbers<C>,
    head_dim: usize,
    groups: usize,
    scale: f32,
    scores: *mut f32,
) {
    let mut at = 0;
    while at < groups {
        let left = groups - at;
        // SAFETY: as the caller vouches, with all vectors within `groups`.
        unsafe {
            if fit::<S>(R, 4) && left >= 4 {
                score_vectors::<S, C, R, 4>(queries, keys, head_dim, at, scale, scores);
                at += 4;
            } else if fit::<S>(R, 2) && left >= 2 {
                score_vectors::<S, C, R, 2>(queries, keys, head_dim, at, scale, scores);
                at += 2;
            } else {
                score_vectors::<S, C, R, 1>(queries, keys, head_dim, at, scale, scores);
                at += 1;
            }
        }
    }
}

/// [`score`] for `V` groups from `group` on.
///
/// # Safety
/// As for [`score`].
#[inline(always)]
unsafe fn score_vectors<S: Simd, C: Cell, const R: usize, const V: usize>(
    queries: &[*const f32; R],
    keys: Numbers<C>,
    head_dim: usize,
    group: usize,
    scale: f32,
    scores: *mut f32,
) {
    let step = if C::SCALED { SCALE_BLOCK } else { head_dim };
    // SAFETY: as the caller vouches.
    unsafe {
        let mut sums = [[S::splat(0.0); V]; R];
        for block in 0..head_dim / step {
            let mut scales = [S::splat(1.0); V];
            if C::SCALED {
                for v in 0..V {
                    scales[v] = S::load_f16(keys.scales.add(block * PAGE + (group + v) * LANES));
                }
            }
            for d in block * step..(block + 1) * step {
                if !keys.next.is_null() {
                    keys.fetch::<S, V>(group * head_dim + d * V);
                }
                let mut k = [S::splat(0.0); V];
                for v in 0..V {
                    k[v] = C::load::<S>(keys.cells.add((group + v) * head_dim + d));
                    if C::SCALED {
                        k[v] = S::mul(k[v], scales[v]);
                    }
                }
                for r in 0..R {
                    let q = S::splat(*queries[r].add(d));
                    for v in 0..V {
                        sums[r][v] = S::fma(k[v], q, sums[r][v]);
                    }
                }
            }
        }
        let scale = S::splat(scale);
        for r in 0..R {
            for v in 0..V {
                let out = scores.add(r * PAGE + (group + v) * LANES);
                S::store(out, S::mul(sums[r][v], scale));
            }
        }
    }
}

/// Adds the values of the first `seen` positions, each times its weight, to `R` rows of sums.
///
/// # Safety
/// `weights` has a row of [`PAGE`] numbers for each row of sums, which are `stride` apart and have
/// `head_dim` elements; the values are a head's in a page, with `scales`, `[block of 32][PAGE]`,
/// if they have any; and the machine has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn weigh<S: Simd, C: Cell, const R: usize>(
    weights: *const f32,
    values: Numbers<C>,
    scales: *const f32,
    head_dim: usize,
    seen: usize,
    sums: *mut f32,
    stride: usize,
) {
    let mut d = 0;
    while d < head_dim {
        let left = (head_dim - d) / LANES;
        let shape = (head_dim, seen, stride);
        // SAFETY: as the caller vouches, with all vectors within `head_dim`.
        unsafe {
            if fit::<S>(R, 4) && left >= 4 {
                weigh_vectors::<S, C, R, 4>(weights, values, scales, d, shape, sums);
                d += 4 * LANES;
            } else if fit::<S>(R, 2) && left >= 2 {
                weigh_vectors::<S, C, R, 2>(weights, values, scales, d, shape, sums);
                d += 2 * LANES;
            } else {
                weigh_vectors::<S, C, R, 1>(weights, values, scales, d, shape, sums);
                d += LANES;
            }
        }
    }
}

/// [`weigh`] for `V` vectors from element `d` on.
///
/// # Safety
/// As for [`weigh`]; `shape` is `(head_dim, seen, stride)`.
#[inline(always)]
unsafe fn weigh_vectors<S: Simd, C: Cell, const R: usize, const V: usize>(
    weights: *const f32,
    values: Numbers<C>,
    scales: *const f32,
    d: usize,
    (head_dim, seen, stride): (usize, usize, usize),
    sums: *mut f32,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        let mut acc = [[S::splat(0.0); V]; R];
        for r in 0..R {
            for v in 0..V {
                acc[r][v] = S::load(sums.add(r * stride + d + v * LANES));
            }
        }
        for i in 0..seen {
            if !values.next.is_null() {
                values.fetch::<S, V>(d / LANES * PAGE + i * V);
            }
            let mut x = [S::splat(0.0); V];
            for v in 0..V {
                let element = d + v * LANES;
                x[v] = C::load::<S>(values.cells.add((i * head_dim + element) / LANES));
                if C::SCALED {
                    let scale = S::splat(*scales.add(element / SCALE_BLOCK * PAGE + i));
                    x[v] = S::mul(x[v], scale);
                }
            }
            for r in 0..R {
                let w = S::splat(*weights.add(r * PAGE + i));
                for v in 0..V {
                    acc[r][v] = S::fma(x[v], w, acc[r][v]);
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                S::store(sums.add(r * stride + d + v * LANES), acc[r][v]);
            }
        }
    }
}

/// Unpacks `seen` keys of one head of a page, from group of sixteen positions `first` on, to `f32`, in the same order.
///
/// # Safety
/// The keys are a head's in a page, `k` has room for a page's, and the machine has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn unpack_keys<S: Simd, C: Cell>(
    keys: *const u8,
    head_dim: usize,
    (first, seen): (usize, usize),
    k: *mut f32,
) {
    let keys = Numbers::<C>::new(keys, head_dim, std::ptr::null()).after(first, head_dim);
    // SAFETY: as the caller vouches.
    unsafe {
        for group in 0..seen.div_ceil(LANES) {
            for d in 0..head_dim {
                let at = group * head_dim + d;
                let mut x = C::load::<S>(keys.cells.add(at));
                if C::SCALED {
                    let scale = keys.scales.add(d / SCALE_BLOCK * PAGE + group * LANES);
                    x = S::mul(x, S::load_f16(scale));
                }
                S::store(k.add(at * LANES), x);
            }
        }
    }
}

/// Unpacks `seen` keys and values of one head of a page, from group of sixteen positions `first` on, to `f32`, in the
/// same order. Without values in the page, these are the beginnings of the keys.
///
/// # Safety
/// Keys and values are a head's in a page, as long as `dims` says; `k` and `v` have room for a page's, `scales` for
/// those of the values, and the machine has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn unpack<S: Simd, C: Cell>(
    keys: *const u8,
    values: Option<*const u8>,
    scales: *mut f32,
    (head_dim, value_dim): (usize, usize),
    (first, seen): (usize, usize),
    k: *mut f32,
    v: *mut f32,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        unpack_keys::<S, C>(keys, head_dim, (first, seen), k);
        let Some(values) = values else {
            for group in 0..seen.div_ceil(LANES) {
                for d in (0..value_dim).step_by(LANES) {
                    let sixteen = k.add((group * head_dim + d) * LANES);
                    S::transpose(sixteen, v.add(group * LANES * value_dim + d), value_dim);
                }
            }
            return;
        };
        let values = Numbers::<C>::new(values, value_dim, std::ptr::null());
        values.unpack_scales::<S>(value_dim, scales);
        let values = values.after(first, value_dim);
        for i in 0..seen {
            for d in (0..value_dim).step_by(LANES) {
                let mut x = C::load::<S>(values.cells.add((i * value_dim + d) / LANES));
                if C::SCALED {
                    let scale = scales.add(d / SCALE_BLOCK * PAGE + first * LANES + i);
                    x = S::mul(x, S::splat(*scale));
                }
                S::store(v.add(i * value_dim + d), x);
            }
        }
    }
}
