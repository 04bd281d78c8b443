//! bf16 products in all three forms, with plain and with packed operands, on every instruction set,
//! against sums in f64.

mod block_scales;

use block_scales::set_scales;
use half::bf16;
use kernels::blocks::{BlockType, dequantize_row};
use kernels::gemm::{Numbers, Sum, Tiles, View, gemm, gemm_weight, gemm_weight_backward};
use kernels::matmul::Matrix;
use kernels::{Arena, Isa, Pool};
use proptest::prelude::*;

fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n)
        .map(|i| {
            let x = ((i + seed) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let x = (x ^ (x >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (x >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn rounded(x: f32) -> f64 {
    bf16::from_f32(x).to_f64()
}

/// `Σ a·b` must be met within what f32 sums in any order may lose, and `slack` more.
fn close(got: f32, terms: impl Iterator<Item = f64>, slack: f64, what: &dyn Fn() -> String) {
    let (sum, size) = terms.fold((0.0, 0.0), |(s, a), v| (s + v, a + v.abs()));
    let error = (f64::from(got) - sum).abs();
    assert!(error <= 1e-5 * size + slack + 1e-30, "{}: {got}, not {sum}", what());
}

/// The product of `[m, k]` and `[n, k]`, each stored as it is or transposed, in f32 or bf16.
fn check(isa: Isa, threads: usize, (m, n, k): (usize, usize, usize), form: usize) {
    let (a, b) = (numbers(m * k, 1), numbers(n * k, 77));
    let (a16, b16): (Vec<bf16>, Vec<bf16>) = (
        a.iter().map(|x| bf16::from_f32(*x)).collect(),
        b.iter().map(|x| bf16::from_f32(*x)).collect(),
    );
    let a_numbers = if form & 4 == 0 { Numbers::F32(&a) } else { Numbers::Bf16(&a16) };
    let b_numbers = if form & 8 == 0 { Numbers::F32(&b) } else { Numbers::Bf16(&b16) };
    let (a_turned, b_turned) = (form & 1 != 0, form & 2 != 0);
    let view = |numbers, rows, turned| {
        if turned { View::new(numbers, k, rows).t() } else { View::new(numbers, rows, k) }
    };
    let (av, bv) = (view(a_numbers, m, a_turned), view(b_numbers, n, b_turned));
    let pool = Pool::new(threads);
    let mut tiles = Tiles::default();
    let mut out = vec![f32::NAN; m * n];
    gemm(isa, &pool, (av, bv), (&mut out, Sum::Write), &mut tiles);
    let at_a = |i: usize, x: usize| rounded(if a_turned { a[x * m + i] } else { a[i * k + x] });
    let at_b = |j: usize, x: usize| rounded(if b_turned { b[x * n + j] } else { b[j * k + x] });
    for i in 0..m {
        for j in 0..n {
            let terms = (0..k).map(|x| at_a(i, x) * at_b(j, x));
            let what = || format!("{isa} {m}×{n}×{k}, form {form}, {i},{j}");
            close(out[i * n + j], terms, 0.0, &what);
        }
    }
    // Added to what is there: exactly one more of the same.
    let mut twice = out.clone();
    gemm(isa, &pool, (av, bv), (&mut twice, Sum::Add), &mut tiles);
    for (once, twice) in out.iter().zip(&twice) {
        assert!((twice - 2.0 * once).abs() <= 1e-4 * k as f32, "{isa}: {once} and {twice}");
    }
}

#[test]
fn every_form_on_every_instruction_set() {
    for isa in Isa::available() {
        for form in 0..16 {
            check(isa, 2, (33, 17, 70), form);
        }
        for shape in
            [(1, 1, 1), (16, 16, 32), (32, 32, 64), (70, 100, 1100), (5, 300, 33), (9, 9, 0)]
        {
            check(isa, 3, shape, 0);
        }
        check(isa, 2, (200, 16, 96), 0);
        check(isa, 2, (0, 16, 96), 0);
    }
}

#[test]
fn the_same_whatever_the_threads_and_the_other_rows() {
    let (m, n, k) = (75, 130, 1000);
    let (a, b) = (numbers(m * k, 3), numbers(n * k, 4));
    let bv = View::new(Numbers::F32(&b), n, k);
    for isa in Isa::available() {
        let run = |threads, a: &[f32]| {
            let rows = a.len() / k;
            let mut out = vec![0.0; rows * n];
            let av = View::new(Numbers::F32(a), rows, k);
            gemm(isa, &Pool::new(threads), (av, bv), (&mut out, Sum::Write), &mut Tiles::default());
            out
        };
        let all = run(1, &a);
        for threads in [2, 3, 8] {
            assert_eq!(run(threads, &a), all, "{isa}, {threads} threads");
        }
        for row in [0, 15, 16, 40, 74] {
            let alone = run(2, &a[row * k..(row + 1) * k]);
            assert_eq!(alone, all[row * n..(row + 1) * n], "{isa}, row {row}");
        }
    }
}

/// Random weights of a type: random bytes, with small numbers where the scales are.
fn weights(ty: BlockType, rows: usize, cols: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..ty.row_bytes(cols).unwrap() * rows)
        .map(|i| ((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 37) as u8)
        .collect();
    match ty {
        BlockType::F32 => {
            for (b, x) in bytes.chunks_exact_mut(4).zip(numbers(rows * cols, 9)) {
                b.copy_from_slice(&x.to_le_bytes());
            }
        }
        BlockType::F16 => {
            for (b, x) in bytes.chunks_exact_mut(2).zip(numbers(rows * cols, 9)) {
                b.copy_from_slice(&half::f16::from_f32(x).to_le_bytes());
            }
        }
        BlockType::BF16 => {
            for (b, x) in bytes.chunks_exact_mut(2).zip(numbers(rows * cols, 9)) {
                b.copy_from_slice(&bf16::from_f32(x).to_le_bytes());
            }
        }
        _ => {
            for block in bytes.chunks_exact_mut(ty.block_bytes()) {
                set_scales(ty, block, || half::f16::from_f32(0.01).to_bits());
            }
        }
    }
    bytes
}

/// Forward and backward through packed weights.
fn check_weight(isa: Isa, ty: BlockType, (tokens, rows, cols): (usize, usize, usize)) {
    let pool = Pool::new(2);
    let bytes = weights(ty, rows, cols);
    let weight = Matrix::pack(&pool, ty, rows, cols, &bytes, &mut Arena::default()).unwrap();
    let mut w = vec![0.0; rows * cols];
    let row_bytes = ty.row_bytes(cols).unwrap();
    for (w, bytes) in w.chunks_exact_mut(cols).zip(bytes.chunks_exact(row_bytes)) {
        dequantize_row(ty, bytes, w).unwrap();
    }
    // A weight on the border between two bf16 may be rounded to either: dequantising fuses or not.
    let slack = |terms: &mut dyn Iterator<Item = f64>| terms.fold(0.0, f64::max) / 128.0;
    let mut tiles = Tiles::default();

    let x = numbers(tokens * cols, 5);
    let mut out = vec![f32::NAN; tokens * rows];
    let view = View::new(Numbers::F32(&x), tokens, cols);
    gemm_weight(isa, &pool, view, &weight, (&mut out, Sum::Write), &mut tiles);
    for t in 0..tokens {
        for r in 0..rows {
            let term = |k: usize| rounded(x[t * cols + k]) * rounded(w[r * cols + k]);
            let slack = slack(&mut (0..cols).map(|k| term(k).abs()));
            let what = || format!("{isa} {ty:?} {tokens}×{rows}×{cols}, token {t}, row {r}");
            close(out[t * rows + r], (0..cols).map(term), slack, &what);
        }
    }

    let dy = numbers(tokens * rows, 6);
    let mut dx = vec![1.0; tokens * cols];
    let view = View::new(Numbers::F32(&dy), tokens, rows);
    gemm_weight_backward(isa, &pool, view, &weight, (&mut dx, Sum::Add), &mut tiles);
    for t in 0..tokens {
        for c in 0..cols {
            let term = |r: usize| rounded(dy[t * rows + r]) * rounded(w[r * cols + c]);
            let slack = slack(&mut (0..rows).map(|r| term(r).abs()));
            let what = || format!("{isa} {ty:?} {tokens}×{rows}×{cols} back, token {t}, {c}");
            let terms = (0..rows).map(term).chain([1.0]);
            close(dx[t * cols + c], terms, slack, &what);
        }
    }
}

#[test]
fn through_packed_weights_and_back() {
    for isa in Isa::available() {
        for ty in BlockType::ALL {
            check_weight(isa, ty, (19, 37, 512));
            check_weight(isa, ty, (3, 16, 256));
        }
        for ty in [BlockType::F32, BlockType::F16, BlockType::BF16] {
            check_weight(isa, ty, (2, 5, 33));
            check_weight(isa, ty, (2, 21, 1));
        }
        check_weight(isa, BlockType::Q8_0, (33, 70, 96));
    }
}

#[test]
fn numbers_that_are_none_stay_none() {
    let pool = Pool::new(1);
    let (a, b) = ([f32::from_bits(0x7fff_ffff), 1.0], [1.0, 1.0]);
    for isa in Isa::available() {
        let mut out = [0.0];
        let views = (View::new(Numbers::F32(&a), 1, 2), View::new(Numbers::F32(&b), 1, 2));
        gemm(isa, &pool, views, (&mut out, Sum::Write), &mut Tiles::default());
        assert!(out[0].is_nan(), "{isa}: {}", out[0]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_shape(m in 0usize..70, n in 1usize..70, k in 0usize..140, form in 0usize..16) {
        for isa in Isa::available() {
            check(isa, 2, (m, n, k), form);
        }
    }
}
