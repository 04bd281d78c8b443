//! Attention to some pages of a long past instead of all of them.
//!
//! Of each page that is full, the least and the greatest value of every element of its keys is known
//! ([`bound_keys`]). With them no key of the page can have a larger product with a query than
//! `Σ max(q · least, q · greatest)` (Tang et al. 2024, "Quest", arXiv:2406.10774). The pages in which
//! that is largest are attended to as if they were all there are, together with the first one, on
//! which models park what they don't need (Xiao et al. 2023, arXiv:2309.17453), and the latest ones.
//!
//! Queries that share a key-value head, and the tokens of a tile where a text is read, choose
//! together: each has a vote of 1, which it shares out among the pages as softmax would among keys
//! as good as the bounds. So a query that looks for one place gets it, and those that look at everything have
//! what is left.

use crate::pool::Pool;
use crate::simd::{Kernel, LANES, Simd, exp2};
use crate::{Isa, SendPtr};

use super::apart::{Apart, elements};
use super::page::{F16, F32, KvShape, KvType, PAGE, Q4, Q8};
use super::part::{Line, room};
use super::tile::unpack_keys;
use super::{AttentionSpan, Job};

/// How attention leaves out what is far away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sparse {
    /// Positions that a token attends to where it sees more of them, rounded up to whole pages; at
    /// least [`Sparse::LEAST`].
    pub budget: usize,
}

/// Full pages right before a token that are always attended to.
const RECENT: usize = 4;

impl Sparse {
    /// The first page, the latest ones, the token's own and one that is chosen.
    pub const LEAST: usize = (RECENT + 3) * PAGE;

    /// Pages that are attended to where there are more.
    fn pages(self) -> usize {
        self.budget.max(Sparse::LEAST).div_ceil(PAGE)
    }

    /// Whether tokens of a span see more than they attend to.
    pub(super) fn leaves_out(self, span: &AttentionSpan<'_>) -> bool {
        (span.position + span.tokens).div_ceil(PAGE) > self.pages()
    }
}

/// Bytes of what is known of a page's keys, `[kv_heads][least, greatest][head_dim]` numbers.
pub const fn bounds_bytes(shape: &KvShape) -> usize {
    shape.kv_heads * 2 * shape.head_dim * size_of::<f32>()
}

/// Writes the least and the greatest value of each element of a full page's keys to `bounds`. `apart` is what
/// of the keys is not stored, and `index` the page's place in its text, which that depends on.
///
/// # Panics
/// If the page or the bounds don't fit the shape, or the angles of the page's positions aren't known.
pub fn bound_keys(
    isa: Isa,
    shape: &KvShape,
    page: &[u8],
    (apart, index): (Option<Apart<'_>>, usize),
    bounds: &mut [u8],
) {
    assert_eq!(shape.check(), Ok(()));
    assert!(page.len() == shape.page_bytes() && bounds.len() == bounds_bytes(shape));
    let mut keys = Vec::new();
    for (kv_head, bounds) in bounds.chunks_exact_mut(2 * shape.head_dim * 4).enumerate() {
        let keys = room(&mut keys, PAGE * shape.head_dim);
        // SAFETY: `isa` is available; page and bounds are as long as the shape says, and there is
        // room for a head's keys.
        unsafe {
            isa.run_without_tiles(Bound { shape, page, kv_head, apart, index, keys, bounds });
        }
    }
}

struct Bound<'a> {
    shape: &'a KvShape,
    page: &'a [u8],
    kv_head: usize,
    apart: Option<Apart<'a>>,
    index: usize,
    /// Room for a head's keys.
    keys: *mut f32,
    bounds: &'a mut [u8],
}

impl Kernel for Bound<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Bound { shape, page, kv_head, apart, index, keys, bounds } = self;
        let dim = shape.head_dim;
        let packed = page[shape.keys_at(kv_head)..].as_ptr();
        // SAFETY: the caller vouches for the page, and for room for its keys,
        // `[group of 16][head_dim][16]`, and for the bounds.
        unsafe {
            match shape.ty {
                KvType::F16 => unpack_keys::<S, F16>(packed, dim, PAGE, keys),
                KvType::F32 => unpack_keys::<S, F32>(packed, dim, PAGE, keys),
                KvType::Q8_0 => unpack_keys::<S, Q8>(packed, dim, PAGE, keys),
                KvType::Q4_0 => unpack_keys::<S, Q4>(packed, dim, PAGE, keys),
            }
            let groups = (0..PAGE / LANES).map(|group| keys.add(group * dim * LANES));
            for (group, keys) in groups.enumerate() {
                if shape.ty.is_rotated() {
                    turn_back::<S>(keys, dim, shape.turned());
                }
                if let Some(Apart { bias, angles }) = apart {
                    let half = bias.rotated / 2;
                    let angles = angles.pages[index][group * bias.rotated * LANES..].as_ptr();
                    for pair in &bias.pairs[kv_head] {
                        let cos = S::load(angles.add(pair.angle * LANES));
                        let sin = S::load(angles.add((half + pair.angle) * LANES));
                        let (i, j) = elements(bias.layout, bias.rotated, pair.angle);
                        let (a, b) = (S::splat(pair.a), S::splat(pair.b));
                        let x = S::sub(S::mul(a, cos), S::mul(b, sin));
                        let y = S::fma(a, sin, S::mul(b, cos));
                        for (at, x) in [(keys.add(i * LANES), x), (keys.add(j * LANES), y)] {
                            S::store(at, S::add(S::load(at), x));
                        }
                    }
                }
            }
            for d in 0..dim {
                let first = S::load(keys.add(d * LANES));
                let (mut least, mut greatest) = (first, first);
                for group in 1..PAGE / LANES {
                    let x = S::load(keys.add((group * dim + d) * LANES));
                    (least, greatest) = (S::min(least, x), S::max(greatest, x));
                }
                let least = -S::largest(S::sub(S::splat(0.0), least));
                let out = bounds.as_mut_ptr().cast::<f32>();
                out.add(d).write_unaligned(least);
                out.add(dim + d).write_unaligned(S::largest(greatest));
            }
        }
    }
}

/// What [`rotate`](super::rotate::rotate) has done to sixteen positions' keys, `[head_dim][16]`, undone.
///
/// # Safety
/// `keys` are so many, `n` divides `head_dim`, and the machine has the instructions of `S`.
#[inline(always)]
unsafe fn turn_back<S: Simd>(keys: *mut f32, head_dim: usize, n: usize) {
    let norm = 1.0 / (n as f32).sqrt();
    // SAFETY: as the caller vouches.
    unsafe {
        for block in (0..head_dim).step_by(n) {
            let mut half = 1;
            while half < n {
                for at in (0..n).filter(|at| at & half == 0) {
                    let p = keys.add((block + at) * LANES);
                    let q = p.add(half * LANES);
                    let (a, b) = (S::load(p), S::load(q));
                    S::store(p, S::add(a, b));
                    S::store(q, S::sub(a, b));
                }
                half *= 2;
            }
        }
        for d in 0..head_dim {
            let p = keys.add(d * LANES);
            S::store(p, S::mul(S::load(p), S::splat(norm)));
        }
    }
}

/// Chooses pages for the jobs that would see more than they are to attend to. `q` are all queries,
/// `[tokens of all spans, heads, head_dim]`, as they were before they were turned for the cache; `scale` multiplies scores,
/// which are logarithms to base 2.
pub(super) fn choose(
    isa: Isa,
    pool: &Pool,
    (shape, scale, sparse): (&KvShape, f32, Sparse),
    spans: &[AttentionSpan<'_>],
    jobs: &mut [Job],
    q: &[f32],
) {
    let count = jobs.len();
    let jobs = SendPtr(jobs.as_mut_ptr());
    pool.for_each_chunk(count, 1, |range| {
        for at in range {
            // SAFETY: there are `count` jobs, and each is one thread's alone.
            let job = unsafe { &mut *jobs.get().add(at) };
            let span = &spans[job.span];
            let end = (span.position + job.tokens.end).div_ceil(PAGE);
            let recent = ((span.position + job.tokens.start) / PAGE).saturating_sub(RECENT);
            // Besides the first page, the latest ones and the tile's own.
            let wanted = sparse.pages().saturating_sub(1 + end - recent).max(1);
            if recent <= 1 + wanted {
                continue;
            }
            let candidates = &span.bounds[1..recent];
            let mut votes = vec![0.0; candidates.len()];
            let q = &q[job.head * shape.head_dim..];
            let vote = Vote { shape, scale, candidates, job, q, votes: &mut votes };
            // SAFETY: `isa` is available, and `attend` has seen to the sizes of bounds and queries.
            unsafe { isa.run_without_tiles(vote) };
            let mut order: Vec<u32> = (1..recent as u32).collect();
            let more = |a: &u32, b: &u32| {
                let votes = |page: u32| votes[page as usize - 1];
                votes(*b).total_cmp(&votes(*a)).then(a.cmp(b))
            };
            order.select_nth_unstable_by(wanted - 1, more);
            order.truncate(wanted);
            order.push(0);
            order.extend(recent as u32..end as u32);
            order.sort_unstable();
            job.attend_to(order);
        }
    });
}

/// What the queries of a job make of pages.
struct Vote<'a> {
    shape: &'a KvShape,
    scale: f32,
    candidates: &'a [&'a [u8]],
    job: &'a Job,
    q: &'a [f32],
    votes: &'a mut [f32],
}

impl Kernel for Vote<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Vote { shape, scale, candidates, job, q, votes } = self;
        let dim = shape.head_dim;
        let rows = job.tokens.len() * job.group;
        let mut bounds: Vec<Line> = Vec::new();
        // Whole vectors, of which the last may have some of no page.
        let padded = candidates.len().next_multiple_of(LANES);
        let bounds = room(&mut bounds, padded);
        for r in 0..rows {
            let query = &q[(r / job.group * shape.heads + r % job.group) * dim..][..dim];
            // SAFETY: the caller vouches for the bounds' sizes; there is room for one a candidate.
            unsafe {
                for (i, page) in candidates.iter().enumerate() {
                    let least = page[job.kv_head * 2 * dim * 4..].as_ptr().cast::<f32>();
                    let greatest = least.wrapping_add(dim);
                    let mut sum = S::splat(0.0);
                    for d in (0..dim).step_by(LANES) {
                        let q = S::load(query.as_ptr().add(d));
                        let (a, b) = (S::load(least.add(d)), S::load(greatest.add(d)));
                        sum = S::add(sum, S::max(S::mul(q, a), S::mul(q, b)));
                    }
                    *bounds.add(i) = S::sum(sum) * scale;
                }
                (candidates.len()..padded).for_each(|i| *bounds.add(i) = f32::NEG_INFINITY);
                let mut largest = S::load(bounds);
                for i in (LANES..padded).step_by(LANES) {
                    largest = S::max(largest, S::load(bounds.add(i)));
                }
                let largest = S::splat(S::largest(largest));
                let mut sum = S::splat(0.0);
                for i in (0..padded).step_by(LANES) {
                    let share = exp2::<S>(S::sub(S::load(bounds.add(i)), largest));
                    sum = S::add(sum, share);
                    S::store(bounds.add(i), share);
                }
                let all = S::sum(sum);
                for (i, vote) in votes.iter_mut().enumerate() {
                    *vote += *bounds.add(i) / all;
                }
            }
        }
    }
}
