//! The sixteen lanes as plain arrays: what every other instruction set must agree with.

use half::{bf16, f16};

use super::{LANES, Simd};

#[derive(Clone, Copy)]
pub(crate) struct Scalar;

#[inline(always)]
fn lanes<T: Copy + Default>(f: impl Fn(usize) -> T) -> [T; LANES] {
    let mut out = [T::default(); LANES];
    for (i, o) in out.iter_mut().enumerate() {
        *o = f(i);
    }
    out
}

#[inline(always)]
fn bytes(f: impl Fn(usize) -> u8) -> [u8; 64] {
    let mut out = [0; 64];
    for (i, o) in out.iter_mut().enumerate() {
        *o = f(i);
    }
    out
}

// SAFETY of every unsafe block below: the caller's pointers are valid for sixteen elements, as
// `Simd` asks.
impl Simd for Scalar {
    type F = [f32; LANES];
    type I = [i32; LANES];
    type B = [u8; 64];
    type P = [[f32; 2]; LANES];
    type W = [[i16; 2]; LANES];

    const TOKENS: usize = 4;
    const VECTORS: usize = 4;
    const SIGNED_IS_BIASED: bool = false;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::F {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::F {
        // SAFETY: see above.
        unsafe { p.cast::<Self::F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, x: Self::F) {
        // SAFETY: see above.
        unsafe { p.cast::<Self::F>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self::F {
        // SAFETY: see above.
        let h = unsafe { p.cast::<[u16; LANES]>().read_unaligned() };
        lanes(|i| f16::from_bits(h[i]).to_f32())
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, x: Self::F) {
        // SAFETY: see above.
        unsafe {
            p.cast::<[u16; LANES]>().write_unaligned(lanes(|i| f16::from_f32(x[i]).to_bits()))
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self::F {
        // SAFETY: see above.
        let h = unsafe { p.cast::<[u16; LANES]>().read_unaligned() };
        lanes(|i| bf16::from_bits(h[i]).to_f32())
    }
    #[inline(always)]
    unsafe fn store_bf16(p: *mut u16, x: Self::F) {
        // SAFETY: see above.
        unsafe {
            p.cast::<[u16; LANES]>().write_unaligned(lanes(|i| bf16::from_f32(x[i]).to_bits()))
        }
    }
    #[inline(always)]
    unsafe fn store_pairs(p: *mut u16, even: Self::F, odd: Self::F) {
        let pair = |i| [bf16::from_f32(even[i]).to_bits(), bf16::from_f32(odd[i]).to_bits()];
        // SAFETY: see above: `p` takes sixteen pairs.
        unsafe { p.cast::<[[u16; 2]; LANES]>().write_unaligned(lanes(pair)) }
    }
    #[inline(always)]
    unsafe fn load_pairs(p: *const u16) -> Self::P {
        // SAFETY: see above.
        let pairs = unsafe { p.cast::<[[u16; 2]; LANES]>().read_unaligned() };
        lanes(|i| pairs[i].map(|x| bf16::from_bits(x).to_f32()))
    }
    #[inline(always)]
    unsafe fn dot_pairs(acc: Self::F, w: Self::P, a: *const u16) -> Self::F {
        // SAFETY: a pair at `a`, as `Simd` asks.
        let a = unsafe { a.cast::<[u16; 2]>().read_unaligned() };
        let a = a.map(|x| bf16::from_bits(x).to_f32());
        lanes(|i| acc[i] + w[i][0] * a[0] + w[i][1] * a[1])
    }
    #[inline(always)]
    unsafe fn byte<const J: u32>(b: Self::B) -> Self::F {
        lanes(|i| f32::from(b[4 * i + J as usize] as i8))
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self::F {
        // SAFETY: see above.
        let b = unsafe { p.cast::<[i8; LANES]>().read_unaligned() };
        lanes(|i| f32::from(b[i]))
    }
    #[inline(always)]
    unsafe fn load_i4(p: *const u8) -> Self::F {
        // SAFETY: see above.
        let b = unsafe { p.cast::<[u8; LANES / 2]>().read_unaligned() };
        lanes(|i| f32::from(if i < 8 { b[i] & 15 } else { b[i - 8] >> 4 }) - 8.0)
    }
    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        lanes(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        lanes(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        lanes(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
        lanes(|i| a[i] / b[i])
    }
    // Without the instruction, a fused multiply-add is a slow library call: rounding twice here is
    // within every tolerance the tests state.
    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        lanes(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
        lanes(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F {
        lanes(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn abs(a: Self::F) -> Self::F {
        lanes(|i| a[i].abs())
    }
    #[inline(always)]
    unsafe fn round(a: Self::F) -> Self::F {
        lanes(|i| a[i].round_ties_even())
    }
    #[inline(always)]
    unsafe fn scale(a: Self::F, n: Self::F) -> Self::F {
        lanes(|i| a[i] * f32::from_bits(((n[i] as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn sum(a: Self::F) -> f32 {
        // The order of the vector reductions: halves, quarters, ...
        let b: [f32; 8] = std::array::from_fn(|i| a[i] + a[i + 8]);
        let c: [f32; 4] = std::array::from_fn(|i| b[i] + b[i + 4]);
        (c[0] + c[2]) + (c[1] + c[3])
    }
    #[inline(always)]
    unsafe fn largest(a: Self::F) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    unsafe fn splat_i32(x: i32) -> Self::I {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn add_shifted<const N: u32>(a: Self::I, b: Self::I) -> Self::I {
        lanes(|i| a[i] + (b[i] << N))
    }
    #[inline(always)]
    unsafe fn to_f32(x: Self::I) -> Self::F {
        lanes(|i| x[i] as f32)
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut i8, x: Self::F) {
        // SAFETY: see above.
        unsafe {
            p.cast::<[i8; LANES]>().write_unaligned(lanes(|i| x[i].round_ties_even() as i32 as i8))
        }
    }
    #[inline(always)]
    unsafe fn store_i16(p: *mut i16, x: Self::F) {
        let words = lanes(|i| x[i].round_ties_even() as i32 as i16);
        // SAFETY: see above.
        unsafe { p.cast::<[i16; LANES]>().write_unaligned(words) }
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> Self::B {
        // SAFETY: see above.
        unsafe { p.cast::<Self::B>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn bits<const N: u32>(b: Self::B, mask: u8) -> Self::B {
        bytes(|i| (b[i] >> N) & mask)
    }
    #[inline(always)]
    unsafe fn bits_up<const N: u32>(b: Self::B, mask: u8) -> Self::B {
        bytes(|i| (b[i] << N) & mask)
    }
    #[inline(always)]
    unsafe fn or(a: Self::B, b: Self::B) -> Self::B {
        bytes(|i| a[i] | b[i])
    }
    #[inline(always)]
    unsafe fn minus(b: Self::B, x: u8) -> Self::B {
        bytes(|i| b[i].wrapping_sub(x))
    }
    #[inline(always)]
    unsafe fn look_up(table: &[i8; 16], b: Self::B) -> Self::B {
        bytes(|i| table[usize::from(b[i] & 15)] as u8)
    }
    #[inline(always)]
    unsafe fn dot_unsigned(acc: Self::I, w: Self::B, a: *const i8) -> Self::I {
        // SAFETY: four bytes at `a`, as `Simd` asks.
        let a = unsafe { a.cast::<[i8; 4]>().read_unaligned() };
        lanes(|i| acc[i] + (0..4).map(|j| i32::from(w[4 * i + j]) * i32::from(a[j])).sum::<i32>())
    }
    #[inline(always)]
    unsafe fn dot_signed(acc: Self::I, w: Self::B, a: *const i8) -> Self::I {
        // SAFETY: four bytes at `a`, as `Simd` asks.
        let a = unsafe { a.cast::<[i8; 4]>().read_unaligned() };
        lanes(|i| {
            acc[i] + (0..4).map(|j| i32::from(w[4 * i + j] as i8) * i32::from(a[j])).sum::<i32>()
        })
    }
    #[inline(always)]
    unsafe fn words<const H: u32>(b: Self::B) -> Self::W {
        let at = 2 * H as usize;
        lanes(|i| [i16::from(b[4 * i + at] as i8), i16::from(b[4 * i + at + 1] as i8)])
    }
    #[inline(always)]
    unsafe fn load_words(p: *const i16) -> Self::W {
        // SAFETY: see above: `p` has sixteen pairs.
        unsafe { p.cast::<Self::W>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_words(p: *mut i16, w: Self::W) {
        // SAFETY: see above: `p` takes sixteen pairs.
        unsafe { p.cast::<Self::W>().write_unaligned(w) }
    }
    #[inline(always)]
    unsafe fn dot_words(acc: Self::I, w: Self::W, a: *const i16) -> Self::I {
        // SAFETY: a pair at `a`, as `Simd` asks.
        let a = unsafe { a.cast::<[i16; 2]>().read_unaligned() }.map(i32::from);
        lanes(|i| acc[i] + i32::from(w[i][0]) * a[0] + i32::from(w[i][1]) * a[1])
    }
}
