//! The small operations, on every instruction set, against the formulas in f64.

use kernels::ops::{RopeLayout, add, add_bias, geglu, rms_norm, rms_norm_in_place, rope, swiglu};
use kernels::{Isa, Pool};

fn numbers(n: usize, seed: u64) -> Vec<f32> {
    (0..n as u64)
        .map(|i| {
            let x = (i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let x = (x ^ (x >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (x >> 40) as f32 / (1 << 21) as f32 - 4.0
        })
        .collect()
}

fn close(got: &[f32], want: impl Iterator<Item = f64>, tolerance: f64, what: &str) {
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*got) - want).abs();
        assert!(error <= tolerance * want.abs().max(1.0), "{what}, {i}: {got}, not {want}");
    }
}

#[test]
fn rms_norm_divides_by_the_root_mean_square() {
    let pool = Pool::new(2);
    for isa in Isa::available() {
        for (rows, n) in [(1, 1), (3, 17), (40, 896), (2, 64)] {
            let (x, w) = (numbers(rows * n, 1), numbers(n, 2));
            let mut out = vec![0.0; rows * n];
            rms_norm(isa, &pool, &x, &w, 1e-6, &mut out);
            let want = x.chunks(n).flat_map(|row| {
                let mean = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / n as f64;
                let w = &w;
                row.iter()
                    .enumerate()
                    .map(move |(i, x)| f64::from(*x) / (mean + 1e-6).sqrt() * f64::from(w[i]))
            });
            close(&out, want, 1e-5, &format!("{isa} {rows}×{n}"));
            let mut in_place = x.clone();
            rms_norm_in_place(isa, &pool, &mut in_place, &w, 1e-6);
            assert_eq!(in_place, out);
        }
    }
}

#[test]
fn swiglu_gates() {
    let pool = Pool::new(2);
    for isa in Isa::available() {
        for n in [1, 15, 16, 33, 40_000] {
            let (mut gate, up) = (numbers(n, 5), numbers(n, 6));
            gate[0] = -200.0;
            if n > 2 {
                (gate[1], gate[2]) = (200.0, 0.0);
            }
            let want: Vec<f64> = gate
                .iter()
                .zip(&up)
                .map(|(g, u)| f64::from(*g) / (1.0 + (-f64::from(*g)).exp()) * f64::from(*u))
                .collect();
            swiglu(isa, &pool, &mut gate, &up);
            close(&gate, want.into_iter(), 2e-6, &format!("{isa} {n}"));
        }
    }
}

#[test]
fn geglu_gates() {
    let pool = Pool::new(2);
    let gelu = |x: f64| {
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
        x / 2.0 * (1.0 + inner.tanh())
    };
    for isa in Isa::available() {
        for n in [1, 15, 16, 33, 40_000] {
            let (mut gate, up) = (numbers(n, 5), numbers(n, 6));
            gate[0] = -200.0;
            if n > 2 {
                (gate[1], gate[2]) = (200.0, 0.0);
            }
            let want: Vec<f64> =
                gate.iter().zip(&up).map(|(g, u)| gelu(f64::from(*g)) * f64::from(*u)).collect();
            geglu(isa, &pool, &mut gate, &up);
            close(&gate, want.into_iter(), 2e-6, &format!("{isa} {n}"));
        }
    }
}

#[test]
fn rope_turns_pairs() {
    let pool = Pool::new(2);
    let (tokens, heads, head_dim) = (5, 3, 16);
    let row = heads * head_dim;
    for isa in Isa::available() {
        for rotated in [16, 8] {
            let half = rotated / 2;
            let angles = numbers(tokens * half, 9);
            let cos: Vec<f32> = angles.iter().map(|a| a.cos()).collect();
            let sin: Vec<f32> = angles.iter().map(|a| a.sin()).collect();
            for layout in [RopeLayout::Interleaved, RopeLayout::Halves] {
                let x = numbers(tokens * row, 8);
                let mut out = x.clone();
                rope(isa, &pool, &mut out, row, head_dim, layout, (&cos, &sin));
                for (i, got) in out.iter().enumerate() {
                    let (t, d) = (i / row, i % head_dim);
                    let (pair, sign, other) = match layout {
                        _ if d >= rotated => (0, 0.0, i),
                        RopeLayout::Interleaved if d % 2 == 0 => (d / 2, -1.0, i + 1),
                        RopeLayout::Interleaved => (d / 2, 1.0, i - 1),
                        RopeLayout::Halves if d < half => (d, -1.0, i + half),
                        RopeLayout::Halves => (d - half, 1.0, i - half),
                    };
                    let (c, s) = (cos[t * half + pair], sin[t * half + pair]);
                    let want = if d >= rotated { x[i] } else { x[i] * c + sign * x[other] * s };
                    assert!((got - want).abs() < 1e-5, "{isa} {layout:?} {rotated} {i}");
                }
            }
        }
    }
}

#[test]
fn additions() {
    let pool = Pool::new(3);
    let mut x = numbers(50_000, 1);
    let y = numbers(50_000, 2);
    let want: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
    add(&pool, &mut x, &y);
    assert_eq!(x, want);
    let bias = numbers(100, 3);
    let want: Vec<f32> = x.iter().enumerate().map(|(i, x)| x + bias[i % 100]).collect();
    add_bias(&pool, &mut x, &bias);
    assert_eq!(x, want);
}
