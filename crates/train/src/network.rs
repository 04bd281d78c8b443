//! The whole pass: embeddings, layers, head, and all of it backwards.

use kernels::grad::Likelihoods;
use kernels::{Isa, Pool};
use model::{Config, Model, Rope};

use crate::error::setting;
use crate::head::{Counted, Head};
use crate::layer::{Activations, Backward, Geometry, Layer};
use crate::linear::Pass;
use crate::parameters::{Gradients, Parameters, Slot};
use crate::products::{Precision, Products};
use crate::scores::{Loss, ScoreGradients, Scores};
use crate::{Batch, Error};

/// A transformer and what of it is learned.
pub struct Network<'m> {
    pub(crate) config: Config,
    pub(crate) vocab: usize,
    pub(crate) isa: Isa,
    pub(crate) pool: &'m Pool,
    pub(crate) rope: Rope,
    pub(crate) precision: Precision,
    pub(crate) embedding: Embedding<'m>,
    pub(crate) layers: Vec<Layer<'m>>,
    pub(crate) head: Head<'m>,
    /// `[1, hidden]`: what a scalar head multiplies final states with.
    pub(crate) scalar: Option<Slot>,
    pub(crate) parameters: Parameters,
    /// Bytes that activations may take which would otherwise be worked out again.
    pub(crate) spare: usize,
    pub(crate) kind: Kind<'m>,
}

/// Where a token's first state comes from.
pub(crate) enum Embedding<'m> {
    /// The model's file.
    Frozen(&'m Model),
    /// A parameter, `[vocab, hidden]`.
    Learned(Slot),
}

/// What is learned, for whoever takes it elsewhere.
pub(crate) enum Kind<'m> {
    /// Low-rank pairs beside this model's matrices.
    Lora(&'m Model, crate::lora::Pairs),
    /// Everything; where it came from.
    Full(crate::full::Source),
}

/// A batch on its way: what [`Network::backward`] needs.
pub struct Forward {
    scores: Scores,
    counted: Counted,
    likelihoods: Vec<Likelihoods>,
    kept: Kept,
    seed: Option<u64>,
}

/// What the way back through the layers needs.
pub(crate) struct Kept {
    /// Of each layer, `[tokens, hidden]`.
    inputs: Vec<Vec<f32>>,
    /// Of the last layers: of the very last at least, whose room is then used for the others.
    acts: Vec<Activations>,
}

impl Forward {
    /// What the model makes of each target.
    pub fn scores(&self) -> &Scores {
        &self.scores
    }
}

impl<'m> Network<'m> {
    /// Shape and constants.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What is learned.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The same, for an optimizer to change.
    pub fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    /// The threads that compute.
    pub fn pool(&self) -> &'m Pool {
        self.pool
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Lets the activations of as many of the last layers as `bytes` hold wait for the way back,
    /// where they are otherwise worked out again from the layer's input (0, the default: only the
    /// very last layer's wait). The gradients are the same to the bit.
    pub fn keep_activations(&mut self, bytes: usize) {
        self.spare = bytes;
    }

    /// Takes all scores at a temperature, whose logits are the model's divided by it: for what was
    /// drawn at that temperature (1, the default: the model's own). It is above 0.
    pub fn at_temperature(&mut self, temperature: f32) {
        self.head.temperature = temperature;
    }

    /// Scores a batch, without dropout and with nothing kept.
    ///
    /// # Errors
    /// A text is too long for the model, or a token isn't in its vocabulary.
    pub fn log_probs(&self, batch: &Batch) -> Result<Scores, Error> {
        let at = self.geometry(batch)?;
        let pass = &mut self.pass(None);
        let states = self.states(pass, &at, batch)?;
        let counted = self.head.counted(pass, &at, &states, batch.targets());
        let likelihoods = self.head.score(pass, &counted);
        Ok(counted.scores(&likelihoods, batch.len()))
    }

    /// Scores a batch and keeps each layer's input for [`Network::backward`]. `dropout` is the seed
    /// of the adapters' dropout, another one for each step; without it nothing is left out.
    ///
    /// # Errors
    /// As for [`Network::log_probs`].
    pub fn forward(&self, batch: &Batch, dropout: Option<u64>) -> Result<Forward, Error> {
        let at = self.geometry(batch)?;
        let pass = &mut self.pass(dropout);
        let (states, kept) = self.through_layers(pass, &at, batch)?;
        let counted = self.head.counted(pass, &at, &states, batch.targets());
        let likelihoods = self.head.score(pass, &counted);
        let scores = counted.scores(&likelihoods, batch.len());
        Ok(Forward { scores, counted, likelihoods, kept, seed: dropout })
    }

    /// Adds to `gradients` those of a loss whose gradient with respect to what `forward` said of
    /// each slot is `d`: one number a slot for the log-probabilities or, where the loss has a term
    /// of the entropies, [`ScoreGradients`]. `batch` is what `forward` was made of, and the
    /// parameters are still the same.
    ///
    /// # Errors
    /// `d`, `batch` or `gradients` are of another length than the forward pass and the parameters
    /// call for.
    pub fn backward<'d>(
        &self,
        batch: &Batch,
        mut forward: Forward,
        d: impl Into<ScoreGradients<'d>>,
        gradients: &mut Gradients,
    ) -> Result<(), Error> {
        let d = d.into();
        d.check(batch.len(), forward.scores.log_probs.len())?;
        self.check(gradients)?;
        let at = self.geometry(batch)?;
        let pass = &mut self.pass(forward.seed);
        let known = (&forward.counted, &mut forward.likelihoods);
        let d = self.head.backward(pass, &at, known, d, gradients);
        self.layers_backward(pass, &at, batch, (forward.kept, d), gradients);
        Ok(())
    }

    /// The batch's weighted cross-entropy; its gradients are added to `gradients`. Logits are worked
    /// out once, where [`Network::forward`] and [`Network::backward`] need them twice.
    ///
    /// # Errors
    /// As for [`Network::forward`] and [`Network::backward`].
    pub fn cross_entropy(
        &self,
        batch: &Batch,
        dropout: Option<u64>,
        gradients: &mut Gradients,
    ) -> Result<Loss, Error> {
        self.check(gradients)?;
        let at = self.geometry(batch)?;
        let pass = &mut self.pass(dropout);
        let (states, kept) = self.through_layers(pass, &at, batch)?;
        let counted = self.head.counted(pass, &at, &states, batch.targets());
        let d_log_probs: Vec<f32> = batch.weights().iter().map(|w| -w).collect();
        let mut likelihoods = Vec::new();
        let known = (&counted, &mut likelihoods);
        let d = self.head.backward(pass, &at, known, (&d_log_probs).into(), gradients);
        self.layers_backward(pass, &at, batch, (kept, d), gradients);
        let scores = counted.scores(&likelihoods, batch.len());
        let terms = batch.weights().iter().zip(&scores.log_probs);
        let sum = terms.map(|(w, l)| -f64::from(*w) * f64::from(*l)).sum();
        Ok(Loss { sum, scores })
    }

    pub(crate) fn check(&self, gradients: &Gradients) -> Result<(), Error> {
        if gradients.fit(&self.parameters) {
            return Ok(());
        }
        Err(setting("gradients", "are not those of this network's parameters"))
    }

    pub(crate) fn pass(&self, seed: Option<u64>) -> Pass<'_> {
        let products = Products::new(self.isa, self.pool, self.precision);
        Pass { products, parameters: &self.parameters, seed, unwanted: Vec::new() }
    }

    pub(crate) fn geometry<'a>(&'a self, batch: &'a Batch) -> Result<Geometry<'a>, Error> {
        batch.check(&self.config, self.vocab)?;
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for position in batch.positions() {
            self.rope.angles(position, &mut cos, &mut sin);
        }
        let (cu_seqlens, parents) = (batch.cu_seqlens(), batch.parents());
        Ok(Geometry { config: &self.config, cu_seqlens, parents, cos, sin })
    }

    /// The first states, `[tokens, hidden]`.
    fn embed(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Vec<f32>, Error> {
        let n = self.config.hidden;
        let mut out = vec![0.0; batch.len() * n];
        for (token, row) in batch.tokens().iter().zip(out.chunks_exact_mut(n)) {
            match self.embedding {
                Embedding::Frozen(model) => model.embedding(*token, row)?,
                Embedding::Learned(slot) => {
                    let at = *token as usize * n;
                    row.copy_from_slice(&pass.parameters.get(slot)[at..at + n]);
                }
            }
        }
        Ok(out)
    }

    /// The final states, `[tokens, hidden]`, with nothing kept.
    pub(crate) fn states(
        &self,
        pass: &mut Pass<'_>,
        at: &Geometry<'_>,
        batch: &Batch,
    ) -> Result<Vec<f32>, Error> {
        let mut x = self.embed(pass, batch)?;
        let mut out = vec![0.0; x.len()];
        let mut acts = Activations::new(&self.config, batch.len());
        for layer in &self.layers {
            layer.work_out(pass, at, &x, &mut acts);
            layer.output(pass, &mut acts, &mut out);
            std::mem::swap(&mut x, &mut out);
        }
        Ok(x)
    }

    /// The final states, `[tokens, hidden]`, and what the way back needs.
    pub(crate) fn through_layers(
        &self,
        pass: &mut Pass<'_>,
        at: &Geometry<'_>,
        batch: &Batch,
    ) -> Result<(Vec<f32>, Kept), Error> {
        let mut x = self.embed(pass, batch)?;
        let mut inputs = Vec::with_capacity(self.layers.len());
        let room = || Activations::new(&self.config, batch.len());
        let mut acts = vec![room()];
        let most = self.spare / (Activations::bytes(&self.config) * batch.len()).max(1);
        let shared = self.layers.len() - most.clamp(1, self.layers.len());
        for (i, layer) in self.layers.iter().enumerate() {
            if i > shared {
                acts.push(room());
            }
            let at_hand = acts.len() - 1;
            let mut out = vec![0.0; x.len()];
            layer.work_out(pass, at, &x, &mut acts[at_hand]);
            layer.output(pass, &mut acts[at_hand], &mut out);
            inputs.push(std::mem::replace(&mut x, out));
        }
        Ok((x, Kept { inputs, acts }))
    }

    /// `d`, `[tokens, hidden]`, is the gradient of the last layer's output.
    pub(crate) fn layers_backward(
        &self,
        pass: &mut Pass<'_>,
        at: &Geometry<'_>,
        batch: &Batch,
        (kept, mut d): (Kept, Vec<f32>),
        gradients: &mut Gradients,
    ) {
        let Kept { inputs, mut acts } = kept;
        let mut work = Backward::new(&self.config, batch.len());
        let first = self.layers.len() - acts.len();
        for (i, (layer, x)) in self.layers.iter().zip(inputs).enumerate().rev() {
            acts.truncate(i.saturating_sub(first) + 1);
            let at_hand = acts.len() - 1;
            if i < first {
                layer.work_out(pass, at, &x, &mut acts[at_hand]);
                layer.output_low(pass, &mut acts[at_hand]);
            }
            layer.backward(pass, at, (&x, &acts[at_hand]), &mut d, &mut work, gradients);
        }
        let Embedding::Learned(slot) = self.embedding else { return };
        let (n, rows) = (self.config.hidden, gradients.get(slot));
        for (token, d) in batch.tokens().iter().zip(d.chunks_exact(self.config.hidden)) {
            let row = &mut rows[*token as usize * n..][..n];
            row.iter_mut().zip(d).for_each(|(sum, d)| *sum += d);
        }
    }
}
