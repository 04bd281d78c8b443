//! Matrices of weights, and their product with a batch of activations.

mod activations;
pub(crate) mod float;
pub(crate) mod format;
pub(crate) mod numbers;
mod pack;
mod quantized;
mod unpack;
mod wide;

use std::marker::PhantomData;
use std::ops::Range;

pub use activations::Quantized;
pub(crate) use numbers::{Numbers16, with_numbers};

use float::{Float, FloatPanelDot};
use format::{BLOCK, Format, PANEL, with_format, with_layout};
use quantized::PanelDot;
use wide::{PART, WideBlock, WideDot, Widen};

use crate::blocks::BlockType;
use crate::gemm::{Numbers, View, gemm_weights};
use crate::memory::{Aligned, Arena};
use crate::pool::Pool;
use crate::{Isa, SendPtr};

/// A matrix whose bytes aren't what its type and shape call for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MatrixError {
    /// A row is no whole number of blocks.
    #[error("a row of {cols} weights is no whole number of {ty:?} blocks of {}", ty.block_len())]
    Row {
        /// The type.
        ty: BlockType,
        /// Weights in a row.
        cols: usize,
    },
    /// The bytes are too few or too many.
    #[error("{rows} × {cols} {ty:?} weights take {expected} bytes, not {found}")]
    Bytes {
        /// The type.
        ty: BlockType,
        /// Rows.
        rows: usize,
        /// Weights in a row.
        cols: usize,
        /// Bytes they take.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// The weights have scales elsewhere.
    #[error("{ty} weights can't be multiplied without their scales, which are in another tensor")]
    Scales {
        /// The type.
        ty: BlockType,
    },
    /// There are no weights, or more than memory can be addressed.
    #[error("a matrix of {rows} × {cols} can't be held")]
    Size {
        /// Rows.
        rows: usize,
        /// Weights in a row.
        cols: usize,
    },
}

/// A matrix of weights `[rows, cols]`, repacked for the kernels: sixteen rows interleaved
/// (the layout is described in the module `format`).
pub struct Matrix {
    ty: BlockType,
    rows: usize,
    cols: usize,
    data: Aligned,
    panel_bytes: usize,
}

impl Matrix {
    /// Repacks `data`, `rows` rows of `cols` weights of type `ty` one after the other, on all the
    /// pool's threads, into memory of the arena.
    ///
    /// # Errors
    /// The bytes are not what type and shape call for.
    pub fn pack(
        pool: &Pool,
        ty: BlockType,
        rows: usize,
        cols: usize,
        data: &[u8],
        arena: &mut Arena,
    ) -> Result<Matrix, MatrixError> {
        if rows == 0 || cols == 0 {
            return Err(MatrixError::Size { rows, cols });
        }
        if ty == BlockType::F8_E4M3 {
            return Err(MatrixError::Scales { ty });
        }
        let row_bytes = ty.row_bytes(cols).ok_or(MatrixError::Row { ty, cols })?;
        let expected = row_bytes.checked_mul(rows).ok_or(MatrixError::Size { rows, cols })?;
        if expected != data.len() {
            return Err(MatrixError::Bytes { ty, rows, cols, expected, found: data.len() });
        }
        let panel_bytes = panel_bytes(ty, cols);
        let panels = rows.div_ceil(PANEL);
        let mut packed = arena.zeroed(panels * panel_bytes);
        let out = SendPtr(packed.as_mut_ptr());
        pool.for_each_chunk(panels, 8, |range| {
            let mut sources: [&[u8]; PANEL] = [&[]; PANEL];
            for panel in range {
                let first = panel * PANEL;
                let n = PANEL.min(rows - first);
                for (r, source) in sources[..n].iter_mut().enumerate() {
                    *source = &data[(first + r) * row_bytes..(first + r + 1) * row_bytes];
                }
                // SAFETY: panels don't overlap and each is handed out once.
                let out = unsafe {
                    std::slice::from_raw_parts_mut(out.get().add(panel * panel_bytes), panel_bytes)
                };
                let sources = &sources[..n];
                with_format!(
                    ty,
                    pack_one(sources, cols, out),
                    float => float::pack_float_panel(ty, sources, cols, out)
                );
            }
        });
        Ok(Matrix { ty, rows, cols, data: packed, panel_bytes })
    }

    /// What [`Matrix::bytes`] of such a matrix would be, or `None` where there can't be one.
    pub fn bytes_of(ty: BlockType, rows: usize, cols: usize) -> Option<usize> {
        // No layout takes more than twice the bytes of f32.
        cols.checked_mul(8 * PANEL)?.checked_mul(rows.checked_add(PANEL)?)?;
        ty.row_bytes(cols)?;
        rows.div_ceil(PANEL).checked_mul(panel_bytes(ty, cols))
    }

    /// The type the weights came in.
    pub fn ty(&self) -> BlockType {
        self.ty
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes in memory, repacked: what one product reads of it.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    fn is_quantized(&self) -> bool {
        self.ty.block_len() > 1
    }

    fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL)
    }

    pub(crate) fn panel(&self, i: usize) -> &[u8] {
        &self.data[i * self.panel_bytes..(i + 1) * self.panel_bytes]
    }
}

fn pack_one<F: Format>(rows: &[&[u8]], cols: usize, panel: &mut [u8]) {
    pack::pack_panel::<F>(rows, cols / BLOCK, panel);
}

/// Bytes of a panel of rows of `cols` weights.
fn panel_bytes(ty: BlockType, cols: usize) -> usize {
    with_layout!(ty, F => {
        (cols / BLOCK).div_ceil(F::SEGMENT) * F::SEGMENT_BYTES
    }, float => { cols * PANEL * ty.block_bytes() })
}

/// One product of a batch: `out = x · weightᵀ`.
pub struct Product<'a> {
    /// The weights, `[rows, cols]`.
    pub weight: &'a Matrix,
    /// The results, `[tokens, rows]`.
    pub out: &'a mut [f32],
}

/// Multiplies the activations `x`, `[tokens, cols]`, with one or more matrices of the same number
/// of columns, in one parallel step. `scratch` keeps the quantised activations between calls.
///
/// Quantised weights meet activations rounded to 15 bits in blocks of 32, by way of bytes or, for
/// batches on some machines, of words; f32, f16 and bf16 weights meet them as they are. A token's results don't depend on the others in the batch, with one
/// exception: from [`tile_tokens`] on, both sides are rounded to bf16 and multiplied in tiles, f32
/// weights excepted.
///
/// # Panics
/// If shapes don't agree: that is a mistake in the calling code.
pub fn matmul(
    isa: Isa,
    pool: &Pool,
    x: &[f32],
    products: &mut [Product<'_>],
    scratch: &mut Quantized,
) {
    let Some(cols) = products.first().map(|p| p.weight.cols) else { return };
    let tokens = x.len() / cols;
    assert_eq!(x.len(), tokens * cols, "activations are rows of {cols}");
    for p in products.iter() {
        assert_eq!(p.weight.cols, cols, "matrices of one step share their inputs");
        assert_eq!(p.out.len(), tokens * p.weight.rows, "room for {tokens} rows of results");
    }
    if tokens == 0 {
        return;
    }
    if on_tiles(isa, tokens, products) {
        let products: Vec<_> =
            products.iter_mut().map(|p| (p.weight, SendPtr(p.out.as_mut_ptr()))).collect();
        let x = View::new(Numbers::F32(x), tokens, cols);
        // SAFETY: each `out` was just seen to have room, and is borrowed by its product alone.
        unsafe { gemm_weights(isa, pool, x, &products, &mut scratch.tiles) };
        return;
    }
    let outs: Vec<_> = products
        .iter_mut()
        .map(|p| Part { weight: p.weight, tokens: 0..tokens, out: SendPtr(p.out.as_mut_ptr()) })
        .collect();
    multiply(isa, pool, (x, cols), tokens, &outs, scratch);
}

/// Multiplies activations with matrices of their own, all of one shape, in one parallel step: `x` is
/// `[matrices, tokens, cols]`, `out` is `[matrices, tokens, rows]`. Otherwise as [`matmul`].
///
/// # Panics
/// If shapes don't agree: that is a mistake in the calling code.
pub fn matmul_each(
    isa: Isa,
    pool: &Pool,
    x: &[f32],
    weights: &[Matrix],
    out: &mut [f32],
    scratch: &mut Quantized,
) {
    let Some(Matrix { rows, cols, .. }) = weights.first() else { return };
    let tokens = x.len() / (weights.len() * cols);
    assert!(weights.iter().all(|w| (w.rows, w.cols) == (*rows, *cols)), "one shape for all");
    assert_eq!(x.len(), weights.len() * tokens * cols, "activations are rows of {cols}");
    assert_eq!(out.len(), weights.len() * tokens * rows, "room for {tokens} rows of each");
    if tokens == 0 {
        return;
    }
    if tile_tokens(isa).is_some_and(|least| tokens >= least) {
        // Much is done at each, and much more than a step costs.
        let outs = out.chunks_exact_mut(tokens * rows);
        for ((weight, x), out) in weights.iter().zip(x.chunks_exact(tokens * cols)).zip(outs) {
            matmul(isa, pool, x, &mut [Product { weight, out }], scratch);
        }
        return;
    }
    // All results are rows of one length, one after the other.
    let out = SendPtr(out.as_mut_ptr());
    let part = |(i, weight)| Part { weight, tokens: i * tokens..(i + 1) * tokens, out };
    let parts: Vec<_> = weights.iter().enumerate().map(part).collect();
    multiply(isa, pool, (x, *cols), tokens, &parts, scratch);
}

/// A matrix, the rows of activations that meet it, and where all rows of results start.
struct Part<'a> {
    weight: &'a Matrix,
    tokens: Range<usize>,
    out: SendPtr<f32>,
}

/// Multiplies rows of activations of `cols` numbers, `tokens` at each matrix.
fn multiply(
    isa: Isa,
    pool: &Pool,
    (x, cols): (&[f32], usize),
    tokens: usize,
    parts: &[Part<'_>],
    scratch: &mut Quantized,
) {
    if parts.iter().any(|p| p.weight.is_quantized()) {
        if in_words(isa, tokens) {
            scratch.fill_wide(isa, pool, x, cols);
        } else {
            scratch.fill(isa, pool, x, cols);
        }
    }
    let input = Input { isa, x, cols, tokens, quantized: scratch };

    // At most as many panels at a time as keep their weights in the second-level cache while the
    // tokens pass by.
    let total: usize = parts.iter().map(|p| p.weight.panels()).sum();
    let widest = parts.iter().map(|p| p.weight.panel_bytes).max();
    let fitting = (512 << 10) / widest.unwrap_or(1).max(1);
    pool.for_each_guided(total, fitting, |range| {
        let mut first = 0;
        for part in parts {
            let all = part.weight.panels();
            let panels = range.start.max(first)..range.end.min(first + all);
            if !panels.is_empty() {
                input.multiply(part, panels.start - first..panels.end - first);
            }
            first += all;
        }
    });
}

/// Tokens from which on a step is a product of bf16 tiles, if ever.
///
/// Tiles want the weights dequantised, which has to be shared by a batch. With BF16 dot products
/// they pass the 8-bit kernel between 32 and 64 tokens, depending on the type (Zen 4; they gain a
/// tenth to a third at 512). With AMX a tile product of 16 × 32 × 16 takes sixteen cycles, the same
/// in two passes of 8-bit dot products 128, and dequantising sixteen rows × 32 about a hundred:
/// worked out, not measured.
pub const fn tile_tokens(isa: Isa) -> Option<usize> {
    match isa {
        Isa::Scalar | Isa::Neon | Isa::Avx2 | Isa::Avx512 => None,
        Isa::Avx512Bf16 => Some(64),
        Isa::Amx => Some(16),
    }
}

/// Tokens from which on quantised weights are widened to 16 bits, once for all of them, if ever.
///
/// On AVX2 a product of words takes half the instructions of one of two bytes; at four tokens that
/// makes up for widening (Zen 3: a fifth faster there, nearly twice from 64 on). With VNNI both take
/// one instruction, so that only taking weights apart would be saved. On plain arrays nothing is
/// gained, but that path is how the kernel is tested where there is nothing else.
const fn wide_tokens(isa: Isa) -> Option<usize> {
    match isa {
        Isa::Scalar | Isa::Avx2 => Some(4),
        Isa::Neon | Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => None,
    }
}

/// Whether a step is a product of bf16 tiles. f32 weights stay what they are.
fn on_tiles(isa: Isa, tokens: usize, products: &[Product<'_>]) -> bool {
    tile_tokens(isa).is_some_and(|least| tokens >= least)
        && products.iter().all(|p| p.weight.ty != BlockType::F32)
}

/// Whether quantised weights and their activations are 16-bit words in a step.
fn in_words(isa: Isa, tokens: usize) -> bool {
    wide_tokens(isa).is_some_and(|least| tokens >= least)
}

/// What the matrices of a step are multiplied with.
struct Input<'a> {
    isa: Isa,
    x: &'a [f32],
    cols: usize,
    /// At each of them.
    tokens: usize,
    quantized: &'a Quantized,
}

/// Tokens that go through a run of panels together: their activations stay in the nearest caches.
const TOKEN_TILE: usize = 24;
/// The same where panels are widened for them: their activations in some blocks stay in the
/// second-level cache.
const WIDE_TILE: usize = 96;

impl Input<'_> {
    fn multiply(&self, part: &Part<'_>, panels: Range<usize>) {
        let Part { weight, tokens: ref all, out } = *part;
        let wide = weight.is_quantized() && in_words(self.isa, self.tokens);
        let tile = if wide { WIDE_TILE } else { TOKEN_TILE };
        for first in all.clone().step_by(tile) {
            let tokens = first..all.end.min(first + tile);
            with_layout!(weight.ty, F => {
                quantized_panels::<F>(self, weight, panels.clone(), tokens, out)
            }, float => {
                match weight.ty {
                    BlockType::F16 => {
                        float_panels::<float::F16>(self, weight, panels.clone(), tokens, out);
                    }
                    BlockType::BF16 => {
                        float_panels::<float::Bf16>(self, weight, panels.clone(), tokens, out);
                    }
                    _ => float_panels::<float::F32>(self, weight, panels.clone(), tokens, out),
                }
            });
        }
    }
}

fn quantized_panels<F: Format>(
    input: &Input<'_>,
    weight: &Matrix,
    panels: Range<usize>,
    tokens: Range<usize>,
    out: SendPtr<f32>,
) {
    if in_words(input.isa, input.tokens) {
        word_panels::<F>(input, weight, panels, tokens, out);
    } else {
        byte_panels::<F>(input, weight, panels, tokens, out);
    }
}

fn byte_panels<F: Format>(
    input: &Input<'_>,
    weight: &Matrix,
    panels: Range<usize>,
    tokens: Range<usize>,
    out: SendPtr<f32>,
) {
    let mut blocks: [&[_]; TOKEN_TILE] = [&[]; TOKEN_TILE];
    for (slot, t) in blocks.iter_mut().zip(tokens.clone()) {
        *slot = input.quantized.token(t);
    }
    for panel in panels {
        // SAFETY: `isa` is available; the panel is whole; each token has all its blocks; the sixteen
        // columns of `out` that this panel owns are written by nobody else, and `rows` cuts the last
        // panel short at the matrix's end.
        unsafe {
            input.isa.run(PanelDot::<F> {
                panel: weight.panel(panel),
                tokens: &blocks[..tokens.len()],
                out: out.get().add(tokens.start * weight.rows + panel * PANEL),
                stride: weight.rows,
                rows: PANEL.min(weight.rows - panel * PANEL),
                format: PhantomData,
            });
        }
    }
}

fn word_panels<F: Format>(
    input: &Input<'_>,
    weight: &Matrix,
    panels: Range<usize>,
    tokens: Range<usize>,
    out: SendPtr<f32>,
) {
    let (activations, per_token) = input.quantized.wide();
    assert!(activations.len() >= tokens.end * per_token);
    let mut widened = [WideBlock::ZERO; PART];
    for start in (0..per_token).step_by(PART) {
        let blocks = start..per_token.min(start + PART);
        let widened = &mut widened[..blocks.len()];
        for panel in panels.clone() {
            // SAFETY: as in `byte_panels`; the panel has as many blocks as each token.
            unsafe {
                input.isa.run(Widen::<F> {
                    panel: weight.panel(panel),
                    blocks: blocks.clone(),
                    out: widened,
                    format: PhantomData,
                });
                input.isa.run(WideDot::<F> {
                    weights: widened,
                    activations: activations.as_ptr().add(tokens.start * per_token + start),
                    per_token,
                    tokens: tokens.len(),
                    out: out.get().add(tokens.start * weight.rows + panel * PANEL),
                    stride: weight.rows,
                    rows: PANEL.min(weight.rows - panel * PANEL),
                    add: start > 0,
                    format: PhantomData,
                });
            }
        }
    }
}

fn float_panels<W: Float>(
    input: &Input<'_>,
    weight: &Matrix,
    panels: Range<usize>,
    tokens: Range<usize>,
    out: SendPtr<f32>,
) {
    for panel in panels {
        // SAFETY: as in `byte_panels`.
        unsafe {
            input.isa.run(FloatPanelDot::<W> {
                panel: weight.panel(panel),
                x: &input.x[tokens.start * input.cols..tokens.end * input.cols],
                k: input.cols,
                out: out.get().add(tokens.start * weight.rows + panel * PANEL),
                stride: weight.rows,
                rows: PANEL.min(weight.rows - panel * PANEL),
                float: PhantomData,
            });
        }
    }
}
