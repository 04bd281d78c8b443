//! Panels of quantised weights times 15-bit activations.
//!
//! One kernel serves every format and instruction set. The sixteen lanes are sixteen rows, so
//! nothing is ever summed across a register: a group of four weights of each row meets the same
//! four activations, broadcast; after a block of 32 the integer sums are scaled and added to f32
//! accumulators. Weights are taken out of their bits once for as many tokens as fit in registers.
//!
//! For each token the order of the additions is the same whatever else is in the batch: a token's
//! result doesn't depend on its neighbours, to the bit.

use super::activations::{ActivationBlock, ActivationScale, LOW_BITS};
use super::format::{Codes, Format, PANEL};
use crate::simd::{Kernel, Simd, store_first};

/// `out[t][row] = Σ_k weight[row][k] · activation[t][k]` for the sixteen rows of a panel.
pub(crate) struct PanelDot<'a, F> {
    /// The panel's segments.
    pub(crate) panel: &'a [u8],
    /// The tokens' activations, one slice of blocks each.
    pub(crate) tokens: &'a [&'a [ActivationBlock]],
    /// Where token `t`'s sixteen results go: `out + t · stride`.
    pub(crate) out: *mut f32,
    /// Numbers from one token's results to the next's.
    pub(crate) stride: usize,
    /// Rows that exist, at most sixteen.
    pub(crate) rows: usize,
    pub(crate) format: std::marker::PhantomData<F>,
}

impl<F: Format> Kernel for PanelDot<'_, F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut at = 0;
        // SAFETY: as the caller vouches; each call gets `T` tokens that exist.
        unsafe {
            while at < self.tokens.len() {
                let left = self.tokens.len() - at;
                at += match left.min(S::TOKENS) {
                    8.. => self.tokens_at::<S, 8>(at),
                    4.. => self.tokens_at::<S, 4>(at),
                    3 => self.tokens_at::<S, 3>(at),
                    2 => self.tokens_at::<S, 2>(at),
                    _ => self.tokens_at::<S, 1>(at),
                };
            }
        }
    }
}

/// With this many tokens or fewer, the kernel waits for memory.
const FEW: usize = 4;
/// How far ahead of its use a weight is asked for then, in bytes.
const AHEAD: usize = 4096;

impl<F: Format> PanelDot<'_, F> {
    /// The results of `T` tokens from the `at`-th on; returns `T`.
    ///
    /// # Safety
    /// `at + T` tokens exist, each with as many blocks as the panel; the panel is whole; `out`
    /// may be written.
    #[inline(always)]
    unsafe fn tokens_at<S: Simd, const T: usize>(&self, at: usize) -> usize {
        let mut tokens = [std::ptr::null::<ActivationBlock>(); T];
        for (t, p) in tokens.iter_mut().enumerate() {
            *p = self.tokens[at + t].as_ptr();
        }
        let blocks = self.tokens[at].len();
        debug_assert_eq!(self.panel.len(), blocks.div_ceil(F::SEGMENT) * F::SEGMENT_BYTES);
        debug_assert!(self.tokens[at..at + T].iter().all(|t| t.len() == blocks));
        // SAFETY: the panel holds the segments of `blocks` blocks, and each token as many.
        unsafe {
            let mut acc = [S::splat(0.0); T];
            let mut segment = self.panel.as_ptr();
            for first in (0..blocks).step_by(F::SEGMENT) {
                let scales = segment.add(F::SEGMENT_CODES);
                for b in 0..F::SEGMENT.min(blocks - first) {
                    let block = first + b;
                    let codes = segment.add(b * F::CODES.bytes());
                    if T <= FEW {
                        for line in (0..F::SEGMENT_BYTES / F::SEGMENT).step_by(64) {
                            S::prefetch(codes.wrapping_add(AHEAD + line));
                        }
                    }
                    let by: [&ActivationScale; T] =
                        std::array::from_fn(|t| &(*tokens[t].add(block)).scale);
                    if F::HALVES {
                        for h in 0..2 {
                            let scale = scale_of::<S, F>(scales, b, h);
                            let sums = dots::<S, F, T>(codes, &tokens, block, h..h + 1);
                            add_scaled::<S, F, T>(&mut acc, sums, &by, Some(h), scale);
                        }
                    } else {
                        let scale = scale_of::<S, F>(scales, b, 0);
                        let sums = dots::<S, F, T>(codes, &tokens, block, 0..2);
                        add_scaled::<S, F, T>(&mut acc, sums, &by, None, scale);
                    }
                }
                segment = segment.add(F::SEGMENT_BYTES);
            }
            for (t, acc) in acc.iter().enumerate() {
                let out = self.out.add((at + t) * self.stride);
                store_first::<S>(out, *acc, self.rows);
            }
        }
        T
    }
}

/// The rows' scales and minima (nonsense where there are none) of the `b`-th block of a segment: of
/// its `half`-th sixteen weights, where a scale covers no more than that; else `half` is 0.
///
/// # Safety
/// As for [`Simd`]; `scales` are the segment's.
#[inline(always)]
pub(super) unsafe fn scale_of<S: Simd, F: Format>(
    scales: *const u8,
    b: usize,
    half: usize,
) -> (S::F, S::F) {
    // SAFETY: a chunk has `d`, the minima where there are any, and behind them a vector of 8-bit
    // scales for each block or half, and as many of minima.
    unsafe {
        let chunk = scales.add(b / F::CHUNK * F::SCALE_BYTES);
        let mut d = S::load_f16(chunk.cast());
        if F::UNIT != 1.0 {
            d = S::mul(d, S::splat(F::UNIT));
        }
        let m = if F::MINIMUM { S::load_f16(chunk.add(32).cast()) } else { d };
        if !F::NESTED {
            return (d, m);
        }
        let i = F::PARTS * b + half;
        let nested = chunk.add(if F::MINIMUM { 64 } else { 32 }).add(PANEL * i);
        let scale = S::load_i8(nested.cast());
        let minimum = if F::MINIMUM {
            let at = nested.add(8 * F::NESTED_BYTES);
            S::sub(S::splat(0.0), S::load_i8(at.cast()))
        } else {
            scale
        };
        (S::mul(d, scale), S::mul(m, minimum))
    }
}

/// `Σ (code - zero) · q`, with `q = 128 · high + low`, over the halves (of sixteen) named of one block, for each token.
#[inline(always)]
unsafe fn dots<S: Simd, F: Format, const T: usize>(
    codes: *const u8,
    tokens: &[*const ActivationBlock; T],
    block: usize,
    halves: std::ops::Range<usize>,
) -> [S::I; T] {
    let zero = match F::ZERO {
        Some(shift) => Some(shift),
        None if F::SIGNED && S::SIGNED_IS_BIASED => Some(7),
        None => None,
    };
    // SAFETY: the caller's pointers hold the block.
    unsafe {
        let mut high = [S::splat_i32(0); T];
        let mut low = [S::splat_i32(0); T];
        if let Some(shift) = zero {
            for t in 0..T {
                let a = &*tokens[t].add(block);
                let minus = if halves.len() == 2 { a.minus } else { a.half_minus[halves.start] };
                low[t] = S::splat_i32(minus << shift);
            }
        }
        macro_rules! group {
            ($g:literal) => {
                if halves.contains(&($g / 4)) {
                    let w = group::<S, F, $g>(codes);
                    for t in 0..T {
                        let a = tokens[t].add(block);
                        let upper = (&raw const (*a).high).cast::<i8>().add(4 * $g);
                        let lower = (&raw const (*a).low).cast::<i8>().add(4 * $g);
                        if F::SIGNED {
                            high[t] = S::dot_signed(high[t], w, upper);
                            low[t] = S::dot_signed(low[t], w, lower);
                        } else {
                            high[t] = S::dot_unsigned(high[t], w, upper);
                            low[t] = S::dot_unsigned(low[t], w, lower);
                        }
                    }
                }
            };
        }
        group!(0);
        group!(1);
        group!(2);
        group!(3);
        group!(4);
        group!(5);
        group!(6);
        group!(7);
        for t in 0..T {
            low[t] = S::add_shifted::<LOW_BITS>(low[t], high[t]);
        }
        low
    }
}

/// Group `G` of a block: the weights `4G..4G + 4` of each row, as bytes, `ZERO` still in them.
#[inline(always)]
pub(super) unsafe fn group<S: Simd, F: Format, const G: usize>(codes: *const u8) -> S::B {
    // SAFETY: the block's vectors are there, as many as `F::CODES` says.
    unsafe {
        let vector = |v: usize| S::load_bytes(codes.add(64 * v));
        let nibble = || {
            if G < 4 { S::bits::<0>(vector(G), 15) } else { S::bits::<4>(vector(G - 4), 15) }
        };
        // Bit G of a byte, moved to where it counts.
        let bit = |v: usize, to: u32| match (to, G) {
            (4, 0) => S::bits_up::<4>(vector(v), 16),
            (4, 1) => S::bits_up::<3>(vector(v), 16),
            (4, 2) => S::bits_up::<2>(vector(v), 16),
            (4, 3) => S::bits_up::<1>(vector(v), 16),
            (4, 4) => S::bits::<0>(vector(v), 16),
            (4, 5) => S::bits::<1>(vector(v), 16),
            (4, 6) => S::bits::<2>(vector(v), 16),
            (4, _) => S::bits::<3>(vector(v), 16),
            (_, 0) => S::bits_up::<2>(vector(v), 4),
            (_, 1) => S::bits_up::<1>(vector(v), 4),
            (_, 2) => S::bits::<0>(vector(v), 4),
            (_, 3) => S::bits::<1>(vector(v), 4),
            (_, 4) => S::bits::<2>(vector(v), 4),
            (_, 5) => S::bits::<3>(vector(v), 4),
            (_, 6) => S::bits::<4>(vector(v), 4),
            (_, _) => S::bits::<5>(vector(v), 4),
        };
        let pair = |v: usize| match G % 4 {
            0 => S::bits::<0>(vector(v), 3),
            1 => S::bits::<2>(vector(v), 3),
            2 => S::bits::<4>(vector(v), 3),
            _ => S::bits::<6>(vector(v), 3),
        };
        let high_pair = |v: usize| match G % 4 {
            0 => S::bits_up::<4>(vector(v), 0x30),
            1 => S::bits_up::<2>(vector(v), 0x30),
            2 => S::bits::<0>(vector(v), 0x30),
            _ => S::bits::<2>(vector(v), 0x30),
        };
        let codes = match F::CODES {
            Codes::Two => pair(G / 4),
            Codes::Three => S::or(pair(G / 4), bit(2, 2)),
            Codes::Four => nibble(),
            Codes::Five => S::or(nibble(), bit(4, 4)),
            Codes::Six => S::or(nibble(), high_pair(4 + G / 4)),
            Codes::Byte => vector(G),
        };
        if F::TABLE.is_some() { S::look_up(const { &F::LOOK_UP }, codes) } else { codes }
    }
}

/// `acc += scale · d · sums + minimum · d · Σq`.
#[inline(always)]
pub(super) unsafe fn add_scaled<S: Simd, F: Format, const T: usize>(
    acc: &mut [S::F; T],
    sums: [S::I; T],
    activations: &[&ActivationScale; T],
    half: Option<usize>,
    (scale, minimum): (S::F, S::F),
) {
    // SAFETY: the caller has S's instruction set; no memory is touched but through references.
    unsafe {
        for t in 0..T {
            let a = activations[t];
            acc[t] = S::fma(S::to_f32(sums[t]), S::mul(scale, S::splat(a.d)), acc[t]);
            if F::MINIMUM {
                let sum = half.map_or(a.sum, |h| a.half_sums[h]);
                acc[t] = S::fma(minimum, S::splat(sum), acc[t]);
            }
        }
    }
}
