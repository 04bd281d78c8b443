//! Adapters from numbers in memory: what training hands to the engine without a file.

use std::path::Path;

use kernels::Arena;
use kernels::blocks::BlockType;
use kernels::matmul::Matrix;

use super::build::{Loose, StoredPair};
use super::peft::SCORE;
use super::{Adapter, Fit, LayerPairs, Pair, Target, bad};
use crate::{Config, Error, Model};

/// One matrix's adaptation as training holds it.
#[derive(Clone, Copy, Debug)]
pub struct TrainedPair<'a> {
    /// The layer.
    pub layer: usize,
    /// Its matrix.
    pub target: Target,
    /// Rows of A.
    pub rank: usize,
    /// `[rank, inputs]`.
    pub a: &'a [f32],
    /// `[outputs, rank]`, the rows in the order of the model's own matrix.
    pub b: &'a [f32],
}

impl TrainedPair<'_> {
    /// `blk.3.attn_q`, for messages.
    pub(super) fn name(&self) -> String {
        self.target.module(self.layer)
    }

    /// Holds the pair against the model's settings; `path` is for the message.
    pub(super) fn check(&self, config: &Config, path: &Path) -> Result<(), Error> {
        if self.layer >= config.layers || self.rank == 0 {
            let problem = format!("rank {} in a model of {} layers", self.rank, config.layers);
            return Err(bad(path, self.name(), problem));
        }
        if let Some(problem) = super::refusal(config, self.target) {
            return Err(bad(path, self.name(), problem));
        }
        let (outputs, inputs) = self.target.shape(config);
        for (half, found, rows, cols) in [
            ("lora_a", self.a.len(), self.rank, inputs),
            ("lora_b", self.b.len(), outputs, self.rank),
        ] {
            if found != rows * cols {
                let problem = format!("{found} weights where {rows} × {cols} are needed");
                return Err(bad(path, format!("{}.{half}", self.name()), problem));
            }
        }
        Ok(())
    }
}

/// Holds a head against the model's settings; `path` is for the message.
pub(super) fn check_score(score: Option<&[f32]>, c: &Config, path: &Path) -> Result<(), Error> {
    match score {
        Some(score) if score.len() != c.hidden => {
            let problem = format!("{} weights where {} are needed", score.len(), c.hidden);
            Err(bad(path, SCORE, problem))
        }
        _ => Ok(()),
    }
}

/// Puts numbers into the kernels' order.
struct Packer<'a> {
    model: &'a Model,
    path: &'a Path,
    arena: Arena,
}

impl<'a> Packer<'a> {
    fn of(model: &'a Model, path: &'a Path) -> Packer<'a> {
        Packer { model, path, arena: Arena::default() }
    }

    fn pack(
        &mut self,
        values: &[f32],
        rows: usize,
        cols: usize,
        name: impl Fn() -> String,
    ) -> Result<Matrix, Error> {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Matrix::pack(&self.model.pool, BlockType::F32, rows, cols, &bytes, &mut self.arena)
            .map_err(|e| bad(self.path, name(), e.to_string()))
    }
}

impl Adapter {
    /// Repacks what was read from `origin`.
    pub(super) fn pack(
        model: &Model,
        origin: &Path,
        Loose { pairs, score }: Loose,
    ) -> Result<Adapter, Error> {
        let c = &model.config;
        let mut packer = Packer::of(model, origin);
        let mut layers = LayerPairs::all(c);
        for StoredPair { layer, target, rank, a, b, scale } in pairs {
            let (outputs, inputs) = target.shape(c);
            let name = || target.module(layer);
            let a = packer.pack(&a, rank, inputs, name)?;
            let b = packer.pack(&b, outputs, rank, name)?;
            layers[layer].0[target as usize] = Some(Pair { a, b, scale });
        }
        Ok(Adapter { path: origin.to_owned(), fit: Fit::of(c), layers, score })
    }

    /// An adapter of `model` from numbers in memory, each pair's product multiplied with `scale`.
    /// They are copied, so that training may go on. `score` is the head's, `[hidden]`, if there is
    /// one ([`Adapter::score`]). `name` stands where other adapters have their path.
    ///
    /// # Errors
    /// There is no pair, two are for the same matrix, or one (or the head) has another shape than the
    /// model and its rank call for.
    pub fn from_pairs(
        model: &Model,
        name: &Path,
        scale: f32,
        pairs: &[TrainedPair<'_>],
        score: Option<&[f32]>,
    ) -> Result<Adapter, Error> {
        let c = &model.config;
        check_score(score, c, name)?;
        if pairs.is_empty() {
            return Err(bad(name, "pairs", "there are none"));
        }
        let mut packer = Packer::of(model, name);
        let mut layers = LayerPairs::all(c);
        for pair in pairs {
            pair.check(c, name)?;
            let (outputs, inputs) = pair.target.shape(c);
            let a = packer.pack(pair.a, pair.rank, inputs, || pair.name())?;
            let b = packer.pack(pair.b, outputs, pair.rank, || pair.name())?;
            let slot = &mut layers[pair.layer].0[pair.target as usize];
            if slot.replace(Pair { a, b, scale }).is_some() {
                return Err(bad(name, pair.name(), "is there twice"));
            }
        }
        Ok(Adapter {
            path: name.to_owned(),
            fit: Fit::of(c),
            layers,
            score: score.map(<[f32]>::to_vec),
        })
    }
}
