//! What the tests of the backward passes share.

// Each test file uses some of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::Path;

/// Uniform in [-1, 1); `numbers` in goldens/make_grad.py makes the same.
pub fn numbers(n: usize, seed: u64) -> Vec<f32> {
    (0..n as u64)
        .map(|i| {
            let x = (i + (seed << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let x = (x ^ (x >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (x >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

pub fn scaled(factor: f32, x: Vec<f32>) -> Vec<f32> {
    x.into_iter().map(|x| factor * x).collect()
}

pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

pub fn dot(a: &[f64], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * f64::from(*b)).sum()
}

/// Each number within `tolerance · max(1, |want|)`.
pub fn close(got: &[f32], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*got) - want).abs();
        assert!(error <= tolerance * want.abs().max(1.0), "{what}, {i}: {got}, not {want}");
    }
}

/// The gradient of `f` at `x`, one number at a time, by central differences. In f64 with steps of
/// 1e-5 it is good to about nine digits.
pub fn differences(x: &[f32], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut x = wide(x);
    (0..x.len())
        .map(|i| {
            let here = x[i];
            x[i] = here + 1e-5;
            let above = f(&x);
            x[i] = here - 1e-5;
            let below = f(&x);
            x[i] = here;
            (above - below) / 2e-5
        })
        .collect()
}

/// The tensors PyTorch made for an operation (see goldens/make_grad.py).
pub struct Golden(BTreeMap<String, Vec<f64>>);

impl Golden {
    pub fn read(operation: &str) -> Golden {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("tests/goldens/grad/{operation}.bin"));
        let data = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut rest = data.as_slice();
        let mut take = |n: usize| {
            let (taken, left) = rest.split_at(n);
            rest = left;
            (taken, left.is_empty())
        };
        let count = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap()) as usize;
        let mut tensors = BTreeMap::new();
        loop {
            let n = count(take(4).0);
            let name = String::from_utf8(take(n).0.to_vec()).unwrap();
            let n = count(take(4).0);
            let (bytes, end) = take(4 * n);
            let numbers = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            tensors.insert(name, numbers.map(f64::from).collect());
            if end {
                return Golden(tensors);
            }
        }
    }

    pub fn get(&self, name: &str) -> &[f64] {
        &self.0[name]
    }

    /// Holds `got` against the tensor `name`, as [`close`].
    pub fn check(&self, name: &str, got: &[f32], tolerance: f64, what: &str) {
        close(got, self.get(name), tolerance, &format!("{what}: {name}"));
        println!("OK ({what}: {name})");
    }
}
