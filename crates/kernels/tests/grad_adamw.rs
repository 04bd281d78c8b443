//! AdamW and gradient norms, on every instruction set: against the formula in f64 and PyTorch.

mod grad_common;

use grad_common::{Golden, close, numbers, scaled, wide};
use half::bf16;
use kernels::grad::{AdamW, Parameter, clip_scale, global_norm};
use kernels::{Isa, Pool};
use proptest::prelude::*;

/// A parameter with its state.
#[derive(Clone, PartialEq, Debug)]
struct Tensor {
    value: Vec<f32>,
    m: Vec<f32>,
    v: Vec<f32>,
    rounded: Vec<bf16>,
}

impl Tensor {
    fn new(value: Vec<f32>) -> Tensor {
        let n = value.len();
        Tensor { value, m: vec![0.0; n], v: vec![0.0; n], rounded: vec![bf16::NAN; n] }
    }

    fn step(&mut self, isa: Isa, pool: &Pool, adam: AdamW, step: u32, scale: f32, grad: &[f32]) {
        let Tensor { value, m, v, rounded } = self;
        adam.step(isa, pool, step, scale, Parameter { value, grad, m, v, bf16: Some(rounded) });
    }
}

#[test]
fn as_pytorch_has_it() {
    let golden = Golden::read("adamw");
    let pool = Pool::new(2);
    let adam = AdamW { learning_rate: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-6, weight_decay: 0.1 };
    for isa in Isa::available() {
        let (mut x, mut y) = (Tensor::new(numbers(33, 1)), Tensor::new(numbers(20, 2)));
        let mut norms = Vec::new();
        for step in 0..3 {
            let size = if step == 2 { 0.01 } else { 1.0 };
            let dx = scaled(size, numbers(33, 10 + u64::from(step)));
            let dy = scaled(size, numbers(20, 20 + u64::from(step)));
            let norm = global_norm(isa, &pool, &[&dx, &dy]);
            norms.push(norm);
            let scale = clip_scale(norm, 0.5);
            x.step(isa, &pool, adam, step + 1, scale, &dx);
            y.step(isa, &pool, adam, step + 1, scale, &dy);
        }
        let what = format!("{isa}, adamw");
        let rounded: Vec<f32> = x.rounded.iter().map(|x| x.to_f32()).collect();
        for (name, got) in [
            ("norms", &norms),
            ("x", &x.value),
            ("y", &y.value),
            ("mx", &x.m),
            ("my", &y.m),
            ("vx", &x.v),
            ("vy", &y.v),
            ("bf16", &rounded),
        ] {
            // PyTorch adds 1e-6 to the norm it divides by, which moves a step by as little.
            golden.check(name, got, 1e-6, &what);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_step_against_f64(n in 0_usize..200, step in 1_u32..5000, scale in 0.01_f32..2.0) {
        let adam = AdamW { learning_rate: 0.1, weight_decay: 0.3, ..AdamW::default() };
        let mut start = Tensor::new(numbers(n, 1));
        start.m = numbers(n, 2);
        start.v = numbers(n, 3).iter().map(|x| x.abs() + 0.1).collect();
        let grad = numbers(n, 4);
        let g: Vec<f64> = wide(&grad).iter().map(|g| g * f64::from(scale)).collect();
        let m: Vec<f64> = wide(&start.m).iter().zip(&g).map(|(m, g)| 0.9 * m + 0.1 * g).collect();
        let v: Vec<f64> =
            wide(&start.v).iter().zip(&g).map(|(v, g)| 0.999 * v + 0.001 * g * g).collect();
        let t = f64::from(step);
        let (c1, c2) = (1.0 - 0.9_f64.powf(t), 1.0 - 0.999_f64.powf(t));
        let value: Vec<f64> = (0..n)
            .map(|i| {
                let decayed = f64::from(start.value[i]) * (1.0 - 0.1 * 0.3);
                decayed - 0.1 * (m[i] / c1) / ((v[i] / c2).sqrt() + 1e-8)
            })
            .collect();
        let mut before: Option<Tensor> = None;
        for isa in Isa::available() {
            let mut got = start.clone();
            got.step(isa, &Pool::new(2), adam, step, scale, &grad);
            close(&got.value, &value, 1e-6, "value");
            close(&got.m, &m, 1e-6, "m");
            close(&got.v, &v, 1e-6, "v");
            for (rounded, x) in got.rounded.iter().zip(&got.value) {
                prop_assert_eq!(*rounded, bf16::from_f32(*x));
            }
            // Every instruction set takes the same step, to the bit.
            prop_assert!(before.is_none_or(|b| b == got), "{}", isa);
            before = Some(got);
        }
    }
}

#[test]
fn it_goes_downhill() {
    // Σ (x - target)² from far off.
    let target = numbers(50, 1);
    let adam = AdamW { learning_rate: 0.05, weight_decay: 0.0, ..AdamW::default() };
    for isa in Isa::available() {
        let mut x = Tensor::new(vec![3.0; 50]);
        for step in 1..=400 {
            let grad: Vec<f32> = x.value.iter().zip(&target).map(|(x, t)| 2.0 * (x - t)).collect();
            x.step(isa, &Pool::new(1), adam, step, 1.0, &grad);
        }
        close(&x.value, &wide(&target), 0.01, &format!("{isa}"));
    }
}

#[test]
fn the_number_of_threads_makes_no_difference() {
    let n = 150_001;
    let grad = numbers(n, 2);
    for isa in Isa::available() {
        let run = |threads| {
            let pool = Pool::new(threads);
            let norm = global_norm(isa, &pool, &[&grad, &[], &grad[..77]]);
            let mut x = Tensor::new(numbers(n, 1));
            x.step(isa, &pool, AdamW::default(), 1, clip_scale(norm, 1.0), &grad);
            (norm, x)
        };
        let one = run(1);
        let squares: f64 = wide(&grad).iter().chain(&wide(&grad[..77])).map(|x| x * x).sum();
        close(&[one.0], &[squares.sqrt()], 1e-6, "norm");
        assert!(one == run(2) && one == run(3), "{isa}");
    }
}

#[test]
fn norms_at_the_edges() {
    let pool = Pool::new(2);
    for isa in Isa::available() {
        assert_eq!(global_norm(isa, &pool, &[]), 0.0);
        assert_eq!(global_norm(isa, &pool, &[&[], &[3.0], &[-4.0]]), 5.0);
        assert!(global_norm(isa, &pool, &[&[1.0, f32::NAN]]).is_nan());
        assert!(global_norm(isa, &pool, &[&[1.0, f32::INFINITY]]).is_infinite());
    }
    assert_eq!(clip_scale(5.0, 1.0), 0.2);
    assert_eq!(clip_scale(0.5, 1.0), 1.0);
    assert_eq!(clip_scale(0.0, 1.0), 1.0);
}
