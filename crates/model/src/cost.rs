//! What a forward pass has to do at least: bytes to read and operations, for comparing a speed with
//! what the machine could do.

use kernels::matmul::Matrix;

use crate::load::FeedForward;
use crate::{Layer, Model};

impl Layer {
    /// The matrices a token meets: as many experts as it is given to, whichever these are.
    fn matrices(&self) -> Vec<&Matrix> {
        let mut all = vec![&self.q, &self.k, &self.v, &self.o];
        match &self.feed_forward {
            FeedForward::Dense(dense) => all.extend(dense.matrices()),
            FeedForward::Experts(experts) => {
                all.push(&experts.router);
                let asked = experts.all.iter().take(experts.config.used);
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
        let bytes = |m: &Matrix| m.bytes() as f64;
        let layers = self.layers.iter().map(|layer| {
            let all: f64 = layer.matrices().into_iter().map(bytes).sum();
            let FeedForward::Experts(experts) = &layer.feed_forward else { return all };
            let one: f64 = experts.all[0].matrices().into_iter().map(bytes).sum();
            let (count, used) = (experts.config.count as f64, experts.config.used as f64);
            let met = count * (1.0 - (1.0 - used / count).powf(tokens as f64));
            all + (met - used) * one
        });
        layers.sum::<f64>() + bytes(&self.output)
    }

    /// Operations (a multiplication and an addition are two) for `tokens` tokens of one sequence,
    /// the first at `position`, with `predictions` rows of logits: products with weights, and
    /// attention to the positions each token sees.
    pub fn operations(&self, position: usize, tokens: usize, predictions: usize) -> f64 {
        let weights = |m: &Matrix| (m.rows() * m.cols()) as f64;
        let layers: f64 = self.layers.iter().flat_map(Layer::matrices).map(weights).sum();
        let c = &self.config;
        // Scores and weighted sums.
        let attention = (2 * c.heads * c.head_dim) as f64;
        // Of a window, all tokens before it is full see what is there, all others as much as it holds.
        let seen = |window: Option<usize>| {
            let growing = window.map_or(tokens, |w| w.saturating_sub(position).min(tokens));
            let full = window.map_or(0.0, |w| (w * (tokens - growing)) as f64);
            let (position, growing) = (position as f64, growing as f64);
            growing * position + growing * (growing + 1.0) / 2.0 + full
        };
        let seen: f64 = (0..c.layers).map(|layer| seen(c.window_of(layer))).sum();
        let tokens = tokens as f64;
        2.0 * (layers * tokens + attention * seen + weights(&self.output) * predictions as f64)
    }
}
