//! Low-rank pairs over a frozen model.

use std::path::Path;

use model::{Adapter, Model, PeftSettings, StoredPair, Target, TrainedPair, read_f32};

use crate::dropout::Stream;
use crate::error::setting;
use crate::head::Head;
use crate::layer::Layer;
use crate::linear::{Linear, Pair, Vector, Weight};
use crate::network::{Embedding, Kind, Network};
use crate::parameters::{Parameters, Slot};
use crate::{Error, Precision};

/// An adapter that is to be trained (Hu et al. 2021, arXiv:2106.09685).
#[derive(Clone, PartialEq, Debug)]
pub struct LoraSettings {
    /// Rows of each A.
    pub rank: usize,
    /// The numerator of the scale.
    pub alpha: f32,
    /// The scale is `alpha / √rank` (Kalajdzievski 2023, arXiv:2312.03732), not `alpha / rank`.
    pub rslora: bool,
    /// With which probability A doesn't see an input, in passes that have a seed.
    pub dropout: f32,
    /// The matrices of each layer that get a pair.
    pub targets: Vec<Target>,
    /// What A starts from. B starts from zeros, so that training starts from the model as it is.
    pub seed: u64,
}

impl Default for LoraSettings {
    /// Rank 16 and alpha 32 on every matrix.
    fn default() -> LoraSettings {
        LoraSettings {
            rank: 16,
            alpha: 32.0,
            rslora: false,
            dropout: 0.0,
            targets: Target::ALL.to_vec(),
            seed: 0,
        }
    }
}

impl LoraSettings {
    fn check(&self) -> Result<(), Error> {
        if self.rank == 0 || self.rank > 4096 {
            return Err(setting("rank", format!("{} is not within 1 to 4096", self.rank)));
        }
        if !self.alpha.is_finite() || self.alpha <= 0.0 {
            return Err(setting("alpha", format!("{} is no positive number", self.alpha)));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(setting("dropout", format!("{} is not from 0 to below 1", self.dropout)));
        }
        if self.targets.is_empty() {
            return Err(setting("targets", "there are none; name at least one matrix"));
        }
        Ok(())
    }

    fn scale(&self) -> f32 {
        self.peft(String::new()).scale()
    }

    fn peft(&self, base: String) -> PeftSettings {
        let LoraSettings { rank, alpha, rslora, dropout, .. } = *self;
        PeftSettings { rank, alpha, rslora, dropout, base }
    }
}

/// Where the pairs are among the parameters.
pub(crate) struct Pairs {
    settings: LoraSettings,
    places: Vec<(usize, Target, Slot, Slot)>,
}

impl<'m> Network<'m> {
    /// Pairs beside the matrices of `model`, which stays as it is, whatever its weights are stored
    /// as. Its parameters are named `blk.N.MATRIX.lora_a`, `[rank, inputs]`, and `.lora_b`,
    /// `[outputs, rank]`.
    ///
    /// With [`Precision::F32`] all matrices are held in f32 once more.
    ///
    /// # Errors
    /// A setting makes no sense, or the model's architecture can't be trained.
    pub fn lora(
        model: &'m Model,
        settings: LoraSettings,
        precision: Precision,
    ) -> Result<Network<'m>, Error> {
        settings.check()?;
        model.config().check_trainable()?;
        let mut build = Build {
            model,
            precision,
            scale: settings.scale(),
            parameters: Parameters::default(),
            pairs: Pairs { settings, places: Vec::new() },
        };
        let c = model.config();
        let layers = (0..c.layers).map(|i| build.layer(i)).collect::<Result<Vec<_>, Error>>()?;
        let name = if model.checkpoint().tensor("output.weight").is_some() {
            "output.weight"
        } else {
            "token_embd.weight"
        };
        let shape = (model.vocab(), c.hidden);
        let output = Linear {
            inputs: shape.1,
            outputs: shape.0,
            weight: build.weight(name, shape, model.output())?,
            bias: None,
            pair: None,
        };
        Ok(Network {
            config: c.clone(),
            vocab: model.vocab(),
            isa: model.isa(),
            pool: model.pool(),
            rope: model.rope().clone(),
            precision,
            embedding: Embedding::Frozen(model),
            layers,
            head: Head {
                norm: Vector::Frozen(model.output_norm().to_vec()),
                output,
                temperature: 1.0,
            },
            parameters: build.parameters,
            scalar: None,
            spare: 0,
            kind: Kind::Lora(model, build.pairs),
        })
    }

    /// Goes on from an adapter of the same rank, on the same matrices, instead of from nothing. Where
    /// its scale is another one, B is made as much larger, so that the sum is the same.
    ///
    /// # Errors
    /// This network learns no adapter, or the adapter's pairs are others.
    pub fn start_from(&mut self, adapter: &[StoredPair]) -> Result<(), Error> {
        let (_, pairs) = self.pairs()?;
        let (rank, scale) = (pairs.settings.rank, pairs.settings.scale());
        let places = pairs.places.clone();
        for pair in adapter {
            let name = pair.target.module(pair.layer);
            let place = places.iter().find(|p| (p.0, p.1) == (pair.layer, pair.target));
            let Some((.., a, b)) = place else {
                return Err(setting("targets", format!("leave out {name}, which it has")));
            };
            if pair.rank != rank {
                let problem = format!("is {rank}, and that of its {name} {}", pair.rank);
                return Err(setting("rank", problem));
            }
            let lengths = [a, b].map(|slot| self.parameters.get(*slot).len());
            if lengths != [pair.a.len(), pair.b.len()] {
                return Err(setting("targets", format!("have another shape than its {name}")));
            }
            self.parameters.get_mut(*a).copy_from_slice(&pair.a);
            let growth = pair.scale / scale;
            for (to, x) in self.parameters.get_mut(*b).iter_mut().zip(&pair.b) {
                *to = x * growth;
            }
        }
        let (all, found) = (places.len(), adapter.len());
        if found < all {
            let problem = format!("are {all} matrices, and it has pairs for {found}");
            return Err(setting("targets", problem));
        }
        Ok(())
    }

    /// The adapter as it is now, for the engine: a copy, so that training may go on. `name` stands
    /// where other adapters have their path.
    ///
    /// # Errors
    /// This network learns no adapter.
    pub fn adapter(&self, name: &Path) -> Result<Adapter, Error> {
        let (model, pairs) = self.pairs()?;
        let scale = pairs.settings.scale();
        Ok(Adapter::from_pairs(model, name, scale, &self.trained(pairs), self.score())?)
    }

    /// Writes the adapter as it is now into the directory `dir`, as PEFT does; `base` is what its
    /// `adapter_config.json` calls the model. The scalar head, if there is one, goes with it, as that
    /// of a model for sequence classification with one label (`num_labels=1` in `transformers`).
    ///
    /// # Errors
    /// This network learns no adapter, or a file can't be written.
    pub fn save_adapter(&self, dir: &Path, base: &str) -> Result<(), Error> {
        let (model, pairs) = self.pairs()?;
        let settings = pairs.settings.peft(base.to_owned());
        Ok(Adapter::save_peft(dir, model.config(), &settings, &self.trained(pairs), self.score())?)
    }

    fn pairs(&self) -> Result<(&'m Model, &Pairs), Error> {
        match &self.kind {
            Kind::Lora(model, pairs) => Ok((model, pairs)),
            Kind::Full(_) => {
                Err(setting("adapter", "this network learns whole weights and no adapter"))
            }
        }
    }

    fn trained(&self, pairs: &Pairs) -> Vec<TrainedPair<'_>> {
        let (rank, values) = (pairs.settings.rank, |slot| self.parameters.get(slot));
        let pair =
            |(layer, target, a, b)| TrainedPair { layer, target, rank, a: values(a), b: values(b) };
        pairs.places.iter().copied().map(pair).collect()
    }
}

struct Build<'m> {
    model: &'m Model,
    precision: Precision,
    scale: f32,
    parameters: Parameters,
    pairs: Pairs,
}

impl<'m> Build<'m> {
    fn layer(&mut self, i: usize) -> Result<Layer<'m>, Error> {
        let layer = self.model.layer(i)?;
        let frozen = |values: &[f32]| Vector::Frozen(values.to_vec());
        let linears = Target::ALL.map(|target| self.linear(i, target));
        let [q, k, v, o, gate, up, down] = linears;
        Ok(Layer {
            attention_norm: frozen(layer.attention_norm()),
            head_norms: [Target::Q, Target::K].map(|t| layer.head_norm(t).map(frozen)),
            feed_forward_norm: frozen(layer.feed_forward_norm()),
            linears: [q?, k?, v?, o?, gate?, up?, down?],
        })
    }

    fn linear(&mut self, i: usize, target: Target) -> Result<Linear<'m>, Error> {
        let layer = self.model.layer(i)?;
        let (outputs, inputs) = target.shape(self.model.config());
        let name = target.module(i) + ".weight";
        let packed = layer.matrix(target).ok_or(model::Error::Experts("trained"))?;
        Ok(Linear {
            inputs,
            outputs,
            weight: self.weight(&name, (outputs, inputs), packed)?,
            bias: layer.bias(target).map(|values| Vector::Frozen(values.to_vec())),
            pair: self.pair(i, target),
        })
    }

    fn weight(
        &self,
        name: &str,
        (rows, cols): (usize, usize),
        packed: &'m kernels::matmul::Matrix,
    ) -> Result<Weight<'m>, Error> {
        Ok(match self.precision {
            Precision::Bf16 => Weight::Packed(packed),
            Precision::F32 => {
                Weight::Frozen(read_f32(self.model.checkpoint(), name, &[rows, cols])?)
            }
        })
    }

    /// A as PEFT starts it: uniform within `1 / √inputs` (He et al. 2015 with a slope of √5).
    fn pair(&mut self, layer: usize, target: Target) -> Option<Pair> {
        let LoraSettings { rank, dropout, seed, ref targets, .. } = self.pairs.settings;
        if !targets.contains(&target) {
            return None;
        }
        let (outputs, inputs) = target.shape(self.model.config());
        let number = (layer * Target::ALL.len() + target as usize) as u64;
        let stream = Stream::new(seed, number);
        let reach = 1.0 / (inputs as f32).sqrt();
        let a = (0..rank * inputs).map(|i| (2.0 * stream.uniform(i) - 1.0) * reach).collect();
        let name = |half| format!("{}.{half}", target.module(layer));
        let a = self.parameters.add(name("lora_a"), vec![rank, inputs], a);
        let zeros = vec![0.0; outputs * rank];
        let b = self.parameters.add(name("lora_b"), vec![outputs, rank], zeros);
        self.pairs.places.push((layer, target, a, b));
        Some(Pair { a, b, rank, scale: self.scale, dropout, number })
    }
}
