//! The forward pass: one function for chat, server, rollouts and scoring.

use kernels::Isa;
use kernels::attention::{Apart, AttentionSpan, Heads, PAGE, attend, store_kv};
use kernels::matmul::{Product, Quantized, matmul};
use kernels::ops;

use crate::config::Activation;
use crate::experts;
use crate::inputs::{Input, InputSquares};
use crate::latent;
use crate::layer::{Attention, BiasApart, FeedForward, HeadMatrices};
use crate::lora::{self, Run, Target};
use crate::rope::Rope;
use crate::{AdapterUse, Error, KvCache, Layer, Model, Sequence};

/// Which of a span's tokens the caller wants predictions for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// None: the span is only to be read into the cache.
    Nothing,
    /// The last one's: what comes next.
    Last,
    /// Every one's.
    All,
}

/// Tokens to be appended to one sequence.
pub struct Span<'a> {
    /// Where they go.
    pub sequence: &'a mut Sequence,
    /// What is read, at least one token.
    pub tokens: &'a [u32],
    /// Whose predictions are wanted.
    pub want: Want,
    /// What is added to the model's matrices for these tokens. What a sequence's cache holds is
    /// the work of the adapter its tokens were read with: to go on with another, or to fork for
    /// one, is to read a text half with each.
    pub adapter: Option<AdapterUse<'a>>,
}

/// What all layers work on.
struct Batch<'a> {
    spans: &'a [Span<'a>],
    /// Of all spans together.
    tokens: usize,
    /// Where adapters are at work.
    runs: &'a [Run<'a>],
}

/// How far heads are turned at the batch's positions, `[tokens, rope.dim / 2]`.
#[derive(Default)]
struct Angles {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Angles {
    fn clear(&mut self) {
        self.cos.clear();
        self.sin.clear();
    }

    fn push(&mut self, rope: &Rope, position: usize) {
        rope.angles(position, &mut self.cos, &mut self.sin);
    }
}

/// Memory a forward pass works in, kept from one to the next.
#[derive(Default)]
pub struct Workspace {
    /// `[tokens, hidden]`: the residual stream.
    hidden: Vec<f32>,
    /// `[tokens, hidden]`: normalised, or a layer's output.
    normed: Vec<f32>,
    /// `[tokens, heads, head_dim]`.
    q: Vec<f32>,
    /// `[tokens, kv_heads, head_dim]`.
    k: Vec<f32>,
    /// `[tokens, kv_heads, head_dim]`.
    v: Vec<f32>,
    /// `[tokens, heads, head_dim]`, or of latents `[tokens, heads, kv_lora_rank]`.
    attention: Vec<f32>,
    /// `[tokens, heads, v_head_dim]`: what is made of gathered latents.
    values: Vec<f32>,
    /// `[tokens, ffn]`.
    gate: Vec<f32>,
    /// `[tokens, ffn]`.
    up: Vec<f32>,
    /// Of layers that see everything.
    angles: Angles,
    /// Of layers with a window, where they have others.
    window_angles: Angles,
    /// `[wanted, hidden]`: normalised final states.
    wanted: Vec<f32>,
    quantized: Quantized,
    experts: experts::Scratch,
    latent: latent::Scratch,
    lora: lora::Scratch,
    inputs: Option<InputSquares>,
}

impl Workspace {
    /// One that also adds up what comes into the model's matrices, until [`Workspace::inputs`] is taken.
    pub fn observing(model: &Model) -> Workspace {
        Workspace { inputs: Some(InputSquares::new(&model.config)), ..Workspace::default() }
    }

    /// What was added up: nothing, if it doesn't observe.
    pub fn inputs(&mut self) -> InputSquares {
        self.inputs.take().unwrap_or_default()
    }
}

/// The first `n` elements, growing the vector if need be. What they hold is overwritten.
pub(crate) fn first(v: &mut Vec<f32>, n: usize) -> &mut [f32] {
    if v.len() < n {
        v.resize(n, 0.0);
    }
    &mut v[..n]
}

impl Model {
    /// Appends each span's tokens to its sequence and returns how many predictions are ready for
    /// [`Model::logits`], in the order of the spans.
    ///
    /// A token's result depends on its own sequence only, to the bit, not on what else is in the
    /// batch. Spans without an adapter are computed as if there were none at all.
    ///
    /// # Errors
    /// A token isn't in the vocabulary, an adapter isn't this model's or its scale not finite, the cache is full,
    /// or a layer that isn't in memory can't be read; no sequence has changed then.
    pub fn forward(
        &self,
        cache: &mut KvCache,
        spans: &mut [Span<'_>],
        work: &mut Workspace,
    ) -> Result<usize, Error> {
        let c = &self.config;
        let tokens: usize = spans.iter().map(|s| s.tokens.len()).sum();
        let hidden = first(&mut work.hidden, tokens * c.hidden);
        work.angles.clear();
        work.window_angles.clear();
        let mut rows = hidden.chunks_exact_mut(c.hidden);
        for span in spans.iter() {
            for ((i, token), row) in span.tokens.iter().enumerate().zip(&mut rows) {
                self.embed(*token, row)?;
                let position = span.sequence.len() + i;
                work.angles.push(self.rope_of(span.sequence), position);
                if let Some(rope) = &self.window_rope {
                    work.window_angles.push(rope, position);
                }
            }
        }
        let runs = lora::runs(self, spans)?;
        for span in spans.iter_mut() {
            cache.reserve(span.sequence, span.tokens.len())?;
        }
        if cache.shape().ty.is_rounded() && self.layers.any_key_bias() {
            for span in spans.iter() {
                let (sequence, end) = (&*span.sequence, span.sequence.len() + span.tokens.len());
                cache.know_angles(sequence, end, self.rope_of(sequence), c.rope.dim);
            }
        }
        if tokens > 0 {
            let batch = Batch { spans, tokens, runs: &runs };
            for i in 0..c.layers {
                let layer = self.layer_to_run(i)?;
                self.attention(&layer, i, cache, &batch, work);
                self.feed_forward(&layer, i, &batch, work);
            }
            if let Some(inputs) = &mut work.inputs {
                inputs.count(tokens);
            }
        }

        work.wanted.clear();
        let mut at = 0;
        for span in spans.iter_mut() {
            let n = span.tokens.len();
            cache.advance(span.sequence, n);
            let from = match span.want {
                Want::Nothing => n,
                Want::Last => n.saturating_sub(1),
                Want::All => 0,
            };
            let wanted = &work.hidden[(at + from) * c.hidden..(at + n) * c.hidden];
            work.wanted.extend_from_slice(wanted);
            at += n;
        }
        Ok(work.wanted.len() / c.hidden)
    }

    /// Logits of the predictions `range` of the last [`Model::forward`] with this workspace, into
    /// `out`, `[predictions, vocab]`.
    ///
    /// # Panics
    /// If there are fewer predictions, or `out` has another size.
    pub fn logits(&self, work: &mut Workspace, range: std::ops::Range<usize>, out: &mut [f32]) {
        let n = self.config.hidden;
        let states = &work.wanted[range.start * n..range.end * n];
        let normed = first(&mut work.normed, states.len());
        let eps = self.config.rms_norm_eps;
        ops::rms_norm(self.isa, &self.pool, states, &self.output_norm, eps, normed);
        let products = &mut [Product { weight: &self.output, out }];
        matmul(self.isa, &self.pool, normed, products, &mut work.quantized);
    }

    /// The normalised final states from which the predictions `range` of the last
    /// [`Model::forward`] are made, into `out`, `[predictions, hidden]`.
    ///
    /// # Panics
    /// If there are fewer predictions, or `out` has another size.
    pub fn states(&self, work: &Workspace, range: std::ops::Range<usize>, out: &mut [f32]) {
        let n = self.config.hidden;
        let states = &work.wanted[range.start * n..range.end * n];
        let eps = self.config.rms_norm_eps;
        ops::rms_norm(self.isa, &self.pool, states, &self.output_norm, eps, out);
    }

    /// `hidden += attention(norm(hidden))`.
    fn attention(
        &self,
        layer: &Layer,
        index: usize,
        cache: &mut KvCache,
        batch: &Batch<'_>,
        work: &mut Workspace,
    ) {
        let Batch { spans, tokens, runs } = *batch;
        let Model { config: c, isa, pool, .. } = self;
        let isa: Isa = *isa;
        let (q_row, kv_row) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let hidden = &mut work.hidden[..tokens * c.hidden];
        let normed = first(&mut work.normed, tokens * c.hidden);
        ops::rms_norm(isa, pool, hidden, &layer.attn_norm, c.rms_norm_eps, normed);

        let shape = *cache.shape();
        // What need not be rounded is not stored.
        let apart = layer.apart().filter(|_| shape.ty.is_rounded());
        let bias = apart.and_then(|apart| apart.keys.as_ref());
        match &layer.attention {
            Attention::Heads(own) => self.project(own, index, apart, batch, work),
            Attention::Latent(own) => {
                let q = first(&mut work.q, tokens * q_row);
                let k = first(&mut work.k, tokens * kv_row);
                let angles = (&work.angles.cos[..], &work.angles.sin[..]);
                let means = latent::Means { config: c, isa, pool, quantized: &mut work.quantized };
                own.project(means, normed, angles, (q, k), &mut work.latent);
            }
        }
        let (q, k) = (&work.q[..tokens * q_row], &work.k[..tokens * kv_row]);
        // Latents are values already.
        let v_row = if c.latent.is_some() { 0 } else { kv_row };
        let v = &work.v[..tokens * v_row];

        let mut row = 0;
        for span in spans {
            let mut position = span.sequence.len();
            let end = position + span.tokens.len();
            while position < end {
                let n = (PAGE - position % PAGE).min(end - position);
                let k = &k[row * kv_row..(row + n) * kv_row];
                let v = &v[row * v_row..(row + n) * v_row];
                let page = cache.page_mut(span.sequence, index, position);
                store_kv(isa, &shape, page, position % PAGE, k, v);
                position += n;
                row += n;
            }
            cache.bound(isa, span.sequence, index, (span.sequence.len(), end), bias);
        }
        let pages: Vec<Vec<&[u8]>> = spans.iter().map(|s| cache.layer(s.sequence, index)).collect();
        let bounds: Vec<Vec<&[u8]>> =
            spans.iter().map(|s| cache.bounds(s.sequence, index)).collect();
        let seen: Vec<AttentionSpan<'_>> = spans
            .iter()
            .zip(pages.iter().zip(&bounds))
            .map(|(span, (pages, bounds))| AttentionSpan {
                pages,
                bounds,
                position: span.sequence.len(),
                tokens: span.tokens.len(),
            })
            .collect();
        let mut out = first(&mut work.attention, tokens * c.heads * shape.value_dim());
        let scale = match &c.latent {
            Some(latent) => latent.scale(&c.rope),
            None => c.attention_scale,
        };
        // Biases kept apart are turned as their text's positions are, those of all texts of a call alike.
        let alike = |a: &Span<'_>, b: &Span<'_>| {
            bias.is_none() || a.sequence.is_scaled() == b.sequence.is_scaled()
        };
        let (mut seen, mut q, mut rest) = (&seen[..], q, &mut out[..]);
        for texts in spans.chunk_by(alike) {
            let heads = Heads {
                shape: &shape,
                scale,
                apart: bias.map(|bias| Apart { bias, angles: cache.angles(texts[0].sequence) }),
                window: c.window_of(index),
                sparse: cache.sparse(index),
            };
            let tokens: usize = texts.iter().map(|span| span.tokens.len()).sum();
            let (of_texts, others) = seen.split_at(texts.len());
            let (queries, other_queries) = q.split_at(tokens * q_row);
            let (gathered, others_gathered) =
                std::mem::take(&mut rest).split_at_mut(tokens * c.heads * shape.value_dim());
            attend(isa, pool, heads, of_texts, queries, gathered);
            (seen, q, rest) = (others, other_queries, others_gathered);
        }
        if let Some(apart) = apart {
            ops::add_bias(pool, out, &apart.values);
        }
        if let Attention::Latent(own) = &layer.attention {
            let values = first(&mut work.values, tokens * c.gathered());
            let means = latent::Means { config: c, isa, pool, quantized: &mut work.quantized };
            own.values(means, out, values, &mut work.latent);
            out = values;
        }
        if let Some(inputs) = &mut work.inputs {
            inputs.add(index, Input::Gathered, out);
        }

        let normed = first(&mut work.normed, tokens * c.hidden);
        matmul(
            isa,
            pool,
            out,
            &mut [Product { weight: &layer.o, out: normed }],
            &mut work.quantized,
        );
        self.adapt(runs, index, out, &mut [(Target::O, &mut *normed)], &mut work.lora);
        if let Some(norm) = &layer.attn_post_norm {
            ops::rms_norm_in_place(isa, pool, normed, norm, c.rms_norm_eps);
        }
        ops::add(pool, &mut work.hidden[..tokens * c.hidden], normed);
    }

    /// Queries, keys and values of the normed states, each by its own matrix.
    fn project(
        &self,
        own: &HeadMatrices,
        index: usize,
        apart: Option<&BiasApart>,
        batch: &Batch<'_>,
        work: &mut Workspace,
    ) {
        let Batch { tokens, runs, .. } = *batch;
        let Model { config: c, isa, pool, .. } = self;
        let isa: Isa = *isa;
        let (q_row, kv_row) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let normed = &work.normed[..tokens * c.hidden];
        let q = first(&mut work.q, tokens * q_row);
        let k = first(&mut work.k, tokens * kv_row);
        let v = first(&mut work.v, tokens * kv_row);
        let products = &mut [
            Product { weight: &own.q, out: q },
            Product { weight: &own.k, out: k },
            Product { weight: &own.v, out: v },
        ];
        matmul(isa, pool, normed, products, &mut work.quantized);
        if let Some(inputs) = &mut work.inputs {
            inputs.add(index, Input::Attention, normed);
        }
        let outs = &mut [(Target::Q, &mut *q), (Target::K, &mut *k), (Target::V, &mut *v)];
        self.adapt(runs, index, normed, outs, &mut work.lora);
        let (k_bias, v_bias) = match apart {
            Some(apart) => (Some(&apart.rest), None),
            None => (own.k_bias.as_ref(), own.v_bias.as_ref()),
        };
        for (x, bias) in [(&mut *q, own.q_bias.as_ref()), (&mut *k, k_bias), (&mut *v, v_bias)] {
            if let Some(bias) = bias {
                ops::add_bias(pool, x, bias);
            }
        }
        let angles = match (c.window_of(index), &self.window_rope) {
            (Some(_), Some(_)) => &work.window_angles,
            _ => &work.angles,
        };
        for (x, row, norm) in [(&mut *q, q_row, &own.q_norm), (&mut *k, kv_row, &own.k_norm)] {
            let turn = |x: &mut [f32]| {
                let angles = (&angles.cos[..], &angles.sin[..]);
                ops::rope(isa, pool, x, row, c.head_dim, c.rope.layout, angles);
            };
            if c.norm_after_rope {
                turn(x);
            }
            if let Some(norm) = norm {
                ops::rms_norm_in_place(isa, pool, x, norm, c.rms_norm_eps);
            }
            if !c.norm_after_rope {
                turn(x);
            }
        }
    }

    /// `hidden += down(act(gate(norm(hidden))) · up(norm(hidden)))`.
    fn feed_forward(&self, layer: &Layer, index: usize, batch: &Batch<'_>, work: &mut Workspace) {
        let Batch { tokens, runs, .. } = *batch;
        let Model { config: c, isa, pool, .. } = self;
        let hidden = &mut work.hidden[..tokens * c.hidden];
        let normed = first(&mut work.normed, tokens * c.hidden);
        ops::rms_norm(*isa, pool, hidden, &layer.ffn_norm, c.rms_norm_eps, normed);
        let dense = match &layer.feed_forward {
            FeedForward::Dense(dense) => dense,
            FeedForward::Experts(experts) => {
                if let Some(inputs) = &mut work.inputs {
                    inputs.add(index, Input::FeedForward, normed);
                }
                let Workspace { experts: scratch, quantized, .. } = work;
                let sum = experts.forward(*isa, pool, normed, scratch, quantized);
                ops::add(pool, hidden, sum);
                return;
            }
        };
        let gate = first(&mut work.gate, tokens * c.ffn);
        let up = first(&mut work.up, tokens * c.ffn);
        let products = &mut [
            Product { weight: &dense.gate, out: gate },
            Product { weight: &dense.up, out: up },
        ];
        matmul(*isa, pool, normed, products, &mut work.quantized);
        if let Some(inputs) = &mut work.inputs {
            inputs.add(index, Input::FeedForward, normed);
        }
        let outs = &mut [(Target::Gate, &mut *gate), (Target::Up, &mut *up)];
        self.adapt(runs, index, normed, outs, &mut work.lora);
        match c.activation {
            Activation::Silu => ops::swiglu(*isa, pool, gate, up),
            Activation::Gelu => ops::geglu(*isa, pool, gate, up),
        }
        if let Some(inputs) = &mut work.inputs {
            inputs.add(index, Input::Gated, gate);
        }
        let products = &mut [Product { weight: &dense.down, out: normed }];
        matmul(*isa, pool, gate, products, &mut work.quantized);
        self.adapt(runs, index, gate, &mut [(Target::Down, &mut *normed)], &mut work.lora);
        if let Some(norm) = &layer.ffn_post_norm {
            ops::rms_norm_in_place(*isa, pool, normed, norm, c.rms_norm_eps);
        }
        ops::add(pool, hidden, normed);
    }
}
