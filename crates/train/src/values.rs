//! A head that ends in one number instead of the vocabulary: what a text is worth. Reward models
//! (Ouyang et al. 2022, arXiv:2203.02155) and value functions (Schulman et al. 2017,
//! arXiv:1707.06347) are a network with one.

use std::path::Path;

use weights::safetensors::SafetensorsDir;

use crate::chosen::Chosen;
use crate::dropout::Stream;
use crate::error::setting;
use crate::layer::Geometry;
use crate::linear::Pass;
use crate::network::{Kept, Network};
use crate::parameters::{Gradients, Slot};
use crate::scores::one_a_slot;
use crate::{Batch, Error};

/// The parameter's name, as `transformers` has it.
const NAME: &str = "score.weight";
/// What PEFT puts before it.
const PEFT: &str = "base_model.model.";

/// What a scalar head starts from: the vector, `[hidden]`, whose product with a slot's final state,
/// after the last norm, is its value. There is no bias, as there is none in `transformers`.
#[derive(Clone, Debug, PartialEq)]
pub enum ScalarHead {
    /// All values are 0. In the first step only the head learns.
    Zeros,
    /// Uniform within `1 / √hidden`.
    Random {
        /// What the numbers come from.
        seed: u64,
    },
    /// These numbers.
    Given(Vec<f32>),
}

impl ScalarHead {
    /// Reads the head of a saved network: `score.weight` of the directory `dir`'s
    /// `adapter_model.safetensors`, or of the model there if it has none.
    ///
    /// # Errors
    /// The files can't be read, or there is no head of one number.
    pub fn load(dir: &Path) -> Result<ScalarHead, Error> {
        let adapter = dir.join("adapter_model.safetensors");
        let file = SafetensorsDir::open(if adapter.exists() { &adapter } else { dir })?;
        let found = file.tensor(&format!("{PEFT}{NAME}")).or_else(|| file.tensor(NAME));
        let Some(tensor) = found else {
            let problem = format!("{} has no `{NAME}`; it was saved without a head", dir.display());
            return Err(setting("scalar head", problem));
        };
        if tensor.info.rows() != 1 {
            let rows = tensor.info.rows();
            let problem = format!("`{NAME}` of {} ends in {rows} numbers, not one", dir.display());
            return Err(setting("scalar head", problem));
        }
        let mut values = vec![0.0; tensor.info.elements()];
        kernels::blocks::dequantize_row(tensor.info.ty, tensor.data, &mut values)
            .map_err(|e| setting("scalar head", format!("`{NAME}`: {e}")))?;
        Ok(ScalarHead::Given(values))
    }

    fn values(self, hidden: usize) -> Result<Vec<f32>, Error> {
        let values = match self {
            ScalarHead::Zeros => vec![0.0; hidden],
            ScalarHead::Random { seed } => {
                let (stream, reach) = (Stream::new(seed, u64::MAX), 1.0 / (hidden as f32).sqrt());
                (0..hidden).map(|i| (2.0 * stream.uniform(i) - 1.0) * reach).collect()
            }
            ScalarHead::Given(values) => values,
        };
        if values.len() != hidden {
            let problem =
                format!("{} numbers for a model whose states have {hidden}", values.len());
            return Err(setting("scalar head", problem));
        }
        if let Some(at) = values.iter().position(|x| !x.is_finite()) {
            return Err(setting("scalar head", format!("number {at} is {}", values[at])));
        }
        Ok(values)
    }
}

/// A batch on its way to its values: what [`Network::backward_values`] needs.
pub struct ForwardValues {
    values: Vec<f32>,
    chosen: Chosen,
    kept: Kept,
    seed: Option<u64>,
}

impl ForwardValues {
    /// One a slot, 0 where none is asked for ([`Batch::valued`]).
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

impl Network<'_> {
    /// Puts a scalar head beside that of the vocabulary, as the parameter `score.weight`,
    /// `[1, hidden]`. Everything else is as before; gradients, optimizers and files made from here
    /// on have the head, too.
    ///
    /// # Errors
    /// There is one already, or the numbers given are not as many as a state has, or not finite.
    pub fn with_scalar_head(mut self, head: ScalarHead) -> Result<Self, Error> {
        if self.scalar.is_some() {
            return Err(setting("scalar head", "this network has one already"));
        }
        let hidden = self.config.hidden;
        let values = head.values(hidden)?;
        self.scalar = Some(self.parameters.add(NAME.to_owned(), vec![1, hidden], values));
        Ok(self)
    }

    /// The values of a batch, one a slot and 0 where none is asked for ([`Batch::valued`]): without
    /// dropout and with nothing kept.
    ///
    /// # Errors
    /// There is no scalar head, a text is too long for the model, or a token isn't in its
    /// vocabulary.
    pub fn values(&self, batch: &Batch) -> Result<Vec<f32>, Error> {
        let head = self.scalar()?;
        let at = self.geometry(batch)?;
        let pass = &mut self.pass(None);
        let states = self.states(pass, &at, batch)?;
        Ok(self.valued(pass, &at, (&states, batch), head).1)
    }

    /// The same, and keeps what [`Network::backward_values`] needs. `dropout` is as for
    /// [`Network::forward`].
    ///
    /// # Errors
    /// As for [`Network::values`].
    pub fn forward_values(
        &self,
        batch: &Batch,
        dropout: Option<u64>,
    ) -> Result<ForwardValues, Error> {
        let head = self.scalar()?;
        let at = self.geometry(batch)?;
        let pass = &mut self.pass(dropout);
        let (states, kept) = self.through_layers(pass, &at, batch)?;
        let (chosen, values) = self.valued(pass, &at, (&states, batch), head);
        Ok(ForwardValues { values, chosen, kept, seed: dropout })
    }

    /// Adds to `gradients` those of a loss whose gradient with respect to the value of each slot is
    /// `d_values`; where none is asked for it doesn't matter. `batch` is what `forward` was made of,
    /// and the parameters are still the same.
    ///
    /// # Errors
    /// There is no scalar head, or `d_values`, `batch` or `gradients` are of another length than the
    /// forward pass and the parameters call for.
    pub fn backward_values(
        &self,
        batch: &Batch,
        forward: ForwardValues,
        d_values: &[f32],
        gradients: &mut Gradients,
    ) -> Result<(), Error> {
        let head = self.scalar()?;
        let ForwardValues { values, chosen, kept, seed } = forward;
        one_a_slot("d_values", d_values, batch.len(), values.len())?;
        self.check(gradients)?;
        let at = self.geometry(batch)?;
        let pass = &mut self.pass(seed);
        let n = self.config.hidden;
        let (weight, dweight) = (pass.parameters.get(head), gradients.get(head));
        let mut dnormed = Vec::with_capacity(chosen.normed.len());
        for (slot, normed) in chosen.slots.iter().zip(chosen.normed.chunks_exact(n)) {
            let d = d_values[*slot];
            dnormed.extend(weight.iter().map(|w| d * w));
            dweight.iter_mut().zip(normed).for_each(|(sum, x)| *sum += d * x);
        }
        let all = (&dnormed[..], values.len());
        let d = chosen.backward(pass, &at, &self.head.norm, all, gradients);
        self.layers_backward(pass, &at, batch, (kept, d), gradients);
        Ok(())
    }

    /// The scalar head's numbers as they are now, if there is one.
    pub(crate) fn score(&self) -> Option<&[f32]> {
        Some(self.parameters.get(self.scalar?))
    }

    fn scalar(&self) -> Result<Slot, Error> {
        let problem = "this network has none; make it one with with_scalar_head";
        self.scalar.ok_or_else(|| setting("scalar head", problem))
    }

    /// The slots that are valued, and the values of all.
    fn valued(
        &self,
        pass: &Pass<'_>,
        at: &Geometry<'_>,
        (states, batch): (&[f32], &Batch),
        head: Slot,
    ) -> (Chosen, Vec<f32>) {
        let asked = batch.valued().iter().enumerate();
        let slots = asked.filter_map(|(slot, asked)| asked.then_some(slot)).collect();
        let chosen = Chosen::new(pass, at, &self.head.norm, states, slots);
        let weight = pass.parameters.get(head);
        let value = |x: &[f32]| -> f32 {
            let terms = x.iter().zip(weight).map(|(x, w)| f64::from(*x) * f64::from(*w));
            terms.sum::<f64>() as f32
        };
        let values = chosen.normed.chunks_exact(self.config.hidden).map(value);
        let values = chosen.spread(values, batch.len());
        (chosen, values)
    }
}
