//! Attention over a paged cache of keys and values.
//!
//! A page holds [`PAGE`] positions of one layer. Keys lie so that sixteen *positions* are a vector
//! (`[kv_head][group of 16][head_dim][16]`), values so that sixteen *elements* are
//! (`[kv_head][position][head_dim]`): neither the scores nor the weighted sum ever add across a
//! register. Softmax is computed online, page by page (Milakov and Gimelshein 2018,
//! arXiv:1805.02867; Dao et al. 2022, arXiv:2205.14135), for all query heads that share a
//! key-value head at once, so the cache is read once.
//!
//! Eight pages are a *part*. Parts are worked out one by one and joined in order, by whichever
//! threads (Dao et al. 2023, "Flash-Decoding"): a single token with a long past keeps all cores
//! busy, however few its heads are.
//!
//! A token's result depends on the pages it sees and on nothing else, neither its neighbours in
//! the batch nor the number of threads, to the bit. (Where pages are left out, which tokens come together
//! matters, see [`Sparse`]: they choose pages together.)

mod apart;
mod page;
mod part;
mod rotate;
mod softmax;
mod sparse;
mod tile;

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::pool::Pool;
use crate::{Isa, SendPtr};

pub use apart::{Angles, Apart, KeyBias};
pub use page::{
    KvShape, KvShapeError, KvType, PAGE, PAGE_VERSION, SCALE_BLOCK, UnknownKvType, read_kv,
    store_kv,
};

pub use sparse::{Sparse, bound_keys, bounds_bytes};

use apart::ApartHead;
use part::{Attend, Goal, Join, Line, Place, Scratch, padded, room};
use rotate::rotate;
use softmax::row_len;

/// Pages of a part.
const PART: usize = 8;

/// Rows (query heads of tokens) that share the work of unpacking a page, at the most; they and
/// what is known of them should fit the second-level cache.
const MOST_ROWS: usize = 240;

/// As [`MOST_ROWS`], where there is less to do than would keep all threads busy.
const LEAST_ROWS: usize = 48;

/// Jobs there should be for each thread, so that all finish at about the same time.
const JOBS_PER_THREAD: usize = 4;

/// Consecutive tokens of one sequence and the pages they see.
pub struct AttentionSpan<'a> {
    /// The sequence's pages of this layer, in order; they hold the span's own keys and values too.
    pub pages: &'a [&'a [u8]],
    /// What [`bound_keys`] knows of each page that is full, as long as [`bounds_bytes`] says; not asked for
    /// where no page is left out.
    pub bounds: &'a [&'a [u8]],
    /// Position of the span's first token.
    pub position: usize,
    /// Tokens of the span.
    pub tokens: usize,
}

/// A few tokens of a span and one key-value head, with all query heads that share it or, if these are more than go
/// together, some.
struct Job {
    span: usize,
    tokens: Range<usize>,
    kv_head: usize,
    /// Query heads of a token that share it, all of them or some.
    group: usize,
    /// The first of these, counted over the heads of all tokens.
    head: usize,
    /// The places that its tokens attend to, in order, if not to all they see.
    chosen: Option<Vec<Place>>,
    /// Parts of what its tokens attend to.
    parts: Range<usize>,
    /// Where the parts are kept when several threads may work on them.
    kept: Option<usize>,
    /// Parts still to be done.
    left: AtomicUsize,
}

impl Job {
    /// Attends to these places, which are in order, alone.
    fn attend_to(&mut self, places: Vec<Place>) {
        self.parts = 0..places.len().div_ceil(PART);
        self.left = AtomicUsize::new(self.parts.len());
        self.chosen = Some(places);
    }
}

thread_local! {
    /// The pool's threads live long, so what they work in does, too.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    /// Parts of the calling thread's jobs.
    static KEPT: RefCell<Vec<Line>> = RefCell::default();
}

/// The heads of a layer.
#[derive(Clone, Copy)]
pub struct Heads<'a> {
    /// How many there are, and how they are stored.
    pub shape: &'a KvShape,
    /// Multiplies scores.
    pub scale: f32,
    /// What is not stored with the keys.
    pub apart: Option<Apart<'a>>,
    /// How many positions a token sees, itself and those right before it; all if none is given.
    pub window: Option<usize>,
    /// Whether pages are left out where a token sees many; not where there is a window.
    pub sparse: Option<Sparse>,
}

/// Causal attention of all spans: each token sees its sequence up to and with itself, or as much of
/// it as the window lets it see.
///
/// `q` is `[tokens of all spans, heads, head_dim]`, `out` is `[tokens of all spans, heads, value_dim]`.
///
/// # Panics
/// If shapes don't agree, the window is empty, a span sees positions its pages don't hold, or bounds are missing
/// that are needed.
pub fn attend(
    isa: Isa,
    pool: &Pool,
    heads: Heads<'_>,
    spans: &[AttentionSpan<'_>],
    q: &[f32],
    out: &mut [f32],
) {
    let Heads { shape, scale, apart, window, sparse } = heads;
    let sparse = sparse.filter(|_| window.is_none());
    assert_ne!(window, Some(0));
    assert_eq!(shape.check(), Ok(()));
    let tokens: usize = spans.iter().map(|s| s.tokens).sum();
    assert_eq!(q.len(), tokens * shape.heads * shape.head_dim);
    assert_eq!(out.len(), tokens * shape.heads * shape.value_dim());
    for span in spans {
        assert!(span.pages.len() * PAGE >= span.position + span.tokens);
        assert!(span.pages.iter().all(|p| p.len() == shape.page_bytes()));
        if sparse.is_some_and(|sparse| sparse.leaves_out(span)) {
            assert!(span.bounds.len() >= (span.position + span.tokens) / PAGE);
            assert!(span.bounds.iter().all(|b| b.len() == bounds_bytes(shape)));
        }
    }
    if let Some(Apart { bias, .. }) = apart {
        assert_eq!(bias.pairs.len(), shape.kv_heads);
    }
    // Scores are logarithms to base 2.
    let scale = scale * std::f32::consts::LOG2_E;
    let of_bias =
        apart.map(|Apart { bias, .. }| bias.of_queries(q, shape.heads, shape.head_dim, scale));
    let window = window.unwrap_or(usize::MAX);
    let layer = Layer { shape, scale, spans, apart: apart.zip(of_bias.as_deref()), window };
    let mut jobs = layer.jobs(pool.threads(), sparse);
    if let Some(sparse) = sparse {
        sparse::choose(isa, pool, (shape, scale, sparse), spans, &mut jobs, q);
    }
    if shape.ty.is_rotated() {
        let mut q = q.to_vec();
        rotate(isa, &mut q, shape.turned());
        layer.attend(isa, pool, jobs, &q, out);
        rotate(isa, out, shape.turned());
    } else {
        layer.attend(isa, pool, jobs, q, out);
    }
}

/// Attention of one layer, as it is stored.
struct Layer<'a> {
    shape: &'a KvShape,
    scale: f32,
    spans: &'a [AttentionSpan<'a>],
    /// What is not stored with the keys, and what of it depends on the queries.
    apart: Option<(Apart<'a>, &'a [f32])>,
    /// Positions a token sees, at most.
    window: usize,
}

impl Layer<'_> {
    /// [`attend`] with queries, and results, turned as what is in the pages is.
    fn attend(&self, isa: Isa, pool: &Pool, mut jobs: Vec<Job>, q: &[f32], out: &mut [f32]) {
        let (pieces, kept) = self.pieces(&mut jobs, pool.threads());
        KEPT.with_borrow_mut(|lines| {
            let kept = SendPtr(room(lines, kept));
            let out = SendPtr(out.as_mut_ptr());
            pool.for_each_chunk(pieces.len(), 1, |range| {
                SCRATCH.with_borrow_mut(|scratch| {
                    for (job, parts) in &pieces[range] {
                        let job = &jobs[*job];
                        // SAFETY: each job writes the columns of its own heads in the rows of its
                        // own tokens, which lie within `out`, once; and its pieces keep their parts
                        // in places of their own, for which `kept` has room.
                        unsafe {
                            let out = out.get().add(job.head * self.shape.value_dim());
                            let keep = job.kept.map(|at| kept.get().add(at));
                            self.work(isa, q, job, parts.clone(), keep, out, scratch);
                        }
                    }
                });
            });
        });
    }

    /// Does some of a job's parts, and joins them all if these were the last.
    ///
    /// # Safety
    /// `isa` is available, `out` is where the job's results start, `keep` is where its parts do if
    /// they are kept, and no other thread has these parts.
    #[allow(clippy::too_many_arguments)]
    unsafe fn work(
        &self,
        isa: Isa,
        q: &[f32],
        job: &Job,
        parts: Range<usize>,
        keep: Option<*mut f32>,
        out: *mut f32,
        scratch: &mut Scratch,
    ) {
        let Layer { shape, scale, spans, apart, window } = *self;
        let stride = part_len(shape, job);
        let apart = apart.map(|(apart, queries)| {
            let first = job.head * apart.bias.width();
            ApartHead { apart, kv_head: job.kv_head, queries: &queries[first..] }
        });
        let attend = Attend {
            shape,
            scale,
            apart,
            window,
            span: &spans[job.span],
            chosen: job.chosen.as_deref(),
            tokens: job.tokens.clone(),
            kv_head: job.kv_head,
            group: job.group,
            q: &q[job.head * shape.head_dim..],
            goal: match keep {
                None => Goal::Finish(out),
                Some(keep) => {
                    let first = (parts.start - job.parts.start) * stride;
                    // SAFETY: within what the caller vouches for.
                    Goal::Keep(unsafe { keep.add(first) })
                }
            },
            parts,
            scratch,
        };
        // SAFETY: as the caller vouches.
        unsafe { isa.run_without_tiles(attend) };
        let Some(known) = keep else { return };
        // Whoever finishes last sees what all the others wrote.
        if job.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let (tokens, group, parts) = (job.tokens.len(), job.group, job.parts.len());
            let join = Join { shape, tokens, group, known, stride, parts, out, scratch };
            // SAFETY: as the caller vouches; all parts are there.
            unsafe { isa.run_without_tiles(join) };
        }
    }

    /// Cuts the batch into jobs. What is chosen together is not to depend on how much else there is to do.
    fn jobs(&self, threads: usize, sparse: Option<Sparse>) -> Vec<Job> {
        let Layer { shape, spans, window, .. } = *self;
        let group = shape.heads / shape.kv_heads;
        let rows: usize = spans.iter().map(|s| s.tokens * shape.heads).sum();
        let tile = rows / (threads * JOBS_PER_THREAD);
        let rows = tile.clamp(LEAST_ROWS, MOST_ROWS);
        let mut jobs = Vec::new();
        let mut first = 0;
        for (s, span) in spans.iter().enumerate() {
            let leaves_out = sparse.is_some_and(|sparse| sparse.leaves_out(span));
            let rows = if leaves_out { LEAST_ROWS } else { rows };
            // Where even one token's are too many, some of them.
            let (tile, share) = ((rows / group).max(1), rows.min(group));
            for at in (0..span.tokens).step_by(tile) {
                let tokens = at..span.tokens.min(at + tile);
                // What the first of them sees first, and the last one last.
                let from = (span.position + at + 1).saturating_sub(window);
                let end = span.position + tokens.end;
                let parts = from / (PART * PAGE)..end.div_ceil(PART * PAGE);
                for kv_head in 0..shape.kv_heads {
                    for head in (0..group).step_by(share) {
                        jobs.push(Job {
                            span: s,
                            tokens: tokens.clone(),
                            kv_head,
                            group: share.min(group - head),
                            head: (first + at) * shape.heads + kv_head * group + head,
                            chosen: None,
                            parts: parts.clone(),
                            kept: None,
                            left: AtomicUsize::new(parts.len()),
                        });
                    }
                }
            }
            first += span.tokens;
        }
        jobs
    }

    /// Cuts jobs that would hold everybody up into parts. Returns what there is to do, the longest
    /// first, so that the threads finish together, and how many numbers all the parts to be kept
    /// take.
    fn pieces(&self, jobs: &mut [Job], threads: usize) -> (Vec<(usize, Range<usize>)>, usize) {
        let Layer { shape, spans, window, .. } = *self;
        let cost = |job: &Job| {
            let tokens = job.tokens.len();
            let seen = spans[job.span].position + job.tokens.end;
            let seen = match &job.chosen {
                Some(places) => places.len() * PAGE,
                None => seen.min(window.saturating_add(tokens)),
            };
            seen * tokens * job.group
        };
        let all: usize = jobs.iter().map(cost).sum();
        let mut pieces = Vec::new();
        let mut kept = 0;
        for (j, job) in jobs.iter_mut().enumerate() {
            let cost = cost(job);
            let parts = job.parts.len();
            if parts > 1 && threads > 1 && cost * threads * JOBS_PER_THREAD > all {
                job.kept = Some(kept);
                kept += parts * part_len(shape, job);
                pieces.extend(job.parts.clone().map(|p| (cost / parts, (j, p..p + 1))));
            } else {
                pieces.push((cost, (j, job.parts.clone())));
            }
        }
        pieces.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        (pieces.into_iter().map(|(_, piece)| piece).collect(), kept)
    }
}

/// Numbers a part of a job takes.
fn part_len(shape: &KvShape, job: &Job) -> usize {
    padded(job.tokens.len() * job.group) * row_len(shape.value_dim())
}
