//! Causal attention for training, forward and backward, over packed sequences.
//!
//! Neither direction ever holds a matrix of tokens × tokens. Forward keeps the output and one
//! number a row, the logarithm of the sum of the scores' exponentials; backward works the
//! probabilities out again from it, tile by tile (Dao 2023, FlashAttention-2, arXiv:2307.08691).
//! One thread does one key-value head of one sequence with all query heads that share it, so that
//! every sum has one order, whatever the number of threads.
//!
//! Sequences may go on from one that is there once for all of them (several answers to a question):
//! they see all of it and their own tokens up to themselves. On the way back each has room of its
//! own for what it adds to the gradients of the keys and values they share; these are added up
//! afterwards, in the order of the sequences.
//!
//! Cost for a sequence of `n` tokens: `n²/2 · head_dim · heads` multiply-adds for each of the two
//! products forward (scores, output) and of the five backward (scores, the probabilities' gradient,
//! and the gradients of `q`, `k` and `v`), plus what tiles of 64 × 64 on the diagonal waste; for one
//! that goes on from `m` tokens, `n · m · head_dim · heads` more.

mod head;
mod rows;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use head::{Head, KeyGradients, Piece, Scratch};

use crate::pool::Pool;
use crate::simd::LANES;
use crate::{Isa, SendPtr, ops};

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

/// Sequences one after another, each token of which sees its own sequence up to and with itself, and
/// all of the one it goes on from.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    /// Heads of the layer.
    pub shape: AttentionShape,
    /// What scores are multiplied by.
    pub scale: f32,
    /// Where each sequence starts, in tokens, and at the end the number of tokens:
    /// `[0, len₀, len₀ + len₁, ...]`. Empty sequences are allowed.
    pub cu_seqlens: &'a [usize],
    /// Which sequence each goes on from, if any: one that goes on from none itself. Without any
    /// numbers, none does.
    pub parents: &'a [Option<usize>],
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
        self.for_each_head(pool, |_, head, scratch| {
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
        let (shared, rows) = self.shared();
        let row = self.shape.kv_heads * self.shape.head_dim;
        let [mut shared_dk, mut shared_dv] = [(); 2].map(|()| vec![0.0; rows * row]);
        {
            let ptr = |x: &mut [f32]| SendPtr(x.as_mut_ptr());
            let dq = ptr(dq);
            let (own_dk, own_dv) = (ptr(dk), ptr(dv));
            let (theirs_dk, theirs_dv) = (ptr(&mut shared_dk), ptr(&mut shared_dv));
            self.for_each_head(pool, |sequence, head, scratch| {
                let own = KeyGradients { dk: own_dk.get(), dv: own_dv.get(), row: head.first };
                let (dk, dv) = (theirs_dk.get(), theirs_dv.get());
                let parent = KeyGradients { dk, dv, row: shared[sequence] };
                // SAFETY: `isa` is available, the shapes were checked, and no other head writes the
                // columns of this one's rows, or of those it has for its parent's.
                unsafe { head.backward(isa, (out, lse), dout, dq.get(), (parent, own), scratch) }
            });
        }
        for (sequence, first) in shared.into_iter().enumerate() {
            let Some(parent) = self.parent(sequence) else { continue };
            let theirs = first * row..(first + parent.len()) * row;
            let rows = parent.start * row..parent.end * row;
            ops::add(pool, &mut dk[rows.clone()], &shared_dk[theirs.clone()]);
            ops::add(pool, &mut dv[rows], &shared_dv[theirs]);
        }
    }

    /// For each sequence the first of its rows among those that are kept for gradients of shared
    /// keys, and how many there are of these.
    fn shared(&self) -> (Vec<usize>, usize) {
        let mut rows = 0;
        let of = |sequence| {
            let first = rows;
            rows += self.parent(sequence).map_or(0, |parent| parent.len());
            first
        };
        ((0..self.sequences()).map(of).collect(), rows)
    }

    fn sequences(&self) -> usize {
        self.cu_seqlens.len() - 1
    }

    fn tokens(&self, sequence: usize) -> Range<usize> {
        self.cu_seqlens[sequence]..self.cu_seqlens[sequence + 1]
    }

    /// The tokens of the sequence that `sequence` goes on from.
    fn parent(&self, sequence: usize) -> Option<Range<usize>> {
        let parent = (*self.parents.get(sequence)?)?;
        Some(self.tokens(parent))
    }

    fn check(&self, out: &[f32], lse: &[f32]) {
        let AttentionShape { heads, kv_heads, head_dim } = self.shape;
        assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads), "{heads} heads on {kv_heads}");
        assert!(head_dim.is_multiple_of(LANES), "head_dim is a multiple of {LANES}");
        assert!(self.cu_seqlens.first() == Some(&0) && self.cu_seqlens.is_sorted());
        let tokens = self.cu_seqlens[self.sequences()];
        assert!(self.parents.is_empty() || self.parents.len() == self.sequences());
        let orphan = |parent: usize| self.parents[parent].is_none();
        assert!(self.parents.iter().flatten().all(|p| orphan(*p)), "parents have no parents");
        assert_eq!(self.q.len(), tokens * heads * head_dim);
        assert_eq!(self.k.len(), tokens * kv_heads * head_dim);
        assert_eq!(self.v.len(), self.k.len());
        assert_eq!(out.len(), self.q.len());
        assert_eq!(lse.len(), tokens * heads);
    }

    /// Shares out the key-value heads of all sequences, those with most to do first, so that the
    /// threads finish together; `f` has the sequence's number, too.
    fn for_each_head(&self, pool: &Pool, f: impl Fn(usize, Head<'_>, &mut Scratch) + Sync) {
        let mut sequences: Vec<usize> = (0..self.sequences()).collect();
        sequences.sort_by_key(|s| {
            let (own, parent) = (self.tokens(*s).len(), self.parent(*s).map_or(0, |p| p.len()));
            own * (own + 2 * parent)
        });
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
                let sequence = sequences[sequences.len() - 1 - item / kv_heads];
                let own = self.tokens(sequence);
                let head = Head {
                    of: self,
                    first: own.start,
                    tokens: own.len(),
                    parent: self.parent(sequence).map(|p| Piece::whole(p.start, p.len())),
                    kv_head: item % kv_heads,
                };
                f(sequence, head, &mut scratch);
            }
        });
    }
}
