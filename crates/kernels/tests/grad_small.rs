//! Backward of RMSNorm, RoPE, SwiGLU and the bias, on every instruction set: against central
//! differences of the forward formulas in f64, and against PyTorch.

mod grad_common;

use grad_common::{Golden, close, differences, dot, numbers, scaled, wide};
use kernels::grad::{bias_backward, rms_norm_backward, rope_backward, swiglu, swiglu_backward};
use kernels::ops::{RopeLayout, add_bias, rms_norm, rope};
use kernels::{Isa, Pool};
use proptest::prelude::*;

const LAYOUTS: [RopeLayout; 2] = [RopeLayout::Halves, RopeLayout::Interleaved];

fn rms_norm_f64(x: &[f64], weight: &[f64], eps: f64) -> Vec<f64> {
    let n = weight.len();
    x.chunks(n)
        .flat_map(|row| {
            let r = 1.0 / (row.iter().map(|x| x * x).sum::<f64>() / n as f64 + eps).sqrt();
            row.iter().zip(weight).map(move |(x, w)| x * r * w)
        })
        .collect()
}

fn check_rms_norm(isa: Isa, rows: usize, n: usize) {
    let (x, weight, dout) = (numbers(rows * n, 1), numbers(n, 2), numbers(rows * n, 3));
    // What is there is added to.
    let (mut dx, mut dweight) = (vec![1.0; rows * n], vec![2.0; n]);
    rms_norm_backward(isa, &Pool::new(2), &x, &weight, 1e-3, &dout, &mut dx, &mut dweight);
    let (wide_x, wide_w) = (wide(&x), wide(&weight));
    let want = differences(&x, |x| dot(&rms_norm_f64(x, &wide_w, 1e-3), &dout) + sum(x));
    close(&dx, &want, 1e-5, &format!("{isa} {rows}×{n} dx"));
    let want = differences(&weight, |w| dot(&rms_norm_f64(&wide_x, w, 1e-3), &dout) + 2.0 * sum(w));
    close(&dweight, &want, 1e-5, &format!("{isa} {rows}×{n} dweight"));
}

fn sum(x: &[f64]) -> f64 {
    x.iter().sum()
}

fn check_swiglu(isa: Isa, n: usize) {
    let pool = Pool::new(2);
    let (gate, up, dout) = (scaled(10.0, numbers(n, 1)), numbers(n, 2), numbers(n, 3));
    let (mut out, mut dgate, mut dup) = (vec![f32::NAN; n], vec![f32::NAN; n], vec![f32::NAN; n]);
    swiglu(isa, &pool, &gate, &up, &mut out);
    swiglu_backward(isa, &pool, &gate, &up, &dout, &mut dgate, &mut dup);
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let slope = |x: f32| {
        let x = f64::from(x);
        (silu(x + 1e-5) - silu(x - 1e-5)) / 2e-5
    };
    let each = |f: &dyn Fn(usize) -> f64| (0..n).map(f).collect::<Vec<f64>>();
    let [g, u, d] = [&gate, &up, &dout].map(|x| wide(x));
    close(&out, &each(&|i| silu(g[i]) * u[i]), 2e-6, &format!("{isa} {n} out"));
    close(&dgate, &each(&|i| d[i] * u[i] * slope(gate[i])), 2e-6, &format!("{isa} {n} dgate"));
    close(&dup, &each(&|i| d[i] * silu(g[i])), 2e-6, &format!("{isa} {n} dup"));
}

#[test]
fn rms_norm_against_differences() {
    for isa in Isa::available() {
        for (rows, n) in [(0, 5), (1, 1), (1, 16), (3, 17), (7, 33), (40, 15)] {
            check_rms_norm(isa, rows, n);
        }
    }
}

#[test]
fn swiglu_against_differences() {
    for isa in Isa::available() {
        for n in [0, 1, 15, 16, 33, 40_000] {
            check_swiglu(isa, n);
        }
        let mut ends = [[f32::NAN; 2]; 2];
        let [dgate, dup] = &mut ends;
        swiglu_backward(isa, &Pool::new(1), &[-200.0, 200.0], &[1.0; 2], &[1.0; 2], dgate, dup);
        close(dgate, &[0.0, 1.0], 1e-6, "far from zero");
        close(dup, &[0.0, 200.0], 1e-6, "far from zero");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_shape_against_differences(rows in 0_usize..6, n in 1_usize..40) {
        for isa in Isa::available() {
            check_rms_norm(isa, rows, n);
            check_swiglu(isa, rows * n);
        }
    }

    /// `⟨rope(x), y⟩ = ⟨x, rope_backward(y)⟩`: what a transpose is.
    #[test]
    fn rope_backward_is_the_transpose(
        tokens in 0_usize..5, heads in 1_usize..4, halves in 1_usize..20, rest in 0_usize..3,
    ) {
        let head_dim = 2 * (halves + rest);
        let row = heads * head_dim;
        let angles = scaled(3.0, numbers(tokens * halves, 1));
        // Twice the rotation, as a factor in cos and sin would have it.
        let cos: Vec<f32> = angles.iter().map(|a| 2.0 * a.cos()).collect();
        let sin: Vec<f32> = angles.iter().map(|a| 2.0 * a.sin()).collect();
        let (x, y) = (numbers(tokens * row, 2), numbers(tokens * row, 3));
        for isa in Isa::available() {
            for layout in LAYOUTS {
                let pool = Pool::new(2);
                let (mut there, mut back) = (x.clone(), y.clone());
                rope(isa, &pool, &mut there, row, head_dim, layout, (&cos, &sin));
                rope_backward(isa, &pool, &mut back, row, head_dim, layout, (&cos, &sin));
                let (a, b) = (dot(&wide(&there), &y), dot(&wide(&back), &x));
                prop_assert!((a - b).abs() < 1e-5, "{isa} {layout:?}: {a} and {b}");
            }
        }
    }
}

#[test]
fn bias_adds_up_columns() {
    let pool = Pool::new(2);
    // Sums of thousands are rounded as often.
    for (rows, n, tolerance) in [(0, 3, 0.0), (1, 1, 1e-6), (5, 7, 1e-6), (3000, 33, 1e-4)] {
        let dout = numbers(rows * n, 1);
        let mut dbias = vec![1.0; n];
        bias_backward(&pool, &dout, &mut dbias);
        let mut want = vec![1.0; n];
        for row in wide(&dout).chunks(n) {
            want.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        close(&dbias, &want, tolerance, &format!("{rows}×{n} dbias"));
        // `Σ dout · (x + bias)` grows by as much when `bias` grows by one.
        let mut x = vec![0.0; rows * n];
        add_bias(&pool, &mut x, &vec![1.0; n]);
        assert!((dot(&wide(&x), &dout) - (sum(&want) - n as f64)).abs() < 1e-9);
    }
}

#[test]
fn as_pytorch_has_it() {
    let pool = Pool::new(2);
    for isa in Isa::available() {
        let golden = Golden::read("rms_norm");
        let (x, weight, dout) = (numbers(5 * 37, 1), numbers(37, 2), numbers(5 * 37, 3));
        let (mut out, mut dx, mut dweight) = (vec![0.0; 185], vec![0.0; 185], vec![0.0; 37]);
        rms_norm(isa, &pool, &x, &weight, 1e-5, &mut out);
        rms_norm_backward(isa, &pool, &x, &weight, 1e-5, &dout, &mut dx, &mut dweight);
        golden.check("out", &out, 2e-6, &format!("{isa}, rms_norm"));
        golden.check("dx", &dx, 2e-6, &format!("{isa}, rms_norm"));
        golden.check("dweight", &dweight, 2e-6, &format!("{isa}, rms_norm"));

        let golden = Golden::read("rope");
        let angles: Vec<f64> = numbers(4 * 8, 2).iter().map(|a| 3.0 * f64::from(*a)).collect();
        let cos: Vec<f32> = angles.iter().map(|a| a.cos() as f32).collect();
        let sin: Vec<f32> = angles.iter().map(|a| a.sin() as f32).collect();
        for (layout, name) in LAYOUTS.into_iter().zip(["halves", "interleaved"]) {
            let mut dx = numbers(4 * 3 * 24, 3);
            rope_backward(isa, &pool, &mut dx, 3 * 24, 24, layout, (&cos, &sin));
            golden.check(name, &dx, 1e-6, &format!("{isa}, rope"));
        }

        let golden = Golden::read("swiglu");
        let (gate, up, dout) = (scaled(8.0, numbers(77, 1)), numbers(77, 2), numbers(77, 3));
        let (mut out, mut dgate, mut dup) = (vec![0.0; 77], vec![0.0; 77], vec![0.0; 77]);
        swiglu(isa, &pool, &gate, &up, &mut out);
        swiglu_backward(isa, &pool, &gate, &up, &dout, &mut dgate, &mut dup);
        golden.check("out", &out, 2e-6, &format!("{isa}, swiglu"));
        golden.check("dgate", &dgate, 2e-6, &format!("{isa}, swiglu"));
        golden.check("dup", &dup, 2e-6, &format!("{isa}, swiglu"));
    }
}

#[test]
fn the_number_of_threads_makes_no_difference() {
    let (rows, n) = (700, 131);
    let (x, weight, dout) = (numbers(rows * n, 1), numbers(n, 2), numbers(rows * n, 3));
    for isa in Isa::available() {
        let run = |threads| {
            let pool = Pool::new(threads);
            let (mut dx, mut dweight, mut dbias) =
                (vec![0.0; rows * n], vec![0.0; n], vec![0.0; n]);
            rms_norm_backward(isa, &pool, &x, &weight, 1e-6, &dout, &mut dx, &mut dweight);
            bias_backward(&pool, &dout, &mut dbias);
            let (mut dgate, mut dup) = (vec![0.0; rows * n], vec![0.0; rows * n]);
            swiglu_backward(isa, &pool, &x, &dx, &dout, &mut dgate, &mut dup);
            (dx, dweight, dbias, dgate, dup)
        };
        let one = run(1);
        assert!(one == run(2) && one == run(3), "{isa}");
    }
}
