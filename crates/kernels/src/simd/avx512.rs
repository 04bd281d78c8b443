//! AVX-512 with VNNI, and with or without BF16: one register holds the sixteen lanes.

use std::arch::x86_64::*;

use super::{Kernel, Simd};

#[derive(Clone, Copy)]
pub(crate) struct Avx512<const BF16: bool>;

/// Compiles and runs a kernel with AVX-512.
///
/// # Safety
/// The machine has the features named, and the kernel's own conditions hold.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c,bmi2")]
pub(crate) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: as the caller vouches.
    unsafe { kernel.run::<Avx512<false>>() }
}

/// Compiles and runs a kernel with AVX-512 and its BF16 instructions.
///
/// # Safety
/// The machine has the features named, and the kernel's own conditions hold.
#[target_feature(
    enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c,bmi2"
)]
pub(crate) unsafe fn run_bf16<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: as the caller vouches.
    unsafe { kernel.run::<Avx512<true>>() }
}

/// The bf16 nearest to each number, ties to even, in the lower half of its lane.
#[inline(always)]
unsafe fn to_bf16(x: __m512) -> __m512i {
    // SAFETY: the caller has AVX-512; no memory is touched.
    unsafe {
        let bits = _mm512_castps_si512(x);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
        let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, half));
        // Rounding could turn a NaN into a number: it becomes the quiet one.
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        _mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc0))
    }
}

/// The order that zips sixteen numbers with the sixteen behind them.
static ZIP: [u16; 32] = {
    let mut order = [0; 32];
    let mut i = 0;
    while i < 32 {
        order[i] = (i / 2 + 16 * (i % 2)) as u16;
        i += 1;
    }
    order
};

// SAFETY of every unsafe block below: the machine has the instructions and the pointers are valid
// for sixteen elements, as `Simd` asks of its callers.
impl<const BF16: bool> Simd for Avx512<BF16> {
    type F = __m512;
    type I = __m512i;
    type B = __m512i;
    type P = __m512i;
    type W = __m512i;

    const TOKENS: usize = 8;
    const VECTORS: usize = 32;
    const SIGNED_IS_BIASED: bool = true;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, x: __m512) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(p, x) }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, x: __m512) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_si256(p.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x)) }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(p: *mut u16, x: __m512) {
        // SAFETY: see above; the instruction is there if `BF16` says so.
        unsafe {
            let packed = if BF16 {
                std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x))
            } else {
                _mm512_cvtepi32_epi16(to_bf16(x))
            };
            _mm256_storeu_si256(p.cast(), packed);
        }
    }
    #[inline(always)]
    unsafe fn store_pairs(p: *mut u16, even: __m512, odd: __m512) {
        // SAFETY: see above; the instruction is there if `BF16` says so.
        unsafe {
            let pairs = if BF16 {
                let one_after_the_other =
                    std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(odd, even));
                let zipped = _mm512_loadu_si512(ZIP.as_ptr().cast());
                _mm512_permutexvar_epi16(zipped, one_after_the_other)
            } else {
                _mm512_or_si512(to_bf16(even), _mm512_slli_epi32::<16>(to_bf16(odd)))
            };
            _mm512_storeu_si512(p.cast(), pairs);
        }
    }
    #[inline(always)]
    unsafe fn load_pairs(p: *const u16) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn dot_pairs(acc: __m512, w: __m512i, a: *const u16) -> __m512 {
        // SAFETY: see above; a pair is read at `a`. A bf16 is the upper half of an f32.
        unsafe {
            let pair = a.cast::<i32>().read_unaligned();
            if BF16 {
                let a = _mm512_set1_epi32(pair);
                _mm512_dpbf16_ps(
                    acc,
                    std::mem::transmute::<__m512i, __m512bh>(w),
                    std::mem::transmute::<__m512i, __m512bh>(a),
                )
            } else {
                let upper = 0xffff_0000_u32 as i32;
                let even = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(w));
                let odd = _mm512_castsi512_ps(_mm512_and_si512(w, _mm512_set1_epi32(upper)));
                let a_even = Self::splat(f32::from_bits((pair << 16) as u32));
                let a_odd = Self::splat(f32::from_bits((pair & upper) as u32));
                Self::fma(odd, a_odd, Self::fma(even, a_even, acc))
            }
        }
    }
    #[inline(always)]
    unsafe fn byte<const J: u32>(b: __m512i) -> __m512 {
        // SAFETY: see above. The byte goes to the top and comes back with its sign.
        unsafe {
            let up = _mm_cvtsi32_si128(24 - 8 * J as i32);
            _mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(_mm512_sll_epi32(b, up)))
        }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_i4(p: *const u8) -> __m512 {
        // SAFETY: see above. The permutation looks at no more than the low four bits of a lane.
        unsafe {
            let pairs = _mm_loadl_epi64(p.cast());
            let bytes = _mm_unpacklo_epi64(pairs, _mm_srli_epi16::<4>(pairs));
            let value: [f32; 16] = std::array::from_fn(|i| i as f32 - 8.0);
            _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(bytes), _mm512_loadu_ps(value.as_ptr()))
        }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn abs(a: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_abs_ps(a) }
    }
    #[inline(always)]
    unsafe fn round(a: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    unsafe fn scale(a: __m512, n: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_scalef_ps(a, n) }
    }
    #[inline(always)]
    unsafe fn sum(a: __m512) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    unsafe fn largest(a: __m512) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_max_ps(a) }
    }
    /// Neighbouring rows zipped by numbers, then by pairs, then quarters of registers put in their places.
    #[inline(always)]
    unsafe fn transpose(from: *const f32, to: *mut f32, stride: usize) {
        // SAFETY: see above; sixteen rows each.
        unsafe {
            let zero = _mm512_setzero_ps();
            let (mut zipped, mut rows) = ([zero; 16], [zero; 16]);
            for i in 0..8 {
                let (a, b) =
                    (_mm512_loadu_ps(from.add(32 * i)), _mm512_loadu_ps(from.add(32 * i + 16)));
                zipped[2 * i] = _mm512_unpacklo_ps(a, b);
                zipped[2 * i + 1] = _mm512_unpackhi_ps(a, b);
            }
            for i in 0..8 {
                let at = i / 2 * 4 + i % 2;
                let (a, b) = (_mm512_castps_pd(zipped[at]), _mm512_castps_pd(zipped[at + 2]));
                rows[2 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                rows[2 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
            }
            // Quarter `q` of `rows[4 * i + c]` is column `4 * q + c` of rows `4 * i` to `4 * i + 3`.
            for c in 0..4 {
                let [a, b, x, y] = [rows[c], rows[4 + c], rows[8 + c], rows[12 + c]];
                let even = [_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(x, y)];
                let odd = [_mm512_shuffle_f32x4::<0xdd>(a, b), _mm512_shuffle_f32x4::<0xdd>(x, y)];
                for (q, [first, second]) in [even, odd].into_iter().enumerate() {
                    let column = _mm512_shuffle_f32x4::<0x88>(first, second);
                    _mm512_storeu_ps(to.add((4 * q + c) * stride), column);
                    let column = _mm512_shuffle_f32x4::<0xdd>(first, second);
                    _mm512_storeu_ps(to.add((4 * (q + 2) + c) * stride), column);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn splat_i32(x: i32) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi32(x) }
    }
    #[inline(always)]
    unsafe fn add_shifted<const N: u32>(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_add_epi32(a, _mm512_slli_epi32::<N>(b)) }
    }
    #[inline(always)]
    unsafe fn to_f32(x: __m512i) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_cvtepi32_ps(x) }
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut i8, x: __m512) {
        // SAFETY: see above.
        unsafe { _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x))) }
    }
    #[inline(always)]
    unsafe fn store_i16(p: *mut i16, x: __m512) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_si256(p.cast(), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(x))) }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        // SAFETY: see above; a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn bits<const N: u32>(b: __m512i, mask: u8) -> __m512i {
        // SAFETY: see above. Shifting 16 bits at a time lets a neighbour's bits in; the mask of
        // at most 8 - N bits takes them out again.
        unsafe { _mm512_and_si512(_mm512_srli_epi16::<N>(b), _mm512_set1_epi8(mask as i8)) }
    }
    #[inline(always)]
    unsafe fn bits_up<const N: u32>(b: __m512i, mask: u8) -> __m512i {
        // SAFETY: see above, as for `bits`.
        unsafe { _mm512_and_si512(_mm512_slli_epi16::<N>(b), _mm512_set1_epi8(mask as i8)) }
    }
    #[inline(always)]
    unsafe fn or(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    unsafe fn minus(b: __m512i, x: u8) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_sub_epi8(b, _mm512_set1_epi8(x as i8)) }
    }
    #[inline(always)]
    unsafe fn look_up(table: &[i8; 16], b: __m512i) -> __m512i {
        // SAFETY: see above; the table holds 16 bytes.
        unsafe {
            let table = _mm_loadu_si128(table.as_ptr().cast());
            _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), b)
        }
    }
    #[inline(always)]
    unsafe fn dot_unsigned(acc: __m512i, w: __m512i, a: *const i8) -> __m512i {
        // SAFETY: see above; four bytes are read at `a`.
        unsafe { _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(a.cast::<i32>().read_unaligned())) }
    }
    #[inline(always)]
    unsafe fn dot_signed(acc: __m512i, w: __m512i, a: *const i8) -> __m512i {
        // SAFETY: see above. Flipping the sign bit of a signed byte adds 128 to it.
        unsafe { Self::dot_unsigned(acc, _mm512_xor_si512(w, _mm512_set1_epi8(i8::MIN)), a) }
    }
    #[inline(always)]
    unsafe fn words<const H: u32>(b: __m512i) -> __m512i {
        // SAFETY: see above. Each byte goes to the top of its word and comes back with its sign.
        unsafe {
            let order = const { &super::word_order(H) };
            let up = _mm512_broadcast_i32x4(_mm_loadu_si128(order.as_ptr().cast()));
            _mm512_srai_epi16::<8>(_mm512_shuffle_epi8(b, up))
        }
    }
    #[inline(always)]
    unsafe fn load_words(p: *const i16) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store_words(p: *mut i16, w: __m512i) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_si512(p.cast(), w) }
    }
    #[inline(always)]
    unsafe fn dot_words(acc: __m512i, w: __m512i, a: *const i16) -> __m512i {
        // SAFETY: see above; a pair is read at `a`.
        unsafe { _mm512_dpwssd_epi32(acc, w, _mm512_set1_epi32(a.cast::<i32>().read_unaligned())) }
    }
}
