//! The small operations of a transformer layer: RMSNorm, RoPE, SwiGLU, additions.
//!
//! All work on rows of f32, one row a token, and share rows out over the pool when there are many.

use crate::pool::Pool;
use crate::simd::{Kernel, LANES, Simd, exp};
use crate::{Isa, SendPtr};

/// Numbers a thread should have to work on before it is worth waking another.
const GRAIN: usize = 16 << 10;

/// Runs `f(first_row, rows)` over all rows of `n` numbers of `x`, in parallel.
fn by_rows(pool: &Pool, x: &mut [f32], n: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    assert!(n > 0 && x.len().is_multiple_of(n), "rows of {n} in {}", x.len());
    let out = SendPtr(x.as_mut_ptr());
    pool.for_each_chunk(x.len() / n, (GRAIN / n).max(1), |range| {
        // SAFETY: chunks are disjoint ranges of rows within `x`.
        let rows = unsafe {
            std::slice::from_raw_parts_mut(out.get().add(range.start * n), range.len() * n)
        };
        f(range.start, rows);
    });
}

/// `out = x / sqrt(mean(x²) + eps) · weight` for each row of `weight.len()` numbers
/// (Zhang and Sennrich 2019, arXiv:1910.07467).
///
/// # Panics
/// If `x` and `out` differ in length or hold no whole number of rows.
pub fn rms_norm(isa: Isa, pool: &Pool, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    let n = weight.len();
    by_rows(pool, out, n, |first, out| {
        for (i, out) in out.chunks_exact_mut(n).enumerate() {
            let x = &x[(first + i) * n..(first + i + 1) * n];
            // SAFETY: `isa` is available; the slices have the same length.
            unsafe { isa.run(RmsNorm { x, weight, eps, out }) }
        }
    });
}

/// [`rms_norm`] of each row in place; used on the heads of q and k (Qwen3).
///
/// # Panics
/// If `x` holds no whole number of rows.
pub fn rms_norm_in_place(isa: Isa, pool: &Pool, x: &mut [f32], weight: &[f32], eps: f32) {
    let n = weight.len();
    by_rows(pool, x, n, |_, rows| {
        let mut copy = vec![0.0; n];
        for row in rows.chunks_exact_mut(n) {
            copy.copy_from_slice(row);
            // SAFETY: `isa` is available; the slices have the same length.
            unsafe { isa.run(RmsNorm { x: &copy, weight, eps, out: row }) }
        }
    });
}

struct RmsNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let n = self.x.len();
        let whole = n / LANES * LANES;
        // SAFETY: every vector read starts at most at `n - 16`.
        let mut squares = unsafe {
            let mut acc = S::splat(0.0);
            for i in (0..whole).step_by(LANES) {
                let v = S::load(self.x.as_ptr().add(i));
                acc = S::fma(v, v, acc);
            }
            S::sum(acc)
        };
        squares += self.x[whole..].iter().map(|x| x * x).sum::<f32>();
        let scale = 1.0 / (squares / n as f32 + self.eps).sqrt();
        for ((out, x), w) in self.out.iter_mut().zip(self.x).zip(self.weight) {
            *out = x * scale * w;
        }
    }
}

/// `gate = silu(gate) · up`, with `silu(x) = x / (1 + e^-x)` (Shazeer 2020, arXiv:2002.05202).
///
/// # Panics
/// If the two differ in length.
pub fn swiglu(isa: Isa, pool: &Pool, gate: &mut [f32], up: &[f32]) {
    gated::<false>(isa, pool, gate, up);
}

/// `gate = gelu(gate) · up`, with the approximation `gelu(x) = x / 2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))`
/// (Hendrycks and Gimpel 2016, arXiv:1606.08415; Shazeer 2020, arXiv:2002.05202).
///
/// # Panics
/// If the two differ in length.
pub fn geglu(isa: Isa, pool: &Pool, gate: &mut [f32], up: &[f32]) {
    gated::<true>(isa, pool, gate, up);
}

fn gated<const GELU: bool>(isa: Isa, pool: &Pool, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len());
    by_rows(pool, gate, 1, |first, gate| {
        let up = &up[first..first + gate.len()];
        // SAFETY: `isa` is available; the slices have the same length.
        unsafe { isa.run(Gated::<GELU> { gate, up }) }
    });
}

/// `silu(g) · u`, or `gelu(g) · u`, which is the same with another exponent: `(1 + tanh(z)) / 2` is
/// `1 / (1 + e^-2z)`.
#[inline(always)]
unsafe fn gate_mul<S: Simd, const GELU: bool>(g: S::F, u: S::F) -> S::F {
    /// `2 √(2/π)`, and the same times 0.044715.
    const SLOPE: f32 = 1.595_769_2;
    const CUBIC: f32 = 0.071_354_82;
    // SAFETY: the caller has S's instruction set; no memory is touched.
    unsafe {
        let x = match GELU {
            true => S::mul(g, S::fma(S::mul(g, g), S::splat(CUBIC), S::splat(SLOPE))),
            false => g,
        };
        let one_plus = S::add(S::splat(1.0), exp::<S>(S::sub(S::splat(0.0), x)));
        S::mul(S::div(g, one_plus), u)
    }
}

/// [`swiglu`] or [`geglu`].
struct Gated<'a, const GELU: bool> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl<const GELU: bool> Kernel for Gated<'_, GELU> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let n = self.gate.len();
        let whole = n / LANES * LANES;
        // SAFETY: vectors lie within the slices; the tail goes through a buffer of one vector.
        unsafe {
            for i in (0..whole).step_by(LANES) {
                let at = self.gate.as_mut_ptr().add(i);
                let up = S::load(self.up.as_ptr().add(i));
                S::store(at, gate_mul::<S, GELU>(S::load(at), up));
            }
            if whole < n {
                let (mut g, mut u) = ([0.0; LANES], [0.0; LANES]);
                g[..n - whole].copy_from_slice(&self.gate[whole..]);
                u[..n - whole].copy_from_slice(&self.up[whole..]);
                let product = gate_mul::<S, GELU>(S::load(g.as_ptr()), S::load(u.as_ptr()));
                S::store(g.as_mut_ptr(), product);
                self.gate[whole..].copy_from_slice(&g[..n - whole]);
            }
        }
    }
}

/// `x += y`.
///
/// # Panics
/// If the two differ in length.
pub fn add(pool: &Pool, x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len());
    by_rows(pool, x, 1, |first, x| {
        for (x, y) in x.iter_mut().zip(&y[first..]) {
            *x += y;
        }
    });
}

/// Adds `bias` to each row of `x`.
///
/// # Panics
/// If `x` holds no whole number of rows.
pub fn add_bias(pool: &Pool, x: &mut [f32], bias: &[f32]) {
    by_rows(pool, x, bias.len(), |_, rows| {
        for row in rows.chunks_exact_mut(bias.len()) {
            for (x, b) in row.iter_mut().zip(bias) {
                *x += b;
            }
        }
    });
}

/// Which two elements of a head are rotated together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RopeLayout {
    /// Neighbours `2i` and `2i + 1`: the original paper, and GGUF files of `llama`.
    Interleaved,
    /// `i` and `i + rotated / 2`: GPT-NeoX, Qwen and every `transformers` model.
    Halves,
}

/// Rotates the heads of each row of `x` by its token's angles (Su et al. 2021, arXiv:2104.09864).
///
/// `x` is `[tokens, heads, head_dim]`; `cos` and `sin` are `[tokens, rotated / 2]`; elements past
/// `rotated` are left alone.
///
/// # Panics
/// If the shapes don't agree.
pub fn rope(
    isa: Isa,
    pool: &Pool,
    x: &mut [f32],
    row: usize,
    head_dim: usize,
    layout: RopeLayout,
    (cos, sin): (&[f32], &[f32]),
) {
    let tokens = x.len() / row;
    if tokens == 0 {
        return;
    }
    let half = cos.len() / tokens;
    assert!(row.is_multiple_of(head_dim) && 2 * half <= head_dim && cos.len() == tokens * half);
    assert_eq!(cos.len(), sin.len());
    by_rows(pool, x, row, |first, rows| {
        for (i, row) in rows.chunks_exact_mut(row).enumerate() {
            let at = (first + i) * half..(first + i + 1) * half;
            let (cos, sin) = (&cos[at.clone()], &sin[at]);
            // SAFETY: `isa` is available; the kernel uses checked slices only.
            unsafe { isa.run(Rope { row, head_dim, layout, cos, sin }) }
        }
    });
}

struct Rope<'a> {
    row: &'a mut [f32],
    head_dim: usize,
    layout: RopeLayout,
    cos: &'a [f32],
    sin: &'a [f32],
}

impl Kernel for Rope<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let half = self.cos.len();
        for head in self.row.chunks_exact_mut(self.head_dim) {
            match self.layout {
                RopeLayout::Halves => {
                    let (a, b) = head[..2 * half].split_at_mut(half);
                    for (((a, b), c), s) in a.iter_mut().zip(b).zip(self.cos).zip(self.sin) {
                        (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
                    }
                }
                RopeLayout::Interleaved => {
                    for ((pair, c), s) in head.chunks_exact_mut(2).zip(self.cos).zip(self.sin) {
                        let (a, b) = (pair[0], pair[1]);
                        (pair[0], pair[1]) = (a * c - b * s, b * c + a * s);
                    }
                }
            }
        }
    }
}
