//! AdamW, and the norm of a gradient.

use half::bf16;

use super::GRAIN;
use crate::pool::Pool;
use crate::simd::{Kernel, LANES, Simd, load_first};
use crate::{Isa, SendPtr};

/// Adam with decoupled weight decay (Loshchilov and Hutter 2017, arXiv:1711.05101).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AdamW {
    /// How far a step goes, about.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of a parameter that is taken off in each step, times the learning rate.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> AdamW {
        AdamW { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 }
    }
}

/// A tensor that is trained, its gradient and the optimizer's state, all of the same length.
pub struct Parameter<'a> {
    /// The parameter itself.
    pub value: &'a mut [f32],
    /// Its gradient.
    pub grad: &'a [f32],
    /// The first moment; zeros before the first step.
    pub m: &'a mut [f32],
    /// The second moment; zeros before the first step.
    pub v: &'a mut [f32],
    /// Where the new value goes as bf16, rounded to the nearest, ties to even (subnormals may
    /// become zero, as the machine has it).
    pub bf16: Option<&'a mut [bf16]>,
}

impl AdamW {
    /// One step, the `step`-th (from 1 on), with the gradient multiplied by `grad_scale` (see
    /// [`clip_scale`]):
    ///
    /// ```text
    /// value -= learning_rate · weight_decay · value
    /// m = beta1 · m + (1 - beta1) · grad
    /// v = beta2 · v + (1 - beta2) · grad²
    /// value -= learning_rate · m/(1 - beta1^step) / (sqrt(v/(1 - beta2^step)) + eps)
    /// ```
    ///
    /// Every number by itself: the threads make no difference, and neither does the instruction
    /// set.
    ///
    /// # Panics
    /// If lengths differ or `step` is 0.
    pub fn step(&self, isa: Isa, pool: &Pool, step: u32, grad_scale: f32, p: Parameter<'_>) {
        let n = p.value.len();
        assert!(step > 0, "steps are counted from 1");
        assert!(p.grad.len() == n && p.m.len() == n && p.v.len() == n);
        assert!(p.bf16.as_ref().is_none_or(|b| b.len() == n));
        let correction = |beta: f64| 1.0 - beta.powf(f64::from(step));
        let rates = Rates {
            grad_scale,
            keep: (1.0 - self.learning_rate * self.weight_decay) as f32,
            beta1: [self.beta1 as f32, (1.0 - self.beta1) as f32],
            beta2: [self.beta2 as f32, (1.0 - self.beta2) as f32],
            eps: self.eps as f32,
            size: (self.learning_rate / correction(self.beta1)) as f32,
            root: (1.0 / correction(self.beta2).sqrt()) as f32,
        };
        let value = SendPtr(p.value.as_mut_ptr());
        let (m, v) = (SendPtr(p.m.as_mut_ptr()), SendPtr(p.v.as_mut_ptr()));
        let rounded = p.bf16.map(|b| SendPtr(b.as_mut_ptr()));
        pool.for_each_chunk(n, GRAIN, |at| {
            let (start, len) = (at.start, at.len());
            // SAFETY: chunks are disjoint ranges within slices of `n` numbers; `isa` is available.
            unsafe {
                isa.run(Step {
                    rates,
                    grad: &p.grad[at],
                    value: std::slice::from_raw_parts_mut(value.get().add(start), len),
                    m: std::slice::from_raw_parts_mut(m.get().add(start), len),
                    v: std::slice::from_raw_parts_mut(v.get().add(start), len),
                    rounded: rounded
                        .map(|b| std::slice::from_raw_parts_mut(b.get().add(start), len)),
                });
            }
        });
    }
}

/// What is the same for all numbers of a step.
#[derive(Clone, Copy)]
struct Rates {
    grad_scale: f32,
    /// What weight decay leaves of a value.
    keep: f32,
    /// How much of a moment stays, and how much of the gradient comes in.
    beta1: [f32; 2],
    beta2: [f32; 2],
    eps: f32,
    /// `learning_rate / (1 - beta1^step)`
    size: f32,
    /// `1 / sqrt(1 - beta2^step)`
    root: f32,
}

struct Step<'a> {
    rates: Rates,
    grad: &'a [f32],
    value: &'a mut [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
    rounded: Option<&'a mut [bf16]>,
}

impl Kernel for Step<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Rates { grad_scale, keep, beta1, beta2, eps, size, root } = self.rates;
        // A plain loop: the compiler makes vectors of it, and none of its operations is rounded
        // differently for that.
        let state = self.m.iter_mut().zip(self.v.iter_mut());
        for ((value, grad), (m, v)) in self.value.iter_mut().zip(self.grad).zip(state) {
            let grad = grad * grad_scale;
            *m = beta1[0] * *m + beta1[1] * grad;
            *v = beta2[0] * *v + beta2[1] * (grad * grad);
            *value = *value * keep - size * *m / (v.sqrt() * root + eps);
        }
        let Some(rounded) = self.rounded else { return };
        let whole = rounded.len() / LANES * LANES;
        for i in (0..whole).step_by(LANES) {
            // SAFETY: both slices have a vector from `i` on; a bf16 is its sixteen bits.
            unsafe {
                let x = S::load(self.value.as_ptr().add(i));
                S::store_bf16(rounded.as_mut_ptr().add(i).cast(), x);
            }
        }
        for (to, x) in rounded[whole..].iter_mut().zip(&self.value[whole..]) {
            *to = bf16::from_f32(*x);
        }
    }
}

/// Numbers whose squares are summed by one thread, and those summed in f32 before they are in f64.
const NORM_PART: usize = 64 << 10;
const NORM_BLOCK: usize = 4 << 10;

/// The root of the sum of all squares of all gradients; the same for any number of threads.
///
/// Infinite or NaN where a gradient is, or where its square is no f32: better not to step then.
pub fn global_norm(isa: Isa, pool: &Pool, grads: &[&[f32]]) -> f32 {
    let parts: Vec<&[f32]> = grads.iter().flat_map(|g| g.chunks(NORM_PART)).collect();
    let mut sums = vec![0.0; parts.len()];
    let out = SendPtr(sums.as_mut_ptr());
    pool.for_each_chunk(parts.len(), 1, |range| {
        for i in range {
            let blocks = parts[i].chunks(NORM_BLOCK);
            // SAFETY: `isa` is available; one thread has part `i`.
            unsafe { *out.get().add(i) = blocks.map(|x| f64::from(isa.run(Squares(x)))).sum() }
        }
    });
    sums.iter().sum::<f64>().sqrt() as f32
}

/// What to multiply gradients by, so that their norm, which is `norm`, is at most `max_norm`: 1 if
/// it is (Pascanu et al. 2012, arXiv:1211.5063).
pub fn clip_scale(norm: f32, max_norm: f32) -> f32 {
    if norm > max_norm { max_norm / norm } else { 1.0 }
}

/// `Σ x²`.
struct Squares<'a>(&'a [f32]);

impl Kernel for Squares<'_> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f32 {
        let n = self.0.len();
        // SAFETY: no more is read than there is.
        unsafe {
            // Four sums, because each addition waits for the one before.
            let mut sums = [S::splat(0.0); 4];
            for i in (0..n).step_by(LANES) {
                let x = load_first::<S>(self.0.as_ptr().add(i), LANES.min(n - i));
                sums[i / LANES % 4] = S::fma(x, x, sums[i / LANES % 4]);
            }
            S::sum(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])))
        }
    }
}
