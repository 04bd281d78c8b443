//! Causal attention, forward and backward, on every instruction set: against central differences
//! of a plain softmax in f64, against its gradient written out in f64, and against PyTorch.

mod grad_common;

use grad_common::{Golden, close, differences, dot, numbers, scaled, wide};
use kernels::grad::{Attention, AttentionShape};
use kernels::{Isa, Pool};
use proptest::prelude::*;

/// Sequences' lengths, what each goes on from, heads, key-value heads, head_dim.
#[derive(Clone, Debug)]
struct Case {
    lengths: Vec<usize>,
    parents: Vec<Option<usize>>,
    shape: AttentionShape,
}

fn case(lengths: &[usize], heads: usize, kv_heads: usize, head_dim: usize) -> Case {
    let shape = AttentionShape { heads, kv_heads, head_dim };
    Case { lengths: lengths.to_vec(), parents: vec![], shape }
}

/// Groups of sequences, all of which go on from the first of their group; a group of one sequence
/// is that alone.
fn groups(groups: &[&[usize]], heads: usize, kv_heads: usize, head_dim: usize) -> Case {
    let mut parents = Vec::new();
    for group in groups {
        let first = parents.len();
        parents.extend((0..group.len()).map(|i| (i > 0).then_some(first)));
    }
    Case { parents, ..case(&groups.concat(), heads, kv_heads, head_dim) }
}

impl Case {
    fn cu_seqlens(&self) -> Vec<usize> {
        let mut at = vec![0];
        at.extend(self.lengths.iter().scan(0, |sum, n| {
            *sum += n;
            Some(*sum)
        }));
        at
    }

    fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// `q`, `k`, `v` and the output's gradient.
    fn inputs(&self) -> [Vec<f32>; 4] {
        let AttentionShape { heads, kv_heads, head_dim } = self.shape;
        let (q, kv) = (self.tokens() * heads * head_dim, self.tokens() * kv_heads * head_dim);
        // Scores of some size, so that probabilities are far from even.
        [scaled(3.0, numbers(q, 1)), numbers(kv, 2), numbers(kv, 3), numbers(q, 4)]
    }

    /// Calls `f` with each row's query, the numbers of its keys, and its probabilities.
    fn for_each_row(
        &self,
        scale: f64,
        (q, k): (&[f64], &[f64]),
        mut f: impl FnMut(usize, &[usize], &[f64], f64),
    ) {
        let AttentionShape { heads, kv_heads, head_dim } = self.shape;
        let starts = self.cu_seqlens();
        for (i, s) in starts.windows(2).enumerate() {
            let parent = self.parents.get(i).copied().flatten();
            let shared = parent.map_or(0..0, |p| starts[p]..starts[p + 1]);
            for t in s[0]..s[1] {
                for h in 0..heads {
                    let query = (t * heads + h) * head_dim;
                    let keys: Vec<usize> = (shared.clone().chain(s[0]..=t))
                        .map(|j| (j * kv_heads + h / (heads / kv_heads)) * head_dim)
                        .collect();
                    let scores: Vec<f64> = keys
                        .iter()
                        .map(|key| {
                            scale * (0..head_dim).map(|d| q[query + d] * k[key + d]).sum::<f64>()
                        })
                        .collect();
                    let top = scores.iter().copied().fold(f64::MIN, f64::max);
                    let total: f64 = scores.iter().map(|x| (x - top).exp()).sum();
                    let lse = top + total.ln();
                    let probabilities: Vec<f64> = scores.iter().map(|x| (x - lse).exp()).collect();
                    f(query, &keys, &probabilities, lse);
                }
            }
        }
    }

    /// Output and log-sum-exps.
    fn forward(&self, scale: f64, q: &[f64], k: &[f64], v: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (mut out, mut lses) = (vec![0.0; q.len()], Vec::new());
        self.for_each_row(scale, (q, k), |query, keys, probabilities, lse| {
            for (key, p) in keys.iter().zip(probabilities) {
                for d in 0..self.shape.head_dim {
                    out[query + d] += p * v[key + d];
                }
            }
            lses.push(lse);
        });
        (out, lses)
    }

    /// The gradients of `q`, `k` and `v`, as one writes them on paper.
    fn backward(&self, scale: f64, q: &[f64], k: &[f64], v: &[f64], dout: &[f64]) -> [Vec<f64>; 3] {
        let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
        let n = self.shape.head_dim;
        self.for_each_row(scale, (q, k), |query, keys, probabilities, _| {
            let dp: Vec<f64> =
                keys.iter().map(|key| (0..n).map(|d| dout[query + d] * v[key + d]).sum()).collect();
            let mean: f64 = dp.iter().zip(probabilities).map(|(dp, p)| dp * p).sum();
            for ((key, p), dp) in keys.iter().zip(probabilities).zip(dp) {
                let ds = scale * p * (dp - mean);
                for d in 0..n {
                    dq[query + d] += ds * k[key + d];
                    dk[key + d] += ds * q[query + d];
                    dv[key + d] += p * dout[query + d];
                }
            }
        });
        [dq, dk, dv]
    }
}

/// Output, log-sum-exps, and the gradients of `q`, `k` and `v`.
fn run(isa: Isa, threads: usize, case: &Case, scale: f32, x: &[Vec<f32>; 4]) -> [Vec<f32>; 5] {
    let pool = Pool::new(threads);
    let [q, k, v, dout] = x;
    let cu_seqlens = case.cu_seqlens();
    let (shape, parents) = (case.shape, &case.parents[..]);
    let attention = Attention { shape, scale, cu_seqlens: &cu_seqlens, parents, q, k, v };
    // Everything is written, whatever was there.
    let mut out = vec![f32::NAN; q.len()];
    let mut lse = vec![f32::NAN; case.tokens() * case.shape.heads];
    attention.forward(isa, &pool, &mut out, &mut lse);
    let mut dq = vec![f32::NAN; q.len()];
    let (mut dk, mut dv) = (vec![f32::NAN; k.len()], vec![f32::NAN; v.len()]);
    attention.backward(isa, &pool, (&out, &lse), dout, (&mut dq, &mut dk, &mut dv));
    [out, lse, dq, dk, dv]
}

fn check(isa: Isa, case: &Case) {
    let scale = 0.75 / (case.shape.head_dim as f32).sqrt();
    let x = case.inputs();
    let [out, lse, dq, dk, dv] = run(isa, 2, case, scale, &x);
    let [q, k, v, dout] = x.map(|x| wide(&x));
    let scale = f64::from(scale);
    let (want, lses) = case.forward(scale, &q, &k, &v);
    close(&out, &want, 5e-6, &format!("{isa} {case:?} out"));
    close(&lse, &lses, 5e-6, &format!("{isa} {case:?} lse"));
    let want = case.backward(scale, &q, &k, &v, &dout);
    for ((got, want), name) in [dq, dk, dv].iter().zip(&want).zip(["dq", "dk", "dv"]) {
        close(got, want, 1e-5, &format!("{isa} {case:?} {name}"));
    }
}

#[test]
fn against_differences() {
    let case = case(&[5, 1, 2], 4, 2, 16);
    let x = case.inputs();
    for isa in Isa::available() {
        let [_, _, dq, dk, dv] = run(isa, 2, &case, 0.25, &x);
        let [q, k, v, dout] = &x;
        let (wide_q, wide_k, wide_v) = (wide(q), wide(k), wide(v));
        let loss = |q: &[f64], k: &[f64], v: &[f64]| dot(&case.forward(0.25, q, k, v).0, dout);
        let want = differences(q, |q| loss(q, &wide_k, &wide_v));
        close(&dq, &want, 1e-5, &format!("{isa} dq"));
        let want = differences(k, |k| loss(&wide_q, k, &wide_v));
        close(&dk, &want, 1e-5, &format!("{isa} dk"));
        let want = differences(v, |v| loss(&wide_q, &wide_k, v));
        close(&dv, &want, 1e-5, &format!("{isa} dv"));
    }
}

#[test]
fn against_the_gradient_in_f64() {
    for isa in Isa::available() {
        for case in [
            case(&[], 2, 1, 16),
            case(&[0], 2, 1, 16),
            case(&[1], 1, 1, 16),
            case(&[0, 3, 0, 64, 0], 2, 1, 32),
            case(&[65, 63], 2, 2, 48),
            case(&[130, 7], 6, 2, 64),
            case(&[200], 3, 1, 80),
            case(&[66], 1, 1, 128),
        ] {
            check(isa, &case);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_shape(
        lengths in prop::collection::vec(0_usize..100, 0..4),
        group in 1_usize..4, kv_heads in 1_usize..3, vectors in 1_usize..6,
    ) {
        for isa in Isa::available() {
            check(isa, &case(&lengths, group * kv_heads, kv_heads, 16 * vectors));
        }
    }

    #[test]
    fn any_groups(
        lengths in prop::collection::vec(prop::collection::vec(0_usize..90, 1..5), 0..4),
        group in 1_usize..4, kv_heads in 1_usize..3, vectors in 1_usize..4,
    ) {
        let lengths: Vec<&[usize]> = lengths.iter().map(|group| &group[..]).collect();
        for isa in Isa::available() {
            check(isa, &groups(&lengths, group * kv_heads, kv_heads, 16 * vectors));
        }
    }
}

#[test]
fn sequences_that_go_on_from_another() {
    let cases = [
        groups(&[&[70, 3, 0, 130], &[5], &[64, 64, 1]], 4, 2, 32),
        groups(&[&[0, 9, 80], &[1, 1]], 3, 1, 16),
        groups(&[&[129, 65]], 2, 2, 64),
    ];
    for isa in Isa::available() {
        for case in &cases {
            check(isa, case);
        }
    }
}

#[test]
fn gradients_of_what_is_shared_by_differences() {
    let case = groups(&[&[3, 2, 2]], 2, 1, 16);
    let x = case.inputs();
    for isa in Isa::available() {
        let [_, _, _, dk, dv] = run(isa, 2, &case, 0.25, &x);
        let [q, k, v, dout] = &x;
        let (wide_q, wide_k, wide_v) = (wide(q), wide(k), wide(v));
        let loss = |k: &[f64], v: &[f64]| dot(&case.forward(0.25, &wide_q, k, v).0, dout);
        close(&dk, &differences(k, |k| loss(k, &wide_v)), 1e-5, &format!("{isa} dk"));
        close(&dv, &differences(v, |v| loss(&wide_k, v)), 1e-5, &format!("{isa} dv"));
    }
}

#[test]
fn as_pytorch_has_it() {
    let golden = Golden::read("attention");
    let case = case(&[70, 1, 29], 4, 2, 16);
    let x = [numbers(6400, 1), numbers(3200, 2), numbers(3200, 3), numbers(6400, 4)];
    for isa in Isa::available() {
        let got = run(isa, 2, &case, 0.75, &x);
        for (got, name) in got.iter().zip(["out", "lse", "dq", "dk", "dv"]) {
            golden.check(name, got, 2e-6, &format!("{isa}, attention"));
        }
    }
}

#[test]
fn neither_threads_nor_neighbours_make_a_difference() {
    let together = case(&[90, 3, 131], 6, 3, 32);
    let x = together.inputs();
    for isa in Isa::available() {
        let all = run(isa, 1, &together, 0.3, &x);
        for threads in [2, 3] {
            assert!(all == run(isa, threads, &together, 0.3, &x), "{isa}, {threads} threads");
        }
        let last = |x: &Vec<f32>| x[x.len() / 224 * 93..].to_vec();
        let alone = case(&[131], 6, 3, 32);
        let mine = [last(&x[0]), last(&x[1]), last(&x[2]), last(&x[3])];
        let got = run(isa, 1, &alone, 0.3, &mine);
        assert!(got == all.map(|x| last(&x)), "{isa}");
    }
}

#[test]
fn threads_make_no_difference_to_groups() {
    let case = groups(&[&[90, 3, 131, 20], &[70], &[33, 40, 1]], 6, 3, 32);
    let x = case.inputs();
    for isa in Isa::available() {
        let all = run(isa, 1, &case, 0.3, &x);
        for threads in [2, 3, 5] {
            assert!(all == run(isa, threads, &case, 0.3, &x), "{isa}, {threads} threads");
        }
    }
}

#[test]
#[should_panic(expected = "parents have no parents")]
fn a_parent_with_a_parent_is_refused() {
    let mut case = groups(&[&[1, 1, 1]], 1, 1, 16);
    case.parents[2] = Some(1);
    run(Isa::Scalar, 1, &case, 1.0, &case.inputs());
}

#[test]
fn large_scores_overflow_nothing() {
    let case = case(&[80], 1, 1, 16);
    let [q, k, v, dout] = case.inputs();
    let x = [scaled(100.0, q), scaled(100.0, k), v, dout];
    for isa in Isa::available() {
        for tensor in run(isa, 1, &case, 1.0, &x) {
            assert!(tensor.iter().all(|x| x.is_finite()), "{isa}");
        }
    }
}
