//! Tensors that GGUF has otherwise than safetensors: those of all experts in one, and what makes keys of latents apart
//! from what makes values.

use std::collections::BTreeMap;
use std::ops::Range;

use kernels::blocks::BlockType;

use super::draft::{DraftTensor, of_file};
use super::mixture::Latent;
use super::rows::Rows;
use super::shape::Shape;
use crate::{Checkpoint, Error, TensorInfo};

/// The tensors `infos` of an open model as GGUF has them. They have been held against `shape`.
pub(super) fn gather<'a>(
    checkpoint: &'a Checkpoint,
    infos: &[TensorInfo],
    shape: &Shape,
) -> Result<Vec<DraftTensor<'a>>, Error> {
    let mut tensors = Vec::with_capacity(infos.len());
    let mut experts: BTreeMap<String, BTreeMap<usize, DraftTensor<'a>>> = BTreeMap::new();
    for info in infos {
        let Some(t) = of_file(checkpoint, &info.name)? else { continue };
        if let Some((name, number)) = expert(&t.name) {
            experts.entry(name).or_default().insert(number, t);
        } else if let (Some(latent), true) = (shape.latent, t.name.ends_with(".attn_kv_b.weight")) {
            for half in Half::BOTH {
                tensors.extend(half.part(checkpoint, &t, shape.heads, latent)?);
            }
        } else {
            tensors.push(t);
        }
    }
    tensors.extend(experts.into_iter().filter_map(|(name, parts)| stacked(name, parts)));
    Ok(tensors)
}

/// Of one expert's `blk.3.ffn_up.17.weight`, the name that all have together, and its number.
fn expert(name: &str) -> Option<(String, usize)> {
    let (module, number) = name.strip_suffix(".weight")?.rsplit_once('.')?;
    let number = number.parse().ok()?;
    module.contains(".ffn_").then(|| (format!("{module}_exps.weight"), number))
}

/// One tensor of those of all experts, in the order of their numbers.
fn stacked<'a>(name: String, parts: BTreeMap<usize, DraftTensor<'a>>) -> Option<DraftTensor<'a>> {
    let first = parts.values().next()?;
    let (ty, rows, cols) = (first.ty, first.row_count(), first.cols());
    let shape = [&[parts.len()][..], &first.shape].concat();
    let parts = parts.into_values().map(|t| t.rows).collect();
    Some(DraftTensor { name, shape, ty, rows: Box::new(Stacked { parts, rows, cols }) })
}

/// Tensors of one shape, one behind the other.
struct Stacked<'a> {
    parts: Vec<Box<dyn Rows + 'a>>,
    /// Of each.
    rows: usize,
    cols: usize,
}

impl Stacked<'_> {
    /// Which rows of which part these are.
    fn pieces(&self, rows: Range<usize>) -> impl Iterator<Item = (&dyn Rows, Range<usize>)> {
        let first = rows.start / self.rows.max(1);
        self.parts.iter().enumerate().skip(first).map_while(move |(i, part)| {
            let start = i * self.rows;
            let mine = rows.start.max(start)..rows.end.min(start + self.rows);
            (!mine.is_empty()).then(|| (&**part, mine.start - start..mine.end - start))
        })
    }
}

impl Rows for Stacked<'_> {
    fn ty(&self) -> BlockType {
        self.parts.first().map_or(BlockType::F32, |part| part.ty())
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        let mut left = out;
        for (part, rows) in self.pieces(first..first + left.len() / self.cols) {
            let (out, rest) = left.split_at_mut(rows.len() * self.cols);
            part.read(rows.start, out)?;
            left = rest;
        }
        Ok(())
    }

    fn release(&self, rows: Range<usize>) {
        self.pieces(rows).for_each(|(part, rows)| part.release(rows));
    }
}

/// Which of the two that are made of latents.
#[derive(Clone, Copy)]
enum Half {
    Keys,
    Values,
}

impl Half {
    const BOTH: [Half; 2] = [Half::Keys, Half::Values];

    /// Its part of `both`, a tensor `[heads · (qk_nope_head_dim + v_head_dim), kv_lora_rank]` with each head's
    /// matrix for keys before that for values: of keys transposed, `[heads, kv_lora_rank, qk_nope_head_dim]`, of
    /// values `[heads, v_head_dim, kv_lora_rank]`.
    fn part<'a>(
        self,
        checkpoint: &'a Checkpoint,
        both: &DraftTensor<'_>,
        heads: usize,
        latent: Latent,
    ) -> Result<Option<DraftTensor<'a>>, Error> {
        let Some(DraftTensor { rows, ty, .. }) = of_file(checkpoint, &both.name)? else {
            return Ok(None);
        };
        let Latent { kv_lora_rank: rank, qk_nope_head_dim: nope, v_head_dim, .. } = latent;
        let (name, shape) = match self {
            Half::Keys => ("attn_k_b", vec![heads, rank, nope]),
            Half::Values => ("attn_v_b", vec![heads, v_head_dim, rank]),
        };
        let name = both.name.replace("attn_kv_b", name);
        let rows = Box::new(Part { both: rows, half: self, latent });
        Ok(Some(DraftTensor { name, shape, ty, rows }))
    }
}

/// The rows of [`Half::part`].
struct Part<'a> {
    both: Box<dyn Rows + 'a>,
    half: Half,
    latent: Latent,
}

impl Rows for Part<'_> {
    fn ty(&self) -> BlockType {
        self.both.ty()
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        let Latent { kv_lora_rank: rank, qk_nope_head_dim: nope, v_head_dim, .. } = self.latent;
        let (rows, cols) = match self.half {
            Half::Keys => (rank, nope),
            Half::Values => (v_head_dim, rank),
        };
        let mut keys = Vec::new();
        let (mut at, end) = (first, first + out.len() / cols);
        while at < end {
            let (head, row) = (at / rows, at % rows);
            let n = (rows - row).min(end - at);
            let out = &mut out[(at - first) * cols..][..n * cols];
            let start = head * (nope + v_head_dim);
            match self.half {
                Half::Values => self.both.read(start + nope + row, out)?,
                Half::Keys => {
                    keys.resize(nope * rank, 0.0);
                    self.both.read(start, &mut keys)?;
                    for (r, out) in out.chunks_exact_mut(cols).enumerate() {
                        for (key, out) in keys.chunks_exact(rank).zip(out) {
                            *out = key[row + r];
                        }
                    }
                }
            }
            at += n;
        }
        Ok(())
    }
}
