//! One transformer layer, forward and backward.

use kernels::gemm::Sum;
use kernels::grad::{
    Attention, AttentionShape, rms_norm_backward, rope_backward, swiglu, swiglu_backward,
};
use kernels::ops;
use model::config::Presence;
use model::{Config, Target};

use crate::linear::{Linear, Pass, Vector};
use crate::parameters::Gradients;

/// A layer's weights.
pub(crate) struct Layer<'m> {
    pub(crate) attention_norm: Vector,
    /// On each head of q and of k (Qwen3).
    pub(crate) head_norms: [Option<Vector>; 2],
    pub(crate) feed_forward_norm: Vector,
    /// By [`Target`].
    pub(crate) linears: [Linear<'m>; 7],
}

/// What all layers know of a batch.
pub(crate) struct Geometry<'a> {
    pub(crate) config: &'a Config,
    /// Where each sequence starts, and at the end the number of tokens.
    pub(crate) cu_seqlens: &'a [usize],
    /// The sequence that each goes on from.
    pub(crate) parents: &'a [Option<usize>],
    /// `[tokens, rope.dim / 2]`.
    pub(crate) cos: Vec<f32>,
    pub(crate) sin: Vec<f32>,
}

impl Geometry<'_> {
    fn shape(&self) -> AttentionShape {
        let Config { heads, kv_heads, head_dim, .. } = *self.config;
        AttentionShape { heads, kv_heads, head_dim }
    }

    fn attention<'a>(&'a self, q: &'a [f32], k: &'a [f32], v: &'a [f32]) -> Attention<'a> {
        let scale = 1.0 / (self.config.head_dim as f32).sqrt();
        let (cu_seqlens, parents) = (self.cu_seqlens, self.parents);
        Attention { shape: self.shape(), scale, cu_seqlens, parents, q, k, v }
    }

    /// Numbers of a token in q, and in k.
    fn rows(&self) -> (usize, usize) {
        let Config { heads, kv_heads, head_dim, .. } = *self.config;
        (heads * head_dim, kv_heads * head_dim)
    }
}

/// What a layer works out, one row a token: all that its way back needs.
pub(crate) struct Activations {
    /// `[tokens, hidden]`: the normed input.
    normed: Vec<f32>,
    /// `[tokens, heads or kv_heads, head_dim]`: q and k before their norms; empty without those.
    unnormed: [Vec<f32>; 2],
    /// `[tokens, heads, head_dim]`, rotated.
    q: Vec<f32>,
    /// `[tokens, kv_heads, head_dim]`, rotated.
    k: Vec<f32>,
    /// `[tokens, kv_heads, head_dim]`.
    v: Vec<f32>,
    /// `[tokens, heads, head_dim]`.
    attention: Vec<f32>,
    /// `[tokens, heads]`: of the scores' exponentials.
    lse: Vec<f32>,
    /// `[tokens, hidden]`: the residual stream after attention.
    middle: Vec<f32>,
    /// `[tokens, hidden]`: the same, normed.
    middle_normed: Vec<f32>,
    /// `[tokens, ffn]`: before its activation.
    gate: Vec<f32>,
    /// `[tokens, ffn]`.
    up: Vec<f32>,
    /// `[tokens, ffn]`: `silu(gate) · up`.
    gated: Vec<f32>,
    /// `[tokens, rank]`, by [`Target`]: what the pairs' A make of their inputs.
    low: [Vec<f32>; 7],
}

impl Activations {
    /// Bytes of one token's.
    pub(crate) fn bytes(config: &Config) -> usize {
        let Config { hidden, heads, kv_heads, head_dim, ffn, qk_norm, .. } = *config;
        let (q, kv) = (heads * head_dim, kv_heads * head_dim);
        let unnormed = if qk_norm == Presence::Never { 0 } else { q + kv };
        4 * (3 * hidden + 2 * q + 2 * kv + unnormed + heads + 3 * ffn)
    }

    /// Room for `tokens` tokens.
    pub(crate) fn new(config: &Config, tokens: usize) -> Activations {
        let room = |n: usize| vec![0.0; tokens * n];
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        Activations {
            normed: room(config.hidden),
            unnormed: [vec![], vec![]],
            q: room(q),
            k: room(kv),
            v: room(kv),
            attention: room(q),
            lse: room(config.heads),
            middle: room(config.hidden),
            middle_normed: room(config.hidden),
            gate: room(config.ffn),
            up: room(config.ffn),
            gated: room(config.ffn),
            low: Default::default(),
        }
    }
}

/// Gradients of activations on the way through a layer, one row a token.
pub(crate) struct Backward {
    /// As [`Activations::normed`].
    normed: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attention: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    gated: Vec<f32>,
}

impl Backward {
    /// Room for `tokens` tokens.
    pub(crate) fn new(config: &Config, tokens: usize) -> Backward {
        let room = |n: usize| vec![0.0; tokens * n];
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        Backward {
            normed: room(config.hidden),
            q: room(q),
            k: room(kv),
            v: room(kv),
            attention: room(q),
            gate: room(config.ffn),
            up: room(config.ffn),
            gated: room(config.ffn),
        }
    }
}

impl Layer<'_> {
    fn linear(&self, target: Target) -> &Linear<'_> {
        &self.linears[target as usize]
    }

    /// All of the layer but its last product: from its input `x`, `[tokens, hidden]`, to `acts`.
    pub(crate) fn work_out(
        &self,
        pass: &mut Pass<'_>,
        at: &Geometry<'_>,
        x: &[f32],
        acts: &mut Activations,
    ) {
        let (isa, pool, eps) = (pass.products.isa, pass.products.pool, at.config.rms_norm_eps);
        let norm = self.attention_norm.values(pass.parameters);
        ops::rms_norm(isa, pool, x, norm, eps, &mut acts.normed);
        let Activations { normed, q, k, v, low, .. } = acts;
        for (target, out) in [(Target::Q, &mut *q), (Target::K, &mut *k), (Target::V, &mut *v)] {
            self.linear(target).forward(pass, normed, out, &mut low[target as usize]);
        }
        self.rotate(pass, at, acts);
        let attention = at.attention(&acts.q, &acts.k, &acts.v);
        attention.forward(isa, pool, &mut acts.attention, &mut acts.lse);

        let Activations { attention, middle, middle_normed, gate, up, gated, low, .. } = acts;
        self.linear(Target::O).forward(pass, attention, middle, &mut low[Target::O as usize]);
        ops::add(pool, middle, x);
        let norm = self.feed_forward_norm.values(pass.parameters);
        ops::rms_norm(isa, pool, middle, norm, eps, middle_normed);
        for (target, out) in [(Target::Gate, &mut *gate), (Target::Up, &mut *up)] {
            self.linear(target).forward(pass, middle_normed, out, &mut low[target as usize]);
        }
        swiglu(isa, pool, gate, up, gated);
    }

    /// Norms q and k where the model does, and turns them by their positions.
    fn rotate(&self, pass: &Pass<'_>, at: &Geometry<'_>, acts: &mut Activations) {
        let (isa, pool, c) = (pass.products.isa, pass.products.pool, at.config);
        let rows = at.rows();
        let Activations { q, k, unnormed, .. } = acts;
        let norms = self.head_norms.iter().zip(unnormed);
        for ((x, row), (norm, before)) in [(q, rows.0), (k, rows.1)].into_iter().zip(norms) {
            if let Some(norm) = norm {
                before.clone_from(x);
                let norm = norm.values(pass.parameters);
                ops::rms_norm(isa, pool, before, norm, c.rms_norm_eps, x);
            }
            ops::rope(isa, pool, x, row, c.head_dim, c.rope.layout, (&at.cos, &at.sin));
        }
    }

    /// The layer's output, `[tokens, hidden]`, from what [`Layer::work_out`] left.
    pub(crate) fn output(&self, pass: &mut Pass<'_>, acts: &mut Activations, out: &mut [f32]) {
        let Activations { gated, middle, low, .. } = acts;
        self.linear(Target::Down).forward(pass, gated, out, &mut low[Target::Down as usize]);
        ops::add(pass.products.pool, out, middle);
    }

    /// What A makes of the last product's input, for a way back that has no use for the product.
    pub(crate) fn output_low(&self, pass: &mut Pass<'_>, acts: &mut Activations) {
        let Activations { gated, low, .. } = acts;
        self.linear(Target::Down).low(pass, gated, &mut low[Target::Down as usize]);
    }

    /// `d`, `[tokens, hidden]`, comes in as the gradient of the layer's output and leaves as that of
    /// its input `x`; adds to the gradients of what the layer learns.
    pub(crate) fn backward(
        &self,
        pass: &mut Pass<'_>,
        at: &Geometry<'_>,
        (x, acts): (&[f32], &Activations),
        d: &mut [f32],
        work: &mut Backward,
        gradients: &mut Gradients,
    ) {
        self.feed_forward_backward(pass, at, acts, d, work, gradients);
        self.attention_backward(pass, at, (x, acts), d, work, gradients);
    }

    /// From the gradient of the layer's output to that of the stream after attention.
    fn feed_forward_backward(
        &self,
        pass: &mut Pass<'_>,
        at: &Geometry<'_>,
        acts: &Activations,
        d: &mut [f32],
        work: &mut Backward,
        gradients: &mut Gradients,
    ) {
        let (isa, pool) = (pass.products.isa, pass.products.pool);
        let low = |target: Target| &acts.low[target as usize][..];
        let Backward { normed, gate, up, gated, .. } = work;
        let input = (&acts.gated[..], low(Target::Down));
        self.linear(Target::Down).backward(pass, input, d, (gated, Sum::Write), gradients);
        swiglu_backward(isa, pool, &acts.gate, &acts.up, gated, gate, up);
        for (target, dout, sum) in
            [(Target::Gate, &*gate, Sum::Write), (Target::Up, &*up, Sum::Add)]
        {
            let input = (&acts.middle_normed[..], low(target));
            self.linear(target).backward(pass, input, dout, (&mut *normed, sum), gradients);
        }
        norm_backward(pass, at, &self.feed_forward_norm, (&acts.middle, normed), d, gradients);
    }

    /// From there to the gradient of the layer's input.
    fn attention_backward(
        &self,
        pass: &mut Pass<'_>,
        at: &Geometry<'_>,
        (x, acts): (&[f32], &Activations),
        d: &mut [f32],
        work: &mut Backward,
        gradients: &mut Gradients,
    ) {
        let (isa, pool) = (pass.products.isa, pass.products.pool);
        let low = |target: Target| &acts.low[target as usize][..];
        let Backward { normed, q, k, v, attention, .. } = work;
        let input = (&acts.attention[..], low(Target::O));
        self.linear(Target::O).backward(pass, input, d, (attention, Sum::Write), gradients);
        let forward = (&acts.attention[..], &acts.lse[..]);
        at.attention(&acts.q, &acts.k, &acts.v).backward(isa, pool, forward, attention, (q, k, v));
        self.rotate_backward(pass, at, acts, (q, k), gradients);
        for (target, dout, sum) in
            [(Target::Q, &*q, Sum::Write), (Target::K, &*k, Sum::Add), (Target::V, &*v, Sum::Add)]
        {
            let input = (&acts.normed[..], low(target));
            self.linear(target).backward(pass, input, dout, (&mut *normed, sum), gradients);
        }
        norm_backward(pass, at, &self.attention_norm, (x, normed), d, gradients);
    }

    /// From the gradients of q and k as attention had them to those of the products.
    fn rotate_backward(
        &self,
        pass: &mut Pass<'_>,
        at: &Geometry<'_>,
        acts: &Activations,
        (dq, dk): (&mut Vec<f32>, &mut Vec<f32>),
        gradients: &mut Gradients,
    ) {
        let (isa, pool, c) = (pass.products.isa, pass.products.pool, at.config);
        let rows = at.rows();
        let norms = self.head_norms.iter().zip(&acts.unnormed);
        for ((d, row), (norm, before)) in [(dq, rows.0), (dk, rows.1)].into_iter().zip(norms) {
            rope_backward(isa, pool, d, row, c.head_dim, c.rope.layout, (&at.cos, &at.sin));
            if let Some(norm) = norm {
                let dout = std::mem::replace(d, vec![0.0; d.len()]);
                norm_backward(pass, at, norm, (before, &dout), d, gradients);
            }
        }
    }
}

/// Adds to `dx` and to the gradient of the norm's weights. `x` is what went in, `dout` the gradient
/// of what came out.
pub(crate) fn norm_backward(
    pass: &mut Pass<'_>,
    at: &Geometry<'_>,
    norm: &Vector,
    (x, dout): (&[f32], &[f32]),
    dx: &mut [f32],
    gradients: &mut Gradients,
) {
    let weight = norm.values(pass.parameters);
    let dweight = norm.gradient(weight.len(), gradients, &mut pass.unwanted);
    let (isa, pool) = (pass.products.isa, pass.products.pool);
    rms_norm_backward(isa, pool, x, weight, at.config.rms_norm_eps, dout, dx, dweight);
}
