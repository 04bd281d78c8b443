//! Sixteen lanes, whatever the machine: the small vocabulary every kernel is written in, once.
//!
//! A kernel is a struct that implements [`Kernel`]; [`crate::Isa::run`] compiles its body once per
//! instruction set. Everything here is `#[inline(always)]`, so that the bodies end up inside the
//! one function per instruction set that has the target features switched on. A closure that is
//! called more than once may stay outside, where every instruction becomes a call: write a function.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
#[cfg(test)]
mod tests;

/// Work that can be compiled for any instruction set.
pub(crate) trait Kernel {
    /// What it gives back.
    type Output;

    /// Does the work. Implementations are `#[inline(always)]`.
    ///
    /// # Safety
    /// The machine has the instructions of `S`, and the pointers in `self` are valid for what the
    /// kernel says it reads and writes.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;

/// The order in which a shuffle puts bytes `2h` and `2h + 1` of four lanes at the tops of words, whose
/// lower bytes become zero: no register has a byte 255.
const fn word_order(h: u32) -> [u8; 16] {
    let mut order = [255; 16];
    let mut lane = 0;
    while lane < 16 {
        order[lane + 1] = lane as u8 + 2 * h as u8;
        order[lane + 3] = lane as u8 + 2 * h as u8 + 1;
        lane += 4;
    }
    order
}

/// Vectors of sixteen lanes: `F` of f32, `I` of i32, `B` of four bytes a lane, `P` of two bf16,
/// `W` of two i16.
///
/// # Safety
/// Every method needs the instruction set of the implementing type; pointers must be valid for
/// sixteen elements (64 bytes for `B`), with no alignment asked for.
pub(crate) trait Simd: Copy {
    type F: Copy;
    type I: Copy;
    type B: Copy;
    /// Sixteen pairs of bf16.
    type P: Copy;
    /// Sixteen pairs of i16.
    type W: Copy;

    /// How many tokens the quantised matrix kernel handles at once: as many as the registers hold.
    const TOKENS: usize;
    /// Vectors that the registers hold.
    const VECTORS: usize;
    /// [`Simd::dot_signed`] works on bytes with 128 added (see there).
    const SIGNED_IS_BIASED: bool;

    unsafe fn splat(x: f32) -> Self::F;
    unsafe fn load(p: *const f32) -> Self::F;
    unsafe fn store(p: *mut f32, x: Self::F);
    /// Sixteen IEEE half-precision numbers.
    unsafe fn load_f16(p: *const u16) -> Self::F;
    unsafe fn store_f16(p: *mut u16, x: Self::F);
    unsafe fn load_bf16(p: *const u16) -> Self::F;
    /// Sixteen numbers rounded to bf16, ties to even.
    unsafe fn store_bf16(p: *mut u16, x: Self::F);
    /// Sixteen pairs of bf16, `even` before `odd`: 64 bytes.
    unsafe fn store_pairs(p: *mut u16, even: Self::F, odd: Self::F);
    unsafe fn load_pairs(p: *const u16) -> Self::P;
    /// `acc + Σ w·a` over the two bf16 of each lane; `a` is a pair, the same for each lane. The sum
    /// is in f32; in which order, and whether denormals count, depends on the machine.
    unsafe fn dot_pairs(acc: Self::F, w: Self::P, a: *const u16) -> Self::F;
    /// Byte `J` of each lane, signed, as a number.
    unsafe fn byte<const J: u32>(b: Self::B) -> Self::F;
    /// Sixteen signed bytes, as numbers.
    unsafe fn load_i8(p: *const i8) -> Self::F;
    /// Sixteen numbers of four bits in eight bytes, each 8 more than its value: the low halves of
    /// the bytes, then the high ones.
    unsafe fn load_i4(p: *const u8) -> Self::F;
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn abs(a: Self::F) -> Self::F;
    /// Nearest integer, ties to even.
    unsafe fn round(a: Self::F) -> Self::F;
    /// `a * 2^n` for whole `n` in [-126, 127].
    unsafe fn scale(a: Self::F, n: Self::F) -> Self::F;
    unsafe fn sum(a: Self::F) -> f32;
    unsafe fn largest(a: Self::F) -> f32;
    /// Sixteen rows of sixteen numbers each, one after the other at `from`, with rows and columns exchanged: to rows
    /// that start `stride` numbers apart from `to` on. All of them must be valid; they don't overlap.
    unsafe fn transpose(from: *const f32, to: *mut f32, stride: usize) {
        for row in 0..LANES {
            for column in 0..LANES {
                // SAFETY: as the caller vouches.
                unsafe { *to.add(row * stride + column) = *from.add(column * LANES + row) };
            }
        }
    }

    unsafe fn splat_i32(x: i32) -> Self::I;
    /// `a + (b << N)`.
    unsafe fn add_shifted<const N: u32>(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn to_f32(x: Self::I) -> Self::F;
    /// Rounds to i32 (ties to even) and keeps the low byte of each lane.
    unsafe fn store_i8(p: *mut i8, x: Self::F);
    /// Rounds to i32 (ties to even) and keeps the low half of each lane.
    unsafe fn store_i16(p: *mut i16, x: Self::F);

    /// Asks for the cache line at `p`, which need not be readable.
    unsafe fn prefetch(_p: *const u8) {}

    unsafe fn load_bytes(p: *const u8) -> Self::B;
    /// `(b >> N) & mask`, byte by byte.
    unsafe fn bits<const N: u32>(b: Self::B, mask: u8) -> Self::B;
    /// `((b << N) & mask)`, byte by byte.
    unsafe fn bits_up<const N: u32>(b: Self::B, mask: u8) -> Self::B;
    unsafe fn or(a: Self::B, b: Self::B) -> Self::B;
    /// `b - x`, byte by byte, modulo 256.
    unsafe fn minus(b: Self::B, x: u8) -> Self::B;
    /// The entry of `table` for each byte in 0..16.
    unsafe fn look_up(table: &[i8; 16], b: Self::B) -> Self::B;

    /// `acc + Σ w·a` over the four bytes of each lane: `w` unsigned, at most 127; `a` four signed
    /// bytes at `p`, the same for each lane.
    unsafe fn dot_unsigned(acc: Self::I, w: Self::B, a: *const i8) -> Self::I;
    /// The same for signed `w`. Where `SIGNED_IS_BIASED`, the sum is of `(w + 128)·a`, and the
    /// caller takes `128·Σa` off.
    unsafe fn dot_signed(acc: Self::I, w: Self::B, a: *const i8) -> Self::I;

    /// Bytes `2H` and `2H + 1` of each lane, signed.
    unsafe fn words<const H: u32>(b: Self::B) -> Self::W;
    /// Sixteen pairs, 64 bytes.
    unsafe fn load_words(p: *const i16) -> Self::W;
    unsafe fn store_words(p: *mut i16, w: Self::W);
    /// `acc + Σ w·a` over the two numbers of each lane; `a` is a pair, the same for each lane.
    unsafe fn dot_words(acc: Self::I, w: Self::W, a: *const i16) -> Self::I;
}

/// `e^x` to within 2 units in the last place; below -87.3 it is the smallest normal number.
///
/// Range reduction by ln 2 in two parts and the degree-5 minimax polynomial of Cephes `expf`.
///
/// # Safety
/// As for [`Simd`].
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::F) -> S::F {
    // SAFETY: the caller has S's instruction set; no memory is touched.
    unsafe {
        let x = S::min(S::max(x, S::splat(-87.336_54)), S::splat(88.0));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        let r = S::fma(n, S::splat(-0.693_359_4), x);
        let r = S::fma(n, S::splat(2.121_944_4e-4), r);
        let mut p = S::splat(1.987_569_1e-4);
        for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = S::fma(p, r, S::splat(c));
        }
        let p = S::fma(p, S::mul(r, r), S::add(r, S::splat(1.0)));
        S::scale(p, n)
    }
}

/// `2^x` to within 2 units in the last place, for `x` of at most 127; below -126 it is the smallest
/// normal number.
///
/// The polynomial has the least relative error of degree 6 on ±1/2 with `2^0 = 1`: 2.6e-9.
///
/// # Safety
/// As for [`Simd`].
#[inline(always)]
pub(crate) unsafe fn exp2<S: Simd>(x: S::F) -> S::F {
    // SAFETY: the caller has S's instruction set; no memory is touched.
    unsafe {
        let x = S::max(x, S::splat(-126.0));
        let n = S::round(x);
        let r = S::sub(x, n);
        let mut p = S::splat(1.559_467_8e-4);
        for c in [1.340_664_3e-3, 9.617_693e-3, 5.550_310_4e-2, 0.240_226_52, 0.693_147_24, 1.0] {
            p = S::fma(p, r, S::splat(c));
        }
        S::scale(p, n)
    }
}

/// Loads `n` lanes, at most sixteen; the others are zero.
///
/// # Safety
/// As for [`Simd`], with `p` valid for `n` elements.
#[inline(always)]
pub(crate) unsafe fn load_first<S: Simd>(p: *const f32, n: usize) -> S::F {
    // SAFETY: as the caller vouches; `lanes` takes all sixteen.
    unsafe {
        if n == LANES {
            return S::load(p);
        }
        let mut lanes = [0.0; LANES];
        lanes.as_mut_ptr().copy_from_nonoverlapping(p, n);
        S::load(lanes.as_ptr())
    }
}

/// Stores the first `n` lanes.
///
/// # Safety
/// As for [`Simd`], with `p` valid for `n` elements, at most sixteen.
#[inline(always)]
pub(crate) unsafe fn store_first<S: Simd>(p: *mut f32, x: S::F, n: usize) {
    // SAFETY: the caller's `p` takes `n` elements, and `lanes` takes all sixteen.
    unsafe {
        if n == LANES {
            S::store(p, x);
        } else {
            let mut lanes = [0.0; LANES];
            S::store(lanes.as_mut_ptr(), x);
            p.copy_from_nonoverlapping(lanes.as_ptr(), n);
        }
    }
}
