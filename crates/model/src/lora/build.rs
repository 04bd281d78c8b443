//! From a file's pairs of tensors to an [`Adapter`]: the part that PEFT and GGUF share.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use kernels::Arena;
use kernels::blocks::{BlockType, dequantize_row};
use kernels::matmul::Matrix;
use kernels::ops::RopeLayout;
use weights::Tensor;

use super::{Adapter, Fit, LayerPairs, Pair, Target, bad, named};
use crate::{Error, Model};

/// Which tensor of a pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Half {
    /// `[rank, inputs]`.
    A,
    /// `[outputs, rank]`.
    B,
}

/// Tensors as they are found in the file at `path`, under the names it gives them.
pub(super) struct Builder<'a> {
    model: &'a Model,
    path: &'a Path,
    /// The order of the rows of q and k in the file.
    layout: RopeLayout,
    found: BTreeMap<(usize, Target), [Option<Tensor<'a>>; 2]>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(model: &'a Model, path: &'a Path, layout: RopeLayout) -> Builder<'a> {
        Builder { model, path, layout, found: BTreeMap::new() }
    }

    /// Takes a tensor of the matrix that GGUF calls `base`.
    pub(super) fn put(&mut self, base: &str, half: Half, tensor: Tensor<'a>) -> Result<(), Error> {
        let field = || named(&tensor.info.name);
        let Some((layer, target)) = Target::parse(base) else {
            let problem = "adapts something other than a layer's q, k, v, o, gate, up or down \
                           matrix, which is not supported; train the adapter on those alone";
            return Err(bad(self.path, field(), problem));
        };
        let layers = self.model.config.layers;
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
        origin: &Path,
        rank_and_scale: impl Fn(usize, Target, usize) -> Result<(usize, f32), Error>,
    ) -> Result<Adapter, Error> {
        let Builder { model, path, layout, found } = self;
        if found.is_empty() {
            return Err(bad(path, "tensors", "there is no pair of lora_A and lora_B among them"));
        }
        let c = &model.config;
        let mut arena = Arena::default();
        let mut layers: Vec<LayerPairs> = (0..c.layers).map(|_| LayerPairs::default()).collect();
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
            let heads = match target {
                Target::Q => Some(c.heads),
                Target::K => Some(c.kv_heads),
                _ => None,
            };
            let order = heads.filter(|_| layout != c.rope.layout).map(|_| c.rope.layout);
            let mut pack = |tensor: Tensor<'_>, rows, cols, order| {
                check(path, &tensor, rows, cols)?;
                let data = numbers(path, &tensor, c.head_dim, order)?;
                Matrix::pack(&model.pool, BlockType::F32, rows, cols, &data, &mut arena)
                    .map_err(|e| bad(path, named(&tensor.info.name), e.to_string()))
            };
            let a = pack(a, rank, inputs, None)?;
            let b = pack(b, outputs, rank, order)?;
            layers[layer].0[target as usize] = Some(Pair { a, b, scale });
        }
        Ok(Adapter { path: origin.to_owned(), fit: Fit::of(c), layers, score: None })
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

/// The weights as f32 bytes, with the rows of each head in the order `to` if they have another.
fn numbers<'a>(
    path: &Path,
    tensor: &Tensor<'a>,
    head_dim: usize,
    to: Option<RopeLayout>,
) -> Result<Cow<'a, [u8]>, Error> {
    let Tensor { info, data } = *tensor;
    if info.ty == BlockType::F32 && to.is_none() {
        return Ok(Cow::Borrowed(data));
    }
    let mut row = vec![0.0; info.cols()];
    let row_bytes = data.len() / info.rows();
    let mut out = Vec::with_capacity(4 * info.elements());
    for r in 0..info.rows() {
        let source = to.map_or(r, |to| row_of(r, head_dim, to));
        let bytes = &data[source * row_bytes..(source + 1) * row_bytes];
        dequantize_row(info.ty, bytes, &mut row)
            .map_err(|e| bad(path, named(&info.name), e.to_string()))?;
        out.extend(row.iter().flat_map(|x| x.to_le_bytes()));
    }
    Ok(Cow::Owned(out))
}

/// Which row of the other layout belongs at row `r` of layout `to`. Interleaved has each rotary
/// pair side by side, `2i` and `2i + 1`; in halves they are `i` and `i + head_dim / 2`.
pub(super) fn row_of(r: usize, head_dim: usize, to: RopeLayout) -> usize {
    let (head, at) = (r / head_dim * head_dim, r % head_dim);
    let half = head_dim / 2;
    head + match to {
        RopeLayout::Interleaved => at % 2 * half + at / 2,
        RopeLayout::Halves => at % half * 2 + at / half,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_where_the_converter_puts_them_and_back() {
        // What `reshape(heads, 2, head_dim / 2).swapaxes(1, 2)` makes of two heads of eight rows.
        let converted = [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15];
        for (r, source) in converted.into_iter().enumerate() {
            assert_eq!(row_of(r, 8, RopeLayout::Interleaved), source);
            assert_eq!(row_of(source, 8, RopeLayout::Halves), r);
        }
    }
}
