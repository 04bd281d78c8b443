//! What a layer is made of.

use kernels::attention::KeyBias;
use kernels::matmul::Matrix;

use crate::Config;
use crate::experts::{Dense, Experts};
use crate::latent::Latent;

/// One transformer layer.
pub struct Layer {
    pub(crate) attn_norm: Vec<f32>,
    pub(crate) attention: Attention,
    pub(crate) o: Matrix,
    /// Norm of what attention gives.
    pub(crate) attn_post_norm: Option<Vec<f32>>,
    pub(crate) ffn_norm: Vec<f32>,
    pub(crate) feed_forward: FeedForward,
    /// Norm of what the feed-forward layer gives.
    pub(crate) ffn_post_norm: Option<Vec<f32>>,
}

impl Layer {
    /// The biases of k and v, where caches whose numbers are rounded are without them.
    pub(crate) fn apart(&self) -> Option<&BiasApart> {
        match &self.attention {
            Attention::Heads(heads) => heads.apart.as_ref(),
            Attention::Latent(_) => None,
        }
    }
}

/// Where a layer's queries, keys and values come from.
pub(crate) enum Attention {
    /// A matrix for each.
    Heads(HeadMatrices),
    /// Keys and values from latents.
    Latent(Latent),
}

/// What makes queries, keys and values.
pub(crate) struct HeadMatrices {
    pub(crate) q: Matrix,
    pub(crate) k: Matrix,
    pub(crate) v: Matrix,
    pub(crate) q_bias: Option<Vec<f32>>,
    pub(crate) k_bias: Option<Vec<f32>>,
    pub(crate) v_bias: Option<Vec<f32>>,
    pub(crate) apart: Option<BiasApart>,
    pub(crate) q_norm: Option<Vec<f32>>,
    pub(crate) k_norm: Option<Vec<f32>>,
}

/// What a layer does with each token by itself.
pub(crate) enum FeedForward {
    /// The same for all tokens.
    Dense(Dense),
    /// What the experts do that a token is given to.
    Experts(Experts),
}

/// The biases of k and v, for caches whose numbers are rounded: none of what can be added later is
/// stored there.
pub(crate) struct BiasApart {
    /// Of the keys, what is large.
    pub(crate) keys: Option<KeyBias>,
    /// Of the keys, what is not.
    pub(crate) rest: Vec<f32>,
    /// Of the values, for each query head, `[heads, head_dim]`: weights add up to one, so what
    /// they weigh has it, too.
    pub(crate) values: Vec<f32>,
}

impl BiasApart {
    pub(crate) fn new(c: &Config, keys: &[f32], values: &[f32]) -> BiasApart {
        let mut rest = keys.to_vec();
        let keys = KeyBias::take(&mut rest, c.head_dim, c.rope.dim, c.rope.layout);
        let group = c.heads / c.kv_heads;
        let of_heads = values.chunks(c.head_dim).flat_map(|head| head.repeat(group));
        BiasApart { keys, rest, values: of_heads.collect() }
    }
}
