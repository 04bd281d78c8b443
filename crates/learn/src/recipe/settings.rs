//! What all methods share.

use std::path::{Path, PathBuf};

use model::{Adapter, Model, StoredPair, Target};
use serde::{Deserialize, Serialize};
use train::{Network, Precision, ScalarHead};

use crate::Error;
use crate::error::recipe;

/// What of the model is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Low-rank pairs beside its matrices, which stay as they are.
    #[default]
    Adapter,
    /// Every weight, held in f32: for small models in f32, f16 or bf16.
    Everything,
}

/// The adapter that is learned; see [`train::LoraSettings`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lora {
    /// Whether it is an adapter at all.
    pub learn: What,
    /// An adapter that is gone on from: one of the same rank, on the same matrices. It is also what
    /// a loss that looks back at the model before it learned anything looks back at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// Rows of each A.
    pub rank: usize,
    /// The numerator of the scale.
    pub alpha: f32,
    /// Whether the scale is `alpha / √rank`, not `alpha / rank`.
    pub rslora: bool,
    /// With which probability A doesn't see an input.
    pub dropout: f32,
    /// The matrices that get a pair, by GGUF's names without `.weight`: `attn_q`, `ffn_up`, …
    pub targets: Vec<String>,
}

impl Default for Lora {
    fn default() -> Lora {
        Lora {
            learn: What::Adapter,
            from: None,
            rank: 16,
            alpha: 32.0,
            rslora: false,
            dropout: 0.0,
            targets: Target::ALL.iter().map(|t| t.gguf().to_owned()).collect(),
        }
    }
}

impl Lora {
    pub(super) fn check(&self) -> Result<(), Error> {
        if !(1..=4096).contains(&self.rank) {
            return Err(recipe("lora.rank", format!("{} is not within 1 to 4096", self.rank)));
        }
        if self.from.is_some() && self.learn != What::Adapter {
            return Err(recipe("lora.from", "is there, but no adapter is learned"));
        }
        self.targets().map(|_| ())
    }

    fn targets(&self) -> Result<Vec<Target>, Error> {
        let one = |name: &String| {
            let names = || Target::ALL.map(Target::gguf).join(", ");
            Target::ALL.into_iter().find(|t| t.gguf() == name).ok_or_else(|| {
                recipe(
                    "lora.targets",
                    format!("no matrix is called {name:?}; there are {}", names()),
                )
            })
        };
        self.targets.iter().map(one).collect()
    }

    /// An adapter of `model` as it is before the first step; `seed` is what A starts from, if it
    /// starts from nothing.
    ///
    /// # Errors
    /// A setting makes no sense, or what is to be gone on from can't be read or is another kind.
    pub(super) fn network<'m>(&self, model: &'m Model, seed: u64) -> Result<Network<'m>, Error> {
        let mut network = Network::lora(model, self.settings(seed)?, Precision::Bf16)?;
        let Some(path) = &self.from else { return Ok(network) };
        let adapter = Adapter::stored_pairs(path, model).map_err(train::Error::from)?;
        network.start_from(&adapter).map_err(|error| {
            recipe("lora.from", format!("{} does not fit: {error}", path.display()))
        })?;
        Ok(network)
    }

    /// An adapter of the same kind with a scalar head, which begin with those of the reward model
    /// `from`; without it, with what an adapter begins with, and zeros.
    ///
    /// # Errors
    /// A setting makes no sense, or the reward model can't be read, is none, or is another kind.
    pub(super) fn scorer<'m>(
        &self,
        model: &'m Model,
        seed: u64,
        from: Option<&Path>,
    ) -> Result<Network<'m>, Error> {
        let stored = from.map(|path| Adapter::stored_scorer(path, model)).transpose();
        self.scorer_from(model, seed, stored.map_err(train::Error::from)?)
    }

    /// The same, of what a reward model's files hold.
    fn scorer_from<'m>(
        &self,
        model: &'m Model,
        seed: u64,
        stored: Option<(Vec<StoredPair>, Vec<f32>)>,
    ) -> Result<Network<'m>, Error> {
        let mut network = Network::lora(model, self.settings(seed)?, Precision::Bf16)?;
        let head = match stored {
            None => ScalarHead::Zeros,
            Some((pairs, head)) => {
                network.start_from(&pairs)?;
                ScalarHead::Given(head)
            }
        };
        Ok(network.with_scalar_head(head)?)
    }

    /// A reward model before its first step: a scalar head over an adapter, which go on from those of `from`. If that is
    /// an adapter without a head, or none is named, the head starts from zeros.
    ///
    /// # Errors
    /// As for [`Lora::network`].
    pub(super) fn judge<'m>(&self, model: &'m Model, seed: u64) -> Result<Network<'m>, Error> {
        let stored = self.from.as_ref().map(|path| (path, Adapter::stored_scorer(path, model)));
        match stored {
            Some((path, Ok(stored))) => {
                self.scorer_from(model, seed, Some(stored)).map_err(|error| {
                    recipe("lora.from", format!("{} does not fit: {error}", path.display()))
                })
            }
            _ => Ok(self.network(model, seed)?.with_scalar_head(ScalarHead::Zeros)?),
        }
    }

    /// The settings of a network's pairs; `seed` is what A starts from.
    ///
    /// # Errors
    /// A target is unknown.
    fn settings(&self, seed: u64) -> Result<train::LoraSettings, Error> {
        let Lora { rank, alpha, rslora, dropout, .. } = *self;
        Ok(train::LoraSettings { rank, alpha, rslora, dropout, targets: self.targets()?, seed })
    }
}

/// How the learning rate goes after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// It stays.
    #[default]
    Constant,
    /// Half a cosine, down to 0 at the end.
    Cosine,
    /// A line, down to 0 at the end.
    Linear,
}

/// How a step is taken: AdamW.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optimizer {
    /// The highest.
    pub learning_rate: f64,
    /// How it goes after the warm-up.
    pub schedule: Schedule,
    /// Steps in which it grows from 0.
    pub warmup_steps: u64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of a matrix that is taken off in each step, times the learning rate.
    pub weight_decay: f64,
    /// Gradients longer than this are made as short.
    pub max_norm: f32,
}

impl Default for Optimizer {
    fn default() -> Optimizer {
        Optimizer {
            learning_rate: 1e-4,
            schedule: Schedule::Constant,
            warmup_steps: 0,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            max_norm: 1.0,
        }
    }
}

impl Optimizer {
    pub(super) fn check(&self) -> Result<(), Error> {
        let positive = |field: &str, x: f64| match x.is_finite() && x > 0.0 {
            true => Ok(()),
            false => {
                Err(recipe(format!("optimizer.{field}"), format!("{x} is no positive number")))
            }
        };
        let share = |field: &str, x: f64| match (0.0..1.0).contains(&x) {
            true => Ok(()),
            false => {
                Err(recipe(format!("optimizer.{field}"), format!("{x} is not from 0 to below 1")))
            }
        };
        positive("learning_rate", self.learning_rate)?;
        positive("eps", self.eps)?;
        positive("max_norm", self.max_norm.into())?;
        share("beta1", self.beta1)?;
        share("beta2", self.beta2)?;
        share("weight_decay", self.weight_decay)
    }

    /// AdamW's settings at step `step` of `steps`, counted from 1.
    pub fn at(&self, step: u64, steps: u64) -> kernels::grad::AdamW {
        let (done, warmup) = ((step - 1) as f64, self.warmup_steps as f64);
        let share = if done < warmup {
            (done + 1.0) / warmup
        } else {
            let over = ((done - warmup) / (steps as f64 - warmup).max(1.0)).min(1.0);
            match self.schedule {
                Schedule::Constant => 1.0,
                Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * over).cos()),
                Schedule::Linear => 1.0 - over,
            }
        };
        kernels::grad::AdamW {
            learning_rate: self.learning_rate * share,
            beta1: self.beta1,
            beta2: self.beta2,
            eps: self.eps,
            weight_decay: self.weight_decay,
        }
    }
}

/// What is kept on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoints {
    /// A checkpoint is written every so many steps, and at the end.
    pub every: u64,
    /// How many of them stay, beside the best.
    pub keep: usize,
}

impl Default for Checkpoints {
    fn default() -> Checkpoints {
        Checkpoints { every: 10, keep: 2 }
    }
}

/// How the model is measured on the way, on what it never learns from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluate {
    /// Every so many steps, before the first and after the last; 0: never.
    pub every: u64,
    /// Problems, or examples, of each source; with `[pretrain]`, sequences.
    pub items: usize,
    /// An answer that is right counts strictly only if it matches this regular expression.
    pub strict: String,
}

impl Default for Evaluate {
    fn default() -> Evaluate {
        Evaluate { every: 20, items: 100, strict: r"\\boxed\{".to_owned() }
    }
}

impl Evaluate {
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |error: regex::Error| recipe("evaluate.strict", error.to_string());
        regex::Regex::new(&self.strict).map_err(wrong)?;
        match self.every > 0 && self.items == 0 {
            true => Err(recipe("evaluate.items", "must be at least 1; evaluate.every = 0 is none")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_warms_up_and_goes_down() {
        let of = |schedule| Optimizer {
            learning_rate: 1.0,
            warmup_steps: 4,
            schedule,
            ..Optimizer::default()
        };
        let rate = |schedule, step| of(schedule).at(step, 12).learning_rate;
        assert_eq!(rate(Schedule::Cosine, 1), 0.25);
        assert_eq!(rate(Schedule::Cosine, 4), 1.0);
        assert!((rate(Schedule::Cosine, 9) - 0.5).abs() < 1e-12);
        assert_eq!(rate(Schedule::Linear, 9), 0.5);
        assert_eq!(rate(Schedule::Constant, 12), 1.0);
        assert!(rate(Schedule::Linear, 12) > 0.0);
    }
}
