//! Softmax in pieces: page by page, and part by part.
//!
//! What is known of a row (a query head of a token) after some positions is the largest score, the
//! sum of the weights `2^(score - largest)` and the sum of the values times their weights. It lies
//! in memory as `[head_dim]` weighted sums, [`LANES`] partial sums of the weights and the largest
//! score, in as many numbers as [`row_len`] says.

use crate::simd::{LANES, Simd, exp2};

use super::page::PAGE;

/// Numbers that say what is known of a row.
pub(super) const fn row_len(head_dim: usize) -> usize {
    head_dim + 2 * LANES
}

/// How much a score may surpass the largest before everything is scaled down to the new one.
/// Weights are up to `2^8` then, which costs a float nothing.
const SLACK: f32 = 8.0;

/// Nothing is known yet.
///
/// # Safety
/// `row` is valid for [`row_len`] numbers.
pub(super) unsafe fn begin(row: *mut f32, head_dim: usize) {
    // SAFETY: as the caller vouches.
    unsafe {
        std::slice::from_raw_parts_mut(row, head_dim + LANES).fill(0.0);
        *row.add(head_dim + LANES) = f32::NEG_INFINITY;
    }
}

/// Turns a row's scores (logarithms to base 2) of a page's first `groups` groups of sixteen
/// positions into weights, of which only the first `seen` count, and scales what was summed before.
///
/// # Safety
/// `scores` has [`PAGE`] numbers and `row` [`row_len`]; the machine has the instructions of `S`.
#[inline(always)]
unsafe fn soften<S: Simd>(
    scores: *mut f32,
    seen: usize,
    groups: usize,
    row: *mut f32,
    head_dim: usize,
) {
    // SAFETY: as the caller vouches: `seen <= groups * LANES <= PAGE`.
    unsafe {
        if seen == PAGE {
            return soften_groups::<S>(scores, PAGE / LANES, row, head_dim);
        }
        let all = std::slice::from_raw_parts_mut(scores, groups * LANES);
        if seen > 0 {
            let mine = seen.div_ceil(LANES);
            all[seen..mine * LANES].fill(f32::NEG_INFINITY);
            soften_groups::<S>(scores, mine, row, head_dim);
        }
        // `exp2` never quite reaches zero, but what isn't seen must weigh nothing. (That the sum
        // of the weights has 2^-126 too much for each is lost in rounding.)
        all[seen..].fill(0.0);
    }
}

/// [`soften`] where the first `hidden` positions, perhaps all that are seen, don't count either.
///
/// # Safety
/// As for [`soften`], and `hidden <= seen`.
#[inline(always)]
pub(super) unsafe fn soften_after<S: Simd>(
    scores: *mut f32,
    hidden: usize,
    seen: usize,
    groups: usize,
    row: *mut f32,
    head_dim: usize,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        std::slice::from_raw_parts_mut(scores, hidden).fill(f32::NEG_INFINITY);
        soften::<S>(scores, if hidden < seen { seen } else { 0 }, groups, row, head_dim);
        std::slice::from_raw_parts_mut(scores, hidden).fill(0.0);
    }
}

/// [`soften`] for whole groups.
///
/// # Safety
/// As for [`soften`].
#[inline(always)]
unsafe fn soften_groups<S: Simd>(scores: *mut f32, groups: usize, row: *mut f32, head_dim: usize) {
    // SAFETY: as the caller vouches.
    unsafe {
        let mut top = S::load(scores);
        for g in 1..groups {
            top = S::max(top, S::load(scores.add(g * LANES)));
        }
        let top = S::largest(top);
        let weight = row.add(head_dim);
        let largest = row.add(head_dim + LANES);
        if top > *largest + SLACK {
            // Zero the first time.
            let shrink = S::splat((*largest - top).exp2());
            for d in (0..head_dim + LANES).step_by(LANES) {
                S::store(row.add(d), S::mul(S::load(row.add(d)), shrink));
            }
            *largest = top;
        }
        let reference = S::splat(*largest);
        let mut total = S::load(weight);
        for g in 0..groups {
            let p = scores.add(g * LANES);
            let w = exp2::<S>(S::sub(S::load(p), reference));
            S::store(p, w);
            total = S::add(total, w);
        }
        S::store(weight, total);
    }
}

/// Adds what `other` knows, of later positions, to `row`.
///
/// # Safety
/// Both have [`row_len`] numbers; the machine has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn merge<S: Simd>(row: *mut f32, other: *const f32, head_dim: usize) {
    // SAFETY: as the caller vouches.
    unsafe {
        let largest = row.add(head_dim + LANES);
        let theirs = *other.add(head_dim + LANES);
        if theirs == f32::NEG_INFINITY {
            return;
        }
        let top = if theirs > *largest { theirs } else { *largest };
        let (mine, other_scale) =
            (S::splat((*largest - top).exp2()), S::splat((theirs - top).exp2()));
        for d in (0..head_dim + LANES).step_by(LANES) {
            let x = S::mul(S::load(row.add(d)), mine);
            S::store(row.add(d), S::fma(S::load(other.add(d)), other_scale, x));
        }
        *largest = top;
    }
}

/// The row's weighted mean, to `out`.
///
/// # Safety
/// `row` has [`row_len`] numbers, `out` has `head_dim`; the machine has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn finish<S: Simd>(row: *const f32, out: *mut f32, head_dim: usize) {
    // SAFETY: as the caller vouches.
    unsafe {
        let inverse = S::splat(1.0 / S::sum(S::load(row.add(head_dim))));
        for d in (0..head_dim).step_by(LANES) {
            S::store(out.add(d), S::mul(S::load(row.add(d)), inverse));
        }
    }
}
