//! SwiGLU for training: the gate before its activation is kept, the rest worked out again.

use super::GRAIN;
use crate::pool::Pool;
use crate::simd::{Kernel, LANES, Simd, exp, load_first, store_first};
use crate::{Isa, SendPtr};

/// `out = silu(gate) · up`: [`crate::ops::swiglu`] that leaves `gate` as it was, for the way back.
///
/// # Panics
/// If lengths differ.
pub fn swiglu(isa: Isa, pool: &Pool, gate: &[f32], up: &[f32], out: &mut [f32]) {
    assert!(gate.len() == up.len() && gate.len() == out.len());
    let out = SendPtr(out.as_mut_ptr());
    pool.for_each_chunk(gate.len(), GRAIN, |at| {
        let (gate, up) = (&gate[at.clone()], &up[at.clone()]);
        // SAFETY: chunks are disjoint ranges within `out`.
        let out = unsafe { std::slice::from_raw_parts_mut(out.get().add(at.start), at.len()) };
        // SAFETY: `isa` is available; the slices have the same length.
        unsafe { isa.run(Forward { gate, up, out }) }
    });
}

/// Backward of [`swiglu`]: writes `dgate` and `dup`.
///
/// `gate` is what went into the activation. With `σ = 1 / (1 + e^-gate)`:
///
/// ```text
/// dgate = dout · up · σ · (1 + gate · (1 - σ))
/// dup   = dout · gate · σ
/// ```
///
/// # Panics
/// If lengths differ.
pub fn swiglu_backward(
    isa: Isa,
    pool: &Pool,
    gate: &[f32],
    up: &[f32],
    dout: &[f32],
    dgate: &mut [f32],
    dup: &mut [f32],
) {
    let n = gate.len();
    assert!(up.len() == n && dout.len() == n && dgate.len() == n && dup.len() == n);
    let (dgate, dup) = (SendPtr(dgate.as_mut_ptr()), SendPtr(dup.as_mut_ptr()));
    pool.for_each_chunk(n, GRAIN, |at| {
        let (gate, up, dout) = (&gate[at.clone()], &up[at.clone()], &dout[at.clone()]);
        // SAFETY: chunks are disjoint ranges within `dgate` and `dup`.
        let (dgate, dup) = unsafe {
            (
                std::slice::from_raw_parts_mut(dgate.get().add(at.start), at.len()),
                std::slice::from_raw_parts_mut(dup.get().add(at.start), at.len()),
            )
        };
        // SAFETY: `isa` is available; the slices have the same length.
        unsafe { isa.run(Backward { gate, up, dout, dgate, dup }) }
    });
}

/// `1 / (1 + e^-x)`.
///
/// # Safety
/// As for [`Simd`].
#[inline(always)]
unsafe fn sigmoid<S: Simd>(x: S::F) -> S::F {
    // SAFETY: the caller has S's instruction set; no memory is touched.
    unsafe {
        let one = S::splat(1.0);
        S::div(one, S::add(one, exp::<S>(S::sub(S::splat(0.0), x))))
    }
}

struct Forward<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let n = self.gate.len();
        for i in (0..n).step_by(LANES) {
            let left = LANES.min(n - i);
            // SAFETY: every slice has `left` numbers from `i` on.
            unsafe {
                let gate = load_first::<S>(self.gate.as_ptr().add(i), left);
                let up = load_first::<S>(self.up.as_ptr().add(i), left);
                let out = S::mul(S::mul(gate, sigmoid::<S>(gate)), up);
                store_first::<S>(self.out.as_mut_ptr().add(i), out, left);
            }
        }
    }
}

struct Backward<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    dout: &'a [f32],
    dgate: &'a mut [f32],
    dup: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let n = self.gate.len();
        for i in (0..n).step_by(LANES) {
            let left = LANES.min(n - i);
            // SAFETY: every slice has `left` numbers from `i` on.
            unsafe {
                let gate = load_first::<S>(self.gate.as_ptr().add(i), left);
                let up = load_first::<S>(self.up.as_ptr().add(i), left);
                let dout = load_first::<S>(self.dout.as_ptr().add(i), left);
                let sigma = sigmoid::<S>(gate);
                let silu = S::mul(gate, sigma);
                // σ · (1 + gate · (1 - σ)) = σ + silu · (1 - σ)
                let slope = S::fma(silu, S::sub(S::splat(1.0), sigma), sigma);
                let dgate = S::mul(S::mul(dout, up), slope);
                store_first::<S>(self.dgate.as_mut_ptr().add(i), dgate, left);
                store_first::<S>(self.dup.as_mut_ptr().add(i), S::mul(dout, silu), left);
            }
        }
    }
}
