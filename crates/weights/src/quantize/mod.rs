//! `f32` weights in, rows of any [`BlockType`] out.
//!
//! The bytes are those ggml's own quantisers write, with an importance matrix or without, so a file made
//! here is the file llama.cpp's tools would have made. That fixes the arithmetic down to the order
//! of additions: sums run in single precision from the first weight to the last and nothing is
//! fused. Where ggml's rounding trick leaves its range (a scale many orders of magnitude below its
//! min) ours keeps to the nearest representable weight instead.
//!
//! Each format is a function from one block's weights to one block's bytes. What is hard about
//! quantising, choosing the scales, is in `search`; the rest is packing.

mod choose;
mod fit;
mod importance;
mod iq4;
mod k_quants;
mod legacy;
mod mix;
mod search;

pub use choose::{BadOverride, Chosen, Override, Wanted, is_block};
use half::{bf16, f16};
pub use importance::{ExpertSums, Importance, InputSums};
use kernels::blocks::{BlockError, BlockType};
pub use mix::{Mix, ModelTraits, Role, UnknownMix, fitting, is_quantizable};

/// The types weights can be quantised to; the others are only read.
pub const WRITABLE: [BlockType; 15] = {
    use BlockType::*;
    [F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, BF16]
};

/// Whether weights can be quantised to this type.
pub fn is_writable(ty: BlockType) -> bool {
    WRITABLE.contains(&ty)
}

fn writable_names() -> String {
    WRITABLE.map(BlockType::name).join(", ")
}

/// Why a row could not be quantised.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QuantizeError {
    /// The lengths of source and destination do not belong together.
    #[error(transparent)]
    Row(#[from] BlockError),
    /// The type is one that is only read.
    #[error(
        "{ty} can be read, but weights can't be quantised to it; they can to {}",
        writable_names()
    )]
    ReadOnly {
        /// The type asked for.
        ty: BlockType,
    },
    /// A weight is NaN or infinite.
    #[error(
        "weight {position} of the row is {value}; only finite weights can be stored as {ty} \
         (is the source file damaged?)"
    )]
    NotFinite {
        /// The type asked for.
        ty: BlockType,
        /// The weight's place in the row.
        position: usize,
        /// The weight.
        value: f32,
    },
    /// The importances are another matrix's.
    #[error("there are {found} importances for rows of {weights} weights")]
    Importance {
        /// Weights of a row.
        weights: usize,
        /// Importances given.
        found: usize,
    },
    /// A weight is finite but would be infinite once stored.
    #[error(
        "weight {position} of the row is {value:e}, beyond the {limit:e} that {ty} can store; \
         keep this tensor as F32"
    )]
    TooLarge {
        /// The type asked for.
        ty: BlockType,
        /// The weight's place in the row.
        position: usize,
        /// The weight.
        value: f32,
        /// The largest magnitude the type takes.
        limit: f32,
    },
}

/// Quantises a row of weights into `dst`, which has exactly [`BlockType::row_bytes`] bytes.
///
/// # Errors
/// Where the lengths do not belong together, where the type is not [`WRITABLE`], and where a weight is not
/// finite or too large for the type: every type but `F32` and `BF16` keeps half-precision numbers and takes weights up to
/// 65504. `dst` is then untouched.
pub fn quantize_row(ty: BlockType, src: &[f32], dst: &mut [u8]) -> Result<(), QuantizeError> {
    ty.check_row(src.len(), dst.len())?;
    check_weights(ty, src)?;
    match ty {
        BlockType::F32 => each_block(src, dst, |[x], out| *out = x.to_le_bytes()),
        BlockType::F16 => each_block(src, dst, |[x], out| *out = f16::from_f32(*x).to_le_bytes()),
        BlockType::BF16 => each_block(src, dst, |[x], out| *out = bf16::from_f32(*x).to_le_bytes()),
        BlockType::Q4_0 => each_block(src, dst, legacy::quantize_q4_0),
        BlockType::Q4_1 => each_block(src, dst, legacy::quantize_q4_1),
        BlockType::Q5_0 => each_block(src, dst, legacy::quantize_q5_0),
        BlockType::Q5_1 => each_block(src, dst, legacy::quantize_q5_1),
        BlockType::Q8_0 => each_block(src, dst, legacy::quantize_q8_0),
        BlockType::Q2_K => each_block(src, dst, k_quants::quantize_q2_k),
        BlockType::Q3_K => each_block(src, dst, k_quants::quantize_q3_k),
        BlockType::Q4_K => each_block(src, dst, k_quants::quantize_q4_k),
        BlockType::Q5_K => each_block(src, dst, k_quants::quantize_q5_k),
        // These weigh a weight's error by its square.
        BlockType::Q6_K => each_block(src, dst, |x: &[f32; 256], block| {
            k_quants::quantize_q6_k(x, &x.map(k_quants::square), block);
        }),
        BlockType::IQ4_NL => each_block(src, dst, |x: &[f32; 32], block| {
            iq4::quantize_iq4_nl(x, &x.map(k_quants::square), block);
        }),
        BlockType::IQ4_XS => each_block(src, dst, |x: &[f32; 256], block| {
            iq4::quantize_iq4_xs(x, &x.map(k_quants::square), block);
        }),
        ty => return Err(QuantizeError::ReadOnly { ty }),
    }
    Ok(())
}

/// As [`quantize_row`], where `importance` says how much each column's errors cost: the mean square of
/// what it is multiplied with ([`Importance`]). Types that lose next to nothing ask nobody.
///
/// # Errors
/// As [`quantize_row`]; or there are fewer or more importances than weights.
pub fn quantize_weighted_row(
    ty: BlockType,
    src: &[f32],
    importance: &[f32],
    dst: &mut [u8],
) -> Result<(), QuantizeError> {
    if importance.len() != src.len() {
        let (weights, found) = (src.len(), importance.len());
        return Err(QuantizeError::Importance { weights, found });
    }
    ty.check_row(src.len(), dst.len())?;
    check_weights(ty, src)?;
    match ty {
        BlockType::F32 | BlockType::F16 | BlockType::BF16 | BlockType::Q8_0 => {
            return quantize_row(ty, src, dst);
        }
        BlockType::Q4_0 => by_row_spread(src, importance, dst, legacy::weighted_q4_0),
        BlockType::Q4_1 => by_row_spread(src, importance, dst, legacy::weighted_q4_1),
        BlockType::Q5_0 => by_row_spread(src, importance, dst, legacy::weighted_q5_0),
        BlockType::Q5_1 => by_row_spread(src, importance, dst, legacy::weighted_q5_1),
        BlockType::Q2_K => each_weighed_block(src, importance, dst, k_quants::weighted_q2_k),
        BlockType::Q3_K => each_weighed_block(src, importance, dst, k_quants::weighted_q3_k),
        BlockType::Q4_K => each_weighed_block(src, importance, dst, k_quants::weighted_q4_k),
        BlockType::Q5_K => each_weighed_block(src, importance, dst, k_quants::weighted_q5_k),
        BlockType::Q6_K => each_weighed_block(src, importance, dst, k_quants::quantize_q6_k),
        BlockType::IQ4_NL => each_weighed_block(src, importance, dst, |x, importance, block| {
            iq4::quantize_iq4_nl(x, &weigh(x, importance, 2.0 * mean_square(x)), block);
        }),
        BlockType::IQ4_XS => each_weighed_block(src, importance, dst, |x, importance, block| {
            iq4::quantize_iq4_xs(x, &weigh(x, importance, 2.0 * mean_square(x)), block);
        }),
        ty => return Err(QuantizeError::ReadOnly { ty }),
    }
    Ok(())
}

/// Calls `quantize` with each block's weights, their importances and the bytes they go to.
fn each_weighed_block<const WEIGHTS: usize, const BYTES: usize>(
    src: &[f32],
    importance: &[f32],
    dst: &mut [u8],
    quantize: impl Fn(&[f32; WEIGHTS], &[f32; WEIGHTS], &mut [u8; BYTES]),
) {
    let (weights, _) = src.as_chunks::<WEIGHTS>();
    let (importance, _) = importance.as_chunks::<WEIGHTS>();
    let (blocks, _) = dst.as_chunks_mut::<BYTES>();
    for ((weights, importance), block) in weights.iter().zip(importance).zip(blocks) {
        quantize(weights, importance, block);
    }
}

/// The same for the formats whose weights are called large or small beside all of their row.
fn by_row_spread<const BYTES: usize>(
    src: &[f32],
    importance: &[f32],
    dst: &mut [u8],
    quantize: impl Fn(&[f32; 32], &[f32; 32], &mut [u8; BYTES]),
) {
    let typical = mean_square(src);
    each_weighed_block(src, importance, dst, |x, importance, block| {
        quantize(x, &weigh(x, importance, typical), block);
    });
}

/// What an importance matrix makes of each weight's square error: more where its square is large beside
/// what is `typical`.
fn weigh<const N: usize>(x: &[f32; N], importance: &[f32; N], typical: f32) -> [f32; N] {
    std::array::from_fn(|i| importance[i] * (typical + x[i] * x[i]).sqrt())
}

/// Summed from the first to the last.
fn mean_square(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |sum, x| sum + x * x) / x.len().max(1) as f32
}

/// The largest magnitude `ty` takes. Scales and mins of the block formats are halves no larger
/// than the block's largest weight, so for them the limit of a half is sufficient; it also keeps
/// the squares the searches sum up far from overflow.
fn limit(ty: BlockType) -> f32 {
    match ty {
        BlockType::F32 => f32::MAX,
        BlockType::BF16 => bf16::MAX.to_f32(),
        _ => f16::MAX.to_f32(),
    }
}

fn check_weights(ty: BlockType, src: &[f32]) -> Result<(), QuantizeError> {
    let limit = limit(ty);
    // Negated, so that a NaN is caught as well.
    #[allow(clippy::neg_cmp_op_on_partial_ord)]
    match src.iter().position(|x| !(x.abs() <= limit)) {
        None => Ok(()),
        Some(position) if src[position].is_finite() => {
            Err(QuantizeError::TooLarge { ty, position, value: src[position], limit })
        }
        Some(position) => Err(QuantizeError::NotFinite { ty, position, value: src[position] }),
    }
}

/// Calls `quantize` with each block's weights and the bytes they go to.
fn each_block<const WEIGHTS: usize, const BYTES: usize>(
    src: &[f32],
    dst: &mut [u8],
    quantize: impl Fn(&[f32; WEIGHTS], &mut [u8; BYTES]),
) {
    let (weights, _) = src.as_chunks::<WEIGHTS>();
    let (blocks, _) = dst.as_chunks_mut::<BYTES>();
    for (weights, block) in weights.iter().zip(blocks) {
        quantize(weights, block);
    }
}

/// Stores `value` as a half at byte `at` of a block and returns what a reader will find there.
fn put_f16(block: &mut [u8], at: usize, value: f32) -> f32 {
    let value = f16::from_f32(value);
    block[at..at + 2].copy_from_slice(&value.to_le_bytes());
    value.to_f32()
}

/// The weight of largest magnitude, the first of several.
fn extreme(x: &[f32]) -> f32 {
    x.iter().fold(x[0], |most, x| if x.abs() > most.abs() { *x } else { most })
}

/// `1 / x`, and 0 for 0: the factor that turns weights into multiples of a scale.
fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}
