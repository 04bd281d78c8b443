//! Attention to some of a long past instead of all of it.
//!
//! A page that is full is known by the least and the greatest value of every element of its keys, sixteen
//! positions at a time ([`bound_keys`]), after Tang et al. 2024 ("Quest", arXiv:2406.10774), who choose by the
//! largest product that a query could have with such keys. Here sixteen positions are chosen by what they
//! probably weigh together: if their products with a query are spread about the middle as widely as the bounds are,
//! with variance `σ²`, the mean of their exponentials is `exp(middle + σ²/2)`. Chosen by that, what attention gathers is
//! closer to all than chosen by the largest product (docs/performance.md). The best are attended to as if they were
//! all there are, together with the first page, on which models park what they don't need (Xiao et al. 2023,
//! arXiv:2309.17453), and the latest ones.
//!
//! Queries that share a key-value head, and the tokens of a tile where a text is read, choose
//! together: each has a vote of 1, which it shares out as softmax would. So a query that looks for one place
//! gets it, and those that look at everything have what is left.

use crate::pool::Pool;
use crate::simd::{Kernel, LANES, Simd, exp2};
use crate::{Isa, SendPtr};

use super::apart::Apart;
use super::page::{F16, F32, KvShape, KvType, PAGE, Q4, Q8};
use super::part::{Place, room};
use super::rotate::Rotate;
use super::tile::unpack_keys;
use super::{AttentionSpan, Job};

/// How attention leaves out what is far away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sparse {
    /// Positions that a token attends to where it sees more of them, rounded up to whole pages; at
    /// least [`Sparse::LEAST`].
    pub budget: usize,
}

/// Groups of sixteen positions in a page.
const GROUPS: usize = PAGE / LANES;

/// What the distance between the least and the greatest of sixteen numbers is to their standard deviation, on average, if
/// they are normally distributed (Tippett 1925).
const RANGE: f32 = 3.53;

/// Full pages right before a token that are always attended to.
const RECENT: usize = 4;

impl Sparse {
    /// The first page, the latest ones, the token's own and as much as one that is chosen.
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

/// Bytes of what is known of a page's keys, `[kv_heads][group of 16][least, greatest][head_dim]` in half precision.
pub const fn bounds_bytes(shape: &KvShape) -> usize {
    shape.kv_heads * head_bytes(shape)
}

/// The same for one head.
const fn head_bytes(shape: &KvShape) -> usize {
    GROUPS * 2 * shape.head_dim * size_of::<u16>()
}

/// Writes the least and the greatest value of each element of the keys of each sixteen positions of a full page to
/// `bounds`. `apart` is what of the keys is not stored, and `index` the page's place in its text, which that depends on.
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
    for (kv_head, bounds) in bounds.chunks_exact_mut(head_bytes(shape)).enumerate() {
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
                KvType::F16 => unpack_keys::<S, F16>(packed, dim, (0, PAGE), keys),
                KvType::F32 => unpack_keys::<S, F32>(packed, dim, (0, PAGE), keys),
                KvType::Q8_0 => unpack_keys::<S, Q8>(packed, dim, (0, PAGE), keys),
                KvType::Q4_0 => unpack_keys::<S, Q4>(packed, dim, (0, PAGE), keys),
            }
            for group in 0..GROUPS {
                let keys = keys.add(group * dim * LANES);
                if shape.ty.is_rotated() {
                    // It is its own inverse.
                    let x = std::slice::from_raw_parts_mut(keys, dim * LANES);
                    Rotate { x, n: shape.turned(), beside: LANES }.run::<S>();
                }
                if let Some(apart) = apart {
                    apart.add_to_keys::<S>(kv_head, (index, group), keys);
                }
                let out = bounds.as_mut_ptr().cast::<u16>().add(group * 2 * dim);
                for d in (0..dim).step_by(LANES) {
                    let (mut least, mut greatest) = ([0.0; LANES], [0.0; LANES]);
                    for i in 0..LANES {
                        let x = S::load(keys.add((d + i) * LANES));
                        least[i] = -S::largest(S::sub(S::splat(0.0), x));
                        greatest[i] = S::largest(x);
                    }
                    S::store_f16(out.add(d), S::load(least.as_ptr()));
                    S::store_f16(out.add(dim + d), S::load(greatest.as_ptr()));
                }
            }
        }
    }
}

/// Chooses places for the jobs that would see more than they are to attend to. `q` are all queries,
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
            let mut votes = vec![0.0; candidates.len() * GROUPS];
            let q = &q[job.head * shape.head_dim..];
            let vote = Vote { shape, scale, candidates, job, q, votes: &mut votes };
            // SAFETY: `isa` is available, and `attend` has seen to the sizes of bounds and queries.
            unsafe { isa.run_without_tiles(vote) };
            let mut order: Vec<u32> = (0..votes.len() as u32).collect();
            let wanted = wanted * GROUPS;
            order.select_nth_unstable_by(wanted - 1, |a, b| {
                votes[*b as usize].total_cmp(&votes[*a as usize]).then(a.cmp(b))
            });
            order.truncate(wanted);
            order.sort_unstable();
            let mut places = vec![Place::whole(0)];
            for group in order {
                let (page, first) = (1 + group / GROUPS as u32, (group % GROUPS as u32) as u8);
                match places.last_mut() {
                    Some(last) if (last.page, last.end) == (page, first) => last.end += 1,
                    _ => places.push(Place { page, first, end: first + 1 }),
                }
            }
            places.extend((recent..end).map(Place::whole));
            job.attend_to(places);
        }
    });
}

/// What the queries of a job make of sixteen positions at a time.
struct Vote<'a> {
    shape: &'a KvShape,
    scale: f32,
    /// Bounds of pages.
    candidates: &'a [&'a [u8]],
    job: &'a Job,
    q: &'a [f32],
    /// One for each group.
    votes: &'a mut [f32],
}

impl Kernel for Vote<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Vote { shape, scale, candidates, job, q, votes } = self;
        let dim = shape.head_dim;
        let rows = job.tokens.len() * job.group;
        let query = |r: usize| q[(r / job.group * shape.heads + r % job.group) * dim..].as_ptr();
        let queries: Vec<*const f32> = (0..rows).map(query).collect();
        // Whole vectors, of which the last may have some of no group.
        let padded = votes.len().next_multiple_of(LANES);
        let (mut known, mut middles, mut spreads) = (Vec::new(), Vec::new(), Vec::new());
        let known = room(&mut known, rows * padded);
        let (middles, spreads) = (room(&mut middles, dim), room(&mut spreads, dim));
        // SAFETY: the caller vouches for the sizes of bounds and queries; there is room for a number a
        // row and group, and for a head's.
        unsafe {
            // Scores are logarithms to base 2.
            let half = S::splat(0.5 * scale * std::f32::consts::LN_2);
            for i in 0..votes.len() {
                let head = candidates[i / GROUPS][job.kv_head * head_bytes(shape)..].as_ptr();
                let least = head.cast::<u16>().add(i % GROUPS * 2 * dim);
                for d in (0..dim).step_by(LANES) {
                    let (a, b) = (S::load_f16(least.add(d)), S::load_f16(least.add(dim + d)));
                    let spread = S::mul(S::sub(b, a), S::splat(1.0 / RANGE));
                    S::store(middles.add(d), S::mul(S::add(a, b), S::splat(0.5)));
                    S::store(spreads.add(d), S::mul(S::mul(spread, spread), half));
                }
                for (r, query) in queries.iter().enumerate() {
                    let (mut middle, mut variance) = (S::splat(0.0), S::splat(0.0));
                    for d in (0..dim).step_by(LANES) {
                        let q = S::load(query.add(d));
                        middle = S::fma(q, S::load(middles.add(d)), middle);
                        variance = S::fma(S::mul(q, q), S::load(spreads.add(d)), variance);
                    }
                    *known.add(r * padded + i) = S::sum(S::add(middle, variance)) * scale;
                }
            }
            for r in 0..rows {
                let known = known.add(r * padded);
                (votes.len()..padded).for_each(|i| *known.add(i) = f32::NEG_INFINITY);
                let mut largest = S::load(known);
                for i in (LANES..padded).step_by(LANES) {
                    largest = S::max(largest, S::load(known.add(i)));
                }
                let largest = S::splat(S::largest(largest));
                let mut sum = S::splat(0.0);
                for i in (0..padded).step_by(LANES) {
                    let share = exp2::<S>(S::sub(S::load(known.add(i)), largest));
                    sum = S::add(sum, share);
                    S::store(known.add(i), share);
                }
                let all = S::sum(sum);
                for (i, vote) in votes.iter_mut().enumerate() {
                    *vote += *known.add(i) / all;
                }
            }
        }
    }
}
