//! Matrices in FP8, as DeepSeek-V3 and others are published: a byte a weight, and a second tensor of what these are
//! to be multiplied with, a number for each 128 × 128 of them (`weight_scale_inv`), for each row, or for all
//! (`weight_scale`).

use std::collections::BTreeMap;
use std::path::Path;

use kernels::blocks::BlockType;
use serde_json::Value;

use crate::Error;
use crate::tensor::{TensorInfo, shorten};

/// How the names of scales end, behind their matrix's own.
const ENDS: [&str; 2] = ["_scale_inv", "_scale"];
/// What comes with a matrix in FP8 besides its scales: what activations and the cache were rounded with elsewhere.
const BESIDE: [&str; 3] = [".input_scale", ".k_scale", ".v_scale"];
/// Rows and columns that a scale covers where `config.json` doesn't say.
const BLOCK: [usize; 2] = [128, 128];

/// Which tensor holds the scales of which.
#[derive(Debug, Default)]
pub(super) struct Fp8 {
    /// By the matrix's own name.
    scales: BTreeMap<String, Scale>,
}

/// Where a matrix's scales are.
#[derive(Debug)]
pub(super) struct Scale {
    /// The tensor's own name; without one the weights are what they are.
    pub(super) name: Option<String>,
    covers: Covers,
}

/// What a matrix's scales are for.
#[derive(Clone, Copy, Debug)]
struct Covers {
    /// Rows that one covers.
    rows: usize,
    /// Columns that one covers.
    cols: usize,
    /// Weights of a row of the matrix.
    width: usize,
}

/// A matrix's scales.
#[derive(Debug)]
pub(crate) struct Scaled {
    covers: Covers,
    values: Vec<f32>,
}

impl Fp8 {
    /// Looks through a model's tensors.
    ///
    /// # Errors
    /// Scales don't fit their matrix, or what is in FP8 is no matrix.
    pub(super) fn find(
        tensors: &[TensorInfo],
        config: Option<&Value>,
        dir: &Path,
    ) -> Result<Fp8, Error> {
        let mut scales = BTreeMap::new();
        let by_name: BTreeMap<&str, &TensorInfo> =
            tensors.iter().map(|t| (&t.name[..], t)).collect();
        let size = config.map(|config| &config["quantization_config"]["weight_block_size"]);
        let size = [0, 1].map(|i| size.and_then(|size| usize::try_from(size[i].as_u64()?).ok()));
        let block = [0, 1].map(|i| size[i].filter(|n| *n > 0).unwrap_or(BLOCK[i]));
        for t in tensors.iter().filter(|t| t.ty == BlockType::F8_E4M3) {
            let &[rows, cols] = &t.shape[..] else {
                let field = format!("tensor `{}`", shorten(&t.name));
                let problem = format!("is F8_E4M3 of shape {:?}, which is no matrix", t.shape);
                let remedy = "use a file of the same model in BF16";
                return Err(Error::unsupported(dir, field, problem, remedy));
            };
            let names = ENDS.map(|end| format!("{}{end}", t.name));
            let found = names.iter().find_map(|name| by_name.get(&name[..]));
            let other = || {
                let module = t.name.strip_suffix("weight").unwrap_or(&t.name);
                let scales = |name: &&str| name.contains("scale") && !Fp8::is_of_others(name);
                let after = by_name.range(module..).map(|(name, _)| *name);
                after.take_while(|name| name.starts_with(module)).find(scales)
            };
            if found.is_none()
                && let Some(other) = other()
            {
                let field = format!("tensor `{}`", shorten(other));
                let problem = "holds scales in a way that is not known".to_owned();
                let remedy = "use a file of the same model in BF16";
                return Err(Error::unsupported(dir, field, problem, remedy));
            }
            let [high, wide] = match found.map(|scale| &scale.shape[..]) {
                None | Some([1] | [1, 1]) => [rows, cols],
                Some([n] | [n, 1]) if *n == rows => [1, cols],
                Some([r, c]) if (*r, *c) == (rows.div_ceil(block[0]), cols.div_ceil(block[1])) => {
                    block
                }
                Some(shape) => {
                    let field = format!("tensor `{}_scale…`", shorten(&t.name));
                    let problem = format!(
                        "has shape {shape:?}; of a matrix {rows} × {cols} there is one scale, one for each row, or one \
                         for each {} × {}",
                        block[0], block[1]
                    );
                    return Err(Error::malformed(dir, field, problem));
                }
            };
            let name = found.map(|scale| scale.name.clone());
            let covers = Covers { rows: high, cols: wide, width: cols };
            scales.insert(t.name.clone(), Scale { name, covers });
        }
        Ok(Fp8 { scales })
    }

    /// Whether a tensor is there for matrices in FP8 alone.
    pub(super) fn is_beside(&self, name: &str) -> bool {
        let mut matrices = ENDS.into_iter().filter_map(|end| name.strip_suffix(end));
        !self.scales.is_empty()
            && (Fp8::is_of_others(name) || matrices.any(|matrix| self.scales.contains_key(matrix)))
    }

    /// Whether it is about something else than weights.
    fn is_of_others(name: &str) -> bool {
        BESIDE.into_iter().any(|end| name.ends_with(end))
    }

    /// The scales by other names of their matrices.
    pub(super) fn scales(self, renamed: impl Fn(&str) -> String) -> BTreeMap<String, Scale> {
        self.scales.into_iter().map(|(name, scale)| (renamed(&name), scale)).collect()
    }
}

impl Scale {
    pub(super) fn with(&self, values: Vec<f32>) -> Scaled {
        Scaled { covers: self.covers, values }
    }
}

impl Scaled {
    /// Multiplies whole rows, from number `first` on, with their scales.
    pub(crate) fn multiply(&self, first: usize, weights: &mut [f32]) {
        let Covers { rows, cols, width } = self.covers;
        let per_row = width.div_ceil(cols);
        for (row, weights) in weights.chunks_exact_mut(width).enumerate() {
            let scales = &self.values[(first + row) / rows * per_row..][..per_row];
            for (weights, scale) in weights.chunks_mut(cols).zip(scales) {
                weights.iter_mut().for_each(|x| *x *= scale);
            }
        }
    }
}
