//! A key-value head of one sequence, tile by tile.

use std::ops::Range;

use super::rows::{Differentiate, Dot, Soften};
use super::{Attention, AttentionShape};
use crate::Isa;
use crate::grad::product::Product;
use crate::simd::LANES;

/// Keys, and queries, of a tile.
pub(super) const TILE: usize = 64;

#[derive(Default)]
pub(super) struct Scratch {
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

/// Tokens one after another that a sequence's queries see.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    first: usize,
    tokens: usize,
    /// They are the sequence's own: each query sees those up to itself.
    own: bool,
}

impl Piece {
    /// Tokens that every query sees.
    pub(super) fn whole(first: usize, tokens: usize) -> Piece {
        Piece { first, tokens, own: false }
    }
}

/// Where the gradients of a piece's keys and values go, `[tokens, kv_heads, head_dim]` each.
#[derive(Clone, Copy)]
pub(super) struct KeyGradients {
    pub(super) dk: *mut f32,
    pub(super) dv: *mut f32,
    /// The row of the piece's first token.
    pub(super) row: usize,
}

/// A key-value head of one sequence and the query heads that share it.
pub(super) struct Head<'a> {
    pub(super) of: &'a Attention<'a>,
    /// The sequence's first token.
    pub(super) first: usize,
    pub(super) tokens: usize,
    /// What the sequence goes on from.
    pub(super) parent: Option<Piece>,
    pub(super) kv_head: usize,
}

/// Queries of one head against keys: the tile's corner, and how much of it is there.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// Query head within its group.
    head: usize,
    /// Within the sequence.
    query: usize,
    pub(super) queries: usize,
    /// Whose keys they are.
    piece: Piece,
    /// Within the piece.
    key: usize,
    pub(super) keys: usize,
    /// These queries have seen no keys before.
    pub(super) fresh: bool,
}

impl Tile {
    /// Query `r` sees all keys, or those up to itself. (Tiles of queries and of keys start at the
    /// same places.)
    pub(super) fn diagonal(&self) -> bool {
        self.piece.own && self.query == self.key
    }

    /// These keys have been seen by no queries before.
    fn first(&self) -> bool {
        self.head == 0 && self.query == self.piece.first_query(self.key)
    }
}

impl Piece {
    /// The first query that sees the tile of keys from `key` on.
    fn first_query(self, key: usize) -> usize {
        if self.own { key } else { 0 }
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

    /// Where the key of row `row` is, in numbers.
    fn key(&self, row: usize) -> usize {
        let AttentionShape { kv_heads, head_dim, .. } = self.of.shape;
        (row * kv_heads + self.kv_head) * head_dim
    }

    /// The tile's rows of what is `[group, tokens]`.
    fn rows(&self, t: Tile) -> Range<usize> {
        let first = t.head * self.tokens + t.query;
        first..first + t.queries
    }

    /// Calls `f` for all tiles, the parent's keys first; and before those that see the same keys
    /// `load`, with the keys' first row and their number.
    fn for_each_tile(
        &self,
        s: &mut Scratch,
        load: impl Fn(&mut Scratch, usize, usize),
        mut f: impl FnMut(&mut Scratch, Tile),
    ) {
        let own = Piece { first: self.first, tokens: self.tokens, own: true };
        let mut fresh = true;
        for piece in self.parent.into_iter().chain([own]) {
            for key in (0..piece.tokens).step_by(TILE) {
                let keys = TILE.min(piece.tokens - key);
                load(s, piece.first + key, keys);
                for head in 0..self.group() {
                    for query in (piece.first_query(key)..self.tokens).step_by(TILE) {
                        let queries = TILE.min(self.tokens - query);
                        f(s, Tile { head, query, queries, piece, key, keys, fresh });
                    }
                }
                fresh = false;
            }
        }
    }

    /// Lays `keys` rows of `from`, shaped as `k`, out as columns.
    fn transpose(&self, from: &[f32], row: usize, keys: usize, to: &mut [f32]) {
        for i in 0..keys {
            let at = self.key(row + i);
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
                b: rows[self.key(t.piece.first + t.key)..].as_ptr(),
                b_stride: k_stride,
                c: out.add(self.query(t.head, t.query) * head_dim),
                c_stride: q_stride,
                add: !t.fresh,
            });
        }
    }

    /// `out (+)= weightsᵀ · rows`: to the tile's keys (of `out`, shaped as `k`, the piece's first in
    /// row `row`) from its queries (of `rows`, shaped as `q`).
    ///
    /// # Safety
    /// `isa` is available, and `out` holds the tile's keys.
    unsafe fn to_keys(
        &self,
        isa: Isa,
        t: Tile,
        weights: &[f32],
        rows: &[f32],
        (out, row): (*mut f32, usize),
    ) {
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
                c: out.add(self.key(row + t.key)),
                c_stride: k_stride,
                add: !t.first(),
            });
        }
    }

    /// # Safety
    /// `isa` is available; `out` and `lse` hold all tokens, and nobody else touches the rows of this
    /// sequence in the columns of this head's group.
    pub(super) unsafe fn forward(&self, isa: Isa, out: *mut f32, lse: *mut f32, s: &mut Scratch) {
        let &Attention { scale, k, q, v, .. } = self.of;
        let head_dim = self.of.shape.head_dim;
        s.resize(head_dim, self.group() * self.tokens);
        let load = |s: &mut Scratch, row, keys| self.transpose(k, row, keys, &mut s.keys);
        self.for_each_tile(s, load, |s, t| {
            let rows = self.rows(t);
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
    /// `isa` is available; the gradients hold all tokens, those of the parent's keys and values all
    /// of its tokens, and nobody else touches the rows of this sequence (and of the parent's
    /// gradients) in the columns of this head and its group.
    pub(super) unsafe fn backward(
        &self,
        isa: Isa,
        (out, lse): (&[f32], &[f32]),
        dout: &[f32],
        dq: *mut f32,
        (parent, own): (KeyGradients, KeyGradients),
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
        let load = |s: &mut Scratch, row, keys| {
            self.transpose(k, row, keys, &mut s.keys);
            self.transpose(v, row, keys, &mut s.values);
        };
        self.for_each_tile(s, load, |s, t| {
            let rows = self.rows(t);
            let KeyGradients { dk, dv, row } = if t.piece.own { own } else { parent };
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
                self.to_keys(isa, t, &s.scores, dout, (dv, row));
                self.to_keys(isa, t, &s.dscores, q, (dk, row));
                self.to_queries(isa, t, &s.dscores, k, dq);
            }
        });
    }
}
