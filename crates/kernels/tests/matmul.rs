//! Every storage type, on every instruction set of this machine, against a slow and obvious
//! product in f64.

mod block_scales;

use block_scales::set_scales;
use kernels::blocks::{BlockType, dequantize_row};
use kernels::matmul::{Matrix, Product, Quantized, matmul, matmul_each};
use kernels::{Arena, Isa, Pool};
use proptest::prelude::*;

/// A small generator, so that failures name a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Within ±1.
    fn number(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Random blocks with scales of a sensible size (random bits elsewhere).
fn random_weights(random: &mut Random, ty: BlockType, rows: usize, cols: usize) -> Vec<u8> {
    let size = ty.block_bytes();
    let mut bytes: Vec<u8> =
        (0..rows * ty.row_bytes(cols).unwrap()).map(|_| random.next() as u8).collect();
    for block in bytes.chunks_exact_mut(size) {
        match ty {
            BlockType::F32 => block.copy_from_slice(&random.number().to_le_bytes()),
            BlockType::F16 => {
                block.copy_from_slice(&half::f16::from_f32(random.number()).to_le_bytes())
            }
            BlockType::BF16 => {
                block.copy_from_slice(&half::bf16::from_f32(random.number()).to_le_bytes());
            }
            _ => {}
        }
        set_scales(ty, block, || half::f16::from_f32(random.number() * 0.1).to_bits());
    }
    bytes
}

/// What the 15-bit rounding of activations makes of `x`.
fn rounded(x: &[f32]) -> Vec<f64> {
    x.chunks(32)
        .flat_map(|block| {
            let largest = block.iter().fold(0f32, |m, x| m.max(x.abs()));
            let inverse = if largest > 0.0 { 16256.0 / largest } else { 0.0 };
            let d = largest / 16256.0;
            block.iter().map(move |x| f64::from((x * inverse).round_ties_even()) * f64::from(d))
        })
        .collect()
}

fn check(isa: Isa, threads: usize, ty: BlockType, (rows, cols, tokens): (usize, usize, usize)) {
    let mut random = Random((rows * 1_000_003 + cols * 101 + tokens) as u64);
    let bytes = random_weights(&mut random, ty, rows, cols);
    let x: Vec<f32> = (0..tokens * cols).map(|_| random.number()).collect();
    let row_bytes = ty.row_bytes(cols).unwrap();

    let pool = Pool::new(threads);
    let weight = Matrix::pack(&pool, ty, rows, cols, &bytes, &mut Arena::default()).unwrap();
    let mut out = vec![f32::NAN; tokens * rows];
    let mut scratch = Quantized::default();
    matmul(isa, &pool, &x, &mut [Product { weight: &weight, out: &mut out }], &mut scratch);

    let exact: Vec<f64> =
        if ty.block_len() == 1 { x.iter().map(|x| f64::from(*x)).collect() } else { rounded(&x) };
    let mut w = vec![0.0; cols];
    for r in 0..rows {
        dequantize_row(ty, &bytes[r * row_bytes..(r + 1) * row_bytes], &mut w).unwrap();
        for t in 0..tokens {
            let x = &exact[t * cols..(t + 1) * cols];
            let terms = w.iter().zip(x).map(|(w, x)| f64::from(*w) * x);
            let (sum, size) = terms.fold((0.0, 0.0), |(s, a), v| (s + v, a + v.abs()));
            let got = f64::from(out[t * rows + r]);
            // Minima cancel against scales: what is rounded is larger than the terms.
            let tolerance = 2e-5 * size.max(1.0);
            assert!(
                (got - sum).abs() <= tolerance,
                "{ty:?} on {isa}, {threads} threads, {rows}×{cols}, row {r}, token {t}: \
                 {got} instead of {sum}"
            );
        }
    }
}

#[test]
fn every_type_on_every_instruction_set() {
    for isa in Isa::available() {
        for ty in BlockType::ALL {
            for tokens in [1, 2, 3, 5, 8, 13, 27] {
                check(isa, 2, ty, (37, 512, tokens));
            }
            check(isa, 1, ty, (1, 256, 1));
            check(isa, 3, ty, (16, 768, 4));
        }
    }
}

/// To the bit what each gives by itself.
#[test]
fn matrices_with_activations_of_their_own() {
    let (rows, cols, pool) = (37, 64, Pool::new(3));
    for isa in Isa::available() {
        for ty in [BlockType::F32, BlockType::BF16, BlockType::Q8_0, BlockType::Q4_0] {
            let mut random = Random(5);
            let weights: Vec<Matrix> = (0..5)
                .map(|_| {
                    let bytes = random_weights(&mut random, ty, rows, cols);
                    Matrix::pack(&pool, ty, rows, cols, &bytes, &mut Arena::default()).unwrap()
                })
                .collect();
            for tokens in [0, 1, 3, 30, 70] {
                let x: Vec<f32> = (0..5 * tokens * cols).map(|_| random.number()).collect();
                let mut scratch = Quantized::default();
                let mut each = vec![f32::NAN; 5 * tokens * rows];
                matmul_each(isa, &pool, &x, &weights, &mut each, &mut scratch);
                let mut alone = vec![f32::NAN; each.len()];
                for (i, weight) in weights.iter().enumerate() {
                    let x = &x[i * tokens * cols..(i + 1) * tokens * cols];
                    let out = &mut alone[i * tokens * rows..(i + 1) * tokens * rows];
                    matmul(isa, &pool, x, &mut [Product { weight, out }], &mut scratch);
                }
                assert_eq!(each, alone, "{ty:?} on {isa}, {tokens} tokens");
            }
        }
    }
}

/// Every activation the largest there is, with its weight's sign: no sum of products is larger.
#[test]
fn the_largest_sums_fit() {
    let (pool, cols) = (Pool::new(1), 512);
    for isa in Isa::available() {
        for ty in BlockType::ALL.into_iter().filter(|ty| ty.block_len() > 1) {
            for fill in [None, Some(0x00), Some(0xff)] {
                let mut random = Random(11);
                let mut bytes = random_weights(&mut random, ty, 1, cols);
                if let Some(fill) = fill {
                    bytes.fill(fill);
                }
                for block in bytes.chunks_exact_mut(ty.block_bytes()) {
                    set_scales(ty, block, || half::f16::from_f32(0.5).to_bits());
                }
                let mut w = vec![0.0; cols];
                dequantize_row(ty, &bytes, &mut w).unwrap();
                let one: Vec<f32> = w.iter().map(|w| 1f32.copysign(*w)).collect();
                let weight =
                    Matrix::pack(&pool, ty, 1, cols, &bytes, &mut Arena::default()).unwrap();
                let sum: f64 = w.iter().map(|w| f64::from(w.abs())).sum();
                for tokens in [1, 4] {
                    let x = one.repeat(tokens);
                    let mut out = vec![0.0; tokens];
                    let mut products = [Product { weight: &weight, out: &mut out }];
                    matmul(isa, &pool, &x, &mut products, &mut Quantized::default());
                    for got in out {
                        let off = (f64::from(got) - sum).abs();
                        assert!(off <= 1e-4 * sum.max(1.0), "{ty} on {isa}: {got}, not {sum}");
                    }
                }
            }
        }
    }
}

#[test]
fn odd_lengths_of_float_rows() {
    for isa in Isa::available() {
        for ty in [BlockType::F32, BlockType::F16, BlockType::BF16] {
            check(isa, 2, ty, (5, 1, 1));
            check(isa, 2, ty, (21, 63, 9));
        }
    }
}

#[test]
fn a_token_does_not_feel_its_neighbours() {
    let pool = Pool::new(2);
    for isa in Isa::available() {
        for ty in BlockType::ALL {
            let mut random = Random(7);
            let (rows, cols, tokens) = (40, 256, 29);
            let bytes = random_weights(&mut random, ty, rows, cols);
            let x: Vec<f32> = (0..tokens * cols).map(|_| random.number()).collect();
            let weight =
                Matrix::pack(&pool, ty, rows, cols, &bytes, &mut Arena::default()).unwrap();
            let mut scratch = Quantized::default();
            let mut together = vec![0.0; tokens * rows];
            let mut products = [Product { weight: &weight, out: &mut together }];
            matmul(isa, &pool, &x, &mut products, &mut scratch);
            for t in 0..tokens {
                let mut alone = vec![0.0; rows];
                let mut products = [Product { weight: &weight, out: &mut alone }];
                matmul(isa, &pool, &x[t * cols..(t + 1) * cols], &mut products, &mut scratch);
                assert_eq!(alone, together[t * rows..(t + 1) * rows], "{ty:?} on {isa}, token {t}");
            }
        }
    }
}

#[test]
fn several_matrices_in_one_step_and_no_tokens() {
    let pool = Pool::new(2);
    let isa = Isa::available().pop().unwrap();
    let mut random = Random(3);
    let a = random_weights(&mut random, BlockType::Q5_0, 48, 64);
    let b = random_weights(&mut random, BlockType::F16, 17, 64);
    let a = Matrix::pack(&pool, BlockType::Q5_0, 48, 64, &a, &mut Arena::default()).unwrap();
    let b = Matrix::pack(&pool, BlockType::F16, 17, 64, &b, &mut Arena::default()).unwrap();
    let x: Vec<f32> = (0..3 * 64).map(|_| random.number()).collect();
    let mut scratch = Quantized::default();
    let (mut both_a, mut both_b) = (vec![0.0; 3 * 48], vec![0.0; 3 * 17]);
    let mut products =
        [Product { weight: &a, out: &mut both_a }, Product { weight: &b, out: &mut both_b }];
    matmul(isa, &pool, &x, &mut products, &mut scratch);
    let (mut only_a, mut only_b) = (vec![0.0; 3 * 48], vec![0.0; 3 * 17]);
    matmul(isa, &pool, &x, &mut [Product { weight: &a, out: &mut only_a }], &mut scratch);
    matmul(isa, &pool, &x, &mut [Product { weight: &b, out: &mut only_b }], &mut scratch);
    assert_eq!((both_a, both_b), (only_a, only_b));
    matmul(isa, &pool, &[], &mut [Product { weight: &a, out: &mut [] }], &mut scratch);
}

#[test]
fn wrong_sizes_are_errors() {
    let pool = Pool::new(1);
    let pack = |ty, rows, cols, n| {
        Matrix::pack(&pool, ty, rows, cols, &vec![0; n], &mut Arena::default()).err()
    };
    assert_eq!(
        pack(BlockType::Q4_K, 1, 32, 18).unwrap().to_string(),
        "a row of 32 weights is no whole number of Q4_K blocks of 256"
    );
    assert_eq!(
        pack(BlockType::Q8_0, 2, 32, 67).unwrap().to_string(),
        "2 × 32 Q8_0 weights take 68 bytes, not 67"
    );
    assert!(pack(BlockType::F32, 0, 4, 0).is_some());
    assert!(pack(BlockType::F32, usize::MAX / 8, 4, 0).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_shape(
        ty in prop::sample::select(BlockType::ALL.to_vec()),
        rows in 1usize..70,
        blocks in 1usize..4,
        tokens in 1usize..30,
    ) {
        for isa in Isa::available() {
            check(isa, 2, ty, (rows, blocks * ty.block_len().max(8), tokens));
        }
    }
}
