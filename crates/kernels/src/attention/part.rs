//! The work of one thread at a time: a few tokens' heads that share a key-value head, against the
//! pages of one or more parts.

use std::ops::Range;

use crate::simd::{Kernel, LANES, Simd};

use super::apart::ApartHead;
use super::page::{Cell, F16, F32, KvShape, KvType, PAGE, Q4, Q8, SCALE_BLOCK};
use super::softmax::{begin, finish, merge, row_len, soften_after};
use super::tile::{Numbers, score, unpack, weigh};
use super::{AttentionSpan, PART};

/// Rows in a register tile when there are more than a tile's worth.
const TILE: usize = 6;

/// The most rows that are multiplied with keys and values right out of the page. More of them are
/// worth unpacking the page for.
const fn few<S: Simd>() -> usize {
    match S::VECTORS {
        32.. => 8,
        8.. => 4,
        _ => 0,
    }
}

/// Rows, rounded up to whole register tiles of any instruction set.
pub(super) const fn padded(rows: usize) -> usize {
    rows + TILE + 1
}

/// Sixteen numbers that start on a cache line, so that no vector lies on two.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line(#[allow(dead_code)] [f32; LANES]);

/// Memory for at least `n` numbers; what they are doesn't matter.
pub(super) fn room(lines: &mut Vec<Line>, n: usize) -> *mut f32 {
    let needed = n.div_ceil(LANES);
    if lines.len() < needed {
        lines.resize(needed, Line([0.0; LANES]));
    }
    lines.as_mut_ptr().cast()
}

/// What a thread works in, kept from one call to the next.
#[derive(Default)]
pub(super) struct Scratch {
    rows: Vec<Row>,
    /// `[rows, PAGE]` scores, then weights.
    scores: Vec<Line>,
    /// A page's keys and values of one head, unpacked.
    keys: Vec<Line>,
    values: Vec<Line>,
    /// `[block of 32 elements][PAGE]`: a page's scales of the values of one head.
    scales: Vec<Line>,
    /// `[rows, row_len]`: what is known after the parts so far, and from the present one.
    total: Vec<Line>,
    part: Vec<Line>,
}

/// A query head of a token.
#[derive(Clone, Copy)]
struct Row {
    query: *const f32,
    /// What of the bias kept apart depends on it, if any is.
    of_bias: *const f32,
    /// The first position it sees.
    from: usize,
    /// Positions it sees, and those before the first.
    seen: usize,
}

/// A few tokens' heads of one group against parts of what they see.
pub(super) struct Attend<'a> {
    pub(super) shape: &'a KvShape,
    /// Of scores, which are logarithms to base 2.
    pub(super) scale: f32,
    pub(super) apart: Option<ApartHead<'a>>,
    /// Positions a token sees, at most.
    pub(super) window: usize,
    pub(super) span: &'a AttentionSpan<'a>,
    /// The places attended to, in order, if not all pages are.
    pub(super) chosen: Option<&'a [Place]>,
    /// Tokens of the span.
    pub(super) tokens: Range<usize>,
    pub(super) kv_head: usize,
    /// Heads of each token that are asked for.
    pub(super) group: usize,
    /// The first of these tokens' queries of this group, in `[token, heads, head_dim]`.
    pub(super) q: &'a [f32],
    pub(super) parts: Range<usize>,
    pub(super) goal: Goal,
    pub(super) scratch: &'a mut Scratch,
}

/// What becomes of the parts.
#[derive(Clone, Copy)]
pub(super) enum Goal {
    /// They are all there are: the result goes here, from where the first one's is in `[token, heads, value_dim]`.
    Finish(*mut f32),
    /// There is one, and what it knows is put down here, `[rows, row_len]`.
    Keep(*mut f32),
}

impl Kernel for Attend<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let KvShape { heads, head_dim, latent, .. } = *self.shape;
        let (group, value_dim) = (self.group, self.shape.value_dim());
        let n = self.tokens.len() * group;
        let head = |r: usize| (r / group) * heads + r % group;

        let Scratch { rows, scores, scales, total, part, .. } = &mut *self.scratch;
        rows.clear();
        rows.extend((0..n).map(|r| {
            let seen = self.span.position + self.tokens.start + r / group + 1;
            Row {
                query: self.q[head(r) * head_dim..][..head_dim].as_ptr(),
                of_bias: self.apart.map_or(std::ptr::null(), |apart| {
                    let width = apart.apart.bias.width();
                    apart.queries[head(r) * width..][..width].as_ptr()
                }),
                from: seen.saturating_sub(self.window),
                seen,
            }
        }));
        // The last tile is filled up with copies of the last row, which nobody reads. There are
        // few sizes of tiles, since each is a lot of code.
        let direct = n <= few::<S>() && self.shape.ty != KvType::F32 && latent.is_none();
        let tile = match n {
            _ if !direct => TILE,
            1 => 1,
            2..=4 => 4,
            _ => 8,
        };
        rows.resize(n.next_multiple_of(tile), rows[n - 1]);

        let len = row_len(value_dim);
        let rows = rows.len();
        room(scores, rows * PAGE);
        room(scales, value_dim.div_ceil(SCALE_BLOCK) * PAGE);
        let total = room(total, rows * len);
        let part = match self.goal {
            Goal::Finish(_) => room(part, rows * len),
            Goal::Keep(part) => part,
        };
        // SAFETY: the caller vouches for `q` and the goal; there are `rows` rows in either place,
        // `n` of them wanted.
        unsafe {
            (0..n).for_each(|r| begin(total.add(r * len), value_dim));
            for p in self.parts.clone() {
                (0..rows).for_each(|r| begin(part.add(r * len), value_dim));
                if direct {
                    match self.shape.ty {
                        KvType::Q8_0 => self.few_rows::<S, Q8>(p, part),
                        KvType::Q4_0 => self.few_rows::<S, Q4>(p, part),
                        _ => self.few_rows::<S, F16>(p, part),
                    }
                } else {
                    self.many_rows::<S>(p, part);
                }
                if let Goal::Finish(_) = self.goal {
                    for r in 0..n {
                        merge::<S>(total.add(r * len), part.add(r * len), value_dim);
                    }
                }
            }
            if let Goal::Finish(out) = self.goal {
                for r in 0..n {
                    finish::<S>(total.add(r * len), out.add(head(r) * value_dim), value_dim);
                }
            }
        }
    }
}

/// A page or a piece of one: what is attended to at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// The page.
    pub(super) page: u32,
    /// Its groups of sixteen positions that count.
    pub(super) first: u8,
    /// Where these end.
    pub(super) end: u8,
}

impl Place {
    /// A whole page.
    pub(super) const fn whole(page: usize) -> Place {
        Place { page: page as u32, first: 0, end: (PAGE / LANES) as u8 }
    }

    /// The first position.
    const fn start(self) -> usize {
        self.page as usize * PAGE + self.first as usize * LANES
    }

    /// How many there are.
    const fn len(self) -> usize {
        (self.end - self.first) as usize * LANES
    }
}

/// The places of a part of which some of the rows, which are in the order of positions, see something: counted
/// among those that are attended to.
fn places(part: usize, rows: &[Row], chosen: Option<&[Place]>) -> Range<usize> {
    let (first, end) = (part * PART, (part + 1) * PART);
    match chosen {
        Some(places) => first..end.min(places.len()),
        None => {
            let seen = rows[rows.len() - 1].seen.div_ceil(PAGE);
            first.max(rows[0].from / PAGE)..end.min(seen)
        }
    }
}

/// Such a place.
#[inline(always)]
fn place_at(at: usize, chosen: Option<&[Place]>) -> Place {
    match chosen {
        Some(places) => places[at],
        None => Place::whole(at),
    }
}

impl Row {
    /// How many positions of a place it sees, with those that its window hides.
    #[inline(always)]
    fn seen_in(&self, place: Place) -> usize {
        self.seen.saturating_sub(place.start()).min(place.len())
    }

    /// How many positions of a place are before its window.
    #[inline(always)]
    fn hidden_in(&self, place: Place) -> usize {
        self.from.saturating_sub(place.start()).min(place.len())
    }
}

impl Attend<'_> {
    /// One part of what the rows see, which are as many as one tile has.
    ///
    /// # Safety
    /// As for [`Kernel::run`]; `known` has [`row_len`] numbers for each row.
    #[inline(always)]
    unsafe fn few_rows<S: Simd, C: Cell>(&mut self, part: usize, known: *mut f32) {
        // SAFETY: as the caller vouches.
        unsafe {
            match self.scratch.rows.len() {
                1 => self.one_tile::<S, C, 1>(part, known),
                4 => self.one_tile::<S, C, 4>(part, known),
                8 if few::<S>() == 8 => self.one_tile::<S, C, 8>(part, known),
                rows => unreachable!("{rows} rows are more than a few"),
            }
        }
    }

    /// One part of what `R` rows see, with numbers right out of the pages.
    ///
    /// # Safety
    /// As for [`Self::few_rows`].
    #[inline(always)]
    unsafe fn one_tile<S: Simd, C: Cell, const R: usize>(&mut self, part: usize, known: *mut f32) {
        let Attend { shape, span, chosen, kv_head, scale, apart, .. } = *self;
        let dim = shape.head_dim;
        let Scratch { rows, scores, scales, .. } = &mut *self.scratch;
        let scores: *mut f32 = scores.as_mut_ptr().cast();
        let scales: *mut f32 = scales.as_mut_ptr().cast();
        let places = places(part, &rows[..R], chosen);
        for at in places.clone() {
            let place = place_at(at, chosen);
            let page = span.pages[place.page as usize];
            let first = place.first as usize;
            // Where a place's own numbers start, behind those of the groups before them.
            let skipped = |place: Place| place.first as usize * dim * size_of::<C>();
            let values = page[shape.values_at(kv_head)..].as_ptr();
            let own = values.wrapping_add(skipped(place));
            // Values are fetched while the scores are worked out, the next page's keys while the
            // values are summed.
            let next = if at + 1 < places.end { place_at(at + 1, chosen) } else { place };
            let keys = span.pages[next.page as usize][shape.keys_at(kv_head)..].as_ptr();
            let next = keys.wrapping_add(skipped(next));
            let k = Numbers::<C>::new(page[shape.keys_at(kv_head)..].as_ptr(), dim, own);
            let k = k.after(first, dim);
            let v = Numbers::<C>::new(values, dim, next);
            // SAFETY: the page holds what the rows see of it, in whole groups of sixteen;
            // scratch was sized for the rows and a page.
            unsafe {
                v.unpack_scales::<S>(dim, scales);
                scored::<S, C, R>(&rows[..R], place, k, (dim, dim), scale, apart, scores, known);
                let seen = rows[R - 1].seen_in(place);
                let (v, scales) = (v.after(first, dim), scales.add(first * LANES));
                weigh::<S, C, R>(scores, v, scales, dim, seen, known, row_len(dim));
            }
        }
    }

    /// One part of what the rows see, with each page unpacked once for all of them.
    ///
    /// # Safety
    /// As for [`Self::few_rows`]; the rows are a whole number of tiles.
    #[inline(always)]
    unsafe fn many_rows<S: Simd>(&mut self, part: usize, known: *mut f32) {
        let Attend { shape, span, chosen, kv_head, scale, apart, .. } = *self;
        let dims = (shape.head_dim, shape.value_dim());
        let Scratch { rows, scores, keys, values, scales, .. } = &mut *self.scratch;
        let scores: *mut f32 = scores.as_mut_ptr().cast();
        let scales: *mut f32 = scales.as_mut_ptr().cast();
        let last = rows[rows.len() - 1];
        for at in places(part, rows, chosen) {
            let place = place_at(at, chosen);
            let page = span.pages[place.page as usize];
            let k = page[shape.keys_at(kv_head)..].as_ptr();
            let v = shape.latent.is_none().then(|| page[shape.values_at(kv_head)..].as_ptr());
            let (kk, vv) = (room(keys, PAGE * dims.0), room(values, PAGE * dims.1));
            let some = (place.first as usize, last.seen_in(place));
            // SAFETY: as for `one_tile`; keys and values have room for a page's.
            unsafe {
                match shape.ty {
                    KvType::F16 => unpack::<S, F16>(k, v, scales, dims, some, kk, vv),
                    KvType::Q8_0 => unpack::<S, Q8>(k, v, scales, dims, some, kk, vv),
                    KvType::Q4_0 => unpack::<S, Q4>(k, v, scales, dims, some, kk, vv),
                    KvType::F32 => unpack::<S, F32>(k, v, scales, dims, some, kk, vv),
                }
                tiles::<S, TILE>(rows, place, kk, vv, dims, scale, apart, scores, known);
            }
        }
    }
}

/// All tiles of `R` rows against a place: with all its keys first, then with all its values, so
/// that either stays in the first-level cache.
///
/// # Safety
/// As for [`Attend::few_rows`]; keys and values are a page's, unpacked, and as long as `dims` says.
#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn tiles<S: Simd, const R: usize>(
    rows: &[Row],
    place: Place,
    keys: *const f32,
    values: *const f32,
    (dim, value_dim): (usize, usize),
    scale: f32,
    apart: Option<ApartHead<'_>>,
    scores: *mut f32,
    known: *mut f32,
) {
    let k = Numbers::<F32>::new(keys.cast(), dim, std::ptr::null());
    let v = Numbers::<F32>::new(values.cast(), value_dim, std::ptr::null());
    let len = row_len(value_dim);
    // SAFETY: as the caller vouches.
    unsafe {
        for (t, tile) in rows.chunks_exact(R).enumerate() {
            let (scores, known) = (scores.add(t * R * PAGE), known.add(t * R * len));
            let dims = (dim, value_dim);
            scored::<S, F32, R>(tile, place, k, dims, scale, apart, scores, known);
        }
        for (t, tile) in rows.chunks_exact(R).enumerate() {
            let (scores, known) = (scores.add(t * R * PAGE), known.add(t * R * len));
            let seen = tile[R - 1].seen_in(place);
            weigh::<S, F32, R>(scores, v, std::ptr::null(), value_dim, seen, known, len);
        }
    }
}

/// Scores of `R` rows against a place, whose keys are given, made weights; keys and values are as long as `dims` says.
///
/// # Safety
/// As for [`Attend::few_rows`].
#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn scored<S: Simd, C: Cell, const R: usize>(
    tile: &[Row],
    place: Place,
    keys: Numbers<C>,
    (dim, value_dim): (usize, usize),
    scale: f32,
    apart: Option<ApartHead<'_>>,
    scores: *mut f32,
    known: *mut f32,
) {
    let groups = tile[R - 1].seen_in(place).div_ceil(LANES);
    let queries: [_; R] = std::array::from_fn(|r| tile[r].query);
    // SAFETY: as the caller vouches.
    unsafe {
        score::<S, C, R>(&queries, keys, dim, groups, scale, scores);
        if let Some(apart) = apart {
            let queries: [_; R] = std::array::from_fn(|r| tile[r].of_bias);
            let first = place.first as usize;
            let of_page = (place.page as usize, first..first + groups);
            apart.add::<S, R>(&queries, of_page, scores);
        }
        for (r, row) in tile.iter().enumerate() {
            let known = known.add(r * row_len(value_dim));
            let (scores, seen) = (scores.add(r * PAGE), row.seen_in(place));
            soften_after::<S>(scores, row.hidden_in(place), seen, groups, known, value_dim);
        }
    }
}

/// Joins the parts of one group of rows, each `[padded rows, row_len]`, in order.
pub(super) struct Join<'a> {
    pub(super) shape: &'a KvShape,
    pub(super) tokens: usize,
    /// Heads of each that were asked for.
    pub(super) group: usize,
    /// The parts, one after the other, `stride` numbers apart.
    pub(super) known: *mut f32,
    pub(super) stride: usize,
    pub(super) parts: usize,
    /// Where the result goes, as in [`Goal::Finish`].
    pub(super) out: *mut f32,
    pub(super) scratch: &'a mut Scratch,
}

impl Kernel for Join<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (group, dim) = (self.group, self.shape.value_dim());
        let len = row_len(dim);
        let total = room(&mut self.scratch.total, len);
        for r in 0..self.tokens * group {
            // SAFETY: the caller vouches for the parts and for `out`.
            unsafe {
                begin(total, dim);
                for p in 0..self.parts {
                    merge::<S>(total, self.known.add(p * self.stride + r * len), dim);
                }
                let head = (r / group) * self.shape.heads + r % group;
                finish::<S>(total, self.out.add(head * dim), dim);
            }
        }
    }
}
