//! Every weight of a model, held in f32 and learned.

use kernels::blocks::BlockType;
use kernels::{Isa, Pool};
use model::config::Presence;
use model::{Config, Rope, Target, read_f32};
use weights::Checkpoint;

use crate::head::Head;
use crate::layer::Layer;
use crate::linear::{Linear, Vector, Weight};
use crate::network::{Embedding, Kind, Network};
use crate::parameters::{Parameters, Slot};
use crate::{Error, Precision};

const EMBEDDING: &str = "token_embd.weight";
const OUTPUT: &str = "output.weight";

impl<'m> Network<'m> {
    /// All weights of an open model, read into f32. Its parameters have GGUF's names and, from a
    /// GGUF file of `llama`, its order of the rows of q and k.
    ///
    /// # Errors
    /// The architecture is unknown, a tensor is missing, of another shape than the settings call
    /// for, or quantised.
    pub fn full(
        checkpoint: &Checkpoint,
        pool: &'m Pool,
        precision: Precision,
    ) -> Result<Network<'m>, Error> {
        let isa = Isa::detect()?;
        let config = Config::read(checkpoint)?;
        let rope = Rope::read(checkpoint, &config)?;
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
            head: Head { norm, output },
            kind: Kind::Full,
        })
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
        let name = |kind| format!("blk.{i}.{}.{kind}", target.gguf());
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
