//! Adapters on their way into a file: added to the weights of their base, or as GGUF.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kernels::blocks::BlockType;
use weights::convert::{Draft, DraftTensor, Made, Rows};
use weights::gguf::Metadata;

use super::build::StoredPair;
use super::gguf::ALPHA;
use super::{bad, read_pairs};
use crate::config::gguf_layout;
use crate::{Config, Error};

/// An adapter as numbers in memory, in the order that GGUF has for its base, for writing files.
pub struct Factors {
    path: PathBuf,
    architecture: String,
    pairs: Vec<StoredPair>,
}

/// What a merge has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Merged {
    /// Matrices that were added to.
    pub matrices: usize,
    /// Those of them that are stored in blocks, so that what was added is rounded to them.
    pub rounded: usize,
}

impl Factors {
    /// Reads an adapter, as [`super::Adapter::load`] does, for a base of these settings, from
    /// whichever container.
    ///
    /// # Errors
    /// As there.
    pub fn load(path: &Path, config: &Config) -> Result<Factors, Error> {
        let mut config = config.clone();
        config.rope.layout = gguf_layout(&config.architecture);
        let pairs = read_pairs(path, &config)?;
        Ok(Factors { path: path.to_owned(), architecture: config.architecture, pairs })
    }

    /// Matrices that are adapted.
    pub fn pairs(&self) -> usize {
        self.pairs.len()
    }

    /// Adds `scale` times the adapter to the weights of `draft`, in f32 and as they are read. The
    /// types that they are to be stored as stay what they are.
    ///
    /// # Errors
    /// `scale` is not finite, or a matrix that is adapted is missing.
    pub fn merge_into<'a>(&'a self, draft: &mut Draft<'a>, scale: f32) -> Result<Merged, Error> {
        if !scale.is_finite() {
            return Err(bad(&self.path, "scale", format!("{scale} is no finite number")));
        }
        let mut pairs: BTreeMap<String, &StoredPair> =
            self.pairs.iter().map(|pair| (name(pair), pair)).collect();
        let mut merged = Merged { matrices: pairs.len(), rounded: 0 };
        for t in &draft.tensors {
            let Some(pair) = pairs.get(&t.name) else { continue };
            let expected = vec![pair.b.len() / pair.rank, pair.a.len() / pair.rank];
            if t.shape != expected {
                let (path, name, found) = (draft.path.clone(), t.name.clone(), t.shape.clone());
                return Err(Error::Shape { path, name, found, expected });
            }
        }
        let tensors = std::mem::take(&mut draft.tensors);
        let merge = |t: DraftTensor<'a>| match pairs.remove(&t.name) {
            Some(pair) => {
                merged.rounded += usize::from(t.ty.block_len() > 1);
                let cols = t.shape.last().copied().unwrap_or(1);
                let rows = Added { inner: t.rows, pair, cols, scale: scale * pair.scale };
                DraftTensor { rows: Box::new(rows), ..t }
            }
            None => t,
        };
        draft.tensors = tensors.into_iter().map(merge).collect();
        match pairs.into_keys().next() {
            Some(name) => Err(Error::MissingTensor { path: draft.path.clone(), name }),
            None => Ok(merged),
        }
    }

    /// The adapter as a GGUF file about to be written, its numbers stored as `ty`: f32, f16 or
    /// bf16.
    ///
    /// GGUF has one alpha for all pairs, and divides it by each one's rank. Where the adapter means
    /// something else (rsLoRA, an alpha for some modules) the difference goes into B.
    ///
    /// # Errors
    /// `ty` is of another kind.
    pub fn into_gguf(self, ty: BlockType) -> Result<Draft<'static>, Error> {
        if ty.block_len() > 1 {
            let problem =
                format!("{ty} can't hold matrices of few columns; choose f32, f16 or bf16");
            return Err(bad(&self.path, "type", problem));
        }
        // The first pair's own, unless that is 0, which a reader would take for none.
        let alpha = self.pairs.first().map_or(1.0, |pair| pair.scale * pair.rank as f32);
        let alpha = if alpha == 0.0 || !alpha.is_finite() { 1.0 } else { alpha };
        let mut metadata = Metadata::new();
        metadata.insert("general.architecture", self.architecture.as_str());
        metadata.insert("general.type", "adapter");
        metadata.insert("adapter.type", "lora");
        metadata.insert(ALPHA, alpha);
        let mut tensors = Vec::with_capacity(2 * self.pairs.len());
        for pair in self.pairs {
            let base = name(&pair);
            let StoredPair { rank, a, mut b, scale, .. } = pair;
            let rest = scale / (alpha / rank as f32);
            // A rounding of the division is no difference.
            if (rest - 1.0).abs() > 1e-6 {
                b.iter_mut().for_each(|x| *x *= rest);
            }
            let (inputs, outputs) = (a.len() / rank, b.len() / rank);
            for (half, shape, values) in
                [("lora_a", [rank, inputs], a), ("lora_b", [outputs, rank], b)]
            {
                tensors.push(DraftTensor {
                    name: format!("{base}.{half}"),
                    shape: shape.to_vec(),
                    ty,
                    rows: Box::new(Made { values, cols: shape[1] }),
                });
            }
        }
        Ok(Draft { path: self.path, metadata, tensors, importance: None })
    }
}

/// What GGUF calls the matrix that a pair is added to.
fn name(pair: &StoredPair) -> String {
    pair.target.module(pair.layer) + ".weight"
}

/// Rows of a matrix, and what an adapter adds to them.
struct Added<'a> {
    inner: Box<dyn Rows + 'a>,
    pair: &'a StoredPair,
    cols: usize,
    scale: f32,
}

impl Rows for Added<'_> {
    fn ty(&self) -> BlockType {
        self.inner.ty()
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), weights::Error> {
        self.inner.read(first, out)?;
        let rank = self.pair.rank;
        let b = &self.pair.b[first * rank..];
        let mut sum = vec![0.0f32; self.cols];
        for (row, b) in out.chunks_exact_mut(self.cols).zip(b.chunks_exact(rank)) {
            // The product first: added one by one, its small terms would be lost in the weight.
            sum.fill(0.0);
            for (b, a) in b.iter().zip(self.pair.a.chunks_exact(self.cols)) {
                sum.iter_mut().zip(a).for_each(|(sum, a)| *sum += b * a);
            }
            row.iter_mut().zip(&sum).for_each(|(x, sum)| *x += self.scale * sum);
        }
        Ok(())
    }

    fn release(&self, rows: std::ops::Range<usize>) {
        self.inner.release(rows);
    }
}
