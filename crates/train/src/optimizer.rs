//! AdamW over all parameters.

use kernels::grad::{self, AdamW, clip_scale, global_norm};

use crate::error::setting;
use crate::{Error, Gradients, Network};

/// The moments of all parameters, and how many steps were taken.
pub struct Optimizer {
    m: Vec<Vec<f32>>,
    v: Vec<Vec<f32>>,
    steps: u32,
}

impl Optimizer {
    /// Before the first step.
    pub fn new(network: &Network<'_>) -> Optimizer {
        let zeros =
            || network.parameters().all().iter().map(|p| vec![0.0; p.values.len()]).collect();
        Optimizer { m: zeros(), v: zeros(), steps: 0 }
    }

    /// Steps taken.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// The first and the second moment of each parameter, in their order.
    pub fn moments(&self) -> (&[Vec<f32>], &[Vec<f32>]) {
        (&self.m, &self.v)
    }

    /// An optimizer as it was after `steps` steps, from the [`Optimizer::moments`] it had then.
    ///
    /// # Errors
    /// The moments are those of other parameters.
    pub fn restore(
        network: &Network<'_>,
        (m, v): (Vec<Vec<f32>>, Vec<Vec<f32>>),
        steps: u32,
    ) -> Result<Optimizer, Error> {
        let fit = |moments: &[Vec<f32>]| {
            let all = network.parameters().all();
            all.len() == moments.len()
                && all.iter().zip(moments).all(|(p, m)| p.values.len() == m.len())
        };
        match fit(&m) && fit(&v) {
            true => Ok(Optimizer { m, v, steps }),
            false => Err(setting("moments", "are not those of this network's parameters")),
        }
    }

    /// Takes a step, with gradients whose norm exceeds `max_norm` made shorter. Only matrices decay:
    /// a norm's weights and biases are not to be drawn towards 0. Returns the norm as it was.
    ///
    /// # Errors
    /// The gradients are another network's, or their norm isn't finite: nothing has changed then.
    pub fn step(
        &mut self,
        network: &mut Network<'_>,
        gradients: &Gradients,
        adamw: &AdamW,
        max_norm: f32,
    ) -> Result<f32, Error> {
        let (isa, pool) = (network.isa(), network.pool());
        if !gradients.fit(network.parameters()) || self.m.len() != gradients.all().len() {
            return Err(setting("gradients", "are not those of this network's parameters"));
        }
        let all: Vec<&[f32]> = gradients.all().iter().map(|g| &g[..]).collect();
        let norm = global_norm(isa, pool, &all);
        if !norm.is_finite() {
            return Err(setting("gradients", format!("their norm is {norm}; no step was taken")));
        }
        self.steps += 1;
        let scale = clip_scale(norm, max_norm);
        let matrices: Vec<bool> =
            network.parameters().all().iter().map(|p| p.shape.len() > 1).collect();
        let state = self.m.iter_mut().zip(&mut self.v);
        let values = network.parameters_mut().values_mut();
        for (((value, grad), (m, v)), matrix) in values.zip(all).zip(state).zip(matrices) {
            let weight_decay = if matrix { adamw.weight_decay } else { 0.0 };
            let adamw = AdamW { weight_decay, ..*adamw };
            let parameter = grad::Parameter { value, grad, m, v, bf16: None };
            adamw.step(isa, pool, self.steps, scale, parameter);
        }
        Ok(norm)
    }
}
