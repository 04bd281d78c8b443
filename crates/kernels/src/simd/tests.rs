//! Every operation of every instruction set against the scalar one, lane by lane.

use half::{bf16, f16};
use proptest::prelude::*;

use super::{Kernel, LANES, Simd, exp};
use crate::Isa;

/// What an operation gave, in lanes (or bytes) widened to f64, and by how much it may differ from
/// what the scalar set gave, in parts of the magnitudes that went into it.
struct Seen {
    operation: &'static str,
    lanes: Vec<f64>,
    tolerance: f64,
}

/// All operations on the same numbers.
#[derive(Clone)]
struct All<'a> {
    a: &'a [f32; LANES],
    b: &'a [f32; LANES],
    c: &'a [f32; LANES],
    /// Sixty-four bytes, of any value.
    bytes: &'a [u8; 64],
    /// Four activations, within ±127.
    x: &'a [i8; 4],
}

/// One part in 2^22: two roundings instead of one.
const ROUNDED: f64 = 1.0 / (1 << 22) as f64;
/// Each is within two units in the last place.
const EXP: f64 = 4.0 / (1 << 23) as f64;

impl Kernel for All<'_> {
    type Output = Vec<Seen>;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Vec<Seen> {
        let mut seen = Vec::new();
        let mut see = |operation, lanes: Vec<f64>, tolerance| {
            seen.push(Seen { operation, lanes, tolerance });
        };
        // SAFETY: the caller has the instructions; all pointers are to arrays of sixteen elements,
        // or as many as the operation asks for.
        unsafe {
            let [a, b, c] = [self.a, self.b, self.c].map(|x| S::load(x.as_ptr()));
            let floats = |x: S::F| {
                let mut lanes = [0.0f32; LANES];
                S::store(lanes.as_mut_ptr(), x);
                lanes.map(f64::from).to_vec()
            };
            see("add", floats(S::add(a, b)), 0.0);
            see("sub", floats(S::sub(a, b)), 0.0);
            see("mul", floats(S::mul(a, b)), 0.0);
            see("div", floats(S::div(a, b)), 0.0);
            see("max", floats(S::max(a, b)), 0.0);
            see("min", floats(S::min(a, b)), 0.0);
            see("abs", floats(S::abs(a)), 0.0);
            see("round", floats(S::round(a)), 0.0);
            see("splat", floats(S::splat(self.a[0])), 0.0);
            see("fma", floats(S::fma(a, b, c)), ROUNDED);
            let powers = S::round(S::min(S::max(b, S::splat(-126.0)), S::splat(127.0)));
            see("scale", floats(S::scale(S::splat(1.5), powers)), 0.0);
            // Bounded: a value near e^88 would hide the others' errors.
            let bounded = S::min(S::max(a, S::splat(-87.0)), S::splat(10.0));
            see("exp", floats(exp::<S>(bounded)), EXP);
            see("sum", vec![f64::from(S::sum(a))], 0.0);
            see("largest", vec![f64::from(S::largest(a))], 0.0);

            let mut h = [0u16; 2 * LANES];
            S::store_f16(h.as_mut_ptr(), a);
            see("store_f16", h.map(f64::from).to_vec(), 0.0);
            see("load_f16", floats(S::load_f16(h.as_ptr())), 0.0);
            S::store_bf16(h.as_mut_ptr(), a);
            see("store_bf16", h.map(f64::from).to_vec(), 0.0);
            see("load_bf16", floats(S::load_bf16(h.as_ptr())), 0.0);
            S::store_pairs(h.as_mut_ptr(), a, b);
            see("store_pairs", h.map(f64::from).to_vec(), 0.0);
            // Any address will do for the one pair: an odd number and the next even one.
            let pairs = S::load_pairs(h.as_ptr());
            see("dot_pairs", floats(S::dot_pairs(c, pairs, h.as_ptr().add(3))), ROUNDED);

            let w = S::load_bytes(self.bytes.as_ptr());
            see("byte 0", floats(S::byte::<0>(w)), 0.0);
            see("byte 1", floats(S::byte::<1>(w)), 0.0);
            see("byte 2", floats(S::byte::<2>(w)), 0.0);
            see("byte 3", floats(S::byte::<3>(w)), 0.0);
            see("load_i8", floats(S::load_i8(self.bytes.as_ptr().cast())), 0.0);
            see("load_i4", floats(S::load_i4(self.bytes.as_ptr())), 0.0);
            let mut small = [0i8; LANES];
            S::store_i8(small.as_mut_ptr(), S::min(S::max(a, S::splat(-127.0)), S::splat(127.0)));
            see("store_i8", small.map(f64::from).to_vec(), 0.0);

            // Bytes are looked at through `byte`, integers through `to_f32`.
            let bytes = |b: S::B| {
                let parts = [S::byte::<0>(b), S::byte::<1>(b), S::byte::<2>(b), S::byte::<3>(b)];
                parts.map(floats).concat()
            };
            see("bits 0", bytes(S::bits::<0>(w, 15)), 0.0);
            see("bits 1", bytes(S::bits::<1>(w, 4)), 0.0);
            see("bits 4", bytes(S::bits::<4>(w, 15)), 0.0);
            see("bits 6", bytes(S::bits::<6>(w, 3)), 0.0);
            see("bits_up 1", bytes(S::bits_up::<1>(w, 16)), 0.0);
            see("bits_up 4", bytes(S::bits_up::<4>(w, 0x30)), 0.0);
            see("minus", bytes(S::minus(w, 32)), 0.0);
            see("or", bytes(S::or(w, S::bits_up::<2>(w, 0xfc))), 0.0);
            let table = &crate::blocks::KVALUES_IQ4NL;
            see("look_up", bytes(S::look_up(table, S::bits::<4>(w, 15))), 0.0);

            let (zero, x) = (S::splat_i32(0), self.x.as_ptr());
            let unsigned = S::dot_unsigned(S::splat_i32(-7), S::bits::<0>(w, 127), x);
            see("dot_unsigned", floats(S::to_f32(unsigned)), 0.0);
            let bias = if S::SIGNED_IS_BIASED {
                -128 * self.x.iter().map(|&x| i32::from(x)).sum::<i32>()
            } else {
                0
            };
            let signed = S::dot_signed(S::splat_i32(bias), w, x);
            see("dot_signed", floats(S::to_f32(signed)), 0.0);
            see("add_shifted", floats(S::to_f32(S::add_shifted::<7>(unsigned, signed))), 0.0);
            // Within what 16-bit kernels are given: weights of a byte, activations of 15 bits.
            let mut words = [0i16; 2 * LANES];
            S::store_words(words.as_mut_ptr(), S::words::<0>(w));
            see("words 0", words.map(f64::from).to_vec(), 0.0);
            S::store_words(words.as_mut_ptr(), S::words::<1>(w));
            see("words 1", words.map(f64::from).to_vec(), 0.0);
            let pair = [127 * i16::from(self.x[0]), -128 * i16::from(self.x[1])];
            let loaded = S::load_words(words.as_ptr());
            let dot = S::dot_words(S::splat_i32(-7), loaded, pair.as_ptr());
            see("dot_words", floats(S::to_f32(dot)), 0.0);
            let mut short = [0i16; LANES];
            let (least, most) = (S::splat(-16256.0), S::splat(16256.0));
            let bounded = S::min(S::max(S::mul(a, b), least), most);
            S::store_i16(short.as_mut_ptr(), bounded);
            see("store_i16", short.map(f64::from).to_vec(), 0.0);
            see("splat_i32", floats(S::to_f32(zero)), 0.0);
        }
        seen
    }
}

/// What every instruction set gives, beside what the scalar one gives.
fn compare(all: &All<'_>) {
    // SAFETY: the scalar set is everywhere; the kernel's pointers are its own.
    let expected = unsafe { Isa::Scalar.run(all.clone()) };
    let magnitude = |x: &[f32]| x.iter().fold(0.0f64, |m, x| m.max(f64::from(x.abs())));
    let inputs = magnitude(all.a) * magnitude(all.b) + magnitude(all.c);
    for isa in Isa::available() {
        // SAFETY: the set is available.
        let found = unsafe { isa.run(all.clone()) };
        for (found, expected) in found.iter().zip(&expected) {
            let scale = match expected.operation {
                "exp" => None,
                "dot_pairs" => Some(3.0 * (magnitude(all.a) + magnitude(all.b)).powi(2) + inputs),
                _ => Some(inputs),
            };
            for (i, (x, y)) in found.lanes.iter().zip(&expected.lanes).enumerate() {
                let within = (x - y).abs() <= expected.tolerance * scale.unwrap_or(y.abs());
                assert!(
                    within || x.to_bits() == y.to_bits(),
                    "{isa} {} [{i}]: {x} instead of {y}",
                    expected.operation
                );
            }
        }
    }
}

#[test]
fn ties_denormals_and_limits() {
    let a = [
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        0.0,
        65504.0,
        -65504.0,
        65520.0, // f16's largest, and beyond
        6.0e-8,
        3.0e-8,
        6.1e-5, // f16's denormals
        1.003_906_3,
        1.011_718_8, // halfway between two bf16
        127.0,
        -127.0,
    ];
    let b = std::array::from_fn(|i| [126.0, -126.0, 127.0, 1.0, -3.0][i % 5]);
    let c = std::array::from_fn(|i| i as f32 - 8.0);
    for first in [0u8, 64, 128, 192] {
        let bytes = std::array::from_fn(|i| first + i as u8);
        for x in [[127; 4], [-127; 4], [127, -127, 127, -127], [0, 1, -1, 64]] {
            compare(&All { a: &a, b: &b, c: &c, bytes: &bytes, x: &x });
        }
    }
}

#[test]
fn what_is_no_number_stays_none_in_fewer_bits() {
    struct Narrow([f32; LANES]);
    impl Kernel for Narrow {
        type Output = [[u16; LANES]; 2];

        #[inline(always)]
        unsafe fn run<S: Simd>(self) -> [[u16; LANES]; 2] {
            let mut out = [[0; LANES]; 2];
            // SAFETY: the caller has the instructions; the arrays have sixteen elements.
            unsafe {
                let x = S::load(self.0.as_ptr());
                S::store_f16(out[0].as_mut_ptr(), x);
                S::store_bf16(out[1].as_mut_ptr(), x);
            }
            out
        }
    }
    // Among them the payloads that rounding would carry into the exponent or lose.
    let bits = [0x7fc0_0000, 0x7f80_0001, 0x7fff_ffff, 0xffff_ffff, 0x7f80_ffff, 0xff80_0000];
    let x = std::array::from_fn(|i| f32::from_bits(bits[i % bits.len()]));
    for isa in Isa::available() {
        // SAFETY: the set is available.
        let [halves, brains] = unsafe { isa.run(Narrow(x)) };
        for i in 0..LANES {
            let (half, brain) = (f16::from_bits(halves[i]), bf16::from_bits(brains[i]));
            assert_eq!(half.is_nan(), x[i].is_nan(), "{isa} f16 {:#x}", x[i].to_bits());
            assert_eq!(brain.is_nan(), x[i].is_nan(), "{isa} bf16 {:#x}", x[i].to_bits());
            assert!(x[i].is_nan() || half == f16::NEG_INFINITY && brain == bf16::NEG_INFINITY);
        }
    }
}

proptest! {
    #[test]
    fn any_numbers(
        a in prop::array::uniform16(-90.0f32..90.0),
        b in prop::array::uniform16(-126.0f32..126.0),
        c in prop::array::uniform16(-1e4f32..1e4),
        bytes in prop::collection::vec(any::<u8>(), 64),
        x in prop::array::uniform4(-127i8..=127),
    ) {
        let bytes: [u8; 64] = bytes.try_into().unwrap();
        compare(&All { a: &a, b: &b, c: &c, bytes: &bytes, x: &x });
    }
}
