//! From a file's pairs of tensors to pairs in f32: the part that PEFT and GGUF share.

use std::collections::BTreeMap;
use std::path::Path;

use kernels::blocks::dequantize_row;
use kernels::ops::RopeLayout;
use weights::Tensor;
use weights::convert::row_of;

use super::{Target, bad, named};
use crate::{Config, Error};

/// Which tensor of a pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Half {
    /// `[rank, inputs]`.
    A,
    /// `[outputs, rank]`.
    B,
}

/// An adapter as it is read.
pub(super) struct Loose {
    pub(super) pairs: Vec<StoredPair>,
    /// The head of one that scores texts, `[hidden]`.
    pub(super) score: Option<Vec<f32>>,
}

/// A pair as it is read: the rows of its B in the order of the model's own matrix.
#[derive(Clone, Debug)]
pub struct StoredPair {
    /// From 0.
    pub layer: usize,
    /// The matrix that it adds to.
    pub target: Target,
    /// Rows of A.
    pub rank: usize,
    /// `[rank, inputs]`.
    pub a: Vec<f32>,
    /// `[outputs, rank]`.
    pub b: Vec<f32>,
    /// What `B A` is multiplied with.
    pub scale: f32,
}

/// Tensors as they are found in the file at `path`, under the names it gives them.
pub(super) struct Builder<'a> {
    config: &'a Config,
    path: &'a Path,
    /// The order of the rows of q and k in the file.
    layout: RopeLayout,
    found: BTreeMap<(usize, Target), [Option<Tensor<'a>>; 2]>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(config: &'a Config, path: &'a Path, layout: RopeLayout) -> Builder<'a> {
        Builder { config, path, layout, found: BTreeMap::new() }
    }

    /// Takes a tensor of the matrix that GGUF calls `base`.
    pub(super) fn put(&mut self, base: &str, half: Half, tensor: Tensor<'a>) -> Result<(), Error> {
        let field = || named(&tensor.info.name);
        let Some((layer, target)) = Target::parse(base) else {
            let problem = "adapts something other than a layer's q, k, v, o, gate, up or down \
                           matrix, which is not supported; train the adapter on those alone";
            return Err(bad(self.path, field(), problem));
        };
        let layers = self.config.layers;
        if layer >= layers {
            let problem = format!(
                "adapts layer {layer} of a model that has {layers}; the adapter was made for \
                 another model"
            );
            return Err(bad(self.path, field(), problem));
        }
        let slot = &mut self.found.entry((layer, target)).or_default()[half as usize];
        if slot.replace(tensor).is_some() {
            return Err(bad(self.path, field(), "is there twice under different names"));
        }
        Ok(())
    }

    /// Pairs the tensors up. `rank_and_scale` says for a matrix, by its layer, what it is and how
    /// many rows its A has, which rank it should have and what its product is multiplied with.
    pub(super) fn finish(
        self,
        rank_and_scale: impl Fn(usize, Target, usize) -> Result<(usize, f32), Error>,
    ) -> Result<Vec<StoredPair>, Error> {
        let Builder { config: c, path, layout, found } = self;
        if found.is_empty() {
            return Err(bad(path, "tensors", "there is no pair of lora_A and lora_B among them"));
        }
        let mut pairs = Vec::with_capacity(found.len());
        for ((layer, target), pair) in found {
            let (a, b) = match pair {
                [Some(a), Some(b)] => (a, b),
                [Some(only), None] | [None, Some(only)] => {
                    let problem = "the other half of its pair is missing; the adapter is \
                                   incomplete, fetch or convert it again";
                    return Err(bad(path, named(&only.info.name), problem));
                }
                [None, None] => continue,
            };
            let (rank, scale) =
                rank_and_scale(layer, target, a.info.shape.first().copied().unwrap_or(0))?;
            let (outputs, inputs) = target.shape(c);
            if let Some(problem) = super::refusal(c, target) {
                return Err(bad(path, target.module(layer), problem));
            }
            let heads = match target {
                Target::Q => Some(c.heads),
                Target::K => Some(c.kv_heads),
                _ => None,
            };
            let order = heads.filter(|_| layout != c.rope.layout).map(|_| c.rope.layout);
            let read = |tensor: Tensor<'_>, rows, cols, order| {
                check(path, &tensor, rows, cols)?;
                numbers(path, &tensor, c.head_dim, order)
            };
            let a = read(a, rank, inputs, None)?;
            let b = read(b, outputs, rank, order)?;
            pairs.push(StoredPair { layer, target, rank, a, b, scale });
        }
        Ok(pairs)
    }
}

/// The shape, before anything is allocated by it.
pub(super) fn check(
    path: &Path,
    tensor: &Tensor<'_>,
    rows: usize,
    cols: usize,
) -> Result<(), Error> {
    if tensor.info.shape == [rows, cols] {
        return Ok(());
    }
    Err(Error::AdapterShape {
        path: path.to_owned(),
        name: tensor.info.name.escape_debug().take(120).collect(),
        found: tensor.info.shape.clone(),
        expected: vec![rows, cols],
    })
}

/// The weights as f32, with the rows of each head in the order `to` if they have another.
fn numbers(
    path: &Path,
    tensor: &Tensor<'_>,
    head_dim: usize,
    to: Option<RopeLayout>,
) -> Result<Vec<f32>, Error> {
    let Tensor { info, data } = *tensor;
    let row_bytes = data.len() / info.rows();
    let mut out = vec![0.0; info.elements()];
    for (r, row) in out.chunks_exact_mut(info.cols()).enumerate() {
        let source = to.map_or(r, |to| row_of(r, head_dim, to));
        let bytes = &data[source * row_bytes..(source + 1) * row_bytes];
        dequantize_row(info.ty, bytes, row)
            .map_err(|e| bad(path, named(&info.name), e.to_string()))?;
    }
    Ok(out)
}
