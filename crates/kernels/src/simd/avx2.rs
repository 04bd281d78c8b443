//! AVX2 with FMA and F16C: two registers hold the sixteen lanes.

use std::arch::x86_64::*;

use super::{Kernel, LANES, Simd};

#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// Compiles and runs a kernel with AVX2.
///
/// # Safety
/// The machine has the features named, and the kernel's own conditions hold.
#[target_feature(enable = "avx2,fma,f16c,bmi2")]
pub(crate) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: as the caller vouches.
    unsafe { kernel.run::<Avx2>() }
}

type F = [__m256; 2];
type I = [__m256i; 2];

/// The bf16 nearest to each number, ties to even, in the lower half of its lane.
#[inline(always)]
unsafe fn to_bf16(x: __m256) -> __m256i {
    // SAFETY: the caller has AVX2; no memory is touched.
    unsafe {
        let bits = _mm256_castps_si256(x);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
        let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, half));
        // Rounding could turn a NaN into a number: it becomes the quiet one.
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
        _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc0), nan)
    }
}

// SAFETY of every unsafe block below: the machine has the instructions and the pointers are valid
// for sixteen elements, as `Simd` asks of its callers.
impl Simd for Avx2 {
    type F = F;
    type I = I;
    type B = I;
    type P = [F; 2];
    type W = I;

    const TOKENS: usize = 2;
    const VECTORS: usize = 8;
    const SIGNED_IS_BIASED: bool = false;

    #[inline(always)]
    unsafe fn splat(x: f32) -> F {
        // SAFETY: see above.
        unsafe { [_mm256_set1_ps(x); 2] }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F {
        // SAFETY: see above.
        unsafe { [_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))] }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, x: F) {
        // SAFETY: see above.
        unsafe {
            _mm256_storeu_ps(p, x[0]);
            _mm256_storeu_ps(p.add(8), x[1]);
        }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> F {
        // SAFETY: see above.
        unsafe {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(p.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(p.add(8).cast())),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, x: F) {
        // SAFETY: see above.
        unsafe {
            let low = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[0]);
            let high = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[1]);
            _mm_storeu_si128(p.cast(), low);
            _mm_storeu_si128(p.add(8).cast(), high);
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> F {
        // SAFETY: see above.
        unsafe {
            let half = |p: *const u16| {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            };
            [half(p), half(p.add(8))]
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(p: *mut u16, x: F) {
        // SAFETY: see above.
        unsafe {
            let (a, b) = (to_bf16(x[0]), to_bf16(x[1]));
            // The pack works within 128-bit halves: the permutation puts the quarters in order.
            let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(a, b));
            _mm256_storeu_si256(p.cast(), packed);
        }
    }
    #[inline(always)]
    unsafe fn store_pairs(p: *mut u16, even: F, odd: F) {
        // SAFETY: see above.
        unsafe {
            for i in 0..2 {
                let odd = _mm256_slli_epi32::<16>(to_bf16(odd[i]));
                let pairs = _mm256_or_si256(to_bf16(even[i]), odd);
                _mm256_storeu_si256(p.add(16 * i).cast(), pairs);
            }
        }
    }
    #[inline(always)]
    unsafe fn load_pairs(p: *const u16) -> [F; 2] {
        // SAFETY: see above. A bf16 is the upper half of an f32.
        unsafe {
            let a = _mm256_loadu_si256(p.cast());
            let b = _mm256_loadu_si256(p.add(16).cast());
            let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
            [
                [
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(a)),
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(b)),
                ],
                [
                    _mm256_castsi256_ps(_mm256_and_si256(a, upper)),
                    _mm256_castsi256_ps(_mm256_and_si256(b, upper)),
                ],
            ]
        }
    }
    #[inline(always)]
    unsafe fn dot_pairs(acc: F, w: [F; 2], a: *const u16) -> F {
        // SAFETY: see above; a pair is read at `a`.
        unsafe {
            // Loaded into all lanes and taken apart there, it never passes by an integer register.
            let pair = _mm256_set1_epi32(a.cast::<i32>().read_unaligned());
            let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
            let even = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pair));
            let odd = _mm256_castsi256_ps(_mm256_and_si256(pair, upper));
            Self::fma(w[1], [odd; 2], Self::fma(w[0], [even; 2], acc))
        }
    }
    #[inline(always)]
    unsafe fn byte<const J: u32>(b: I) -> F {
        // SAFETY: see above. The byte goes to the top and comes back with its sign.
        unsafe {
            let up = _mm_cvtsi32_si128(24 - 8 * J as i32);
            [
                _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(_mm256_sll_epi32(b[0], up))),
                _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(_mm256_sll_epi32(b[1], up))),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> F {
        // SAFETY: see above.
        unsafe {
            let half =
                |p: *const i8| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast())));
            [half(p), half(p.add(8))]
        }
    }
    #[inline(always)]
    unsafe fn load_i4(p: *const u8) -> F {
        // SAFETY: see above.
        unsafe {
            let pairs = _mm_loadl_epi64(p.cast());
            let low = |x: __m128i| {
                let biased = _mm_and_si128(x, _mm_set1_epi8(15));
                let x = _mm_sub_epi8(biased, _mm_set1_epi8(8));
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x))
            };
            [low(pairs), low(_mm_srli_epi16::<4>(pairs))]
        }
    }
    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        // SAFETY: see above.
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        // SAFETY: see above.
        unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        // SAFETY: see above.
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        // SAFETY: see above.
        unsafe { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        // SAFETY: see above.
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        // SAFETY: see above.
        unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        // SAFETY: see above.
        unsafe { [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn abs(a: F) -> F {
        // SAFETY: see above.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            [_mm256_andnot_ps(sign, a[0]), _mm256_andnot_ps(sign, a[1])]
        }
    }
    #[inline(always)]
    unsafe fn round(a: F) -> F {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: see above.
        unsafe { [_mm256_round_ps::<NEAREST>(a[0]), _mm256_round_ps::<NEAREST>(a[1])] }
    }
    #[inline(always)]
    unsafe fn scale(a: F, n: F) -> F {
        // SAFETY: see above. `n + 127` is the exponent field of 2^n.
        unsafe {
            let half = |a: __m256, n: __m256| {
                let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
            };
            [half(a[0], n[0]), half(a[1], n[1])]
        }
    }
    #[inline(always)]
    unsafe fn sum(a: F) -> f32 {
        // SAFETY: see above.
        unsafe {
            let b = _mm256_add_ps(a[0], a[1]);
            let c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps::<1>(b));
            let d = _mm_add_ps(c, _mm_movehl_ps(c, c));
            _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)))
        }
    }
    #[inline(always)]
    unsafe fn largest(a: F) -> f32 {
        // SAFETY: see above.
        unsafe {
            let b = _mm256_max_ps(a[0], a[1]);
            let c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps::<1>(b));
            let d = _mm_max_ps(c, _mm_movehl_ps(c, c));
            _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)))
        }
    }
    /// Quarter by quarter: neighbouring rows zipped by numbers, then by pairs, then halves of registers put in their
    /// places.
    #[inline(always)]
    unsafe fn transpose(from: *const f32, to: *mut f32, stride: usize) {
        // SAFETY: see above; sixteen rows each.
        unsafe {
            for (row, column) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
                let (from, to) = (from.add(row * LANES + column), to.add(column * stride + row));
                let zero = _mm256_setzero_ps();
                let (mut zipped, mut rows) = ([zero; 8], [zero; 8]);
                for i in 0..4 {
                    let a = _mm256_loadu_ps(from.add(2 * i * LANES));
                    let b = _mm256_loadu_ps(from.add((2 * i + 1) * LANES));
                    zipped[2 * i] = _mm256_unpacklo_ps(a, b);
                    zipped[2 * i + 1] = _mm256_unpackhi_ps(a, b);
                }
                for i in 0..4 {
                    let at = i / 2 * 4 + i % 2;
                    let (a, b) = (_mm256_castps_pd(zipped[at]), _mm256_castps_pd(zipped[at + 2]));
                    rows[2 * i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
                    rows[2 * i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
                }
                // Half `h` of `rows[4 * i + c]` is column `4 * h + c` of rows `4 * i` to `4 * i + 3`.
                for c in 0..4 {
                    let column = _mm256_permute2f128_ps::<0x20>(rows[c], rows[4 + c]);
                    _mm256_storeu_ps(to.add(c * stride), column);
                    let column = _mm256_permute2f128_ps::<0x31>(rows[c], rows[4 + c]);
                    _mm256_storeu_ps(to.add((4 + c) * stride), column);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn splat_i32(x: i32) -> I {
        // SAFETY: see above.
        unsafe { [_mm256_set1_epi32(x); 2] }
    }
    #[inline(always)]
    unsafe fn add_shifted<const N: u32>(a: I, b: I) -> I {
        // SAFETY: see above. The compiler folds the count, which stands in a register.
        unsafe {
            let n = _mm_cvtsi32_si128(N as i32);
            [
                _mm256_add_epi32(a[0], _mm256_sll_epi32(b[0], n)),
                _mm256_add_epi32(a[1], _mm256_sll_epi32(b[1], n)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn to_f32(x: I) -> F {
        // SAFETY: see above.
        unsafe { [_mm256_cvtepi32_ps(x[0]), _mm256_cvtepi32_ps(x[1])] }
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut i8, x: F) {
        // SAFETY: see above. The two packs work within 128-bit halves; the final permutation puts
        // the four groups of four back in order. Values are within ±127, so nothing saturates.
        unsafe {
            let words = _mm256_packs_epi32(_mm256_cvtps_epi32(x[0]), _mm256_cvtps_epi32(x[1]));
            let bytes = _mm256_packs_epi16(words, words);
            let order = _mm256_setr_epi32(0, 4, 1, 5, 0, 0, 0, 0);
            let ordered = _mm256_permutevar8x32_epi32(bytes, order);
            _mm_storeu_si128(p.cast(), _mm256_castsi256_si128(ordered));
        }
    }
    #[inline(always)]
    unsafe fn store_i16(p: *mut i16, x: F) {
        // SAFETY: see above. The pack works within 128-bit halves, as in `store_bf16`.
        unsafe {
            let words = _mm256_packs_epi32(_mm256_cvtps_epi32(x[0]), _mm256_cvtps_epi32(x[1]));
            let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            _mm256_storeu_si256(p.cast(), ordered);
        }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        // SAFETY: see above; a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> I {
        // SAFETY: see above.
        unsafe { [_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(32).cast())] }
    }
    #[inline(always)]
    unsafe fn bits<const N: u32>(b: I, mask: u8) -> I {
        // SAFETY: see above. Shifting 16 bits at a time lets a neighbour's bits in; the mask of
        // at most 8 - N bits takes them out again. The count is given as a register because the
        // immediate form wants an i32 constant; the compiler folds it.
        unsafe {
            let m = _mm256_set1_epi8(mask as i8);
            let n = _mm_cvtsi32_si128(N as i32);
            [
                _mm256_and_si256(_mm256_srl_epi16(b[0], n), m),
                _mm256_and_si256(_mm256_srl_epi16(b[1], n), m),
            ]
        }
    }
    #[inline(always)]
    unsafe fn bits_up<const N: u32>(b: I, mask: u8) -> I {
        // SAFETY: see above, as for `bits`.
        unsafe {
            let m = _mm256_set1_epi8(mask as i8);
            let n = _mm_cvtsi32_si128(N as i32);
            [
                _mm256_and_si256(_mm256_sll_epi16(b[0], n), m),
                _mm256_and_si256(_mm256_sll_epi16(b[1], n), m),
            ]
        }
    }
    #[inline(always)]
    unsafe fn or(a: I, b: I) -> I {
        // SAFETY: see above.
        unsafe { [_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn minus(b: I, x: u8) -> I {
        // SAFETY: see above.
        unsafe {
            let x = _mm256_set1_epi8(x as i8);
            [_mm256_sub_epi8(b[0], x), _mm256_sub_epi8(b[1], x)]
        }
    }
    #[inline(always)]
    unsafe fn look_up(table: &[i8; 16], b: I) -> I {
        // SAFETY: see above; the table holds 16 bytes.
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            [_mm256_shuffle_epi8(table, b[0]), _mm256_shuffle_epi8(table, b[1])]
        }
    }
    #[inline(always)]
    unsafe fn dot_unsigned(acc: I, w: I, a: *const i8) -> I {
        // SAFETY: see above; four bytes are read at `a`. With w ≤ 127 and |a| ≤ 127 the pairwise
        // sums of `maddubs` stay within 16 bits.
        unsafe {
            let a = _mm256_set1_epi32(a.cast::<i32>().read_unaligned());
            let ones = _mm256_set1_epi16(1);
            let half =
                |acc, w| _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(w, a), ones));
            [half(acc[0], w[0]), half(acc[1], w[1])]
        }
    }
    #[inline(always)]
    unsafe fn dot_signed(acc: I, w: I, a: *const i8) -> I {
        // SAFETY: see above. w·a = |w|·(a with w's sign); |w| ≤ 128 and |a| ≤ 127 keep the
        // pairwise sums within 16 bits.
        unsafe {
            let a = _mm256_set1_epi32(a.cast::<i32>().read_unaligned());
            let ones = _mm256_set1_epi16(1);
            let half = |acc, w| {
                let products = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
                _mm256_add_epi32(acc, _mm256_madd_epi16(products, ones))
            };
            [half(acc[0], w[0]), half(acc[1], w[1])]
        }
    }
    #[inline(always)]
    unsafe fn words<const H: u32>(b: I) -> I {
        // SAFETY: see above. Each byte goes to the top of its word and comes back with its sign.
        unsafe {
            let order = const { &super::word_order(H) };
            let up = _mm256_broadcastsi128_si256(_mm_loadu_si128(order.as_ptr().cast()));
            [
                _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(b[0], up)),
                _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(b[1], up)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_words(p: *const i16) -> I {
        // SAFETY: see above.
        unsafe { [_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(16).cast())] }
    }
    #[inline(always)]
    unsafe fn store_words(p: *mut i16, w: I) {
        // SAFETY: see above.
        unsafe {
            _mm256_storeu_si256(p.cast(), w[0]);
            _mm256_storeu_si256(p.add(16).cast(), w[1]);
        }
    }
    #[inline(always)]
    unsafe fn dot_words(acc: I, w: I, a: *const i16) -> I {
        // SAFETY: see above; a pair is read at `a`.
        unsafe {
            let a = _mm256_set1_epi32(a.cast::<i32>().read_unaligned());
            [
                _mm256_add_epi32(acc[0], _mm256_madd_epi16(w[0], a)),
                _mm256_add_epi32(acc[1], _mm256_madd_epi16(w[1], a)),
            ]
        }
    }
}
