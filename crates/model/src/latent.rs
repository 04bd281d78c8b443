//! Multi-head latent attention (DeepSeek-AI 2024, arXiv:2405.04434): of a token the cache holds one latent that is
//! keys and values of all heads, and one rotated key.
//!
//! Keys are `W_uk c` of a latent `c`, values `W_uv c`. Instead of making them for all positions, each query meets the
//! latents as `W_ukᵀ q`, and what attention has gathered of them becomes values once: `W_uv Σ w c`.

use kernels::matmul::{Matrix, Product, Quantized, matmul, matmul_each};
use kernels::{Isa, Pool, ops};

use crate::Config;
use crate::config::LatentConfig;
use crate::forward::first;

/// What the makers add to the mean square in the norms within, whatever the model's other norms have.
const EPSILON: f32 = 1e-6;

/// What makes queries and latents.
pub(crate) struct Latent {
    /// `[q_lora_rank, hidden]`, and the norm after it, where there are two matrices for queries.
    pub(crate) q_a: Option<(Matrix, Vec<f32>)>,
    /// `[heads · (qk_nope_head_dim + rope.dim), q_lora_rank or hidden]`.
    pub(crate) q: Matrix,
    /// `[kv_lora_rank + rope.dim, hidden]`: the latent and the rotated part of the key.
    pub(crate) kv_a: Matrix,
    /// `[kv_lora_rank]`.
    pub(crate) kv_a_norm: Vec<f32>,
    /// For each head `W_ukᵀ`, `[kv_lora_rank, qk_nope_head_dim]`.
    pub(crate) k_b: Vec<Matrix>,
    /// For each head `W_uv`, `[v_head_dim, kv_lora_rank]`.
    pub(crate) v_b: Vec<Matrix>,
    pub(crate) config: LatentConfig,
}

/// Memory it works in.
#[derive(Default)]
pub(crate) struct Scratch {
    /// `[tokens, q_lora_rank]`.
    low: Vec<f32>,
    /// `[tokens, heads, qk_nope_head_dim + rope.dim]`.
    q: Vec<f32>,
    /// `[tokens, kv_lora_rank]`.
    latents: Vec<f32>,
    /// `[tokens, heads + 1, rope.dim]`: what is rotated, the key behind the queries.
    rotated: Vec<f32>,
    /// `[heads, tokens, ..]`: what meets a head's own matrix, and what becomes of it.
    x: Vec<f32>,
    y: Vec<f32>,
}

/// What a batch is worked out with.
pub(crate) struct Means<'a> {
    pub(crate) config: &'a Config,
    pub(crate) isa: Isa,
    pub(crate) pool: &'a Pool,
    pub(crate) quantized: &'a mut Quantized,
}

impl Latent {
    /// The matrices a token meets, but for the one behind attention.
    pub(crate) fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        let q_a = self.q_a.as_ref().map(|(matrix, _)| matrix);
        q_a.into_iter().chain([&self.q, &self.kv_a]).chain(&self.k_b).chain(&self.v_b)
    }

    /// Of normed states, `[tokens, hidden]`, the queries as latents meet them, `[tokens, heads, kv_lora_rank +
    /// rope.dim]`, and the keys, `[tokens, kv_lora_rank + rope.dim]`. `cos` and `sin` are `[tokens, rope.dim / 2]`.
    pub(crate) fn project(
        &self,
        means: Means<'_>,
        normed: &[f32],
        (cos, sin): (&[f32], &[f32]),
        (queries, keys): (&mut [f32], &mut [f32]),
        scratch: &mut Scratch,
    ) {
        let Means { config: c, isa, pool, quantized } = means;
        let LatentConfig { kv_lora_rank: rank, qk_nope_head_dim: nope, .. } = self.config;
        let (heads, dim, key) = (c.heads, c.rope.dim, c.head_dim);
        let tokens = normed.len() / c.hidden;
        let Scratch { low, q, latents, rotated, x, y } = scratch;
        let q = first(q, tokens * heads * (nope + dim));
        let kv = |keys| Product { weight: &self.kv_a, out: keys };
        match &self.q_a {
            Some((q_a, norm)) => {
                let low = first(low, tokens * norm.len());
                let products = &mut [Product { weight: q_a, out: low }, kv(&mut *keys)];
                matmul(isa, pool, normed, products, quantized);
                ops::rms_norm_in_place(isa, pool, low, norm, EPSILON);
                matmul(isa, pool, low, &mut [Product { weight: &self.q, out: q }], quantized);
            }
            None => {
                let products = &mut [Product { weight: &self.q, out: q }, kv(&mut *keys)];
                matmul(isa, pool, normed, products, quantized);
            }
        }

        let latents = first(latents, tokens * rank);
        copy(keys, (key, 0), latents, (rank, 0), rank);
        ops::rms_norm_in_place(isa, pool, latents, &self.kv_a_norm, EPSILON);
        copy(latents, (rank, 0), keys, (key, 0), rank);

        let row = (heads + 1) * dim;
        let rotated = first(rotated, tokens * row);
        let rows = rotated.chunks_exact_mut(row).zip(q.chunks_exact(heads * (nope + dim)));
        for ((rotated, q), key) in rows.zip(keys.chunks_exact(key)) {
            copy(q, (nope + dim, nope), rotated, (dim, 0), dim);
            rotated[heads * dim..].copy_from_slice(&key[rank..]);
        }
        ops::rope(isa, pool, rotated, row, dim, c.rope.layout, (cos, sin));
        let rows = rotated.chunks_exact(row).zip(queries.chunks_exact_mut(heads * key));
        for ((rotated, queries), keys) in rows.zip(keys.chunks_exact_mut(key)) {
            copy(rotated, (dim, 0), queries, (key, rank), dim);
            keys[rank..].copy_from_slice(&rotated[heads * dim..]);
        }

        let x = first(x, heads * tokens * nope);
        let y = first(y, heads * tokens * rank);
        for (head, x) in x.chunks_exact_mut(tokens * nope).enumerate() {
            copy(q, (heads * (nope + dim), head * (nope + dim)), x, (nope, 0), nope);
        }
        matmul_each(isa, pool, x, &self.k_b, y, quantized);
        for (head, y) in y.chunks_exact(tokens * rank).enumerate() {
            copy(y, (rank, 0), queries, (heads * key, head * key), rank);
        }
    }

    /// The values, `[tokens, heads, v_head_dim]`, of what attention gathered, `[tokens, heads, kv_lora_rank]`.
    pub(crate) fn values(
        &self,
        means: Means<'_>,
        gathered: &[f32],
        values: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let Means { config: c, isa, pool, quantized } = means;
        let LatentConfig { kv_lora_rank: rank, v_head_dim: dim, .. } = self.config;
        let tokens = gathered.len() / (c.heads * rank);
        let x = first(&mut scratch.x, c.heads * tokens * rank);
        let y = first(&mut scratch.y, c.heads * tokens * dim);
        for (head, x) in x.chunks_exact_mut(tokens * rank).enumerate() {
            copy(gathered, (c.heads * rank, head * rank), x, (rank, 0), rank);
        }
        matmul_each(isa, pool, x, &self.v_b, y, quantized);
        for (head, y) in y.chunks_exact(tokens * dim).enumerate() {
            copy(y, (dim, 0), values, (c.heads * dim, head * dim), dim);
        }
    }
}

/// Copies `n` numbers of each row: rows have so many numbers, and these start there, on either side.
fn copy(
    from: &[f32],
    (from_row, from_at): (usize, usize),
    to: &mut [f32],
    (to_row, to_at): (usize, usize),
    n: usize,
) {
    for (from, to) in from.chunks_exact(from_row).zip(to.chunks_exact_mut(to_row)) {
        to[to_at..to_at + n].copy_from_slice(&from[from_at..from_at + n]);
    }
}
