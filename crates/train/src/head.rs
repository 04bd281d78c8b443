//! From final states to log-probabilities, and back: a block of tokens at a time, so that the
//! logits of a batch are never held at once.

use kernels::gemm::Sum;
use kernels::grad::{CrossEntropy, Likelihoods};

use crate::chosen::Chosen;
use crate::layer::Geometry;
use crate::linear::{Linear, Pass, Vector};
use crate::parameters::Gradients;
use crate::scores::{ScoreGradients, Scores};

/// Logits that are held at once.
const LOGITS: usize = 24 << 20;
/// Tokens of a block at least: the output matrix is dequantised for each block anew.
const LEAST: usize = 64;

/// The last norm and the output matrix.
pub(crate) struct Head<'m> {
    pub(crate) norm: Vector,
    /// `[vocab, hidden]`.
    pub(crate) output: Linear<'m>,
    /// What logits are divided by; 1: the model's own.
    pub(crate) temperature: f32,
}

/// The slots whose predictions count.
pub(crate) struct Counted {
    chosen: Chosen,
    targets: Vec<usize>,
}

impl Counted {
    /// Log-probabilities and entropies of the batch's slots, from those of the blocks.
    pub(crate) fn scores(&self, blocks: &[Likelihoods], slots: usize) -> Scores {
        let log_probs = blocks.iter().flat_map(|b| b.log_probs.iter().copied());
        let entropies = blocks.iter().flat_map(|b| b.entropies.iter().copied());
        Scores {
            log_probs: self.chosen.spread(log_probs, slots),
            entropies: self.chosen.spread(entropies, slots),
        }
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
        let (slots, targets): (Vec<usize>, Vec<usize>) =
            targets.iter().enumerate().filter_map(|(i, t)| Some((i, (*t)?))).unzip();
        let mut chosen = Chosen::new(pass, at, &self.norm, states, slots);
        // Logits are linear in these, and these are fewer.
        self.cool(&mut chosen.normed);
        Counted { chosen, targets }
    }

    fn cool(&self, values: &mut [f32]) {
        if self.temperature != 1.0 {
            values.iter_mut().for_each(|x| *x /= self.temperature);
        }
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
    /// respect to each score; adds to the gradients of what the head learns. `known` is
    /// what [`Head::score`] said; what isn't known is worked out on the way.
    pub(crate) fn backward(
        &self,
        pass: &mut Pass<'_>,
        at: &Geometry<'_>,
        (counted, known): (&Counted, &mut Vec<Likelihoods>),
        d: ScoreGradients<'_>,
        gradients: &mut Gradients,
    ) -> Vec<f32> {
        let (n, size) = (self.output.inputs, self.block());
        let mut dnormed = vec![0.0; counted.chosen.normed.len()];
        let mut logits = Vec::new();
        for (i, targets) in counted.targets.chunks(size).enumerate() {
            self.logits(pass, counted, i, &mut logits);
            if known.len() <= i {
                known.push(likelihoods(pass, targets, &logits));
            }
            let first = i * size;
            let slots = &counted.chosen.slots[first..first + targets.len()];
            // The kernel's loss is `-log p`.
            let weights: Vec<f32> = slots.iter().map(|s| -d.log_probs[*s]).collect();
            let of_entropies = |d: &[f32]| slots.iter().map(|s| d[*s]).collect::<Vec<f32>>();
            let entropy_weights = d.entropies.map(of_entropies);
            let weights = (&weights[..], entropy_weights.as_deref());
            let (isa, pool) = (pass.products.isa, pass.products.pool);
            known[i].gradient(isa, pool, weights, &mut logits, 0);
            let rows = first * n..(first + targets.len()) * n;
            let (x, dx) = (&counted.chosen.normed[rows.clone()], &mut dnormed[rows]);
            self.output.backward(pass, (x, &[]), &logits, (dx, Sum::Write), gradients);
        }
        self.cool(&mut dnormed);
        let all = (&dnormed[..], d.log_probs.len());
        counted.chosen.backward(pass, at, &self.norm, all, gradients)
    }

    /// Logits of the `i`-th block, `[block, vocab]`.
    fn logits(&self, pass: &mut Pass<'_>, counted: &Counted, i: usize, out: &mut Vec<f32>) {
        let (n, size) = (self.output.inputs, self.block());
        let tokens = i * size..counted.targets.len().min((i + 1) * size);
        out.resize(tokens.len() * self.output.outputs, 0.0);
        let x = &counted.chosen.normed[tokens.start * n..tokens.end * n];
        self.output.forward(pass, x, out, &mut Vec::new());
    }
}

fn likelihoods(pass: &Pass<'_>, targets: &[usize], logits: &[f32]) -> Likelihoods {
    let mut sums = CrossEntropy::new(targets.iter().map(|t| Some(*t)).collect());
    sums.accumulate(pass.products.isa, pass.products.pool, logits, 0);
    sums.finish()
}
