//! The slots that something is asked of, and their final states: what both heads start from.

use kernels::ops;

use crate::layer::{Geometry, norm_backward};
use crate::linear::{Pass, Vector};
use crate::parameters::Gradients;

/// Some slots of a batch.
pub(crate) struct Chosen {
    /// Which, in their order.
    pub(crate) slots: Vec<usize>,
    /// `[chosen, hidden]`: before the last norm.
    states: Vec<f32>,
    /// `[chosen, hidden]`: after it.
    pub(crate) normed: Vec<f32>,
}

impl Chosen {
    /// Picks the states of `slots` from those of all, `[slots of the batch, hidden]`.
    pub(crate) fn new(
        pass: &Pass<'_>,
        at: &Geometry<'_>,
        norm: &Vector,
        states: &[f32],
        slots: Vec<usize>,
    ) -> Chosen {
        let n = at.config.hidden;
        let states: Vec<f32> =
            slots.iter().flat_map(|i| &states[i * n..(i + 1) * n]).copied().collect();
        let mut normed = vec![0.0; states.len()];
        let (isa, pool) = (pass.products.isa, pass.products.pool);
        let norm = norm.values(pass.parameters);
        ops::rms_norm(isa, pool, &states, norm, at.config.rms_norm_eps, &mut normed);
        Chosen { slots, states, normed }
    }

    /// Numbers of all `slots` slots of the batch: 0 for those that weren't chosen.
    pub(crate) fn spread(&self, values: impl Iterator<Item = f32>, slots: usize) -> Vec<f32> {
        let mut out = vec![0.0; slots];
        for (slot, value) in self.slots.iter().zip(values) {
            out[*slot] = value;
        }
        out
    }

    /// The gradient of the states of all `slots` slots of the batch, `[slots, hidden]`, given that of
    /// the normed ones; adds to the gradient of the norm.
    pub(crate) fn backward(
        &self,
        pass: &mut Pass<'_>,
        at: &Geometry<'_>,
        norm: &Vector,
        (dnormed, slots): (&[f32], usize),
        gradients: &mut Gradients,
    ) -> Vec<f32> {
        let n = at.config.hidden;
        let mut dstates = vec![0.0; dnormed.len()];
        norm_backward(pass, at, norm, (&self.states, dnormed), &mut dstates, gradients);
        let mut all = vec![0.0; slots * n];
        for (slot, row) in self.slots.iter().zip(dstates.chunks_exact(n)) {
            all[slot * n..(slot + 1) * n].copy_from_slice(row);
        }
        all
    }
}
