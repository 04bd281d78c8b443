//! Feed-forward layers of many experts, of which each token is given to a few (Shazeer et al. 2017,
//! arXiv:1701.06538), as Qwen3's mixtures have them (arXiv:2505.09388), and perhaps one that every token is given to
//! (Dai et al. 2024, arXiv:2401.06066).
//!
//! Only the weights of experts that are asked are read. For one token that is what counts: all its
//! experts' first products are one step over the threads, as they have the same input. More tokens are
//! gathered expert by expert. Either way a token's experts are added in the order of their numbers, so that
//! its result doesn't depend on its neighbours; except, as everywhere, where as many of them meet at a matrix as are
//! multiplied in tiles ([`kernels::matmul::tile_tokens`]), which here is so expert by expert.

use kernels::matmul::{Matrix, Product, Quantized, matmul};
use kernels::{Isa, Pool, ops};

use crate::config::{ExpertConfig, Gating};
use crate::forward::first;

/// `down(silu(gate(x)) · up(x))`.
pub(crate) struct Dense {
    pub(crate) gate: Matrix,
    pub(crate) up: Matrix,
    pub(crate) down: Matrix,
}

impl Dense {
    pub(crate) fn matrices(&self) -> [&Matrix; 3] {
        [&self.gate, &self.up, &self.down]
    }
}

/// The experts of a layer.
pub(crate) struct Experts {
    /// `[experts, hidden]`: how much each expert has to do with a token.
    pub(crate) router: Matrix,
    /// `[experts]`: added where the experts are chosen, not to what they count (Wang et al. 2024, arXiv:2408.15664).
    pub(crate) bias: Option<Vec<f32>>,
    pub(crate) all: Vec<Dense>,
    /// The one that every token is given to.
    pub(crate) shared: Option<Dense>,
    pub(crate) config: ExpertConfig,
}

/// Memory the experts work in.
#[derive(Default)]
pub(crate) struct Scratch {
    /// `[tokens, experts]`.
    logits: Vec<f32>,
    /// For each expert, the tokens that are given to it, and how much it counts for them.
    given: Vec<Vec<(usize, f32)>>,
    /// `[rows, hidden]`: an expert's tokens, and what it makes of them.
    x: Vec<f32>,
    y: Vec<f32>,
    /// `[rows, ffn]`.
    gate: Vec<f32>,
    up: Vec<f32>,
    /// `[tokens, hidden]`: the sum over experts.
    sum: Vec<f32>,
}

impl Experts {
    /// What the experts make of `x`, `[tokens, hidden]`.
    pub(crate) fn forward<'s>(
        &self,
        isa: Isa,
        pool: &Pool,
        x: &[f32],
        scratch: &'s mut Scratch,
        quantized: &mut Quantized,
    ) -> &'s [f32] {
        let hidden = self.router.cols();
        let (ffn, shared_ffn) = (self.config.ffn, self.config.shared_ffn);
        let tokens = x.len() / hidden;
        let Scratch { logits, given, x: gathered, y, gate, up, sum } = scratch;
        let logits = first(logits, tokens * self.all.len());
        matmul(isa, pool, x, &mut [Product { weight: &self.router, out: logits }], quantized);
        given.resize(self.all.len(), Vec::new());
        given.iter_mut().for_each(Vec::clear);
        for (token, logits) in logits.chunks_exact(self.all.len()).enumerate() {
            for (expert, weight) in route(logits, self.bias.as_deref(), &self.config) {
                given[expert].push((token, weight));
            }
        }
        let sum = first(sum, tokens * hidden);
        sum.fill(0.0);
        let asked: Vec<usize> = (0..given.len()).filter(|e| !given[*e].is_empty()).collect();
        if tokens == 1 {
            let gate = first(gate, asked.len() * ffn + shared_ffn);
            let up = first(up, asked.len() * ffn + shared_ffn);
            let (gates, gate_shared) = gate.split_at_mut(asked.len() * ffn);
            let (ups, up_shared) = up.split_at_mut(asked.len() * ffn);
            let outs = gates.chunks_exact_mut(ffn).zip(ups.chunks_exact_mut(ffn));
            let mut products: Vec<Product<'_>> = asked
                .iter()
                .zip(outs)
                .flat_map(|(expert, (gate, up))| {
                    let Dense { gate: g, up: u, .. } = &self.all[*expert];
                    [Product { weight: g, out: gate }, Product { weight: u, out: up }]
                })
                .collect();
            if let Some(Dense { gate, up, .. }) = &self.shared {
                products.push(Product { weight: gate, out: gate_shared });
                products.push(Product { weight: up, out: up_shared });
            }
            matmul(isa, pool, x, &mut products, quantized);
            ops::swiglu(isa, pool, gate, up);
            let y = first(y, hidden);
            for (expert, gate) in asked.iter().zip(gate.chunks_exact(ffn)) {
                let weight = &self.all[*expert].down;
                matmul(isa, pool, gate, &mut [Product { weight, out: y }], quantized);
                add(sum, given[*expert][0].1, y);
            }
            if let Some(Dense { down, .. }) = &self.shared {
                let gate = &gate[asked.len() * ffn..];
                matmul(isa, pool, gate, &mut [Product { weight: down, out: y }], quantized);
                add(sum, 1.0, y);
            }
            return sum;
        }
        for expert in asked {
            let Dense { gate: g, up: u, down } = &self.all[expert];
            let given = &given[expert];
            let rows = given.len();
            let x_of = |token: usize| &x[token * hidden..(token + 1) * hidden];
            let gathered = first(gathered, rows * hidden);
            for (row, (token, _)) in gathered.chunks_exact_mut(hidden).zip(given) {
                row.copy_from_slice(x_of(*token));
            }
            let (gate, up) = (first(gate, rows * ffn), first(up, rows * ffn));
            let products = &mut [Product { weight: g, out: gate }, Product { weight: u, out: up }];
            matmul(isa, pool, gathered, products, quantized);
            ops::swiglu(isa, pool, gate, up);
            let y = first(y, rows * hidden);
            matmul(isa, pool, gate, &mut [Product { weight: down, out: y }], quantized);
            for (y, (token, weight)) in y.chunks_exact(hidden).zip(given) {
                add(&mut sum[token * hidden..(token + 1) * hidden], *weight, y);
            }
        }
        if let Some(Dense { gate: g, up: u, down }) = &self.shared {
            let (gate, up) = (first(gate, tokens * shared_ffn), first(up, tokens * shared_ffn));
            let products = &mut [Product { weight: g, out: gate }, Product { weight: u, out: up }];
            matmul(isa, pool, x, products, quantized);
            ops::swiglu(isa, pool, gate, up);
            let y = first(y, tokens * hidden);
            matmul(isa, pool, gate, &mut [Product { weight: down, out: y }], quantized);
            add(sum, 1.0, y);
        }
        sum
    }
}

/// `sum += weight · y`.
fn add(sum: &mut [f32], weight: f32, y: &[f32]) {
    for (sum, y) in sum.iter_mut().zip(y) {
        *sum += weight * y;
    }
}

/// The experts a token is given to, in order, and how much each counts.
fn route(logits: &[f32], bias: Option<&[f32]>, config: &ExpertConfig) -> Vec<(usize, f32)> {
    let (scores, all): (Vec<f32>, f32) = match config.gating {
        Gating::Softmax => {
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let scores: Vec<f32> = logits.iter().map(|x| (x - most).exp()).collect();
            let all = scores.iter().sum();
            (scores, all)
        }
        Gating::Sigmoid => (logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect(), 1.0),
    };
    let mut choice = scores.clone();
    for (choice, bias) in choice.iter_mut().zip(bias.unwrap_or_default()) {
        *choice += bias;
    }
    let best = |scores: &[f32]| -> Vec<usize> {
        let mut best: Vec<usize> = (0..scores.len()).collect();
        best.sort_by(|i, j| scores[*j].total_cmp(&scores[*i]).then(i.cmp(j)));
        best
    };
    if config.groups_used < config.groups {
        let size = choice.len() / config.groups;
        let counted = match config.gating {
            Gating::Softmax => 1,
            Gating::Sigmoid => 2,
        };
        let score = |group: &[f32]| best(group).iter().take(counted).map(|i| group[*i]).sum();
        let groups: Vec<f32> = choice.chunks_exact(size).map(score).collect();
        for group in &best(&groups)[config.groups_used..] {
            choice[group * size..(group + 1) * size].fill(f32::NEG_INFINITY);
        }
    }
    let mut chosen = best(&choice);
    chosen.truncate(config.used);
    let total = match config.normalised {
        true => chosen.iter().map(|expert| scores[*expert]).sum(),
        false => all,
    };
    let weight = |expert: usize| (expert, scores[expert] / total * config.scale);
    let mut weights: Vec<(usize, f32)> = chosen.into_iter().map(weight).collect();
    weights.sort_by_key(|(expert, _)| *expert);
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_experts_are_asked() {
        let logits = [0.0, 2.0, -1.0, 2.0, 1.0];
        let e = |x: f32| x.exp();
        let mut config = ExpertConfig::plain(5, 3, 16, true);
        let route = |logits: &[f32], config: &ExpertConfig| route(logits, None, config);
        let total = 2.0 * e(2.0) + e(1.0);
        let close = |got: Vec<(usize, f32)>, want: &[(usize, f32)]| {
            assert_eq!(got.len(), want.len());
            for ((i, a), (j, b)) in got.iter().zip(want) {
                assert!(i == j && (a - b).abs() < 1e-6, "{got:?}, not {want:?}");
            }
        };
        close(
            route(&logits, &config),
            &[(1, e(2.0) / total), (3, e(2.0) / total), (4, e(1.0) / total)],
        );
        config.normalised = false;
        config.used = 1;
        let all: f32 = logits.iter().map(|x| e(*x)).sum();
        close(route(&logits, &config), &[(1, e(2.0) / all)]);
        config.used = 3;
        close(route(&logits, &config), &[(1, e(2.0) / all), (3, e(2.0) / all), (4, e(1.0) / all)]);
    }

    #[test]
    fn only_experts_of_the_best_groups_are_asked() {
        // The best groups are the last and the first by their best, the last two by their best two, the first two
        // with a bias.
        let logits = [1.5, -3.0, 1.0, 1.0, 2.0, -1.0];
        let config =
            ExpertConfig { groups: 3, groups_used: 2, ..ExpertConfig::plain(6, 3, 16, false) };
        let asked = |config: &ExpertConfig, bias: Option<&[f32]>| {
            route(&logits, bias, config).into_iter().map(|(expert, _)| expert).collect::<Vec<_>>()
        };
        assert_eq!(asked(&config, None), [0, 4, 5]);
        let sigmoid =
            ExpertConfig { gating: Gating::Sigmoid, normalised: true, scale: 2.5, ..config };
        assert_eq!(asked(&sigmoid, None), [2, 3, 4]);
        let bias = [0.5, 0.9, 0.0, 0.0, -0.2, 0.0];
        assert_eq!(asked(&sigmoid, Some(&bias)), [0, 1, 2]);
        // The bias is for the choice alone.
        let s = |x: f32| 1.0 / (1.0 + (-x).exp());
        let total = s(1.5) + s(-3.0) + s(1.0);
        for ((_, got), x) in route(&logits, Some(&bias), &sigmoid).into_iter().zip([1.5, -3.0, 1.0])
        {
            let want = 2.5 * s(x) / total;
            assert!((got - want).abs() < 1e-6, "{got}, not {want}");
        }
    }
}
