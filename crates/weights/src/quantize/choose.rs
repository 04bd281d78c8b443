//! A recipe and exceptions of one's own, applied to a model.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use kernels::blocks::BlockType;
use regex::Regex;

use super::importance::Importance;
use super::mix::{Mix, ModelTraits, Role, fitting, is_quantizable};
use super::{QuantizeError, is_writable};
use crate::Error;
use crate::convert::Draft;

/// `REGEX=TYPE`: matrices whose GGUF name the expression is found in get that type.
#[derive(Clone, Debug)]
pub struct Override {
    pattern: Regex,
    ty: BlockType,
}

impl Override {
    /// Whether it is about the tensor of this name.
    pub(super) fn fits(&self, name: &str) -> bool {
        self.pattern.is_match(name)
    }

    /// What it wants it stored as.
    pub(super) fn ty(&self) -> BlockType {
        self.ty
    }
}

/// An override that can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}`: {problem}\nhint: write REGEX=TYPE, for example ffn_down=q6_k")]
pub struct BadOverride {
    given: String,
    problem: String,
}

impl FromStr for Override {
    type Err = BadOverride;

    fn from_str(given: &str) -> Result<Override, BadOverride> {
        let bad = |problem: String| BadOverride {
            given: given.escape_debug().take(120).collect(),
            problem,
        };
        let (pattern, ty) =
            given.rsplit_once('=').ok_or_else(|| bad("there is no `=` in it".to_owned()))?;
        let ty = ty.parse::<BlockType>().map_err(|e| bad(e.to_string()))?;
        if !is_writable(ty) {
            return Err(bad(QuantizeError::ReadOnly { ty }.to_string()));
        }
        let pattern = Regex::new(pattern).map_err(|e| bad(e.to_string()))?;
        Ok(Override { pattern, ty })
    }
}

/// What is wanted of a quantised file.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The recipe.
    pub mix: Mix,
    /// The first whose expression is found in a tensor's name decides its type.
    pub overrides: Vec<Override>,
    /// Every matrix gets the recipe's default type.
    pub pure: bool,
    /// Matrices that are quantised already may be quantised again.
    pub requantize: bool,
    /// How much the errors in each column cost.
    pub importance: Option<Arc<Importance>>,
}

impl Wanted {
    /// A recipe as it stands.
    pub fn plain(mix: Mix) -> Wanted {
        Wanted { mix, overrides: Vec::new(), pure: false, requantize: false, importance: None }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Matrices of which type, and their bytes.
    pub types: BTreeMap<BlockType, (usize, u64)>,
    /// Matrices whose rows don't fit the type they should have had.
    pub fallbacks: usize,
    /// Matrices in blocks that an importance matrix, where there is one, says nothing of.
    pub unknown: usize,
}

impl Draft<'_> {
    /// Gives every tensor the type that `wanted` has for it, and says so in the metadata.
    ///
    /// # Errors
    /// A quantised tensor would be quantised again, or a key has a value that makes no sense.
    pub fn choose_types(&mut self, wanted: &Wanted) -> Result<Chosen, Error> {
        let model = ModelTraits { importance: wanted.importance.is_some(), ..self.traits()? };
        let (mut values, mut downs) = (self.layers_of(Role::Values), self.layers_of(Role::Down));
        let mut fallbacks = 0;
        let mut types = Vec::with_capacity(self.tensors.len());
        for t in &self.tensors {
            let role = Role::of(&t.name);
            let layer = match role {
                Role::Values => values.remove(&t.name),
                Role::Down => downs.remove(&t.name),
                _ => None,
            };
            let cols = t.shape.last().copied().unwrap_or(1);
            let ty = if !is_quantizable(&t.name, &t.shape) {
                t.ty
            } else {
                let own = wanted.overrides.iter().find(|o| o.pattern.is_match(&t.name));
                let ty = match own {
                    Some(own) => own.ty,
                    None if wanted.pure => wanted.mix.default_type(),
                    None => wanted.mix.type_of(role, layer.unwrap_or(0), cols, &model),
                };
                let fitting = fitting(ty, cols);
                fallbacks += usize::from(fitting != ty);
                fitting
            };
            if is_block(t.rows.ty()) && is_block(ty) && ty != t.rows.ty() && !wanted.requantize {
                let problem = format!("is {} already; {ty} made of it would be worse", t.rows.ty());
                let remedy = "quantise the original, or add --allow-requantize";
                let field = format!("tensor `{}`", crate::tensor::shorten(&t.name));
                return Err(Error::unsupported(&self.path, field, problem, remedy));
            }
            types.push(ty);
        }
        for (t, ty) in self.tensors.iter_mut().zip(types) {
            t.ty = ty;
        }
        self.chosen(Some(wanted.mix), wanted.importance.as_ref(), fallbacks)
    }

    /// Has errors weighed, says in the metadata what was chosen, and counts it.
    pub(super) fn chosen(
        &mut self,
        mix: Option<Mix>,
        importance: Option<&Arc<Importance>>,
        fallbacks: usize,
    ) -> Result<Chosen, Error> {
        let mut chosen = Chosen { fallbacks, ..Chosen::default() };
        for t in &self.tensors {
            let bytes = self.bytes_as(t, t.ty)?;
            if t.shape.len() > 1 {
                let (count, sum) = chosen.types.entry(t.ty).or_default();
                *count += 1;
                *sum += bytes;
            }
            if let (Some(importance), true) = (importance, is_block(t.ty)) {
                chosen.unknown += usize::from(importance.of(&t.name, &t.shape)?.is_none());
            }
        }
        if let Some(mix) = mix {
            self.metadata.insert("general.quantization_version", 2u32);
            self.metadata.insert("general.file_type", mix.file_type());
        }
        if let Some(importance) = importance {
            importance.note(&mut self.metadata);
            self.importance = Some(Arc::clone(importance));
        }
        Ok(chosen)
    }

    /// Says in the metadata what the tensors are stored as, where nothing says it yet.
    pub fn keep_types(&mut self) {
        let mut weights = [0; 3];
        for t in self.tensors.iter().filter(|t| is_quantizable(&t.name, &t.shape)) {
            let at = match t.ty {
                BlockType::F32 => 0,
                BlockType::F16 => 1,
                BlockType::BF16 => 2,
                _ => continue,
            };
            weights[at] += t.shape.iter().product::<usize>();
        }
        let most = (0..3).max_by_key(|at| weights[*at]).unwrap_or(0);
        if !self.metadata.contains("general.file_type") {
            let mix = [Mix::F32, Mix::F16, Mix::BF16][most];
            self.metadata.insert("general.quantization_version", 2u32);
            self.metadata.insert("general.file_type", mix.file_type());
        }
    }

    /// The tensors of a role in the order of their layers: those of layers without one don't count.
    fn layers_of(&self, role: Role) -> BTreeMap<String, usize> {
        let layer = |name: &str| -> Option<usize> {
            name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
        };
        let mut names: Vec<&str> = self
            .tensors
            .iter()
            .map(|t| t.name.as_str())
            .filter(|name| Role::of(name) == role)
            .collect();
        names.sort_by_key(|name| (layer(name), *name));
        names.into_iter().enumerate().map(|(i, name)| (name.to_owned(), i)).collect()
    }

    fn traits(&self) -> Result<ModelTraits, Error> {
        let metadata = &self.metadata;
        let architecture = metadata.str("general.architecture")?.unwrap_or_default();
        // Some models have another number in each layer; the first stands for all.
        let number = |key: &str| -> Result<Option<usize>, Error> {
            let key = format!("{architecture}.{key}");
            if let Ok(Some(list)) = metadata.u32_array(&key) {
                return Ok(list.first().map(|n| *n as usize));
            }
            Ok(metadata.u32(&key)?.map(|n| n as usize))
        };
        let layers = number("block_count")?.unwrap_or(0);
        let heads = number("attention.head_count")?.unwrap_or(0);
        let kv_heads = number("attention.head_count_kv")?.unwrap_or(heads);
        Ok(ModelTraits {
            layers,
            heads_per_kv: heads.checked_div(kv_heads).unwrap_or(0),
            experts: number("expert_count")?.unwrap_or(0),
            llama_70b: architecture == "llama" && layers == 80 && heads != kv_heads,
            tied: !self.tensors.iter().any(|t| t.name == "output.weight"),
            importance: false,
        })
    }
}

/// Whether weights are stored in blocks, and not as numbers of their own.
pub fn is_block(ty: BlockType) -> bool {
    ty.block_len() > 1
}
