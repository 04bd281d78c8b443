//! What of the keys need not be stored: the bias of the key projection.
//!
//! Some models (Qwen2 and Qwen2.5 above all) have biases hundreds of times as large as what the
//! weights add to them. Rounded to 8 bits with them, keys lose much of what tells one from another;
//! rounded to 4, nearly all. But what a bias has become at a position is known: it is turned by
//! that position's angles, whatever the text. So the keys of quantised caches are stored without
//! it, and its part of each score is added to it: for the pair of elements `a, b` that is turned together,
//! and a query `x, y`,
//!
//! `(x, y) · turned(a, b) = cos · (xa + yb) + sin · (ya - xb)`
//!
//! of which all that depends on the query is worked out once. Only pairs with a large bias are
//! kept apart; that of the others is stored with the keys, so that a score costs little more.

use std::ops::Range;

use super::page::PAGE;
use crate::ops::RopeLayout;
use crate::simd::{LANES, Simd};

/// Biases up to this are stored with the keys: they are no larger than what the weights make. Another
/// limit needs another [`PAGE_VERSION`](super::PAGE_VERSION).
const SMALL: f32 = 2.0;

/// A pair of elements that is turned together, and its bias.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    /// Which angle turns it.
    pub(super) angle: usize,
    a: f32,
    b: f32,
}

/// The biases of keys, as far as they are kept apart.
#[derive(Clone, Debug)]
pub struct KeyBias {
    /// For each key-value head.
    pub(super) pairs: Vec<Vec<Pair>>,
    layout: RopeLayout,
    /// Elements of a head that are turned.
    rotated: usize,
}

impl KeyBias {
    /// Takes from `bias`, `[kv_heads, head_dim]`, what is worth keeping apart; what is left there
    /// is to be added to the keys. None if nothing is.
    ///
    /// # Panics
    /// If the bias holds no whole number of heads, or `rotated` is more than a head.
    pub fn take(
        bias: &mut [f32],
        head_dim: usize,
        rotated: usize,
        layout: RopeLayout,
    ) -> Option<KeyBias> {
        assert!(bias.len().is_multiple_of(head_dim) && rotated <= head_dim);
        let taken = |head: &mut [f32]| {
            let pairs = (0..rotated / 2).filter_map(|angle| {
                let (i, j) = elements(layout, rotated, angle);
                let (a, b) = (head[i], head[j]);
                (a.hypot(b) > SMALL).then(|| {
                    (head[i], head[j]) = (0.0, 0.0);
                    Pair { angle, a, b }
                })
            });
            pairs.collect::<Vec<_>>()
        };
        let pairs: Vec<_> = bias.chunks_exact_mut(head_dim).map(taken).collect();
        pairs.iter().any(|pairs| !pairs.is_empty()).then_some(KeyBias { pairs, layout, rotated })
    }

    /// Numbers that are kept of each query: two for each pair, as many as the head with most has.
    pub(super) fn width(&self) -> usize {
        2 * self.pairs.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// What depends on the queries `q`, `[tokens, heads, head_dim]`, times `scale`: `[tokens, heads,
    /// width]`.
    pub(super) fn of_queries(
        &self,
        q: &[f32],
        heads: usize,
        head_dim: usize,
        scale: f32,
    ) -> Vec<f32> {
        let (width, group) = (self.width(), heads / self.pairs.len());
        let mut out = vec![0.0; q.len() / head_dim * width];
        for (i, q) in q.chunks_exact(head_dim).enumerate() {
            let pairs = &self.pairs[i % heads / group];
            for (j, pair) in pairs.iter().enumerate() {
                let (x, y) = elements(self.layout, self.rotated, pair.angle);
                let (x, y) = (q[x], q[y]);
                out[i * width + 2 * j] = (x * pair.a + y * pair.b) * scale;
                out[i * width + 2 * j + 1] = (y * pair.a - x * pair.b) * scale;
            }
        }
        out
    }
}

/// The two elements that an angle turns.
fn elements(layout: RopeLayout, rotated: usize, angle: usize) -> (usize, usize) {
    match layout {
        RopeLayout::Halves => (angle, angle + rotated / 2),
        RopeLayout::Interleaved => (2 * angle, 2 * angle + 1),
    }
}

/// Cosines and sines of all positions up to some, laid out as a page's keys are: for each page, `[group of
/// 16][rotated][16]`, the cosines before the sines.
#[derive(Clone, Debug, Default)]
pub struct Angles {
    pages: Vec<Vec<f32>>,
}

impl Angles {
    /// Adds pages until `positions` positions are there. `of` appends the cosines and the sines of
    /// a position, `[rotated / 2]` each.
    pub fn extend(
        &mut self,
        positions: usize,
        rotated: usize,
        of: impl Fn(usize, &mut Vec<f32>, &mut Vec<f32>),
    ) {
        while self.pages.len() * PAGE < positions {
            let mut page = vec![0.0; PAGE * rotated];
            let (mut cos, mut sin) = (Vec::new(), Vec::new());
            for slot in 0..PAGE {
                cos.clear();
                sin.clear();
                of(self.pages.len() * PAGE + slot, &mut cos, &mut sin);
                for (i, x) in cos.iter().chain(&sin).enumerate() {
                    page[(slot / LANES * rotated + i) * LANES + slot % LANES] = *x;
                }
            }
            self.pages.push(page);
        }
    }
}

/// What is kept apart of the keys of attention's layer.
#[derive(Clone, Copy)]
pub struct Apart<'a> {
    /// The biases.
    pub bias: &'a KeyBias,
    /// Of all positions that are seen.
    pub angles: &'a Angles,
}

impl Apart<'_> {
    /// Adds to the keys of a key-value head at sixteen positions, a group of a page, what their bias is there.
    ///
    /// # Safety
    /// `keys` are `[head_dim][16]`, and the machine has the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn add_to_keys<S: Simd>(
        &self,
        kv_head: usize,
        (page, group): (usize, usize),
        keys: *mut f32,
    ) {
        let KeyBias { pairs, layout, rotated } = self.bias;
        let angles = &self.angles.pages[page][group * rotated * LANES..][..rotated * LANES];
        // SAFETY: as the caller vouches; angles of pairs are below `rotated / 2`.
        unsafe {
            for pair in &pairs[kv_head] {
                let cos = S::load(angles.as_ptr().add(pair.angle * LANES));
                let sin = S::load(angles.as_ptr().add((rotated / 2 + pair.angle) * LANES));
                let (i, j) = elements(*layout, *rotated, pair.angle);
                let (a, b) = (S::splat(pair.a), S::splat(pair.b));
                let x = S::sub(S::mul(a, cos), S::mul(b, sin));
                let y = S::fma(a, sin, S::mul(b, cos));
                for (at, x) in [(keys.add(i * LANES), x), (keys.add(j * LANES), y)] {
                    S::store(at, S::add(S::load(at), x));
                }
            }
        }
    }
}

/// The same for one key-value head, with what depends on the queries.
#[derive(Clone, Copy)]
pub(super) struct ApartHead<'a> {
    pub(super) apart: Apart<'a>,
    pub(super) kv_head: usize,
    /// [`KeyBias::of_queries`], from the first of the queries at hand on.
    pub(super) queries: &'a [f32],
}

impl ApartHead<'_> {
    /// Adds to the scores of `R` queries against some groups of sixteen positions of a page what their
    /// biases add to them.
    ///
    /// # Safety
    /// `queries` have [`KeyBias::width`] numbers each, `scores` has a row of [`PAGE`] numbers for
    /// each, and the machine has the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn add<S: Simd, const R: usize>(
        &self,
        queries: &[*const f32; R],
        (page, groups): (usize, Range<usize>),
        scores: *mut f32,
    ) {
        let pairs = &self.apart.bias.pairs[self.kv_head][..];
        let rotated = self.apart.bias.rotated;
        let angles = &self.apart.angles.pages[page][..groups.end * rotated * LANES];
        // SAFETY: as the caller vouches; angles of pairs are below `rotated / 2`.
        unsafe {
            for (i, group) in groups.enumerate() {
                let angles = angles.as_ptr().add(group * rotated * LANES);
                let scores = scores.add(i * LANES);
                let mut sums = [S::splat(0.0); R];
                for r in 0..R {
                    sums[r] = S::load(scores.add(r * PAGE));
                }
                for (j, pair) in pairs.iter().enumerate() {
                    let cos = S::load(angles.add(pair.angle * LANES));
                    let sin = S::load(angles.add((rotated / 2 + pair.angle) * LANES));
                    for r in 0..R {
                        let (x, y) = (*queries[r].add(2 * j), *queries[r].add(2 * j + 1));
                        sums[r] = S::fma(cos, S::splat(x), S::fma(sin, S::splat(y), sums[r]));
                    }
                }
                for r in 0..R {
                    S::store(scores.add(r * PAGE), sums[r]);
                }
            }
        }
    }
}
