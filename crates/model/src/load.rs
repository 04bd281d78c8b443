//! From a file's tensors to a model that can run.

mod latent;

use std::borrow::Cow;
use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use kernels::blocks::BlockType;
use kernels::matmul::Matrix;
use kernels::{Arena, Isa, Pool};
use weights::{Checkpoint, Tensor, TensorInfo};

use crate::config::{ExpertConfig, Gating, Presence};
use crate::experts::{Dense, Experts};
use crate::layer::{Attention, BiasApart, FeedForward, HeadMatrices, Layer};
use crate::layers::{self, Layers};
use crate::rope::Rope;
use crate::{Config, Error, RopeScalingRequest};

/// A transformer with its weights, ready to run.
pub struct Model {
    pub(crate) config: Config,
    pub(crate) isa: Isa,
    pub(crate) pool: Pool,
    pub(crate) layers: Layers,
    pub(crate) output_norm: Vec<f32>,
    pub(crate) output: Matrix,
    /// Of texts that are scaled, if only some are.
    pub(crate) rope: Rope,
    /// Of those that aren't.
    pub(crate) unscaled_rope: Option<Rope>,
    /// That of layers with a window, where it is another.
    pub(crate) window_rope: Option<Rope>,
    /// Kept for the embeddings, of which a token's row is read from the mapped file when it is needed, and for
    /// layers that aren't in memory.
    pub(crate) checkpoint: Arc<Checkpoint>,
    vocab: usize,
}

const EMBEDDING: &str = "token_embd.weight";
const OUTPUT: &str = "output.weight";

impl Model {
    /// Repacks all weights for this machine, on the pool's threads. The file's own pages are given
    /// back as it goes, so that memory peaks at little more than the file's size.
    ///
    /// # Errors
    /// The architecture is unknown, or settings or tensors are missing or don't fit together.
    pub fn load(
        checkpoint: impl Into<Arc<Checkpoint>>,
        pool: Pool,
        rope_scaling: Option<RopeScalingRequest>,
    ) -> Result<Model, Error> {
        let checkpoint = checkpoint.into();
        let mut config = Config::read(&checkpoint)?;
        if let Some(request) = rope_scaling {
            config.stretch(request)?;
        }
        Model::load_within(checkpoint, pool, config, u64::MAX)
    }

    /// The same by settings that are read already, in no more than `room` bytes: layers that don't fit are read from the file each time they are
    /// needed. What is computed is the same to the bit.
    ///
    /// # Errors
    /// As above; or not even one layer fits.
    pub fn load_within(
        checkpoint: impl Into<Arc<Checkpoint>>,
        pool: Pool,
        config: Config,
        room: u64,
    ) -> Result<Model, Error> {
        let checkpoint = checkpoint.into();
        let isa = Isa::detect()?;
        let loader = Loader::new(&checkpoint, &pool, &config);
        let vocab = loader.vocab(&config)?;
        let rope = Rope::read(&checkpoint, &config.rope)?;
        let unscaled_rope = config.rope.unscaled();
        let unscaled_rope = unscaled_rope.map(|rope| Rope::read(&checkpoint, &rope)).transpose()?;
        let window_rope = config.window.as_ref().and_then(|window| window.rope.as_ref());
        let window_rope = window_rope.map(|rope| Rope::new(rope, None));
        let output_norm = loader.norm("output_norm.weight", config.hidden)?;
        // The largest matrix first: while one is repacked it is in memory twice.
        let tied = checkpoint.tensor(OUTPUT).is_none();
        let output = loader.matrix(if tied { EMBEDDING } else { OUTPUT }, vocab, config.hidden)?;
        let sizes = layers::sizes(&checkpoint, config.layers);
        let keep = layers::choose(&sizes, output.bytes() as u64, room, checkpoint.path())?;
        let layers = Layers::load(&loader, &config, &keep)?;
        tracing::debug!(%isa, threads = pool.threads(), layers = config.layers, "model loaded");
        Ok(Model {
            config,
            isa,
            pool,
            layers,
            output_norm,
            output,
            rope,
            unscaled_rope,
            window_rope,
            checkpoint,
            vocab,
        })
    }

    /// Shape and constants.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The file the model came from.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Rows of the output matrix: tokens the model can tell apart.
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The embedding of a token, `[hidden]`.
    pub(crate) fn embed(&self, token: u32, out: &mut [f32]) -> Result<(), Error> {
        let missing = || Error::MissingTensor {
            path: self.checkpoint.path().to_owned(),
            name: EMBEDDING.to_owned(),
        };
        let Tensor { info, data } = self.checkpoint.tensor(EMBEDDING).ok_or_else(missing)?;
        let row = data.len() / self.vocab;
        let at = token as usize * row;
        let bytes = data.get(at..at + row).ok_or(Error::Token { token, vocab: self.vocab })?;
        kernels::blocks::dequantize_row(info.ty, bytes, out).map_err(|_| missing())?;
        if self.config.embedding_scale != 1.0 {
            out.iter_mut().for_each(|x| *x *= self.config.embedding_scale);
        }
        Ok(())
    }
}

fn tensor<'a>(checkpoint: &'a Checkpoint, name: &str) -> Result<Tensor<'a>, Error> {
    checkpoint.tensor(name).ok_or_else(|| Error::MissingTensor {
        path: checkpoint.path().to_owned(),
        name: name.to_owned(),
    })
}

fn shaped<'a>(
    checkpoint: &'a Checkpoint,
    name: &str,
    expected: &[usize],
) -> Result<Tensor<'a>, Error> {
    let tensor = tensor(checkpoint, name)?;
    if tensor.info.shape == expected {
        return Ok(tensor);
    }
    Err(Error::Shape {
        path: checkpoint.path().to_owned(),
        name: name.to_owned(),
        found: tensor.info.shape.clone(),
        expected: expected.to_vec(),
    })
}

/// The weights of the tensor that GGUF calls `name`, of shape `expected`, as f32, whatever they are
/// stored as.
///
/// # Errors
/// The tensor is missing or has another shape.
pub fn read_f32(
    checkpoint: &Checkpoint,
    name: &str,
    expected: &[usize],
) -> Result<Vec<f32>, Error> {
    let Tensor { info, data } = shaped(checkpoint, name, expected)?;
    let mut out = vec![0.0; info.elements()];
    dequantize(checkpoint.path(), name, info, data, &mut out)?;
    Ok(out)
}

/// Fills `out` with rows of a tensor.
fn dequantize(
    path: &Path,
    name: &str,
    info: &TensorInfo,
    data: &[u8],
    out: &mut [f32],
) -> Result<(), Error> {
    let bytes = info.bytes / info.rows();
    for (row, out) in data.chunks_exact(bytes).zip(out.chunks_exact_mut(info.cols())) {
        kernels::blocks::dequantize_row(info.ty, row, out).map_err(|_| Error::Config {
            path: path.to_owned(),
            key: name.to_owned(),
            problem: format!("rows of {} weights of type {} can't be read", info.cols(), info.ty),
        })?;
    }
    Ok(())
}

/// Takes tensors out of a file, holding them against what the configuration says.
pub(crate) struct Loader<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    path: &'a Path,
    pool: &'a Pool,
    /// Where the repacked weights go.
    arena: RefCell<Arena>,
    /// Added to the weights of norms.
    norm_shift: f32,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint, pool: &'a Pool, config: &Config) -> Loader<'a> {
        let (path, norm_shift) = (checkpoint.path(), config.norm_shift);
        Loader { checkpoint, path, pool, arena: RefCell::default(), norm_shift }
    }

    /// The same with memory of its own.
    pub(crate) fn apart(&self) -> Loader<'a> {
        Loader { arena: RefCell::default(), ..*self }
    }

    fn tensor(&self, name: &str) -> Result<Tensor<'_>, Error> {
        tensor(self.checkpoint, name)
    }

    fn shaped(&self, name: &str, expected: &[usize]) -> Result<Tensor<'_>, Error> {
        shaped(self.checkpoint, name, expected)
    }

    /// A tensor's type and bytes, of one in FP8 as BF16.
    fn blocks(&self, name: &str, expected: &[usize]) -> Result<(BlockType, Cow<'_, [u8]>), Error> {
        let tensor = self.shaped(name, expected)?;
        Ok(match self.checkpoint.in_bf16(self.pool, name)? {
            Some(bytes) => (BlockType::BF16, Cow::Owned(bytes)),
            None => (tensor.info.ty, Cow::Borrowed(tensor.data)),
        })
    }

    /// A matrix, repacked; the file's copy need not stay in memory.
    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Matrix, Error> {
        let (ty, data) = self.blocks(name, &[rows, cols])?;
        let matrix = self.pack(name, ty, (rows, cols), &data);
        self.checkpoint.release(name);
        matrix
    }

    fn pack(
        &self,
        name: &str,
        ty: BlockType,
        (rows, cols): (usize, usize),
        data: &[u8],
    ) -> Result<Matrix, Error> {
        let arena = &mut self.arena.borrow_mut();
        Matrix::pack(self.pool, ty, rows, cols, data, arena).map_err(|source| Error::Matrix {
            path: self.path.to_owned(),
            name: name.to_owned(),
            source,
        })
    }

    /// A vector of f32, whatever it is stored as.
    fn vector(&self, name: &str, n: usize) -> Result<Vec<f32>, Error> {
        read_f32(self.checkpoint, name, &[n])
    }

    /// The weights of a norm.
    fn norm(&self, name: &str, n: usize) -> Result<Vec<f32>, Error> {
        let mut norm = self.vector(name, n)?;
        if self.norm_shift != 0.0 {
            norm.iter_mut().for_each(|w| *w += self.norm_shift);
        }
        Ok(norm)
    }

    /// The weights of a norm that not all models have.
    fn norm_if(&self, there: bool, name: &str, n: usize) -> Result<Option<Vec<f32>>, Error> {
        if there { self.norm(name, n).map(Some) } else { Ok(None) }
    }

    fn optional(&self, when: Presence, name: &str, n: usize) -> Result<Option<Vec<f32>>, Error> {
        match when {
            Presence::Never => Ok(None),
            Presence::Maybe if self.checkpoint.tensor(name).is_none() => Ok(None),
            Presence::Maybe | Presence::Always => self.vector(name, n).map(Some),
        }
    }

    fn vocab(&self, config: &Config) -> Result<usize, Error> {
        let rows = self.tensor(EMBEDDING)?.info.shape.first().copied().unwrap_or(0);
        let embedding = self.shaped(EMBEDDING, &[rows, config.hidden])?;
        if embedding.info.ty == BlockType::F8_E4M3 {
            let problem = "tokens can't be looked up in FP8; convert the model first".to_owned();
            let key = EMBEDDING.to_owned();
            return Err(Error::Config { path: self.path.to_owned(), key, problem });
        }
        Ok(rows)
    }

    pub(crate) fn layer(&self, c: &Config, i: usize) -> Result<Layer, Error> {
        let name = |part: &str| format!("blk.{i}.{part}");
        let norm = |part: &str, n| self.norm(&name(part), n);
        let norm_if = |there, part: &str, n| self.norm_if(there, &name(part), n);
        let unknown = name("attn_output.bias");
        if self.checkpoint.tensor(&unknown).is_some() {
            let problem = "a bias on what attention gives is not supported".to_owned();
            return Err(Error::Config { path: self.path.to_owned(), key: unknown, problem });
        }
        Ok(Layer {
            attn_norm: norm("attn_norm.weight", c.hidden)?,
            attention: match c.latent {
                Some(latent) => Attention::Latent(self.latent(c, latent, i)?),
                None => Attention::Heads(self.heads(c, i)?),
            },
            o: self.matrix(&name("attn_output.weight"), c.hidden, c.gathered())?,
            attn_post_norm: norm_if(c.post_norms, "post_attention_norm.weight", c.hidden)?,
            ffn_norm: norm("ffn_norm.weight", c.hidden)?,
            feed_forward: match c.experts {
                Some(experts) if i >= experts.dense_layers => {
                    FeedForward::Experts(self.experts(c, experts, i)?)
                }
                _ => FeedForward::Dense(self.dense(c, i)?),
            },
            ffn_post_norm: norm_if(c.post_norms, "post_ffw_norm.weight", c.hidden)?,
        })
    }

    fn heads(&self, c: &Config, i: usize) -> Result<HeadMatrices, Error> {
        let name = |part: &str| format!("blk.{i}.{part}");
        let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let matrix = |part: &str, rows, cols| self.matrix(&name(part), rows, cols);
        let optional = |when, part: &str, n| self.optional(when, &name(part), n);
        let norm_if = |there, part: &str, n| self.norm_if(there, &name(part), n);
        let k_bias = optional(c.qkv_bias, "attn_k.bias", kv)?;
        let v_bias = optional(c.qkv_bias, "attn_v.bias", kv)?;
        let normed = c.qk_norm == Presence::Always;
        let k_norm = norm_if(normed, "attn_k_norm.weight", c.head_dim)?;
        // A norm after the bias makes something else of it at every position.
        let apart = match (&k_bias, &v_bias, &k_norm) {
            (Some(keys), Some(values), None) => Some(BiasApart::new(c, keys, values)),
            _ => None,
        };
        let [q_matrix, k_matrix, v_matrix] = match c.fused {
            true => self.parts(&name("attn_qkv.weight"), [q, kv, kv], c.hidden)?,
            false => [
                matrix("attn_q.weight", q, c.hidden)?,
                matrix("attn_k.weight", kv, c.hidden)?,
                matrix("attn_v.weight", kv, c.hidden)?,
            ],
        };
        Ok(HeadMatrices {
            q: q_matrix,
            k: k_matrix,
            v: v_matrix,
            q_bias: optional(c.qkv_bias, "attn_q.bias", q)?,
            k_bias,
            v_bias,
            apart,
            q_norm: norm_if(normed, "attn_q_norm.weight", c.head_dim)?,
            k_norm,
        })
    }

    fn dense(&self, c: &Config, i: usize) -> Result<Dense, Error> {
        let name = |part: &str| format!("blk.{i}.ffn_{part}.weight");
        let matrix = |part: &str, rows, cols| self.matrix(&name(part), rows, cols);
        let [gate, up] = match c.fused {
            true => self.parts(&name("up"), [c.ffn, c.ffn], c.hidden)?,
            false => [matrix("gate", c.ffn, c.hidden)?, matrix("up", c.ffn, c.hidden)?],
        };
        Ok(Dense { gate, up, down: matrix("down", c.hidden, c.ffn)? })
    }

    /// The expert that every token is given to.
    fn shared(&self, c: &Config, ffn: usize, i: usize) -> Result<Dense, Error> {
        let name = |part: &str| format!("blk.{i}.ffn_{part}_shexp.weight");
        Ok(Dense {
            gate: self.matrix(&name("gate"), ffn, c.hidden)?,
            up: self.matrix(&name("up"), ffn, c.hidden)?,
            down: self.matrix(&name("down"), c.hidden, ffn)?,
        })
    }

    /// The matrices that a tensor holds one below the other, each of so many rows.
    fn parts<const N: usize>(
        &self,
        name: &str,
        rows: [usize; N],
        cols: usize,
    ) -> Result<[Matrix; N], Error> {
        let all: usize = rows.iter().sum();
        let (ty, data) = self.blocks(name, &[all, cols])?;
        let bytes = data.len() / all;
        let mut at = 0;
        let matrices = rows.into_iter().map(|rows| {
            let part = at..at + rows * bytes;
            at = part.end;
            let matrix = self.pack(name, ty, (rows, cols), &data[part.clone()]);
            self.checkpoint.release_part(name, part);
            matrix
        });
        let matrices: Vec<Matrix> = matrices.collect::<Result<_, Error>>()?;
        Ok(matrices.try_into().unwrap_or_else(|_| unreachable!("one for each of {N} heights")))
    }

    fn experts(&self, c: &Config, config: ExpertConfig, i: usize) -> Result<Experts, Error> {
        // In full, as converters keep it: between two experts, rounding would decide.
        let name = format!("blk.{i}.ffn_gate_inp.weight");
        let router = read_f32(self.checkpoint, &name, &[config.count, c.hidden])?;
        let router: Vec<u8> = router.iter().flat_map(|x| x.to_le_bytes()).collect();
        let router = self.pack(&name, BlockType::F32, (config.count, c.hidden), &router)?;
        // GGUF has the matrices of all experts in one tensor, safetensors has them one by one.
        let part = |part: &str, rows, cols| -> Result<Vec<Matrix>, Error> {
            let stacked = format!("blk.{i}.ffn_{part}_exps.weight");
            match self.checkpoint.tensor(&stacked) {
                Some(_) => self.stacked(&stacked, config.count, rows, cols),
                None => (0..config.count)
                    .map(|e| self.matrix(&format!("blk.{i}.ffn_{part}.{e}.weight"), rows, cols))
                    .collect(),
            }
        };
        let gates = part("gate", config.ffn, c.hidden)?;
        let ups = part("up", config.ffn, c.hidden)?;
        let downs = part("down", c.hidden, config.ffn)?;
        let all = gates.into_iter().zip(ups).zip(downs);
        let all = all.map(|((gate, up), down)| Dense { gate, up, down }).collect();
        let bias = match config.gating {
            Gating::Softmax => Presence::Never,
            Gating::Sigmoid => Presence::Maybe,
        };
        let bias = self.optional(bias, &format!("blk.{i}.exp_probs_b.bias"), config.count)?;
        let shared = match config.shared_ffn {
            0 => None,
            ffn => Some(self.shared(c, ffn, i)?),
        };
        Ok(Experts { router, bias, all, shared, config })
    }

    /// The matrices of a tensor `[count, rows, cols]`.
    fn stacked(
        &self,
        name: &str,
        count: usize,
        rows: usize,
        cols: usize,
    ) -> Result<Vec<Matrix>, Error> {
        let tensor = self.shaped(name, &[count, rows, cols])?;
        let bytes = tensor.data.len() / count;
        let matrices = tensor.data.chunks_exact(bytes).enumerate().map(|(i, data)| {
            let matrix = self.pack(name, tensor.info.ty, (rows, cols), data);
            self.checkpoint.release_part(name, i * bytes..(i + 1) * bytes);
            matrix
        });
        matrices.collect()
    }
}
