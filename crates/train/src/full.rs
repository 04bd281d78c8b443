//! Every weight of a model, held in f32 and learned.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use kernels::blocks::BlockType;
use kernels::{Isa, Pool};
use model::config::Presence;
use model::{Config, Rope, Target, read_f32};
use weights::Checkpoint;
use weights::safetensors::{NewTensor, names, write};

use crate::error::setting;
use crate::head::Head;
use crate::layer::Layer;
use crate::linear::{Linear, Vector, Weight};
use crate::network::{Embedding, Kind, Network};
use crate::parameters::{Parameters, Slot};
use crate::{Error, Precision};

const EMBEDDING: &str = "token_embd.weight";
const OUTPUT: &str = "output.weight";
/// What makes a directory of weights a model, where it is there.
const BESIDE: [&str; 7] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
];

/// Where the weights came from.
pub(crate) enum Source {
    /// A directory as `transformers` has it.
    Directory(PathBuf),
    /// A GGUF file.
    Gguf(PathBuf),
}

impl Source {
    fn of(checkpoint: &Checkpoint) -> Source {
        let path = checkpoint.path().to_owned();
        match checkpoint {
            Checkpoint::Gguf(_) => Source::Gguf(path),
            Checkpoint::Safetensors(_) => Source::Directory(path),
        }
    }
}

impl<'m> Network<'m> {
    /// All weights of an open model, read into f32. Its parameters have GGUF's names and, from a
    /// GGUF file of `llama`, its order of the rows of q and k.
    ///
    /// # Errors
    /// The architecture is unknown or can't be trained, a tensor is missing, of another shape than the settings call
    /// for, or quantised.
    pub fn full(
        checkpoint: &Checkpoint,
        pool: &'m Pool,
        precision: Precision,
    ) -> Result<Network<'m>, Error> {
        let isa = Isa::detect()?;
        let config = Config::read(checkpoint)?;
        config.check_trainable()?;
        let rope = Rope::read(checkpoint, &config.rope)?;
        let vocab = checkpoint.tensor(EMBEDDING).map_or(0, |t| t.info.rows());
        let mut build = Build { checkpoint, config: &config, parameters: Parameters::default() };
        let embedding = build.learn(EMBEDDING, &[vocab, config.hidden])?;
        let layers =
            (0..config.layers).map(|i| build.layer(i)).collect::<Result<Vec<_>, Error>>()?;
        let norm = Vector::Learned(build.learn("output_norm.weight", &[config.hidden])?);
        // Tied: one parameter, to whose gradient both ends add.
        let output = match checkpoint.tensor(OUTPUT) {
            Some(_) => build.learn(OUTPUT, &[vocab, config.hidden])?,
            None => embedding,
        };
        let output = Linear {
            inputs: config.hidden,
            outputs: vocab,
            weight: Weight::Learned(output),
            bias: None,
            pair: None,
        };
        Ok(Network {
            parameters: build.parameters,
            config,
            vocab,
            isa,
            pool,
            rope,
            precision,
            embedding: Embedding::Learned(embedding),
            layers,
            head: Head { norm, output, temperature: 1.0 },
            scalar: None,
            spare: 0,
            kind: Kind::Full(Source::of(checkpoint)),
        })
    }

    /// Writes the weights as they are now, in f32, into the directory `dir`, which is made if need
    /// be, with the settings and the tokenizer of the model they came from: a model for
    /// `transformers` and for [`model::Model::load`]; a scalar head is there as `score.weight`.
    ///
    /// # Errors
    /// This network learns an adapter, or its weights came from a GGUF file; or a file can't be
    /// read or written.
    pub fn save_model(&self, dir: &Path) -> Result<(), Error> {
        let from = match &self.kind {
            Kind::Full(Source::Directory(from)) => from,
            Kind::Full(Source::Gguf(from)) => {
                let problem = "can be saved only if it came from safetensors; start from those";
                return Err(setting("model", format!("{} {problem}", from.display())));
            }
            Kind::Lora(..) => {
                let problem = "this network learns an adapter; save that";
                return Err(setting("model", problem));
            }
        };
        let io = |path: &Path, action| {
            let path = path.to_owned();
            move |source| Error::Weights(weights::Error::Io { path, action, source })
        };
        std::fs::create_dir_all(dir).map_err(io(dir, "create"))?;
        for name in BESIDE {
            let file = from.join(name);
            if file.exists() {
                std::fs::copy(&file, dir.join(name)).map_err(io(&file, "copy"))?;
            }
        }
        let tensors = self.parameters.all().iter().map(|p| NewTensor {
            name: names::to_hf(&self.config.architecture, &p.name)
                .unwrap_or_else(|| p.name.clone()),
            shape: p.shape.clone(),
            values: Cow::Borrowed(&p.values),
        });
        Ok(write(&dir.join("model.safetensors"), &tensors.collect::<Vec<_>>())?)
    }
}

struct Build<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a Config,
    parameters: Parameters,
}

impl Build<'_> {
    fn learn(&mut self, name: &str, shape: &[usize]) -> Result<Slot, Error> {
        if let Some(tensor) = self.checkpoint.tensor(name)
            && !matches!(tensor.info.ty, BlockType::F32 | BlockType::F16 | BlockType::BF16)
        {
            return Err(Error::Quantized { name: name.to_owned(), ty: tensor.info.ty });
        }
        let values = read_f32(self.checkpoint, name, shape)?;
        self.checkpoint.release(name);
        Ok(self.parameters.add(name.to_owned(), shape.to_vec(), values))
    }

    fn vector(&mut self, name: &str, n: usize) -> Result<Vector, Error> {
        Ok(Vector::Learned(self.learn(name, &[n])?))
    }

    fn optional(&mut self, when: Presence, name: &str, n: usize) -> Result<Option<Vector>, Error> {
        let there = match when {
            Presence::Always => true,
            Presence::Maybe => self.checkpoint.tensor(name).is_some(),
            Presence::Never => false,
        };
        if there { self.vector(name, n).map(Some) } else { Ok(None) }
    }

    fn layer(&mut self, i: usize) -> Result<Layer<'static>, Error> {
        let Config { hidden, head_dim, qk_norm, .. } = *self.config;
        let name = |part: &str| format!("blk.{i}.{part}.weight");
        let linears = Target::ALL.map(|target| self.linear(i, target));
        let [q, k, v, o, gate, up, down] = linears;
        Ok(Layer {
            linears: [q?, k?, v?, o?, gate?, up?, down?],
            attention_norm: self.vector(&name("attn_norm"), hidden)?,
            head_norms: [
                self.optional(qk_norm, &name("attn_q_norm"), head_dim)?,
                self.optional(qk_norm, &name("attn_k_norm"), head_dim)?,
            ],
            feed_forward_norm: self.vector(&name("ffn_norm"), hidden)?,
        })
    }

    fn linear(&mut self, i: usize, target: Target) -> Result<Linear<'static>, Error> {
        let (outputs, inputs) = target.shape(self.config);
        let name = |kind| format!("{}.{kind}", target.module(i));
        let bias = match target {
            Target::Q | Target::K | Target::V => self.config.qkv_bias,
            Target::O | Target::Gate | Target::Up | Target::Down => Presence::Never,
        };
        Ok(Linear {
            inputs,
            outputs,
            weight: Weight::Learned(self.learn(&name("weight"), &[outputs, inputs])?),
            bias: self.optional(bias, &name("bias"), outputs)?,
            pair: None,
        })
    }
}
