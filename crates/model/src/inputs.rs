//! What comes into a model's matrices, added up while it reads.

use crate::{Config, Target};

/// For each layer, the sums of the squares that came into each column of its matrices: what an importance
/// matrix is made of. Matrices that are multiplied with the same thing share it.
#[derive(Clone, Debug, Default)]
pub struct InputSquares {
    layers: Vec<[Vec<f64>; 4]>,
    tokens: u64,
}

/// What is multiplied with matrices.
#[derive(Clone, Copy)]
pub(crate) enum Input {
    /// The normalised state, with q, k and v.
    Attention,
    /// What attention gathered, with o.
    Gathered,
    /// The normalised state, with gate and up.
    FeedForward,
    /// The gated product, with down.
    Gated,
}

impl Input {
    fn of(target: Target) -> Input {
        match target {
            Target::Q | Target::K | Target::V => Input::Attention,
            Target::O => Input::Gathered,
            Target::Gate | Target::Up => Input::FeedForward,
            Target::Down => Input::Gated,
        }
    }
}

impl InputSquares {
    pub(crate) fn new(config: &Config) -> InputSquares {
        let widths = [config.hidden, config.heads * config.head_dim, config.hidden, config.ffn];
        let zeros = widths.map(|width| vec![0.0; width]);
        InputSquares { layers: vec![zeros; config.layers], tokens: 0 }
    }

    /// Tokens that were read.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The sums for a matrix of a layer, one for each of its columns.
    ///
    /// # Panics
    /// If the model has no such layer.
    pub fn of(&self, layer: usize, target: Target) -> &[f64] {
        &self.layers[layer][Input::of(target) as usize]
    }

    /// Adds what came into the matrices of a layer, `[tokens, columns]`.
    pub(crate) fn add(&mut self, layer: usize, input: Input, x: &[f32]) {
        let sums = &mut self.layers[layer][input as usize];
        for row in x.chunks_exact(sums.len()) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += f64::from(*x) * f64::from(*x);
            }
        }
    }

    pub(crate) fn count(&mut self, tokens: usize) {
        self.tokens += tokens as u64;
    }
}
