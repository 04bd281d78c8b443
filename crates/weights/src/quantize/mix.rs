//! Recipes: which tensor of a model gets which type.
//!
//! A recipe such as `Q4_K_M` is a default type and exceptions, by what a tensor is for and how
//! deep it lies. The exceptions are llama.cpp's, so that a name means the same file everywhere.

use std::fmt;
use std::str::FromStr;

use kernels::blocks::BlockType;

/// A recipe, by the name that model files carry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(non_camel_case_types, missing_docs)]
pub enum Mix {
    F32,
    F16,
    BF16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2_K,
    Q3_K_S,
    Q3_K_M,
    Q3_K_L,
    Q4_K_S,
    Q4_K_M,
    Q5_K_S,
    Q5_K_M,
    Q6_K,
    IQ4_NL,
    IQ4_XS,
}

/// Name, number in `general.file_type`, default type.
const TABLE: [(Mix, &str, u32, BlockType); 19] = [
    (Mix::F32, "F32", 0, BlockType::F32),
    (Mix::F16, "F16", 1, BlockType::F16),
    (Mix::BF16, "BF16", 32, BlockType::BF16),
    (Mix::Q8_0, "Q8_0", 7, BlockType::Q8_0),
    (Mix::Q4_0, "Q4_0", 2, BlockType::Q4_0),
    (Mix::Q4_1, "Q4_1", 3, BlockType::Q4_1),
    (Mix::Q5_0, "Q5_0", 8, BlockType::Q5_0),
    (Mix::Q5_1, "Q5_1", 9, BlockType::Q5_1),
    (Mix::Q2_K, "Q2_K", 10, BlockType::Q2_K),
    (Mix::Q3_K_S, "Q3_K_S", 11, BlockType::Q3_K),
    (Mix::Q3_K_M, "Q3_K_M", 12, BlockType::Q3_K),
    (Mix::Q3_K_L, "Q3_K_L", 13, BlockType::Q3_K),
    (Mix::Q4_K_S, "Q4_K_S", 14, BlockType::Q4_K),
    (Mix::Q4_K_M, "Q4_K_M", 15, BlockType::Q4_K),
    (Mix::Q5_K_S, "Q5_K_S", 16, BlockType::Q5_K),
    (Mix::Q5_K_M, "Q5_K_M", 17, BlockType::Q5_K),
    (Mix::Q6_K, "Q6_K", 18, BlockType::Q6_K),
    (Mix::IQ4_NL, "IQ4_NL", 25, BlockType::IQ4_NL),
    (Mix::IQ4_XS, "IQ4_XS", 30, BlockType::IQ4_XS),
];

/// A recipe nobody wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} `{name}`; there are {}", self.problem(), Mix::names())]
pub struct UnknownMix {
    name: String,
}

impl UnknownMix {
    fn problem(&self) -> &'static str {
        match BlockType::from_name(&self.name) {
            Some(_) => "weights can be read, but not stored as",
            None => "there is no type",
        }
    }
}

/// What the exceptions look at beside a tensor itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ModelTraits {
    /// Layers of the model.
    pub layers: usize,
    /// Query heads that share a key-value head.
    pub heads_per_kv: usize,
    /// Experts of a layer, 0 where there are none.
    pub experts: usize,
    /// Llama's 70B, whose values get more bits since they are so few.
    pub llama_70b: bool,
    /// The embedding is the output matrix, too.
    pub tied: bool,
    /// There is an importance matrix.
    pub importance: bool,
}

/// What a tensor is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The matrix from states to logits.
    Output,
    /// The embedding of tokens.
    Embedding,
    /// A layer's values, or its q, k and v in one.
    Values,
    /// A layer's keys.
    Keys,
    /// Attention's output.
    AttentionOutput,
    /// The feed-forward layer's way back.
    Down,
    /// Any other matrix.
    Other,
}

impl Role {
    /// By GGUF's name.
    pub fn of(name: &str) -> Role {
        let has = |part: &str| name.contains(part);
        match name {
            "output.weight" => Role::Output,
            "token_embd.weight" => Role::Embedding,
            _ if has("attn_v.weight") || has("attn_qkv.weight") || has("attn_kv_b.weight") => {
                Role::Values
            }
            _ if has("attn_k.weight") => Role::Keys,
            _ if has("attn_output.weight") => Role::AttentionOutput,
            _ if has("ffn_down") => Role::Down,
            _ => Role::Other,
        }
    }
}

/// Whether a tensor is a matrix that may be stored in fewer bits; everything else stays as it is.
pub fn is_quantizable(name: &str, shape: &[usize]) -> bool {
    // Small beside the rest, and what they say is felt everywhere: norms, routers, convolutions.
    const KEPT: [&str; 6] = [
        "_norm.weight",
        "ffn_gate_inp.weight",
        "ssm_conv1d",
        "shortconv.conv.weight",
        "attn_rel_b.weight",
        "position_embd",
    ];
    // A vector with dimensions of 1 around it is still a vector.
    let dims = shape.len() - shape.iter().take_while(|d| **d == 1).count();
    dims >= 2 && name.ends_with("weight") && !KEPT.iter().any(|kept| name.contains(kept))
}

impl Mix {
    /// Every recipe, the most exact first.
    pub fn all() -> impl Iterator<Item = Mix> {
        TABLE.iter().map(|(mix, ..)| *mix)
    }

    fn row(self) -> &'static (Mix, &'static str, u32, BlockType) {
        TABLE.iter().find(|(mix, ..)| *mix == self).unwrap_or(&TABLE[0])
    }

    /// The name: `Q4_K_M`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The number in `general.file_type`.
    pub fn file_type(self) -> u32 {
        self.row().2
    }

    /// What tensors get that are no exception.
    pub fn default_type(self) -> BlockType {
        self.row().3
    }

    fn names() -> String {
        TABLE.map(|(_, name, ..)| name).join(", ")
    }

    /// What a matrix in the role `role` is stored as: `layer` is its layer, counted from 0 among
    /// those of the same role, and `cols` the length of its rows. Rows may still be no whole number
    /// of blocks: see [`fitting`].
    pub fn type_of(self, role: Role, layer: usize, cols: usize, model: &ModelTraits) -> BlockType {
        use BlockType::{Q3_K, Q4_K, Q5_K, Q6_K, Q8_0};
        let default = self.default_type();
        if matches!(default, BlockType::F32 | BlockType::F16 | BlockType::BF16) {
            return default;
        }
        match role {
            Role::Output => return self.output(cols),
            Role::Embedding if model.tied => return self.output(cols),
            _ => {}
        }
        let n = model.layers;
        let eighth = layer < n / 8;
        let shared = model.heads_per_kv >= 4;
        let eight_experts = model.experts == 8;
        match role {
            Role::Values => {
                let chosen = match self {
                    Mix::Q2_K if shared => Q4_K,
                    Mix::Q2_K => Q3_K,
                    Mix::Q3_K_M if layer < 2 => Q5_K,
                    Mix::Q3_K_M => Q4_K,
                    Mix::Q3_K_L => Q5_K,
                    Mix::IQ4_NL | Mix::IQ4_XS if shared => Q5_K,
                    Mix::Q4_K_M | Mix::Q5_K_M if matters_more(layer, n) => Q6_K,
                    Mix::Q4_K_S if layer < 4 => Q5_K,
                    _ => default,
                };
                match chosen {
                    _ if eight_experts => Q8_0,
                    Q3_K | Q4_K if model.llama_70b => Q5_K,
                    other => other,
                }
            }
            Role::Keys if eight_experts => Q8_0,
            Role::Down => match self {
                Mix::Q2_K => Q3_K,
                Mix::Q3_K_M if layer < n / 16 => Q5_K,
                Mix::Q3_K_M => Q4_K,
                Mix::Q3_K_L => Q5_K,
                Mix::Q4_K_M | Mix::Q5_K_M if matters_more(layer, n) => Q6_K,
                Mix::IQ4_NL | Mix::IQ4_XS if eighth && !model.importance => Q5_K,
                Mix::Q4_K_S if eighth => Q5_K,
                // The first ways back have columns of such importance that symmetric types fail them.
                Mix::Q4_0 if eighth && model.importance => BlockType::Q4_1,
                Mix::Q5_0 if eighth && model.importance => BlockType::Q5_1,
                _ => default,
            },
            Role::AttentionOutput if eight_experts => match self {
                Mix::Q2_K
                | Mix::Q3_K_S
                | Mix::Q3_K_M
                | Mix::Q4_K_S
                | Mix::Q4_K_M
                | Mix::IQ4_NL
                | Mix::IQ4_XS => Q5_K,
                _ => default,
            },
            Role::AttentionOutput => match self {
                Mix::Q2_K => Q3_K,
                Mix::Q3_K_M => Q4_K,
                Mix::Q3_K_L => Q5_K,
                _ => default,
            },
            _ => default,
        }
    }

    /// Every logit comes from this matrix: it never gets fewer than six bits.
    fn output(self, cols: usize) -> BlockType {
        let default = self.default_type();
        if default == BlockType::Q8_0 || !cols.is_multiple_of(default.block_len()) {
            BlockType::Q8_0
        } else {
            BlockType::Q6_K
        }
    }
}

/// Layers whose errors cost most: the first and the last eighth, and every third between.
fn matters_more(layer: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// `ty`, or what takes its place where rows of `cols` weights are no whole number of its blocks.
pub fn fitting(ty: BlockType, cols: usize) -> BlockType {
    if cols.is_multiple_of(ty.block_len()) {
        return ty;
    }
    let smaller = match ty {
        BlockType::IQ4_XS => BlockType::IQ4_NL,
        BlockType::Q2_K | BlockType::Q3_K => BlockType::Q4_0,
        BlockType::Q4_K => BlockType::Q5_0,
        BlockType::Q5_K => BlockType::Q5_1,
        BlockType::Q6_K => BlockType::Q8_0,
        other => other,
    };
    if cols.is_multiple_of(smaller.block_len()) { smaller } else { BlockType::F16 }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mix {
    type Err = UnknownMix;

    /// By name in any case; `Q3_K`, `Q4_K` and `Q5_K` are their `_M`.
    fn from_str(name: &str) -> Result<Mix, UnknownMix> {
        let medium = format!("{name}_M");
        let named = |wanted: &str| {
            TABLE.iter().find(|(_, name, ..)| name.eq_ignore_ascii_case(wanted)).map(|row| row.0)
        };
        named(name)
            .or_else(|| named(&medium))
            .ok_or_else(|| UnknownMix { name: name.escape_debug().take(40).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for mix in Mix::all() {
            assert_eq!(mix.name().parse(), Ok(mix));
            assert_eq!(mix.name().to_lowercase().parse(), Ok(mix));
        }
        assert_eq!("q4_k".parse(), Ok(Mix::Q4_K_M));
        let error = "q9_k".parse::<Mix>().unwrap_err().to_string();
        assert!(error.starts_with("there is no type `q9_k`; there are F32, F16,"), "{error}");
        let error = "iq2_xs".parse::<Mix>().unwrap_err().to_string();
        let start = "weights can be read, but not stored as `iq2_xs`; there are F32, F16,";
        assert!(error.starts_with(start), "{error}");
        assert!(Mix::all().all(|mix| super::super::is_writable(mix.default_type())));
    }

    #[test]
    fn q4_k_m_of_a_model_with_24_layers() {
        let model = ModelTraits { layers: 24, heads_per_kv: 7, tied: true, ..Default::default() };
        let six = |role: Role| -> Vec<usize> {
            let is_six =
                |layer: &usize| Mix::Q4_K_M.type_of(role, *layer, 1024, &model) == BlockType::Q6_K;
            (0..24).filter(is_six).collect()
        };
        let expected = [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23];
        assert_eq!(six(Role::Values), expected);
        assert_eq!(six(Role::Down), expected);
        assert!(six(Role::Keys).is_empty());
        assert_eq!(Mix::Q4_K_M.type_of(Role::Embedding, 0, 1024, &model), BlockType::Q6_K);
        assert_eq!(Mix::Q4_K_M.type_of(Role::Embedding, 0, 896, &model), BlockType::Q8_0);
        let apart = ModelTraits { tied: false, ..model };
        assert_eq!(Mix::Q4_K_M.type_of(Role::Embedding, 0, 1024, &apart), BlockType::Q4_K);
    }

    #[test]
    fn rows_that_do_not_fit_get_another_type() {
        assert_eq!(fitting(BlockType::Q4_K, 896), BlockType::Q5_0);
        assert_eq!(fitting(BlockType::Q6_K, 896), BlockType::Q8_0);
        assert_eq!(fitting(BlockType::Q3_K, 896), BlockType::Q4_0);
        assert_eq!(fitting(BlockType::IQ4_XS, 896), BlockType::IQ4_NL);
        assert_eq!(fitting(BlockType::Q4_K, 100), BlockType::F16);
        assert_eq!(fitting(BlockType::Q8_0, 100), BlockType::F16);
        assert_eq!(fitting(BlockType::Q4_K, 512), BlockType::Q4_K);
    }

    #[test]
    fn only_matrices_are_quantized() {
        assert!(is_quantizable("blk.0.attn_q.weight", &[4, 4]));
        assert!(is_quantizable("blk.0.ffn_up_exps.weight", &[8, 4, 4]));
        for (name, shape) in [
            ("blk.0.attn_q.bias", &[4][..]),
            ("blk.0.attn_q.bias", &[4, 4]),
            ("blk.0.attn_norm.weight", &[4, 4]),
            ("blk.0.some.weight", &[1, 4]),
            ("blk.0.ffn_gate_inp.weight", &[4, 4]),
        ] {
            assert!(!is_quantizable(name, shape), "{name}");
        }
    }
}
