//! What a model is, in numbers: read from GGUF metadata or `config.json`.
//!
//! All architectures are one transformer with different answers to a few questions
//! ([`Config::qkv_bias`], [`Config::qk_norm`], [`Config::experts`], [`Config::latent`], [`Config::window`], the RoPE
//! layout): there is no code per architecture.

mod gguf;
mod hugging_face;
mod limits;

use std::path::Path;

pub(crate) use gguf::layout as gguf_layout;
use kernels::attention::Sparse;
use weights::Checkpoint;

use crate::{Error, RopeConfig, RopeScaling, RopeScalingRequest};

/// The first layers look at all of a text: they hardly prefer some of it (Tang et al. 2024, arXiv:2406.10774, figure
/// 3).
const DENSE_LAYERS: usize = 2;

/// The architectures there are answers for.
pub const ARCHITECTURES: [&str; 9] = [
    "llama",
    "qwen2",
    "qwen3",
    "qwen3moe",
    "hunyuan-dense",
    "phi3",
    "gemma3",
    "deepseek2",
    "hunyuan-moe",
];

/// Whether a kind of tensor is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// It must be.
    Always,
    /// It may be.
    Maybe,
    /// It isn't.
    Never,
}

/// What makes of a token's product with each row of the router how much an expert has to do with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gating {
    /// A softmax over all experts.
    Softmax,
    /// A sigmoid for each (DeepSeek-V3, arXiv:2412.19437).
    Sigmoid,
}

/// The experts of feed-forward layers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ExpertConfig {
    /// How many there are.
    pub count: usize,
    /// How many of them a token is given to.
    pub used: usize,
    /// Width of one.
    pub ffn: usize,
    /// Width of the expert that every token is given to beside these; 0 if there is none.
    pub shared_ffn: usize,
    /// The first layers, which have none.
    pub dense_layers: usize,
    /// How much each has to do with a token.
    pub gating: Gating,
    /// Groups that they are in, neighbours in one: a token is given to experts of the best
    /// [`ExpertConfig::groups_used`] alone. By softmax a group is as good as its best expert, by sigmoid as its best
    /// two together.
    pub groups: usize,
    /// How many groups a token is given to.
    pub groups_used: usize,
    /// Whether what the experts of a token count adds up to one, before it is scaled.
    pub normalised: bool,
    /// What it is multiplied with.
    pub scale: f32,
}

impl ExpertConfig {
    /// So many experts in every layer, a softmax over them, and nothing else.
    pub fn plain(count: usize, used: usize, ffn: usize, normalised: bool) -> ExpertConfig {
        ExpertConfig {
            count,
            used,
            ffn,
            shared_ffn: 0,
            dense_layers: 0,
            gating: Gating::Softmax,
            groups: 1,
            groups_used: 1,
            normalised,
            scale: 1.0,
        }
    }
}

/// Multi-head latent attention (DeepSeek-AI 2024, arXiv:2405.04434): what the cache holds of a token is a latent that
/// the keys and values of all heads are made of, and a rotated part of the key that all share. To the kernels that is
/// one key-value head ([`Config::kv_heads`]) whose keys are both, one behind the other ([`Config::head_dim`]), and
/// whose values are the latents: the matrix from latents to keys is applied to queries instead, the one to values to
/// what attention gathers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LatentConfig {
    /// Between the two matrices that make queries, if there are two.
    pub q_lora_rank: Option<usize>,
    /// Elements of a latent.
    pub kv_lora_rank: usize,
    /// Elements of a head's key that are made of it.
    pub qk_nope_head_dim: usize,
    /// Elements of a head's value.
    pub v_head_dim: usize,
    /// What of YaRN's attention factor goes for all elements of a head, rotated or not: scores are multiplied with
    /// `(0.1 mscale_all_dim ln(factor) + 1)²`.
    pub mscale_all_dim: f32,
}

impl LatentConfig {
    /// What scores are multiplied with.
    pub(crate) fn scale(&self, rope: &RopeConfig) -> f32 {
        let mscale = match rope.scaling {
            RopeScaling::Yarn { factor, .. } => yarn_mscale(factor, self.mscale_all_dim),
            _ => 1.0,
        };
        mscale * mscale / ((self.qk_nope_head_dim + rope.dim) as f32).sqrt()
    }
}

/// The layers that see a part of a text only.
#[derive(Clone, PartialEq, Debug)]
pub struct Window {
    /// How many positions a token sees, itself and those right before it (Beltagy et al. 2020,
    /// arXiv:2004.05150).
    pub positions: usize,
    /// Of each layer, whether it is one of them.
    pub layers: Vec<bool>,
    /// Their rotary position embedding, where it is another than that of the layers that see everything.
    pub rope: Option<RopeConfig>,
}

/// What gates the feed-forward layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    /// SiLU.
    Silu,
    /// GELU, as its approximation by tanh.
    Gelu,
}

/// Shape and constants of a transformer.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// One of [`ARCHITECTURES`].
    pub architecture: String,
    /// Transformer layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// What of it is made from latents, if keys and values are.
    pub latent: Option<LatentConfig>,
    /// Width of the feed-forward layer, or of one of its experts where no layer is without.
    pub ffn: usize,
    /// Its experts, if it has any.
    pub experts: Option<ExpertConfig>,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f32,
    /// Positions the model was made for, scaling included.
    pub context_length: usize,
    /// Rotary position embedding.
    pub rope: RopeConfig,
    /// Biases on q, k and v.
    pub qkv_bias: Presence,
    /// RMSNorm on each head of q and k.
    pub qk_norm: Presence,
    /// Whether that norm comes after RoPE (Hunyuan), not before.
    pub norm_after_rope: bool,
    /// Whether files have q, k and v in one matrix, and gate and up in another (Phi-3).
    pub fused: bool,
    /// The layers that see a window only; if there is none, all see everything.
    pub window: Option<Window>,
    /// Multiplies the scores of attention.
    pub attention_scale: f32,
    /// Multiplies embeddings.
    pub embedding_scale: f32,
    /// What gates the feed-forward layer.
    pub activation: Activation,
    /// Whether what attention and the feed-forward layer give is normed before it is added (Gemma).
    pub post_norms: bool,
    /// Added to the weights of norms as they are in the file.
    pub norm_shift: f32,
}

/// What the architecture's name alone decides.
struct Traits {
    qkv_bias: Presence,
    qk_norm: Presence,
    norm_after_rope: bool,
    fused: bool,
    /// Whether a window that the file names is one, and which layers don't have it if the file doesn't say: of
    /// so many the last, none for 0.
    windowed: Option<usize>,
    activation: Activation,
    post_norms: bool,
    /// Whether embeddings are multiplied by the root of their length.
    scaled: bool,
}

impl Traits {
    fn of(path: &Path, architecture: &str) -> Result<Traits, Error> {
        let plain = Traits {
            qkv_bias: Presence::Maybe,
            qk_norm: Presence::Never,
            norm_after_rope: false,
            fused: false,
            windowed: None,
            activation: Activation::Silu,
            post_norms: false,
            scaled: false,
        };
        let normed = Traits { qk_norm: Presence::Always, ..plain };
        match architecture {
            "llama" => Ok(plain),
            "qwen2" => Ok(Traits { qkv_bias: Presence::Always, ..plain }),
            "qwen3" | "qwen3moe" => Ok(normed),
            "phi3" => Ok(Traits { fused: true, windowed: Some(0), ..plain }),
            "gemma3" => Ok(Traits {
                windowed: Some(6),
                activation: Activation::Gelu,
                post_norms: true,
                scaled: true,
                ..normed
            }),
            "deepseek2" => Ok(Traits { qkv_bias: Presence::Never, ..plain }),
            "hunyuan-dense" | "hunyuan-moe" => Ok(Traits { norm_after_rope: true, ..normed }),
            _ => Err(Error::Architecture { path: path.to_owned(), found: architecture.to_owned() }),
        }
    }
}

/// YaRN's attention factor for a context `factor` times as long, as far as `mscale` says.
pub(crate) fn yarn_mscale(factor: f32, mscale: f32) -> f32 {
    match factor > 1.0 {
        true => (0.1 * f64::from(mscale) * f64::from(factor).ln() + 1.0) as f32,
        false => 1.0,
    }
}

/// Whether each of so many layers has a window, where of `every` layers the last has none.
fn all_but_every(every: usize, layers: usize) -> Vec<bool> {
    (1..=layers).map(|layer| every == 0 || !layer.is_multiple_of(every)).collect()
}

/// The base of RoPE that makes up for a context `alpha` times as long: "NTK-aware", so that the fastest of the
/// `dim / 2` frequencies stays as it is and the slowest is divided by `alpha`.
fn ntk_theta(theta: f32, alpha: f32, dim: usize) -> f32 {
    let dim = dim as f64;
    (f64::from(theta) * f64::from(alpha).powf(dim / (dim - 2.0))) as f32
}

impl Config {
    /// Reads the settings of an open model.
    ///
    /// # Errors
    /// The architecture is unknown, or a setting is missing or makes no sense.
    pub fn read(checkpoint: &Checkpoint) -> Result<Config, Error> {
        let config = match checkpoint {
            Checkpoint::Gguf(file) => gguf::read(checkpoint, file)?,
            Checkpoint::Safetensors(dir) => hugging_face::read(dir.path(), dir.config()?)?,
        };
        config.check(checkpoint.path())?;
        Ok(config)
    }

    /// The positions that a token sees in a layer, if it doesn't see all.
    pub(crate) fn window_of(&self, layer: usize) -> Option<usize> {
        self.window.as_ref().filter(|window| window.layers[layer]).map(|window| window.positions)
    }

    /// How much of a long text layer `index` leaves out where `sparse` is asked for: a layer with a window, and
    /// the first ones, nothing.
    pub(crate) fn sparse_of(&self, index: usize, sparse: Option<Sparse>) -> Option<Sparse> {
        sparse.filter(|_| index >= DENSE_LAYERS && self.window_of(index).is_none())
    }

    /// Stretches positions as a user asks for, whatever the file says.
    ///
    /// # Errors
    /// Texts can't be told apart by their length, as the model's makers have stretched positions for all of them.
    pub fn stretch(&mut self, request: RopeScalingRequest) -> Result<(), Error> {
        let scaling = &mut self.rope.scaling;
        if let (RopeScalingRequest::None, RopeScaling::LongRope { original, .. }) =
            (request, &*scaling)
        {
            // Without the short divisors it would be another model.
            self.context_length = *original;
            self.rope.unscaled_to = Some(usize::MAX);
            return Ok(());
        }
        let automatic = matches!(request, RopeScalingRequest::Auto(..));
        // The file's own YaRN is what a short text does better without, unless scores are scaled with it.
        let scores = self.latent.is_some_and(|latent| latent.mscale_all_dim > 0.0);
        let apart = matches!(scaling, RopeScaling::None | RopeScaling::Yarn { .. });
        if automatic && (!apart || scores || self.rope.divided) {
            let made_with = match self.rope.divided {
                true => "divisors of its frequencies".to_owned(),
                false => format!("scaling ({scaling})"),
            };
            return Err(Error::RopeScaling {
                given: request.to_string(),
                problem: format!("this model was made with {made_with} for short texts, too"),
            });
        }
        let made_for = match scaling {
            RopeScaling::Yarn { original, .. } if automatic => *original,
            _ => self.context_length,
        };
        *scaling = request.resolve(made_for);
        self.rope.unscaled_to = None;
        if let RopeScaling::Yarn { factor, original, ref mut attention_factor, .. } = *scaling {
            // Where scores are multiplied with it, cosines and sines are not.
            if scores {
                *attention_factor = Some(1.0);
            }
            self.context_length = self.context_length.max((original as f32 * factor) as usize);
            self.rope.unscaled_to = automatic.then_some(original);
        }
        Ok(())
    }

    /// Tokens that a text may have without being stretched for a user's sake.
    pub fn made_for(&self) -> usize {
        match (&self.rope.scaling, self.rope.unscaled_to) {
            (RopeScaling::Yarn { .. }, Some(most)) => most,
            _ => self.context_length,
        }
    }

    /// What stretches positions of texts up to `context` tokens, and not those of texts the model was made for; none
    /// if it was made for all of them, or stretches them in its own way.
    pub fn stretch_to(&self, context: usize) -> Option<RopeScalingRequest> {
        let factor = context as f32 / self.context_length as f32;
        let rope = &self.rope;
        let plain = rope.scaling == RopeScaling::None && !rope.divided && self.window.is_none();
        (plain && factor > 1.0).then_some(RopeScalingRequest::Auto(factor, None))
    }

    /// Numbers that attention gathers for a token, all heads together.
    pub fn gathered(&self) -> usize {
        self.heads * self.latent.map_or(self.head_dim, |latent| latent.v_head_dim)
    }

    /// Whether gradients can be worked out for such a model.
    ///
    /// # Errors
    /// They can't, as it has what training doesn't know yet.
    pub fn check_trainable(&self) -> Result<(), Error> {
        if self.experts.is_some() {
            return Err(Error::Experts("trained"));
        }
        let shape = self.norm_after_rope || self.fused || self.post_norms;
        let unknown = shape || self.window.is_some() || self.latent.is_some();
        match unknown || self.activation != Activation::Silu {
            true => Err(Error::Untrainable(self.architecture.clone())),
            false => Ok(()),
        }
    }

    /// Refuses settings no kernel could work with, before anything is allocated by them.
    fn check(&self, path: &Path) -> Result<(), Error> {
        let bad = |key: &str, problem: String| {
            Err(Error::Config { path: path.to_owned(), key: key.to_owned(), problem })
        };
        let sizes = [
            ("block_count", self.layers, 1 << 12),
            ("embedding_length", self.hidden, 1 << 20),
            ("feed_forward_length", self.ffn, 1 << 22),
            ("attention.head_count", self.heads, 1 << 14),
            ("attention.head_count_kv", self.kv_heads, 1 << 14),
            ("attention.key_length", self.head_dim, 1 << 12),
            ("context_length", self.context_length, 1 << 30),
            ("rope.dimension_count", self.rope.dim, 1 << 12),
        ];
        for (key, value, limit) in sizes {
            if value == 0 || value > limit {
                return bad(key, format!("{value} is not within 1 to {limit}"));
            }
        }
        if let Some(experts) = self.experts {
            experts.check().or_else(|(key, problem)| bad(key, problem))?;
        }
        if let Some(latent) = self.latent {
            latent.check().or_else(|(key, problem)| bad(key, problem))?;
        }
        if let Some(Window { positions, layers, rope }) = &self.window {
            if *positions == 0 {
                return bad("attention.sliding_window", "0 positions are none to see".to_owned());
            }
            if layers.len() != self.layers {
                let problem =
                    format!("is of {} layers, and there are {}", layers.len(), self.layers);
                return bad("attention.sliding_window_pattern", problem);
            }
            if rope.as_ref().is_some_and(|rope| !(rope.theta > 1.0 && rope.theta.is_finite())) {
                return bad("rope.freq_base_swa", "is not above 1".to_owned());
            }
        }
        if !(self.attention_scale > 0.0 && self.attention_scale.is_finite()) {
            let problem = format!("scores can't be multiplied by {}", self.attention_scale);
            return bad("attention.scale", problem);
        }
        if !self.heads.is_multiple_of(self.kv_heads) || self.heads / self.kv_heads > 256 {
            let problem =
                format!("{} query heads can't share {} key-value heads", self.heads, self.kv_heads);
            return bad("attention.head_count_kv", problem);
        }
        if !self.head_dim.is_multiple_of(16) {
            let problem = format!("{} is no multiple of 16", self.head_dim);
            return bad("attention.key_length", problem);
        }
        if self.rope.dim > self.head_dim || !self.rope.dim.is_multiple_of(2) {
            let problem = format!(
                "{} of a head's {} elements can't be rotated",
                self.rope.dim, self.head_dim
            );
            return bad("rope.dimension_count", problem);
        }
        if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0) {
            let problem = format!("{} is not between 0 and 1", self.rms_norm_eps);
            return bad("attention.layer_norm_rms_epsilon", problem);
        }
        if !(self.rope.theta > 1.0 && self.rope.theta.is_finite()) {
            return bad("rope.freq_base", format!("{} is not above 1", self.rope.theta));
        }
        Ok(())
    }
}
