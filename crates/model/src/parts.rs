//! What training sees of a model: its weights as they lie in memory, not to be changed.

use kernels::Pool;
use kernels::matmul::Matrix;

use crate::layer::{Attention, FeedForward, HeadMatrices};
use crate::{Error, Layer, Model, Rope, Target};

impl Model {
    /// The threads that compute.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// One of its layers.
    ///
    /// # Errors
    /// It isn't in memory (see [`Model::load_within`]).
    ///
    /// # Panics
    /// If there are fewer layers.
    pub fn layer(&self, i: usize) -> Result<&Layer, Error> {
        assert!(i < self.config.layers, "layer {i} of {}", self.config.layers);
        self.layers.kept(i).ok_or(Error::InFile)
    }

    /// The matrix from final states to logits, `[vocab, hidden]`.
    pub fn output(&self) -> &Matrix {
        &self.output
    }

    /// The weights of the norm before it, `[hidden]`.
    pub fn output_norm(&self) -> &[f32] {
        &self.output_norm
    }

    /// The angles of the positions of a text that isn't longer than most.
    pub fn rope(&self) -> &Rope {
        self.unscaled_rope.as_ref().unwrap_or(&self.rope)
    }

    /// Writes the embedding of a token, `[hidden]`.
    ///
    /// # Errors
    /// The token isn't in the vocabulary.
    pub fn embedding(&self, token: u32, out: &mut [f32]) -> Result<(), Error> {
        self.embed(token, out)
    }
}

impl Layer {
    fn heads(&self) -> Option<&HeadMatrices> {
        match &self.attention {
            Attention::Heads(heads) => Some(heads),
            Attention::Latent(_) => None,
        }
    }

    /// One of its matrices. None of those of the feed-forward part, if that is experts, nor of q, k and v, if there
    /// are latents instead.
    pub fn matrix(&self, target: Target) -> Option<&Matrix> {
        let dense = match &self.feed_forward {
            FeedForward::Dense(dense) => Some(dense),
            FeedForward::Experts(_) => None,
        };
        match target {
            Target::Q => self.heads().map(|heads| &heads.q),
            Target::K => self.heads().map(|heads| &heads.k),
            Target::V => self.heads().map(|heads| &heads.v),
            Target::O => Some(&self.o),
            Target::Gate => dense.map(|dense| &dense.gate),
            Target::Up => dense.map(|dense| &dense.up),
            Target::Down => dense.map(|dense| &dense.down),
        }
    }

    /// What is added to a matrix's products; only q, k and v may have it.
    pub fn bias(&self, target: Target) -> Option<&[f32]> {
        match target {
            Target::Q => self.heads()?.q_bias.as_deref(),
            Target::K => self.heads()?.k_bias.as_deref(),
            Target::V => self.heads()?.v_bias.as_deref(),
            Target::O | Target::Gate | Target::Up | Target::Down => None,
        }
    }

    /// The weights of the norm on each head of q or k, `[head_dim]`.
    pub fn head_norm(&self, target: Target) -> Option<&[f32]> {
        match target {
            Target::Q => self.heads()?.q_norm.as_deref(),
            Target::K => self.heads()?.k_norm.as_deref(),
            _ => None,
        }
    }

    /// The weights of the norm before attention, `[hidden]`.
    pub fn attention_norm(&self) -> &[f32] {
        &self.attn_norm
    }

    /// The weights of the norm before the feed-forward layer, `[hidden]`.
    pub fn feed_forward_norm(&self) -> &[f32] {
        &self.ffn_norm
    }
}
