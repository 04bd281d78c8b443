//! NEON with dot products (Armv8.2 `dotprod`; every Armv8.4 machine): four registers hold the
//! sixteen lanes.
//!
//! The dot product and the conversions from and to half precision are written as assembly, since
//! their intrinsics came, or will come, later than the oldest compiler we build with.
//!
//! `smmla` (`i8mm`) is left alone. It multiplies two rows × eight k by two columns × eight k, and
//! the panels hold four rows × four k a register, so pairs of groups would have to be zipped, and
//! the sums, 2 × 2 a register, unzipped before each block's scale. With an activation's upper and
//! lower bytes as the two columns, a block of 32 of two tokens would take 64 multiplications, 32
//! zips and 16 unzips where `sdot` takes 128 multiplications: less than it promises, and only where
//! memory isn't the limit. It would pay in a kernel that zips once for many tokens.

use std::arch::aarch64::*;
use std::arch::asm;

use super::{Kernel, Simd};

#[derive(Clone, Copy)]
pub(crate) struct Neon;

/// Compiles and runs a kernel with NEON and its dot products.
///
/// # Safety
/// The machine has the features named, and the kernel's own conditions hold.
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: as the caller vouches.
    unsafe { kernel.run::<Neon>() }
}

type F = [float32x4_t; 4];
type I = [int32x4_t; 4];
type B = [uint8x16_t; 4];

/// The same instruction on each of the four registers.
macro_rules! each {
    ($f:expr, $($x:expr),+) => {
        [$f($($x[0]),+), $f($($x[1]),+), $f($($x[2]),+), $f($($x[3]),+)]
    };
}

/// Eight half-precision numbers, widened.
#[inline(always)]
unsafe fn widen_f16(p: *const u16) -> [float32x4_t; 2] {
    let (low, high): (float32x4_t, float32x4_t);
    // SAFETY: the caller's `p` is valid for eight numbers; the assembly touches only its operands.
    unsafe {
        let h = vld1q_u16(p);
        asm!(
            "fcvtl {low:v}.4s, {h:v}.4h",
            "fcvtl2 {high:v}.4s, {h:v}.8h",
            h = in(vreg) h,
            low = out(vreg) low,
            high = lateout(vreg) high,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    [low, high]
}

/// Eight numbers in half precision: rounded to the nearest, ties to even, as the control register
/// says unless somebody changed it.
#[inline(always)]
unsafe fn narrow_f16(p: *mut u16, low: float32x4_t, high: float32x4_t) {
    let h: uint16x8_t;
    // SAFETY: the caller's `p` takes eight numbers; the assembly touches only its operands.
    unsafe {
        asm!(
            "fcvtn {h:v}.4h, {low:v}.4s",
            "fcvtn2 {h:v}.8h, {high:v}.4s",
            low = in(vreg) low,
            high = in(vreg) high,
            h = out(vreg) h,
            options(pure, nomem, nostack, preserves_flags),
        );
        vst1q_u16(p, h);
    }
}

/// `acc + Σ w·a` over the four signed bytes of each lane; `a` begins with four signed bytes.
#[inline(always)]
unsafe fn sdot(mut acc: int32x4_t, w: uint8x16_t, a: int32x2_t) -> int32x4_t {
    // SAFETY: the caller has the instruction; the assembly touches only its operands.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {w:v}.16b, {a:v}.4b[0]",
            acc = inout(vreg) acc,
            w = in(vreg) w,
            a = in(vreg) a,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// The bf16 nearest to each number, ties to even, in the lower half of its lane.
#[inline(always)]
unsafe fn to_bf16(x: float32x4_t) -> uint32x4_t {
    // SAFETY: the caller has NEON; no memory is touched.
    unsafe {
        let bits = vreinterpretq_u32_f32(x);
        let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
        let half = vaddq_u32(odd, vdupq_n_u32(0x7fff));
        let rounded = vshrq_n_u32::<16>(vaddq_u32(bits, half));
        // Rounding could turn a NaN into a number: it becomes the quiet one.
        vbslq_u32(vceqq_f32(x, x), rounded, vdupq_n_u32(0x7fc0))
    }
}

/// `(b << n) & mask`, byte by byte, to the right if `n` is negative: a constant folds into an
/// immediate.
#[inline(always)]
unsafe fn shift_bytes(b: uint8x16_t, n: i8, mask: u8) -> uint8x16_t {
    // SAFETY: the caller has NEON; no memory is touched.
    unsafe { vandq_u8(vshlq_u8(b, vdupq_n_s8(n)), vdupq_n_u8(mask)) }
}

/// The byte that stands `up` bits below the top of each lane, with its sign, as a number.
#[inline(always)]
unsafe fn byte_at(b: uint8x16_t, up: i32) -> float32x4_t {
    // SAFETY: the caller has NEON; no memory is touched.
    unsafe {
        let top = vshlq_s32(vreinterpretq_s32_u8(b), vdupq_n_s32(up));
        vcvtq_f32_s32(vshrq_n_s32::<24>(top))
    }
}

/// Four bf16, which are the upper halves of f32.
#[inline(always)]
unsafe fn widen_bf16(h: uint16x4_t) -> float32x4_t {
    // SAFETY: the caller has NEON; no memory is touched.
    unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(h)) }
}

/// `a * 2^n`: `n + 127` is the exponent field of the power.
#[inline(always)]
unsafe fn scaled(a: float32x4_t, n: float32x4_t) -> float32x4_t {
    // SAFETY: the caller has NEON; no memory is touched.
    unsafe {
        let exponent = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127));
        vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent)))
    }
}

// SAFETY of every unsafe block below: the machine has the instructions and the pointers are valid
// for sixteen elements, as `Simd` asks of its callers.
impl Simd for Neon {
    type F = F;
    type I = I;
    type B = B;
    type P = [F; 2];
    type W = [int16x8_t; 4];

    // Two tokens' sums take 24 of the 32 registers, and the weights four.
    const TOKENS: usize = 2;
    const VECTORS: usize = 8;
    const SIGNED_IS_BIASED: bool = false;

    #[inline(always)]
    unsafe fn splat(x: f32) -> F {
        // SAFETY: see above.
        unsafe { [vdupq_n_f32(x); 4] }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F {
        // SAFETY: see above.
        unsafe { [vld1q_f32(p), vld1q_f32(p.add(4)), vld1q_f32(p.add(8)), vld1q_f32(p.add(12))] }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, x: F) {
        // SAFETY: see above.
        unsafe {
            vst1q_f32(p, x[0]);
            vst1q_f32(p.add(4), x[1]);
            vst1q_f32(p.add(8), x[2]);
            vst1q_f32(p.add(12), x[3]);
        }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> F {
        // SAFETY: see above.
        unsafe {
            let (a, b) = (widen_f16(p), widen_f16(p.add(8)));
            [a[0], a[1], b[0], b[1]]
        }
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, x: F) {
        // SAFETY: see above.
        unsafe {
            narrow_f16(p, x[0], x[1]);
            narrow_f16(p.add(8), x[2], x[3]);
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> F {
        // SAFETY: see above.
        unsafe {
            let (a, b) = (vld1q_u16(p), vld1q_u16(p.add(8)));
            [
                widen_bf16(vget_low_u16(a)),
                widen_bf16(vget_high_u16(a)),
                widen_bf16(vget_low_u16(b)),
                widen_bf16(vget_high_u16(b)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(p: *mut u16, x: F) {
        // SAFETY: see above.
        unsafe {
            let h = each!(vmovn_u32, each!(to_bf16, x));
            vst1q_u16(p, vcombine_u16(h[0], h[1]));
            vst1q_u16(p.add(8), vcombine_u16(h[2], h[3]));
        }
    }
    #[inline(always)]
    unsafe fn store_pairs(p: *mut u16, even: F, odd: F) {
        // SAFETY: see above. The odd ones are inserted above the even ones.
        unsafe {
            let pairs = each!(vsliq_n_u32::<16>, each!(to_bf16, even), each!(to_bf16, odd));
            for i in 0..4 {
                vst1q_u16(p.add(8 * i), vreinterpretq_u16_u32(pairs[i]));
            }
        }
    }
    #[inline(always)]
    unsafe fn load_pairs(p: *const u16) -> [F; 2] {
        // SAFETY: see above. A bf16 is the upper half of an f32.
        unsafe {
            let mut pairs = [[vdupq_n_f32(0.0); 4]; 2];
            for i in 0..4 {
                let pair = vreinterpretq_u32_u16(vld1q_u16(p.add(8 * i)));
                pairs[0][i] = vreinterpretq_f32_u32(vshlq_n_u32::<16>(pair));
                let upper = vandq_u32(pair, vdupq_n_u32(0xffff_0000));
                pairs[1][i] = vreinterpretq_f32_u32(upper);
            }
            pairs
        }
    }
    #[inline(always)]
    unsafe fn dot_pairs(acc: F, w: [F; 2], a: *const u16) -> F {
        // SAFETY: see above; a pair is read at `a`.
        unsafe {
            let pair = vdupq_n_u32(a.cast::<u32>().read_unaligned());
            let even = vreinterpretq_f32_u32(vshlq_n_u32::<16>(pair));
            let odd = vreinterpretq_f32_u32(vandq_u32(pair, vdupq_n_u32(0xffff_0000)));
            Self::fma(w[1], [odd; 4], Self::fma(w[0], [even; 4], acc))
        }
    }
    #[inline(always)]
    unsafe fn byte<const J: u32>(b: B) -> F {
        // SAFETY: see above.
        unsafe { each!(byte_at, b, [24 - 8 * J as i32; 4]) }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> F {
        // SAFETY: see above.
        unsafe {
            let bytes = vld1q_s8(p);
            let low = vmovl_s8(vget_low_s8(bytes));
            let high = vmovl_s8(vget_high_s8(bytes));
            let words = [
                vmovl_s16(vget_low_s16(low)),
                vmovl_s16(vget_high_s16(low)),
                vmovl_s16(vget_low_s16(high)),
                vmovl_s16(vget_high_s16(high)),
            ];
            each!(vcvtq_f32_s32, words)
        }
    }
    #[inline(always)]
    unsafe fn load_i4(p: *const u8) -> F {
        // SAFETY: see above; eight bytes are read.
        unsafe {
            let pairs = vld1_u8(p);
            let biased = vcombine_u8(vand_u8(pairs, vdup_n_u8(15)), vshr_n_u8::<4>(pairs));
            let bytes = vsubq_s8(vreinterpretq_s8_u8(biased), vdupq_n_s8(8));
            let mut unpacked = [0i8; 16];
            vst1q_s8(unpacked.as_mut_ptr(), bytes);
            Self::load_i8(unpacked.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        // SAFETY: see above.
        unsafe { each!(vaddq_f32, a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        // SAFETY: see above.
        unsafe { each!(vsubq_f32, a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        // SAFETY: see above.
        unsafe { each!(vmulq_f32, a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        // SAFETY: see above.
        unsafe { each!(vdivq_f32, a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        // SAFETY: see above.
        unsafe { each!(vfmaq_f32, c, a, b) }
    }
    // The forms that take the number where the other is NaN, as `f32::max` does.
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        // SAFETY: see above.
        unsafe { each!(vmaxnmq_f32, a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        // SAFETY: see above.
        unsafe { each!(vminnmq_f32, a, b) }
    }
    #[inline(always)]
    unsafe fn abs(a: F) -> F {
        // SAFETY: see above.
        unsafe { each!(vabsq_f32, a) }
    }
    #[inline(always)]
    unsafe fn round(a: F) -> F {
        // SAFETY: see above.
        unsafe { each!(vrndnq_f32, a) }
    }
    #[inline(always)]
    unsafe fn scale(a: F, n: F) -> F {
        // SAFETY: see above.
        unsafe { each!(scaled, a, n) }
    }
    #[inline(always)]
    unsafe fn sum(a: F) -> f32 {
        // SAFETY: see above. The order of the other sets: halves, quarters, ...
        unsafe {
            let b = vaddq_f32(vaddq_f32(a[0], a[2]), vaddq_f32(a[1], a[3]));
            vpadds_f32(vadd_f32(vget_low_f32(b), vget_high_f32(b)))
        }
    }
    #[inline(always)]
    unsafe fn largest(a: F) -> f32 {
        // SAFETY: see above.
        unsafe { vmaxnmvq_f32(vmaxnmq_f32(vmaxnmq_f32(a[0], a[1]), vmaxnmq_f32(a[2], a[3]))) }
    }
    #[inline(always)]
    unsafe fn splat_i32(x: i32) -> I {
        // SAFETY: see above.
        unsafe { [vdupq_n_s32(x); 4] }
    }
    #[inline(always)]
    unsafe fn add_shifted<const N: u32>(a: I, b: I) -> I {
        // SAFETY: see above. The compiler folds the count, which stands in a register.
        unsafe { each!(vaddq_s32, a, each!(vshlq_s32, b, [vdupq_n_s32(N as i32); 4])) }
    }
    #[inline(always)]
    unsafe fn to_f32(x: I) -> F {
        // SAFETY: see above.
        unsafe { each!(vcvtq_f32_s32, x) }
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut i8, x: F) {
        // SAFETY: see above.
        unsafe {
            let h = each!(vmovn_s32, each!(vcvtnq_s32_f32, x));
            let low = vmovn_s16(vcombine_s16(h[0], h[1]));
            let high = vmovn_s16(vcombine_s16(h[2], h[3]));
            vst1q_s8(p, vcombine_s8(low, high));
        }
    }
    #[inline(always)]
    unsafe fn store_i16(p: *mut i16, x: F) {
        // SAFETY: see above.
        unsafe {
            let h = each!(vmovn_s32, each!(vcvtnq_s32_f32, x));
            vst1q_s16(p, vcombine_s16(h[0], h[1]));
            vst1q_s16(p.add(8), vcombine_s16(h[2], h[3]));
        }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        // SAFETY: see above; a prefetch reads nothing.
        unsafe {
            asm!("prfm pldl1keep, [{p}]", p = in(reg) p, options(readonly, nostack, preserves_flags))
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> B {
        // SAFETY: see above.
        unsafe { [vld1q_u8(p), vld1q_u8(p.add(16)), vld1q_u8(p.add(32)), vld1q_u8(p.add(48))] }
    }
    #[inline(always)]
    unsafe fn bits<const N: u32>(b: B, mask: u8) -> B {
        // SAFETY: see above.
        unsafe { each!(shift_bytes, b, [-(N as i8); 4], [mask; 4]) }
    }
    #[inline(always)]
    unsafe fn bits_up<const N: u32>(b: B, mask: u8) -> B {
        // SAFETY: see above.
        unsafe { each!(shift_bytes, b, [N as i8; 4], [mask; 4]) }
    }
    #[inline(always)]
    unsafe fn or(a: B, b: B) -> B {
        // SAFETY: see above.
        unsafe { each!(vorrq_u8, a, b) }
    }
    #[inline(always)]
    unsafe fn minus(b: B, x: u8) -> B {
        // SAFETY: see above.
        unsafe { each!(vsubq_u8, b, [vdupq_n_u8(x); 4]) }
    }
    #[inline(always)]
    unsafe fn look_up(table: &[i8; 16], b: B) -> B {
        // SAFETY: see above; the table holds 16 bytes.
        unsafe { each!(vqtbl1q_u8, [vld1q_u8(table.as_ptr().cast()); 4], b) }
    }
    #[inline(always)]
    unsafe fn dot_unsigned(acc: I, w: B, a: *const i8) -> I {
        // SAFETY: see above. Up to 127 an unsigned byte and a signed one are the same.
        unsafe { Self::dot_signed(acc, w, a) }
    }
    #[inline(always)]
    unsafe fn dot_signed(acc: I, w: B, a: *const i8) -> I {
        // SAFETY: see above; four bytes are read at `a`.
        unsafe {
            let a = vset_lane_s32::<0>(a.cast::<i32>().read_unaligned(), vdup_n_s32(0));
            each!(sdot, acc, w, [a; 4])
        }
    }
    #[inline(always)]
    unsafe fn words<const H: u32>(b: B) -> Self::W {
        // SAFETY: see above; the order has sixteen bytes. Each byte goes to the top of its word and
        // comes back with its sign.
        unsafe {
            let order = vld1q_u8(const { &super::word_order(H) }.as_ptr());
            let word = |b| vshrq_n_s16::<8>(vreinterpretq_s16_u8(vqtbl1q_u8(b, order)));
            [word(b[0]), word(b[1]), word(b[2]), word(b[3])]
        }
    }
    #[inline(always)]
    unsafe fn load_words(p: *const i16) -> Self::W {
        // SAFETY: see above.
        unsafe { [vld1q_s16(p), vld1q_s16(p.add(8)), vld1q_s16(p.add(16)), vld1q_s16(p.add(24))] }
    }
    #[inline(always)]
    unsafe fn store_words(p: *mut i16, w: Self::W) {
        // SAFETY: see above.
        unsafe {
            vst1q_s16(p, w[0]);
            vst1q_s16(p.add(8), w[1]);
            vst1q_s16(p.add(16), w[2]);
            vst1q_s16(p.add(24), w[3]);
        }
    }
    #[inline(always)]
    unsafe fn dot_words(acc: I, w: Self::W, a: *const i16) -> I {
        // SAFETY: see above; a pair is read at `a`.
        unsafe {
            let a = vreinterpretq_s16_s32(vdupq_n_s32(a.cast::<i32>().read_unaligned()));
            let dot = |acc, w| {
                let low = vmull_s16(vget_low_s16(w), vget_low_s16(a));
                vaddq_s32(acc, vpaddq_s32(low, vmull_high_s16(w, a)))
            };
            [dot(acc[0], w[0]), dot(acc[1], w[1]), dot(acc[2], w[2]), dot(acc[3], w[3])]
        }
    }
}
