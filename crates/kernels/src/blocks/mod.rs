//! The block formats weights are stored in, as laid down by the GGUF specification, and the plain
//! way from each of them back to `f32`.
//!
//! A row is a whole number of blocks, blocks lie one after the other, all fields are
//! little-endian. The functions here are the reference the fast kernels are tested against: one
//! loop per format, no allocation, results bit for bit those of ggml.
//!
//! Every value is `scale * integer`, in some formats `scale * integer - min`. None of the products
//! may be fused into a multiply-add or reassociated, or the last bit would differ.

mod float;
pub(crate) mod grids;
mod iq1;
mod iq2;
mod iq3;
mod iq4;
mod k_quants;
mod legacy;
mod ternary;

use std::fmt;
use std::str::FromStr;

pub use float::{dequantize_bf16, dequantize_f8_e4m3, dequantize_f16, dequantize_f32};
pub use iq1::{dequantize_iq1_m, dequantize_iq1_s, scale_iq1_m};
pub(crate) use iq2::all_signs;
pub use iq2::{IQ2_MAGNITUDES, dequantize_iq2_s, dequantize_iq2_xs, dequantize_iq2_xxs};
pub use iq3::{IQ3_S_MAGNITUDES, IQ3_XXS_MAGNITUDES, dequantize_iq3_s, dequantize_iq3_xxs};
pub use iq4::{
    KVALUES_IQ4NL, dequantize_iq4_nl, dequantize_iq4_xs, pack_scales_iq4_xs, unpack_scales_iq4_xs,
};
pub use k_quants::{
    dequantize_q2_k, dequantize_q3_k, dequantize_q4_k, dequantize_q5_k, dequantize_q6_k,
    pack_scales_mins, pack_scales_q3_k, unpack_scales_mins, unpack_scales_q3_k,
};
pub use legacy::{
    dequantize_q4_0, dequantize_q4_1, dequantize_q5_0, dequantize_q5_1, dequantize_q8_0,
};
pub use ternary::{dequantize_tq1_0, dequantize_tq2_0, digits_tq1_0};

/// A storage type of a tensor, numbered as in GGUF (`ggml_type`), where there is no `F8_E4M3`: that is how safetensors
/// have matrices whose scales are in tensors of their own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[repr(u32)]
#[allow(non_camel_case_types, missing_docs)]
pub enum BlockType {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q2_K = 10,
    Q3_K = 11,
    Q4_K = 12,
    Q5_K = 13,
    Q6_K = 14,
    IQ2_XXS = 16,
    IQ2_XS = 17,
    IQ3_XXS = 18,
    IQ1_S = 19,
    IQ4_NL = 20,
    IQ3_S = 21,
    IQ2_S = 22,
    IQ4_XS = 23,
    IQ1_M = 29,
    BF16 = 30,
    TQ1_0 = 34,
    TQ2_0 = 35,
    F8_E4M3 = 1 << 16,
}

/// Why a row of blocks could not be read or a type not be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The number of weights is no whole number of blocks.
    #[error("a row of {ty} is made of blocks of {}, {weights} weights leave one unfinished", ty.block_len())]
    PartialBlock {
        /// The type of the row.
        ty: BlockType,
        /// The weights asked for.
        weights: usize,
    },
    /// The bytes are not those of a row of that many weights.
    #[error("a row of {weights} {ty} weights takes {expected} bytes, got {found}")]
    RowBytes {
        /// The type of the row.
        ty: BlockType,
        /// The weights asked for.
        weights: usize,
        /// The bytes such a row has.
        expected: usize,
        /// The bytes given.
        found: usize,
    },
    /// The weights have scales elsewhere.
    #[error("{ty} weights mean nothing without their scales, which are in another tensor")]
    Scales {
        /// The type of the row.
        ty: BlockType,
    },
    /// No type goes by this name.
    #[error("no block type is called `{name}`; there are {}", known_names())]
    UnknownName {
        /// The name given.
        name: String,
    },
}

fn known_names() -> String {
    BlockType::ALL.map(BlockType::name).join(", ")
}

impl BlockType {
    /// Every type of GGUF's, in the order of its number.
    pub const ALL: [BlockType; 24] = {
        use BlockType::*;
        [
            F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ2_XXS, IQ2_XS,
            IQ3_XXS, IQ1_S, IQ4_NL, IQ3_S, IQ2_S, IQ4_XS, IQ1_M, BF16, TQ1_0, TQ2_0,
        ]
    };

    /// The type with this GGUF number, if it is one we read.
    pub fn from_ggml(id: u32) -> Option<BlockType> {
        BlockType::ALL.into_iter().find(|t| *t as u32 == id)
    }

    /// The type's name as GGUF tools print it: `Q4_K`, `IQ4_NL`, `BF16`.
    pub const fn name(self) -> &'static str {
        use BlockType::*;
        match self {
            F32 => "F32",
            F16 => "F16",
            Q4_0 => "Q4_0",
            Q4_1 => "Q4_1",
            Q5_0 => "Q5_0",
            Q5_1 => "Q5_1",
            Q8_0 => "Q8_0",
            Q2_K => "Q2_K",
            Q3_K => "Q3_K",
            Q4_K => "Q4_K",
            Q5_K => "Q5_K",
            Q6_K => "Q6_K",
            IQ2_XXS => "IQ2_XXS",
            IQ2_XS => "IQ2_XS",
            IQ3_XXS => "IQ3_XXS",
            IQ1_S => "IQ1_S",
            IQ4_NL => "IQ4_NL",
            IQ3_S => "IQ3_S",
            IQ2_S => "IQ2_S",
            IQ4_XS => "IQ4_XS",
            IQ1_M => "IQ1_M",
            BF16 => "BF16",
            TQ1_0 => "TQ1_0",
            TQ2_0 => "TQ2_0",
            F8_E4M3 => "F8_E4M3",
        }
    }

    /// The type of this name, in upper or lower case.
    pub fn from_name(name: &str) -> Option<BlockType> {
        BlockType::ALL.into_iter().find(|t| t.name().eq_ignore_ascii_case(name))
    }

    /// Weights in one block (rows are a whole number of blocks).
    pub const fn block_len(self) -> usize {
        use BlockType::*;
        match self {
            F32 | F16 | BF16 | F8_E4M3 => 1,
            Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | IQ4_NL => 32,
            Q2_K | Q3_K | Q4_K | Q5_K | Q6_K | IQ1_S | IQ1_M | IQ2_XXS | IQ2_XS | IQ2_S
            | IQ3_XXS | IQ3_S | IQ4_XS | TQ1_0 | TQ2_0 => 256,
        }
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        use BlockType::*;
        match self {
            F32 => 4,
            F16 | BF16 => 2,
            F8_E4M3 => 1,
            Q4_0 | IQ4_NL => 18,
            Q4_1 => 20,
            Q5_0 => 22,
            Q5_1 => 24,
            Q8_0 => 34,
            Q2_K => 84,
            Q4_K => 144,
            Q5_K => 176,
            Q6_K => 210,
            IQ1_S => 50,
            TQ1_0 => 54,
            IQ1_M => 56,
            IQ2_XXS | TQ2_0 => 66,
            IQ2_XS => 74,
            IQ2_S => 82,
            IQ3_XXS => 98,
            Q3_K | IQ3_S => 110,
            IQ4_XS => 136,
        }
    }

    /// Bits a weight costs, scales included: 4.5 for `Q4_K`.
    pub fn bits_per_weight(self) -> f64 {
        self.block_bytes() as f64 * 8.0 / self.block_len() as f64
    }

    /// Bytes of a row of `n` weights, or `None` where `n` is no whole number of blocks or the
    /// size does not fit.
    pub fn row_bytes(self, n: usize) -> Option<usize> {
        if !n.is_multiple_of(self.block_len()) {
            return None;
        }
        (n / self.block_len()).checked_mul(self.block_bytes())
    }

    /// `Ok` where `bytes` is exactly the size of a row of `weights` weights.
    ///
    /// # Errors
    /// [`BlockError::PartialBlock`] or [`BlockError::RowBytes`] otherwise.
    pub fn check_row(self, weights: usize, bytes: usize) -> Result<(), BlockError> {
        if !weights.is_multiple_of(self.block_len()) {
            return Err(BlockError::PartialBlock { ty: self, weights });
        }
        match self.row_bytes(weights) {
            Some(expected) if expected == bytes => Ok(()),
            // A slice of `weights` f32 exists, so its row's size fits and `None` cannot come here;
            // usize::MAX is an honest answer for a caller that made the number up.
            expected => Err(BlockError::RowBytes {
                ty: self,
                weights,
                expected: expected.unwrap_or(usize::MAX),
                found: bytes,
            }),
        }
    }
}

impl fmt::Display for BlockType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for BlockType {
    type Err = BlockError;

    fn from_str(name: &str) -> Result<BlockType, BlockError> {
        BlockType::from_name(name).ok_or_else(|| BlockError::UnknownName { name: name.to_owned() })
    }
}

/// Turns a row of blocks into its `dst.len()` weights.
///
/// Any bytes are a valid row: a NaN or infinite scale comes out as NaN or infinite weights.
///
/// # Errors
/// [`BlockError::PartialBlock`] or [`BlockError::RowBytes`] where the two lengths do not belong
/// together, [`BlockError::Scales`] of `F8_E4M3`; `dst` is then untouched.
pub fn dequantize_row(ty: BlockType, src: &[u8], dst: &mut [f32]) -> Result<(), BlockError> {
    ty.check_row(dst.len(), src.len())?;
    match ty {
        BlockType::F32 => each_block(src, dst, dequantize_f32),
        BlockType::F16 => each_block(src, dst, dequantize_f16),
        BlockType::BF16 => each_block(src, dst, dequantize_bf16),
        BlockType::F8_E4M3 => return Err(BlockError::Scales { ty }),
        BlockType::Q4_0 => each_block(src, dst, dequantize_q4_0),
        BlockType::Q4_1 => each_block(src, dst, dequantize_q4_1),
        BlockType::Q5_0 => each_block(src, dst, dequantize_q5_0),
        BlockType::Q5_1 => each_block(src, dst, dequantize_q5_1),
        BlockType::Q8_0 => each_block(src, dst, dequantize_q8_0),
        BlockType::Q2_K => each_block(src, dst, dequantize_q2_k),
        BlockType::Q3_K => each_block(src, dst, dequantize_q3_k),
        BlockType::Q4_K => each_block(src, dst, dequantize_q4_k),
        BlockType::Q5_K => each_block(src, dst, dequantize_q5_k),
        BlockType::Q6_K => each_block(src, dst, dequantize_q6_k),
        BlockType::IQ1_S => each_block(src, dst, dequantize_iq1_s),
        BlockType::IQ1_M => each_block(src, dst, dequantize_iq1_m),
        BlockType::IQ2_XXS => each_block(src, dst, dequantize_iq2_xxs),
        BlockType::IQ2_XS => each_block(src, dst, dequantize_iq2_xs),
        BlockType::IQ2_S => each_block(src, dst, dequantize_iq2_s),
        BlockType::IQ3_XXS => each_block(src, dst, dequantize_iq3_xxs),
        BlockType::IQ3_S => each_block(src, dst, dequantize_iq3_s),
        BlockType::TQ1_0 => each_block(src, dst, dequantize_tq1_0),
        BlockType::TQ2_0 => each_block(src, dst, dequantize_tq2_0),
        BlockType::IQ4_NL => each_block(src, dst, dequantize_iq4_nl),
        BlockType::IQ4_XS => each_block(src, dst, dequantize_iq4_xs),
    }
    Ok(())
}

/// Calls `dequantize` with each block of `BYTES` bytes and the `WEIGHTS` weights it becomes.
fn each_block<const BYTES: usize, const WEIGHTS: usize>(
    src: &[u8],
    dst: &mut [f32],
    dequantize: impl Fn(&[u8; BYTES], &mut [f32; WEIGHTS]),
) {
    let (blocks, _) = src.as_chunks::<BYTES>();
    let (weights, _) = dst.as_chunks_mut::<WEIGHTS>();
    for (block, weights) in blocks.iter().zip(weights) {
        dequantize(block, weights);
    }
}

/// The half-precision number at byte `at` of a block.
fn f16_at(block: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back_to_the_type() {
        for ty in BlockType::ALL {
            assert_eq!(BlockType::from_ggml(ty as u32), Some(ty));
            assert_eq!(ty.to_string().parse(), Ok(ty));
            assert_eq!(ty.name().to_lowercase().parse(), Ok(ty));
            assert_eq!(format!("{ty:?}"), ty.name());
        }
        assert_eq!(format!("[{:>8}]", BlockType::Q4_K), "[    Q4_K]");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "Q4_K_M".parse::<BlockType>().unwrap_err().to_string();
        assert!(error.contains("`Q4_K_M`") && error.contains("Q4_K, Q5_K"), "{error}");
    }

    #[test]
    fn bits_per_weight_are_the_published_ones() {
        let bits = |ty: BlockType| ty.bits_per_weight();
        assert_eq!(bits(BlockType::F32), 32.0);
        assert_eq!(bits(BlockType::Q8_0), 8.5);
        assert_eq!(bits(BlockType::Q2_K), 2.625);
        assert_eq!(bits(BlockType::Q3_K), 3.4375);
        assert_eq!(bits(BlockType::Q4_K), 4.5);
        assert_eq!(bits(BlockType::Q6_K), 6.5625);
        assert_eq!(bits(BlockType::IQ4_XS), 4.25);
        assert_eq!(bits(BlockType::IQ1_S), 1.5625);
        assert_eq!(bits(BlockType::IQ1_M), 1.75);
        assert_eq!(bits(BlockType::IQ2_XXS), 2.0625);
        assert_eq!(bits(BlockType::IQ2_XS), 2.3125);
        assert_eq!(bits(BlockType::IQ2_S), 2.5625);
        assert_eq!(bits(BlockType::IQ3_XXS), 3.0625);
        assert_eq!(bits(BlockType::IQ3_S), 3.4375);
        assert_eq!(bits(BlockType::TQ1_0), 1.6875);
        assert_eq!(bits(BlockType::TQ2_0), 2.0625);
    }

    #[test]
    fn lengths_that_do_not_belong_together_are_errors() {
        for ty in BlockType::ALL {
            let (len, bytes) = (ty.block_len(), ty.block_bytes());
            let mut dst = vec![7.0f32; 2 * len];
            for wrong in [0, bytes, 2 * bytes - 1, 2 * bytes + 1] {
                let error = dequantize_row(ty, &vec![0; wrong], &mut dst).unwrap_err();
                assert_eq!(
                    error,
                    BlockError::RowBytes {
                        ty,
                        weights: 2 * len,
                        expected: 2 * bytes,
                        found: wrong
                    }
                );
            }
            if len > 1 {
                let error = dequantize_row(ty, &vec![0; bytes], &mut dst[..len - 1]).unwrap_err();
                assert_eq!(error, BlockError::PartialBlock { ty, weights: len - 1 });
            }
            assert!(dst.iter().all(|w| *w == 7.0), "{ty}: written to in spite of the error");
            assert_eq!(dequantize_row(ty, &[], &mut []), Ok(()));
        }
    }
}
