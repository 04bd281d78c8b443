//! Causal attention for training, forward and backward, over packed sequences.
//!
//! Neither direction ever holds a matrix of tokens × tokens. Forward keeps the output and one
//! number a row, the logarithm of the sum of the scores' exponentials; backward works the
//! probabilities out again from it, tile by tile (Dao 2023, FlashAttention-2, arXiv:2307.08691).
//! One thread does one key-value head of one sequence with all query heads that share it, so that
//! every sum has one order, whatever the number of threads.
//!
//! Cost for a sequence of `n` tokens: `n²/2 · head_dim · heads` multiply-adds for each of the two
//! products forward (scores, output) and of the five backward (scores, the probabilities' gradient,
//! and the gradients of `q`, `k` and `v`), plus what tiles of 64 × 64 on the diagonal waste.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::product::Product;
use crate::pool::Pool;
use crate::simd::{Kernel, LANES, Simd, exp};
use crate::{Isa, SendPtr};

/// Keys, and queries, of a tile.
const TILE: usize = 64;

/// Heads of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttentionShape {
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key-value heads (grouped-query attention, arXiv:2305.13245).
    pub kv_heads: usize,
    /// Elements of a head; a multiple of 16.
    pub head_dim: usize,
}

/// Sequences one after another, each token of which sees its own sequence up to and with itself.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    /// Heads of the layer.
    pub shape: AttentionShape,
    /// What scores are multiplied by.
    pub scale: f32,
    /// Where each sequence starts, in tokens, and at the end the number of tokens:
    /// `[0, len₀, len₀ + len₁, ...]`. Empty sequences are allowed.
    pub cu_seqlens: &'a [usize],
    /// `[tokens, heads, head_dim]`
    pub q: &'a [f32],
    /// `[tokens, kv_heads, head_dim]`
    pub k: &'a [f32],
    /// `[tokens, kv_heads, head_dim]`
    pub v: &'a [f32],
}

impl Attention<'_> {
    /// Writes the output, `[tokens, heads, head_dim]`, and for the way back the logarithm of the
    /// sum of each row's exponentials, `[tokens, heads]`.
    ///
    /// # Panics
    /// If the shapes don't agree.
    pub fn forward(&self, isa: Isa, pool: &Pool, out: &mut [f32], lse: &mut [f32]) {
        self.check(out, lse);
        let (out, lse) = (SendPtr(out.as_mut_ptr()), SendPtr(lse.as_mut_ptr()));
        self.for_each_head(pool, |head, scratch| {
            // SAFETY: `isa` is available, the shapes were checked, and no other head writes the
            // columns of this one's rows.
            unsafe { head.forward(isa, out.get(), lse.get(), scratch) }
        });
    }

    /// Writes the gradients of `q`, `k` and `v`, in their shapes, given that of the output.
    ///
    /// `(out, lse)` is what [`Attention::forward`] wrote.
    ///
    /// # Panics
    /// If the shapes don't agree.
    pub fn backward(
        &self,
        isa: Isa,
        pool: &Pool,
        (out, lse): (&[f32], &[f32]),
        dout: &[f32],
        (dq, dk, dv): (&mut [f32], &mut [f32], &mut [f32]),
    ) {
        self.check(out, lse);
        assert!(dout.len() == self.q.len() && dq.len() == self.q.len(), "dout and dq are as q");
        assert!(dk.len() == self.k.len() && dv.len() == self.v.len(), "dk and dv are as k and v");
        let (dq, dk, dv) =
            (SendPtr(dq.as_mut_ptr()), SendPtr(dk.as_mut_ptr()), SendPtr(dv.as_mut_ptr()));
        self.for_each_head(pool, |head, scratch| {
            // SAFETY: `isa` is available, the shapes were checked, and no other head writes the
            // columns of this one's rows.
            unsafe {
                head.backward(isa, (out, lse), dout, (dq.get(), dk.get(), dv.get()), scratch);
            }
        });
    }

    fn check(&self, out: &[f32], lse: &[f32]) {
        let AttentionShape { heads, kv_heads, head_dim } = self.shape;
        assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads), "{heads} heads on {kv_heads}");
        assert!(head_dim.is_multiple_of(LANES), "head_dim is a multiple of {LANES}");
        assert!(self.cu_seqlens.first() == Some(&0) && self.cu_seqlens.is_sorted());
        let tokens = self.cu_seqlens[self.cu_seqlens.len() - 1];
        assert_eq!(self.q.len(), tokens * heads * head_dim);
        assert_eq!(self.k.len(), tokens * kv_heads * head_dim);
        assert_eq!(self.v.len(), self.k.len());
        assert_eq!(out.len(), self.q.len());
        assert_eq!(lse.len(), tokens * heads);
    }

    /// Shares out the key-value heads of all sequences, the longest sequences first, so that the
    /// threads finish together.
    fn for_each_head(&self, pool: &Pool, f: impl Fn(Head<'_>, &mut Scratch) + Sync) {
        let mut sequences: Vec<_> = self.cu_seqlens.windows(2).map(|w| (w[0], w[1])).collect();
        sequences.sort_by_key(|(start, end)| start.abs_diff(*end));
        let kv_heads = self.shape.kv_heads;
        let items = sequences.len() * kv_heads;
        if items == 0 {
            return;
        }
        let next = AtomicUsize::new(0);
        pool.run(&|_| {
            let mut scratch = Scratch::default();
            loop {
                let item = next.fetch_add(1, Ordering::Relaxed);
                if item >= items {
                    return;
                }
                let (first, end) = sequences[sequences.len() - 1 - item / kv_heads];
                let head = Head { of: self, first, tokens: end - first, kv_head: item % kv_heads };
                f(head, &mut scratch);
            }
        });
    }
}

#[derive(Default)]
struct Scratch {
    /// `[head_dim, TILE]` keys.
    keys: Vec<f32>,
    /// `[head_dim, TILE]` values.
    values: Vec<f32>,
    /// `[TILE, TILE]` scores, then probabilities: queries by keys.
    scores: Vec<f32>,
    /// `[TILE, TILE]` gradients of the probabilities, then of the scores.
    dscores: Vec<f32>,
    /// `[group, tokens]`: the largest score so far; backward, the lse.
    largest: Vec<f32>,
    /// `[group, tokens]`: the sum of exponentials so far; backward, `Σ dout · out`.
    weight: Vec<f32>,
}

impl Scratch {
    fn resize(&mut self, head_dim: usize, rows: usize) {
        self.keys.resize(head_dim * TILE, 0.0);
        self.values.resize(head_dim * TILE, 0.0);
        self.scores.resize(TILE * TILE, 0.0);
        self.dscores.resize(TILE * TILE, 0.0);
        self.largest.clear();
        self.largest.resize(rows, f32::NEG_INFINITY);
        self.weight.clear();
        self.weight.resize(rows, 0.0);
    }
}

/// A key-value head of one sequence and the query heads that share it.
struct Head<'a> {
    of: &'a Attention<'a>,
    /// The sequence's first token.
    first: usize,
    tokens: usize,
    kv_head: usize,
}

/// Queries of one head against keys: the tile's corner in the sequence, and how much of it is there.
#[derive(Clone, Copy)]
struct Tile {
    /// Query head within its group.
    head: usize,
    query: usize,
    queries: usize,
    key: usize,
    keys: usize,
}

impl Tile {
    /// Query `r` sees all keys, or those up to itself. (Tiles of queries and of keys start at the
    /// same places.)
    fn diagonal(&self) -> bool {
        self.query == self.key
    }
}

impl Head<'_> {
    fn group(&self) -> usize {
        self.of.shape.heads / self.of.shape.kv_heads
    }

    /// Numbers from one token to the next in `q`, and in `k`.
    fn strides(&self) -> (usize, usize) {
        let AttentionShape { heads, kv_heads, head_dim } = self.of.shape;
        (heads * head_dim, kv_heads * head_dim)
    }

    /// Where the sequence's `token`-th query of the group's `head`-th head is, in heads.
    fn query(&self, head: usize, token: usize) -> usize {
        (self.first + token) * self.of.shape.heads + self.kv_head * self.group() + head
    }

    /// Where the sequence's `token`-th key is, in numbers.
    fn key(&self, token: usize) -> usize {
        let AttentionShape { kv_heads, head_dim, .. } = self.of.shape;
        ((self.first + token) * kv_heads + self.kv_head) * head_dim
    }

    /// Calls `f` for the tiles that see keys `key..key + keys`.
    fn for_each_tile(&self, key: usize, keys: usize, mut f: impl FnMut(Tile)) {
        for head in 0..self.group() {
            for query in (key..self.tokens).step_by(TILE) {
                f(Tile { head, query, queries: TILE.min(self.tokens - query), key, keys });
            }
        }
    }

    /// Lays `keys` rows of `from` out as columns.
    fn transpose(&self, from: &[f32], key: usize, keys: usize, to: &mut [f32]) {
        for i in 0..keys {
            let at = self.key(key + i);
            for (d, x) in from[at..at + self.of.shape.head_dim].iter().enumerate() {
                to[d * TILE + i] = *x;
            }
        }
    }

    /// `out = rows · columns`, with the tile's rows of `rows` (shaped as `q`).
    ///
    /// # Safety
    /// `isa` is available.
    unsafe fn scores(&self, isa: Isa, t: Tile, rows: &[f32], columns: &[f32], out: &mut [f32]) {
        let head_dim = self.of.shape.head_dim;
        // SAFETY: `rows` and `columns` were sized for this, and so was `out`.
        unsafe {
            isa.run(Product {
                m: t.queries,
                n: t.keys.next_multiple_of(LANES),
                k: head_dim,
                a: rows[self.query(t.head, t.query) * head_dim..].as_ptr(),
                a_strides: (self.strides().0, 1),
                b: columns.as_ptr(),
                b_stride: TILE,
                c: out.as_mut_ptr(),
                c_stride: TILE,
                add: false,
            });
        }
    }

    /// `out (+)= weights · rows`: to the tile's queries (of `out`, shaped as `q`) from its keys (of
    /// `rows`, shaped as `k`).
    ///
    /// # Safety
    /// `isa` is available, and `out` holds the tile's queries.
    unsafe fn to_queries(&self, isa: Isa, t: Tile, weights: &[f32], rows: &[f32], out: *mut f32) {
        let (q_stride, k_stride) = self.strides();
        let head_dim = self.of.shape.head_dim;
        // SAFETY: as the caller vouches, and `rows` holds the tile's keys.
        unsafe {
            isa.run(Product {
                m: t.queries,
                n: head_dim,
                k: t.keys,
                a: weights.as_ptr(),
                a_strides: (TILE, 1),
                b: rows[self.key(t.key)..].as_ptr(),
                b_stride: k_stride,
                c: out.add(self.query(t.head, t.query) * head_dim),
                c_stride: q_stride,
                add: t.key > 0,
            });
        }
    }

    /// `out (+)= weightsᵀ · rows`: to the tile's keys (of `out`, shaped as `k`) from its queries (of
    /// `rows`, shaped as `q`).
    ///
    /// # Safety
    /// `isa` is available, and `out` holds the tile's keys.
    unsafe fn to_keys(&self, isa: Isa, t: Tile, weights: &[f32], rows: &[f32], out: *mut f32) {
        let (q_stride, k_stride) = self.strides();
        let head_dim = self.of.shape.head_dim;
        // SAFETY: as the caller vouches, and `rows` holds the tile's queries.
        unsafe {
            isa.run(Product {
                m: t.keys,
                n: head_dim,
                k: t.queries,
                a: weights.as_ptr(),
                a_strides: (1, TILE),
                b: rows[self.query(t.head, t.query) * head_dim..].as_ptr(),
                b_stride: q_stride,
                c: out.add(self.key(t.key)),
                c_stride: k_stride,
                add: t.head > 0 || t.query > t.key,
            });
        }
    }

    /// # Safety
    /// `isa` is available; `out` and `lse` hold all tokens, and nobody else touches the rows of this
    /// sequence in the columns of this head's group.
    unsafe fn forward(&self, isa: Isa, out: *mut f32, lse: *mut f32, s: &mut Scratch) {
        let &Attention { scale, k, q, v, .. } = self.of;
        let head_dim = self.of.shape.head_dim;
        s.resize(head_dim, self.group() * self.tokens);
        for key in (0..self.tokens).step_by(TILE) {
            let keys = TILE.min(self.tokens - key);
            self.transpose(k, key, keys, &mut s.keys);
            self.for_each_tile(key, keys, |t| {
                let rows =
                    t.head * self.tokens + t.query..t.head * self.tokens + t.query + t.queries;
                // SAFETY: as the caller vouches.
                unsafe {
                    self.scores(isa, t, q, &s.keys, &mut s.scores);
                    isa.run(Soften {
                        tile: t,
                        scale,
                        scores: &mut s.scores,
                        largest: &mut s.largest[rows.clone()],
                        weight: &mut s.weight[rows],
                        out: out.add(self.query(t.head, t.query) * head_dim),
                        stride: self.strides().0,
                        head_dim,
                    });
                    self.to_queries(isa, t, &s.scores, v, out);
                }
            });
        }
        for (row, (largest, weight)) in s.largest.iter().zip(&s.weight).enumerate() {
            let at = self.query(row / self.tokens, row % self.tokens);
            // SAFETY: as the caller vouches.
            let out = unsafe {
                *lse.add(at) = largest + weight.ln();
                std::slice::from_raw_parts_mut(out.add(at * head_dim), head_dim)
            };
            let inverse = 1.0 / weight;
            for x in out {
                *x *= inverse;
            }
        }
    }

    /// # Safety
    /// `isa` is available; the gradients hold all tokens, and nobody else touches the rows of this
    /// sequence in the columns of this head and its group.
    unsafe fn backward(
        &self,
        isa: Isa,
        (out, lse): (&[f32], &[f32]),
        dout: &[f32],
        (dq, dk, dv): (*mut f32, *mut f32, *mut f32),
        s: &mut Scratch,
    ) {
        let &Attention { scale, k, q, v, .. } = self.of;
        let head_dim = self.of.shape.head_dim;
        s.resize(head_dim, self.group() * self.tokens);
        for row in 0..self.group() * self.tokens {
            let at = self.query(row / self.tokens, row % self.tokens);
            let numbers = at * head_dim..(at + 1) * head_dim;
            s.largest[row] = lse[at];
            // SAFETY: `isa` is available; the slices have the same length.
            s.weight[row] = unsafe { isa.run(Dot { a: &out[numbers.clone()], b: &dout[numbers] }) };
        }
        for key in (0..self.tokens).step_by(TILE) {
            let keys = TILE.min(self.tokens - key);
            self.transpose(k, key, keys, &mut s.keys);
            self.transpose(v, key, keys, &mut s.values);
            self.for_each_tile(key, keys, |t| {
                let rows =
                    t.head * self.tokens + t.query..t.head * self.tokens + t.query + t.queries;
                // SAFETY: as the caller vouches.
                unsafe {
                    self.scores(isa, t, q, &s.keys, &mut s.scores);
                    self.scores(isa, t, dout, &s.values, &mut s.dscores);
                    isa.run(Differentiate {
                        tile: t,
                        scale,
                        scores: &mut s.scores,
                        dscores: &mut s.dscores,
                        lse: &s.largest[rows.clone()],
                        delta: &s.weight[rows],
                    });
                    self.to_keys(isa, t, &s.scores, dout, dv);
                    self.to_keys(isa, t, &s.dscores, q, dk);
                    self.to_queries(isa, t, &s.dscores, k, dq);
                }
            });
        }
    }
}

/// `Σ a · b`.
struct Dot<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl Kernel for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f32 {
        // SAFETY: heads are whole vectors.
        unsafe {
            let mut sum = S::splat(0.0);
            for i in (0..self.a.len()).step_by(LANES) {
                let (a, b) = (S::load(self.a[i..].as_ptr()), S::load(self.b[i..].as_ptr()));
                sum = S::fma(a, b, sum);
            }
            S::sum(sum)
        }
    }
}

/// Turns a tile's scores into weights relative to each row's largest score so far, zero for keys
/// that aren't seen, and rescales what was summed before when that grows.
struct Soften<'a> {
    tile: Tile,
    scale: f32,
    scores: &'a mut [f32],
    largest: &'a mut [f32],
    weight: &'a mut [f32],
    /// Sums of the tile's first query, and numbers from there to those of the next.
    out: *mut f32,
    stride: usize,
    head_dim: usize,
}

impl Kernel for Soften<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for (r, row) in self.scores.chunks_exact_mut(TILE).take(self.tile.queries).enumerate() {
            let seen = if self.tile.diagonal() { r + 1 } else { self.tile.keys };
            row[seen..].fill(f32::NEG_INFINITY);
            let (largest, weight) = (&mut self.largest[r], &mut self.weight[r]);
            // SAFETY: a row has TILE numbers, `out` those of the tile's queries.
            unsafe {
                let scale = S::splat(self.scale);
                let mut top = S::splat(*largest);
                for i in (0..seen).step_by(LANES) {
                    top = S::max(top, S::mul(S::load(row[i..].as_ptr()), scale));
                }
                let top = S::largest(top);
                if top > *largest {
                    // In the sequence's first tile there is nothing to rescale yet.
                    if self.tile.key > 0 {
                        let shrink = (*largest - top).exp();
                        *weight *= shrink;
                        for i in (0..self.head_dim).step_by(LANES) {
                            let p = self.out.add(r * self.stride + i);
                            S::store(p, S::mul(S::load(p), S::splat(shrink)));
                        }
                    }
                    *largest = top;
                }
                // `exp` never quite reaches zero, but what isn't seen is too little to change a
                // sum that has a one in it.
                let mut total = S::splat(0.0);
                for i in (0..seen).step_by(LANES) {
                    let p = row[i..].as_mut_ptr();
                    let e = exp::<S>(S::sub(S::mul(S::load(p), scale), S::splat(top)));
                    S::store(p, e);
                    total = S::add(total, e);
                }
                *weight += S::sum(total);
            }
            row[seen..].fill(0.0);
        }
    }
}

/// Turns a tile's scores into probabilities, and the probabilities' gradients into the scores':
/// `p · (dp - delta) · scale`, where `delta` is a row's `Σ p · dp`. Both are zero for keys that
/// aren't seen.
struct Differentiate<'a> {
    tile: Tile,
    scale: f32,
    scores: &'a mut [f32],
    dscores: &'a mut [f32],
    lse: &'a [f32],
    delta: &'a [f32],
}

impl Kernel for Differentiate<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let rows = self.scores.chunks_exact_mut(TILE).zip(self.dscores.chunks_exact_mut(TILE));
        for (r, (row, drow)) in rows.take(self.tile.queries).enumerate() {
            let seen = if self.tile.diagonal() { r + 1 } else { self.tile.keys };
            // SAFETY: rows have TILE numbers.
            unsafe {
                let scale = S::splat(self.scale);
                let (lse, delta) = (S::splat(self.lse[r]), S::splat(self.delta[r]));
                for i in (0..seen).step_by(LANES) {
                    let (p, dp) = (row[i..].as_mut_ptr(), drow[i..].as_mut_ptr());
                    let probability = exp::<S>(S::sub(S::mul(S::load(p), scale), lse));
                    S::store(p, probability);
                    let slope = S::mul(S::sub(S::load(dp), delta), scale);
                    S::store(dp, S::mul(probability, slope));
                }
            }
            row[seen..].fill(0.0);
            drow[seen..].fill(0.0);
        }
    }
}
