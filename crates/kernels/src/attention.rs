//! Attention over a paged cache of keys and values.
//!
//! A page holds [`PAGE`] positions of one layer. Keys lie so that sixteen *positions* are a vector
//! (`[kv_head][group of 16][head_dim][16]`), values so that sixteen *elements* are
//! (`[kv_head][position][head_dim]`): neither the scores nor the weighted sum ever add across a
//! register. Softmax is computed online, page by page (Milakov and Gimelshein 2018,
//! arXiv:1805.02867; Dao et al. 2022, arXiv:2205.14135), for all query heads that share a
//! key-value head at once, so the cache is read once.
//!
//! A token's result depends on the pages it sees and on nothing else in the batch, to the bit.

use crate::pool::Pool;
use crate::simd::{Kernel, LANES, Simd, exp};
use crate::{Isa, SendPtr};

/// Positions in a page.
pub const PAGE: usize = 64;

/// How keys and values are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum KvType {
    /// Half precision.
    #[default]
    F16,
    /// Single precision: for comparing with references.
    F32,
}

impl KvType {
    /// Bytes of one number.
    pub const fn bytes(self) -> usize {
        match self {
            KvType::F16 => 2,
            KvType::F32 => 4,
        }
    }
}

/// Heads of a layer and how its cache is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KvShape {
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key-value heads (grouped-query attention, arXiv:2305.13245).
    pub kv_heads: usize,
    /// Elements of a head; a multiple of 16.
    pub head_dim: usize,
    /// Storage type.
    pub ty: KvType,
}

impl KvShape {
    /// Bytes of a page: keys and values of [`PAGE`] positions of one layer.
    pub const fn page_bytes(&self) -> usize {
        2 * self.kv_heads * self.head_bytes()
    }

    /// Bytes of the keys (or the values) of one head in a page.
    const fn head_bytes(&self) -> usize {
        PAGE * self.head_dim * self.ty.bytes()
    }
}

/// Writes the keys and values of one position into slot `slot` of a page.
///
/// `k` and `v` are `[kv_heads, head_dim]`.
///
/// # Panics
/// If shapes don't agree or the slot is past the page's end.
pub fn store_kv(isa: Isa, shape: &KvShape, page: &mut [u8], slot: usize, k: &[f32], v: &[f32]) {
    let n = shape.kv_heads * shape.head_dim;
    assert!(slot < PAGE && page.len() == shape.page_bytes() && k.len() == n && v.len() == n);
    assert!(shape.head_dim.is_multiple_of(LANES), "head_dim is a multiple of {LANES}");
    // SAFETY: `isa` is available, and the shapes were just checked.
    unsafe { isa.run(StoreKv { shape, page, slot, k, v }) }
}

struct StoreKv<'a> {
    shape: &'a KvShape,
    page: &'a mut [u8],
    slot: usize,
    k: &'a [f32],
    v: &'a [f32],
}

impl Kernel for StoreKv<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let KvShape { kv_heads, head_dim, ty, .. } = *self.shape;
        let head_bytes = self.shape.head_bytes();
        let size = ty.bytes();
        let mut lanes = [0u8; 4 * LANES];
        for h in 0..kv_heads {
            let keys = h * head_bytes + (self.slot / LANES) * head_dim * LANES * size;
            let values = (kv_heads + h) * head_bytes + self.slot * head_dim * size;
            for d in (0..head_dim).step_by(LANES) {
                let from = h * head_dim + d;
                // SAFETY: `k` has a vector from here on.
                unsafe { store_as::<S>(ty, self.k[from..].as_ptr(), &mut lanes) };
                for i in 0..LANES {
                    let at = keys + ((d + i) * LANES + self.slot % LANES) * size;
                    self.page[at..at + size].copy_from_slice(&lanes[i * size..(i + 1) * size]);
                }
                // SAFETY: as above, of `v`.
                unsafe { store_as::<S>(ty, self.v[from..].as_ptr(), &mut lanes) };
                let at = values + d * size;
                self.page[at..at + LANES * size].copy_from_slice(&lanes[..LANES * size]);
            }
        }
    }
}

/// Sixteen numbers as the cache stores them.
///
/// # Safety
/// `x` is valid for a vector, and the machine has the instructions of `S`.
#[inline(always)]
unsafe fn store_as<S: Simd>(ty: KvType, x: *const f32, lanes: &mut [u8; 4 * LANES]) {
    // SAFETY: as the caller vouches; `lanes` has room for a vector of either type.
    unsafe {
        let x = S::load(x);
        match ty {
            KvType::F16 => S::store_f16(lanes.as_mut_ptr().cast(), x),
            KvType::F32 => S::store(lanes.as_mut_ptr().cast(), x),
        }
    }
}

/// Consecutive tokens of one sequence and the pages they see.
pub struct AttentionSpan<'a> {
    /// The sequence's pages of this layer, in order; they hold the span's own keys and values too.
    pub pages: &'a [&'a [u8]],
    /// Position of the span's first token.
    pub position: usize,
    /// Tokens of the span.
    pub tokens: usize,
}

/// Causal attention of all spans: each token sees its sequence up to and with itself.
///
/// `q` and `out` are `[tokens of all spans, heads, head_dim]`; scores are multiplied by `scale`.
///
/// # Panics
/// If shapes don't agree or a span sees positions its pages don't hold.
pub fn attend(
    isa: Isa,
    pool: &Pool,
    shape: &KvShape,
    scale: f32,
    spans: &[AttentionSpan<'_>],
    q: &[f32],
    out: &mut [f32],
) {
    let row = shape.heads * shape.head_dim;
    let tokens: usize = spans.iter().map(|s| s.tokens).sum();
    assert_eq!(q.len(), tokens * row);
    assert_eq!(out.len(), tokens * row);
    assert!(shape.head_dim.is_multiple_of(LANES) && shape.heads.is_multiple_of(shape.kv_heads));
    let group = shape.heads / shape.kv_heads;
    assert!(group <= MAX_QUERIES, "at most {MAX_QUERIES} query heads to a key-value head");
    let tile = (MAX_ROWS / group).max(1);

    // The longest work first, so that the threads finish together.
    let mut items = Vec::new();
    let mut first = 0;
    for (s, span) in spans.iter().enumerate() {
        assert!(span.pages.len() * PAGE >= span.position + span.tokens);
        assert!(span.pages.iter().all(|p| p.len() == shape.page_bytes()));
        for at in (0..span.tokens).step_by(tile) {
            for kv_head in 0..shape.kv_heads {
                items.push((s, first, at, kv_head));
            }
        }
        first += span.tokens;
    }
    items.reverse();

    let out = SendPtr(out.as_mut_ptr());
    pool.for_each_chunk(items.len(), 1, |range| {
        let mut scratch = Scratch::default();
        for &(s, first, at, kv_head) in &items[range] {
            let span = &spans[s];
            let offset = (first + at) * row + kv_head * group * shape.head_dim;
            // SAFETY: `isa` is available. Each item writes the columns of its own heads in the
            // rows of its own tokens, which lie within `out`.
            unsafe {
                isa.run(Attend {
                    shape,
                    scale,
                    pages: span.pages,
                    position: span.position + at,
                    tokens: tile.min(span.tokens - at),
                    kv_head,
                    q: &q[offset..],
                    out: out.get().add(offset),
                    scratch: &mut scratch,
                });
            }
        }
    });
}

/// Query rows (tokens × heads of a group) handled together.
const MAX_ROWS: usize = 56;
/// Query rows whose sums fit in registers.
const ROW_TILE: usize = 8;

#[derive(Default)]
struct Scratch {
    /// `[rows, PAGE]` scores, then weights.
    scores: Vec<f32>,
    /// `[rows, head_dim]` weighted sums so far.
    sums: Vec<f32>,
    /// `[rows]` largest score so far.
    largest: Vec<f32>,
    /// `[rows]` sum of the weights so far.
    weight: Vec<f32>,
}

/// A few tokens' heads of one group against one key-value head.
struct Attend<'a> {
    shape: &'a KvShape,
    scale: f32,
    pages: &'a [&'a [u8]],
    position: usize,
    tokens: usize,
    kv_head: usize,
    q: &'a [f32],
    out: *mut f32,
    scratch: &'a mut Scratch,
}

impl Kernel for Attend<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: as the caller vouches.
        unsafe {
            match self.shape.ty {
                KvType::F16 => self.with::<S, true>(),
                KvType::F32 => self.with::<S, false>(),
            }
        }
    }
}

#[inline(always)]
unsafe fn load_kv<S: Simd, const F16: bool>(p: *const u8, i: usize) -> S::F {
    // SAFETY: the caller's page holds sixteen numbers from the `i`-th on.
    unsafe {
        if F16 { S::load_f16(p.cast::<u16>().add(i)) } else { S::load(p.cast::<f32>().add(i)) }
    }
}

/// Calls `$f::<S, $f16, N>` with the number of rows left, at most [`ROW_TILE`], as a constant.
macro_rules! by_row_tiles {
    ($rows:expr, |$at:ident| $f:ident::<$s:ty, $f16:ident>($($arg:expr),*)) => {{
        let mut $at = 0;
        while $at < $rows {
            match $rows - $at {
                1 => $f::<$s, $f16, 1>($($arg),*),
                2 => $f::<$s, $f16, 2>($($arg),*),
                3 => $f::<$s, $f16, 3>($($arg),*),
                4 => $f::<$s, $f16, 4>($($arg),*),
                5 => $f::<$s, $f16, 5>($($arg),*),
                6 => $f::<$s, $f16, 6>($($arg),*),
                7 => $f::<$s, $f16, 7>($($arg),*),
                _ => $f::<$s, $f16, ROW_TILE>($($arg),*),
            }
            $at += ROW_TILE;
        }
    }};
}

impl Attend<'_> {
    /// # Safety
    /// As for [`Kernel::run`]: `q` and `out` hold this tile's rows.
    #[inline(always)]
    unsafe fn with<S: Simd, const F16: bool>(self) {
        let KvShape { heads, kv_heads, head_dim, .. } = *self.shape;
        let group = heads / kv_heads;
        let rows = self.tokens * group;
        let head_bytes = self.shape.head_bytes();
        let Scratch { scores, sums, largest, weight } = self.scratch;
        scores.resize(rows * PAGE, 0.0);
        sums.clear();
        sums.resize(rows * head_dim, 0.0);
        largest.clear();
        largest.resize(rows, f32::NEG_INFINITY);
        weight.clear();
        weight.resize(rows, 0.0);

        // Query rows, wherever they are: row r is head r % group of token r / group.
        let mut queries = [std::ptr::null::<f32>(); MAX_QUERIES];
        for (r, q) in queries[..rows].iter_mut().enumerate() {
            *q = self.q[(r / group) * heads * head_dim + (r % group) * head_dim..].as_ptr();
        }

        let end = self.position + self.tokens;
        for (p, page) in self.pages.iter().take(end.div_ceil(PAGE)).enumerate() {
            let seen = (end - p * PAGE).min(PAGE);
            let keys = page[self.kv_head * head_bytes..].as_ptr();
            let values = page[(kv_heads + self.kv_head) * head_bytes..].as_ptr();
            // SAFETY: keys and values of `seen` positions lie in the page (vectors of sixteen
            // positions are whole because the page is); scratch was sized above.
            unsafe {
                by_row_tiles!(rows, |at| score_tile::<S, F16>(
                    &queries, at, keys, head_dim, seen, self.scale, scores
                ));
                for r in 0..rows {
                    let mine = (self.position + r / group + 1).saturating_sub(p * PAGE).min(seen);
                    let row = &mut scores[r * PAGE..(r + 1) * PAGE];
                    let sum = &mut sums[r * head_dim..(r + 1) * head_dim];
                    soften::<S>(row, mine, &mut largest[r], &mut weight[r], sum);
                }
                by_row_tiles!(rows, |at| weigh_tile::<S, F16>(
                    scores, at, values, head_dim, seen, sums
                ));
            }
        }
        for r in 0..rows {
            let inverse = 1.0 / weight[r];
            // SAFETY: the caller's `out` holds this tile's rows.
            let out = unsafe {
                let at = (r / group) * heads * head_dim + (r % group) * head_dim;
                std::slice::from_raw_parts_mut(self.out.add(at), head_dim)
            };
            for (out, sum) in out.iter_mut().zip(&sums[r * head_dim..]) {
                *out = sum * inverse;
            }
        }
    }
}

/// More query heads than this on one key-value head no model has.
const MAX_QUERIES: usize = 256;

/// Scores of `R` query rows from the `at`-th on against the first `seen` positions of a page.
#[inline(always)]
unsafe fn score_tile<S: Simd, const F16: bool, const R: usize>(
    queries: &[*const f32; MAX_QUERIES],
    at: usize,
    keys: *const u8,
    head_dim: usize,
    seen: usize,
    scale: f32,
    scores: &mut [f32],
) {
    // SAFETY: as the caller vouches.
    unsafe {
        for first in (0..seen).step_by(LANES) {
            let mut acc = [S::splat(0.0); R];
            for d in 0..head_dim {
                let k = load_kv::<S, F16>(keys, first * head_dim + d * LANES);
                for r in 0..R {
                    acc[r] = S::fma(k, S::splat(*queries[at + r].add(d)), acc[r]);
                }
            }
            for r in 0..R {
                let out = scores[(at + r) * PAGE + first..].as_mut_ptr();
                S::store(out, S::mul(acc[r], S::splat(scale)));
            }
        }
    }
}

/// Turns one row's scores of a page into weights relative to the largest score so far, and
/// rescales what was summed before when that grows.
#[inline(always)]
unsafe fn soften<S: Simd>(
    row: &mut [f32],
    seen: usize,
    largest: &mut f32,
    weight: &mut f32,
    sum: &mut [f32],
) {
    if seen == 0 {
        row.fill(0.0);
        return;
    }
    row[seen..].fill(f32::NEG_INFINITY);
    // SAFETY: the row has PAGE numbers, a whole number of vectors.
    unsafe {
        let mut top = S::splat(*largest);
        for i in (0..seen).step_by(LANES) {
            top = S::max(top, S::load(row[i..].as_ptr()));
        }
        let top = S::largest(top);
        if top > *largest {
            let shrink = (*largest - top).exp();
            *weight *= shrink;
            for s in sum.iter_mut() {
                *s *= shrink;
            }
            *largest = top;
        }
        let mut total = S::splat(0.0);
        for i in (0..seen).step_by(LANES) {
            let p = row[i..].as_mut_ptr();
            S::store(p, exp::<S>(S::sub(S::load(p), S::splat(top))));
            // `exp` never quite reaches zero; what isn't seen must weigh nothing.
            row[seen.clamp(i, i + LANES)..i + LANES].fill(0.0);
            total = S::add(total, S::load(row[i..].as_ptr()));
        }
        *weight += S::sum(total);
    }
    row[seen.next_multiple_of(LANES)..].fill(0.0);
}

/// Adds the weighted values of a page's first `seen` positions to `R` rows' sums.
#[inline(always)]
unsafe fn weigh_tile<S: Simd, const F16: bool, const R: usize>(
    weights: &[f32],
    at: usize,
    values: *const u8,
    head_dim: usize,
    seen: usize,
    sums: &mut [f32],
) {
    // SAFETY: as the caller vouches.
    unsafe {
        for d in (0..head_dim).step_by(LANES) {
            let mut acc = [S::splat(0.0); R];
            for r in 0..R {
                acc[r] = S::load(sums[(at + r) * head_dim + d..].as_ptr());
            }
            let weights = weights[at * PAGE..].as_ptr();
            for i in 0..seen {
                let v = load_kv::<S, F16>(values, i * head_dim + d);
                for r in 0..R {
                    acc[r] = S::fma(v, S::splat(*weights.add(r * PAGE + i)), acc[r]);
                }
            }
            for r in 0..R {
                S::store(sums[(at + r) * head_dim + d..].as_mut_ptr(), acc[r]);
            }
        }
    }
}
