//! From final states to log-probabilities, and back: a block of tokens at a time, so that the
//! logits of a batch are never held at once.

use kernels::gemm::Sum;
use kernels::grad::{CrossEntropy, Likelihoods};
use kernels::ops;

use crate::layer::{Geometry, norm_backward};
use crate::linear::{Linear, Pass, Vector};
use crate::parameters::Gradients;

/// Logits that are held at once.
const LOGITS: usize = 24 << 20;
/// Tokens of a block at least: the output matrix is dequantised for each block anew.
const LEAST: usize = 64;

/// The last norm and the output matrix.
pub(crate) struct Head<'m> {
    pub(crate) norm: Vector,
    /// `[vocab, hidden]`.
    pub(crate) output: Linear<'m>,
}

/// The tokens whose predictions count, and their final states.
pub(crate) struct Counted {
    /// Which slots of the batch they are.
    slots: Vec<usize>,
    targets: Vec<usize>,
    /// `[counted, hidden]`: before the norm.
    states: Vec<f32>,
    /// `[counted, hidden]`: after it.
    normed: Vec<f32>,
}

impl Counted {
    /// Numbers of the batch's slots where they count, 0 elsewhere.
    fn spread(&self, values: impl Iterator<Item = f32>, slots: usize) -> Vec<f32> {
        let mut out = vec![0.0; slots];
        for (slot, value) in self.slots.iter().zip(values) {
            out[*slot] = value;
        }
        out
    }

    /// Log-probabilities and entropies of the batch's slots, from those of the blocks.
    pub(crate) fn scores(&self, blocks: &[Likelihoods], slots: usize) -> (Vec<f32>, Vec<f32>) {
        let log_probs = blocks.iter().flat_map(|b| b.log_probs.iter().copied());
        let entropies = blocks.iter().flat_map(|b| b.entropies.iter().copied());
        (self.spread(log_probs, slots), self.spread(entropies, slots))
    }
}

impl Head<'_> {
    /// Picks the states of the tokens that have a target, from those of all, `[tokens, hidden]`.
    pub(crate) fn counted(
        &self,
        pass: &Pass<'_>,
        at: &Geometry<'_>,
        states: &[f32],
        targets: &[Option<usize>],
    ) -> Counted {
        let n = self.output.inputs;
        let (slots, targets): (Vec<usize>, Vec<usize>) =
            targets.iter().enumerate().filter_map(|(i, t)| Some((i, (*t)?))).unzip();
        let states: Vec<f32> =
            slots.iter().flat_map(|i| &states[i * n..(i + 1) * n]).copied().collect();
        let mut normed = vec![0.0; states.len()];
        let (isa, pool) = (pass.products.isa, pass.products.pool);
        let norm = self.norm.values(pass.parameters);
        ops::rms_norm(isa, pool, &states, norm, at.config.rms_norm_eps, &mut normed);
        Counted { slots, targets, states, normed }
    }

    /// Tokens of a block: by the vocabulary alone, so that sums over blocks never change.
    fn block(&self) -> usize {
        (LOGITS / self.output.outputs).max(LEAST)
    }

    /// What the model makes of each block's targets.
    pub(crate) fn score(&self, pass: &mut Pass<'_>, counted: &Counted) -> Vec<Likelihoods> {
        let mut logits = Vec::new();
        let blocks = counted.targets.chunks(self.block()).enumerate();
        blocks
            .map(|(i, targets)| {
                self.logits(pass, counted, i, &mut logits);
                likelihoods(pass, targets, &logits)
            })
            .collect()
    }

    /// The gradient of all states of the batch, `[tokens, hidden]`, given that of the loss with
    /// respect to each log-probability; adds to the gradients of what the head learns. `known` is
    /// what [`Head::score`] said; what isn't known is worked out on the way.
    pub(crate) fn backward(
        &self,
        pass: &mut Pass<'_>,
        at: &Geometry<'_>,
        (counted, known): (&Counted, &mut Vec<Likelihoods>),
        d_log_probs: &[f32],
        gradients: &mut Gradients,
    ) -> Vec<f32> {
        let (n, size) = (self.output.inputs, self.block());
        let mut dnormed = vec![0.0; counted.normed.len()];
        let mut logits = Vec::new();
        for (i, targets) in counted.targets.chunks(size).enumerate() {
            self.logits(pass, counted, i, &mut logits);
            if known.len() <= i {
                known.push(likelihoods(pass, targets, &logits));
            }
            let first = i * size;
            let slots = &counted.slots[first..first + targets.len()];
            // The kernel's loss is `-log p`.
            let weights: Vec<f32> = slots.iter().map(|s| -d_log_probs[*s]).collect();
            let (isa, pool) = (pass.products.isa, pass.products.pool);
            known[i].gradient(isa, pool, (&weights, None), &mut logits, 0);
            let rows = first * n..(first + targets.len()) * n;
            let (x, dx) = (&counted.normed[rows.clone()], &mut dnormed[rows]);
            self.output.backward(pass, (x, &[]), &logits, (dx, Sum::Write), gradients);
        }
        let mut dstates = vec![0.0; dnormed.len()];
        let through = (&counted.states[..], &dnormed[..]);
        norm_backward(pass, at, &self.norm, through, &mut dstates, gradients);
        let mut all = vec![0.0; d_log_probs.len() * n];
        for (slot, row) in counted.slots.iter().zip(dstates.chunks_exact(n)) {
            all[slot * n..(slot + 1) * n].copy_from_slice(row);
        }
        all
    }

    /// Logits of the `i`-th block, `[block, vocab]`.
    fn logits(&self, pass: &mut Pass<'_>, counted: &Counted, i: usize, out: &mut Vec<f32>) {
        let (n, size) = (self.output.inputs, self.block());
        let tokens = i * size..counted.targets.len().min((i + 1) * size);
        out.resize(tokens.len() * self.output.outputs, 0.0);
        let x = &counted.normed[tokens.start * n..tokens.end * n];
        self.output.forward(pass, x, out, &mut Vec::new());
    }
}

fn likelihoods(pass: &Pass<'_>, targets: &[usize], logits: &[f32]) -> Likelihoods {
    let mut sums = CrossEntropy::new(targets.iter().map(|t| Some(*t)).collect());
    sums.accumulate(pass.products.isa, pass.products.pool, logits, 0);
    sums.finish()
}
