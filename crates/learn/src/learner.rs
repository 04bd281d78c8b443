//! A network that learns: gradients are gathered, a step is taken, and all of it can be kept and
//! brought back to the bit.

use std::borrow::Cow;
use std::path::Path;

use kernels::Pool;
use model::Model;
use train::{Batch, Gradients, Network, Optimizer, Precision, ScoreGradients};
use weights::Checkpoint;
use weights::safetensors::{NewTensor, SafetensorsDir, write};

use crate::Error;
use crate::recipe::Recipe;

/// Steps in a row whose gradients aren't finite, before it is given up.
const PATIENCE: usize = 3;

/// A network, its gradients and its optimizer.
pub struct Learner<'m> {
    network: Network<'m>,
    gradients: Gradients,
    optimizer: Optimizer,
    schedule: crate::recipe::Optimizer,
    steps: u64,
    /// Steps in a row whose gradients weren't finite.
    failed: usize,
}

/// What a step was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Its learning rate.
    pub learning_rate: f64,
    /// The gradients' norm, before they were made shorter; none if they weren't finite and no step
    /// was taken.
    pub norm: Option<f32>,
}

impl Step {
    /// What there is to be seen of it.
    pub fn figures(&self) -> [(&'static str, f64); 2] {
        let norm = self.norm.map_or(f64::NAN, f64::from);
        [("optimizer/learning_rate", self.learning_rate), ("optimizer/gradient_norm", norm)]
    }
}

impl<'m> Learner<'m> {
    /// An adapter of `model` that is to be learned.
    ///
    /// # Errors
    /// A setting makes no sense.
    pub fn adapter(recipe: &Recipe, model: &'m Model) -> Result<Learner<'m>, Error> {
        Ok(Learner::new(recipe, recipe.network(model)?))
    }

    /// An adapter of `model` and a scalar head: a reward model, which goes on from another or starts from zeros.
    ///
    /// # Errors
    /// A setting makes no sense.
    pub fn reward_model(recipe: &Recipe, model: &'m Model) -> Result<Learner<'m>, Error> {
        Ok(Learner::new(recipe, recipe.judge(model)?))
    }

    /// All weights of a model that are to be learned.
    ///
    /// # Errors
    /// It is of an unknown kind, its weights are quantised, or they are in a GGUF file, which can't
    /// be written back.
    pub fn everything(
        recipe: &Recipe,
        checkpoint: &Checkpoint,
        pool: &'m Pool,
    ) -> Result<Learner<'m>, Error> {
        if matches!(checkpoint, Checkpoint::Gguf(_)) {
            let problem = "everything is learned only of a directory of safetensors: \
                           `ponder convert MODEL.gguf -o DIR/` makes one";
            return Err(crate::error::recipe("lora.learn", problem));
        }
        Ok(Learner::new(recipe, Network::full(checkpoint, pool, Precision::Bf16)?))
    }

    /// Any network.
    pub fn new(recipe: &Recipe, mut network: Network<'m>) -> Learner<'m> {
        network.keep_activations(recipe.keep_activations_mib << 20);
        Learner {
            gradients: Gradients::zeros(network.parameters()),
            optimizer: Optimizer::new(&network),
            network,
            schedule: recipe.optimizer.clone(),
            steps: recipe.steps,
            failed: 0,
        }
    }

    /// The network.
    pub fn network(&self) -> &Network<'m> {
        &self.network
    }

    /// Adds the gradients of the weighted cross-entropy of a batch; see
    /// [`Network::cross_entropy`].
    ///
    /// # Errors
    /// A text is too long for the model, or a token isn't in its vocabulary.
    pub fn cross_entropy(
        &mut self,
        batch: &Batch,
        dropout: Option<u64>,
    ) -> Result<train::Loss, Error> {
        Ok(self.network.cross_entropy(batch, dropout, &mut self.gradients)?)
    }

    /// Adds the gradients of a loss that is a function of the log-probabilities and entropies of a
    /// batch. `loss` is told both, and gives its own gradient with respect to each
    /// log-probability and, where these matter, each entropy.
    ///
    /// # Errors
    /// As for [`Learner::cross_entropy`], or as `loss` has it.
    pub fn learn(
        &mut self,
        batch: &Batch,
        dropout: Option<u64>,
        loss: impl FnOnce(&train::Scores) -> Result<(Vec<f32>, Option<Vec<f32>>), Error>,
    ) -> Result<(), Error> {
        let forward = self.network.forward(batch, dropout)?;
        let (log_probs, entropies) = loss(forward.scores())?;
        let d = ScoreGradients { log_probs: &log_probs, entropies: entropies.as_deref() };
        Ok(self.network.backward(batch, forward, d, &mut self.gradients)?)
    }

    /// Adds the gradients of a loss that is a function of the values of a batch, of a network with a
    /// scalar head. `loss` is told them, one a slot, and gives its own gradient with respect to each.
    ///
    /// # Errors
    /// There is no scalar head; or as for [`Learner::cross_entropy`], or as `loss` has it.
    pub fn learn_values(
        &mut self,
        batch: &Batch,
        dropout: Option<u64>,
        loss: impl FnOnce(&[f32]) -> Result<Vec<f32>, Error>,
    ) -> Result<(), Error> {
        let forward = self.network.forward_values(batch, dropout)?;
        let d = loss(forward.values())?;
        Ok(self.network.backward_values(batch, forward, &d, &mut self.gradients)?)
    }

    /// Takes step `step`, counted from 1, and forgets the gradients. Gradients that aren't finite
    /// are thrown away, and the weights stay as they are.
    ///
    /// # Errors
    /// That has happened several times in a row.
    pub fn step(&mut self, step: u64) -> Result<Step, Error> {
        let adamw = self.schedule.at(step, self.steps);
        let bad = self.gradients.all().iter().position(|g| g.iter().any(|x| !x.is_finite()));
        let norm = match bad {
            Some(i) => {
                self.failed += 1;
                let parameter = self.network.parameters().all()[i].name.clone();
                if self.failed >= PATIENCE {
                    return Err(Error::NotFinite { step, parameter, times: self.failed });
                }
                tracing::warn!(step, parameter, "its gradient isn't finite; no step is taken");
                None
            }
            None => {
                self.failed = 0;
                let most = self.schedule.max_norm;
                Some(self.optimizer.step(&mut self.network, &self.gradients, &adamw, most)?)
            }
        };
        self.gradients.clear();
        Ok(Step { learning_rate: adamw.learning_rate, norm })
    }

    /// Forgets gradients that no step was taken with.
    pub fn forget(&mut self) {
        self.gradients.clear();
    }

    /// Writes the parameters and the optimizer's moments into the file `path`.
    ///
    /// # Errors
    /// It can't be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let (m, v) = self.optimizer.moments();
        let mut tensors = Vec::new();
        for (i, p) in self.network.parameters().all().iter().enumerate() {
            for (kind, values) in [("value", &p.values), ("m", &m[i]), ("v", &v[i])] {
                tensors.push(NewTensor {
                    name: format!("{kind}.{}", p.name),
                    shape: p.shape.clone(),
                    values: Cow::Borrowed(values),
                });
            }
        }
        let steps = [self.optimizer.steps() as f32];
        let name = "steps".to_owned();
        tensors.push(NewTensor { name, shape: vec![1], values: Cow::Borrowed(&steps) });
        Ok(write(path, &tensors)?)
    }

    /// Reads what [`Learner::save`] wrote: everything is again as it was, to the bit.
    ///
    /// # Errors
    /// The file can't be read, or is another network's.
    pub fn restore(&mut self, path: &Path) -> Result<(), Error> {
        let file = SafetensorsDir::open(path)?;
        let read = |name: &str, n: usize| -> Result<Vec<f32>, Error> {
            let folder = |problem| Error::Folder { path: path.to_owned(), problem };
            let tensor = file.tensor(name).ok_or_else(|| {
                folder(format!("has no tensor `{name}`; it is of another recipe"))
            })?;
            if tensor.data.len() != 4 * n {
                return Err(folder(format!(
                    "tensor `{name}` is of another size than the recipe's"
                )));
            }
            let word = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            Ok(tensor.data.chunks_exact(4).map(word).collect())
        };
        let (mut values, mut m, mut v) = (Vec::new(), Vec::new(), Vec::new());
        for p in self.network.parameters().all() {
            for (kind, into) in [("value", &mut values), ("m", &mut m), ("v", &mut v)] {
                into.push(read(&format!("{kind}.{}", p.name), p.values.len())?);
            }
        }
        let steps = read("steps", 1)?[0] as u32;
        for (to, from) in self.network.parameters_mut().values_mut().zip(values) {
            to.copy_from_slice(&from);
        }
        self.optimizer = Optimizer::restore(&self.network, (m, v), steps)?;
        self.gradients.clear();
        Ok(())
    }
}
