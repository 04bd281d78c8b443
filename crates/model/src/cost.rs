//! What a forward pass has to do at least: bytes to read and operations, for comparing a speed with
//! what the machine could do.

use kernels::attention::Sparse;
use kernels::matmul::Matrix;

use crate::layer::{Attention, FeedForward};
use crate::{Layer, Model};

/// What a token costs at one layer.
pub(crate) struct LayerCost {
    /// Bytes of the matrices a token meets, as they lie in memory, all experts but those it isn't given to.
    pub(crate) bytes: f64,
    /// Weights of the same.
    weights: f64,
    experts: Option<ExpertCost>,
}

struct ExpertCost {
    count: f64,
    used: f64,
    /// Bytes of one expert's matrices.
    bytes: f64,
}

impl LayerCost {
    pub(crate) fn of(layer: &Layer) -> LayerCost {
        let matrices = layer.matrices();
        LayerCost {
            bytes: matrices.iter().map(|m| m.bytes() as f64).sum(),
            weights: matrices.iter().map(|m| weights(m)).sum(),
            experts: match &layer.feed_forward {
                FeedForward::Dense(_) => None,
                FeedForward::Experts(experts) => Some(ExpertCost {
                    count: experts.config.count as f64,
                    used: experts.config.used as f64,
                    bytes: experts.all[0].matrices().iter().map(|m| m.bytes() as f64).sum(),
                }),
            },
        }
    }
}

fn weights(matrix: &Matrix) -> f64 {
    (matrix.rows() * matrix.cols()) as f64
}

impl Layer {
    /// The matrices a token meets: as many experts as it is given to, whichever these are.
    fn matrices(&self) -> Vec<&Matrix> {
        let mut all = vec![&self.o];
        match &self.attention {
            Attention::Heads(heads) => all.extend([&heads.q, &heads.k, &heads.v]),
            Attention::Latent(latent) => all.extend(latent.matrices()),
        }
        match &self.feed_forward {
            FeedForward::Dense(dense) => all.extend(dense.matrices()),
            FeedForward::Experts(experts) => {
                all.push(&experts.router);
                let asked = experts.all.iter().take(experts.config.used).chain(&experts.shared);
                all.extend(asked.flat_map(|expert| expert.matrices()));
            }
        }
        all
    }
}

impl Model {
    /// Bytes of weights that a step of `tokens` tokens reads, as they lie in memory: all matrices of
    /// layers without experts and of the output, and of experts as many as are met on average when each
    /// token is given to any with the same chance.
    pub fn weight_bytes(&self, tokens: usize) -> f64 {
        let layers = self.layers.costs().map(|LayerCost { bytes: all, experts, .. }| {
            let Some(ExpertCost { count, used, bytes }) = experts else { return *all };
            let met = count * (1.0 - (1.0 - used / count).powf(tokens as f64));
            all + (met - used) * bytes
        });
        layers.sum::<f64>() + self.output.bytes() as f64
    }

    /// Operations (a multiplication and an addition are two) for `tokens` tokens of one sequence,
    /// the first at `position`, with `predictions` rows of logits: products with weights, and
    /// attention to the positions each token sees, or to as many as `sparse` leaves of them.
    pub fn operations(
        &self,
        position: usize,
        tokens: usize,
        predictions: usize,
        sparse: Option<Sparse>,
    ) -> f64 {
        let layers: f64 = self.layers.costs().map(|cost| cost.weights).sum();
        let c = &self.config;
        // Scores and weighted sums.
        let value_dim = c.latent.map_or(c.head_dim, |latent| latent.kv_lora_rank);
        let attention = (c.heads * (c.head_dim + value_dim)) as f64;
        // Of a window, all tokens before it is full see what is there, all others as much as it holds.
        let seen = |window: Option<usize>| {
            let growing = window.map_or(tokens, |w| w.saturating_sub(position).min(tokens));
            let full = window.map_or(0.0, |w| (w * (tokens - growing)) as f64);
            let (position, growing) = (position as f64, growing as f64);
            growing * position + growing * (growing + 1.0) / 2.0 + full
        };
        let most = |layer: usize| {
            let budget = c.sparse_of(layer, sparse).map(|sparse| sparse.budget);
            c.window_of(layer).or(budget)
        };
        let seen: f64 = (0..c.layers).map(|layer| seen(most(layer))).sum();
        let tokens = tokens as f64;
        2.0 * (layers * tokens + attention * seen + weights(&self.output) * predictions as f64)
    }
}
