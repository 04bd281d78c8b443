//! Quantised rows against those of ggml and of the `gguf` Python package, and against what the
//! formats promise.

use kernels::blocks::{BlockError, BlockType, dequantize_row};
use proptest::prelude::*;
use weights::quantize::{QuantizeError, WRITABLE, quantize_row, quantize_weighted_row};

const WEIGHTS: usize = 64 * 256;

/// The rows of goldens/make_quantize.py.
fn golden_row(kind: u64) -> Vec<f32> {
    let noise = |i: u64| {
        let mut z = (i + 1 + WEIGHTS as u64 * kind).wrapping_mul(0x9E3779B97F4A7C15);
        z = (z ^ z >> 30).wrapping_mul(0xBF58476D1CE4E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D049BB133111EB);
        z ^= z >> 31;
        let parts: i64 = (0..4).map(|k| (z >> (16 * k) & 0xFFFF) as i64).sum();
        (parts - 131070) as f32 / 65536.0
    };
    let weight = |i: u64| {
        let x = noise(i);
        match kind {
            0 => x * 0.02,
            1 => x * x * x,
            2 => x * 0.1 + 1.0,
            3 => x * 0.01 - 0.0625,
            4 => x / (1 << (i / 32 % 12)) as f32,
            5 => {
                if (i / 16).is_multiple_of(3) {
                    0.0
                } else {
                    x * 0.5
                }
            }
            6 => noise(i / 64 * 64) * 0.25,
            7 => x * 1e-6,
            8 => x * 10000.0,
            9 => {
                if i.is_multiple_of(97) {
                    x * 4.0
                } else {
                    x * 0.001
                }
            }
            _ => unreachable!("the goldens have kinds 0 to 9"),
        }
    };
    (0..WEIGHTS as u64).map(weight).collect()
}

/// The importances of goldens/make_quantize.py.
fn golden_importance() -> Vec<f32> {
    let of = |(i, x): (usize, &f32)| if i.is_multiple_of(61) { 0.0 } else { x * x + 0.001 };
    golden_row(1).iter().enumerate().map(of).collect()
}

fn quantized(ty: BlockType, x: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0xAA; ty.row_bytes(x.len()).expect("whole blocks")];
    quantize_row(ty, x, &mut bytes).expect("finite weights");
    bytes
}

fn round_trip(ty: BlockType, x: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    dequantize_row(ty, &quantized(ty, x), &mut y).expect("a row just made");
    y
}

fn root_mean_square(x: impl Iterator<Item = f32> + Clone) -> f64 {
    let n = x.clone().count() as f64;
    (x.map(|x| f64::from(x).powi(2)).sum::<f64>() / n).sqrt()
}

#[test]
fn bytes_are_those_of_ggml_and_the_gguf_package() {
    let mut wrong = Vec::new();
    let mut rows = 0;
    for line in include_str!("goldens/quantize.txt").lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [name, kind, hash, first] = fields[..] else { panic!("four fields: {line}") };
        let ty: BlockType = name.trim_end_matches('+').parse().unwrap();
        let row = golden_row(kind.parse().unwrap());
        let mut bytes = quantized(ty, &row);
        if name.ends_with('+') {
            quantize_weighted_row(ty, &row, &golden_importance(), &mut bytes).unwrap();
        }

        let hex: String =
            bytes[..ty.block_bytes()].iter().map(|byte| format!("{byte:02x}")).collect();
        let fnv1a = bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3)
        });
        if format!("{fnv1a:016x}") != hash {
            let place = if hex == first { "after the first block" } else { "in the first block" };
            wrong.push(format!("{name}, row kind {kind}: differs {place}"));
        }
        rows += 1;
    }
    // F32, F16, BF16 and Q8_0 ask for no importances.
    assert_eq!(rows, 10 * (2 * WRITABLE.len() - 4));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Errors go where they cost little: their cost is less than without importances, though the errors
/// themselves may be greater.
#[test]
fn importances_lower_what_they_count() {
    let (x, importance) = (golden_row(0), golden_importance());
    let cost = |bytes: &[u8], ty| {
        let mut y = vec![0.0; x.len()];
        dequantize_row(ty, bytes, &mut y).unwrap();
        let terms = x.iter().zip(&y).zip(&importance);
        terms.map(|((x, y), w)| f64::from(w * (x - y) * (x - y))).sum::<f64>()
    };
    for ty in WRITABLE {
        let plain = quantized(ty, &x);
        let mut weighted = plain.clone();
        quantize_weighted_row(ty, &x, &importance, &mut weighted).unwrap();
        if matches!(ty, BlockType::F32 | BlockType::F16 | BlockType::BF16 | BlockType::Q8_0) {
            assert_eq!(plain, weighted, "{ty}");
        } else {
            let (plain, weighted) = (cost(&plain, ty), cost(&weighted, ty));
            assert!(weighted < 0.95 * plain, "{ty}: {weighted:e} and {plain:e}");
        }
    }
    let error = quantize_weighted_row(BlockType::Q4_K, &x, &importance[1..], &mut []).unwrap_err();
    assert_eq!(error, QuantizeError::Importance { weights: x.len(), found: x.len() - 1 });
}

/// More bits, less error: the order of the formats on bell-shaped weights, and how far each is off.
#[test]
fn relative_error_is_what_the_bits_buy() {
    let x = golden_row(0);
    let norm = root_mean_square(x.iter().copied());
    for (ty, bound) in [
        (BlockType::F32, 0.0),
        (BlockType::F16, 2.5e-4),
        (BlockType::BF16, 2e-3),
        (BlockType::Q8_0, 6e-3),
        (BlockType::Q6_K, 0.022),
        (BlockType::Q5_K, 0.04),
        (BlockType::Q5_1, 0.04),
        (BlockType::Q5_0, 0.05),
        (BlockType::Q4_K, 0.08),
        (BlockType::IQ4_XS, 0.09),
        (BlockType::IQ4_NL, 0.09),
        (BlockType::Q4_1, 0.08),
        (BlockType::Q4_0, 0.1),
        (BlockType::Q3_K, 0.18),
        (BlockType::Q2_K, 0.35),
    ] {
        let y = round_trip(ty, &x);
        let error = root_mean_square(x.iter().zip(&y).map(|(x, y)| x - y)) / norm;
        assert!(error <= bound, "{ty}: {error}");
        assert!(error >= bound / 3.0, "{ty}: {error}, the bound {bound} says nothing");
    }
}

#[test]
fn bfloat16_and_half_round_ties_to_even() {
    // 1 + 2^-8 is halfway between two bf16; 1 + 2^-11 between two f16.
    for (ty, halfway) in [(BlockType::BF16, 1.0 / 256.0), (BlockType::F16, 1.0 / 2048.0f32)] {
        let spacing = 2.0 * halfway;
        assert_eq!(
            round_trip(ty, &[1.0 + halfway, 1.0 + spacing + halfway]),
            [1.0, 1.0 + 2.0 * spacing],
            "{ty}"
        );
    }
}

#[test]
fn weights_that_cannot_be_stored_are_named() {
    for ty in WRITABLE {
        let mut x = vec![0.5; 512];
        let mut bytes = vec![7; ty.row_bytes(512).unwrap()];
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            x[301] = value;
            let error = quantize_row(ty, &x, &mut bytes).unwrap_err();
            assert!(matches!(error, QuantizeError::NotFinite { position: 301, .. }), "{error:?}");
            assert!(error.to_string().starts_with("weight 301 of the row is"), "{error}");
        }
        x[301] = f32::MAX;
        match quantize_row(ty, &x, &mut bytes) {
            Ok(()) => assert_eq!(ty, BlockType::F32),
            Err(error) => {
                assert!(
                    matches!(error, QuantizeError::TooLarge { position: 301, .. }),
                    "{error:?}"
                );
                assert!(error.to_string().contains("keep this tensor as F32"), "{error}");
                assert!(bytes.iter().all(|byte| *byte == 7), "{ty}: written to before the error");
            }
        }
    }
}

#[test]
fn types_that_are_only_read_are_refused() {
    let x = [0.5; 256];
    let mut refused = 0;
    for ty in BlockType::ALL.into_iter().filter(|ty| !WRITABLE.contains(ty)) {
        let mut bytes = vec![7; ty.row_bytes(256).unwrap()];
        let error = quantize_row(ty, &x, &mut bytes).unwrap_err();
        assert_eq!(error, QuantizeError::ReadOnly { ty });
        assert_eq!(quantize_weighted_row(ty, &x, &x, &mut bytes).unwrap_err(), error);
        let text = error.to_string();
        assert!(text.starts_with(ty.name()) && text.ends_with("IQ4_XS, BF16"), "{text}");
        assert!(bytes.iter().all(|byte| *byte == 7), "{ty}: written to in spite of the error");
        refused += 1;
    }
    assert_eq!(refused, 9);
}

#[test]
fn lengths_that_do_not_belong_together_are_errors() {
    for ty in WRITABLE {
        let x = vec![1.0; 512];
        let expected = ty.row_bytes(512).unwrap();
        for found in [0, expected - 1, expected + 1] {
            let error = quantize_row(ty, &x, &mut vec![0; found]).unwrap_err();
            let row = BlockError::RowBytes { ty, weights: 512, expected, found };
            assert_eq!(error, QuantizeError::Row(row));
        }
        if ty.block_len() > 1 {
            let error = quantize_row(ty, &x[..511], &mut vec![0; expected]).unwrap_err();
            assert_eq!(error, QuantizeError::Row(BlockError::PartialBlock { ty, weights: 511 }));
        }
        assert_eq!(quantize_row(ty, &[], &mut []), Ok(()));
    }
}

/// Rows of two blocks whose weights span a few or many orders of magnitude, with zeros among them.
fn row() -> impl Strategy<Value = Vec<f32>> {
    (-20i32..15, 0i32..20).prop_flat_map(|(exponent, span)| {
        let weight = (-1.0f32..1.0, 0..=span, 0..8u8).prop_map(move |(x, down, zero)| {
            if zero == 0 { 0.0 } else { x * 2f32.powi(exponent - down) }
        });
        prop::collection::vec(weight, 512)
    })
}

/// By how much a weight may change at most, as a share of the largest magnitude among the weights
/// that share its scale (or super-block).
fn worst_share(ty: BlockType) -> (usize, f32) {
    match ty {
        BlockType::F32 => (1, 0.0),
        BlockType::F16 => (1, 1.0 / 2048.0),
        BlockType::BF16 => (1, 1.0 / 256.0),
        // Half a step, and a whole one at the end that has no partner: 8 but not -8.
        BlockType::Q4_0 => (32, 1.0 / 8.0),
        BlockType::Q5_0 => (32, 1.0 / 16.0),
        // The range is at most twice the magnitude: half of 2/15 and 2/31.
        BlockType::Q4_1 => (32, 1.0 / 15.0),
        BlockType::Q5_1 => (32, 1.0 / 31.0),
        BlockType::Q8_0 => (32, 0.5 / 127.0),
        // The searches weigh errors and may give up single weights for the good of the others.
        BlockType::IQ4_NL => (32, 0.17),
        BlockType::IQ4_XS => (256, 0.17),
        BlockType::Q2_K => (256, 0.75),
        BlockType::Q3_K => (256, 0.35),
        BlockType::Q4_K => (256, 0.17),
        BlockType::Q5_K => (256, 0.1),
        BlockType::Q6_K => (256, 0.03),
        other => unreachable!("{other} is not written"),
    }
}

proptest! {
    #[test]
    fn no_weight_strays_further_than_its_format_allows(
        ty in prop::sample::select(&WRITABLE[..]),
        x in row(),
    ) {
        let y = round_trip(ty, &x);
        let (group, share) = worst_share(ty);
        for (g, (x, y)) in x.chunks(group).zip(y.chunks(group)).enumerate() {
            let largest = x.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            // Scales are halves: a relative error of 2^-11 and an absolute one of 2^-25, both times
            // the largest integer a scale is multiplied with.
            let slack = largest / 1024.0 + 127.0 * 2f32.powi(-25) * 63.0;
            for (j, (x, y)) in x.iter().zip(y).enumerate() {
                let error = (x - y).abs();
                let allowed = if ty == BlockType::F32 { 0.0 } else { share * largest + slack };
                prop_assert!(error <= allowed, "{ty} {}: {x:e} became {y:e}", g * group + j);
            }
        }
    }

    /// What a format can express exactly it keeps: quantising a second time changes nothing.
    #[test]
    fn rounding_only_happens_once(
        ty in prop::sample::select(vec![
            BlockType::F32, BlockType::F16, BlockType::BF16, BlockType::Q8_0,
        ]),
        x in row(),
    ) {
        let once = round_trip(ty, &x);
        let twice = round_trip(ty, &once);
        let tolerance = if ty == BlockType::Q8_0 { 2f32.powi(-10) } else { 0.0 };
        for (once, twice) in once.iter().zip(&twice) {
            prop_assert!((once - twice).abs() <= tolerance * once.abs(), "{once:e} {twice:e}");
        }
    }

    /// Any bit pattern at all is either stored or refused.
    #[test]
    fn any_weights_are_stored_or_refused(
        ty in prop::sample::select(&WRITABLE[..]),
        bits in prop::collection::vec(any::<u32>(), 256),
        shrink in 0u32..3,
    ) {
        // Whole rows of arbitrary bits nearly always hold something too large; clearing the top
        // exponent bits leaves numbers of every size below 1, subnormals included.
        let mask = [u32::MAX, 0xBFFF_FFFF, 0x87FF_FFFF][shrink as usize];
        let x: Vec<f32> = bits.iter().map(|bits| f32::from_bits(bits & mask)).collect();
        let mut bytes = vec![0; ty.row_bytes(256).unwrap()];
        let storable = x.iter().all(|x| x.is_finite() && (x.abs() <= 65504.0 || ty == BlockType::F32
            || (ty == BlockType::BF16 && x.abs() <= half::bf16::MAX.to_f32())));
        prop_assert_eq!(quantize_row(ty, &x, &mut bytes).is_ok(), storable);
        if storable {
            let mut y = vec![0.0; 256];
            dequantize_row(ty, &bytes, &mut y).unwrap();
            prop_assert!(y.iter().all(|y| y.is_finite()), "{ty} made {y:?} of {x:?}");
        }
    }
}
